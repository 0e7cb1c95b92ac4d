#!/bin/bash
# debian-guest.sh CACHE - make CACHE/{vmlinuz,initrd,debian.img}
#
# A small Debian 12 with systemd on an ext4 image without partitions, from the
# machine's own apt sources.  It knows nothing of virtid but two units that wait:
# they serve `virtid-verify --connect` once `virtid enable --install-agent` has put the
# agent there.  A second run takes the image from the cache.
set -eu
. "$(dirname "$(readlink -f "$0")")/host.sh"
. "$HOST_RIG/guest.sh"
. "$HOST_RIG/debian.sh"
cache=$(mkdir -p "$1" && cd "$1" && pwd)
root=$cache/debian.dir

# The image is remade when this script is newer than it, or its units are.
finished() {
    [ -e "$cache/debian.img" ] && [ "$cache/debian.img" -nt "$0" ] &&
        [ "$cache/debian.img" -nt "$HOST_RIG/guest.sh" ]
}

write_files() {
    echo debian >"$root/etc/hostname"
    printf '127.0.0.1 localhost debian\n' >"$root/etc/hosts"
    echo '/dev/vda / ext4 defaults 0 1' >"$root/etc/fstab"
    : >"$root/etc/machine-id"
    rm -f "$root/etc/resolv.conf"
    printf '[Match]\nName=e*\n\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n\n[DHCPv4]\nUseDNS=no\n' \
        >"$root/etc/systemd/network/20-wired.network"
    guest_units "$root/etc/systemd/system"
    # Only what a boot needs: each unit costs time under emulation.
    systemctl --root="$root" -q enable virtid-serve.service virtid-show-token.service systemd-networkd.service
    systemctl --root="$root" -q mask systemd-networkd-wait-online.service \
        apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
        e2scrub_reap.service fstrim.timer systemd-timesyncd.service getty@tty1.service \
        systemd-pstore.service systemd-update-utmp.service systemd-hwdb-update.service \
        systemd-machine-id-commit.service systemd-firstboot.service \
        getty-static.service serial-getty@ttyS0.service systemd-modules-load.service \
        sys-kernel-debug.mount sys-kernel-tracing.mount dev-mqueue.mount dev-hugepages.mount
}

guest_kernel "$cache" >/dev/null
guest_initrd "$cache"
finished && exit 0
trap 'rm -rf "$root" "$cache/debian.img.new"' EXIT
trap 'exit 130' INT TERM
debian_root "$root" systemd-sysv,udev,iproute2
write_files
debian_image "$root" 1G "$cache/debian.img"
