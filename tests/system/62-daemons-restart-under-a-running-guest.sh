#!/bin/bash
# Each daemon is stopped, killed and started again while workloads in a guest ask for tokens all the time: for one
# that is at hand, and for others that only a new proof gives. None is refused, and the lease stays. At last they are
# stopped and uninstalled, and the guest boots as before.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"

guest() {
    guest_run "$box" busy 60 "$1"
}

# workload NAME WORDS PAUSE: in the guest, for ever; WORDS makes $a of $n, PAUSE is in microseconds.
workload() {
    guest "(n=0; while :; do n=\$((n + 1)); $2
        virtid-agent token -a \$a 2>&1 >/dev/null | sed s/^/\$a:/ >>/tmp/$1.refused
        echo \$n >/tmp/$1.asked; usleep $3; done) </dev/null >/dev/null 2>&1 &"
}

asked() {
    guest "cat /tmp/$1.asked" | grep -oE '^[0-9]+' | tail -n 1
}

# more_than OLD NEW: some more of each kind were asked for; one of the new ones after all had come back.
more_than() {
    [ "$(asked old)" -gt $(($1 + 3)) ] && [ "$(asked new)" -gt $(($2 + 2)) ]
}

refusals() {
    guest 'cat /tmp/old.refused /tmp/new.refused'
}

epoch() {
    inside virtid why busy | grep -oE 'epoch [0-9]+' | head -n 1
}

same_epoch() {
    epoch
    [ "$(epoch)" = "$before" ]
}

restart() {
    local program=$1 signal=$2 old new

    old=$(asked old) new=$(asked new)
    case $program in
    virtid-hostd) stop virtid-hostd "$signal" && sleep 1 && hostd_up ;;
    virtid-privd) stop virtid-privd "$signal" && sleep 1 && privd_up ;;
    virtid-tokend) stop virtid-tokend "$signal" && sleep 1 && service_up ;;
    virtid-signer)
        stop virtid-signer "$signal"
        host_wait 60 not inside pgrep -x virtid-tokend && sleep 1 && service_up
        ;;
    esac || return 1
    host_wait 90 more_than "$old" "$new" && [ -z "$(refusals)" ] && return 0
    refusals
    return 1
}

# What `make install` put there, hook included, is gone; the box has a copy of its hook.
uninstalled() {
    cp -a "$stage" "$box/stage" && make -s -C "${VIRTID_BUILD:-$SYSTEM_TOP/build/plain}" uninstall DESTDIR="$box/stage" || return 1
    find "$box/stage" ! -type d | grep . && return 1
    rm "$box/etc/libvirt/hooks/qemu.d/virtid"
}

boots_again() {
    virsh destroy busy && virsh start busy && guest_run "$box" busy 180 true
}

stack_up
must audiences 60
must define busy marker channel
must provisioned busy
must virsh start busy
ok a_guest_has_its_token has_token busy
before=$(epoch)
must test -n "$before"
must workload old 'a=db' 100000
must workload new 'a=a$((n % 60 + 1))' 1000000
must host_wait 90 more_than 0 0
ok none_is_missed_when_the_token_service_is_restarted restart virtid-tokend TERM
ok none_when_the_host_daemon_is_restarted restart virtid-hostd TERM
ok none_when_the_root_half_is_restarted restart virtid-privd TERM
ok none_when_the_signer_is_killed restart virtid-signer KILL
ok none_when_the_host_daemon_is_killed restart virtid-hostd KILL
ok its_lease_is_the_one_of_before same_epoch
for program in virtid-hostd virtid-privd virtid-tokend; do
    must stop $program
done
ok the_guest_runs_on_without_them guest true
ok with_all_daemons_stopped_it_boots_as_before boots_again
ok make_uninstall_leaves_nothing uninstalled
ok after_that_it_boots_as_before boots_again
done_testing
