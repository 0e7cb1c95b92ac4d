#!/bin/bash
# tiny-guest.sh CACHE [STAGE] - make CACHE/{vmlinuz,initrd,tiny.img}
#
# A guest that boots in seconds under TCG: busybox on an ext4 image without
# partitions, and virtid-agent with its libraries when STAGE (DESTDIR of a make
# install) has it.  Its console says what happens; a shell waits on ttyS1.
set -eu
. "$(dirname "$(readlink -f "$0")")/host.sh"
. "$HOST_RIG/guest.sh"
cache=$1 stage=${2:-}
agent=$stage$HOST_PREFIX/sbin/virtid-agent
root=$cache/tiny.dir

mkdir -p "$cache"
guest_kernel "$cache" >/dev/null
guest_initrd "$cache"

rm -rf "$root"
mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,etc,proc,sys,dev,run,tmp,var,root,lib,lib64}
cp /bin/busybox "$root/bin/"
for name in $(/bin/busybox --list); do
    [ "$name" = busybox ] || ln -s busybox "$root/bin/$name"
done
cat >"$root/etc/os-release" <<END
ID=tiny
NAME="tiny guest"
VERSION_ID=1
END
echo root:x:0:0:root:/root:/bin/sh >"$root/etc/passwd"
echo root:x:0: >"$root/etc/group"
if [ -n "$stage" ] && [ -e "$agent" ]; then
    install -m 755 "$agent" "$root/usr/sbin/"
    # The TPM's driver is loaded by name, so ldd does not show it.
    tcti=$(ldconfig -p | awk '/libtss2-tcti-device.so.0/ { print $NF; exit }')
    mkdir -p "$root${tcti%/*}"
    cp -L "$tcti" "$root$tcti"
    guest_libraries "$root" "$agent" "$tcti"
fi
cat >"$root/sbin/init" <<'END'
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LD_LIBRARY_PATH=/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu
mount -o remount,rw /
mount -t tmpfs -o mode=755 run /run
mkdir -p /dev/pts && mount -t devpts pts /dev/pts
ifconfig lo up
[ -e /sys/class/net/eth0 ] && ifconfig eth0 10.78.0.2 netmask 255.255.255.0 up
echo "guest is up" >/dev/ttyS0
if [ -x /usr/sbin/virtid-agent ]; then
    while :; do virtid-agent run </dev/null >/dev/ttyS0 2>&1; sleep 1; done &
    [ -e /sys/class/net/eth0 ] &&
        while :; do virtid-agent serve 0.0.0.0:7443 </dev/null >/dev/ttyS0 2>&1; sleep 1; done &
fi
stty -F /dev/ttyS1 raw -echo
while :; do setsid sh </dev/ttyS1 >/dev/ttyS1 2>&1; sleep 1; done &
# ACPI's power button, and everybody's children.
trap 'sync; mount -o remount,ro /; poweroff -f' TERM
while :; do sleep 3600 & wait; done
END
chmod +x "$root/sbin/init"
rm -f "$cache/tiny.new"
truncate -s 96M "$cache/tiny.new"
mke2fs -q -F -t ext4 -L tiny -d "$root" "$cache/tiny.new"
mv "$cache/tiny.new" "$cache/tiny.img"
rm -rf "$root"
