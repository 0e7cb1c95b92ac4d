#!/bin/bash
# The token service is away: at define, at start, at the first proof. Guests start, and
# their tokens come when it is back.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"

service_is_back() {
    service_up
}

stack_up
stop virtid-tokend
ok a_domain_is_defined_while_the_service_is_down define lonely marker channel
ok it_starts_while_the_service_is_down within 45000 virsh start lonely
ok why_says_that_the_service_is_down host_wait 120 why_says lonely 'service|down|reach'
ok the_service_comes_back service_is_back
ok its_token_comes_then has_token lonely
virsh destroy lonely >/dev/null

must define late marker channel
must provisioned late
stop virtid-tokend
ok a_provisioned_domain_starts_while_the_service_is_down within 10000 virsh start late
must service_is_back
ok its_token_comes_when_the_service_is_back has_token late
virsh destroy late >/dev/null

must define proof marker channel
must provisioned proof
must virsh start proof
stop virtid-tokend
ok the_guest_boots_while_the_service_is_away guest_run "$box" proof 180 true
must service_is_back
ok its_first_proof_is_made_when_the_service_is_back has_token proof
done_testing
