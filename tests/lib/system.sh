# shellcheck shell=bash
# system.sh - words for the tests in tests/system: a host in a box, TAP, waiting
#
# A test file sources it, says what must happen as `ok NAME COMMAND...`, and ends by
# `done_testing`. The box goes with the test, however it ends.

SYSTEM_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$SYSTEM_TOP/tests/system/rig/host.sh"
. "$SYSTEM_TOP/tests/system/rig/guest.sh"
stage=${VIRTID_STAGE:-$SYSTEM_TOP/build/stage}
cache=${VIRTID_CACHE:-$SYSTEM_TOP/build/cache}
issuer=https://id.system.test:8443
box=$(mktemp -d /var/tmp/virtid-system.XXXXXX)
tap_n=0
tap_failed=0

system_end() {
    local status=$?

    trap '' INT TERM HUP
    host_down "$box"
    [ -n "${VIRTID_KEEP_LOGS:-}" ] || rm -rf "$box"
    exit $status
}
trap system_end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# ok NAME COMMAND...: one TAP line; what the command printed is shown when it failed.
ok() {
    local name=$1 said

    shift
    tap_n=$((tap_n + 1))
    if said=$("$@" 2>&1 9>&-); then
        echo "ok $tap_n - $name"
    else
        echo "not ok $tap_n - $name"
        printf '%s\n' "$said" | tail -n 15 | sed 's/^/# /'
        tap_failed=1
    fi
}

# refused NAME COMMAND...: the command must fail.
refused() {
    local name=$1

    shift
    ok "$name" not "$@"
}

not() {
    ! "$@"
}

# skip NAME REASON
skip() {
    tap_n=$((tap_n + 1))
    echo "ok $tap_n - $1 # SKIP $2"
}

done_testing() {
    echo "1..$tap_n"
    [ $tap_failed = 0 ] || show_logs
    exit $tap_failed
}

# The ends of all logs, for whoever reads a failure.
show_logs() {
    local file

    for file in "$box"/log/*.log "$box"/var-log/libvirt/libvirtd.log; do
        [ -s "$file" ] || continue
        echo "# ---- ${file##*/}"
        tail -n 25 "$file" | sed 's/^/# /'
    done
}

# Without this the test cannot go on.
must() {
    "$@" >&2 && return 0
    echo "not ok $((tap_n + 1)) - could_prepare"
    echo "# failed: $*"
    echo "1..$((tap_n + 1))"
    show_logs
    exit 1
}

inside() {
    host_enter "$box" "$@"
}

virsh() {
    host_enter "$box" virsh -q "$@"
}

# The whole stack in the box: service, joined host, root half, daemon, libvirtd, hook.
# OPTIONs: no-hostd, no-libvirtd (the test starts them itself).
stack_up() {
    must host_up "$box" host1 "$stage"
    echo "127.0.0.1 id.system.test" >>"$box/etc/hosts"
    printf '[host]\nname = host1\n%s\n' "${HOSTD_EXTRA:-}" >"$box/etc/virtid/hostd.conf"
    printf '[priv]\nimage_roots = /var/lib/libvirt/images\n' >"$box/etc/virtid/privd.conf"
    must inside virtid init --trust-domain system.test --issuer "$issuer"
    must service_up
    must host_join "$box" host1
    must inside virtid audience add db --all
    must privd_up
    [[ " $* " == *" no-hostd "* ]] || must hostd_up
    [[ " $* " == *" no-libvirtd "* ]] || must host_libvirtd "$box"
    must guest_boot_files "$box" "$cache"
}

service_up() {
    host_daemon "$box" virtid-tokend
}

privd_up() {
    host_appliance "$box" "$cache" && host_daemon "$box" virtid-privd
}

hostd_up() {
    host_daemon_as "$box" virtid virtid-hostd
}

