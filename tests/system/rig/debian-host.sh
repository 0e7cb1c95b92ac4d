#!/bin/bash
# debian-host.sh CACHE - make CACHE/{vmlinuz,initrd,debian-host.img}
#
# A Debian 12 as a machine that runs virtual machines has it: systemd, AppArmor, Debian's
# own libvirtd, swtpm, libguestfs with a kernel for its appliance, and the libraries of our
# programs, but nothing of ours.  A root shell waits on its second serial port.  A second run
# takes the image from the cache.
set -eu
. "$(dirname "$(readlink -f "$0")")/host.sh"
. "$HOST_RIG/guest.sh"
. "$HOST_RIG/debian.sh"
cache=$(mkdir -p "$1" && cd "$1" && pwd)
root=$cache/debian-host.dir
packages=systemd-sysv,udev,dbus,iproute2,procps,apparmor,e2fsprogs
packages+=,libvirt-daemon-system,libvirt-clients,qemu-system-x86,qemu-utils,swtpm,swtpm-tools,libguestfs0
packages+=,libevent-2.1-7,libevent-openssl-2.1-7,libevent-pthreads-2.1-7,libjansson4,libinih1,libcurl4
packages+=,libtss2-esys-3.0.2-0,libtss2-mu0,libtss2-rc0,libtss2-tctildr0,libtss2-tcti-device0
packages+=,libsqlite3-0,libsmartcols1,libseccomp2,libxml2

finished() {
    [ -e "$cache/debian-host.img" ] && [ "$cache/debian-host.img" -nt "$0" ] &&
        [ "$cache/debian-host.img" -nt "$HOST_RIG/debian.sh" ]
}

write_files() {
    echo host1 >"$root/etc/hostname"
    printf '127.0.0.1 localhost host1 id.units.test\n' >"$root/etc/hosts"
    echo '/dev/vda / ext4 defaults 0 1' >"$root/etc/fstab"
    : >"$root/etc/machine-id"
    cat >"$root/etc/systemd/system/rig-shell.service" <<-'END'
	[Unit]
	Description=Root shell on the second serial port

	[Service]
	ExecStart=/bin/bash
	Environment=HOME=/root TERM=dumb PS1= LIBVIRT_DEFAULT_URI=qemu:///system
	Environment=PATH=/opt/virtid/sbin:/opt/virtid/bin:/usr/sbin:/usr/bin:/sbin:/bin
	StandardInput=tty-force
	StandardOutput=tty
	StandardError=tty
	TTYPath=/dev/ttyS1
	Restart=always

	[Install]
	WantedBy=multi-user.target
	END
    systemctl --root="$root" -q enable rig-shell.service
    # What costs time under emulation and is nothing to us.
    systemctl --root="$root" -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
        e2scrub_all.timer e2scrub_reap.service fstrim.timer getty@tty1.service getty-static.service \
        serial-getty@ttyS0.service systemd-pstore.service libvirt-guests.service
}

# The kernel that the guest runs on, as its package would have left it.
write_kernel() {
    local from=/ version=$1

    [ -e "/boot/vmlinuz-$version" ] || from=$cache/kernel
    install -d "$root/boot" "$root/lib/modules"
    install -m 644 "$cache/vmlinuz" "$root/boot/vmlinuz-$version"
    cp -a "$from/lib/modules/$version" "$root/lib/modules/"
}

version=$(guest_kernel "$cache")
guest_initrd "$cache"
finished && exit 0
trap 'rm -rf "$root" "$cache/debian-host.img.new"' EXIT
trap 'exit 130' INT TERM
debian_root "$root" $packages
write_files
write_kernel "$version"
debian_image "$root" 3G "$cache/debian-host.img"
