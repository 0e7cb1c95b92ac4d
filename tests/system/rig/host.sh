# shellcheck shell=bash
# host.sh - a host in a box: a libvirtd of its own in private namespaces
#
# Sourced by `rig`, by the system tests and by quickstart.  A box is a folder
# (DIR) and a process (PID 1 of its namespaces).  Everything that a host keeps
# (/etc, /var/lib, /var/log, /var/cache, /run) is private to the box and lives in
# DIR; nothing is ever mounted outside, so the end of PID 1 is the end of the box.
#
#   DIR/pid       PID of the box's PID 1, seen from outside
#   DIR/etc ...   the box's folders
#   DIR/log       what its daemons said

HOST_PREFIX=/opt/virtid # where the programs under test appear inside
HOST_RIG=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Users that our packages would make, and those of Debian's that a bare machine may lack.
HOST_USERS=(virtid virtid-inject virtid-token virtid-signer tss libvirt-qemu)

# host_pid DIR: prints the PID of a box that is up, fails when it is down.
# A pid file may outlive its process: the answer counts only while that process
# is the PID 1 that we started.
host_pid() {
    local pid

    read -r pid 2>/dev/null <"$1/pid" || return 1
    tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qxF -- "$1" || return 1
    echo "$pid"
}

# free_id FILE: the highest system id that FILE (passwd or group) does not use.
free_id() {
    awk -F: '{ used[$3] = 1 } END { for (i = 980; i > 100; i--) if (!(i in used)) { print i; exit } }' \
        "$1"
}

# host_add_user ETC NAME: adds a system user and its group unless they exist.
host_add_user() {
    local etc=$1 name=$2 gid uid

    if ! grep -q "^$name:" "$etc/group"; then
        echo "$name:x:$(free_id "$etc/group"):" >>"$etc/group"
    fi
    grep -q "^$name:" "$etc/passwd" && return 0
    gid=$(awk -F: -v n="$name" '$1 == n { print $3 }' "$etc/group")
    uid=$(free_id "$etc/passwd")
    echo "$name:x:$uid:$gid:virtid rig:/nonexistent:/usr/sbin/nologin" >>"$etc/passwd"
}

# host_id DIR NAME: the box's uid of a user.
host_id() {
    awk -F: -v n="$2" '$1 == n { print $3 }' "$1/etc/passwd"
}

host_write_libvirt_conf() {
    local etc=$1/etc/libvirt

    rm -rf "$etc"
    mkdir -p "$etc/qemu/networks" "$etc/hooks/qemu.d" "$etc/storage" "$etc/nwfilter"
    install -d -m 700 "$etc/secrets"
    cat >"$etc/libvirtd.conf" <<-END
	listen_tls = 0
	listen_tcp = 0
	auth_unix_rw = "none"
	auth_unix_ro = "none"
	unix_sock_group = "root"
	host_uuid = "$(uuid_of "host $2")"
	log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
	END
    cat >"$etc/qemu.conf" <<-'END'
	user = "libvirt-qemu"
	group = "kvm"
	swtpm_user = "tss"
	swtpm_group = "tss"
	security_driver = "none"
	cgroup_controllers = [ ]
	namespaces = [ ]
	remember_owner = 0
	stdio_handler = "file"
	END
    : >"$etc/libvirt.conf"
}

# uuid_of WORDS: a UUID that is the same for the same words.
uuid_of() {
    printf %s "$*" | sha256sum |
        sed -E 's/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*/\1-\2-4\3-8\4-\5/'
}