# stop PROGRAM [SIGNAL]: ends a daemon of ours and waits until it is gone.
stop() {
    inside pkill "-${2:-TERM}" -x "${1:0:15}"
    host_wait 60 not inside pgrep -x "${1:0:15}"
}

accel=''
accel() {
    [ -n "$accel" ] || accel=$(inside "$HOST_PREFIX/libexec/virtid/virtid-inject" --probe-kvm)
    [ "$accel" = kvm ] && echo kvm || echo qemu
}

# disk NAME [FORMAT]: a tiny guest's disk; prints its path inside.
disk() {
    local name=$1 format=${2:-raw} images=${shared_images:-$box/var-lib/libvirt/images}

    if [ "$format" = raw ]; then
        cp --sparse=always "$cache/tiny.img" "$images/$name.raw"
    else
        qemu-img convert -O "$format" "$cache/tiny.img" "$images/$name.$format"
    fi
    chmod 600 "$images/$name.$format"
    echo "/var/lib/libvirt/images/$name.$format"
}

# xml NAME [OPTION...]: a tiny guest's domain (guest_xml), with its disk made.
xml() {
    local name=$1 path

    shift
    path=/var/lib/libvirt/images/$name.raw
    [ -e "${shared_images:-$box/var-lib/libvirt/images}/$name.raw" ] || path=$(disk "$name")
    guest_xml "$name" "$(uuid_of "$name")" "$(accel)" "$path" raw "$@"
}

# define NAME [OPTION...]
define() {
    xml "$@" >"$box/$1.xml" && virsh define /dev/stdin <"$box/$1.xml"
}

# why DOMAIN PATTERN: the report says so.
why_says() {
    inside virtid why "$1" | grep -qE "$2"
}

# audiences N: a1 to aN, for any VM; a token that was never asked for needs a proof of its own.
audiences() {
    seq -f 'virtid audience add a%g --all' "$1" | inside sh >/dev/null
}

# has_token DOMAIN [SECONDS]: until the agent in a tiny guest has a token for db; prints it.
has_token() {
    local token i

    for ((i = 0; i < ${2:-240}; i += 3)); do
        token=$(guest_run "$box" "$1" 20 "virtid-agent token -a db" 2>/dev/null) &&
            [[ $token == *.*.* ]] && {
            echo "$token" | grep -oE '[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+' | tail -n 1
            return 0
        }
        sleep 3
    done
    inside virtid why "$1"
    tail -n 8 "$(guest_console "$box" "$1")"
    return 1
}

# provisioned DOMAIN [SECONDS]
provisioned() {
    host_wait "${2:-300}" host_provisioned "$box" "$1" && return 0
    inside virtid why "$1"
    return 1
}

# in_state DOMAIN STATE [SECONDS]
in_state() {
    local i

    for ((i = 0; i < ${3:-60} * 5; i++)); do
        [ "$(virsh domstate "$1" 2>/dev/null | head -n 1)" = "$2" ] && return 0
        sleep 0.2
    done
    echo "$1 is $(virsh domstate "$1" 2>&1)"
    return 1
}

# within MILLISECONDS COMMAND...: succeeds in time.
within() {
    local limit=$1 begin end status

    shift
    begin=$(date +%s%3N)
    "$@"
    status=$?
    end=$(date +%s%3N)
    [ $status = 0 ] || return $status
    [ $((end - begin)) -le "$limit" ] || {
        echo "took $((end - begin)) ms, more than $limit"
        return 1
    }
}

# claims TOKEN: its claims as JSON.
claims() {
    /usr/bin/python3 -c 'import base64,sys; p = sys.argv[1].split(".")[1]
print(base64.urlsafe_b64decode(p + "=" * (-len(p) % 4)).decode())' "$1"
}

# quickstart_runs DIR: is one at work there, or kept?  The logs of one that failed, or was killed, are none.
quickstart_runs() {
    [ -e "$1" ] && { host_pid "$1/host" >/dev/null || ! flock -n "$1/lock" true; }
}
