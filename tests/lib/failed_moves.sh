# shellcheck shell=bash
# failed_moves.sh - the domain "moving" on two hosts, migrations of it that are cut short, and what must be so afterwards
#
# Sourced by tests of failed migrations instead of two_hosts.sh.  A fault counts only when the migration was seen in
# the middle just before it: else the point fails.
. "$(dirname "${BASH_SOURCE[0]}")/two_hosts.sh"

AUDIENCES=200 # each is asked for once, so that each token needs a proof of its own

# identity_in TOKEN: what stays the same in all tokens of one VM.
identity_in() {
    claims "$1" | /usr/bin/python3 -c '
import json, sys
at = json.load(sys.stdin)
print(at["sub"], at["virtid"]["factors"], at["virtid"]["gen"], at.get("cnf"))'
}

epoch_in() {
    claims "$1" | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["virtid"]["epoch"])'
}

keys_of() {
    on a inside virtid --output json info moving | /usr/bin/python3 -c '
import json, sys
vm = json.load(sys.stdin)[0]
print([vm.get(k) for k in ("uuid", "ek_sha256", "ek_origin", "has_secret", "has_index", "gen", "floor")])'
}

# The domain is provisioned and runs on a, and everything that must stay as it is has been written down.
moving_up() {
    two_hosts_up
    must on a audiences $AUDIENCES
    echo 0 >"$boxes/asked"
    must on a define moving channel marker
    must on a provisioned moving
    # A libvirtd that gives up an incoming domain takes the disk from QEMU's user, as if it were this host's alone.
    must chmod 666 "$shared_images/moving.raw"
    must on a virsh start moving
    on a has_token moving >/dev/null || must false
    token=$(fresh a) || must false
    identity=$(identity_in "$token")
    keys=$(keys_of)
    must write_boot a
}

# fresh HOST [SECONDS]: until the guest there has a token that it never had before; prints it.
fresh() {
    local n token i

    for ((i = 0; i < ${2:-90}; i += 2)); do
        n=$(($(cat "$boxes/asked") % AUDIENCES + 1))
        echo $n >"$boxes/asked"
        token=$(on "$1" guest_run "$boxes/$1" moving 25 "virtid-agent token -a a$n" 2>/dev/null |
            grep -oE 'eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+' | tail -n 1) # a host's name has dots, too
        [ -n "$token" ] && {
            echo "$token"
            return 0
        }
        sleep 2
    done
    on "$1" guest_run "$boxes/$1" moving 25 "virtid-agent token -a a$n"
    on "$1" inside virtid why moving
    return 1
}

boot_of() {
    on "$1" guest_run "$boxes/$1" moving 30 'cat /proc/sys/kernel/random/boot_id' | grep -oE '[0-9a-f-]{36}'
}

# write_boot HOST: the guest has booted anew, as it should.
write_boot() {
    boot_of "$1" >"$boxes/boot" && [ -s "$boxes/boot" ]
}

other() {
    [ "$1" = a ] && echo b || echo a
}

gone_or_off() {
    ! on "$1" virsh list --name | grep -qx moving
}

# lives HOST: the same guest runs there, in the same boot, and nowhere else; that host alone holds its lease; it is who it was.
lives() {
    local token

    on "$1" in_state moving running 90 || return 1
    host_wait 30 gone_or_off "$(other "$1")" || { echo "it is on $(other "$1") as well"; return 1; }
    [ "$(boot_of "$1")" = "$(cat "$boxes/boot")" ] || { echo "it was booted again"; return 1; }
    has_identity "$1"
}

