#!/bin/bash
# Live migrations about which nobody can be asked, or that may not be: the token service is down before, in the middle or
# behind them, the destination is a host without our daemon, somebody else claims the VM. It runs on where it is, one
# host alone holds its lease, and it is who it was.
set -u
# shellcheck source=tests/lib/failed_moves.sh
. "$(dirname "$0")/../lib/failed_moves.sh"

# ---- the token service ----

service_down_all_the_time() {
    on a stop virtid-tokend && on a migrates "$1" "$2" && on a service_up
}

migrates() {
    migrate moving "$1" "$2" && on "$2" in_state moving running
}

service_stops_in_the_middle() {
    begin_move "$1" "$2" && in_the_middle_now && on a stop virtid-tokend && in_the_middle_now && hurry && ends_well &&
        on a service_up
}

# Its guest asks for nothing until the service has forgotten everything but its database.
service_restarts_behind_it() {
    on "$1" guest_run "$boxes/$1" moving 30 'killall -STOP virtid-agent' && migrates "$1" "$2" && restart_tokend &&
        on "$2" guest_run "$boxes/$2" moving 30 'killall -CONT virtid-agent'
}

# ---- destinations that may not ----

# libvirt's call for a VM that nobody sends: as a liar, or a mistaken tool, would make it.
nobody_sends_it() {
    local xml

    xml=$(on a virsh dumpxml moving)
    said=$(echo "$xml" | on b inside /etc/libvirt/hooks/qemu.d/virtid moving migrate begin - 2>&1) && return 1
    echo "$said"
    [[ $said == *"does not migrate it"* ]]
}

# Its definition is known there, its disk is another, and nobody can be asked: it starts.
copy_claims_it() {
    on a virsh dumpxml --inactive moving | sed 's|/images/moving.raw|/images/copy.raw|' >"$boxes/copy.xml"
    on b disk copy >/dev/null && on a stop virtid-tokend && on b virsh define /dev/stdin <"$boxes/copy.xml" &&
        on b virsh start moving && on a service_up
}

copy_gets_nothing() {
    host_wait 60 on b why_says moving 'a holds it|foreign' && has_identity a && ! on b has_token moving 10 &&
        on b virsh destroy moving && on b virsh undefine moving
}

# A host without our daemon: it takes the guest, and no lease; brought back, it is who it was.
visits_a_stranger() {
    on b stop virtid-hostd && migrates a b && on b guest_run "$boxes/b" moving 60 true && migrates b a && on b hostd_up
}

# libvirt there calls no hook: nobody asks the service, and the daemon sees by itself what comes.
goes_where_the_hook_is_dead() {
    mv "$boxes/b/etc/libvirt/hooks/qemu.d/virtid" "$boxes/hook" && restart_libvirtd b && through a b ''
}

hook_is_back() {
    mv "$boxes/hook" "$boxes/b/etc/libvirt/hooks/qemu.d/virtid" && restart_libvirtd b
}

# Both hosts have heard that it is strict.
strict_stays() {
    local file

    file=/var/lib/virtid/strict/$(uuid_of moving)
    on a inside virtid set moving --mode strict && host_wait 60 on a inside test -e "$file" &&
        host_wait 60 on b inside test -e "$file" && on a stop virtid-tokend || return 1
    migrate moving a b && return 1
    on a service_up && lives a && on a inside virtid set moving --mode loose && host_wait 60 on b not inside test -e "$file"
}

moving_up
ok a_destination_that_nobody_sends_it_to_is_refused nobody_sends_it
ok it_lives_on_after_a_lie lives a
ok a_copy_starts_while_nobody_can_be_asked copy_claims_it
ok the_copy_gets_nothing copy_gets_nothing
ok it_goes_to_a_stranger_and_comes_back visits_a_stranger
ok it_is_back_from_a_stranger lives a
ok it_goes_where_the_hook_is_dead goes_where_the_hook_is_dead
ok it_arrives_though_no_hook_was_called lives b
must hook_is_back
must through b a ''
ok it_moves_while_the_service_is_down service_down_all_the_time a b
ok it_arrives_before_the_service_does lives b
ok the_service_stops_in_the_middle service_stops_in_the_middle b a
ok it_arrives_though_the_service_went_in_the_middle lives a
ok the_service_is_killed_and_back_in_the_middle through a b '' restart_tokend
ok it_arrives_though_the_service_was_killed lives b
ok the_service_is_killed_behind_it service_restarts_behind_it b a
ok it_proves_itself_to_a_service_that_was_killed lives a
ok a_strict_one_is_not_moved_without_the_service strict_stays
done_testing
