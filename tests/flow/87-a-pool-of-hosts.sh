#!/bin/bash
# Hosts stand in for one another as an operator lists them: behind the cluster's fence a VM starts in its pool alone, and
# the first of it may bring a new vTPM.  Real hooks and host daemons without a hypervisor, then whole simulated VMs.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"
# shellcheck source=tests/lib/hosts.sh
. "$srcdir/tests/lib/hosts.sh"

sim=$BUILD/virtid-tpmsim

told() { grep -q -- "$1" "$SERVICE/refusal" || { cat "$SERVICE/refusal"; return 1; }; }
# shows TEXT COMMAND...: of virtid, for an operator.
shows() {
    local text=$1
    shift
    admin "$@" </dev/null >"$SERVICE/out" 2>&1
    said "$text"
}
said() { grep -q -- "$1" "$SERVICE/out" || { cat "$SERVICE/out"; return 1; }; }
fails() { ! admin "$@" </dev/null >"$SERVICE/out" 2>&1; }
alert() {
    env VIRTID="$SERVICE/virtid" CRM_alert_kind=fencing CRM_alert_task=off CRM_alert_rc=0 CRM_alert_node="$1" \
        sh "$srcdir/packaging/examples/pacemaker-alert.sh" >"$SERVICE/out" 2>&1
}
evacuate() { VIRTID="$SERVICE/virtid" sh "$srcdir/packaging/examples/evacuate-host.sh" "$@" 2>"$SERVICE/out"; }

service_up || { not_ok the_service_starts; plan; exit 1; }
trap end_hosts EXIT
command_for_scripts
for name in host-a host-b host-c; do
    check "${name//-/_}_joins" join_host "$name"
    up "$name" "${name//-/_}_is_up"
done

# The lists.
check a_pool_is_named shows "Pool 'rack1' is set" pool set rack1 host-a host-b
check who_comes_in_is_said said 'comes in: host-a host-b'
check a_host_that_is_not_there_is_refused fails pool set rack1 host-a host-b nobody
check with_its_reason said 'no host "nobody"'
check a_host_is_in_one_pool_alone fails pool set rack2 host-c host-b
check the_repair_is_named said 'virtid pool set rack1'
check it_is_listed shows 'rack1  *host-a host-b' pool list
check and_beside_its_hosts shows 'host-b .* rack1 ' host list
check who_leaves_is_said shows 'leaves: host-b' pool set rack1 host-a
check it_is_put_back shows 'comes in: host-b' pool set rack1 host-a host-b
check each_word_is_in_the_log grep -q 'event=audit .*"what":"pool-joined".*"seen":"host-b","expected":"rack1"' "$SERVICE/tokend.log"

# A fence.
check a_vm_starts_on_one_of_its_hosts call host-a prepare
check it_is_of_that_pool shows 'pool: *rack1' info "$uuid"
kill -STOP "${pids[host-a]}"
check what_a_fence_will_do_is_said shows "any other host of the pool 'rack1' may start each" host fence host-a --dry-run
check the_clusters_alert_fences_its_host alert host-a
check a_host_outside_of_it_is_refused refused host-c prepare
check with_the_reason told 'not-placed'
check and_the_command_that_lets_it told 'virtid place web1 host-c'
check its_operator_reads_for_whom_it_is shows 'a host of the pool rack1 may start it' why "$uuid"
check and_how_many_wait shows 'rack1  *host-a host-b  *1' pool list
check another_of_the_pool_starts_it call host-b prepare
kill -CONT "${pids[host-a]}"
call host-b release
check an_evacuation_goes_to_the_host_that_is_named sh -c '[ "$1" = "$2" ]' - "$(evacuate host-b host-c)" "$uuid"
check which_starts_it call host-c prepare
check it_is_of_no_pool_there sh -c '! grep -q rack1' - < <(admin info "$uuid" 2>&1)

# Whole VMs: the first of the pool may bring a new vTPM, and proves itself.
new_host() { admin host add "$1" --auto >"$SERVICE/$1.code" 2>>"$SERVICE/add.log"; }
claim() {
    "$BUILD/virtid-verify" --issuer "$ISSUER" --ca "$CA" --audience shop --json "$1" |
        python3 -c 'import json,sys; t=json.load(sys.stdin); print(eval(sys.argv[1]))' "$2"
}
# boot STATE FILE ARGUMENT...: one run of the VM whose TPM and disk are in STATE.
boot() {
    local state=$1 file=$2
    shift 2
    "$sim" vm -a shop --state "$SERVICE/$state" -q "$@" >"$SERVICE/$file" 2>"$SERVICE/$file.log"
}
gets_nothing() {
    boot "$@"
    [ $? -eq 3 ]
}

admin audience add shop --all >/dev/null
for name in sim-a sim-b sim-c; do new_host $name; done
check a_vm_has_its_token boot a first --host sim-a --name web2 <"$SERVICE/sim-a.code"
id=$(claim "$SERVICE/first" "t['uuid']")
check two_others_have_joined gets_nothing b none --host sim-b --uuid "$id" -w 5 <"$SERVICE/sim-b.code"
check and_get_nothing gets_nothing c none --host sim-c --uuid "$id" -w 5 <"$SERVICE/sim-c.code"
for state in b c; do # the disk is of shared storage; its TPM died with its host
    rm -rf "${SERVICE:?}/$state/1"
    mkdir -m 700 "$SERVICE/$state/1" && cp -a "$SERVICE/a/1/disk" "$SERVICE/$state/1/"
done
check one_is_of_its_pool shows "Pool 'sims' is set" pool set sims sim-a sim-b
check its_host_is_fenced shows "1 of them may come with a new vTPM on the first host of the pool 'sims'" host fence sim-a --yes
check it_waits_for_the_first_of_it shows 'none registered by the first host of its pool yet' why "$id"
check the_one_outside_still_gets_nothing gets_nothing c none --uuid "$id" --name web2 --no-secret -w 5
check the_one_of_the_pool_has_its_token boot b second --uuid "$id" --name web2 --no-secret
check it_is_the_same_vm test "$(claim "$SERVICE/second" "t['uuid']")" = "$id"
check with_all_factors test "$(claim "$SERVICE/second" "' '.join(t['factors'])")" = 'host vtpm secret'
check its_generation_is_one_higher test "$(claim "$SERVICE/second" "t['gen']")" -eq 1
check the_pool_is_removed shows "Pool 'sims' is removed" pool remove sims --yes
check there_is_none_of_that_name fails pool remove sims --yes
plan
