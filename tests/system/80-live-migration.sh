#!/bin/bash
# A running guest moves between two hosts, and its identity with it: the same keys, a new epoch, a lease at
# one place; the host it left starts it no more.
set -u
# shellcheck source=tests/lib/two_hosts.sh
. "$(dirname "$0")/../lib/two_hosts.sh"

# member TOKEN PATH: of its claims, e.g. virtid.epoch
member() {
    claims "$1" | /usr/bin/python3 -c '
import json, sys
at = json.load(sys.stdin)
for name in sys.argv[1].split("."):
    at = at[name]
print(at)' "$2"
}

# The lease is here with the guest's first proof; until both ratchets have stepped it serves the token it had.
same_identity_new_epoch() {
    local before=$token

    for _ in {1..15}; do
        token=$(on "$1" has_token moving 60) || { echo "$token"; return 1; }
        [ "$(member "$before" virtid.epoch)" = "$(member "$token" virtid.epoch)" ] || break
        sleep 2
    done
    [ "$(member "$before" sub)" = "$(member "$token" sub)" ] &&
        [ "$(member "$before" virtid.factors)" = "$(member "$token" virtid.factors)" ] &&
        [ "$(member "$before" virtid.gen)" = "$(member "$token" virtid.gen)" ] &&
        [ "$(member "$before" virtid.epoch)" -lt "$(member "$token" virtid.epoch)" ] && return 0
    claims "$before"
    claims "$token"
    return 1
}

keys_of() {
    on a inside virtid --output json info moving | /usr/bin/python3 -c '
import json, sys
vm = json.load(sys.stdin)[0]
print([vm.get(k) for k in ("uuid", "ek_sha256", "ek_origin", "has_secret", "has_index", "gen", "floor")])'
}

same_keys() {
    [ "$(keys_of)" = "$keys" ] || { keys_of; echo "$keys"; return 1; }
}

moves() { # moves FROM TO [OPTION...]
    migrate moving "$@" && on "$2" in_state moving running
}

# A guest that wants tokens all the time; it counts those it did not get.
fetch_tokens() {
    on a guest_run "$boxes/a" moving 20 '(i=0; while [ ! -e /run/stop ]; do
        virtid-agent token -a db >/dev/null 2>>/run/errors || echo failed >>/run/failures
        i=$((i + 1)); echo $i >/run/fetched; usleep 100000; done) >/dev/null 2>&1 </dev/null &'
}

none_failed() {
    local host=$1

    on "$host" guest_run "$boxes/$host" moving 60 'touch /run/stop; sleep 2; cat /run/fetched /run/failures /run/errors 2>/dev/null |
        tail -n 5; [ "$(cat /run/fetched)" -gt 3 ] && [ ! -e /run/failures ]'
}

source_says_where() {
    said=$(on "$1" virsh start moving 2>&1) && return 1
    echo "$said"
    [[ $said == *"$2 holds the lease of it"* ]]
}

# A destination that dies in the middle: the guest never left.
fails_and_stays() {
    local moving

    on a virsh migrate-setspeed moving 1
    migrate moving a b &
    moving=$!
    host_wait 60 on b inside pgrep -x qemu-system-x86
    sleep 3
    on b inside pkill -KILL -x qemu-system-x86
    wait $moving && return 1
    on a virsh migrate-setspeed moving 1000
    on a in_state moving running && same_identity_new_epoch a && held_by moving a
}

# A disk that one host has, and a file for it on the other.
define_alone() {
    local path=/var/lib/libvirt/local/alone.raw

    cp --sparse=always "$cache/tiny.img" "$boxes/a/var-lib/libvirt/local/alone.raw" &&
        truncate -r "$cache/tiny.img" "$boxes/b/var-lib/libvirt/local/alone.raw" &&
        guest_xml alone "$(uuid_of alone)" "$(on a accel)" $path raw channel marker >"$boxes/alone.xml" &&
        on a virsh define /dev/stdin <"$boxes/alone.xml"
}

takes_its_disk_along() {
    migrate alone a b --copy-storage-all && on b in_state alone running && held_by alone b
}

# What it finds on the disk there is what it was given here.
proves_itself_from_the_copy() {
    local before=$alone

    # A new boot: its agent reads the secret there.
    on b virsh reset alone && alone=$(on b has_token alone 120) || { echo "$alone"; return 1; }
    [ "$(member "$before" sub)" = "$(member "$alone" sub)" ] &&
        [ "$(member "$before" virtid.factors)" = "$(member "$alone" virtid.factors)" ]
}

two_hosts_up
must define_alone
on a define moving channel marker >/dev/null
ok it_is_provisioned on a provisioned moving
must on a virsh start moving
token=$(on a has_token moving)
ok it_has_a_token test -n "$token"
keys=$(keys_of)
must fetch_tokens
ok it_moves_to_the_other_host moves a b
ok its_lease_moved_with_it held_by moving b
ok it_is_the_same_there_in_a_new_epoch same_identity_new_epoch b
ok its_keys_are_the_same same_keys
ok no_token_was_missed none_failed b
ok the_host_it_left_does_not_start_it source_says_where a b
ok peer_to_peer_and_back_and_undefined_there moves b a --p2p --undefinesource --persistent
ok the_lease_is_back held_by moving a
ok it_is_the_same_again same_identity_new_epoch a
ok a_destination_that_dies_changes_nothing_but_the_epoch fails_and_stays
ok it_goes_through_a_tunnel moves a b --p2p --tunnelled --persistent
ok the_lease_follows_that_too held_by moving b
ok it_is_the_same_behind_the_tunnel same_identity_new_epoch b
on b virsh destroy moving >/dev/null
ok the_host_where_it_ended_starts_it on b virsh start moving
ok it_boots_with_its_identity same_identity_new_epoch b
must on a provisioned alone
must on a virsh start alone
alone=$(on a has_token alone)
must test -n "$alone"
ok a_disk_that_is_not_shared_goes_along takes_its_disk_along
ok it_boots_from_the_copy_as_who_it_was proves_itself_from_the_copy
done_testing
