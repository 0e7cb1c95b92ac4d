#!/bin/bash
# A destination that nobody sends the VM to, a copy that claims it, a host without our daemon, one that was removed, a
# libvirt that calls no hook, a VM that is locked, one that nobody placed: the guest lives on where it is, one host alone holds its lease,
# and it is who it was.
set -u
# shellcheck source=tests/lib/failed_moves.sh
. "$(dirname "$0")/../lib/failed_moves.sh"

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
    host_wait 60 on b why_says moving 'a holds the lease' && has_identity a && ! on b has_token moving 10 &&
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

# Locked while it runs: what it goes on with is its machine, where it is.
locked_it_goes_nowhere() {
    on a inside virtid lock moving --reason 'odd logins' || return 1
    ! migrate moving a b --persistent 2>"$boxes/veto.log" || return 1
    cat "$boxes/veto.log"
    grep -q 'virtid unlock moving' "$boxes/veto.log" && on a in_state moving running
}

locked_it_runs_on_without_tokens() {
    local n=$(($(cat "$boxes/asked") % AUDIENCES + 1))

    echo $n >"$boxes/asked"
    [ "$(boot_of a)" = "$(cat "$boxes/boot")" ] && ! on a guest_run "$boxes/a" moving 25 "virtid-agent token -a a$n" &&
        on a why_says moving 'odd logins' && held_by moving a 60
}

unlocked_it_lives_on() {
    on a inside virtid unlock moving && lives a
}

# An operator has removed the host: its daemon is told so, and libvirt's error says it.
goes_not_to_a_removed_host() {
    on a inside virtid host remove b --yes || return 1
    ! migrate moving a b --persistent 2>"$boxes/veto.log" || return 1
    cat "$boxes/veto.log"
    grep -q 'no identity here: .*host b no more: the host was removed' "$boxes/veto.log"
}

joins_again() {
    on b stop virtid-hostd && on b join_host b && on b hostd_up && migrates a b && migrates b a
}

# Where operators name each VM's host: one that ran before its host knew of it, and that nobody named.
enrols_placed_ones_alone() {
    mv "$boxes/hook" "$boxes/b/etc/libvirt/hooks/qemu.d/virtid" && restart_libvirtd b || return 1
    on a stop virtid-hostd && on a define unplaced channel marker && chmod 666 "$shared_images/unplaced.raw" &&
        on a virsh start unplaced || return 1
    on a stop virtid-tokend && sed -i 's/^enrol = .*/enrol = placed/' "$boxes/a/etc/virtid/tokend.conf" &&
        grep -q '^enrol = placed' "$boxes/a/etc/virtid/tokend.conf" && on a service_up && on a hostd_up
}

# refused_as_unplaced: the destination says what settles it.
refused_as_unplaced() {
    ! migrate unplaced a b --persistent 2>"$boxes/veto.log" || return 1
    cat "$boxes/veto.log"
    grep -q 'virtid place unplaced b' "$boxes/veto.log" && on a in_state unplaced running && gone_or_off_there
}

gone_or_off_there() {
    ! on b virsh list --name | grep -qx unplaced
}

moving_up
ok a_destination_that_nobody_sends_it_to_is_refused nobody_sends_it
ok it_lives_on_after_a_lie lives a
ok a_copy_starts_while_nobody_can_be_asked copy_claims_it
ok the_copy_gets_nothing copy_gets_nothing
ok it_goes_to_a_stranger_and_comes_back visits_a_stranger
ok it_is_back_from_a_stranger lives a
ok a_locked_one_goes_nowhere locked_it_goes_nowhere
ok it_runs_on_without_tokens locked_it_runs_on_without_tokens
ok unlocked_it_is_who_it_was unlocked_it_lives_on
ok a_host_that_was_removed_is_no_destination goes_not_to_a_removed_host
ok it_lives_on_where_it_was lives a
ok after_the_host_has_joined_again_it_is_one joins_again
ok it_is_back_from_there lives a
ok it_goes_where_the_hook_is_dead goes_where_the_hook_is_dead
ok it_arrives_though_no_hook_was_called lives b
must enrols_placed_ones_alone
ok one_that_nobody_placed_is_not_taken host_wait 90 refused_as_unplaced
ok one_that_has_a_place_lives_on lives b
done_testing
