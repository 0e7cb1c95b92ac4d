#!/bin/bash
# `virtid enable --install-agent` for a guest that has neither systemd nor a C library: it boots by
# sysvinit's folders, and the agent that was put there proves itself.  The others are told why not.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"
images=$box/var-lib/libvirt/images

# busybox_root DIR: a system of one static program.
busybox_root() {
    local name

    mkdir -p "$1"/{bin,sbin,usr/bin,usr/sbin,usr/lib,etc/init.d,proc,sys,dev,run,tmp,var/log,root}
    cp /bin/busybox "$1/bin/"
    for name in $(/bin/busybox --list); do
        [ "$name" = busybox ] || ln -s busybox "$1/bin/$name"
    done
    echo ID=tiny >"$1/etc/os-release"
    echo root:x:0:0:root:/root:/bin/sh >"$1/etc/passwd"
    echo root:x:0: >"$1/etc/group"
}

# What sysvinit does in runlevel 2 and at the end, without its two programs.
sysvinit_root() {
    busybox_root "$1"
    mkdir "$1"/etc/rc{0,1,2,3,4,5,6}.d
    ln -s ../usr/lib/virtid/run-agent "$1/bin/virtid-agent" # for has_token
    cat >"$1/sbin/init" <<-'END'
	#!/bin/sh
	export PATH=/usr/sbin:/usr/bin:/sbin:/bin
	mount -o remount,rw /
	mount -t tmpfs -o mode=755 run /run
	mkdir -p /dev/pts && mount -t devpts pts /dev/pts
	for script in /etc/rc2.d/S*; do "$script" start </dev/null >/dev/ttyS0 2>&1; done
	echo "guest is up" >/dev/ttyS0
	stty -F /dev/ttyS1 raw -echo
	while :; do setsid sh </dev/ttyS1 >/dev/ttyS1 2>&1; sleep 1; done &
	trap 'for script in /etc/rc0.d/K*; do "$script" stop; done; sync; mount -o remount,ro /; poweroff -f' TERM
	while :; do sleep 3600 & wait; done
	END
    chmod 755 "$1/sbin/init"
}

alpine_root() {
    busybox_root "$1"
    ln -s /bin/busybox "$1/sbin/init"
    echo '#!/bin/sh' >"$1/sbin/openrc-run"
    mkdir -p "$1/etc/runlevels/default"
}

runit_root() {
    busybox_root "$1"
    ln -s /usr/bin/runit-init "$1/sbin/init"
}

# guest_image KIND
guest_image() {
    "$1_root" "$box/$1.dir" && truncate -s 96M "$images/$1.raw" &&
        mke2fs -q -F -t ext4 -d "$box/$1.dir" "$images/$1.raw" && chmod 600 "$images/$1.raw"
}

# has_files KIND FILE...: in its image, and nothing of another init system's.
has_files() {
    local image=$images/$1.raw file

    shift
    for file in "$@"; do
        debugfs -R "stat $file" "$image" 2>/dev/null | grep -q Inode: || {
            echo "no $file"
            return 1
        }
    done
    ! debugfs -R 'stat /etc/systemd' "$image" 2>/dev/null | grep -q Inode: && e2fsck -fn "$image" >/dev/null 2>&1
}

# left_alone KIND: not a bit of its image differs.
left_alone() {
    [ "$(sha256sum <"$images/$1.raw")" = "$before" ]
}

told() { # told KIND PROBLEM
    host_wait 180 why_says "$1" "$2" || {
        inside virtid why "$1"
        return 1
    }
}

in_guest() {
    guest_run "$box" sysvinit 30 "$1"
}

comes_back() {
    # shellcheck disable=SC2016 # the guest's
    in_guest 'kill -9 $(pidof ld-linux-x86-64.so.2) && sleep 4 && virtid-agent status; [ $? -le 5 ] && pidof ld-linux-x86-64.so.2'
}

stops() {
    in_guest '/etc/init.d/virtid-agent status && /etc/init.d/virtid-agent stop && ! /etc/init.d/virtid-agent status && ! pidof ld-linux-x86-64.so.2'
}

stack_up
for kind in sysvinit alpine runit; do
    must guest_image $kind
    must define $kind
done
before=$(sha256sum <"$images/runit.raw")
ok enable_takes_a_guest_with_sysvinit inside virtid enable --install-agent sysvinit
ok the_agent_is_put_there provisioned sysvinit 240
ok with_scripts_a_loader_and_a_libc has_files sysvinit /etc/init.d/virtid-agent /etc/rc2.d/S01virtid-agent \
    /etc/rc0.d/K01virtid-agent /usr/lib/virtid/ld-linux-x86-64.so.2 /usr/lib/virtid/libc.so.6 /etc/virtid/slots/inject
ok the_guest_starts virsh start sysvinit
token=$(has_token sysvinit 120)
ok the_agent_there_has_a_token test -n "$token"
ok a_killed_agent_comes_back comes_back
ok its_script_stops_it stops
virsh destroy sysvinit >/dev/null 2>&1
ok enable_takes_a_guest_with_openrc inside virtid enable --install-agent alpine
ok the_agent_is_put_there_too provisioned alpine 240
ok with_a_service_in_the_default_runlevel has_files alpine /etc/init.d/virtid-agent /etc/runlevels/default/virtid-agent \
    /usr/lib/virtid/ld-linux-x86-64.so.2 /usr/lib/virtid/run-agent
ok enable_takes_a_guest_with_neither inside virtid enable --install-agent runit
ok it_is_told_that_nothing_would_start_the_agent told runit agent-init
ok its_disk_is_left_alone left_alone runit
done_testing
