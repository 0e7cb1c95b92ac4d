#!/bin/bash
# The secret comes into images of other layouts than the simplest, and every other image stays as
# it is, bit for bit. A sample of what `make check-images` does. Real images, the real appliance, no libvirt.
set -u
# shellcheck source=tests/lib/privd.sh
. "$(dirname "$0")/../lib/privd.sh"
# shellcheck source=tests/system/rig/guest.sh
. "$(dirname "$0")/rig/guest.sh"
# shellcheck source=tests/lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=tests/lib/images_try.sh
. "$(dirname "$0")/../lib/images_try.sh"

written() { # written NAME: injected, and the guest boots with it
    try_image "$1"
    echo "$answer ($seconds s)"
    as_expected && { boots_with_secret || {
        echo "$boot_says"
        false
    }; }
}

left() { # left NAME: for the reason of the list, bit-identical
    try_image "$1"
    echo "$answer ($seconds s), identical: $identical"
    as_expected
}

on_device() { # on_device TEST COMMAND NAME
    if [ -z "${device_of[$3]:-}" ]; then
        n=$((n + 1))
        echo "ok $n - $1 # SKIP there are no loop devices here"
    else
        ok "$@"
    fi
}

# The labels are SELinux's: a new file has its folder's.
labelled() {
    fish --ro -a "$i/lvm-xfs.img" <<-'END' | tee "$box/labels"
	run
	mount /dev/rhel/root /
	lgetxattr /etc/virtid security.selinux
	lgetxattr /etc/virtid/slots/inject security.selinux
	END
    [ "$(grep -ao system_u:object_r:etc_t:s0 "$box/labels" | wc -l)" = 2 ]
}

# Somebody rewrites the overlay while it is read: its backing file's name, its size, and the file itself by another.
swapper() {
    python3 - "$i/moving.qcow2" "$box/elsewhere/victim.raw" <<'END' &
import os, shutil, struct, sys, time
path, victim = sys.argv[1:]
head = open(path, "rb").read()
at, length = struct.unpack(">QI", head[8:20])
good = head[at:at + length]
names = [good, b"moving-b.raw", victim.encode(), b"/etc/passwd", b"../elsewhere/victim.raw", b"moving.qcow2"]
turn = 0
while True:
    turn += 1
    name = names[turn % len(names)]
    try:
        if turn % 7 == 0:
            os.symlink(victim, path + ".n")
            os.rename(path + ".n", path)
        if turn % 7 in (0, 1):
            with open(path + ".m", "wb") as new:
                new.write(head)
            os.chmod(path + ".m", 0o644)
            os.rename(path + ".m", path)
        with open(path, "r+b") as f:
            f.seek(8)
            f.write(struct.pack(">QI", at, len(name)))
            f.seek(at)
            f.write(name)
            f.seek(24)
            f.write(struct.pack(">Q", (32 << 20) + turn % 3 * 65536))
            f.seek(8)
            f.write(struct.pack(">QI", at, len(good)))
            f.seek(at)
            f.write(good)
    except OSError:
        pass
    time.sleep(turn % 5 * 0.02)
END
    swapper=$!
    others="${others:-} $swapper"
}

# VIRTID_SWAPS: how many tries (6); an appliance is started only when one comes through.
changed_while_it_is_read() {
    local before after answer written=0

    fs_ext4 "$i/moving-a.raw" debian 32 && cp "$i/moving-a.raw" "$i/moving-b.raw" &&
        cp "$i/moving-a.raw" "$box/elsewhere/victim.raw" &&
        qemu-img create -q -f qcow2 -F raw -b moving-a.raw "$i/moving.qcow2" || return 1
    before=$(sha256sum "$i"/moving-?.raw "$box/elsewhere/victim.raw" /etc/passwd)
    swapper
    for _ in $(seq "${VIRTID_SWAPS:-6}"); do
        answer=$(ask inject $uuid qcow2 "$i/moving.qcow2" 120000 DIR:755:/etc/virtid)
        echo "$answer"
        [[ $answer == injected* ]] && written=$((written + 1))
        [[ $answer == injected* || $answer == "skipped image-"* || $answer == *image-* || $answer == *"no such"* ]] || return 1
    done
    kill $swapper
    after=$(sha256sum "$i"/moving-?.raw "$box/elsewhere/victim.raw" /etc/passwd)
    echo "$written of ${VIRTID_SWAPS:-6} were written"
    [ "$before" = "$after" ]
}

images_up
ok images_are_made images_make lvm-xfs btrfs-debian loop two-roots xfs-dirty btrfs-ran panic mounted chain-json \
    folder-loop
ok guest_is_made boot_files
ok privd_starts privd_up
ok secret_comes_into_xfs_in_lvm written lvm-xfs
ok new_files_have_the_label_of_their_folder labelled
ok secret_comes_into_a_btrfs_subvolume written btrfs-debian
on_device secret_comes_onto_a_block_device written loop
ok two_roots_are_left_alone left two-roots
ok xfs_of_a_killed_guest_is_left_alone left xfs-dirty
ok btrfs_of_a_vm_that_ran_is_left_alone left btrfs-ran
ok disk_that_kills_the_appliance_is_left_alone left panic
on_device block_device_that_is_open_is_left_alone left mounted
ok backing_file_by_json_is_left_alone left chain-json
ok loop_of_folders_is_left_alone left folder-loop
ok chain_that_changes_while_it_is_read_is_written_nowhere_else changed_while_it_is_read
done_testing
