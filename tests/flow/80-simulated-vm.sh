#!/bin/bash
# virtid-tpmsim vm: one whole VM with its host against a running service, as an ordinary user.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"

sim=$BUILD/virtid-tpmsim
verify() { "$BUILD/virtid-verify" --issuer "$ISSUER" --ca "$CA" "$@"; }
claim() { verify --audience shop --json "$1" | python3 -c 'import json,sys; t=json.load(sys.stdin); print(eval(sys.argv[1]))' "$2"; }
# why_says UUID WORDS: in what the operator reads of that VM.
why_says() {
    admin why "$1" >"$SERVICE/why" 2>&1
    grep -q -- "$2" "$SERVICE/why" || { cat "$SERVICE/why"; return 1; }
}
is_gone() {
    local _
    for _ in {1..600}; do
        [ -e "$1" ] || return 0
        read -rt 0.1 <>"$SERVICE/quiet"
    done
    return 1
}
no_process_has() { ! grep -lsaF -f <(echo "$1") /proc/[0-9]*/cmdline | grep -q .; }
# Until the program has said so in its log, at most a minute.
has_said() {
    local _
    for _ in {1..600}; do
        grep -q "$1" "$2" && return 0
        read -rt 0.1 <>"$SERVICE/quiet"
    done
    return 1
}
new_host() { admin host add "$1" --auto >"$SERVICE/$1.code" 2>>"$SERVICE/add.log"; }

service_up || { not_ok the_service_starts; plan; exit 1; }
mkfifo "$SERVICE/quiet"
admin audience add shop --all --claim name >/dev/null
admin audience add bank >/dev/null

# One VM, once.
new_host simhost
check a_simulated_vm_prints_its_token \
    sh -c '"$1" vm --host simhost --name shop-vm -a shop --state "$2/a" <"$2/simhost.code" >"$2/token"' - "$sim" "$SERVICE"
check it_prints_one_line_and_nothing_else test "$(wc -l <"$SERVICE/token")" -eq 1
check a_stranger_verifies_it verify --audience shop "$SERVICE/token"
check its_token_names_all_three_factors test "$(claim "$SERVICE/token" "' '.join(t['factors'])")" = 'host vtpm secret'
check its_ek_is_one_that_the_service_certified test "$(claim "$SERVICE/token" "t['claims']['virtid']['vtpm']['ek']")" = ca
uuid=$(claim "$SERVICE/token" "t['uuid']")
fresh() { claim "$1" "t['claims']['virtid']['vtpm']['fresh'] and t['claims']['virtid']['secret']['fresh']"; }
check both_ratchets_have_stepped test "$(fresh "$SERVICE/token")" = True
cp -a "$SERVICE/a" "$SERVICE/old"

# Again: the same VM, without a join code, with a new epoch.
check it_is_the_same_vm_the_second_time \
    sh -c '"$1" vm -a shop --state "$2/a" </dev/null >"$2/again" 2>"$2/again.log"' - "$sim" "$SERVICE"
check its_uuid_is_the_same test "$(claim "$SERVICE/again" "t['uuid']")" = "$uuid"
check its_epoch_is_higher test "$(claim "$SERVICE/again" "t['epoch']")" -gt "$(claim "$SERVICE/token" "t['epoch']")"
check both_ratchets_have_stepped_again test "$(fresh "$SERVICE/again")" = True
check a_copy_of_the_run_before_gets_no_token status_is 3 "$sim" vm -a shop -w 5 --state "$SERVICE/old"
check an_operator_sees_that_it_is_behind why_says "$uuid" disk-behind
check the_original_goes_on sh -c '"$1" vm -a shop --state "$2/a" </dev/null >"$2/third" 2>"$2/third.log"' - "$sim" "$SERVICE"
check it_is_behind_no_more sh -c '! "$@" | grep -q disk-behind' - "${AS[@]}" "$BUILD/virtid" --service "$ADMIN" why "$uuid"
check it_was_not_enrolled_again sh -c '! grep -qE "event=(joined|account)" "$1"' - "$SERVICE/again.log"
check a_reused_join_code_is_refused status_is 3 \
    sh -c '"$1" vm --host simhost -a shop -w 5 <"$2/simhost.code"' - "$sim" "$SERVICE"
check another_host_name_for_that_state_is_refused status_is 2 "$sim" vm --host other --state "$SERVICE/a" -a shop
check an_audience_that_is_not_allowed_gets_nothing status_is 3 "$sim" vm --state "$SERVICE/a" -a bank -w 2
check an_unknown_audience_gets_nothing status_is 3 "$sim" vm --state "$SERVICE/a" -a nobody -w 2

# Weaker VMs say so.
new_host weakhost
check a_vm_without_tpm_has_a_token_that_says_so \
    sh -c '"$1" vm --host weakhost --no-tpm -a shop --state "$2/w" <"$2/weakhost.code" >"$2/weak"' - "$sim" "$SERVICE"
check its_factors_are_host_and_secret test "$(claim "$SERVICE/weak" "' '.join(t['factors'])")" = 'host secret'
new_host barehost
check a_vm_that_nothing_was_written_for_makes_its_own_secret \
    sh -c '"$1" vm --host barehost --no-secret -a shop --state "$2/b" <"$2/barehost.code" >"$2/bare"' - "$sim" "$SERVICE"
