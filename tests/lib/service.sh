# shellcheck shell=bash
# service.sh - a trust domain of one test: keys, tokend, signer; as an ordinary user, on free ports
#
#   . "$srcdir/tests/lib/service.sh"
#   service_up              makes $SERVICE (folder), sets ISSUER CA PUBLIC HOSTS GUESTS ADMIN
#   service_stop, service_start, service_later, service_down
#   admin COMMAND...        virtid with this service's socket
#   skip_without PACKAGE COMMAND...
#   says WORDS COMMAND..., status_is STATUS COMMAND...   for check
#   ok TEXT / not_ok TEXT / check TEXT COMMAND...   TAP points;  plan  at the end
#
# Ends what it started also when the test fails (trap).

tap_n=0
tap_bad=0
ok() { tap_n=$((tap_n + 1)); echo "ok $tap_n - $1"; }
not_ok() { tap_n=$((tap_n + 1)); tap_bad=$((tap_bad + 1)); echo "not ok $tap_n - $1"; }
plan() { echo "1..$tap_n"; [ "$tap_bad" -eq 0 ]; }

# The command's output is shown, as diagnostics, only when it fails.
check()
{
    local text=$1 out
    shift
    if out=$("$@" 2>&1); then ok "$text"; else not_ok "$text"; printf '%s\n' "$out" | sed 's/^/# /' | tail -20; fi
}

# says WORDS COMMAND...: what it prints, kept in $SERVICE/said, has a line that fits.
says() {
    local words=$1
    shift
    "$@" >"$SERVICE/said" 2>&1
    grep -q -- "$words" "$SERVICE/said" || { cat "$SERVICE/said"; return 1; }
}

# status_is STATUS COMMAND...
status_is() {
    local want=$1
    shift
    "$@" </dev/null
    [ $? -eq "$want" ]
}

# skip_without PACKAGE COMMAND...: where COMMAND fails the package is missing: the whole test is skipped, which CI takes
# for a failure.
skip_without()
{
    "${@:2}" >/dev/null 2>&1 && return
    echo "1..0 # SKIP $1 is missing"
    exit 0
}

# skip_npm POINT LIBRARY: one point, for want of a library that `check` gets from npm.
skip_npm()
{
    tap_n=$((tap_n + 1))
    echo "ok $tap_n - $1 # SKIP npm's $2 is missing: npm install --prefix $BUILD $2"
}

BUILD=${builddir_abs:-$PWD}
# An ordinary user's libvirt would start a libvirtd that outlives the test.
export LIBVIRT_DEFAULT_URI=test:///default
# Root would have to switch users that this machine may not have: be an ordinary one.
AS=()
[ "$(id -u)" = 0 ] && AS=(unshare --user --map-user=1000 --map-group=1000 --)
SERVICE=
SERVICE_PID=

free_ports()
{
    python3 - "$1" <<'P'
import socket, sys
held = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in held:
    s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in held])
P
}

service_up()
{
    local public hosts guests
    SERVICE=$(mktemp -d "${TMPDIR:-/tmp}/virtid-test.XXXXXX") || return 1
    trap service_down EXIT
    trap 'exit 1' INT TERM
    read -r public hosts guests < <(free_ports 3)
    PUBLIC=127.0.0.1:$public HOSTS=127.0.0.1:$hosts GUESTS=127.0.0.1:$guests
    ISSUER=https://$PUBLIC CA=$SERVICE/etc/ca.pem ADMIN=$SERVICE/run/admin.sock
    export PUBLIC HOSTS GUESTS ISSUER CA ADMIN
    mkdir "$SERVICE/run"
    "${AS[@]}" "$BUILD/virtid" init --trust-domain example.test --issuer "$ISSUER" --hosts "$HOSTS" \
        --guests "$GUESTS" --listen 127.0.0.1 --config-dir "$SERVICE/etc" \
        --state-dir "$SERVICE/state" --key-dir "$SERVICE/keys" --run-dir "$SERVICE/run" \
        --signer "$BUILD/virtid-signer" --test "$@" >"$SERVICE/init.log" 2>&1 || { cat "$SERVICE/init.log"; return 1; }
    service_start
}

# service_start [OPTION...]: comes back when it serves.
# shellcheck disable=SC2120 # most need none
service_start()
{
    exec {ready}< <(exec "${AS[@]}" "$BUILD/virtid-tokend" --config "$SERVICE/etc/tokend.conf" --ready-fd 9 "$@" 9>&1 1>&2 2>>"$SERVICE/tokend.log")
    SERVICE_PID=$!
    read -r -t 60 _ <&"$ready" || { echo "# tokend did not start"; sed 's/^/# /' "$SERVICE/tokend.log" | tail -5; return 1; }
    exec {ready}<&-
}

# service_stop [-SIGNAL]
# shellcheck disable=SC2120 # without it, SIGTERM
service_stop()
{
    [ -n "$SERVICE_PID" ] && kill "${1:--TERM}" "$SERVICE_PID" 2>/dev/null
    # not our child in every shell: wait for its end by its /proc entry
    [ -n "$SERVICE_PID" ] && timeout 30 tail --pid="$SERVICE_PID" -f /dev/null
    SERVICE_PID=
}

# service_later SECONDS: stops it and starts it, and its token keys are as if so much time had passed.
service_later()
{
    service_stop -TERM
    python3 - "$SERVICE/keys/token-keys" "$1" <<'P'
import hashlib, struct, sys
file, seconds = open(sys.argv[1], "r+b"), int(sys.argv[2])
both = bytearray(file.read())
for slot in (0, 4096):
    at, end, fields = slot + 2, slot + 2 + struct.unpack_from(">H", both, slot)[0], []
    while at < end:
        fields.append(at + 2)
        at += 2 + struct.unpack_from(">H", both, at)[0]
    for key in range(3, len(fields), 5):
        for when in fields[key + 3], fields[key + 4]:
            struct.pack_into(">Q", both, when, struct.unpack_from(">Q", both, when)[0] - seconds)
    both[slot + 4064 : slot + 4096] = hashlib.sha256(both[slot : slot + 4064]).digest()
file.seek(0)
file.write(both)
P
    service_start
}

service_down()
{
    service_stop
    [ -n "$SERVICE" ] && rm -rf "$SERVICE"
    SERVICE=
}

admin() { "${AS[@]}" "$BUILD/virtid" --service "$ADMIN" "$@"; }
