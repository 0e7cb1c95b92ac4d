# shellcheck shell=bash
# put_back.sh - words for tests in which the state of a VM is put back: what it shows, how it is healed
#
# A test sources it after system.sh, sets $vm, the domain that is meant, and declares `audiences 90`: a token for
# one that was never asked for needs a proof.  Points are subshells, so what is to be kept lies in files of the box.
# shellcheck disable=SC2154

vm=

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

# asks: one more audience; prints what the guest got for it.
asks() {
    local n

    n=$(($(cat "$box/asked" 2>/dev/null || echo 0) + 1))
    echo $n >"$box/asked"
    guest "virtid-agent token -a a$n" 25 2>/dev/null |
        grep -oE 'eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+' | tail -n 1
}

# proves: until it has a token of now; its claims into $box/claims.
proves() {
    local i token

    for ((i = 0; i < 120; i += 3)); do
        token=$(asks)
        [ -n "$token" ] && {
            claims "$token" >"$box/claims"
            return 0
        }
        sleep 2
    done
    inside virtid why "$vm"
    return 1
}

# told WORD...: these claims of the newest token, in a line.
told() {
    /usr/bin/python3 -c '
import json, sys
at = json.load(open(sys.argv[1]))
at.update(at["virtid"])
print([at.get(word) for word in sys.argv[2:]])' "$box/claims" "$@"
}

boot_id() {
    guest 'cat /proc/sys/kernel/random/boot_id' | grep -oE '[0-9a-f]{8}-[0-9a-f-]{27}'
}

# remembers: who it is now, for goes_on_as_it_was and healed.
remembers() {
    told sub factors >"$box/was"
    told gen | tr -dc 0-9 >"$box/gen"
    told epoch | tr -dc 0-9 >"$box/epoch"
    records >"$box/records"
}

# records: how often a host has told the service of something that was put back.
records() {
    grep -c "event=host-saw uuid=$(uuid_of "$vm")" "$box/log/virtid-tokend.log" || :
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
    proves || return 1
    [ "$(told sub factors)" = "$(cat "$box/was")" ] || { told sub factors; return 1; }
    [ "$(told gen | tr -dc 0-9)" = "$1" ] || { told gen; return 1; }
    [ "$(told epoch | tr -dc 0-9)" -gt "$(cat "$box/epoch")" ] || { told epoch; return 1; }
    remembers
    state_is ok
}

goes_on_as_it_was() {
    is_who_it_was "$(cat "$box/gen")"
}

# refused_as PROBLEM: it runs, asks, gets no token, and `why` says so, with the command.
refused_as() {
    local i

    in_state "$vm" running || return 1
    for ((i = 0; i < 20; i++)); do
        [ -z "$(asks)" ] && inside virtid why "$vm" >"$box/why" && grep -q "proof *$1" "$box/why" &&
            grep -q 'virtid accept DOMAIN' "$box/why" && return 0
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
    [ "$(boot_id)" = "$booted" ] && told vtpm secret
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

# another_run: off and on; it steps in that.
another_run() {
    off && starts && proves && remembers
}
