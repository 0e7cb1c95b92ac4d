#!/bin/bash
# A guest that is off is defined on another host that has its disk, and then moved there by libvirt; its vTPM stays
# behind.  Each refusal names the command, and with it the guest is who it was, with all factors.
set -u
# shellcheck source=tests/lib/two_hosts.sh
. "$(dirname "$0")/../lib/two_hosts.sh"

claim() {
    claims "$1" | /usr/bin/python3 -c 'import json,sys; c = json.load(sys.stdin); v = c["virtid"]; print(eval(sys.argv[1]))' "$2"
}

starts_not() {
    ! on b virsh start moving 2>"$boxes/start.err"
}

moves_while_off() {
    on a virsh migrate --offline --persistent --undefinesource moving "qemu+tcp://${address[b]}/system" 2>"$boxes/start.err"
}

moved_while_off() {
    moves_while_off && on b virsh domid moving && ! on a virsh domid moving
}

in_the_error() {
    cat "$boxes/start.err"
    grep -q -- "$1" "$boxes/start.err"
}

has_state() {
    [ -e "$boxes/$1/var-lib/libvirt/swtpm/$(uuid_of moving)/tpm2/tpm2-00.permall" ]
}

two_hosts_up
must on a define moving marker channel
must on a provisioned moving
must on a virsh start moving
token=$(on a has_token moving)
id=$(claim "$token" 'c["sub"]')
ok it_has_all_factors test "$(claim "$token" 'len(v["factors"])')" = 3
must on a virsh destroy moving
must on a in_state moving 'shut off'
ok it_is_defined_on_the_other_host on b define moving marker channel
ok its_vtpm_stayed_behind not has_state b
ok it_does_not_start_there starts_not
ok the_command_is_named in_the_error 'virtid place moving b, with --new-vtpm'
must on b virsh undefine moving --keep-tpm
refused libvirt_does_not_move_it_there moves_while_off
ok what_is_to_be_said_first_is_named in_the_error 'virtid place moving b'
ok an_operator_says_it on a inside virtid place moving b --new-vtpm
ok then_it_moves_while_it_is_off moved_while_off
ok it_starts_there on b virsh start moving
ok with_a_new_vtpm has_state b
token=$(on b has_token moving)
ok it_is_the_same_vm test "$(claim "$token" 'c["sub"]')" = "$id"
ok with_all_factors test "$(claim "$token" 'len(v["factors"])')" = 3
ok both_have_stepped test "$(claim "$token" 'v["vtpm"]["fresh"] and v["secret"]["fresh"]')" = True
ok its_generation_is_one_higher test "$(claim "$token" 'v["gen"]')" = 1
done_testing
