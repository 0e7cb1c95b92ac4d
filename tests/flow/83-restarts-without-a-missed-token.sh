#!/bin/bash
# Token service and signer are stopped, killed and started again under a simulated VM whose workloads ask for
# tokens all the time: for the one at hand every 100 ms, and for one that only a new proof gives. Nobody is refused.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"

sim=$BUILD/virtid-tpmsim
agent_conf() { echo "$SERVICE/state-of-vm/1/agent.conf"; }
ask() { "$BUILD/virtid-agent" token -a "$1" --config "$(agent_conf)"; }
rest() { read -rt "$1" <>"$SERVICE/quiet"; }

# workload NAME AUDIENCE...: asks for one after the other, again and again, until NAME.end is there.
workload() {
    local name=$1 audience n=0

    shift
    while :; do
        for audience in "$@"; do
            [ -e "$SERVICE/$name.end" ] && return
            ask "$audience" 2>&1 >/dev/null | sed "s/^/$audience: /" >>"$SERVICE/$name.refused"
            n=$((n + 1))
            echo "$n" >"$SERVICE/$name.asked"
            rest 0.1
        done
    done
}

# while_asked OLD NEW COMMAND...: two workloads ask before, while and after COMMAND runs; OLD and NEW are what is checked.
round=0
while_asked() {
    local text=$1 new_text=$2 old new

    shift 2
    round=$((round + 1))
    workload old$round shop &
    old=$!
    # Each of them once: none is at hand. An agent keeps tokens for 64 audiences.
    workload new$round $(seq -f "r$round-%.0f" 1 18) &
    new=$!
    rest 0.5
    "$@" || not_ok "$text: $*"
    for _ in $(seq 60); do # a proof takes its time where the machine is busy
        rest 1
        asked old$round 10 && asked new$round 2 && break
    done
    rest 1
    touch "$SERVICE/old$round.end" "$SERVICE/new$round.end"
    wait "$old" "$new"
    check "$text" quiet_workload old$round 10
    check "$new_text" quiet_workload new$round 2
}

asked() { [ "$(cat "$SERVICE/$1.asked" 2>/dev/null || echo 0)" -ge "$2" ]; }
quiet_workload() {
    cat "$SERVICE/$1.refused"
    [ ! -s "$SERVICE/$1.refused" ] && asked "$1" "$2"
}

restart_service() { service_stop "$1"; rest 1; service_start; }
# The signer takes the service with it; whoever watches over that starts it again.
kill_signer() {
    kill -KILL "$(cat "/proc/$SERVICE_PID/task/$SERVICE_PID/children")" || return 1
    timeout 30 tail --pid="$SERVICE_PID" -f /dev/null
    SERVICE_PID=
    rest 1
    service_start
}

service_up || { not_ok the_service_starts; plan; exit 1; }
mkfifo "$SERVICE/quiet" "$SERVICE/out"
for audience in shop $(seq -f 'r1-%.0f' 1 18) $(seq -f 'r2-%.0f' 1 18) $(seq -f 'r3-%.0f' 1 18); do
    echo "audience add $audience --all"
done | while read -r words; do
    # shellcheck disable=SC2086 # words
    admin $words >/dev/null || echo "# $words failed"
done
admin host add simhost --auto >"$SERVICE/code" 2>/dev/null
"$sim" vm --host simhost -a shop --state "$SERVICE/state-of-vm" --keep-running <"$SERVICE/code" >"$SERVICE/out" 2>"$SERVICE/vm.log" &
pid=$!
trap 'touch "$SERVICE"/{old,new}{1,2,3}.end; kill "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; service_down' EXIT
read -rt 120 _ <"$SERVICE/out" || sed 's/^/# /' "$SERVICE/vm.log"

while_asked no_token_is_missed_when_the_service_is_restarted nor_is_a_new_one restart_service -TERM
while_asked none_when_it_is_killed nor_a_new_one_then restart_service -KILL
while_asked none_when_its_signer_is_killed nor_a_new_one_without_the_signer kill_signer

# An agent that is restarted: its socket is away for a moment.
socket=$(echo "$SERVICE"/state-of-vm/1/*/agent.sock)
[ -S "$socket" ] || socket=$(find "$SERVICE/state-of-vm/1" -name agent.sock)
mv "$socket" "$socket.away"
ask shop >"$SERVICE/late" 2>&1 &
late=$!
rest 0.5
mv "$socket.away" "$socket"
if wait "$late"; then ok an_agent_that_is_restarted_is_waited_for; else not_ok an_agent_that_is_restarted_is_waited_for; fi
mv "$socket" "$socket.away"
check one_that_stays_away_is_not_waited_for_long sh -c '! timeout 10 "$@"; [ $? -eq 0 ]' - \
    "$BUILD/virtid-agent" token -a shop --config "$(agent_conf)"
plan
