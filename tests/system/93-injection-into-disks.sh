#!/bin/bash
# The secret comes into a disk that may be written to, and every other disk stays as it is,
# bit for bit.  Real images, the real appliance, no libvirt.
set -u
# shellcheck source=tests/lib/privd.sh
. "$(dirname "$0")/../lib/privd.sh"
box_up
i=$box/images
files=(DIR:755:/etc/virtid "FILE:644:/etc/virtid/agent.conf:[agent]"
    LINK:/etc/systemd/system/multi-user.target.wants/virtid-agent.service:/etc/systemd/system/virtid-agent.service
    BIG:755:/usr/sbin/virtid-agent:3000000)

make_root() { # make_root DIR: what a guest's first partition has
    mkdir -p "$1/etc" "$1/usr/lib" "$1/usr/sbin"
    echo 'ID=debian' >"$1/usr/lib/os-release"
    ln -s ../usr/lib/os-release "$1/etc/os-release"
}

ext4() { # ext4 IMAGE [ROOT]
    rm -f "$1"
    mke2fs -q -t ext4 -d "${2:-$box/root}" "$1" 32M >/dev/null 2>&1
}

in_partition() { # in_partition IMAGE LABEL
    ext4 "$1.fs"
    truncate -s 40M "$1"
    printf 'label: %s\nstart=2048, size=65536\n' "$2" | sfdisk -q "$1"
    dd if="$1.fs" of="$1" bs=1M seek=1 conv=notrunc status=none
    rm "$1.fs"
}

inject() { # inject FORMAT IMAGE [MS]
    ask inject $uuid "$1" "$2" "${3:-180000}" "${files[@]}"
}

# has_all FILESYSTEM: everything is there, owned by root, with its mode; the filesystem is clean.
has_all() {
    local fs=$1 stat

    stat=$(for p in /etc/virtid/slots /etc/virtid/slots/inject /etc/virtid/agent.conf /usr/sbin/virtid-agent; do
        debugfs -R "stat $p" "$fs" 2>/dev/null | sed -nE 's/.*Mode: +([0-7]+).*/\1/p;s/^User: +([0-9]+).*Size: ([0-9]+)/\1 \2/p'
    done | tr '\n' ' ')
    echo "$stat"
    [[ $stat =~ ^0700\ 0\ [0-9]+\ 0600\ 0\ 49\ 0644\ 0\ 7\ 0755\ 0\ 3000000\ $ ]] &&
        debugfs -R "stat /etc/systemd/system/multi-user.target.wants/virtid-agent.service" "$fs" 2>/dev/null |
        grep -q 'Type: symlink' && e2fsck -fn "$fs" >/dev/null 2>&1 &&
        ! debugfs -R 'ls /etc/virtid' "$fs" 2>/dev/null | grep -q virtid-new
}

# The public half that was answered belongs to the private half in the slot.
slot_fits() { # slot_fits FILESYSTEM POINT
    debugfs -R "dump /etc/virtid/slots/inject $box/slot" "$1" 2>/dev/null
    python3 - "$box/slot" "$2" "$uuid" <<'END'
import sys
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
slot = open(sys.argv[1], 'rb').read()
key = ec.derive_private_key(int.from_bytes(slot[17:], 'big'), ec.SECP256R1())
point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint).hex()
sys.exit(not (slot[0] == 2 and slot[1:17].hex() == sys.argv[3].replace('-', '') and point == sys.argv[2]))
END
}

# Its root is what supermin made of the parts: an ext2 with /init in it.
has_our_init() {
    debugfs -R 'cat /init' "$box"/cache/inject/.guestfs-*/appliance.d/root 2>/dev/null |
        cmp - "${0%/*}/../../plugin/inject/appliance_init"
}

raw_disk() {
    ext4 "$i/raw.img"
    answer=$(inject raw "$i/raw.img")
    echo "$answer"
    [[ $answer == injected\ * ]] && has_all "$i/raw.img" && slot_fits "$i/raw.img" "${answer#injected }"
}

again_on_a_first_partition() {
    local first second

    in_partition "$i/part.img" gpt
    first=$(inject raw "$i/part.img")
    second=$(inject raw "$i/part.img")
    echo "$first / $second"
    dd if="$i/part.img" of="$box/part.fs" bs=1M skip=1 status=none
    [[ $first == injected\ * && $second == injected\ * && $first != "$second" ]] &&
        has_all "$box/part.fs" && slot_fits "$box/part.fs" "${second#injected }"
}

