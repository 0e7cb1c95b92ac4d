#!/bin/bash
# The disk of the database is full: tokens and their records go on from the reserve, with an alarm that says for how long;
# when that is spent there are none, and with room all goes on and the reserve is there again.
set -u
srcdir=${srcdir:-.}
# A small disk of its own, in a mount namespace of its own.
if [ -z "${SMALL_DISK:-}" ]; then
    own=(unshare --mount --propagation private)
    [ "$(id -u)" = 0 ] || own+=(--user --map-root-user)
    SMALL_DISK=yes exec "${own[@]}" bash "$0"
fi
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"

n=0
# Another word of an operator: a decision, with its record.
decide() { n=$((n + 1)); admin audience add "word$n"; }
spend() { "${AS[@]}" curl -sS --fail --fail-early --unix-socket "$ADMIN" -o /dev/null -H 'Content-Type: application/json' -d '{"name":"spent"}' "http://localhost/v1/admin/audiences?[1-3000]"; }
decide_often() { local _; for _ in {1..20}; do decide || return 1; done; }
token() { "$BUILD/virtid-tpmsim" vm "$@" -a shop --state "$SERVICE/vm" >"$SERVICE/token" 2>"$SERVICE/vm.log" && [ -s "$SERVICE/token" ]; }
# All that is left, but so many KiB.
fill() {
    local left
    left=$(df --output=avail -k "$SERVICE/state" | tail -n 1)
    head -c $(((left - $1) * 1024)) /dev/zero >"$SERVICE/state/other$1"
}
page() { curl -sSf --max-time 20 "http://127.0.0.1:$port/metrics"; }
metric() { page | awk -v s="$1" '$1 == s { print $2 }'; }
ready_is() { [ "$(curl -sS --max-time 20 --cacert "$CA" -o "$SERVICE/ready" -w '%{http_code}' "$ISSUER/readyz")" = "$1" ] || { cat "$SERVICE/ready"; return 1; }; }
# Until a command succeeds, at most a quarter of a minute.
soon() {
    local _
    for _ in {1..75}; do
        "$@" >/dev/null 2>&1 && return 0
        read -rt 0.2 <>"$SERVICE/quiet"
    done
    "$@"
}

service_up || { not_ok the_service_starts; plan; exit 1; }
service_stop
mkfifo "$SERVICE/quiet"
port=$(free_ports 1)
mkdir "$SERVICE/before" "$SERVICE/etc/tokend.conf.d"
printf '[service]\naudit_reserve = 8\n[listen]\nmetrics = 127.0.0.1:%s\n' "$port" >"$SERVICE/etc/tokend.conf.d/small.conf"
rm "$SERVICE/state/audit.reserve"
cp -a "$SERVICE/state/." "$SERVICE/before/"
mount -t tmpfs -o size=40m,mode=700 tmpfs "$SERVICE/state" || { not_ok a_small_disk; plan; exit 1; }
chown --reference="$SERVICE/before" "$SERVICE/state"
cp -a "$SERVICE/before/." "$SERVICE/state/"
trap 'service_stop; umount "$SERVICE/state"; service_down' EXIT
service_start
admin audience add shop --all >/dev/null
admin host add simhost --auto >"$SERVICE/code" 2>/dev/null
check with_room_there_is_a_reserve test "$(stat -c '%s %b' "$SERVICE/state/audit.reserve")" = "$((8 << 20)) $((8 << 11))"
check as_its_page_says test "$(metric virtid_audit_reserve_bytes)" = $((8 << 20))
check there_are_tokens token --host simhost --name shop-vm <"$SERVICE/code"

fill 0
check on_a_full_disk_decisions_go_on decide_often
check and_tokens token
check each_with_its_record says ' token ' admin audit --what token --last 1
check from_the_reserve test ! -e "$SERVICE/state/audit.reserve"
check an_alarm_says_for_how_long says 'reserve is used.*at the present rate it takes records for' cat "$SERVICE/tokend.log"
check the_page_says_it test "$(metric virtid_audit_reserve_bytes)" = 0
check and_for_how_long test "$(metric virtid_audit_room_seconds)" -gt 0
check it_is_ready soon ready_is 200

fill 1
check it_can_be_spent eval '! spend'
check when_it_is_spent_nothing_is_decided says 'disk is full' decide
# It would ask again and again, as an agent does.
check there_is_no_token_without_its_record eval '! timeout 4 "$BUILD/virtid-tpmsim" vm -a shop --state "$SERVICE/vm" >"$SERVICE/none" 2>&1 && ! grep -q "^ey" "$SERVICE/none"'
check it_is_not_ready ready_is 503
check and_says_why says disk-full cat "$SERVICE/ready"
check but_goes_on test -d "/proc/$SERVICE_PID"

rm "$SERVICE/state"/other*
check with_room_it_goes_on soon decide
check the_reserve_is_made_again soon test -e "$SERVICE/state/audit.reserve"
check which_is_told says 'event=reserve-made' cat "$SERVICE/tokend.log"
check tokens_too soon token
check it_is_ready_again soon ready_is 200

service_stop
truncate -s 4M "$SERVICE/state/audit.reserve" # of an earlier size
fill 2
service_start
check it_starts_on_a_full_disk decide_often
check and_gives_back_a_reserve_that_is_too_small test ! -e "$SERVICE/state/audit.reserve"
check the_audit_has_no_gap says 'service: records 1 to ' admin audit verify
plan