# has_identity HOST: the guest there gets a new token, with the same keys, and the service names that host alone.
has_identity() {
    local token

    token=$(fresh "$1" 90) || { echo "$token"; return 1; }
    [ "$(identity_in "$token")" = "$identity" ] || { echo "it was $identity, it is $(identity_in "$token")"; return 1; }
    held_by moving "$1" 60 || return 1
    [ "$(epoch_of_lease)" = "$(epoch_in "$token")" ] || token=$(fresh "$1" 30)
    [ "$(epoch_of_lease)" = "$(epoch_in "$token")" ] || { echo "lease $(epoch_of_lease), token $(epoch_in "$token")"; return 1; }
    [ "$(keys_of)" = "$keys" ] || { keys_of; echo "$keys"; return 1; }
}

epoch_of_lease() {
    on a inside virtid --output json info moving | grep -oE '"epoch": *[0-9]+' | grep -oE '[0-9]+' | head -n 1
}

# ---- a migration under way ----

# migrates FROM TO: nothing disturbs it.
migrates() {
    migrate moving "$1" "$2" --persistent && on "$2" in_state moving running
}

# begin_move FROM TO [OPTION...]: so slow that what follows happens in the middle of it; returns there.
begin_move() {
    move_from=$1 move_to=$2
    on "$1" virsh migrate-setspeed moving 1 || return 1
    migrate moving "$@" --persistent >"$boxes/migrate.log" 2>&1 &
    move=$!
    host_wait 60 in_the_middle || { cat "$boxes/migrate.log"; return 1; }
}

# Its memory flows, and the destination has something that waits for it.
in_the_middle() {
    kill -0 "$move" &&
        on "$move_from" virsh domjobinfo moving | grep -A20 'Outgoing migration' | grep -qE 'Memory processed: +[1-9]' &&
        [ "$(on "$move_to" virsh domstate moving)" = paused ]
}

in_the_middle_now() {
    in_the_middle >/dev/null 2>&1 || { echo "it was not in the middle"; cat "$boxes/migrate.log"; return 1; }
}

hurry() {
    on "$move_from" virsh migrate-setspeed moving 1000
}

# ends_well, ends_badly: virsh's own word on it.
ends_well() {
    move_ends && return 0
    cat "$boxes/migrate.log"
    return 1
}

ends_badly() {
    local status

    move_ends
    status=$?
    [ $status != 0 ] && [ $status != 124 ] && return 0
    echo "virsh ended with $status"
    return 1
}

move_ends() {
    timeout 300 tail --pid="$move" -f /dev/null || return 124
    wait "$move"
}

# cut_by FROM TO OPTION COMMAND...: in the middle COMMAND happens, and the migration fails.
cut_by() {
    local from=$1 to=$2 option=$3

    shift 3
    # shellcheck disable=SC2086 # none, or one
    begin_move "$from" "$to" $option && in_the_middle_now && "$@" && ends_badly
}

# through FROM TO OPTION COMMAND...: in the middle COMMAND happens, and the migration goes on to its end.
through() {
    local from=$1 to=$2 option=$3

    shift 3
    # shellcheck disable=SC2086 # none, or one
    begin_move "$from" "$to" $option && in_the_middle_now && { [ $# = 0 ] || "$@"; } && in_the_middle_now && hurry && ends_well
}

starts_again() {
    on "$1" virsh start moving && write_boot "$1" && has_identity "$1"
}

# ---- faults ----

# kill_on HOST PROGRAM
kill_on() {
    on "$1" inside pkill -KILL -x "${2:0:15}"
}

# restart_hostd HOST, restart_libvirtd HOST, restart_tokend: killed, and started again
restart_hostd() {
    on "$1" stop virtid-hostd KILL && on "$1" hostd_up
}

restart_tokend() {
    on a stop virtid-tokend KILL && on a service_up
}

restart_libvirtd() {
    kill_on "$1" libvirtd && host_wait 60 on "$1" not inside pgrep -x libvirtd && on "$1" host_libvirtd "$boxes/$1" --listen
}

freeze() {
    on "$1" inside pkill -STOP -x "${2:0:15}"
}

thaw() {
    on "$1" inside pkill -CONT -x "${2:0:15}"
}

cut_link() {
    on a inside ip link set cable down
}

mend_link() {
    on a inside ip link set cable up
}
