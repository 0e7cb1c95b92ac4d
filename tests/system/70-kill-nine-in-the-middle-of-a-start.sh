#!/bin/bash
# kill -9 of each daemon in the middle of a start: afterwards it is finished or undone,
# by itself.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"

# start_and_kill DOMAIN PROGRAM: defines and starts it, kills PROGRAM as soon as a vTPM or an
# injection is under way, and restarts it as its unit would.
start_and_kill() {
    local name=$1 program=$2 start i

    define "$name" marker channel || return 1
    virsh start "$name" >"$box/$name.start" 2>&1 &
    start=$!
    for ((i = 0; i < 1500; i++)); do
        inside pgrep -x virtid-inject >/dev/null && break
        kill -0 "$start" 2>/dev/null || break
        sleep 0.02
    done
    inside pkill -KILL -x "${program:0:15}"
    case $program in
    virtid-hostd) hostd_up ;;
    virtid-privd) privd_up ;;
    virtid-tokend | virtid-signer)
        host_wait 60 not inside pgrep -x virtid-tokend
        service_up
        ;;
    esac
    wait
}

# A start that failed may be repeated; one way or the other the VM runs and proves itself.
ends_well() {
    virsh domstate "$1" | grep -q running || virsh start "$1" || return 1
    has_token "$1"
}

no_half_made_state() {
    local leftovers

    leftovers=$(find "$box/var-lib/libvirt/swtpm" -mindepth 1 -maxdepth 1 | grep -vE '/[0-9a-f-]{36}$')
    [ -z "$leftovers" ] || {
        echo "$leftovers"
        return 1
    }
}

stack_up
for program in virtid-hostd virtid-privd virtid-inject virtid-tokend virtid-signer; do
    name=k${program#virtid-}
    start_and_kill "$name" "$program" >"$box/log/kill-$name.log" 2>&1
    ok "a_start_survives_kill_nine_of_${program#virtid-}" ends_well "$name"
    virsh destroy "$name" >/dev/null 2>&1
done
ok no_half_made_tpm_state_is_left no_half_made_state
done_testing
