#!/bin/bash
# A real guest is saved and restored, suspended for longer than a lease lives, reset, rebooted and crashed from inside,
# and libvirtd is killed under it: after each of these it is who it was, without anybody's help.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"
vm=calm
# shellcheck source=tests/lib/fresh_token.sh
. "$(dirname "$0")/../lib/fresh_token.sh"
file=/var/lib/libvirt/images/calm.save

guest() {
    guest_run "$box" calm "${2:-60}" "$1"
}

boot_of() {
    guest 'cat /proc/sys/kernel/random/boot_id' 120 | grep -oE '[0-9a-f-]{36}'
}

# is_the_same SAME|NEW: sub, factors and generation, in that epoch; what it shows has stepped in this run.
is_the_same() {
    local old now

    old=$(cat "$box/epoch")
    fresh || return 1
    now=$(epoch)
    echo "$now" >"$box/epoch"
    [ "$(told sub factors gen)" = "$identity" ] || { echo "it was $identity, it is $(told sub factors gen)"; return 1; }
    case $1 in
    SAME) [ "$now" = "$old" ] ;;
    NEW) [ "$now" -gt "$old" ] ;;
    esac || { echo "epoch $old, then $now"; return 1; }
}

goes_on() {
    [ "$(boot_of)" = "$(cat "$box/boot")" ]
}

# booted_again COMMAND...: after it the guest is another boot.
booted_again() {
    local i now

    "$@"
    for ((i = 0; i < 90; i += 3)); do
        now=$(boot_of) && [ "$now" != "$(cat "$box/boot")" ] && {
            echo "$now" >"$box/boot"
            return 0
        }
        sleep 3
    done
    echo "boot $now, as before"
    return 1
}

lease_is() {
    inside virtid --output json info calm | /usr/bin/python3 -c '
import json, sys
vm = json.load(sys.stdin)[0]
print(vm["lease"], vm["host"])
sys.exit(vm["lease"] != sys.argv[1])' "$1"
}

restored() {
    virsh restore $file && in_state calm running && goes_on
}

managed_save_and_start() {
    virsh managedsave calm && in_state calm 'shut off' && virsh start calm && in_state calm running && goes_on
}

suspended_for() {
    virsh suspend calm && sleep "$1" && lease_is runs && virsh resume calm && in_state calm running && goes_on
}

libvirtd_killed() {
    inside pkill -KILL -x libvirtd && host_wait 60 not inside pgrep -x libvirtd && host_libvirtd "$box" && goes_on
}

# From inside, in the background: the shell's answer comes first.
from_inside() {
    guest "(sleep 1; $1) </dev/null >/dev/null 2>&1 &" 60
}

stack_up
must audiences 60
must define calm marker channel
must provisioned calm
must virsh start calm
must has_token calm
echo 0 >"$box/asked"
must fresh
identity=$(told sub factors gen)
epoch >"$box/epoch"
boot_of >"$box/boot"
must test -s "$box/boot"
must virsh save calm $file
ok a_saved_vm_has_given_its_lease_back host_wait 30 not lease_is runs
ok it_goes_on_from_the_file restored
ok while_it_was_restored_it_was_no_leftover_of_a_migration not grep view=out "$box/log/virtid-hostd.log"
ok restored_it_is_the_same_in_a_new_epoch is_the_same NEW
ok it_goes_on_from_a_managed_save managed_save_and_start
ok after_a_managed_save_it_is_the_same_in_a_new_epoch is_the_same NEW
ok suspended_for_longer_than_a_lease_lives_it_keeps_it suspended_for 65
ok resumed_it_is_the_same_in_its_epoch is_the_same SAME
ok libvirtd_is_killed_under_it libvirtd_killed
ok after_that_it_is_the_same_in_its_epoch is_the_same SAME
ok it_is_reset booted_again virsh reset calm
ok after_a_reset_it_is_the_same is_the_same SAME
ok it_reboots_from_inside booted_again from_inside 'reboot -f'
ok after_a_reboot_it_is_the_same is_the_same SAME
ok its_kernel_panics booted_again from_inside 'echo c >/proc/sysrq-trigger'
ok after_a_panic_it_is_the_same is_the_same SAME
done_testing
