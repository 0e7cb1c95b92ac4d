#!/bin/bash
# A host is dead: an operator, or the cluster's alert, fences it, and its VM starts on another, once, and
# proves itself there.  The host that comes back must not go on and says so.  Real hooks and host daemons
# without a hypervisor, then whole simulated VMs.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"
# shellcheck source=tests/lib/hosts.sh
. "$srcdir/tests/lib/hosts.sh"

sim=$BUILD/virtid-tpmsim

said() { grep -q -- "$1" "$SERVICE/out"; }
# shows TEXT COMMAND...: of virtid, for an operator.
shows() {
    local text=$1
    shift
    admin "$@" </dev/null >"$SERVICE/out" 2>&1
    said "$text"
}
fails() { ! admin "$@" </dev/null >"$SERVICE/out" 2>&1; }
has_logged() {
    local until=$((SECONDS + 90))
    while ((SECONDS < until)); do
        grep -q -- "$2" "$(host "$1")/log" && return 0
        read -r -t 0.2 <> <(:) || true
    done
    return 1
}
# on_terminal ANSWER COMMAND...: virtid, asked by somebody who sits there.
on_terminal() {
    local answer=$1
    shift
    python3 - "$answer" "$SERVICE/virtid" "$@" >"$SERVICE/out" 2>&1 <<'P'
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
os.write(fd, (sys.argv[1] + "\n").encode())
try:
    while data := os.read(fd, 4096):
        sys.stdout.buffer.write(data)
except OSError: # the end of a terminal
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
P
}
unless() { ! "$@"; }
alert() { env VIRTID="$SERVICE/virtid" CRM_alert_kind=fencing "$@" sh "$srcdir/packaging/examples/pacemaker-alert.sh" >"$SERVICE/out" 2>&1; }
# One that waits for its hosts at first: exit status 3, twice.
later_command() {
    cat >"$SERVICE/later" <<C
#!/bin/sh
echo "\$*" >>"$SERVICE/asked"
[ "\$(wc -l <"$SERVICE/asked")" -ge 3 ] || exit 3
C
    chmod +x "$SERVICE/later"
}

service_up || { not_ok the_service_starts; plan; exit 1; }
trap end_hosts EXIT
command_for_scripts
later_command
for name in host-a host-b host-c; do
    check "${name//-/_}_joins" join_host "$name"
    up "$name" "${name//-/_}_is_up"
done

check a_vm_starts_on_one_host call host-a prepare
check no_other_host_gets_it_without_a_word refused host-b prepare
check not_without_a_terminal_or_yes fails host fence host-a
check it_says_so said "not confirmed; say --yes"
check before_that_it_says_what_would_happen said "1 VMs are there or reserved for it"
check and_that_the_host_was_heard_a_moment_ago said "It was heard"
check at_a_terminal_it_asks unless on_terminal n host fence host-a
check and_takes_a_no said "Is 'host-a' dead? Fence it?.*not confirmed\|^error: not confirmed"
check a_look_changes_nothing shows "any other host may start each" host fence host-a --dry-run
check nobody_gets_it_still refused host-b prepare
check a_service_that_is_not_ready_is_asked_again alert VIRTID="$SERVICE/later" VIRTID_PAUSE=0 CRM_alert_node=host-x CRM_alert_task=off CRM_alert_rc=0
check until_it_is test "$(cat "$SERVICE/asked")" = "$(printf 'host fence host-x --yes\n%.0s' 1 2 3)"
check a_name_that_is_none_is_not_asked unless alert CRM_alert_node='host-a;id' CRM_alert_task=off CRM_alert_rc=0
check an_alert_of_another_kind_is_none alert CRM_alert_kind=node CRM_alert_node=host-a CRM_alert_task=off CRM_alert_rc=0
check an_alert_of_a_fence_that_failed_is_none alert CRM_alert_node=host-a CRM_alert_task=off CRM_alert_rc=1
check an_alert_that_comes_late_is_none alert CRM_alert_node=host-a CRM_alert_task=off CRM_alert_rc=0 CRM_alert_timestamp_epoch=1000
check nobody_gets_it_by_those refused host-b prepare

# A start that libvirt never shows is over after a minute: what follows is to take less.
call host-a release
check it_starts_anew call host-a prepare
kill -STOP "${pids[host-a]}" # dead, for all that others can tell
check the_clusters_alert_fences_it alert CRM_alert_node=host-a CRM_alert_task=off CRM_alert_rc=0
check its_words_name_how_many said "Host 'host-a' fenced: 1 VMs may start elsewhere"
check another_host_starts_it call host-b prepare
kill -CONT "${pids[host-a]}"
check the_host_that_comes_back_says_that_it_must_not_go_on has_logged host-a "event=no-right vm=web1 holder=host-b"
check its_operator_reads_it until_true host-a 'it must not go on here: host-b holds the lease' "vms/$uuid"
check and_the_command_that_settles_it until_true host-a 'virsh destroy web1 here' "vms/$uuid"
check the_other_one_is_named_too shows "host-b holds, host-a runs it without right (K6)" why "$uuid"
check that_it_was_not_dead_is_shown shows "host-a  *fenced, alive" host list
check and_is_an_alarm grep -q "event=alarm host=host-a it was fenced" "$SERVICE/tokend.log"
check a_third_gets_nothing refused host-c prepare
check and_is_told_who_has_it grep -q "host-b holds the lease" "$SERVICE/refusal"
check when_it_has_ended_there call host-a release
check it_does_not_start_again refused host-a prepare
check the_trail_has_both shows "on host-a since .* until .* (fenced)" info "$uuid"
check and_where_it_is_now said "on host-b since [^(]*$"

