# shellcheck shell=bash
# images.sh - real disk images of many layouts, made for the tests; sourced after privd.sh
#
# Files go in with mke2fs and mkfs.xfs; what needs a kernel (LVM, btrfs, labels) is made in one libguestfs
# appliance, never by the host's kernel. Names: $box/images/NAME.img or .qcow2.

: "${box:=}" "${i:=}" "${fish_accel:=}" "${fish_cache:=}"
# shellcheck source=tests/lib/images_hostile.sh
. "$(dirname "${BASH_SOURCE[0]}")/images_hostile.sh"
# shellcheck source=tests/lib/images_devices.sh
. "$(dirname "${BASH_SOURCE[0]}")/images_devices.sh"

images_trees() { # the files of guests, in $box/tree/NAME
    local tree

    for tree in debian redhat alpine noos; do
        mkdir -p "$box/tree/$tree"/{bin,sbin,etc,dev,proc,sys,tmp,root,usr/lib,usr/sbin}
        cp /bin/busybox "$box/tree/$tree/bin/busybox"
        images_init >"$box/tree/$tree/sbin/init"
        chmod 755 "$box/tree/$tree/sbin/init"
    done
    for tree in debian redhat; do
        echo "ID=$tree" >"$box/tree/$tree/usr/lib/os-release"
        ln -s ../usr/lib/os-release "$box/tree/$tree/etc/os-release"
    done
    mkdir "$box/tree/redhat/etc/selinux"
    echo SELINUX=enforcing >"$box/tree/redhat/etc/selinux/config"
    echo ID=alpine >"$box/tree/alpine/etc/os-release"
    echo 3.20.0 >"$box/tree/alpine/etc/alpine-release"
    mkdir -p "$box/tree/boot/grub2" "$box/tree/home/user" "$box/tree/alpine/etc/init.d"
    for tree in "$box"/tree/*; do
        tar -C "$tree" --owner=0 --group=0 -cf "$tree.tar" .
    done
}

images_init() { # what a guest runs: says what it found, and ends
    cat <<-'END'
	#!/bin/busybox sh
	b=/bin/busybox
	echo "guest-booted $($b sed -n 's/^ID=//p' /etc/os-release)"
	echo "guest-slot $($b stat -c '%a %u %g %s' /etc/virtid/slots/inject) $($b od -An -v -tx1 /etc/virtid/slots/inject | $b tr -d ' \n')"
	$b sync
	$b poweroff -f
	END
}

images_proto() { # images_proto TREE: the tree as mkfs.xfs -p reads it
    printf 'none\n0 0\n'
    images_proto_folder "$1" 755
}

images_proto_folder() { # images_proto_folder DIR MODE [NAME]
    local path

    echo "${3:-} d--$2 0 0"
    for path in "$1"/*; do
        if [ -L "$path" ]; then
            echo "${path##*/} l--777 0 0 $(readlink "$path")"
        elif [ -d "$path" ]; then
            images_proto_folder "$path" 755 "${path##*/}"
        elif [ -e "$path" ]; then
            echo "${path##*/} ---$(stat -c %a "$path") 0 0 $path"
        fi
    done
    echo '$'
}

# FILE TREE MIB: a filesystem with the files of a tree.
fs_ext4() {
    rm -f "$1" && mke2fs -q -t ext4 -E root_owner=0:0 -d "$box/tree/$2" "$1" "$3M" >/dev/null 2>&1
}

fs_ext2() {
    rm -f "$1" && mke2fs -q -t ext2 -d "$box/tree/$2" "$1" "$3M" >/dev/null 2>&1
}

fs_xfs() {
    rm -f "$1" && images_proto "$box/tree/$2" >"$box/proto" &&
        mkfs.xfs -q -p "$box/proto" -d "file,name=$1,size=$3m"
}

fs_swap() {
    rm -f "$1" && truncate -s "$3M" "$1" && mkswap "$1" >/dev/null 2>&1
}

