#!/bin/bash
# The service's machine dies, and another takes over with a copy of the database that lags behind: a guest that has
# stepped since, and one that was enrolled since, go on by the receipts that their host has kept; nobody new is enrolled
# before an operator has looked, and he is told what the copy can not know.  Then the first machine serves again, and
# it is the same the other way round.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"
vm=old
# shellcheck source=tests/lib/fresh_token.sh
. "$(dirname "$0")/../lib/fresh_token.sh"
state=$box/var-lib/virtid-token
asked_log=$box/log/virtid-tokend.log

guest() {
    guest_run "$box" "$vm" "${2:-60}" "$1"
}

# as_enrolled VM: the same sub, keys and generation as in its first token, both factors stepped.
as_enrolled() {
    vm=$1
    fresh || return 1
    [ "$(told sub gen factors)" = "$(cat "$box/$vm.identity")" ] && return 0
    told sub gen factors
    return 1
}

remember() {
    vm=$1
    fresh && told sub gen factors >"$box/$vm.identity" && epoch >"$box/$vm.epoch"
}

runs_and_remembered() {
    define "$1" marker channel && provisioned "$1" && virsh start "$1" && has_token "$1" && remember "$1"
}

# While it is written to, as docs/RECOVERY.md has it.
backed_up() {
    echo 'a long passphrase' | inside virtid backup /etc/virtid/nightly
}

# Another machine, with nothing of the service's but its name, its address and the backup; which records of the audit were
# signed since that was made, it does not know.
another_machine() {
    stop virtid-tokend KILL
    mkdir -m 700 "$box/standby" && mv "$state"/tokend.db* "$box/standby/" && mv "$box/var-lib/virtid-signer" "$box/keys" &&
        echo 'a long passphrase' | inside virtid restore /etc/virtid/nightly &&
        diff -r -x audit-head "$box/keys" "$box/var-lib/virtid-signer" && service_up
}

as_init_made_them() {
    (cd "$box/keys" && stat -c '%n %a %u %g' . ./*) >"$box/modes.before"
    (cd "$box/var-lib/virtid-signer" && stat -c '%n %a %u %g' . ./*) | diff "$box/modes.before" -
}

# The one that serves is gone at once, in the middle of its work; the one of before has its name, its address and the keys,
# with which other records may be signed than its database has.
machines_change() {
    stop virtid-tokend KILL
    mkdir -m 700 "$box/dead" && mv "$state"/tokend.db* "$box/dead/" && mv "$box/standby"/tokend.db* "$state/" &&
        rmdir "$box/standby" && mv "$box/dead" "$box/standby" && host_daemon "$box" virtid-tokend --recovery
}

same_epoch() {
    vm=$1
    fresh && [ "$(epoch)" = "$(cat "$box/$vm.epoch")" ]
}

shows() {
    inside virtid recovery show | tee /dev/stderr | grep -qE "$1"
}

told_of_words_since() {
    inside virtid recovery show --audit - <"$asked_log" | tee /dev/stderr | grep -E "audience-declared +since"
}

waits() {
    why_says "$1" recovery && ! guest_run "$box" "$1" 20 'virtid-agent token -a db' | grep -E 'eyJ[A-Za-z0-9_-]{20}'
}

# not_now COMMAND...: refused, with the command that settles it.
not_now() {
    local said

    said=$("$@" 2>&1) && return 1
    echo "$said"
    [[ $said == *"virtid recovery show"* || $said == *"restored database"* ]]
}

killed_and_restored_still() {
    stop virtid-tokend KILL
    service_up && shows 'Since:'
}

finish() {
    inside virtid recovery finish --yes && inside virtid recovery show | grep 'does not work with a restored'
}

stack_up
must audiences 60
echo 0 >"$box/asked"
must runs_and_remembered old
ok it_is_backed_up_while_it_runs backed_up
must virsh destroy old
must virsh start old
must remember old
must runs_and_remembered late
must inside virtid audience add since --all
sleep 16 # its host has reported, and has a receipt of it
ok another_machine_takes_over_with_an_older_database another_machine
ok its_keys_belong_to_the_signer_again as_init_made_them
ok one_that_stepped_since_goes_on_as_who_it_was as_enrolled old
ok in_the_epoch_it_had same_epoch old
ok one_that_was_enrolled_since_too as_enrolled late
ok the_operator_sees_that_it_was_restored shows 'Receipts taken: +2'
ok and_what_was_said_since told_of_words_since
ok nothing_is_placed_now not_now inside virtid place old host1 --force
must define fresh marker channel
must virsh start fresh
ok nobody_new_is_enrolled host_wait 60 waits fresh
ok the_service_is_killed_and_knows_it_still killed_and_restored_still
ok an_operator_says_that_it_is_in_order host_wait 70 finish # its hosts are waited for, after a start
ok then_the_new_one_has_its_token has_token fresh
ok and_the_others_go_on as_enrolled old
must remember fresh
sleep 16
ok the_first_machine_serves_again_as_it_died machines_change
ok it_learns_of_the_one_that_was_enrolled_meanwhile as_enrolled fresh
ok and_the_others_are_who_they_were as_enrolled late
ok an_operator_has_to_say_so_again host_wait 70 finish
done_testing
