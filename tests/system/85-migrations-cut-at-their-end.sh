#!/bin/bash
# Live migrations that are cut in libvirt's Finish phase, when all memory is there and nobody knows who has the guest: it
# runs on where it is, one host alone holds its lease, and what is left elsewhere has no right.
set -u
# shellcheck source=tests/lib/failed_moves.sh
. "$(dirname "$0")/../lib/failed_moves.sh"

# All memory is there; libvirtd of the destination was asked to let it run, and is frozen.
begin_finish() {
    begin_move "$1" "$2" --p2p && in_the_middle_now && freeze "$2" libvirtd && hurry &&
        host_wait 60 left_over "$1" && host_wait 20 finish_waits "$2" && kill -0 "$move" && return 0
    on "$1" virsh domstate --reason moving
    on "$2" inside ss -tn
    thaw "$2" libvirtd
    return 1
}

left_over() {
    [[ $(on "$1" virsh domstate --reason moving) == "paused (migrating)"* ]]
}

# More than keepalives lie in the frozen daemon's socket.
finish_waits() {
    on "$1" inside ss -Htn 'sport = :16509' | awk '$2 > 400 { waits = 1 } END { exit !waits }'
}

# It runs at the destination, and the source was never told.
source_libvirtd_dies_in_finish() {
    begin_finish a b || return 1
    freeze a libvirtd
    thaw b libvirtd
    on b in_state moving running && kill_on a libvirtd && ends_badly && on a host_libvirtd "$boxes/a" --listen
}

# What the source still has is paused, and shown as what it is.
leftover_has_no_right() {
    host_wait 60 left_over a && host_wait 60 grep -q 'event=end vm=moving view=out' "$boxes/a/log/virtid-hostd.log" &&
        on a why_says moving 'b holds it' && return 0
    on a inside virtid why moving
    return 1
}

# An operator lets it go on all the same: on this disk QEMU lets it not, and the lease stays.
lives_but_for_a_leftover() {
    on a virsh resume moving
    has_identity b && on a virsh destroy moving && lives b
}

destination_dies_in_finish() {
    begin_finish b a || return 1
    kill_on a qemu-system-x86_64
    thaw a libvirtd
    ends_badly
}

# The destination goes on, its answer is lost, and the source believes that nothing became of it.
link_cut_in_finish() {
    begin_finish b a || return 1
    cut_link
    thaw a libvirtd
    on a in_state moving running && ends_badly
    mend_link
}

# Both have it, and one has the disk: the other is destroyed.
one_of_both_has_it() {
    has_identity a && on b virsh destroy moving && lives a
}

moving_up
ok libvirtd_of_the_source_dies_in_finish source_libvirtd_dies_in_finish
ok the_leftover_has_no_right leftover_has_no_right
ok it_lives_on_where_it_arrived lives_but_for_a_leftover
ok the_destinations_qemu_dies_in_finish destination_dies_in_finish
ok it_lives_on_after_a_finish_that_failed lives b
ok the_link_is_cut_in_finish link_cut_in_finish
ok one_of_both_has_it one_of_both_has_it
done_testing