check its_factors_are_all_three test "$(claim "$SERVICE/bare" "' '.join(t['factors'])")" = 'host vtpm secret'
# Its secret has gone into its TPM with the first step: only an agent without it comes as far as the service.
cp -a "$SERVICE/a" "$SERVICE/lost" && rm -r "$SERVICE/lost/1/disk/slots"
check a_vm_that_lost_its_tpm_is_below_its_floor status_is 3 "$sim" vm --state "$SERVICE/lost" --no-tpm -a shop -w 2
check the_operator_sees_why why_says "$uuid" '\[!!\] proof *floor'
check an_agent_whose_secret_is_in_its_tpm_says_so_itself \
    sh -c '! "$1" vm --state "$2/b" --no-tpm -a shop -w 2 </dev/null 2>"$2/bare.log" && grep -q "there is none now" "$2/bare.log"' - "$sim" "$SERVICE"

# Copies, and claims to what another has.
twin=11111111-2222-4333-8444-555555555555
cp -r "$SERVICE/a" "$SERVICE/copy"
check a_copy_under_another_uuid_has_a_token sh -c '"$1" vm --state "$2/copy" --no-secret -a shop -q --uuid "$3" </dev/null >"$2/twin"' \
    - "$sim" "$SERVICE" "$twin"
check its_copied_tpm_is_no_factor test "$(claim "$SERVICE/twin" "' '.join(t['factors'])")" = 'host secret'
check it_is_another_vm test "$(claim "$SERVICE/twin" "t['uuid']")" = "$twin"
check its_tpm_names_the_original why_says "$twin" "the vTPM of $uuid (shop-vm)"
check and_the_command_that_gives_it_one_of_its_own why_says "$twin" "virtid place $twin simhost --new-vtpm"
mkdir -m 700 "$SERVICE/other-ek" && cp -r "$SERVICE/a/host" "$SERVICE/other-ek/"
check the_same_uuid_with_another_ek_is_refused status_is 3 "$sim" vm --state "$SERVICE/other-ek" --uuid "$uuid" -a shop -w 2
new_host thief
check another_host_gets_no_lease_for_that_uuid status_is 3 \
    sh -c '"$1" vm --host thief --uuid "$3" -a shop -w 2 <"$2/thief.code"' - "$sim" "$SERVICE" "$uuid"
check the_original_notices_nothing \
    sh -c '"$1" vm -a shop --state "$2/a" </dev/null >"$2/again"' - "$sim" "$SERVICE"

# Several at once, each with a host of its own; and several of one host.
for i in 1 2 3; do
    new_host "many$i"
    "$sim" vm --host "many$i" --name "many$i" -q -a shop -w 60 <"$SERVICE/many$i.code" >"$SERVICE/many.$i" 2>"$SERVICE/many$i.log" &
    pids[i]=$!
done
good=0
for i in 1 2 3; do wait "${pids[i]}" && good=$((good + 1)); done
check three_at_once_all_get_their_token test $good -eq 3
check they_are_three_vms test "$(for i in 1 2 3; do claim "$SERVICE/many.$i" "t['uuid']"; done | sort -u | wc -l)" -eq 3
new_host fleet
check a_host_has_several_vms \
    sh -c '"$1" vm --host fleet --name node --count 3 --no-tpm -q -a shop <"$2/fleet.code" >"$2/fleet" && [ "$(sort -u "$2/fleet" | wc -l)" -eq 3 ]' - "$sim" "$SERVICE"

# Nothing is left: not after the end, not after a signal, not after kill -9.
new_host killed
mkfifo "$SERVICE/out"
TMPDIR=$SERVICE "$sim" vm --host killed -a shop --keep-running <"$SERVICE/killed.code" >"$SERVICE/out" 2>"$SERVICE/killed.log" &
pid=$!
read -rt 120 _ <"$SERVICE/out" || sed 's/^/# /' "$SERVICE/killed.log"
folder=$(echo "$SERVICE"/virtid-sim-*)
check it_keeps_running_with_its_folder test -d "$folder"
kill -9 "$pid"
wait "$pid" 2>/dev/null
check the_folder_is_gone_after_kill_nine is_gone "$folder"
check no_agent_is_left_after_kill_nine no_process_has "$folder"
new_host ended
TMPDIR=$SERVICE "$sim" vm --host ended -a shop --keep-running <"$SERVICE/ended.code" >"$SERVICE/out" 2>"$SERVICE/ended.log" &
pid=$!
read -rt 120 _ <"$SERVICE/out" || sed 's/^/# /' "$SERVICE/ended.log"
has_said event=running "$SERVICE/ended.log"
kill -TERM "$pid"
wait "$pid"
check a_sigterm_ends_it_in_order test $? -eq 0
check its_lease_is_given_back sh -c '"$1" --service "$2" --output json list | python3 -c "import json,sys
sys.exit(any(v.get(\"host\") == \"ended\" and v.get(\"lease\") == \"runs\" for v in json.load(sys.stdin)))"' - "$BUILD/virtid" "$ADMIN"
plan
