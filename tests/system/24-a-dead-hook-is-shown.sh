#!/bin/bash
# The hook is not where libvirt looks, can not be run, came after libvirtd: the host and the
# service say so within a minute, and how it is repaired.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"

HOSTD_EXTRA='inject = never' # nothing here is about disks
hook=$box/etc/libvirt/hooks/qemu.d/virtid

# check_says PATTERN: a line of host check.
check_says() {
    inside virtid host check >"$box/check.out" 2>&1
    grep -qE "$1" "$box/check.out" || { cat "$box/check.out"; return 1; }
}

check_fails() {
    ! inside virtid host check >"$box/check.out" 2>&1
}

check_passes() {
    inside virtid host check >"$box/check.out" 2>&1 || { cat "$box/check.out"; return 1; }
}

# list_says WORD: what the service knows of this host's hook.
list_says() {
    inside virtid host list | grep -qE "^ *host1 .* $1\$"
}

is_json() {
    inside virtid --output json host check | /usr/bin/python3 -c '
import json, sys
lines = json.load(sys.stdin)
assert len(lines) > 12 and all(l["verdict"] in ("PASS", "WARN", "FAIL") for l in lines)
assert all(l["repair"] for l in lines if l["verdict"] == "FAIL")'
}

restart_libvirtd() {
    stop libvirtd && host_libvirtd "$box"
}

stack_up no-libvirtd
mv "$hook" "$box/virtid-hook"
must host_libvirtd "$box"
ok a_hook_that_is_not_there_is_shown_within_a_minute host_wait 60 list_says absent
ok host_check_names_the_file check_says 'hook is in place .*FAIL .*hooks/qemu.d/virtid is not there'
install -m 755 "$box/virtid-hook" "$hook"
ok a_hook_that_came_after_libvirtd_is_shown_within_a_minute host_wait 60 list_says late
ok host_check_says_to_restart_libvirtd check_says 'repair: systemctl restart libvirtd'
ok host_check_fails_then check_fails
must define marked marker channel
ok the_start_it_does_not_see_is_no_failure virsh start marked
ok that_start_is_shown_within_a_minute host_wait 60 list_says silent
ok host_check_names_the_domain check_says 'libvirt sees the hook .*FAIL .*marked started and libvirt did not call'
virsh destroy marked >/dev/null
must restart_libvirtd
ok after_a_restart_it_is_in_order_and_not_proven host_wait 60 list_says unproven
ok host_check_warns_that_it_was_not_called check_says 'libvirt sees the hook .*WARN'
# As an update of the package does.
cp -p "$hook" "$box/virtid-hook" && touch "$box/virtid-hook" && mv "$box/virtid-hook" "$hook"
stop virtid-hostd
must hostd_up
ok a_hook_that_is_replaced_before_its_first_call_is_no_alarm host_wait 60 list_says unproven
ok host_check_does_not_fail_by_that check_says 'libvirt sees the hook .*WARN'
must virsh start marked
ok a_start_proves_it host_wait 60 list_says ok
ok host_check_passes_then check_passes
ok host_check_speaks_json is_json
stop virtid-hostd
must hostd_up
ok a_daemon_that_restarts_knows_it_still host_wait 60 check_says 'libvirt sees the hook .*PASS'
chmod 644 "$hook"
ok a_hook_that_can_not_be_run_is_shown_within_a_minute host_wait 60 list_says unusable
chmod 755 "$hook"
stop virtid-privd
ok a_missing_root_half_fails_the_check check_says 'virtid-privd is there .*FAIL'
stop virtid-hostd
ok without_the_daemon_the_file_is_checked_all_the_same check_says 'hook is in place .*PASS'
ok and_the_daemon_is_missed check_says 'virtid-hostd is there .*FAIL'
done_testing