# host_make DIR NAME: the folders of a box that is not up yet.
host_make() {
    local dir=$1 name=$2 user

    mkdir -p "$dir" && chmod 700 "$dir" || return 1
    mkdir -p "$dir/log" "$dir/opt/virtid" "$dir/var-cache/libvirt" \
        "$dir/var-log/libvirt/qemu" "$dir/var-log/swtpm/libvirt/qemu" \
        "$dir/var-lib/libvirt"/{images,qemu,swtpm,dnsmasq} \
        "$dir/var-lib/dpkg" "$dir/var-lib/swtpm-localca"
    [ -e "$dir/etc/passwd" ] || cp -a /etc "$dir/etc" || return 1
    echo "$name" >"$dir/etc/hostname"
    printf '127.0.0.1 localhost %s\n::1 localhost\n' "$name" >"$dir/etc/hosts"
    for user in "${HOST_USERS[@]}"; do
        host_add_user "$dir/etc" "$user"
    done
    grep -q '^kvm:' "$dir/etc/group" ||
        echo "kvm:x:$(free_id "$dir/etc/group"):" >>"$dir/etc/group"
    chmod 711 "$dir/var-lib/libvirt" "$dir/var-lib/libvirt/images"
    chown -R "$(host_id "$dir" tss)" "$dir/var-lib/swtpm-localca" "$dir/var-log/swtpm"
    chmod 711 "$dir/var-lib/libvirt/swtpm"
    host_write_libvirt_conf "$dir" "$name"
}

# host_folders DIR STAGE: what tmpfiles.d and the hook's installation would have made.
host_folders() {
    local dir=$1 kind path mode user group

    while read -r kind path mode user group _; do
        [ "$kind" = d ] || continue
        host_enter "$dir" install -d -m "$mode" -o "$user" -g "$group" "$path" || return 1
    done < <(cat "$2$HOST_PREFIX"/lib/tmpfiles.d/virtid-*.conf)
    install -d -m 755 "$dir/etc/virtid"
    if [ -e "$2/etc/libvirt/hooks/qemu.d/virtid" ]; then
        install -m 755 "$2/etc/libvirt/hooks/qemu.d/virtid" "$dir/etc/libvirt/hooks/qemu.d/"
    fi
}

# host_up DIR NAME [STAGE]: makes and starts a box; STAGE/opt/virtid is what
# `make install DESTDIR=STAGE` wrote.  Returns when its namespaces are ready.
host_up() {
    local dir=$1 name=$2 stage=${3:-} starter pid i

    if host_pid "$dir" >/dev/null; then
        echo "rig: $dir is up already" >&2
        return 1
    fi
    host_make "$dir" "$name" || return 1
    rm -f "$dir/pid" "$dir/ready"
    setsid unshare --mount --uts --ipc --net --pid --fork --mount-proc \
        --propagation private --kill-child \
        "$HOST_RIG/init.sh" "$dir" "$name" "$stage" \
        </dev/null >"$dir/log/init.log" 2>&1 9>&- &
    starter=$!
    disown "$starter"
    for ((i = 0; i < 300; i++)); do
        [ -e "$dir/ready" ] && break
        kill -0 "$starter" 2>/dev/null || break
        sleep 0.1
    done
    if ! [ -e "$dir/ready" ]; then
        kill -KILL "$starter" 2>/dev/null
        echo "rig: the namespaces of $name did not come up:" >&2
        tail -n 5 "$dir/log/init.log" >&2
        return 1
    fi
    pid=$(cat "/proc/$starter/task/$starter/children")
    echo "${pid// /}" >"$dir/pid"
    host_pid "$dir" >/dev/null || return 1
    [ -z "$stage" ] || host_folders "$dir" "$stage"
}

# host_enter DIR COMMAND...: runs COMMAND inside, with our programs first in PATH.
host_enter() {
    local dir=$1 pid

    shift
    pid=$(host_pid "$dir") || {
        echo "rig: $dir is not up" >&2
        return 125
    }
    # Descriptor 9 is the caller's lock, which no daemon may keep.
    nsenter -t "$pid" -m -u -i -n -p -- /usr/bin/env \
        PATH="$HOST_PREFIX/sbin:$HOST_PREFIX/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
        LIBVIRT_DEFAULT_URI=qemu:///system HOME=/root "$@" 9>&-
}

