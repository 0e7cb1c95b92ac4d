#!/bin/bash
# fresh-machine.sh - do the README's commands work where nothing is installed?
#
# Makes a minimal Debian 12 in a folder, with git and nothing else of what virtid needs, clones
# this tree into it and runs commands there as root, in mount and PID namespaces of their own:
# however this ends, nothing runs and nothing is mounted afterwards.  Apt's sources and the way
# to them are this machine's.
set -u
top=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd)
suite=bookworm
# The first interrupts dpkg, or whatever comes then; the second must take it up again.
default=('timeout --preserve-status -s TERM 45 ./quickstart; test $? = 143'
    './quickstart' './check --no-system'
    './check --system 12-hostile-requests-to-the-root-half 90-whole-way')

usage() {
    cat <<TEXT
usage: sudo tests/fresh/fresh-machine.sh [--keep] [COMMAND...]

  COMMAND   a line for the shell of the fresh machine, in the cloned tree. Without any:
$(printf '              %s\n' "${default[@]}")
  --keep    leave the machine's folder, with what the commands left in it, and say where it is

Ends with "N passed, N failed"; the exit status is 0 when nothing failed.
What is not committed is not cloned.
TEXT
}

# ---- inside the namespaces, still with the machine's own root ------------------

# The mounts of a running system, seen by these namespaces alone.
mount_machine() {
    local root=$1

    mount --make-rprivate / && mount --bind "$root" "$root" &&
        mount -t proc proc "$root/proc" &&
        mount -t sysfs sysfs "$root/sys" &&
        mount --rbind /dev "$root/dev" && mount --make-rprivate "$root/dev" &&
        mount -t tmpfs -o mode=755 tmpfs "$root/run" &&
        mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
}

# Of this machine only the proxy settings and the terminal come along.
fresh_environment() {
    env | grep -iE '^(https?|ftp|all|no)_proxy='
    printf '%s\n' "TERM=${TERM:-dumb}" HOME=/root LANG=C.UTF-8 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
}

run_commands() {
    local root=$1 environment command begin status failed=0 passed=0

    shift
    mount_machine "$root" || return 1
    mapfile -t environment < <(fresh_environment)
    # A root of its own, no chroot: unshare in it makes its mounts private, as on a machine.
    cd "$root" && mkdir -p .old && pivot_root . .old && cd / &&
        umount --lazy /.old && rmdir /.old || return 1
    hostname fresh
    for command in 'git clone --quiet /srv/virtid.git virtid' "$@"; do
        echo "fresh# $command"
        begin=$SECONDS
        env -i "${environment[@]}" /bin/bash -c "cd /root && if [ -d virtid ]; then cd virtid; fi && $command" </dev/null
        status=$?
        if [ $status = 0 ]; then
            passed=$((passed + 1))
            echo "PASS: $command ($((SECONDS - begin)) s)"
        else
            failed=$((failed + 1))
            echo "FAIL: $command (status $status, $((SECONDS - begin)) s)"
        fi
    done
    echo "$passed passed, $failed failed"
    [ $failed = 0 ]
}

if [ "${1:-}" = --inside ]; then
    shift
    run_commands "$@"
    exit
fi

# ---- outside -----------------------------------------------------------------

keep=''
while [ $# -gt 0 ]; do
    case $1 in
    --keep) keep=1 ;;
    -h | --help)
        usage
        exit 0
        ;;
    -*)
        echo "fresh-machine: unknown argument: $1" >&2
        usage >&2
        exit 2
        ;;
    *) break ;;
    esac
    shift
done
[ $# -gt 0 ] || set -- "${default[@]}"
[ "$(id -u)" = 0 ] || {
    echo "fresh-machine: namespaces need root: sudo $0" >&2
    exit 2
}
for tool in mmdebstrap git unshare; do
    command -v $tool >/dev/null || {
        echo "fresh-machine: $tool is missing: apt-get install mmdebstrap git util-linux" >&2
        exit 2
    }
done
# Also from a copy below build/, the checkout is meant.
repository=$(git -C "$top" rev-parse --show-toplevel) || {
    echo "fresh-machine: $top is no git checkout, so there is nothing to clone" >&2
    exit 2
}
work=$(mktemp -d /var/tmp/virtid-fresh.XXXXXX)
root=$work/root
STEPS_LOG=$work/step.log
. "$top/build-aux/steps.sh"
. "$top/tests/lib/apt-sources.sh"
init=''

# shellcheck disable=SC2317 # called by traps
leave() {
    local status=$?

    trap '' INT TERM HUP
    steps_interrupt
    if [ -n "$init" ]; then
        # The namespaces' PID 1 takes everything in them along; unshare ends when that is done.
        # shellcheck disable=SC2046 # one number
        kill -KILL $(cat "/proc/$init/task/$init/children" 2>/dev/null) 2>/dev/null || kill -KILL "$init" 2>/dev/null
        wait "$init" 2>/dev/null
    fi
    if [ -n "$keep" ]; then
        echo "The machine's folder: $root"
    else
        rm -rf --one-file-system "$work"
    fi
    exit $status
}
trap leave EXIT
trap 'echo; echo interrupted; exit 130' INT
trap 'exit 143' TERM HUP

# shellcheck disable=SC2317 # called by step
make_machine() {
    local list

    list=$(apt_sources $suite "$work") || return 1
    # git, and the certificates that a clone over HTTPS needs: who reads the README has them.
    unshare --mount --propagation private mmdebstrap --mode=root --variant=minbase \
        --include=git,ca-certificates --skip=cleanup/apt/lists \
        --format=directory $suite "$root" "$list" || return 1
    # How this machine reaches its sources (proxies, timeouts), and whom it trusts.
    apt-config dump Acquire >"$root/etc/apt/apt.conf.d/00machine"
    cp -rL /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/" 2>/dev/null
    chroot "$root" update-ca-certificates || return 1
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
}

# shellcheck disable=SC2317 # called by step
copy_sources() {
    local bare=$root/srv/virtid.git

    git clone --quiet --bare --no-local "$repository" "$bare" &&
        git -C "$bare" update-ref refs/heads/fresh "$(git -C "$repository" rev-parse HEAD)" &&
        git -C "$bare" symbolic-ref HEAD refs/heads/fresh
}

step "Minimal Debian 12 with git is made" "look at the apt sources and the network" make_machine || exit 1
step "Last commit is there to be cloned" "is $repository a sound git checkout?" copy_sources || exit 1
[ -z "$(git -C "$repository" status --porcelain)" ] ||
    echo "Not committed, so not tested: $(git -C "$repository" status --porcelain | wc -l) files"
unshare --mount --pid --fork --uts --ipc --kill-child /bin/bash "$0" --inside "$root" "$@" </dev/null &
init=$!
wait $init
status=$?
init=''
exit $status
