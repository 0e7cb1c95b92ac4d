#!/bin/bash
# The vTPM of a whole simulated VM is lost: refused with the command that helps; with it the named host, and no other,
# brings a new one, once, and the VM is who it was.  As an ordinary user.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"

sim=$BUILD/virtid-tpmsim
claim() {
    "$BUILD/virtid-verify" --issuer "$ISSUER" --ca "$CA" --audience shop --json "$1" |
        python3 -c 'import json,sys; t=json.load(sys.stdin); print(eval(sys.argv[1]))' "$2"
}
fresh() { claim "$1" "t['claims']['virtid']['vtpm']['fresh'] and t['claims']['virtid']['secret']['fresh']"; }
factors() { claim "$1" "' '.join(t['factors'])"; }
# says WORDS COMMAND...
says() {
    local words=$1
    shift
    "$@" </dev/null >"$SERVICE/said" 2>&1
    grep -q -- "$words" "$SERVICE/said" || { cat "$SERVICE/said"; return 1; }
}
new_host() { admin host add "$1" --auto >"$SERVICE/$1.code" 2>>"$SERVICE/add.log"; }
# boot STATE FILE ARGUMENT...: one run of the VM whose TPM and disk are in STATE.
boot() {
    local state=$1 file=$2
    shift 2
    "$sim" vm -a shop --state "$SERVICE/$state" -q "$@" >"$SERVICE/$file" 2>"$SERVICE/$file.log"
}
refused() {
    boot "$@"
    [ $? -eq 3 ]
}
unless_it_boots() { ! boot "$@" </dev/null; }
lose_tpm() { rm -r "${SERVICE:?}/$1/1/${uuid:?}"; }

service_up || { not_ok the_service_starts; plan; exit 1; }
admin audience add shop --all >/dev/null
new_host sim-a
new_host sim-b
new_host sim-c
check a_vm_has_its_token boot a first --host sim-a --name web1 <"$SERVICE/sim-a.code"
uuid=$(claim "$SERVICE/first" "t['uuid']")
cp -a "$SERVICE/a" "$SERVICE/before"

# The state is lost on its own host.
lose_tpm a
check without_its_tpm_it_is_refused refused a lost
check and_the_command_is_named grep -q 'virtid place web1 sim-a --new-vtpm' "$SERVICE/lost.log"
check the_service_has_said_so grep -q 'event=account-refused .*problem=ek-changed' "$SERVICE/tokend.log"
check so_again refused a lost
check another_host_may_not_either refused b lost --host sim-b --uuid "$uuid" <"$SERVICE/sim-b.code"
check nor_when_it_is_placed_there says 'placed' admin place "$uuid" sim-b --force
check without_that_word refused b lost --uuid "$uuid"
check there_is_no_such_word_for_a_vm_nobody_knows says 'it has not proved itself yet' \
    admin place 11111111-2222-4333-8444-555555555555 sim-a --new-vtpm
check nor_with_the_other_one status_is 2 admin place web1 sim-a --new-vtpm --reincarnate
check an_operator_says_it says 'it may come with a new one, within an hour' admin place web1 sim-a --new-vtpm --force
check the_other_host_may_still_not refused b lost --uuid "$uuid"
check it_waits_for_it says 'none registered by sim-a yet' admin why web1
check it_has_its_token_with_its_new_tpm boot a second
check it_is_the_same_vm test "$(claim "$SERVICE/second" "t['uuid']")" = "$uuid"
check with_all_factors test "$(factors "$SERVICE/second")" = 'host vtpm secret'
check both_have_stepped test "$(fresh "$SERVICE/second")" = True
check its_generation_is_one_higher test "$(claim "$SERVICE/second" "t['gen']")" -eq 1
check both_eks_are_named grep -Eq 'event=renewed .*gen=1 ek=[0-9a-f]{64} before=[0-9a-f]{64}' "$SERVICE/tokend.log"
check it_goes_on_as_ever boot a third
check in_its_generation test "$(claim "$SERVICE/third" "t['gen']")" -eq 1
check the_tpm_of_before_is_refused_now refused before none -w 5
check and_why_is_said says 'ek-changed' admin why web1
check with_its_command says 'virtid place web1 sim-a --new-vtpm' admin why web1
check the_new_one_goes_on boot a fourth

# Registered, and then lost before it has proved itself: one, not two.
lose_tpm a
check an_operator_says_it_again says 'placed' admin place web1 sim-a --new-vtpm --force
check it_is_registered_by_a_run_that_dies_at_once unless_it_boots a dead --agent /bin/false
cp -a "$SERVICE/a" "$SERVICE/registered"
lose_tpm a
check a_second_new_one_is_not_taken refused a none
check and_it_says_so grep -q 'a new one is registered already' "$SERVICE/none.log"
check the_first_is boot registered fifth
check in_the_next_generation test "$(claim "$SERVICE/fifth" "t['gen']")" -eq 2

# Its own was not lost after all: that ends it.
cp -a "$SERVICE/registered" "$SERVICE/other"
lose_tpm other
check an_operator_errs says 'placed' admin place web1 sim-a --new-vtpm --force
check a_new_one_is_registered unless_it_boots other dead --agent /bin/false
check its_own_is_there boot registered sixth
check it_is_no_other_generation test "$(claim "$SERVICE/sixth" "t['gen']")" -eq 2
check the_new_one_is_too_late refused other none -w 5

# Its host dies, with TPM and disk, or with the TPM alone.
check the_next_host_is_awake refused b lost --uuid "$uuid"
check it_is_said_before says 'with a new vTPM each' admin host fence sim-a --to sim-b --dry-run
check its_host_is_fenced says '1 of them may come with a new vTPM on .sim-b.' admin host fence sim-a --to sim-b --yes
check a_third_host_gets_nothing refused c none --host sim-c --uuid "$uuid" <"$SERVICE/sim-c.code"
rm -rf "${SERVICE:?}/b/1"
mkdir -m 700 "$SERVICE/b/1" && cp -a "$SERVICE/registered/1/disk" "$SERVICE/b/1/" # of shared storage
check the_named_one_has_it boot b seventh --uuid "$uuid" --name web1 --no-secret
check it_is_the_same_there test "$(claim "$SERVICE/seventh" "t['uuid']")" = "$uuid"
check with_all_factors_again test "$(factors "$SERVICE/seventh")" = 'host vtpm secret'
check and_one_generation_on test "$(claim "$SERVICE/seventh" "t['gen']")" -eq 3
check the_dead_host_that_comes_back_has_nothing refused registered none -w 5
check a_restored_disk_too_may_come says 'placed' admin place web1 sim-c --new-vtpm --force
check with_a_secret_that_its_host_wrote boot c eighth --uuid "$uuid" --name web1
check as_who_it_was test "$(claim "$SERVICE/eighth" "t['gen']") $(factors "$SERVICE/eighth")" = '4 host vtpm secret'
plan