fs_fat() {
    rm -f "$1" && truncate -s "$3M" "$1" && mkfs.vfat "$1" >/dev/null 2>&1
}

fs_none() {
    rm -f "$1" && truncate -s "$3M" "$1"
}

# disk IMAGE gpt|dos PART...: PART is NUMBER:FS:TREE:MIB[:TYPE], in the order in which they lie on the disk.
# With dos the numbers above 4 are logical.
disk() {
    local image=$1 label=$2 at=1 script='' part number fs tree mib type extended=''

    shift 2
    script="label: $label"$'\n'
    rm -f "$image"
    for part in "$@"; do
        IFS=: read -r number fs tree mib type <<<"$part"
        if [ "$label" = dos ] && [ "$number" -gt 4 ] && [ -z "$extended" ]; then
            script+="4: start=${at}MiB, type=5"$'\n'
            extended=y
        fi
        [ -z "$extended" ] || at=$((at + 1))
        script+="$number: start=${at}MiB, size=${mib}MiB${type:+, type=$type}"$'\n'
        fs_"$fs" "$image.fs" "$tree" "$mib" || return 1
        dd if="$image.fs" of="$image" bs=1M seek="$at" conv=sparse,notrunc status=none
        at=$((at + mib))
    done
    rm -f "$image.fs"
    truncate -s $((at + 2))M "$image"
    sfdisk -q --no-tell-kernel --wipe-partitions never "$image" <<<"$script"
}

qcow2_of() { # qcow2_of NAME...: NAME.img becomes NAME.qcow2
    local name

    for name in "$@"; do
        qemu-img convert -f raw -O qcow2 "$i/$name.img" "$i/$name.qcow2" && rm "$i/$name.img" || return 1
    done
}

