#!/bin/bash
# Somebody else holds the guest's channel: the VM runs, the operator is told, and the
# token comes when the channel is free.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"

hold_channel() {
    # shellcheck disable=SC2016 # for the inner shell
    host_start "$box" holder /usr/bin/python3 -c '
import glob, os, socket, time
open("/run/holder-is-up", "w").close()
while True:
    for path in glob.glob("/var/lib/libvirt/qemu/channel/target/*/org.virtid.0") + glob.glob("/run/libvirt/qemu/channel/*/org.virtid.0"):
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(path)
            time.sleep(3600)
        except OSError:
            pass
    time.sleep(0.005)'
    host_wait 30 inside test -e /run/holder-is-up
}

busy_is_told() {
    host_wait 180 why_says held channel-busy || {
        inside virtid why held
        return 1
    }
}

stack_up
define held marker channel >/dev/null
provisioned held >/dev/null
hold_channel
ok the_domain_starts_although_its_channel_is_held virsh start held
ok why_says_that_the_channel_is_busy busy_is_told
# Not by the channel's name: QEMU has that on its command line too.
inside pkill -f 'import glob, os, socket'
ok the_token_comes_when_the_channel_is_free has_token held
done_testing
