# shellcheck shell=bash
# images_hostile.sh - images that are damaged, that loop, or that are very many files; sourced by images.sh

: "${box:=}" "${i:=}"

images_damaged() {
    local tree=$box/tree/many n

    if wanted corrupt-ext4; then
        fs_ext4 "$i/corrupt-ext4.img" debian 32
        debugfs -w -R 'clri <2>' "$i/corrupt-ext4.img" >/dev/null 2>&1
    fi
    if wanted panic; then
        fs_ext4 "$i/panic.img" debian 32
        tune2fs -e panic "$i/panic.img" >/dev/null
        n=$(debugfs -R 'blocks /etc' "$i/panic.img" 2>/dev/null | tr -d ' ')
        dd if=/dev/urandom of="$i/panic.img" bs=1024 seek="$n" count=1 conv=notrunc status=none
    fi
    if wanted corrupt-xfs; then
        fs_xfs "$i/corrupt-xfs.img" redhat 310
        # The root folder's inode: its number is in the superblock.
        n=$(xfs_db -r -c 'sb 0' -c 'p rootino' -c 'convert ino '"$(xfs_db -r -c 'sb 0' -c 'p rootino' \
            "$i/corrupt-xfs.img" | sed 's/.*= //')"' daddr' "$i/corrupt-xfs.img" | sed -n 's/.*(\([0-9]*\)).*/\1/p')
        dd if=/dev/urandom of="$i/corrupt-xfs.img" bs=512 seek="$n" count=64 conv=notrunc status=none
    fi
    if wanted link-loop; then
        cp -a "$box/tree/debian" "$box/tree/loop" && ln -s virtid "$box/tree/loop/etc/virtid" &&
            fs_ext4 "$i/link-loop.img" loop 32
    fi
    if wanted folder-loop; then
        fs_ext4 "$i/folder-loop.img" debian 32
        debugfs -w -R 'link /etc /etc/virtid' "$i/folder-loop.img" >/dev/null 2>&1
    fi
    if wanted folder-file; then
        cp -a "$box/tree/debian" "$box/tree/torn" && mkdir "$box/tree/torn/etc/virtid" && fs_ext4 "$i/folder-file.img" torn 32
        n=$(debugfs -R 'blocks /etc/virtid' "$i/folder-file.img" 2>/dev/null | tr -d ' ')
        dd if=/bin/busybox of="$i/folder-file.img" bs=1024 seek="$n" count=1 conv=notrunc status=none
    fi
    if wanted folder-torn; then
        fs_ext4 "$i/folder-torn.img" debian 32
        n=$(debugfs -R 'blocks /etc' "$i/folder-torn.img" 2>/dev/null | tr -d ' ')
        dd if=/dev/urandom of="$i/folder-torn.img" bs=1024 seek="$n" count=1 conv=notrunc status=none
    fi
    images_large
    if wanted many-files; then
        # mke2fs looks through a folder for each file it adds.
        cp -a "$box/tree/debian" "$tree" && (cd "$tree/etc" && mkdir large && seq -f 'large/%05g' 10000 | xargs touch &&
            seq -f 'folder-%03g' 200 | xargs mkdir && for folder in folder-*; do
            (cd "$folder" && seq 500 | xargs touch)
        done) && mke2fs -q -t ext4 -N 120000 -d "$tree" "$i/many-files.img" 256M >/dev/null 2>&1
        rm -rf "$tree"
    fi
    return 0
}

# Minutes and a gigabyte: for check-images.
images_large() {
    local tree=$box/tree/many

    if wanted million-files; then
        cp -a "$box/tree/debian" "$tree" && python3 - "$tree/etc" 2000 500 <<-'END' &&
		import os, sys
		for folder in range(int(sys.argv[2])):
		    path = f"{sys.argv[1]}/folder-{folder:04}"
		    os.mkdir(path)
		    for file in range(int(sys.argv[3])):
		        os.close(os.open(f"{path}/{file}", os.O_CREAT | os.O_WRONLY, 0o644))
		END
            mke2fs -q -t ext4 -N 1100000 -d "$tree" "$i/million-files.img" 1G >/dev/null 2>&1
        rm -rf "$tree"
    fi
    if wanted huge-folder; then
        cp -a "$box/tree/debian" "$tree" && (cd "$tree/etc" && seq -f '%06g' 30000 | xargs touch) &&
            mke2fs -q -t ext4 -N 40000 -d "$tree" "$i/huge-folder.img" 128M >/dev/null 2>&1
        rm -rf "$tree"
    fi
    return 0
}
