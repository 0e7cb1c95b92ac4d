#!/bin/bash
# A host is fenced and was not dead: its guest is started on another while it still runs.  What becomes of it there is
# said in root's configuration, and nothing becomes of any other.  Before that, a guest does not move out of its pool.
set -u
# shellcheck source=tests/lib/two_hosts.sh
. "$(dirname "$0")/../lib/two_hosts.sh"
HOSTD_EXTRA='inject = never' # what is on the disks is nothing to this

# defined HOST NAME [OPTION...]: with a disk of this host's own.
defined() {
    local host=$1 name=$2 path=/var/lib/libvirt/local/$2.raw

    shift 2
    cp --sparse=always "$cache/tiny.img" "$boxes/$host/var-lib/libvirt/local/$name.raw" &&
        guest_xml "$name" "$(uuid_of "$name")" "$(on "$host" accel)" "$path" raw "$@" >"$boxes/$name.xml" &&
        on "$host" virsh define /dev/stdin <"$boxes/$name.xml"
}

in_the_error() {
    cat "$boxes/move.err"
    grep -q -- "$1" "$boxes/move.err"
}

moves_out() {
    migrate taken a b 2>"$boxes/move.err"
}

# acts WORD: on a, from now on.
acts() {
    printf '[priv]\nimage_roots = /var/lib/libvirt/images /var/lib/libvirt/local\nfence_action = %s\n' "$1" \
        >"$boxes/a/etc/virtid/privd.conf"
    on a stop virtid-privd && on a privd_up
}

acts_after_a_restart() {
    on a stop virtid-hostd && acts "$1" && on a hostd_up
}

says_within() { # SECONDS DOMAIN PATTERN, on a
    host_wait "$1" on a why_says "$2" "$3" && return 0
    on a inside virtid why "$2"
    return 1
}

goes_on() { # DOMAIN, on a, for longer than from one report to the next
    local i

    for ((i = 0; i < 18; i++)); do
        [ "$(on a virsh domstate "$1" | head -n 1)" = running ] || return 1
        sleep 1
    done
}

two_hosts_up
must on a inside virtid pool set rack1 a
for name in taken kept; do
    must defined a $name marker channel
    must on a virsh start $name
    must held_by $name a
done
must defined a plain notpm
must on a virsh start plain
refused it_does_not_move_out_of_its_pool moves_out
ok libvirt_says_why in_the_error 'not-placed: taken is of a.s pool'
ok and_what_to_do in_the_error 'virtid pool set'
ok it_runs_where_it_was on a in_state taken running

must on a inside virtid pool set rack1 a b
must defined b taken marker channel
must on a inside virtid host fence a --yes
ok it_starts_on_the_other_host_of_its_pool on b virsh start taken
ok which_has_its_lease held_by taken b
ok the_fenced_one_says_that_nothing_is_stopped says_within 60 taken 'this host was fenced; nothing is stopped'
ok its_guest_goes_on on a in_state taken running
ok what_nobody_took_is_its_own_again held_by kept a
must acts pause
ok where_root_says_so_it_is_paused on a in_state taken paused 60
ok and_why_says_it says_within 20 taken 'it was paused'
must on a virsh resume taken
ok what_an_operator_lets_go_on_goes_on goes_on taken
must acts_after_a_restart destroy
ok where_root_says_so_it_is_destroyed on a in_state taken 'shut off' 60
ok the_other_host_has_it_still on b in_state taken running
ok what_nobody_took_goes_on on a in_state kept running 1
ok what_is_unmanaged_goes_on on a in_state plain running 1
done_testing
