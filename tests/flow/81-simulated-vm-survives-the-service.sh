#!/bin/bash
# The token service is killed outright while a simulated VM runs, and comes back: the VM goes on.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"

sim=$BUILD/virtid-tpmsim
verify() { "$BUILD/virtid-verify" --issuer "$ISSUER" --ca "$CA" "$@"; }
epoch_of() { verify --audience "$1" --json "$2" | python3 -c 'import json,sys; print(json.load(sys.stdin)["epoch"])'; }
# The agent in the VM that runs, asked as its workloads would.
ask() { "$BUILD/virtid-agent" token -a "$1" --wait "$2" --config "$SERVICE/state-of-vm/1/agent.conf"; }
eventually() {
    local _
    for _ in {1..1800}; do
        "$@" && return 0
        read -rt 0.1 <>"$SERVICE/quiet"
    done
    return 1
}
ready() {
    python3 -c 'import ssl, sys, urllib.request
urllib.request.urlopen(sys.argv[1], context=ssl.create_default_context(cafile=sys.argv[2]))' "https://$PUBLIC/readyz" "$CA" 2>/dev/null
}

service_up || { not_ok the_service_starts; plan; exit 1; }
mkfifo "$SERVICE/quiet" "$SERVICE/out"
admin audience add shop --all >/dev/null
admin audience add late --all >/dev/null
admin host add simhost --auto >"$SERVICE/code" 2>/dev/null
"$sim" vm --host simhost -a shop --state "$SERVICE/state-of-vm" --keep-running <"$SERVICE/code" >"$SERVICE/out" 2>"$SERVICE/vm.log" &
pid=$!
trap 'kill "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; service_down' EXIT
read -rt 120 token <"$SERVICE/out" || sed 's/^/# /' "$SERVICE/vm.log"
echo "$token" >"$SERVICE/token"
check a_vm_runs_and_has_its_token verify --audience shop "$SERVICE/token"

service_stop -KILL
check the_token_at_hand_is_served_while_the_service_is_away sh -c '[ "$(cat "$1")" = "$2" ]' - <(ask shop 1) "$token"
if ask late 1 >/dev/null 2>&1; then not_ok no_new_one_is_to_be_had; else ok no_new_one_is_to_be_had; fi
service_start || not_ok the_service_starts_again
check the_vm_gets_a_new_token_from_the_service_that_came_back sh -c '"$@" >"$0"' "$SERVICE/late" \
    "$BUILD/virtid-agent" token -a late --wait 60 --config "$SERVICE/state-of-vm/1/agent.conf"
check a_stranger_verifies_that_one verify --audience late "$SERVICE/late"
check its_run_is_still_the_same test "$(epoch_of late "$SERVICE/late")" = "$(epoch_of shop "$SERVICE/token")"
check the_service_is_ready_once_its_hosts_have_reported eventually ready

kill -KILL "$pid"
wait "$pid" 2>/dev/null
check after_its_host_was_killed_it_comes_back \
    sh -c '"$1" vm --state "$2/state-of-vm" -a shop </dev/null >"$2/again"' - "$sim" "$SERVICE"
check with_a_new_epoch test "$(epoch_of shop "$SERVICE/again")" -gt "$(epoch_of shop "$SERVICE/token")"
service_stop
check without_a_service_it_says_so_and_ends \
    sh -c '"$1" vm --state "$2/state-of-vm" -a shop -w 2 </dev/null; [ $? -eq 5 ]' - "$sim" "$SERVICE"
plan
