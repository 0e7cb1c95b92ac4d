#!/bin/bash
# The README's first command, with the Debian guest: it ends well, tells where everything
# is, and leaves nothing behind.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"
json=$box/where.json
state=/var/tmp/virtid-quickstart

quick() {
    "$SYSTEM_TOP/quickstart" "$@" 9>&-
}

keys_are_complete() {
    /usr/bin/python3 - "$json" <<-'END'
	import json, sys
	told = json.load(open(sys.argv[1]))
	assert list(told) == "issuer ca_file jwks_file token audience uuid domain libvirt_uri connect admin_socket enter".split(), list(told)
	assert all(isinstance(v, str) and v for v in told.values()), told
	END
}

of() {
    /usr/bin/python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$json" "$1"
}

enters() {
    # shellcheck disable=SC2046 # the prefix is words
    $(of enter) virsh -c "$(of libvirt_uri)" domstate "$(of domain)" | grep running
}

connects() {
    # shellcheck disable=SC2046 # the prefix is words
    $(of enter) virtid-verify --connect "$(of connect)" --issuer "$(of issuer)" \
        --ca "$(of ca_file)" --expect "$(of uuid)"
}

nothing_is_left() {
    ! [ -e "$state" ] && ! pgrep -f "init.sh $state" && ! grep -F "$state" /proc/mounts
}

interrupted() {
    local pid

    setsid "$SYSTEM_TOP/quickstart" >"$box/interrupted.log" 2>&1 9>&- &
    pid=$!
    host_wait 300 grep -qE 'Private host is up' "$box/interrupted.log" || return 1
    kill -TERM "$pid"
    wait "$pid"
    ! pgrep -f "init.sh $state" && ! grep -F "$state" /proc/mounts
}

exec {turn}>"$cache/quickstart.lock"
flock "$turn" # one at a time
if quickstart_runs "$state"; then
    echo "1..0 # SKIP a quickstart is running on this machine"
    exit 0
fi
mkdir -p "$box"
ok quickstart_ends_well quick --keep --json "$json"
ok the_json_file_has_every_key keys_are_complete
ok the_prefix_enters_the_namespaces enters
ok the_running_vm_is_verified_from_outside connects
ok down_ends_it quick --down
ok nothing_is_left_after_down nothing_is_left
ok nothing_is_left_after_an_interruption interrupted
rm -rf "$state"
done_testing
