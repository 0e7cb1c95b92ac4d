#!/bin/bash
# quickstart --image: a guest as Debian's cloud images are proves itself, and the user's file
# is as it was. What cannot be used is refused, with the cause and what to do, at once where it
# can be seen at once; nothing is left running or mounted.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"
state=/var/tmp/virtid-quickstart
output=$box/output

exec {turn}>"$cache/quickstart.lock"
flock "$turn" # one at a time
if quickstart_runs "$state"; then
    echo "1..0 # SKIP a quickstart is running on this machine"
    exit 0
fi

nothing_is_left() {
    ! pgrep -f "init.sh $state" && ! grep -F "$state" /proc/mounts
}

# ---- the image that works --------------------------------------------------------

quick() {
    "$SYSTEM_TOP/quickstart" --image "$@" >"$output" 2>&1 9>&-
}

cloud_proves_itself() {
    quick "$box/cloud.qcow2" && return 0
    cat "$output"
    return 1
}

# shows STEP: that step was ticked.
shows() {
    grep -qE "^(✓|\[ok\]) $1" "$output"
}

every_step_is_ticked() {
    shows 'cloud.qcow2 can be used' && shows 'Image holds a fitting Debian' &&
        shows 'Guest booted, proved itself and has a token' &&
        shows 'Token is valid, says virtid-verify' && shows 'Token is valid, says PyJWT' &&
        grep -qE '^ +VALID$' "$output" && grep -qE '^Done in ' "$output" && ! grep -qE '^(✗|\[failed\])' "$output"
}

# The file's bytes, and when it was last written.
fingerprint() {
    sha256sum "$1" && stat -c '%Y %Z %s' "$1"
}

# ---- images that do not ----------------------------------------------------------

# boot_disk NAME SIZE: a disk with boot code and one partition of all of it, at sector 2048.
boot_disk() {
    rm -f "$box/$1"
    truncate -s "$2" "$box/$1"
    printf 'label: gpt\n1: start=2048, type=L\n' | /sbin/sfdisk --quiet "$box/$1"
    printf '\353\143\220' | dd of="$box/$1" conv=notrunc status=none
}

# root_disk NAME FOLDER: the same with an ext4 that holds FOLDER's files.
root_disk() {
    boot_disk "$1" 66M
    /sbin/mke2fs -q -F -t ext4 -E offset=1048576 -d "$2" "$box/$1" 64M 2>/dev/null
}

make_bad_images() {
    local old=$box/old secret='--object secret,id=s,data=passphrase'

    echo "this is no image" >"$box/text.img"
    truncate -s 64M "$box/no-table.img"
    /sbin/mke2fs -q -F -t ext4 "$box/no-table.img"
    gzip -c <"$box/text.img" >"$box/packed.img"
    qemu-img create -q -f vmdk "$box/other.vmdk" 64M
    boot_disk cut.img 66M && qemu-img convert -O qcow2 "$box/cut.img" "$box/cut.qcow2" &&
        truncate -s 100K "$box/cut.img"
    # It measures how fast it is, and gives up when the machine is busy: "Unable to get accurate CPU usage".
    # shellcheck disable=SC2086 # words
    host_wait 60 qemu-img create -q -f luks $secret -o key-secret=s "$box/luks.part" 32M || return 1
    boot_disk luks.img 66M && dd if="$box/luks.part" of="$box/luks.img" bs=1M seek=1 conv=notrunc,sparse status=none
    truncate -s 400M "$box/xfs.part" && /sbin/mkfs.xfs -q "$box/xfs.part"
    boot_disk xfs.img 402M && dd if="$box/xfs.part" of="$box/xfs.img" bs=1M seek=1 conv=notrunc,sparse status=none
    mkdir -p "$box/nothing" "$old/etc/systemd/system" "$old/lib/x86_64-linux-gnu"
    root_disk no-os.img "$box/nothing"
    printf 'ID=debian\nVERSION_ID="11"\nPRETTY_NAME="Debian GNU/Linux 11 (bullseye)"\n' >"$old/etc/os-release"
    echo 'GNU C Library (Debian GLIBC 2.31-13) stable release version 2.31.' >"$old/lib/x86_64-linux-gnu/libc.so.6"
    root_disk debian-11.img "$old"
}

# refuses IMAGE STEP CAUSE REPAIR: quickstart fails in that step, says why and what to do.
refuses() {
    local image=$box/$1 before status

    before=$(fingerprint "$image")
    quick "$image"
    status=$?
    rm -rf "$state"
    cat "$output"
    [ $status = 1 ] && grep -qE "^(✗|\[failed\]) $2" "$output" && grep -qE "$3" "$output" &&
        grep -qE "$4" "$output" && grep -q 'What to do: ' "$output" &&
        [ "$before" = "$(fingerprint "$image")" ] && nothing_is_left
}

at_once() {
    within 20000 refuses "$1" "$1 can be used" "$2" "$3" && ! shows 'virtid is built'
}

image_that_is_not_there() {
    quick "$box/absent/none.img"
    [ $? = 2 ] && grep -q 'cannot read the image' "$output"
}

must "$SYSTEM_TOP/tests/system/rig/cloud-guest.sh" "$cache"
cp --reflink=auto --sparse=always "$cache/cloud.qcow2" "$box/cloud.qcow2"
chmod 400 "$box/cloud.qcow2"
must make_bad_images
before=$(fingerprint "$box/cloud.qcow2")
ok a_cloud_image_proves_itself cloud_proves_itself
ok every_step_is_ticked_and_the_token_verified_twice every_step_is_ticked
ok the_users_file_is_bit_identical test "$before" = "$(fingerprint "$box/cloud.qcow2")"
ok nothing_is_left_after_it nothing_is_left
ok an_image_that_is_not_there_is_named image_that_is_not_there
ok a_file_that_is_no_image_is_refused_at_once at_once text.img 'holds no operating system' 'right file'
ok a_packed_image_is_refused_at_once at_once packed.img 'packed with gzip' 'unpack it'
ok another_format_is_refused_at_once at_once other.vmdk 'format is vmdk' 'qemu-img convert -O qcow2'
ok an_image_without_partitions_is_refused_at_once at_once no-table.img 'no partition table \(ext4' 'whole disk'
ok an_image_cut_short_is_refused_at_once at_once cut.img 'holds no operating system|behind its end' 'complete'
ok an_empty_partition_is_refused_at_once at_once cut.qcow2 'holds nothing that is known' 'ext4'
ok an_encrypted_image_is_refused_at_once at_once luks.img 'encrypted \(LUKS\)' 'ext4'
ok another_filesystem_is_refused_at_once at_once xfs.img 'partition 1 is xfs' 'ext4'
ok an_image_without_a_system_is_refused refuses no-os.img 'Image holds a fitting' 'no operating system' 'Debian 12'
ok an_older_distribution_is_refused refuses debian-11.img 'Image holds a fitting' \
    'Debian GNU/Linux 11 \(bullseye\) with the C library 2.31' 'Debian 12'
rm -rf "$state"
done_testing
