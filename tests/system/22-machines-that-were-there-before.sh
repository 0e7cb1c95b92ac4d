#!/bin/bash
# Machines that were there before us: with a vTPM of their own, running, transient,
# with other people's metadata and hooks; undefined and defined again.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"
HOSTD_EXTRA='manage = all'

state_of() {
    sha256sum <"$box/var-lib/libvirt/swtpm/$(uuid_of "$1")/tpm2/tpm2-00.permall"
}

tpm_unchanged() {
    [ "$(state_of old)" = "$tpm" ]
}

list_says() {
    inside virtid list | grep -qE "$1"
}

json_of() {
    inside virtid --output json info "$1"
}

# The token of an old TPM says that its state may have been there before.
has_old_tpm() {
    token=$(has_token old 120) || return 1
    claims "$token" | grep -q '"vtpm"' && claims "$token" | grep -q '"fresh": *false'
}

enable_all() {
    inside virtid enable --all >"$box/enable.out" 2>&1
    grep -q '^\[1/4\] ' "$box/enable.out" && grep -qE '3 enabled, 0 were so already, 1 skipped, 0 failed' "$box/enable.out" ||
        { cat "$box/enable.out"; return 1; }
}

still_theirs() {
    virsh dumpxml --inactive old | grep -q "<o:owner xmlns:o=.urn:other:1.>theirs</o:owner>"
}

tpm_there() {
    [ -s "$box/var-lib/libvirt/swtpm/$(uuid_of old)/tpm2/tpm2-00.permall" ]
}

hook_of_others() {
    printf '#!/bin/sh\ncat >/dev/null\necho "$1 $2" >>/var/log/libvirt/others.log\n[ ! -e /run/%s-refuses ] || exit 1\n' "$1" \
        >"$box/etc/libvirt/hooks/qemu.d/$1"
    chmod 755 "$box/etc/libvirt/hooks/qemu.d/$1"
}

identity_of() {
    json_of "$1" | /usr/bin/python3 -c '
import json, sys
vm = json.load(sys.stdin)[0]
print([vm.get(k) for k in ("uuid", "name", "state", "host", "epoch", "gen", "owner", "labels", "audiences", "floor", "mode", "ek_sha256")])'
}

same_identity() {
    [ "$(identity_of old)" = "$identity" ]
}

undefine_and_define() {
    local i

    virsh dumpxml --inactive --security-info old >"$box/var-lib/libvirt/boot/old.xml"
    # A hundred times would be long where libvirt asks QEMU anew for each definition; tests/unit/reconcile_test does it.
    for ((i = 0; i < 3; i++)); do
        echo 'undefine --keep-tpm old'
        echo 'define /var/lib/libvirt/boot/old.xml'
    done | host_enter "$box" virsh >"$box/again.out" 2>&1
    [ "$(grep -c 'has been undefined' "$box/again.out")" = 3 ] &&
        [ "$(grep -c 'defined from' "$box/again.out")" = 3 ] || { tail -n 5 "$box/again.out"; return 1; }
}

redefine() {
    virsh dumpxml --inactive --security-info old >"$box/again.xml" && virsh define /dev/stdin <"$box/again.xml"
}

is_free() {
    list_says '^ *[0-9a-f-]+ +old .* free '
}

stack_up
hook_of_others 00-before
hook_of_others zz-after
define old >/dev/null
virsh metadata old --config --uri urn:other:1 --key o --set '<owner>theirs</owner>' >/dev/null
must virsh start old # libvirt makes its TPM
define busy notpm >/dev/null
must virsh start busy
define other notpm >/dev/null
xml passing notpm >"$box/passing.xml"
must virsh create /dev/stdin <"$box/passing.xml"
ok with_manage_all_domains_without_channel_are_listed host_wait 20 list_says 'old .*no-channel'
virsh destroy old >/dev/null
tpm=$(state_of old)
ok all_are_enabled_and_the_transient_one_is_skipped enable_all
ok other_peoples_metadata_stay still_theirs
ok a_running_domain_waits_for_its_restart host_wait 20 why_says busy 'restart pending'
ok it_runs_on in_state busy running
ok the_old_one_is_provisioned provisioned old
ok its_tpm_state_is_not_touched tpm_unchanged
ok why_says_whose_tpm_it_is why_says old 'tpm-exists'
must virsh start old
ok its_token_says_that_the_tpm_was_there_before has_old_tpm
ok the_hooks_of_others_are_called grep -q 'old prepare' "$box/var-log/libvirt/others.log"

identity=$(identity_of old)
virsh metadata old --live --config --uri urn:virtid:domain:1 --remove >/dev/null
ok without_our_metadata_it_is_the_same same_identity
virsh metadata old --live --config --uri urn:virtid:domain:1 --key v --set "<identity mode='strict' owner='eve'/>" >/dev/null
ok with_altered_metadata_it_is_the_same same_identity
virsh undefine old >/dev/null 2>&1 || virsh undefine --keep-tpm old >/dev/null 2>&1
ok undefined_while_it_runs_it_is_the_same same_identity
must redefine
ok defined_again_it_is_the_same same_identity
ok it_proves_itself_still has_token old 60
virsh destroy old >/dev/null
ok its_end_is_told host_wait 30 is_free
identity=$(identity_of old)
ok it_is_undefined_and_defined_again_and_again undefine_and_define
ok the_host_knows_it_as_off host_wait 30 why_says old '\] domain +off'
ok it_is_the_same_after_all_that same_identity
ok its_tpm_state_is_the_same_after_all_that tpm_there
inside touch /run/zz-after-refuses
refused a_hook_of_others_that_refuses_is_heard virsh start old
inside rm /run/zz-after-refuses
ok and_the_lease_is_free_again_afterwards virsh start old
virsh destroy busy >/dev/null
ok the_running_one_is_provisioned_when_it_was_shut_off provisioned busy

# ---- disks that are left alone for what the domain is ----
must virsh start busy
must virsh managedsave busy
ok a_managed_save_is_named host_wait 30 why_says busy 'managed-save: it has a saved state'
define plain notpm >/dev/null
must virsh start plain
must virsh save plain /var/lib/libvirt/boot/plain.save
must inside virtid enable plain
ok one_that_was_saved_to_a_file_is_provisioned provisioned plain
ok its_disk_counts_as_one_of_a_machine_that_ran why_says plain 'ran-before'
disk net >/dev/null
xml net notpm channel marker |
    sed -E "s|<disk type='file'|<disk type='network'|; s|<source file='[^']*'/>|<source protocol='nbd' name='x'><host name='127.0.0.1' port='1'/></source>|" \
        >"$box/net.xml"
must virsh define /dev/stdin <"$box/net.xml"
ok one_with_a_network_disk_is_provisioned provisioned net
ok its_disk_is_not_of_this_host why_says net 'network-disk'
done_testing
