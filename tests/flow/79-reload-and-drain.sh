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

# reload_host TEXT WORDS: a drop-in of that text, and the one line that the daemon says about it, into $SERVICE/said.
reload_host() {
    local log seen
    log=$(host host1)/log
    seen=$(wc -l <"$log")
    mkdir -p "$(host host1)/hostd.conf.d"
    # shellcheck disable=SC2059 # a text with its line ends
    printf "$1" >"$(host host1)/hostd.conf.d/reloaded.conf"
    kill -HUP "${pids[host1]}"
    for _ in $(seq 500); do
        tail -n +$((seen + 1)) "$log" | grep event=reload >"$SERVICE/said" && break
        read -rt 0.02 <> <(:) || true
    done
    grep -qE -- "$2" "$SERVICE/said" || { cat "$SERVICE/said"; return 1; }
}
# It says so and does it; an operator's question is answered behind that.
is_strict() { ask host1 status >/dev/null && [ -e "$(host host1)/state/strict/$uuid" ]; }
# The service does not answer; the hook waits for a lease, and its daemon is told to end.
ends_while_a_hook_waits() {
    local hook status
    kill -STOP "$SERVICE_PID"
    refused host1 prepare &
    hook=$!
    for _ in $(seq 100); do
        ask host1 "vms/$uuid" | grep -q '"state":"starting"' && break
        read -rt 0.01 <> <(:) || true
    done
    kill -TERM "${pids[host1]}"
    wait "${pids[host1]}"
    status=$?
    unset 'pids[host1]'
    kill -CONT "$SERVICE_PID"
    wait "$hook" && grep -q 'it is strict and there is no lease' "$SERVICE/refusal" && [ "$status" = 0 ] && return
    echo "status $status"
    cat "$SERVICE/refusal"
    return 1
}
in_this_shell() { # POINT COMMAND...: for what ends a child
    if "${@:2}" >"$SERVICE/out" 2>&1; then ok "$1"; else not_ok "$1"; sed 's/^/# /' "$SERVICE/out"; fi
}
quiet() { ! grep -E 'virtid-signer:|ERROR: |WARNING: |runtime error' "$SERVICE/tokend.log"; }

service_up || { not_ok the_service_starts; plan; exit 1; }
trap end_hosts EXIT
join_host host1 >"$SERVICE/join.log" 2>&1 || sed 's/^/# /' "$SERVICE/join.log"
# A request to the service that is under way at the end is not freed: the process ends.
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0 up host1 a_host_daemon_is_there
check a_vm_starts_on_it call host1 prepare
check it_takes_what_can_be_taken reload_host '[host]\nmode = strict\nstart_wait = 5\nrun_dir = /elsewhere\n' \
    'result=taken .* taken=host.start_wait,host.mode restart=host.run_dir:'
check the_hooks_own_rule_follows_the_mode is_strict
check it_refuses_a_mistake reload_host '[host]\nmode = loose\nstart_wait = 500\n' 'result=refused.*start_wait is 1 to 100 seconds'
check and_stays_as_it_was is_strict
check its_file_can_be_tried_beforehand status_is 2 "${AS[@]}" "$BUILD/virtid-hostd" --check-config --config "$(host host1)/hostd.conf"
call host1 release
until_true host1 '"state":"absent"' vms
in_this_shell a_hook_that_waits_has_its_answer_before_the_daemon_ends ends_while_a_hook_waits

under_load host1 what_can_be_taken_is_taken_at_once a_mistake_refuses_the_whole what_waits_for_a_restart_is_named \
    no_connection_has_ended a_request_that_was_half_there_is_answered it_is_ready_no_more who_had_just_come_is_answered \
    who_waits_for_news_is_told_that_there_are_none each_connection_ends_behind_a_whole_answer nobody_new_is_let_in \
    it_ends_within_its_bound
in_this_shell its_status_is_0 ended_well
check nothing_else_was_said quiet
service_start || { not_ok it_starts_again; plan; exit 1; }
under_load host1 a_second_signal_ends_it_at_once
in_this_shell its_status_is_0_then_too ended_well
plan
