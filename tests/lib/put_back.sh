# shellcheck shell=bash
# put_back.sh - words for tests in which the state of a VM is put back: what it shows, how it is healed
#
# Sourced after system.sh; $vm is the domain that is meant, and the test declares `audiences 60`.  Points are subshells,
# so what is to be kept lies in files of the box.
# shellcheck source=tests/lib/fresh_token.sh
. "$(dirname "${BASH_SOURCE[0]}")/fresh_token.sh"
echo 0 >"$box/asked"

guest() {
    guest_run "$box" "$vm" "${2:-60}" "$1"
}

# define_snapped NAME [OPTION...]: a tiny guest on a qcow2 disk, with a <genid>.
define_snapped() {
    local path

    path=$(disk "$1" qcow2) || return 1
    guest_xml "$1" "$(uuid_of "$1")" "$(accel)" "$path" qcow2 marker channel genid "${@:2}" >"$box/$1.xml" &&
        virsh define /dev/stdin <"$box/$1.xml"
}

boot_id() {
    guest 'cat /proc/sys/kernel/random/boot_id' | grep -oE '[0-9a-f]{8}-[0-9a-f-]{27}'
}

# records: how often a host has told the service of something that was put back.
records() {
    grep -c "event=host-saw uuid=$(uuid_of "$vm")" "$box/log/virtid-tokend.log" || :
}

# remembers: who it is by its newest token, for goes_on_as_it_was and healed; and what the host has told by now.
remembers() {
    told sub factors >"$box/was"
    told gen | tr -dc 0-9 >"$box/gen"
    epoch >"$box/epoch"
    records >"$box/records"
}

# comes_up: it starts, proves itself, and is remembered.
comes_up() {
    starts && fresh && remembers
}

state_is() {
    inside virtid --output json info "$vm" | /usr/bin/python3 -c '
import json, sys
state = json.load(sys.stdin)[0]["state"]
print(state)
sys.exit(state != sys.argv[1])' "$1"
}

# no_alarm: nothing in `why` is bad.
no_alarm() {
    inside virtid why "$vm" >"$box/why"
    ! grep -A3 -F '[!!]' "$box/why"
}

# is_who_it_was GENERATION: with a fresh proof, in a new epoch; and so it is remembered.
is_who_it_was() {
    fresh || return 1
    told sub factors gen epoch
    [ "$(told sub factors)" = "$(cat "$box/was")" ] && [ "$(told gen | tr -dc 0-9)" = "$1" ] &&
        [ "$(epoch)" -gt "$(cat "$box/epoch")" ] && remembers && state_is ok
}

goes_on_as_it_was() {
    is_who_it_was "$(cat "$box/gen")"
}

# refused_as PROBLEM: it runs, asks, gets no token, and `why` says so, with the command.
refused_as() {
    local i asked

    in_state "$vm" running || return 1
    asked=$(($(cat "$box/asked") % 60 + 1))
    echo $asked >"$box/asked"
    for ((i = 0; i < 20; i++)); do
        guest "virtid-agent token -a a$asked" 25 | grep eyJ && return 1
        inside virtid why "$vm" >"$box/why"
        grep -q "proof *$1" "$box/why" && grep -q 'virtid accept DOMAIN' "$box/why" && return 0
        sleep 2
    done
    cat "$box/why"
    return 1
}

# host_saw PATTERN: `why` has that as evidence, and it was written down once since it was remembered.
host_saw() {
    host_wait 40 told_once && why_says "$vm" "\[ok\] host saw .*host1 told at .*$1" && return 0
    grep event=host-saw "$box/log/virtid-tokend.log"
    inside virtid why "$vm"
    return 1
}

told_once() {
    [ "$(records)" = $(($(cat "$box/records") + 1)) ]
}

# healed: an operator's word gives the running guest its token, in the same boot, as the next generation.
healed() {
    local booted

    booted=$(boot_id)
    [ -n "$booted" ] && inside virtid accept "$vm" --yes && is_who_it_was $(($(cat "$box/gen") + 1)) || return 1
    [ "$(boot_id)" = "$booted" ]
}

off() {
    virsh destroy "$vm" && in_state "$vm" 'shut off'
}

starts() {
    virsh start "$vm" && in_state "$vm" running
}

reverts_to() {
    virsh snapshot-revert "$vm" "$@"
}
