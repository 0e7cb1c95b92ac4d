#!/bin/bash
# A simulated VM in which no workload asks for a token: it is enrolled, proves itself once, and no more.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"

sim=$BUILD/virtid-tpmsim
n_tokens() { grep -c "event=token " "$SERVICE/tokend.log"; }
# Until the service has given a token, at most a minute.
has_proved() {
    local _
    for _ in {1..600}; do
        [ "$(n_tokens)" -gt 0 ] && return 0
        read -rt 0.1 <>"$SERVICE/quiet"
    done
    tail -n 5 "$SERVICE/vm.log"
    return 1
}
is_enrolled() { admin info quiet-vm | tee "$SERVICE/info" | grep -q 'host+vtpm+secret' || { cat "$SERVICE/info"; return 1; }; }

service_up || { not_ok the_service_starts; plan; exit 1; }
mkfifo "$SERVICE/quiet"
admin host add simhost --auto >"$SERVICE/code" 2>/dev/null
"$sim" vm --host simhost --name quiet-vm --keep-running <"$SERVICE/code" >/dev/null 2>"$SERVICE/vm.log" &
pids+=("$!")
trap 'kill "${pids[@]}" 2>/dev/null; wait "${pids[@]}" 2>/dev/null; service_down' EXIT
check it_proves_itself_unasked has_proved
check it_is_enrolled_with_all_its_factors is_enrolled
read -rt 15 <>"$SERVICE/quiet"
check and_asks_no_more_in_that_run test "$(n_tokens)" = 1
plan
