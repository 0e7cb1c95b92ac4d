#!/bin/bash
# A real guest's disk and vTPM are put back to a state of before, and later a saved memory is restored twice: no token,
# and the operator is told; his word gives the running guest its token, without a reboot.  What was right before is
# refused from then on.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"

image=$box/var-lib/libvirt/images/back.raw
file=/var/lib/libvirt/images/back.save
tpm=$box/var-lib/libvirt/swtpm/$(uuid_of back)/tpm2/tpm2-00.permall

keep() {
    cp --sparse=always "$image" "$box/$1.raw" && cp -p "$tpm" "$box/$1.tpm"
}

# As libvirt and its swtpm own them.
put_back() {
    cp --sparse=always "$box/$1.raw" "$image" && cat "$box/$1.tpm" >"$tpm"
}

guest() {
    guest_run "$box" back 60 "$1"
}

boot_id() {
    guest 'cat /proc/sys/kernel/random/boot_id' | grep -oE '[0-9a-f]{8}-[0-9a-f-]{27}'
}

in_same_boot() {
    [ "$(boot_id)" = "$booted" ]
}

generation() {
    claims "$1" | /usr/bin/python3 -c 'import json,sys; print(json.load(sys.stdin)["virtid"]["gen"])'
}

both_are_fresh() {
    claims "$1" | /usr/bin/python3 -c 'import json,sys
v = json.load(sys.stdin)["virtid"]
print(v)
sys.exit(not (v["vtpm"]["fresh"] and v["secret"]["fresh"]))'
}

# The guest's memory may still hold a token for another audience.
want=db

has_none() {
    ! guest "virtid-agent token -a $want" | grep -qE '[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]+\.'
}

shown_as() {
    inside virtid accept back --dry-run | grep -E "$1"
}

# The agent proves when a token is wanted.
asked_and_refused() {
    has_none && why_says back 'disk-behind'
}

saved() {
    virsh save back $file && inside cp $file $file.copy
}

has_wanted() {
    ! has_none
}

stopped() {
    virsh destroy back && in_state back 'shut off'
}

stack_up
must define back marker channel
must provisioned back
must virsh start back
must has_token back
must stopped
must keep old
must virsh start back
token=$(has_token back)
before=$(generation "$token")
ok it_has_stepped_on both_are_fresh "$token"
must stopped
must keep newer
must put_back old
must virsh start back
ok a_disk_and_vtpm_put_back_are_recognised host_wait 240 asked_and_refused
ok the_guest_gets_no_token has_none
ok why_names_the_command why_says back 'virtid accept DOMAIN'
ok the_command_shows_which_step_it_was shown_as "step +[0-9]+ steps? ago"
booted=$(boot_id)
ok an_operator_accepts_it inside virtid accept back --yes
token=$(has_token back)
ok the_guest_has_its_token test -n "$token"
ok without_a_reboot in_same_boot
ok both_have_stepped both_are_fresh "$token"
ok its_generation_has_risen test "$(generation "$token")" = $((before + 1))

must inside virtid audience add once --all
must inside virtid audience add twice --all
must saved
must virsh restore $file
want=once
ok from_its_save_file_it_goes_on_as_ever host_wait 120 has_wanted
must stopped
must virsh restore $file.copy
want=twice
ok a_save_file_that_is_restored_twice_is_recognised host_wait 240 asked_and_refused
booted=$(boot_id)
ok an_operator_accepts_that_too inside virtid accept back --yes
ok it_has_its_token_again host_wait 120 has_wanted
ok in_the_boot_that_was_restored in_same_boot

must stopped
must put_back newer
must virsh start back
want=db
ok what_was_right_before_is_refused host_wait 240 asked_and_refused
done_testing
