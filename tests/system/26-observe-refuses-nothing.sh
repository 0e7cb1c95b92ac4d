#!/bin/bash
# A host that only observes changes nothing and refuses nothing, and says what would have been.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"
HOSTD_EXTRA='mode = observe'

report_says() {
    inside virtid report "$1" >"$box/report.out" 2>&1
    grep -qE "$2" "$box/report.out" || { cat "$box/report.out"; return 1; }
}

xml_of() {
    virsh dumpxml --inactive --security-info "$1"
}

nothing_changed() {
    [ "$(xml_of web)" = "$before" ] && [ "$(sha256sum <"$box/var-lib/libvirt/images/web.raw")" = "$image" ]
}

no_tpm_of_ours() {
    ! [ -e "$box/var-lib/libvirt/swtpm/$(uuid_of web)" ]
}

no_account() {
    ! inside virtid list | grep -q "$(uuid_of web)"
}

no_channel_open() {
    virsh dumpxml web | grep -q "target type='virtio' name='org.virtid.0'" && ! why_says web '\] channel'
}

loose_on_host() {
    inside virtid set --mode loose web && host_wait 40 why_says web '\] account'
}

stack_up
define web marker channel >/dev/null
before=$(xml_of web)
image=$(sha256sum <"$box/var-lib/libvirt/images/web.raw")
ok the_disk_would_have_been_written host_wait 60 report_says web 'inject +done .*web.raw'
ok a_tpm_state_would_have_been_made report_says web 'vtpm +done'
ok the_domain_and_its_image_are_unchanged nothing_changed
ok no_tpm_state_is_there no_tpm_of_ours
ok it_starts virsh start web
ok its_start_would_have_been_allowed host_wait 20 report_says web 'start +allowed .*with the lease'
ok nobody_connects_to_its_channel no_channel_open
ok it_has_no_account no_account
virsh destroy web >/dev/null
stop virtid-tokend
ok it_starts_without_the_service virsh start web
ok that_would_have_been_refused_if_strict host_wait 20 report_says web 'start +allowed .*refused in mode strict'
virsh destroy web >/dev/null
must service_up
ok one_vm_is_taken_out_of_the_observation loose_on_host
ok it_is_provisioned_then provisioned web
ok strict_is_obeyed_on_the_host inside virtid set --mode strict web
ok the_hook_has_its_file host_wait 40 test -e "$box/var-lib/virtid/strict/$(uuid_of web)"
stop virtid-tokend
refused a_strict_vm_does_not_start_without_the_service virsh start web
stop virtid-hostd
refused nor_without_the_daemon virsh start web
done_testing
