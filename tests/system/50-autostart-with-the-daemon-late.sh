#!/bin/bash
# The machine boots with twenty guests that start by themselves, and our daemon comes late.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"
n=20

define_many() {
    local i

    for ((i = 1; i <= n; i++)); do
        guest_xml "auto$i" "$(uuid_of "auto$i")" "$(accel)" /dev/null raw marker channel notpm memory=16 |
            sed '/<disk /,/<\/disk>/d' >"$box/auto$i.xml"
        virsh define /dev/stdin <"$box/auto$i.xml" && virsh autostart "auto$i" || return 1
    done
}

boot_libvirtd() {
    host_libvirtd "$box" && host_wait 180 all_running
}

all_running() {
    [ "$(virsh list --name | grep -c '^auto')" = $n ]
}

all_known() {
    [ "$(inside virtid list | grep -c auto)" = $n ]
}

stack_up no-hostd
must define_many
inside pkill -x libvirtd
host_wait 60 not inside pgrep -x libvirtd
# libvirtd starts them once after each boot of the machine, and marks that.
inside rm -f /run/libvirt/qemu/autostarted
ok twenty_domains_start_by_themselves_without_the_daemon boot_libvirtd
ok the_daemon_comes_late hostd_up
ok every_one_of_them_has_an_account_then host_wait 300 all_known
ok none_of_them_was_stopped all_running
done_testing