overlay_of_qcow2_of_raw() {
    local before

    in_partition "$i/base.raw" dos
    qemu-img create -q -f qcow2 -F raw -b base.raw "$i/middle.qcow2"
    qemu-img create -q -f qcow2 -F qcow2 -b "$i/middle.qcow2" "$i/top.qcow2"
    before=$(sha256sum "$i/base.raw" "$i/middle.qcow2")
    answer=$(inject qcow2 "$i/top.qcow2")
    echo "$answer"
    qemu-img convert -O raw "$i/top.qcow2" "$box/flat"
    dd if="$box/flat" of="$box/top.fs" bs=1M skip=1 status=none
    [[ $answer == injected\ * ]] && [ "$before" = "$(sha256sum "$i/base.raw" "$i/middle.qcow2")" ] &&
        has_all "$box/top.fs" && slot_fits "$box/top.fs" "${answer#injected }"
}

# left_alone FORMAT IMAGE PROBLEM [MS]: skipped for this reason, and not a bit or date differs
left_alone() {
    local before answer

    before=$(stat -c '%Y %Z %a %u %s' "$2" && sha256sum "$2")
    answer=$(inject "$1" "$2" "${4:-180000}")
    echo "$answer"
    [[ $answer == "skipped $3 "* ]] && [ "$before" = "$(stat -c '%Y %Z %a %u %s' "$2" && sha256sum "$2")" ]
}