# host_prefix DIR: the same as words of a command line for other programs to use.
host_prefix() {
    local pid

    pid=$(host_pid "$1") || return 1
    echo "nsenter -t $pid -m -u -i -n -p -- /usr/bin/env PATH=$HOST_PREFIX/sbin:$HOST_PREFIX/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}

# host_start DIR LOGNAME COMMAND...: starts a daemon inside; its output goes to
# DIR/log/LOGNAME.log.  The daemon becomes a child of the box's PID 1.
host_start() {
    local dir=$1 log=$1/log/$2.log

    shift 2
    # shellcheck disable=SC2016 # for the inner shell
    host_enter "$dir" setsid --fork "$@" </dev/null >>"$log" 2>&1
}

# host_wait SECONDS COMMAND...: until COMMAND succeeds; fails when it never does.
host_wait() {
    local end=$((SECONDS + $1))

    shift
    while ! "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

# host_daemon_as DIR USER PROGRAM ARG...: starts one of our daemons as a user, as its
# unit would, and waits until it says that it is ready (--ready-fd) or ends.
host_daemon_as() {
    local dir=$1 user=$2 program=$3

    shift 3
    # One empty line is the answer; the end of the pipe without it is the end of the daemon.
    read -r -t 60 _ < <(host_enter "$dir" setsid --fork setpriv --reuid "$user" \
        --regid "$(host_gid "$dir" "$user")" --init-groups -- \
        "$HOST_PREFIX/sbin/$program" "$@" --ready-fd 7 \
        7>&1 </dev/null >>"$dir/log/$program.log" 2>&1) && return 0
    echo "rig: $program did not become ready; the end of its log:" >&2
    tail -n 5 "$dir/log/$program.log" >&2
    return 1
}

# host_daemon DIR PROGRAM ARG...: the same as root.
host_daemon() {
    local dir=$1

    shift
    host_daemon_as "$dir" root "$@"
}

# host_gid DIR USER: the box's primary group of a user.
host_gid() {
    awk -F: -v n="$2" '$1 == n { print $4 }' "$1/etc/passwd"
}

# host_join DIR NAME: the host joins the token service in the same box, by a code and an
# operator's approval.
host_join() {
    local dir=$1 name=$2 code joining

    code=$(host_enter "$dir" virtid host add "$name" | grep -o 'virtid1,[^ ]*') || return 1
    echo "$code" | host_enter "$dir" setpriv --reuid virtid --regid "$(host_gid "$dir" virtid)" \
        --init-groups -- "$HOST_PREFIX/sbin/virtid-hostd" join --wait 60 &
    joining=$!
    host_wait 120 host_enter "$dir" virtid host approve "$name" || {
        kill "$joining" 2>/dev/null
        return 1
    }
    wait "$joining"
}

# host_pids DIR PROGRAM: PIDs (inside) of the processes that run a program.
host_pids() {
    host_enter "$1" pgrep -f "(^|/)$2( |\$)"
}

# host_libvirtd DIR [ARG...]: starts libvirtd and waits for its answer.
host_libvirtd() {
    host_enter "$1" rm -f /run/libvirtd.pid
    host_start "$1" libvirtd /usr/sbin/libvirtd --pid-file /run/libvirtd.pid "${@:2}"
    if ! host_wait 120 host_enter "$1" virsh -q version; then
        echo "rig: libvirtd does not answer; the end of its log:" >&2
        tail -n 5 "$1/log/libvirtd.log" "$1/var-log/libvirt/libvirtd.log" >&2
        return 1
    fi
}

# host_provisioned DIR DOMAIN: everything that happens while the domain is off has been done
# or skipped.
host_provisioned() {
    # The host daemon's steps come first; the service's own have some names again.
    host_enter "$1" virtid --output json why "$2" | /usr/bin/python3 -c '
import json, sys
state = {}
for step in json.load(sys.stdin)[0]["steps"]:
    state.setdefault(step["step"], step["state"])
# A VM that gets no TPM has no step that places it.
sys.exit(any(state.get(s, "skipped" if s == "place" else "") not in ("ok", "done", "skipped")
             for s in ("vtpm", "place", "inject", "account")))'
}

# host_network DIR: a tap device with an address and DHCP on it, for one guest that
# is given 10.78.0.2.  A domain uses it by <interface type='ethernet'> with
# <target dev='virtidtap0' managed='no'/>: neither bridge nor firewall is needed.
host_network() {
    host_enter "$1" ip tuntap add dev virtidtap0 mode tap user libvirt-qemu vnet_hdr &&
        host_enter "$1" ip addr add 10.78.0.1/24 dev virtidtap0 &&
        host_enter "$1" ip link set virtidtap0 up || return 1
    host_start "$1" dnsmasq /usr/sbin/dnsmasq --keep-in-foreground --conf-file=/dev/null \
        --port=0 --bind-interfaces --interface=virtidtap0 --except-interface=lo \
        --user=root --pid-file=/run/dnsmasq.pid --leasefile-ro \
        --dhcp-range=10.78.0.2,10.78.0.2,255.255.255.0,1h --dhcp-option=3 \
        --log-dhcp --log-facility=-
}

# host_link DIR_A ADDRESS_A DIR_B ADDRESS_B: a cable between two boxes, which know each other by name.
host_link() {
    local a b

    a=$(host_pid "$1") && b=$(host_pid "$3") || return 1
    # By the machine's own PIDs, which the boxes do not know.
    nsenter -t "$a" -n -- ip link add cable type veth peer name far &&
        nsenter -t "$a" -n -- ip link set far netns "$b" &&
        nsenter -t "$b" -n -- ip link set far name cable || return 1
    host_enter "$1" ip addr add "$2/24" dev cable && host_enter "$1" ip link set cable up &&
        host_enter "$3" ip addr add "$4/24" dev cable && host_enter "$3" ip link set cable up || return 1
    printf '%s %s\n' "$2" "$(cat "$1/etc/hostname")" "$4" "$(cat "$3/etc/hostname")" |
        tee -a "$1/etc/hosts" >>"$3/etc/hosts"
}

# host_takes_migrations DIR ADDRESS: before its libvirtd is started, with --listen.
host_takes_migrations() {
    sed -i '/^listen_tcp/d' "$1/etc/libvirt/libvirtd.conf"
    printf 'listen_tcp = 1\nlisten_addr = "%s"\nauth_tcp = "none"\n' "$2" >>"$1/etc/libvirt/libvirtd.conf"
    echo "migration_host = \"$2\"" >>"$1/etc/libvirt/qemu.conf"
}

# host_appliance DIR CACHE: before its virtid-privd is started: the appliance that appliance.sh made,
# if it did.  Links suffice: nobody writes into it.
host_appliance() {
    local made=$2/appliance to=$1/var-cache/virtid/inject

    [ -e "$made/.guestfs-$(host_id "$1" virtid-inject)" ] && ! [ -e "$to" ] || return 0
    cp -al "$made" "$to" 2>/dev/null || {
        rm -rf "$to"
        cp -a --sparse=always "$made" "$to"
    }
}

# host_down DIR: ends the box and everything in it.  Harmless when it is down.
host_down() {
    local pid i

    if pid=$(host_pid "$1"); then
        kill -KILL "$pid" 2>/dev/null
        for ((i = 0; i < 300; i++)); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
    fi
    # One whose start was interrupted before its PID was written down; its child goes with it.
    pkill -KILL --ns $$ --nslist pid -f -- "$HOST_RIG/init.sh $1 " 2>/dev/null
    rm -f "$1/pid" "$1/ready"
}

# host_guard DIR: ends the box when this shell ends, however it ends; prints the
# guard's PID, to be killed by whoever wants to keep the box.
host_guard() {
    # shellcheck disable=SC2016 # for the inner shell
    setsid /bin/bash -c '. "$1/host.sh"; tail --pid="$3" -f /dev/null; host_down "$2"' \
        guard "$HOST_RIG" "$1" $$ </dev/null >/dev/null 2>&1 9>&- &
    disown $!
    echo $!
}
