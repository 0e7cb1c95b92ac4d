#!/bin/bash
# The hook, called by a real libvirtd, never holds up a start: daemon gone or frozen.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"

# Of three starts the quickest counts: the machine may be busy with something else.
started_and_ended() {
    local _

    for _ in 1 2 3; do
        within 8000 virsh start "$1" && in_state "$1" running && virsh destroy "$1" && return 0
        virsh destroy "$1" >/dev/null 2>&1
    done
    return 1
}

# A start calls the hook three times; each may cost half a second, and no more.
stack_up
define plain notpm >/dev/null
define marked marker channel notpm >/dev/null
must provisioned marked

stop virtid-hostd
ok a_managed_domain_starts_when_the_daemon_is_gone started_and_ended marked
ok an_unmanaged_domain_starts_when_the_daemon_is_gone started_and_ended plain

hostd_up
inside pkill -STOP -x virtid-hostd
ok a_managed_domain_starts_when_the_daemon_is_frozen started_and_ended marked
ok an_unmanaged_domain_starts_when_the_daemon_is_frozen started_and_ended plain
inside pkill -CONT -x virtid-hostd

uuid=$(uuid_of marked)
stop virtid-hostd
inside install -d -o virtid -g virtid /var/lib/virtid/strict
inside touch "/var/lib/virtid/strict/$uuid"
refused a_strict_domain_does_not_start_when_the_daemon_is_gone virsh start marked
ok an_unmanaged_domain_starts_beside_a_strict_one started_and_ended plain
done_testing
