#!/bin/bash
# A real guest with external snapshots: an overlay that is made anew, a memory file that is restored upon one; libvirt
# itself reverts none.  And one without a vTPM: its disk alone tells that it was put back.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"
# shellcheck source=tests/lib/put_back.sh
. "$(dirname "$0")/../lib/put_back.sh"
images=/var/lib/libvirt/images
reverted='libvirt reverted it to a snapshot'

# new_overlay FILE BASE: what was written since the snapshot is gone.
new_overlay() {
    inside rm "$images/$1" && inside qemu-img create -q -f qcow2 -F qcow2 -b "$images/$2" "$images/$1"
}

refused_by_libvirt() {
    virsh snapshot-revert "$vm" "$1" 2>&1 | grep 'revert to external snapshot not supported'
}

saw_nothing() {
    sleep 16 # a report of every host comes within 15 s
    inside virtid why "$vm" >"$box/why"
    not grep 'host saw' "$box/why"
}

with_memory_file() {
    virsh dumpxml --inactive ext >"$box/next.xml" && virsh restore "$images/ext.mem" --xml /dev/stdin <"$box/next.xml"
}

stack_up
must audiences 60
vm=ext
must define_snapped ext
must provisioned ext
must comes_up
must virsh snapshot-create-as ext disk --disk-only --diskspec "vda,snapshot=external,file=$images/ext.1"
ok a_snapshot_of_the_disk_alone_changes_nothing fresh
ok libvirt_reverts_no_external_snapshot refused_by_libvirt disk
must off
must comes_up
must off
must new_overlay ext.1 ext.qcow2
must starts
ok an_overlay_that_was_swapped_is_recognised refused_as disk-behind
ok of_that_the_host_saw_nothing saw_nothing
ok its_disk_is_taken_back healed

must virsh snapshot-delete ext disk --metadata
must virsh snapshot-create-as ext warm --memspec "file=$images/ext.mem,snapshot=external" \
    --diskspec "vda,snapshot=external,file=$images/ext.2"
ok libvirt_reverts_none_with_memory_either refused_by_libvirt warm
must off
must comes_up
must off
must new_overlay ext.2 ext.1
ok its_memory_file_is_restored_upon_a_new_overlay with_memory_file
ok a_memory_with_its_disk_is_recognised refused_as disk-behind
ok the_host_saw_the_restore host_saw 'its memory came from a save file; its genid is a new one'
ok it_is_healed_in_the_boot_that_was_restored healed
must off

vm=bare
must define_snapped bare notpm
must provisioned bare
must comes_up
must virsh snapshot-create-as bare warm
must off
must comes_up
ok a_vm_without_a_vtpm_is_reverted_while_it_runs reverts_to warm
ok its_disk_alone_tells refused_as disk-behind
ok the_host_saw_that_revert host_saw "$reverted; its genid is a new one"
ok it_is_healed_without_a_vtpm healed
must off
must virsh snapshot-create-as bare cold
must comes_up
ok it_is_reverted_to_one_without_memory reverts_to cold
must starts
ok that_is_recognised_too refused_as disk-behind
ok and_healed healed
done_testing