check an_operator_places_it_back shows "placed on host 'host-a'" place --force "$uuid" host-a
check where_it_starts call host-a prepare
check and_nowhere_else refused host-b prepare
call host-a release
check the_evacuation_script_prints_what_may_start_there \
    sh -c 'VIRTID="$1/virtid" sh "$2/packaging/examples/evacuate-host.sh" host-a host-c >"$1/moved" 2>"$1/out" && grep -qx "$3" "$1/moved"' - "$SERVICE" "$srcdir" "$uuid"
check the_list_of_hosts_shows_it shows "host-a  *fenced" host list
check why_says_where_it_may_start shows "placed on host-c" why "$uuid"
check it_is_for_that_host_alone refused host-b prepare
check which_starts_it call host-c prepare

# An identity ends, and a new one begins under its UUID.
check an_identity_ends_by_an_operators_word_alone fails retire "$uuid"
check asked_at_a_terminal_it_does on_terminal y retire "$uuid"
check it_was_told_what_that_means said "it gets no more tokens, and no start with this UUID"
check the_host_it_ran_on_says_so has_logged host-c "event=no-right vm=web1 its identity was retired"
call host-c release
check it_starts_nowhere refused host-c prepare
check and_virsh_says_what_begins_a_new_one grep -q -- "--reincarnate begins a new one" "$SERVICE/refusal"
check placing_alone_does_not fails place "$uuid" host-c
check with_that_word_it_does shows "placed on host 'host-c'" place "$uuid" host-c --reincarnate
check and_it_starts call host-c prepare

# Whole VMs: the token.
new_host() { admin host add "$1" --auto >"$SERVICE/$1.code" 2>>"$SERVICE/add.log"; }
# claim FILE EXPRESSION: of a token.
claim() { "$BUILD/virtid-verify" --issuer "$ISSUER" --ca "$CA" --audience shop --json "$1" |
    python3 -c 'import json,sys; t=json.load(sys.stdin); print(eval(sys.argv[1]))' "$2"; }
# vm STATE FILE ARGUMENT...: one run of the simulated VM whose TPM and disk are in STATE.
vm() {
    local state=$1 file=$2
    shift 2
    "$sim" vm -a shop --state "$SERVICE/$state" -q "$@" >"$SERVICE/$file" 2>"$SERVICE/$file.log"
}
# On shared storage, TPM and disk are where the VM is started next.
shared() { mkdir -m 700 "$SERVICE/$2" && cp -r "$SERVICE/$1/1" "$SERVICE/$2/"; }

admin audience add shop --all >/dev/null
for name in sim-a sim-b sim-c; do new_host $name; done
"$sim" vm --host sim-a -a shop --state "$SERVICE/a" -q --keep-running <"$SERVICE/sim-a.code" >"$SERVICE/first" 2>"$SERVICE/first.log" &
simulated=$!
until [ -s "$SERVICE/first" ] || ! kill -0 "$simulated" 2>/dev/null; do read -r -t 0.2 <> <(:) || true; done
check a_simulated_vm_has_a_token test -s "$SERVICE/first"
id=$(claim "$SERVICE/first" "t['uuid']")
kill -9 "$simulated"
wait "$simulated" 2>/dev/null
shared a b && shared a c
check with_its_tpm_and_disk_another_host_gets_nothing status_is 3 \
    sh -c '"$1" vm --host sim-b -a shop --state "$2/b" -w 5 <"$2/sim-b.code" 2>"$2/out"' - "$sim" "$SERVICE"
check its_host_is_fenced shows "Host 'sim-a' fenced: 1 VMs" host fence sim-a --yes
check then_another_host_has_its_token vm b second
check it_is_the_same_vm test "$(claim "$SERVICE/second" "t['uuid']")" = "$id"
check in_a_higher_epoch test "$(claim "$SERVICE/second" "t['epoch']")" -gt "$(claim "$SERVICE/first" "t['epoch']")"
check a_third_one_gets_nothing status_is 3 \
    sh -c '"$1" vm --host sim-c -a shop --state "$2/c" -w 5 <"$2/sim-c.code" 2>"$2/out"' - "$sim" "$SERVICE"
check nor_does_the_first_that_comes_back status_is 3 vm a again -w 5
check it_is_retired shows "retired" retire --yes "$id"
check then_it_has_no_token status_is 3 vm b none -w 5
check a_new_identity_begins shows "placed on host 'sim-b'" place "$id" sim-b --reincarnate --force
check and_proves_itself vm b third
check as_the_next_generation test "$(claim "$SERVICE/third" "t['claims']['virtid']['gen']")" -eq 1

# A placement asks its host first: one that does not know the VM says so, and that it is silent then counts.
check a_host_that_does_not_know_it_answers shows "placed on host 'host-b'" place "$id" host-b
check and_goes_on until_true host-b '"service":"up"' status
check it_is_placed_elsewhere shows "placed on host 'host-c'" place "$id" host-c
kill_host host-b
check one_that_has_spoken_and_is_silent_is_not_named fails place "$id" host-b
check and_why_is_said said "host-b does not answer"
check but_by_force shows "placed on host 'host-b'" place "$id" host-b --force
plan
