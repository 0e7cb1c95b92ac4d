#!/bin/bash
# SIGHUP and SIGTERM while clients keep their connections and ask: a configuration is taken or refused, and tokend and a
# host daemon end, without one request that was accepted going without its answer. As an ordinary user.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"
# shellcheck source=tests/lib/hosts.sh
. "$srcdir/tests/lib/hosts.sh"

# under_load HOST POINT...: counts and numbers what reload.py says, then ends with tokend's status.
under_load() {
    local line
    while IFS= read -r line; do
        case $line in
            "ok - "*) ok "${line#ok - }" ;;
            "not ok - "*) not_ok "${line#not ok - }" ;;
            *) echo "$line" ;;
        esac
    done < <("${AS[@]}" /usr/bin/python3 "$srcdir/tests/lib/reload.py" "$SERVICE" "$SERVICE_PID" "$(host "$1")/state/tls.pem" "${@:2}" 2>&1)
}
ended_well() {
    wait "$SERVICE_PID"
    local status=$?
    SERVICE_PID=
    [ "$status" = 0 ] && tail -1 "$SERVICE/tokend.log" | grep -q event=stopped && return
    echo "status $status"
    tail -3 "$SERVICE/tokend.log"
    return 1
}
quiet() { ! grep -E 'virtid-signer:|ERROR: |WARNING: |runtime error' "$SERVICE/tokend.log"; }

service_up || { not_ok the_service_starts; plan; exit 1; }
trap end_hosts EXIT
join_host host1 >"$SERVICE/join.log" 2>&1 || sed 's/^/# /' "$SERVICE/join.log"
under_load host1 what_can_be_taken_is_taken_at_once a_mistake_refuses_the_whole what_waits_for_a_restart_is_named \
    no_connection_has_ended a_request_that_was_half_there_is_answered it_is_ready_no_more who_had_just_come_is_answered \
    who_waits_for_news_is_told_that_there_are_none each_connection_ends_behind_a_whole_answer nobody_new_is_let_in \
    it_ends_within_its_bound
if ended_well; then ok its_status_is_0; else not_ok its_status_is_0; fi
check nothing_else_was_said quiet
service_start || { not_ok it_starts_again; plan; exit 1; }
under_load host1 a_second_signal_ends_it_at_once
if ended_well; then ok its_status_is_0_then_too; else not_ok its_status_is_0_then_too; fi
plan
