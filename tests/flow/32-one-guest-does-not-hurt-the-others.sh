#!/bin/bash
# One guest floods its channel, dribbles, or never reads: the others' proofs and leases go on, and the host
# daemon holds no more than before.  A real service and a real virtid-hostd; libvirt is its test driver; the
# guests are tests/flow/channel_guests, with the agent's own code.
# VIRTID_LOAD_SECONDS: of each, in a round (2); VIRTID_LOAD_ROUNDS: how many (1).  From 600 s on (make
# check-long) medians and 99th percentiles must be within a tenth of idle.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"

seconds=${VIRTID_LOAD_SECONDS:-2} rounds=${VIRTID_LOAD_ROUNDS:-1} good=4
base=$(mktemp -d "${TMPDIR:-/tmp}/virtid-load.XXXXXX")
chmod 711 "$base"
host_pid='' guests_pid=''

end_all() {
    [ -n "$guests_pid" ] && kill "$guests_pid" 2>/dev/null
    [ -n "$host_pid" ] && kill "$host_pid" 2>/dev/null && timeout 30 tail --pid="$host_pid" -f /dev/null
    service_down
    rm -rf "$base"
}

until_true() {
    local until=$((SECONDS + 60))
    while ((SECONDS < until)); do
        "$@" >/dev/null 2>&1 && return 0
        read -rt 0.1 <>"$base/quiet"
    done
    "$@"
}
ask() { curl -sS --max-time 20 --unix-socket "$base/run/hostd.sock" "http://localhost/v1/$1"; }
answers() { ask "$1" | grep -qE -- "$2"; }
# The program itself may be behind a wrapper that keeps its PID.
held() { awk '/^VmRSS:/ { print $2 }' "/proc/$host_pid/status"; }
open_files() { find "/proc/$host_pid/fd" -type l | wc -l; }
result() { awk -F'\t' -v a="$1" -v b="$2" -v f="$3" '$1 == a && $2 == b { print $f }' "$base/result"; }

domains() {
    local i
    echo '<node>'
    for ((i = 0; i <= good; i++)); do
        cat <<X
<domain type='test'><name>vm$i</name><uuid>00000000-0000-4000-8000-00000000000$i</uuid>
  <metadata><virtid:identity xmlns:virtid='urn:virtid:domain:1'/></metadata>
  <memory>8192</memory><os><type>hvm</type></os>
  <devices><channel type='unix'><source mode='bind' path='$base/guests/chan/$i'/>
    <target type='virtio' name='org.virtid.0'/></channel></devices>
</domain>
X
    done
    echo '</node>'
}

guests() {
    "${AS[@]}" "$BUILD/tests/flow/channel_guests" "$base/guests" $good "$seconds" "$rounds" "$base/run/hostd.sock" \
        >"$base/result" 2>"$base/guests.log" &
    guests_pid=$!
    wait "$guests_pid"
    local status=$?
    guests_pid=''
    [ $status = 0 ] || tail -n 12 "$base/guests.log"
    return $status
}

# not_slower WHAT DEED FIELD: within a tenth of idle.
not_slower() {
    awk -v idle="$(result "$1" idle "$3")" -v now="$(result "$1" "$2" "$3")" \
        'BEGIN { print "idle " idle " ms, now " now " ms"; exit !(now + 0 <= idle * 1.1) }'
}

table() {
    awk -F'\t' '$1 == "lease" { printf "%-22s %-11s least left of 60 s: %s\n", $1, $2, $3; next }
        NF == 6 { printf "%-22s %-11s %7d times   median %8.2f ms   p99 %8.2f ms   most %8.2f ms\n", $1, $2, $3, $4, $5, $6 }
        $1 == "sent" { printf "%-22s %-11s %10d bytes were taken from it\n", "the bad guest", $2, $3 }' "$base/result"
}

trap end_all EXIT
service_up || { not_ok the_service_starts; plan; exit 1; }
trap end_all EXIT
mkfifo "$base/quiet"
mkdir -p "$base/run" "$base/state" "$base/guests"
printf '[host]\nname = host-a\nlibvirt_uri = test://%s\nstate_dir = %s\nrun_dir = %s\npriv_socket = %s\n' \
    "$base/node.xml" "$base/state" "$base/run" "$base/guests/priv.sock" >"$base/hostd.conf"
domains >"$base/node.xml"
admin audience add shop --all >/dev/null
admin host add host-a --auto >"$base/code" 2>&1
grep -o 'virtid1,[^ ]*' "$base/code" | "${AS[@]}" "$BUILD/virtid-hostd" join --config "$base/hostd.conf" --wait 60 >/dev/null
# Freed memory is kept for a while by a sanitizer: a little of it.
ASAN_OPTIONS=quarantine_size_mb=1:detect_leaks=0 "${AS[@]}" "$BUILD/virtid-hostd" --config "$base/hostd.conf" \
    >/dev/null 2>"$base/host.log" &
host_pid=$!
check the_host_has_its_leases until_true answers vms/00000000-0000-4000-8000-000000000000 '"step":"lease","state":"ok"'
rss=$(held) files=$(open_files)
check no_proof_and_no_renewal_fails_meanwhile guests
table | sed 's/^/# /'
renewed() { [ "$(result lease "$1" 3)" -ge 40 ]; }
proving() { [ "$(result 'proof and token' "$1" 3)" -ge $((good * (seconds * rounds / 2))) ]; }
check under_flood_every_lease_is_renewed_in_time renewed flood
check under_flood_the_others_prove_themselves proving flood
check under_dribble_every_lease_is_renewed_in_time renewed dribble
check under_dribble_the_others_prove_themselves proving dribble
check under_never_read_every_lease_is_renewed_in_time renewed never-read
check under_never_read_the_others_prove_themselves proving never-read
check the_flood_was_one test "$(result sent flood 3)" -gt 100000
check and_it_was_held_back test "$(result sent flood 3)" -lt $((seconds * rounds * 4000000 + 4000000))
check the_host_daemon_holds_no_more_memory test "$(($(held) - rss))" -le $((16 * 1024))
check and_no_more_descriptors test "$(open_files)" -le $((files + 2 * good + 4))
# It is there, and wants a body.
check a_guest_reaches_the_challenge_through_the_host test "$(result route 'POST /v1/challenge' 3)" = 400
check and_nothing_else_of_the_service test "$(awk -F'\t' '$1 == "route" && $3 != 404' "$base/result" | wc -l)" = 1
echo "# the host daemon: $rss kB and $files descriptors before, $(held) kB and $(open_files) after"
if [ $((seconds * rounds)) -ge 600 ]; then
    for deed in flood dribble never-read; do
        check "under_${deed/-/_}_the_median_of_proofs_is_within_a_tenth" not_slower 'proof and token' $deed 4
        check "under_${deed/-/_}_their_p99_is_within_a_tenth" not_slower 'proof and token' $deed 5
    done
fi
plan
