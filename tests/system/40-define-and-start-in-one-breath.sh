#!/bin/bash
# A VM that was never provisioned is provisioned inside its start; a start during
# injection waits for it; a transient domain has an identity too.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"

one_breath() {
    xml breath marker channel >"$box/breath.xml"
    # shellcheck disable=SC2016 # for the inner shell
    host_enter "$box" /bin/bash -c 'cat >/run/x.xml && virsh -q define /run/x.xml && virsh -q start breath' \
        <"$box/breath.xml"
}

transient() {
    xml fleeting marker channel >"$box/fleeting.xml"
    virsh create /dev/stdin <"$box/fleeting.xml"
}

start_during_injection() {
    local i

    define hurried marker channel || return 1
    for ((i = 0; i < 1500; i++)); do
        inside pgrep -x virtid-inject >/dev/null && break
        sleep 0.02
    done
    within 45000 virsh start hurried
}

image_boots() {
    guest_run "$box" "$1" 180 true
}

stack_up
ok a_domain_starts_in_the_same_breath_as_its_definition one_breath
ok it_has_a_token has_token breath
virsh destroy breath >/dev/null
ok a_transient_domain_starts transient
ok the_transient_domain_has_a_token has_token fleeting
virsh destroy fleeting >/dev/null
ok a_start_during_injection_waits_for_it start_during_injection
ok the_image_boots_after_it image_boots hurried
ok and_has_a_token has_token hurried
done_testing
