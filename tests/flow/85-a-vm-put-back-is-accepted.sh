#!/bin/bash
# A whole simulated VM whose disk and vTPM were put back: refused, shown to the operator, accepted while it runs, and
# its verifiers can tell.  As an ordinary user.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"

sim=$BUILD/virtid-tpmsim
verify() { "$BUILD/virtid-verify" --issuer "$ISSUER" --ca "$CA" --audience shop "$@"; }
claim() { verify --json "$1" | python3 -c 'import json,sys; t=json.load(sys.stdin); print(eval(sys.argv[1]))' "$2"; }
fresh() { claim "$1" "t['claims']['virtid']['vtpm']['fresh'] and t['claims']['virtid']['secret']['fresh']"; }
# Until a command says so, at most a minute.
until_says() {
    local _
    for _ in {1..300}; do
        says "$@" >/dev/null && return 0
        read -rt 0.2 <>"$SERVICE/quiet"
    done
    says "$@"
}
boot() { "$sim" vm -a shop --state "$SERVICE/$1" -w "$3" </dev/null >"$SERVICE/$2" 2>"$SERVICE/$2.log"; }

service_up || { not_ok the_service_starts; plan; exit 1; }
mkfifo "$SERVICE/quiet"
admin audience add shop --all >/dev/null
admin host add simhost --auto >"$SERVICE/code" 2>>"$SERVICE/add.log"
"$sim" vm --host simhost --name shop-vm -a shop --state "$SERVICE/a" <"$SERVICE/code" >"$SERVICE/first" 2>"$SERVICE/first.log"
uuid=$(claim "$SERVICE/first" "t['uuid']")
cp -a "$SERVICE/a" "$SERVICE/backup"
check a_vm_runs_twice boot a second 60
check what_was_never_refused_is_not_accepted says 'does not run' admin accept "$uuid" --yes

# The backup is restored, and started.
boot backup restored 120 &
vm=$!
check an_operator_sees_that_it_is_behind until_says 'virtid accept DOMAIN' admin why "$uuid"
check and_in_its_info says '^state: *disk-behind' admin info "$uuid"
check and_there_the_command_that_settles_it says '^repair: *virtid accept shop-vm' admin info "$uuid"
check a_look_says_what_was_seen says 'behind *disk+tpm' admin accept shop-vm --dry-run
check and_which_step_that_was says 'step *1 step ago' admin accept shop-vm --dry-run
check nothing_is_accepted_unasked says 'say --yes' admin accept shop-vm
check it_still_has_no_token test ! -s "$SERVICE/restored"
check an_operator_accepts_it says accepted admin accept shop-vm --yes
wait "$vm"
check it_gets_its_token_without_a_reboot test $? -eq 0
check both_ratchets_have_stepped test "$(fresh "$SERVICE/restored")" = True
check its_generation_is_one_higher test "$(claim "$SERVICE/restored" "t['gen']")" -eq $(($(claim "$SERVICE/second" "t['gen']") + 1))
check it_is_the_same_vm test "$(claim "$SERVICE/restored" "t['uuid']")" = "$uuid"
check its_info_says_the_generation says '^gen: *1$' admin info "$uuid"
check a_verifier_can_ask_for_that_generation verify --min-gen 1 "$SERVICE/restored"
check and_refuses_tokens_of_before says token-generation verify --min-gen 1 "$SERVICE/second"
check with_the_exit_status_of_one_that_is_not_valid status_is 1 verify --min-gen 1 "$SERVICE/second"
check a_generation_is_a_number status_is 2 verify --min-gen one "$SERVICE/second"

# What was the right one before is the older one now; and the operator is told of all of them at once.
boot a older 120 &
vm=$!
check the_other_one_is_behind_now until_says '\[!!\] proof *disk-behind' admin why "$uuid"
check all_that_are_behind_are_accepted says "'shop-vm' accepted" admin accept --all-behind --yes
wait "$vm"
check it_goes_on_too test $? -eq 0
check with_another_generation test "$(claim "$SERVICE/older" "t['gen']")" -eq 2

# Locked: no token, and nothing else is changed by it.
check an_operator_locks_it says "'shop-vm' locked" admin lock shop-vm --reason 'odd logins, ticket 7'
check locked_it_is_once says 'locked already' admin lock shop-vm
check its_list_says_so says 'shop-vm *locked' admin list
check its_info_says_why says '^locked reason: *odd logins, ticket 7' admin info "$uuid"
check and_what_ends_it says '^repair: *virtid unlock shop-vm' admin info "$uuid"
boot a unlocked 120 &
vm=$!
check why_says_who_it_was until_says 'locked since .* by admin uid .*: odd logins, ticket 7' admin why "$uuid"
check its_proofs_are_refused_as_that until_says '\[!!\] proof *locked' admin why "$uuid"
check so_it_has_no_token test ! -s "$SERVICE/unlocked"
check an_operator_unlocks_it says "'shop-vm' unlocked" admin unlock shop-vm
check unlocked_it_is_once says 'was not locked' admin unlock shop-vm
wait "$vm"
check it_has_its_token_after_that_without_a_reboot test $? -eq 0
check as_who_it_was test "$(claim "$SERVICE/unlocked" "t['uuid']") $(claim "$SERVICE/unlocked" "t['gen']")" = "$uuid 2"
check with_both_ratchets_stepped test "$(fresh "$SERVICE/unlocked")" = True

# restore=auto: the disk alone.
cp -a "$SERVICE/a" "$SERVICE/mixed"
check it_steps_again boot a newest 60
check the_service_may_do_it_itself says changed admin set shop-vm --restore auto
cp -a "$SERVICE/a" "$SERVICE/newer"
rm -r "$SERVICE/newer/1/disk"
cp -a "$SERVICE/mixed/1/disk" "$SERVICE/newer/1/disk"
check an_older_disk_is_taken_back_by_itself boot newer itself 120
check and_the_generation_says_so test "$(claim "$SERVICE/itself" "t['gen']")" -eq 3

# A database of before the lock; the host that could show a receipt of it is not there.
service_stop
cp -a "$SERVICE/state" "$SERVICE/copied"
service_start
check an_operator_locks_it_after_the_backup says "'shop-vm' locked" admin lock shop-vm --reason 'what=unlocked; ticket 8'
service_stop
mv "$SERVICE/state" "$SERVICE/lost"
mv "$SERVICE/copied" "$SERVICE/state"
service_start --recovery
check the_log_of_elsewhere_tells_that_and_why says "  locked  *$uuid, ok: what=unlocked; ticket 8" admin recovery show --audit "$SERVICE/tokend.log"
plan
