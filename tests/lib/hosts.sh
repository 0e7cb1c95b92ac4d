# shellcheck shell=bash
# hosts.sh - host daemons of one test, behind service.sh: as an ordinary user, libvirt is its in-memory test driver
#
#   join_host NAME; start_host NAME; up NAME TEXT (a TAP point); kill_host NAME
#   ask NAME PATH           of its operator's socket
#   until_true NAME TEXT PATH
#   call NAME OPERATION     libvirt's hook there, for web1 ($uuid, of $xml); refused NAME OPERATION: into $SERVICE/refusal
#   command_for_scripts     $SERVICE/virtid: virtid with this service's socket
#   trap end_hosts EXIT     after service_up: ends the daemons, and the service

declare -A pids
# shellcheck disable=SC2034 # for those who source this
uuid=6ba7b810-9dad-11d1-80b4-00c04fd430c8
xml=${srcdir:-.}/tests/data/domain/managed.xml

# host NAME: its folder.
host() { echo "$SERVICE/$1"; }

call() { VIRTID_HOOK_RUN_DIR=$(host "$1")/run "$BUILD/virtid-hook" web1 "$2" begin - <"$xml"; }
refused() { ! call "$@" 2>"$SERVICE/refusal"; }

# The command that scripts get: they know of no test.
command_for_scripts() {
    printf '#!/bin/sh\nexec %s "%s" --service "%s" "$@"\n' "${AS[*]}" "$BUILD/virtid" "$ADMIN" >"$SERVICE/virtid"
    chmod +x "$SERVICE/virtid"
}

join_host() {
    local dir
    dir=$(host "$1")
    mkdir -p "$dir/run" "$dir/state"
    printf '[host]\nname = %s\nlibvirt_uri = test:///default\nstate_dir = %s\nrun_dir = %s\npriv_socket = %s\n' \
        "$1" "$dir/state" "$dir/run" "$dir/none" >"$dir/hostd.conf"
    admin host add "$1" --auto >"$dir/code.log" 2>&1
    grep -o 'virtid1,[^ ]*' "$dir/code.log" >"$dir/code"
    "${AS[@]}" "$BUILD/virtid-hostd" join --config "$dir/hostd.conf" --wait 60 <"$dir/code"
}

start_host_without_service() {
    local dir ready
    dir=$(host "$1")
    exec {ready}< <(exec "${AS[@]}" "$BUILD/virtid-hostd" --config "$dir/hostd.conf" --ready-fd 9 9>&1 >/dev/null 2>>"$dir/log")
    pids[$1]=$!
    read -r -t 60 _ <&"$ready" || { sed 's/^/# /' "$dir/log" | tail -5; return 1; }
    exec {ready}<&-
}

start_host() { start_host_without_service "$1" && until_true "$1" '"service":"up"' status; }

# In this shell, because the daemon's process is remembered.
up() { if start_host "$1"; then ok "$2"; else not_ok "$2"; fi; }

kill_host() {
    kill -KILL "${pids[$1]}" 2>/dev/null
    timeout 30 tail --pid="${pids[$1]}" -f /dev/null
    unset "pids[$1]"
}

end_hosts() {
    local name
    for name in "${!pids[@]}"; do kill_host "$name"; done
    service_down
}

# ask HOST PATH: of its operator's socket.
ask() { curl -sS --max-time 20 --unix-socket "$(host "$1")/run/hostd.sock" "http://localhost/v1/$2"; }

# until_true HOST TEXT PATH: asked again until the answer holds the text, at most three minutes:
# the service's grace alone may take one.
until_true() {
    local until=$((SECONDS + 180))
    while ((SECONDS < until)); do
        ask "$1" "$3" 2>/dev/null | grep -qF -- "$2" && return 0
        read -r -t 0.1 <> <(:) || true
    done
    ask "$1" "$3" | sed 's/^/# /'
    return 1
}
