#!/bin/bash
# The worker is killed, or a disk fails or is full, in the middle of an injection: the guest starts as before, the
# reason is said, and the next try works. Real images, the real appliance, no libvirt.
#
# VIRTID_CUTS=all (make check-long-cuts): at each moment and with each filesystem; else a sample.
set -u
# shellcheck source=tests/lib/privd.sh
. "$(dirname "$0")/../lib/privd.sh"
# shellcheck source=tests/system/rig/guest.sh
. "$(dirname "$0")/rig/guest.sh"
# shellcheck source=tests/lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=tests/lib/images_try.sh
. "$(dirname "$0")/../lib/images_try.sh"
# shellcheck source=tests/lib/images_cut.sh
. "$(dirname "$0")/../lib/images_cut.sh"

all=${VIRTID_CUTS:-}
# Each small file takes a block, which nobody counted before.
many=()
for number in $(seq 500); do many+=("FILE:644:/etc/many/$number:x"); done

image() { # image NAME FORMAT: where it is, and how it boots
    format=$2 path=$i/$1 boot='root=/dev/vda type=ext4'
}

# ---- killed ----------------------------------------------------------------------

# killed_at MOMENT: bit-identical before the first write, bootable behind it, and nothing is left beside it.
killed_at() {
    local before after

    for _ in 1 2 3; do
        before=$(sha256sum <"$path")
        inject_begins
        met "$1" && kill -9 "$(worker)"
        inject_ends
        [[ $answer == injected* ]] || break # it was quicker than we
    done
    [[ $answer == "skipped inject-failed "* ]] && until_true nothing_of_ours_runs || return 1
    after=$(sha256sum <"$path")
    [ "$before" != "$after" ] || return 0
    [[ $1 == written* || $1 == attached+* ]] && as_before
}

next_try_works() {
    sound || return 1
    inject_begins
    inject_ends
    [[ $answer == "injected "* ]] && boots_with_secret && no_temporary_names
}

# ---- the guest's filesystem is full ----------------------------------------------

full_ext4() { # full_ext4 IMAGE ROOM: with that many blocks of 4 KiB left, and none reserved
    local free

    rm -f "$1" && mke2fs -q -t ext4 -b 4096 -m 0 -E root_owner=0:0 -d "$box/tree/debian" "$1" 32M >/dev/null 2>&1 || return 1
    free=$(dumpe2fs -h "$1" 2>/dev/null | sed -n 's/^Free blocks: *//p')
    truncate -s $(((free - $2) * 4096)) "$box/ballast"
    tr '\0' x <"$box/ballast" >"$box/ballast.x"
    debugfs -w -R "write $box/ballast.x ballast" "$1" >/dev/null 2>&1
    rm "$box/ballast" "$box/ballast.x"
}

full_in_the_middle() {
    image full.img raw
    full_ext4 "$path" 480 || return 1 # a third of them is ext4's own, for what it delayed
    inject_begins "${many[@]}"
    inject_ends
    [[ $answer == "skipped image-full "*"No space left"* ]] && nothing_of_ours_runs && sound && no_temporary_names &&
        ! debugfs -R 'stat /etc/virtid/slots/inject' "$path" 2>/dev/null | grep -q Inode: && as_before
}

full_from_the_beginning() { # full_from_the_beginning NAME: bit-identical
    local before

    before=$(sha256sum <"$path")
    inject_begins
    inject_ends
    [[ $answer == "skipped image-full "* ]] && [ "$before" = "$(sha256sum <"$path")" ]
}

# What xfs keeps for itself is not in its numbers while it is mounted read-only: it may be found out by writing.
full_is_said() {
    inject_begins
    inject_ends
    [[ $answer == "skipped image-full "* ]] && as_before
}

# Both by their kernel's own hand, in an appliance: until nothing goes in any more.
full_others() {
    fs_xfs "$i/full-xfs.img" debian 310 && truncate -s 256M "$i/full-btrfs.img" &&
        fish -a "$i/full-xfs.img" -a "$i/full-btrfs.img" >"$box/fish.log" 2>&1 <<-END
	run
	mkfs btrfs /dev/sdb
	mount /dev/sdb /
	tar-in $box/tree/debian.tar /
	-fill 120 400000000 /ballast
	-fill 120 400000000 /ballast2
	umount /
	mount /dev/sda /
	-fill 120 400000000 /ballast
	-fill 120 400000000 /ballast2
	umount /
	END
}

# ---- the host's volume is full ---------------------------------------------------

