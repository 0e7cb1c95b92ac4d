#!/bin/bash
# cloud-guest.sh CACHE - make CACHE/cloud.qcow2, a guest as Debian's cloud images are
#
# Debian 12 with its own kernel, initrd and GRUB, booted by BIOS. GPT: partition 1 is the
# root, ext4, and lies behind 14, BIOS boot, and 15, ESP. It knows nothing of virtid. No root
# password, no loop device: partitions are written where they lie in the file. A second run
# takes the image from the cache.
set -eu
. "$(dirname "$(readlink -f "$0")")/debian.sh"
cache=$(mkdir -p "$1" && cd "$1" && pwd)
root=$cache/cloud.dir
disk=$cache/cloud.raw
sector=512
bios_at=2048 esp_at=8192 root_at=262144 # as on Debian's
root_mib=1400
root_uuid=9b1f0d2e-5a86-4f0c-8d5e-3c1a6f2b7d10

[ -e "$cache/cloud.qcow2" ] && [ "$cache/cloud.qcow2" -nt "$0" ] && exit 0
trap 'rm -rf "$root" "$disk" "$cache/cloud.new"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

write_files() {
    echo cloud >"$root/etc/hostname"
    printf '127.0.0.1 localhost cloud\n' >"$root/etc/hosts"
    printf 'UUID=%s / ext4 rw,discard,errors=remount-ro 0 1\n' $root_uuid >"$root/etc/fstab"
    : >"$root/etc/machine-id"
    rm -f "$root/etc/resolv.conf"
    printf '[Match]\nType=ether\n\n[Network]\nDHCP=ipv4\n' >"$root/etc/systemd/network/20-dhcp.network"
    systemctl --root="$root" -q enable systemd-networkd.service
}

# What grub-install and update-grub would have written: first the modules, then core.img,
# which finds its folder by the filesystem's UUID.
write_grub() {
    local kernel

    kernel=$(cd "$root/boot" && echo vmlinuz-*)
    mkdir -p "$root/boot/grub"
    cp -r "$root/usr/lib/grub/i386-pc" "$root/boot/grub/"
    cat >"$root/boot/grub/grub.cfg" <<-END
	serial --unit=0 --speed=115200
	terminal_output serial console
	set timeout=0
	search --no-floppy --fs-uuid --set=root $root_uuid
	menuentry 'Debian GNU/Linux' {
	    linux /boot/$kernel root=UUID=$root_uuid ro console=tty0 console=ttyS0,115200
	    initrd /boot/initrd.img-${kernel#vmlinuz-}
	}
	END
    echo "search.fs_uuid $root_uuid root
set prefix=(\$root)/boot/grub" >"$root/boot/grub/load.cfg"
    chroot "$root" grub-mkimage -O i386-pc -p /boot/grub -c /boot/grub/load.cfg \
        -o /boot/grub/core.img biosdisk part_gpt ext2 search_fs_uuid normal
}

# put FILE AT: FILE's bytes from sector AT on.
put() {
    dd if="$1" of="$disk" bs=$sector seek="$2" conv=notrunc status=none
}

# poke AT FORMAT VALUE: a little-endian number at a byte of the disk.
poke() {
    /usr/bin/python3 -c 'import struct,sys; f = open(sys.argv[1], "r+b"); f.seek(int(sys.argv[2]))
f.write(struct.pack(sys.argv[3], int(sys.argv[4])))' "$disk" "$@"
}

# GRUB in the gap: boot.img knows where core.img begins, its first sector where the rest lies.
install_grub() {
    local core=$root/boot/grub/core.img length

    length=$((($(stat -c %s "$core") + sector - 1) / sector))
    dd if="$root/usr/lib/grub/i386-pc/boot.img" of="$disk" bs=440 count=1 conv=notrunc status=none
    poke 92 '<Q' $bios_at
    put "$core" $bios_at
    poke $((bios_at * sector + 500)) '<Q' $((bios_at + 1))
    poke $((bios_at * sector + 508)) '<H' $((length - 1))
}

make_disk() {
    rm -f "$disk"
    truncate -s $((root_at / 2048 + root_mib + 1))M "$disk"
    /sbin/sfdisk --quiet "$disk" <<-END
	label: gpt
	unit: sectors
	14: start=$bios_at, size=$((esp_at - bios_at)), type=21686148-6449-6E6F-744E-656564454649
	15: start=$esp_at, size=$((root_at - esp_at)), type=U
	1: start=$root_at, size=$((root_mib * 2048)), type=L
	END
    /sbin/mke2fs -q -F -t ext4 -U $root_uuid -E offset=$((root_at * sector)),lazy_itable_init=0 \
        -d "$root" "$disk" ${root_mib}M 2>&1 | grep -v '^$' || :
}

debian_root "$root" systemd-sysv,udev,iproute2,linux-image-cloud-amd64,grub-pc-bin,grub-common
write_files
write_grub
make_disk
install_grub
qemu-img convert -O qcow2 "$disk" "$cache/cloud.new"
mv "$cache/cloud.new" "$cache/cloud.qcow2"