put() { # put IMAGE OFFSET BYTES
    # shellcheck disable=SC2059
    printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

make_bad() {
    ext4 "$i/dirty.img"
    debugfs -w -R 'feature needs_recovery' "$i/dirty.img" >/dev/null 2>&1
    qemu-img convert -f raw -O qcow2 "$i/dirty.img" "$i/dirty.qcow2"
    for name in luks xfs swap slept empty; do truncate -s 8M "$i/$name.img"; done
    put "$i/luks.img" 0 'LUKS\xba\xbe\0\2'
    put "$i/xfs.img" 0 XFSB
    put "$i/swap.img" 4086 SWAPSPACE2
    put "$i/slept.img" 4086 S1SUSPEND
    ext4 "$i/noos.img" "$box/elsewhere"
    ext4 "$i/busy.img"
    ext4 "$i/plain.img"
    ext4 "$i/slow.img"
    cp -r "$box/root" "$box/root-link"
    mv "$box/root-link/etc" "$box/root-link/real"
    ln -s ../../../../../../tmp "$box/root-link/etc"
    ext4 "$i/etc-link.img" "$box/root-link"
    cp -r "$box/root" "$box/root-file"
    echo 'a file' >"$box/root-file/etc/virtid"
    ext4 "$i/etc-file.img" "$box/root-file"
    qemu-img create -q -f qcow2 -F raw -b raw.img "$i/chain0.qcow2" 32M
    for level in $(seq 17); do
        qemu-img create -q -u -f qcow2 -F qcow2 -b "chain$((level - 1)).qcow2" "$i/chain$level.qcow2" 32M
    done
    qemu-img create -q -f qcow2 -F raw -b raw.img "$i/noformat.qcow2" 32M
    perl -pi -e 's/\xe2\x79\x2a\xca/\xe2\x79\x2a\xcb/' "$i/noformat.qcow2"
}

used_by_qemu() {
    local result other

    qemu-system-x86_64 -M none -nodefaults -display none -qmp unix:"$box/qmp",server=on,wait=off \
        -blockdev driver=file,filename="$i/busy.img",node-name=disk </dev/null &
    other=$!
    others="$others $other"
    until [ -S "$box/qmp" ]; do pause; done
    left_alone raw "$i/busy.img" image-in-use
    result=$?
    kill $other
    return $result
}

backing_written_by_qemu() {
    local result other

    rm -f "$box/qmp"
    qemu-img create -q -f qcow2 -F raw -b busy.img "$i/over-busy.qcow2"
    python3 -c 'import sys, time
f = open(sys.argv[1], "r+b"); open(sys.argv[2], "w"); time.sleep(600)' "$i/busy.img" "$box/qmp" &
    other=$!
    others="$others $other"
    until [ -e "$box/qmp" ]; do pause; done
    left_alone qcow2 "$i/over-busy.qcow2" image-in-use
    result=$?
    kill $other
    return $result
}

nothing_of_ours_runs() {
    ! pgrep -u news . && ! compgen -G "$box/cache/inject/run-*"
}

until_true() { # until_true COMMAND: within a minute
    for _ in $(seq 1200); do
        "$@" >/dev/null 2>&1 && return 0
        pause
    done
    "$@"
}

too_late() {
    left_alone raw "$i/slow.img" took-too-long 1500 && until_true nothing_of_ours_runs
}

worker_killed() {
    local before answer asking

    before=$(sha256sum "$i/slow.img")
    inject raw "$i/slow.img" >"$box/answer" &
    asking=$!
    until_true pgrep -u news qemu
    kill -9 "$(pgrep -P "$privd" virtid-inject)"
    wait $asking
    answer=$(cat "$box/answer")
    echo "$answer"
    [[ $answer == "skipped inject-failed "* ]] && [ "$before" = "$(sha256sum "$i/slow.img")" ] &&
        until_true nothing_of_ours_runs
}

client_gone() {
    local before

    before=$(sha256sum "$i/slow.img")
    LEAVE=1 inject raw "$i/slow.img"
    until_true grep -q 'the host daemon left' "$box/log"
    [ "$before" = "$(sha256sum "$i/slow.img")" ] && until_true nothing_of_ours_runs &&
        [ "$(ask cancel $uuid)" = none ]
}

cancelled() {
    local before asking

    before=$(sha256sum "$i/slow.img")
    inject raw "$i/slow.img" >"$box/answer" &
    asking=$!
    until_true pgrep -u news virtid-inject
    [ "$(ask cancel $uuid)" = cancelled ] && wait $asking &&
        grep -q '^skipped took-too-long cancelled' "$box/answer" &&
        [ "$before" = "$(sha256sum "$i/slow.img")" ] && until_true nothing_of_ours_runs
}

privd_killed() {
    local before asking

    before=$(sha256sum "$i/slow.img")
    inject raw "$i/slow.img" >"$box/answer" 2>&1 &
    asking=$!
    until_true pgrep -u news qemu
    kill -9 "$privd"
    wait $asking 2>/dev/null
    privd=''
    until_true eval '! pgrep -u news .' && [ "$before" = "$(sha256sum "$i/slow.img")" ] &&
        privd_up && left_alone raw "$i/empty.img" image-empty
}

runs_as_its_own_user() {
    ! grep -q "event=inject.*[0-9a-f]\{64\}" "$box/log" && [ "$(stat -c %U "$box/cache/inject")" = news ]
}

no_secret_outside() {
    local hex

    hex=$(od -An -v -tx1 -j17 "$box/slot" | tr -d ' \n')
    ! grep -q "$hex" "$box/log" &&
        ! grep -rqF "$(printf '%s' "$hex" | head -c 64)" "$box/cache" "$box/run" "$box/save"
}

make_root "$box/root"
ok privd_starts privd_up
ok secret_comes_into_a_raw_disk raw_disk
ok the_appliance_has_our_init has_our_init
ok secret_is_replaced_on_a_first_partition again_on_a_first_partition
ok secret_comes_into_an_overlay_and_its_backing_files_stay overlay_of_qcow2_of_raw
make_bad
ok dirty_journal_is_left_alone left_alone raw "$i/dirty.img" image-dirty
ok dirty_journal_in_qcow2_is_left_alone left_alone qcow2 "$i/dirty.qcow2" image-dirty
ok luks_is_left_alone left_alone raw "$i/luks.img" image-encrypted
ok broken_xfs_is_left_alone left_alone raw "$i/xfs.img" image-damaged
ok swap_is_left_alone left_alone raw "$i/swap.img" image-layout
ok hibernated_disk_is_left_alone left_alone raw "$i/slept.img" hibernated
ok empty_disk_is_left_alone left_alone raw "$i/empty.img" image-empty
ok template_of_other_images_is_left_alone left_alone raw "$i/raw.img" image-backing
ok raw_named_as_qcow2_is_left_alone left_alone qcow2 "$i/plain.img" image-format
ok backing_file_without_format_is_left_alone left_alone qcow2 "$i/noformat.qcow2" image-chain
ok seventeen_backing_files_are_left_alone left_alone qcow2 "$i/chain17.qcow2" image-chain
ok disk_without_a_system_is_left_alone left_alone raw "$i/noos.img" no-os
ok disk_whose_etc_is_a_link_is_left_alone left_alone raw "$i/etc-link.img" image-unsafe
ok disk_with_a_file_where_our_folder_goes_is_left_alone left_alone raw "$i/etc-file.img" image-unsafe
ok disk_open_in_a_qemu_is_left_alone used_by_qemu
ok backing_file_open_for_writing_is_left_alone backing_written_by_qemu
ok injection_that_takes_too_long_leaves_nothing too_late
ok killed_worker_leaves_nothing worker_killed
ok client_that_leaves_leaves_nothing client_gone
ok cancelled_injection_leaves_nothing cancelled
ok killed_root_half_leaves_nothing privd_killed
ok worker_runs_as_its_own_user runs_as_its_own_user
ok secret_is_nowhere_but_in_the_disk no_secret_outside
done_testing