small_volume() { # an overlay on a volume of 16 MiB
    mkdir -p "$i/small" && chmod 711 "$i/small" && mount -t tmpfs -o size=16m,mode=711 small "$i/small" &&
        fs_ext4 "$i/grows.raw" debian 32 &&
        qemu-img create -q -f qcow2 -F raw -b ../grows.raw "$i/small/grows.qcow2"
}

no_more_room() {
    dd if=/dev/zero of="$i/small/ballast" bs=64K status=none 2>/dev/null
    [ "$(stat -f -c %a "$i/small")" -lt 16 ]
}

volume_fills_up() {
    local backing

    small_volume || return 1
    image small/grows.qcow2 qcow2
    backing=$(sha256sum <"$i/grows.raw")
    inject_begins
    met attached && no_more_room || return 1
    inject_ends
    [[ $answer == "skipped host-disk-full "* ]] && [ "$backing" = "$(sha256sum <"$i/grows.raw")" ] &&
        until_true nothing_of_ours_runs && as_before
}

full_volume_is_seen() {
    local before

    image small/grows.qcow2 qcow2
    no_more_room
    before=$(sha256sum <"$path")
    inject_begins
    inject_ends
    [[ $answer == "skipped host-disk-full "* ]] && [ "$before" = "$(sha256sum <"$path")" ]
}

with_room_again() {
    rm -f "$i/small/ballast"
    qemu-img create -q -f qcow2 -F raw -b ../grows.raw "$path"
    inject_begins
    inject_ends
    [[ $answer == "injected "* ]] && boots_with_secret
}

# ---- the host's disk fails -------------------------------------------------------

# disk_fails CALLS WHEN: these calls of the appliance's QEMU on the image end with EIO (strace's when=).
disk_fails() {
    local tracer

    inject_begins
    met attached || return 1
    strace -f -qq -o /dev/null -P "$path" -e trace="$1" -e inject="$1:error=EIO:when=$2" -p "$(appliance)" &
    tracer=$!
    others="$others $tracer"
    inject_ends
    wait $tracer 2>/dev/null
    [[ $answer == "skipped host-disk-error "* ]] && until_true nothing_of_ours_runs && as_before
}

images_up
trap 'umount "$i/small" 2>/dev/null; images_down; box_down' EXIT
ok guest_is_made boot_files
ok privd_starts privd_up
ok appliance_is_built until_true compgen -G "$box/cache/inject/.guestfs-*/appliance.d/root"

fs_ext4 "$i/killed.img" debian 32
image killed.img raw
if [ "$all" = all ]; then
    for moment in started launched launched+40 looking looking+20 looking+60 attached; do
        ok "killed_at_${moment//+/_and_}_the_image_is_as_it_was" killed_at $moment
    done
    ok then_the_next_try_works next_try_works
    for moment in attached+10 attached+20 written written+4 written+10 written+20; do
        ok "killed_at_${moment//+/_and_}_the_guest_starts_as_before" killed_at $moment
        ok "after_${moment//+/_and_}_the_next_try_works" next_try_works
    done
else
    ok killed_while_it_writes_the_guest_starts_as_before killed_at written
    ok the_next_try_works next_try_works
fi
ok full_in_the_middle_the_guest_starts_as_before full_in_the_middle
if [ "$all" = all ]; then
    ok full_images_are_made full_others
    full_ext4 "$i/full.img" 20
    image full.img raw
    ok full_ext4_is_left_alone full_from_the_beginning
    image full-xfs.img raw
    boot='root=/dev/vda type=xfs'
    ok full_xfs_is_said_and_the_guest_starts_as_before full_is_said
    image full-btrfs.img raw
    ok full_btrfs_is_left_alone full_from_the_beginning
fi
ok host_volume_that_fills_up_is_told volume_fills_up
ok full_host_volume_is_seen_before_the_first_write full_volume_is_seen
[ "$all" != all ] || ok with_room_again_the_next_try_works with_room_again
fs_ext4 "$i/failing.img" debian 32
image failing.img raw
ok host_disk_that_fails_is_told disk_fails pwrite64,pwritev 3+
if [ "$all" = all ]; then
    for when in 1+ 2 4; do
        fs_ext4 "$path" debian 32
        ok "write_${when/+/_and_on}_fails_and_is_told" disk_fails pwrite64,pwritev $when
    done
    fs_ext4 "$path" debian 32
    ok failing_sync_is_told disk_fails fdatasync 1+
    fs_ext4 "$path" debian 32
    ok with_a_good_disk_the_next_try_works next_try_works
fi
done_testing
