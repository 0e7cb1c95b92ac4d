# privd.sh - a virtid-privd of our own in a box, asked as the host daemon's user; sourced
#
# Needs root, the build folder (VIRTID_BUILD) and Debian's users games, news, uucp, tss.
# shellcheck shell=bash
# In a PID namespace of its own it sees no other test's processes, and all of its own end with it.
if [ "$(id -u)" = 0 ] && [ $$ != 1 ]; then
    exec unshare --pid --fork --mount-proc --kill-child=TERM bash "$0" "$@"
fi
trap 'exit 143' TERM HUP INT
n=0
failures=0
# shellcheck disable=SC2034 # for those who source this
uuid=7b0f3a52-94d1-4e0c-8a77-0c5a9d2f1e34

exec {never}<> <(:)

pause() { # a little, without a process that would change $!
    read -r -t 0.05 -u "$never" || :
}

ok() { # ok NAME COMMAND...: one TAP line
    local name=$1

    shift
    n=$((n + 1))
    if "$@" >"$box/last" 2>&1; then
        echo "ok $n - $name"
    else
        echo "not ok $n - $name"
        sed 's/^/# /' "$box/last"
        failures=$((failures + 1))
    fi
}

skip_all() {
    echo "1..0 # SKIP $1"
    exit 0
}

done_testing() {
    echo "1..$n"
    [ $failures = 0 ]
}

# shellcheck disable=SC2317 # called by trap
box_down() {
    [ -z "${privd:-}" ] || kill "$privd" 2>/dev/null
    # shellcheck disable=SC2086 # several
    [ -z "${others:-}" ] || kill $others 2>/dev/null
    wait 2>/dev/null
    rm -rf "$box"
}

box_up() {
    build=${VIRTID_BUILD:-.}
    [ "$(id -u)" = 0 ] || skip_all "needs root"
    for program in virtid-privd virtid-inject tests/system/ask_privd; do
        [ -x "$build/$program" ] || skip_all "$program is not built in $build"
    done
    for user in games news uucp tss; do
        getent passwd $user >/dev/null || skip_all "there is no user $user"
    done
    box=$(mktemp -d /var/tmp/virtid-privd.XXXXXX)
    others=''
    trap box_down EXIT
    chmod 711 "$box"
    # The tree may lie where these users cannot go.
    cp "$build/virtid-privd" "$build/virtid-inject" "$build/plugin/inject/appliance_init.tar.gz" \
        "$build/tests/system/ask_privd" "$box/"
    mkdir "$box/images" "$box/elsewhere" "$box/swtpm" "$box/run" "$box/chan" "$box/save"
    chmod 711 "$box/images" "$box/elsewhere" "$box/swtpm"
    # No guest is to be stopped by what these tests ask.
    printf '#!/bin/sh\necho "$*" >>"%s/virsh.told"\n' "$box" >"$box/virsh"
    chmod +x "$box/virsh"
    cat >"$box/privd.conf" <<END
[priv]
socket = $box/socket/priv.sock
host_user = games
image_roots = $box/images${more_roots:+ $more_roots}
swtpm_dir = $box/swtpm
swtpm_user = tss
qemu_user = uucp
libvirt_run_dir = $box/run
channel_roots = $box/chan
save_dir = $box/save
inject_user = news
inject_program = $box/virtid-inject
cache_dir = ${appliance_cache:-$box/cache}
fence_action = destroy
virsh = $box/virsh
END
}

privd_up() {
    local ready

    exec {ready}< <(ASAN_OPTIONS=detect_leaks=0 exec "$box/virtid-privd" --config "$box/privd.conf" \
        --ready-fd 3 3>&1 >>"$box/log" 2>&1)
    privd=$!
    read -r -t 60 <&"$ready" || true
    [ -S "$box/socket/priv.sock" ] || {
        sed 's/^/# /' "$box/log"
        return 1
    }
}

# ask ARGUMENTS OF ask_privd: as the host daemon's user
ask() {
    setpriv --reuid=games --regid=games --clear-groups env ASAN_OPTIONS=detect_leaks=0 \
        ${UNSEALED:+UNSEALED=1} ${LEAVE:+LEAVE=1} ${RAN:+RAN=1} "$box/ask_privd" "$box/socket/priv.sock" "$@"
}

# What the requests below must not change: names, owners, modes, sizes, times and contents.
state() {
    (cd "$box" && find images elsewhere swtpm run save chan -printf '%p %y %m %U %G %s %T@ %l\n' | sort &&
        find images elsewhere swtpm run save -type f -print0 | sort -z | xargs -0 sha256sum)
}
