#!/bin/bash
# The vTPM state of a real guest that is off is gone.  Loose, it starts and gets no token; strict, it does not start:
# either way the command that helps is named.  With it the guest is who it was, with all factors, and both ratchets
# step again.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"

tpm=$box/var-lib/libvirt/swtpm/$(uuid_of lost)
command='virtid place lost host1 --new-vtpm'

stopped() {
    virsh destroy lost && in_state lost 'shut off'
}

is_lost() {
    rm -r "$tpm"
}

starts_not() {
    ! virsh start lost 2>"$box/start.err"
}

in_the_error() {
    cat "$box/start.err"
    grep -q -- "$1" "$box/start.err"
}

claim() {
    claims "$1" | /usr/bin/python3 -c 'import json,sys; c = json.load(sys.stdin); v = c["virtid"]; print(eval(sys.argv[1]))' "$2"
}

has_none() {
    ! guest_run "$box" lost 60 "virtid-agent token -a $1" | grep -qE '[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]+\.'
}

# The guest may still hold a token for the other audience.
has_wanted() {
    ! has_none once
}

refused_with_command() {
    has_none once && inside virtid why lost | grep -q -- "$command"
}

state_of() {
    sha256sum <"$tpm/tpm2/tpm2-00.permall"
}

is_untouched() {
    [ "$(state_of)" = "$made" ]
}

place_new_vtpm() {
    # shellcheck disable=SC2086 # its words
    inside $command
}

stack_up
must inside virtid audience add once --all
must define lost marker channel
must provisioned lost
must virsh start lost
token=$(has_token lost)
id=$(claim "$token" 'c["sub"]')
ok it_has_all_factors test "$(claim "$token" 'len(v["factors"])')" = 3

# Loose: it starts.
must stopped
must is_lost
ok a_loose_one_starts virsh start lost
ok a_new_tpm_was_made_for_it test -s "$tpm/tpm2/tpm2-00.permall"
ok it_gets_no_token_and_why_names_the_command host_wait 240 refused_with_command
ok an_operator_says_it_while_it_runs place_new_vtpm
host_wait 240 has_wanted
token=$(has_token lost)
ok it_has_its_token_without_a_reboot test -n "$token"
ok it_is_the_same_vm test "$(claim "$token" 'c["sub"]')" = "$id"
ok with_all_factors test "$(claim "$token" 'len(v["factors"])')" = 3
ok both_have_stepped test "$(claim "$token" 'v["vtpm"]["fresh"] and v["secret"]["fresh"]')" = True
ok its_generation_is_one_higher test "$(claim "$token" 'v["gen"]')" = 1

# Strict: it does not.
must inside virtid set lost --mode strict
must stopped
must is_lost
ok a_strict_one_does_not_start host_wait 30 starts_not
ok and_virsh_says_what_helps in_the_error "$command"
ok why_says_it_too why_says lost "$command"
made=$(state_of)
ok it_does_not_start_the_next_time_either starts_not
ok the_tpm_that_was_made_stays is_untouched
ok an_operator_says_it place_new_vtpm
ok it_starts virsh start lost
token=$(has_token lost)
ok it_is_who_it_was test "$(claim "$token" 'c["sub"]')" = "$id"
ok with_all_three test "$(claim "$token" 'len(v["factors"])')" = 3
ok in_the_generation_after_that test "$(claim "$token" 'v["gen"]')" = 2
ok why_names_it_no_more not why_says lost new.vtpm
must stopped
ok it_starts_as_ever virsh start lost
token=$(has_token lost)
ok and_goes_on test "$(claim "$token" 'v["gen"]')" = 2
done_testing