put() { # put IMAGE OFFSET BYTES
    # shellcheck disable=SC2059
    printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

fish() { # fish [OPTION...] <COMMANDS: in an appliance of root's
    LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=$fish_accel LIBGUESTFS_CACHEDIR=$fish_cache \
        guestfish --format=raw "$@"
}

# ---- the images ----------------------------------------------------------------

# NAME|LAYOUT|FILE|EXPECTED|HOW IT BOOTS; FILE is below $i, or a device.
# Expected is "injected" or the reason for which it is left alone.
images_list() {
    cat <<-'END'
	ext4-disk|Debian: ext4 on the whole disk, raw|ext4-disk.img|injected|root=/dev/vda type=ext4
	ext4-gpt|Debian cloud: GPT, BIOS boot 14, ESP 15, ext4 root 1, qcow2|ext4-gpt.qcow2|injected|root=/dev/vda1 type=ext4
	ext4-logical|Debian: MBR, ext2 /boot, logical swap 5, ext4 root 6, qcow2|ext4-logical.qcow2|injected|root=/dev/vda6 type=ext4
	alpine|Alpine: MBR, ext4 /boot, swap, ext4 root 3, raw|alpine.img|injected|root=/dev/vda3 type=ext4
	xfs-disk|xfs on the whole disk, qcow2|xfs-disk.qcow2|injected|root=/dev/vda type=xfs
	xfs-parts|Red Hat: GPT, ESP, xfs /boot, xfs root 3, qcow2|xfs-parts.qcow2|injected|root=/dev/vda3 type=xfs
	lvm-xfs|Red Hat: MBR, xfs root, swap and /home in LVM, SELinux labels, raw|lvm-xfs.img|injected|root=/dev/rhel/root type=xfs lvm
	lvm-ext4|Debian: GPT, ext4 root and swap in LVM, qcow2|lvm-ext4.qcow2|injected|root=/dev/debian-vg/root type=ext4 lvm
	lvm-disk|LVM on the whole disk, the volume group named as one of the host's, raw|lvm-disk.img|injected|root=/dev/hostvg/root type=ext4 lvm
	btrfs-disk|btrfs on the whole disk, root in its top, raw|btrfs-disk.img|injected|root=/dev/vda type=btrfs
	btrfs-debian|Debian: GPT, ESP, btrfs with @rootfs and a read-only snapshot of it, qcow2|btrfs-debian.qcow2|injected|root=/dev/vda2 type=btrfs subvol=@rootfs
	btrfs-fedora|Fedora: GPT, ext4 /boot, btrfs with root and home, raw|btrfs-fedora.img|injected|root=/dev/vda2 type=btrfs subvol=root
	btrfs-suse|openSUSE: btrfs, default subvolume @/.snapshots/1/snapshot, a read-only snapshot of it, raw|btrfs-suse.img|injected|root=/dev/vda type=btrfs
	overlay|qcow2 upon a raw backing file, ext4|overlay.qcow2|injected|root=/dev/vda type=ext4
	chain-16|16 backing files, ext4|chain-16.qcow2|injected|root=/dev/vda type=ext4
	loop|block device: a loop device with GPT and an ext4 root|LOOP|injected|root=/dev/vda1 type=ext4
	dev-link|block device by a name as udev makes it, /dev/VG/LV|LINK|injected|root=/dev/vda type=ext4
	lv|block device: a logical volume of the host, /dev/VG/LV|LV|injected|root=/dev/vda type=ext4
	nbd|block device: NBD that a qemu-nbd of this host serves, and has open|NBD|image-in-use|
	luks|ext4 /boot, the root in LUKS, raw|luks.img|image-encrypted|
	verity|ext4 root with its dm-verity hashes on a partition, raw|verity.img|image-verity|
	empty|nothing on it, raw|empty.img|image-empty|
	no-os|ext4 without an operating system, raw|no-os.img|no-os|
	two-roots|Debian and Alpine on two partitions, raw|two-roots.img|two-roots|
	two-lvs|two xfs roots in one volume group, raw|two-lvs.img|two-roots|
	ext4-dirty|ext4 whose guest was killed, raw|ext4-dirty.img|image-dirty|
	xfs-dirty|xfs whose guest was killed, qcow2|xfs-dirty.qcow2|image-dirty|
	hibernated|ext4 root, the guest sleeps in its swap, qcow2|hibernated.qcow2|hibernated|
	btrfs-ran|btrfs of a VM that ran before|btrfs-disk.img|image-unmarked|
	raid|half of a RAID 1 mirror, raw|raid.img|image-layout|
	ext3|ext3 on the whole disk, raw|ext3.img|image-layout|
	in-use|open in a QEMU, raw|in-use.img|image-in-use|
	read-only|a file without write permission, raw|read-only.img|image-read-only|
	template|another image is built upon it, raw|template.img|image-backing|
	mounted|block device: a loop device that another process has open|BUSY|image-in-use|
	chain-17|17 backing files|chain-17.qcow2|image-chain|
	chain-json|a backing file named json:{...}|chain-json.qcow2|image-chain|
	chain-protocol|a backing file named nbd://...|chain-protocol.qcow2|image-chain|
	chain-self|two backing files that back each other|chain-self.qcow2|image-chain|
	chain-outside|a backing file outside of image_roots|chain-outside.qcow2|image-path|
	corrupt-ext4|ext4 whose inodes were overwritten, raw|corrupt-ext4.img|image-damaged|
	corrupt-xfs|xfs whose root folder was overwritten, raw|corrupt-xfs.img|image-damaged|
	panic|ext4 that makes the kernel panic when it is looked at, raw|panic.img|image-damaged|
	link-loop|/etc/virtid is a link to itself, raw|link-loop.img|image-unsafe|
	folder-loop|/etc/virtid is /etc again, a loop of folders, raw|folder-loop.img|image-damaged|
	folder-file|/etc/virtid is a folder whose blocks are a file's, raw|folder-file.img|image-damaged|
	folder-torn|ext4 whose /etc was overwritten, raw|folder-torn.img|image-damaged|
	many-files|ext4 with 110,000 files in /etc, 10,000 of them in one folder, raw|many-files.img|injected|root=/dev/vda type=ext4
	million-files|ext4 with 1,000,000 files in /etc, raw|million-files.img|injected|root=/dev/vda type=ext4
	huge-folder|ext4 with 30,000 files in /etc itself, raw|huge-folder.img|injected|root=/dev/vda type=ext4
	END
}

wanted() { # wanted NAME: was it asked for?
    [[ " $images_wanted " == *" all "* || " $images_wanted " == *" $1 "* ]]
}

# images_make NAME...|all: those images; what they have in common is made only if it is needed.
images_make() {
    images_wanted=$*
    images_simple && images_damaged && images_chains && images_fish && images_devices && images_host_vg
}

images_simple() {
    local name

    wanted ext4-disk && fs_ext4 "$i/ext4-disk.img" debian 32
    wanted ext4-gpt && disk "$i/ext4-gpt.img" gpt 14:none::1:21686148-6449-6E6F-744E-656564454649 \
        15:fat::32:U 1:ext4:debian:64 && qcow2_of ext4-gpt
    wanted ext4-logical && disk "$i/ext4-logical.img" dos 1:ext2:boot:32 5:swap::16:82 6:ext4:debian:64 &&
        qcow2_of ext4-logical
    wanted alpine && disk "$i/alpine.img" dos 1:ext4:boot:32 2:swap::16:82 3:ext4:alpine:64
    wanted xfs-disk && fs_xfs "$i/xfs-disk.img" redhat 310 && qcow2_of xfs-disk
    wanted xfs-parts && disk "$i/xfs-parts.img" gpt 1:fat::32:U 2:xfs:boot:310 3:xfs:redhat:310 &&
        qcow2_of xfs-parts
    wanted empty && truncate -s 64M "$i/empty.img"
    wanted no-os && fs_ext4 "$i/no-os.img" noos 32
    wanted two-roots && disk "$i/two-roots.img" gpt 1:ext4:debian:32 2:ext4:alpine:32
    wanted ext3 && mke2fs -q -t ext3 -d "$box/tree/debian" "$i/ext3.img" 32M >/dev/null 2>&1
    for name in in-use read-only template; do
        wanted $name && fs_ext4 "$i/$name.img" debian 32
    done
    wanted read-only && chmod 444 "$i/read-only.img"
    wanted hibernated && disk "$i/hibernated.img" gpt 1:ext4:debian:32 2:swap::16:S &&
        put "$i/hibernated.img" $((33 * 1048576 + 4086)) S1SUSPEND && qcow2_of hibernated
    if wanted verity; then
        fs_ext4 "$box/data" debian 32 && truncate -s 8M "$box/hashes" &&
            veritysetup format "$box/data" "$box/hashes" >/dev/null &&
            disk "$i/verity.img" gpt 1:none::32 2:none::8 &&
            dd if="$box/data" of="$i/verity.img" bs=1M seek=1 conv=notrunc status=none &&
            dd if="$box/hashes" of="$i/verity.img" bs=1M seek=33 conv=notrunc status=none
    fi
    if wanted luks; then
        truncate -s 64M "$box/data" && echo password >"$box/password" &&
            cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$box/data" "$box/password" &&
            disk "$i/luks.img" gpt 1:ext4:boot:32 2:none::64 &&
            dd if="$box/data" of="$i/luks.img" bs=1M seek=33 conv=sparse,notrunc status=none
    fi
    return 0
}

images_chains() {
    local level

    if wanted overlay; then
        fs_ext4 "$i/overlay-base.raw" debian 32
        qemu-img create -q -f qcow2 -F raw -b overlay-base.raw "$i/overlay.qcow2"
    fi
    if wanted chain-16 || wanted chain-17; then
        mkdir -p "$i/chain" && fs_ext4 "$i/chain/0.raw" debian 32
        qemu-img create -q -f qcow2 -F raw -b 0.raw "$i/chain/1.qcow2"
        for level in $(seq 2 16); do
            qemu-img create -q -u -f qcow2 -F qcow2 -b $((level - 1)).qcow2 "$i/chain/$level.qcow2" 32M
        done
        # 16 files behind chain-16: 0.raw and 1 to 15. Its neighbour has one more.
        qemu-img create -q -u -f qcow2 -F qcow2 -b chain/15.qcow2 "$i/chain-16.qcow2" 32M
        qemu-img create -q -u -f qcow2 -F qcow2 -b chain/16.qcow2 "$i/chain-17.qcow2" 32M
    fi
    wanted template && qemu-img create -q -f qcow2 -F raw -b template.img "$i/upon-template.qcow2"
    wanted chain-json && qemu-img create -q -u -f qcow2 -F raw \
        -b 'json:{"driver":"file","filename":"/etc/shadow"}' "$i/chain-json.qcow2" 32M
    wanted chain-protocol && qemu-img create -q -u -f qcow2 -F raw -b nbd://127.0.0.1/x \
        "$i/chain-protocol.qcow2" 32M
    if wanted chain-self; then
        qemu-img create -q -u -f qcow2 -F qcow2 -b other.qcow2 "$i/one.qcow2" 32M
        qemu-img create -q -u -f qcow2 -F qcow2 -b one.qcow2 "$i/other.qcow2" 32M
        qemu-img create -q -u -f qcow2 -F qcow2 -b one.qcow2 "$i/chain-self.qcow2" 32M
    fi
    wanted chain-outside && qemu-img create -q -u -f qcow2 -F raw -b /etc/passwd "$i/chain-outside.qcow2" 32M
    return 0
}

# One appliance makes all that needs a kernel; its disks are named in the order of their -a.
images_fish() {
    local script=$box/fish drives=() letter name

    : >"$script"
    drive() { # drive FILE MIB: *letter is its name
        [ "$2" = 0 ] || truncate -s "$2M" "$1"
        drives+=(-a "$1")
        letter=$(printf "\\$(printf %o $((96 + ${#drives[@]} / 2)))")
    }
    if wanted lvm-xfs || wanted two-lvs; then
        fs_xfs "$box/fish-xfs" redhat 310
        drive "$box/fish-xfs" 0
        xfs=$letter
    fi
    fish_lvm
    fish_btrfs
    fish_others
    [ ${#drives[@]} = 0 ] && return 0
    fish "${drives[@]}" >"$box/fish.log" 2>&1 < <(echo run && cat "$script") || {
        cat "$box/fish.log"
        return 1
    }
    rm -f "$box/fish-xfs"
    images_killed &&
        for name in lvm-ext4 btrfs-debian xfs-dirty; do
            ! wanted $name || qcow2_of $name || return 1
        done
}

fish_ext4() { # fish_ext4 DEVICE TREE
    printf 'mkfs ext4 %s\nmount %s /\ntar-in %s.tar /\numount /\n' "$1" "$1" "$box/tree/$2"
}

fish_lvm() {
    if wanted lvm-xfs; then
        disk "$i/lvm-xfs.img" dos 1:ext4:boot:32 2:none::700:8e
        drive "$i/lvm-xfs.img" 0
        cat >>"$script" <<-END
		pvcreate /dev/sd${letter}2
		vgcreate rhel /dev/sd${letter}2
		lvcreate root rhel 312
		lvcreate swap rhel 16
		lvcreate home rhel 64
		copy-device-to-device /dev/sd$xfs /dev/rhel/root sparse:true
		mkswap /dev/rhel/swap
		mkfs ext4 /dev/rhel/home
		mount /dev/rhel/root /
		lsetxattr security.selinux system_u:object_r:etc_t:s0 27 /etc
		umount /
		END
    fi
    if wanted two-lvs; then
        drive "$i/two-lvs.img" 700
        cat >>"$script" <<-END
		pvcreate /dev/sd$letter
		vgcreate two /dev/sd$letter
		lvcreate a two 312
		lvcreate b two 312
		copy-device-to-device /dev/sd$xfs /dev/two/a sparse:true
		copy-device-to-device /dev/sd$xfs /dev/two/b sparse:true
		END
    fi
    if wanted lvm-ext4; then
        disk "$i/lvm-ext4.img" gpt 1:fat::32:U 2:none::120:V
        drive "$i/lvm-ext4.img" 0
        cat >>"$script" <<-END
		pvcreate /dev/sd${letter}2
		vgcreate debian-vg /dev/sd${letter}2
		lvcreate root debian-vg 64
		lvcreate swap_1 debian-vg 16
		mkswap /dev/debian-vg/swap_1
		$(fish_ext4 /dev/debian-vg/root debian)
		END
    fi
    if wanted lvm-disk; then
        drive "$i/lvm-disk.img" 128
        cat >>"$script" <<-END
		pvcreate /dev/sd$letter
		vgcreate hostvg /dev/sd$letter
		lvcreate root hostvg 64
		$(fish_ext4 /dev/hostvg/root debian)
		END
    fi
}

fish_btrfs() {
    if wanted btrfs-disk || wanted btrfs-ran; then
        drive "$i/btrfs-disk.img" 256
        printf 'mkfs btrfs /dev/sd%s\nmount /dev/sd%s /\ntar-in %s /\numount /\n' "$letter" "$letter" \
            "$box/tree/debian.tar" >>"$script"
    fi
    if wanted btrfs-debian; then
        disk "$i/btrfs-debian.img" gpt 1:fat::32:U 2:none::256
        drive "$i/btrfs-debian.img" 0
        cat >>"$script" <<-END
		mkfs btrfs /dev/sd${letter}2
		mount /dev/sd${letter}2 /
		btrfs-subvolume-create /@rootfs
		tar-in $box/tree/debian.tar /@rootfs
		btrfs-subvolume-snapshot /@rootfs /before-upgrade ro:true
		umount /
		END
    fi
    if wanted btrfs-fedora; then
        disk "$i/btrfs-fedora.img" gpt 1:ext4:boot:32 2:none::256
        drive "$i/btrfs-fedora.img" 0
        cat >>"$script" <<-END
		mkfs btrfs /dev/sd${letter}2
		mount /dev/sd${letter}2 /
		btrfs-subvolume-create /root
		btrfs-subvolume-create /home
		tar-in $box/tree/redhat.tar /root
		umount /
		END
    fi
    if wanted btrfs-suse; then
        drive "$i/btrfs-suse.img" 256
        # Subvolumes get 256, 257, ... in the order in which they are made.
        cat >>"$script" <<-END
		mkfs btrfs /dev/sd$letter
		mount /dev/sd$letter /
		btrfs-subvolume-create /@
		mkdir-p /@/.snapshots/1
		mkdir-p /@/.snapshots/2
		btrfs-subvolume-create /@/.snapshots/1/snapshot
		tar-in $box/tree/debian.tar /@/.snapshots/1/snapshot
		btrfs-subvolume-snapshot /@/.snapshots/1/snapshot /@/.snapshots/2/snapshot ro:true
		btrfs-subvolume-set-default 257 /
		umount /
		END
    fi
}

fish_others() {
    if wanted raid; then
        drive "$box/raid-other" 64
        other=$letter
        drive "$i/raid.img" 64
        cat >>"$script" <<-END
		md-create mirror "/dev/sd$other /dev/sd$letter" level:raid1
		$(fish_ext4 /dev/md127 debian)
		md-stop /dev/md127
		END
    fi
}

# Written to and killed: their journals are as those of guests that lost power.
images_killed() {
    if ! wanted ext4-dirty && ! wanted xfs-dirty; then
        return 0
    fi
    fs_ext4 "$i/ext4-dirty.img" debian 32 && fs_xfs "$i/xfs-dirty.img" redhat 310 || return 1
    fish -a "$i/ext4-dirty.img" -a "$i/xfs-dirty.img" >"$box/fish.log" 2>&1 <<-'END'
	run
	mount /dev/sda /
	mkdir /mnt
	mount /dev/sdb /mnt
	write /etc/new dirty
	write /mnt/etc/new dirty
	sync
	write /etc/newer dirty
	write /mnt/etc/newer dirty
	-get-pid | xargs kill -9
	END
    return 0
}

# ---- does it boot? -------------------------------------------------------------

boot_files() { # a kernel and a first stage that finds any of our roots, in $box/boot
    local modules=$box/boot/root/modules n=0 module

    mkdir -p "$box/boot/root"/{bin,sbin,etc,proc,sys,dev,root,run,tmp} "$modules"
    boot_kernel=$(guest_kernel "$box/boot") || return 1
    root=/
    [ -e "/boot/vmlinuz-$boot_kernel" ] || root=$box/boot/kernel
    modprobe -d "$root" -S "$boot_kernel" --show-depends -a virtio_pci virtio_blk xfs btrfs dm_mod crc32c_generic \
        2>/dev/null | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$box/boot/modules"
    while read -r module; do
        n=$((n + 1))
        cp "$module" "$modules/$(printf %02d "$n")-${module##*/}"
    done <"$box/boot/modules"
    cp /bin/busybox "$box/boot/root/bin/"
    cp "$(readlink -f /sbin/lvm)" "$box/boot/root/sbin/lvm"
    guest_libraries "$box/boot/root" "$box/boot/root/sbin/lvm"
    cat >"$box/boot/root/init" <<-'END'
	#!/bin/busybox sh
	b=/bin/busybox
	$b mount -t proc proc /proc
	$b mount -t sysfs sysfs /sys
	$b mount -t devtmpfs dev /dev
	for m in /modules/*; do $b insmod "$m"; done
	i=0
	until [ -b /dev/vda ] || [ $i -ge 100 ]; do $b sleep 0.1; i=$((i + 1)); done
	read -r line </proc/cmdline
	for word in $line; do
	    case $word in
	    guest.root=*) root=${word#*=} ;;
	    guest.type=*) type=${word#*=} ;;
	    guest.subvol=*) flags="-o subvol=${word#*=}" ;;
	    guest.lvm) DM_DISABLE_UDEV=1 /sbin/lvm vgchange -ay --config 'activation{udev_sync=0 udev_rules=0 verify_udev_operations=1}' ;;
	    esac
	done
	$b mount -t "$type" $flags "$root" /root || $b poweroff -f
	for d in proc sys dev; do $b mount -o move /$d /root/$d; done
	exec $b switch_root /root /sbin/init
	END
    chmod +x "$box/boot/root/init"
    (cd "$box/boot/root" && find . | cpio --quiet -o -H newc | gzip -1) >"$box/boot/initrd"
}

# boots FORMAT IMAGE ARGUMENTS: what its console said; the image stays as it is.
boots() {
    local arguments='' word

    for word in $3; do
        arguments+=" guest.$word"
    done
    timeout -k 5 300 qemu-system-x86_64 -machine q35 -cpu max -m 256 -nodefaults -display none -no-reboot \
        -serial stdio -kernel "$box/boot/vmlinuz" -initrd "$box/boot/initrd" \
        -append "console=ttyS0 quiet panic=-1 mitigations=off$arguments" \
        -drive "file=$2,format=$1,if=virtio,snapshot=on,file.locking=off" </dev/null 2>&1 | tr -d '\r'
}
