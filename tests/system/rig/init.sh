#!/bin/bash
# init.sh DIR NAME STAGE - PID 1 of a host in a box (host.sh)
#
# Runs in fresh mount, uts, ipc, net and pid namespaces.  Mounts here are seen by
# nobody else.  It then only reaps: its end takes everything in the box with it.
set -eu
dir=$1 name=$2 stage=$3

hostname "$name"
mount --make-rprivate /
# A sysfs of its own shows this network namespace, and no cgroups of the machine.
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/libvirt

# supermin asks the package database what to put into its appliance.
mount --bind /var/lib/dpkg "$dir/var-lib/dpkg"
mount --rbind "$dir/var-lib" /var/lib
mount --bind "$dir/var-log" /var/log
mount --bind "$dir/var-cache" /var/cache
mount --bind "$dir/etc" /etc
[ -z "$stage" ] || mount --bind "$stage/opt/virtid" "$dir/opt/virtid"
mount --rbind "$dir/opt" /opt

ip link set lo up
: >"$dir/ready"
# bash reaps every orphan as soon as it ends, also while it waits for its own child.
while :; do
    sleep 86400 &
    wait $! || :
done
