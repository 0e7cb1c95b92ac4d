#!/bin/bash
# Two hosts, one token service, no hypervisor: what a start, an end, a service that is away and a
# daemon that is killed do to a VM's lease.  libvirt is its in-memory test driver.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"
# shellcheck source=tests/lib/hosts.sh
. "$srcdir/tests/lib/hosts.sh"

epoch() { ask "$1" "vms/$uuid" | grep -o '"epoch":[0-9]*' | cut -d: -f2; }
# On a busy machine the hook lets a start go before the daemon has its answer.
newer() {
    local until=$((SECONDS + 60))
    while ((SECONDS < until)); do
        [ "$(epoch "$1")" -gt "$2" ] && return 0
        read -r -t 0.2 <> <(:) || true
    done
    return 1
}
same() { [ "$(epoch "$1")" = "$2" ]; }

service_up || { not_ok "the_service_starts"; plan; exit 1; }
trap end_hosts EXIT
check "a_host_joins" join_host host-a
check "a_second_host_joins" join_host host-b
up host-a its_daemon_takes_up_what_joining_left
up host-b the_second_one_too

check "a_start_takes_the_lease" call host-a prepare
first=$(epoch host-a)
check "with_an_epoch" newer host-a 0
check "a_vm_that_never_ran_gets_its_account_inside_prepare" until_true host-a '"account":"pending"' "vms/$uuid"
check "what_can_not_be_had_in_a_start_is_skipped" until_true host-a '"step":"inject","state":"skipped"' "vms/$uuid"
check "another_host_may_not_start_it" refused host-b prepare
check "and_is_told_who_has_it" grep -q "host-a holds the lease .*virtid place web1 host-b" "$SERVICE/refusal"

kill_host host-a
up host-a after_a_kill_in_the_middle_of_a_start_the_daemon_comes_back
check "and_keeps_the_epoch_of_that_start" until_true host-a "\"state\":\"ok\",\"seen\":\"epoch $first" "vms/$uuid"
check "the_other_host_is_refused_still" refused host-b prepare

check "release_is_not_waited_for" call host-a release
check "the_end_is_known" until_true host-a '"state":"absent"' vms
check "whether_it_was_moved_is_not" refused host-b prepare
check "by_a_daemon_that_did_not_see_it_begin" grep -q "host-a is moving it .*virtid place web1 host-b" "$SERVICE/refusal"
check "the_next_start_takes_it_again" call host-a prepare
check "with_a_higher_epoch" newer host-a "$first"
call host-a release
check "the_lease_is_given_back" until_true host-a '"state":"absent"' vms
check "a_given_back_lease_is_reserved_for_its_host" refused host-b prepare
check "and_the_refusal_says_whose_it_is" grep -q "it is host-a's, which had it last; .*virtid place web1 host-b" "$SERVICE/refusal"
check "it_starts_once_more" call host-a prepare
second=$(epoch host-a)

check "an_operator_makes_it_strict" admin set --mode strict web1
check "its_host_hears_of_it" until_true host-a '"mode":"strict"' "vms/$uuid"
strict_file=$(host host-a)/state/strict/$uuid
check "and_keeps_a_file_for_the_hook" test -f "$strict_file"
service_stop
call host-a release # its end is what nobody hears
check "a_daemon_notices_that_the_service_is_down" until_true host-a '"service":"down"' status
check "a_strict_vm_does_not_start_without_the_service" refused host-a prepare
kill_host host-a
rm -f "$strict_file"
start_host_without_service host-a
check "a_mode_survives_a_restart_without_the_service" refused host-a prepare
check "and_so_does_the_file_for_the_hook" test -f "$strict_file"
if service_start; then ok the_service_comes_back_for_a_moment; else not_ok the_service_comes_back_for_a_moment; fi
check "an_operator_makes_it_loose" admin set --mode loose web1
check "its_host_hears_that_too" until_true host-a '"mode":"loose"' "vms/$uuid"
check "the_file_for_the_hook_is_gone" test ! -e "$strict_file"
service_stop
check "a_daemon_notices_again" until_true host-a '"service":"down"' status
check "a_loose_vm_starts_without_the_service" call host-a prepare
check "without_a_lease" same host-a 0
call host-a release
check "a_loose_start_waits_for_no_service" call host-a prepare
if service_start; then ok the_service_comes_back; else not_ok the_service_comes_back; fi
check "and_the_lease_is_taken_afterwards" until_true host-a '"step":"lease","state":"ok"' "vms/$uuid"
check "with_a_higher_epoch_than_all_before" newer host-a "$second"

third=$(epoch host-a)
call host-a release
check "a_restore_is_let_through" call host-a restore
check "and_its_start_takes_the_lease" call host-a prepare
check "in_a_new_epoch_too" newer host-a "$third"
call host-a release
check "on_another_host_it_is_not_restored" refused host-b prepare

check "a_migration_that_nobody_sends_is_refused" refused host-b migrate
check "an_operator_locks_it" admin lock web1 --reason 'odd logins'
check "a_migration_of_a_locked_one_is_refused_though_it_is_loose" refused host-b migrate
check "with_the_cause_and_the_command" grep -q "locked: an operator locked its identity, .* virtid unlock web1" "$SERVICE/refusal"
third=$(epoch host-a)
check "a_locked_one_starts_as_ever" call host-a prepare
check "and_has_its_lease" newer host-a "$third"
call host-a release
check "an_operator_unlocks_it" admin unlock web1
check "then_its_cause_is_the_one_of_before" refused host-b migrate
check "which_is_no_lock" test -z "$(grep -o locked "$SERVICE/refusal")"
check "an_operator_removes_that_host" admin host remove host-b --yes
check "none_comes_to_a_host_that_was_removed" refused host-b migrate
check "and_that_is_said" grep -q "no identity here: .*host-b no more: the host was removed" "$SERVICE/refusal"
service_stop
check "nor_when_the_service_is_away_after_that_word" refused host-b migrate
check "where_it_said_no_such_word_one_comes_in" call host-a migrate
plan
