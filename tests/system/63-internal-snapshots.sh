#!/bin/bash
# A real guest with a vTPM on a qcow2 disk: internal snapshots with its memory and without, reverted while it runs and
# while it is off.  What is older gets no token, `why` says what the host saw of it, and an operator's word heals it in
# the running guest; what is not older goes on.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"
# shellcheck source=tests/lib/put_back.sh
. "$(dirname "$0")/../lib/put_back.sh"
vm=snap
reverted='libvirt reverted it to a snapshot'

off_by_the_revert() {
    reverts_to cold && in_state snap 'shut off'
}

one_epoch_more() {
    local ends

    ends=$(grep -c 'event=lease vm=snap' "$box/log/virtid-hostd.log")
    reverts_to warm && in_state snap running && sleep 3 || return 1
    [ "$(grep -c 'event=lease vm=snap' "$box/log/virtid-hostd.log")" = $((ends + 1)) ] || {
        grep 'vm=snap' "$box/log/virtid-hostd.log" | tail -n 8
        return 1
    }
}

stack_up
must audiences 60
must define_snapped snap
must provisioned snap
must comes_up
ok a_snapshot_with_memory_is_made_of_a_vm_with_a_vtpm virsh snapshot-create-as snap warm
ok it_is_reverted_while_it_runs one_epoch_more
ok where_nothing_is_older_it_has_its_token fresh
ok what_the_host_saw_stands_in_why host_saw "$reverted; its genid is a new one"
ok and_is_no_alarm no_alarm
ok where_nothing_is_older_it_goes_on_as_it_was goes_on_as_it_was
ok it_is_reverted_again reverts_to warm
ok a_running_vm_that_is_reverted_is_recognised refused_as disk-behind
ok why_says_what_the_host_saw host_saw "$reverted; its genid is a new one"
ok it_is_healed_in_the_boot_that_was_reverted healed
must off
ok it_is_reverted_while_it_is_off reverts_to warm
ok started_from_its_snapshot_it_is_recognised refused_as disk-behind
ok why_says_that_too host_saw "$reverted; its genid is a new one"
ok it_is_healed_again healed

must off
must virsh snapshot-create-as snap cold
must comes_up
ok a_running_vm_is_off_after_a_revert_to_one_without_memory off_by_the_revert
must starts
ok its_older_disk_is_recognised_beside_its_newest_tpm refused_as disk-behind
ok that_revert_was_seen host_saw "$reverted"
ok its_disk_is_taken_back healed
must off
ok a_revert_that_starts_nothing_is_seen_by_its_definition reverts_to cold
must starts
ok the_disk_of_a_vm_that_was_off_is_recognised refused_as disk-behind
ok the_host_saw_it_though_no_hook_was_called host_saw "$reverted"
ok it_is_taken_back_too healed
must off
ok it_is_reverted_and_started_in_one reverts_to cold --running
must stop virtid-hostd KILL
must hostd_up
ok that_is_recognised refused_as disk-behind
ok a_host_daemon_that_was_killed_tells_what_it_saw host_saw "$reverted; its genid is a new one"
ok and_healed healed
ok qemu_puts_its_memory_back_under_libvirt virsh qemu-monitor-command snap --hmp 'loadvm warm'
ok that_is_recognised_in_its_epoch refused_as disk-behind
ok and_healed_as_well healed
done_testing
