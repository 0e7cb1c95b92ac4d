#!/bin/bash
# Mode observe, and a hook that libvirt does not call, without a hypervisor: two hosts, one token
# service; libvirt is its in-memory test driver.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"

uuid=6ba7b810-9dad-11d1-80b4-00c04fd430c8
xml=$srcdir/tests/data/domain/managed.xml
declare -A pids

host() { echo "$SERVICE/$1"; }

# join_host NAME MODE
join_host() {
    local dir
    dir=$(host "$1")
    mkdir -p "$dir/run" "$dir/state" "$dir/hooks/qemu.d"
    printf '[host]\nname = %s\nlibvirt_uri = test:///default\nstate_dir = %s\nrun_dir = %s\npriv_socket = %s\nmode = %s\nhook_dir = %s\nlibvirt_run_dir = %s\n' \
        "$1" "$dir/state" "$dir/run" "$dir/none" "$2" "$dir/hooks" "$dir" >"$dir/hostd.conf"
    admin host add "$1" --auto >"$dir/code.log" 2>&1
    grep -o 'virtid1,[^ ]*' "$dir/code.log" >"$dir/code"
    "${AS[@]}" "$BUILD/virtid-hostd" join --config "$dir/hostd.conf" --wait 20 <"$dir/code"
}

start_host() {
    local dir ready
    dir=$(host "$1")
    exec {ready}< <(exec "${AS[@]}" "$BUILD/virtid-hostd" --config "$dir/hostd.conf" --ready-fd 9 9>&1 >/dev/null 2>>"$dir/log")
    pids[$1]=$!
    read -r -t 30 _ <&"$ready" || { sed 's/^/# /' "$dir/log" | tail -5; return 1; }
    exec {ready}<&-
    until_true "$1" '"service":"up"' status
}

up() { if start_host "$1"; then ok "$2"; else not_ok "$2"; fi; }

kill_host() {
    kill -KILL "${pids[$1]}" 2>/dev/null
    timeout 10 tail --pid="${pids[$1]}" -f /dev/null
    unset "pids[$1]"
}

end_all() {
    local name
    for name in "${!pids[@]}"; do kill_host "$name"; done
    service_down
}

ask() { curl -sS --max-time 5 --unix-socket "$(host "$1")/run/hostd.sock" "http://localhost/v1/$2"; }
ours() { "${AS[@]}" "$BUILD/virtid" --service "$ADMIN" --host "$(host "$1")/run/hostd.sock" "${@:2}"; }

# until_says TEXT COMMAND...: again until it prints TEXT, at most 40 s.
until_says() {
    local until=$((SECONDS + 40)) text=$1
    shift
    while ((SECONDS < until)); do
        "$@" 2>/dev/null | grep -qE -- "$text" && return 0
        read -r -t 0.2 <> <(:) || true
    done
    "$@" 2>&1 | sed 's/^/# /'
    return 1
}
until_true() { until_says "$2" ask "$1" "$3"; }

call() { VIRTID_HOOK_RUN_DIR=$(host "$1")/run "$BUILD/virtid-hook" web1 "$2" begin - <"$xml"; }
refused() { ! call "$@" 2>"$SERVICE/refusal"; }
# The service has just started: a loose VM goes until it has heard its hosts.
refused_after_grace() {
    local until=$((SECONDS + 60))
    while ((SECONDS < until)); do
        refused "$1" prepare && return 0
        call "$1" release
        read -r -t 1 <> <(:) || true
    done
    return 1
}
nobody_has_it() { [ "$(admin --output json list)" = '[]' ]; }
held_by() { admin --output json list | grep -q "\"host\": *\"$1\""; }
hooks_say() { until_says "^ *host-a .* $1\$" admin host list; }

not_passed() {
    ours host-a host check >"$SERVICE/check.out" && return 1
    grep -q 'HOOK: Checking if the hook is in place and executable .*: FAIL (.*qemu.d/virtid is not there)' "$SERVICE/check.out" &&
        grep -q 'repair: .*systemctl restart libvirtd' "$SERVICE/check.out" &&
        grep -q 'DAEMONS: Checking if the token service answers .*: PASS' "$SERVICE/check.out"
}

service_up || { not_ok "the_service_starts"; plan; exit 1; }
trap end_all EXIT
check "a_host_joins_that_only_observes" join_host host-a observe
check "a_host_joins_that_does_not" join_host host-b loose
up host-a it_starts
up host-b the_other_too

check "an_observed_vm_starts" call host-a prepare
check "what_would_have_been_is_reported" until_says 'web1 .*observe .*start .*allowed .*with the lease' ours host-a report
check "what_can_not_be_foreseen_is_said" until_says 'web1 .*inject .*unknown .*virtid-privd' ours host-a report
check "nobody_has_a_lease_or_an_account" nobody_has_it
check "nor_after_its_end" call host-a release

check "another_host_takes_the_lease" call host-b prepare
check "it_has_it" held_by host-b
check "the_observed_one_starts_all_the_same" call host-a prepare
check "its_start_would_have_been_refused" until_says 'web1 .*start .*refused .*host-b holds the lease' ours host-a report
check "the_other_keeps_the_lease" held_by host-b
check "a_migration_is_not_refused" call host-a migrate
check "and_noted" until_says 'web1 .*migrate .*allowed' ours host-a report

kill_host host-a
up host-a its_daemon_comes_back
check "what_was_noted_is_there_still" until_says 'web1 .*start .*refused .*host-b holds the lease' ours host-a report

service_stop
check "the_service_is_down" until_true host-a '"service":"down"' status
check "an_observed_vm_starts_without_the_service" call host-a prepare
check "strict_would_have_refused_that" until_says 'web1 .*start .*allowed .*refused in mode strict' ours host-a report
if service_start; then ok the_service_comes_back; else not_ok the_service_comes_back; fi
check "an_operator_ends_the_observation_of_one_vm" admin set --mode loose "$uuid"
check "its_host_hears_of_it" until_true host-a '"mode":"loose"' "vms/$uuid"
check "now_it_is_refused" refused_after_grace host-a
check "and_the_reason_is_said" grep -q "host-b holds the lease" "$SERVICE/refusal"
check "it_is_observed_again" admin set --mode observe web1
check "its_host_hears_that_as_well" until_true host-a '"mode":"observe"' "vms/$uuid"
check "and_it_starts" call host-a prepare

# The hook's file, seen by the daemon and shown where the service runs.
install -m 755 "$BUILD/virtid-hook" "$(host host-a)/hooks/qemu.d/virtid"
check "a_hook_in_order_is_shown" hooks_say 'ok|unknown|unproven'
chmod 644 "$(host host-a)/hooks/qemu.d/virtid"
check "a_hook_that_is_not_executable_is_shown_within_a_minute" hooks_say unusable
rm "$(host host-a)/hooks/qemu.d/virtid"
check "a_hook_that_is_gone_is_shown_within_a_minute" hooks_say absent
check "host_check_fails_on_it" not_passed
plan
