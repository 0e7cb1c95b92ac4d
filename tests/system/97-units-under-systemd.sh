#!/bin/bash
# Our packages on a Debian with systemd, AppArmor and Debian's own libvirtd (a guest of its own, booted by QEMU):
# everything that the programs do works inside what the units leave them, and nothing is denied to them; a newer
# version is installed, and all of it removed, under a running domain, which starts afterwards as it did before.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"
debs=${VIRTID_DEBS:-$SYSTEM_TOP/build/debs}
images=/var/lib/libvirt/images
machine=

end_machine() {
    [ -z "$machine" ] || kill "$machine" 2>/dev/null
}
trap 'end_machine; system_end' EXIT

# inner SECONDS COMMAND: as root in the machine. A command that hangs is ended, so the shell answers again.
inner() {
    kill -0 "$machine" || return 125
    /usr/bin/python3 "$HOST_RIG/guest_run.py" "$box/shell" $(($1 + 10)) "timeout -k 2 $1 bash -c $(printf %q "$2")"
}

# inner_wait SECONDS COMMAND: until it succeeds there.
inner_wait() {
    inner "$1" "for i in \$(seq $1); do $2 && exit 0; sleep 1; done; exit 1"
}

start_machine() {
    local accel

    accel=$("$stage$HOST_PREFIX/libexec/virtid/virtid-inject" --probe-kvm 2>/dev/null) || accel=tcg
    mkdir -p "$box/log"
    truncate -s 64M "$box/debs.img" && mke2fs -q -F -t ext4 -d "$debs" "$box/debs.img" || return 1
    # TCG emulates SVM, and KVM on that is slower than TCG in it; its LA57 is broken.
    qemu-system-x86_64 -machine q35,accel="$accel" -cpu max,svm=off,vmx=off,la57=off -smp 2 -m 2048 -nodefaults -no-reboot \
        -display none -sandbox on -kernel "$cache/vmlinuz" -initrd "$cache/initrd" \
        -append "console=ttyS0 quiet panic=-1 net.ifnames=0 mitigations=off" -device virtio-rng-pci \
        -drive "file=$cache/debian-host.img,format=raw,if=virtio,snapshot=on" \
        -drive "file=$box/debs.img,format=raw,if=virtio,readonly=on" \
        -serial "file:$box/log/machine.log" -serial "unix:$box/shell,server=on,wait=off" \
        </dev/null >"$box/log/qemu.log" 2>&1 9>&- &
    machine=$!
    host_wait 20 test -S "$box/shell"
}

# install VERSION NAME...: by dpkg alone, which asks no network for what is missing.
install_debs() {
    local version=$1

    shift
    inner 300 "mountpoint -q /mnt || mount -o ro /dev/vdb /mnt; cd /mnt/$version && dpkg -i $(printf '%s_*.deb ' "$@")"
}

# Nothing waits for an operator in vain: what is not set up yet is not started.
nothing_failed() {
    inner 60 "systemctl is-active virtid-privd virtid-hostd && ! systemctl is-active virtid-tokend &&
        ! systemctl --failed --no-legend | grep virtid"
}

# unit_runs NAME: enabled, started, and not because it is started again and again.
unit_runs() {
    inner 60 "systemctl is-enabled $1 && systemctl start $1" || return 1
    inner_wait 60 "systemctl is-active $1" || inner 20 "journalctl -n 20 -o cat --no-pager -u $1; false" || return 1
    [ "$(inner 20 "systemctl show -P NRestarts $1")" = 0 ]
}

host_joins() {
    inner_wait 60 "virtid host list" &&
        inner 90 "virtid host add host1 --auto | grep -o 'virtid1,[^ ]*' |
            setpriv --reuid virtid --regid virtid --init-groups virtid-hostd join --wait 60"
}

# define NAME [DISK]: a domain without an operating system.
define_inner() {
    local disk=''

    [ -z "${2:-}" ] ||
        disk="<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='$2'/><target dev='vda' bus='virtio'/></disk>"
    inner 60 "cat >/root/$1.xml <<END
<domain type='qemu'><name>$1</name><memory unit='MiB'>64</memory><os><type arch='x86_64' machine='q35'>hvm</type></os><devices>
<emulator>/usr/bin/qemu-system-x86_64</emulator><controller type='usb' model='none'/><memballoon model='none'/>$disk</devices></domain>
END
virsh -q define /root/$1.xml && virtid enable $1"
}

make_disk() {
    inner 60 "mkdir -p /root/disk/etc && echo ID=debian >/root/disk/etc/os-release && truncate -s 32M $images/disk.img &&
        mke2fs -q -F -t ext4 -d /root/disk $images/disk.img && chmod 600 $images/disk.img"
}

# why NAME STEP: state and sentence of the host's step.
why_inner() {
    inner 30 "virtid --output json why $1" | /usr/bin/python3 -c '
import json, sys
for step in json.load(sys.stdin)[0]["steps"]:
    if step["step"] == sys.argv[1]:
        print(step["state"], step.get("seen", ""))
        break' "$2"
}

step_is() {
    local i said

    for ((i = 0; i < $4; i += 2)); do
        said=$(why_inner "$1" "$2")
        [[ $said =~ $3 ]] && return 0
        sleep 2
    done
    echo "$1: $2: $said"
    return 1
}

confined() {
    inner 30 'cat /proc/$(pidof libvirtd)/attr/current' | grep -q 'libvirtd (enforce)'
}

# An emulated machine in an emulated machine may need more time than a disk is given.
appliance_runs() {
    local i said

    for ((i = 0; i < 300; i += 5)); do
        said=$(why_inner disk inject)
        [[ $said == done* || $said == ok* || $said == *took-too-long* ]] && return 0
        [[ $said == skipped* || $said == failed* ]] && break
        sleep 5
    done
    echo "inject: $said"
    inner 20 "journalctl -n 10 -o cat --no-pager -u virtid-privd"
    return 1
}

comes_back() {
    inner 30 "systemctl kill --kill-whom=main -s KILL $1" && sleep 2 && inner_wait 60 "systemctl is-active $1"
}

# What a guest would notice of an upgrade: another QEMU, another epoch.
qemu_and_epoch() {
    inner 30 'cat /run/libvirt/qemu/bare.pid; echo'
    why_inner bare lease | grep -oE 'epoch [0-9]+'
}

same_guest() {
    qemu_and_epoch
    [ "$(qemu_and_epoch)" = "$before" ]
}

upgraded() {
    local unit

    install_debs next virtid virtid-server virtid-host || return 1
    for unit in virtid-tokend virtid-privd virtid-hostd; do
        inner_wait 60 "systemctl is-active $unit" || return 1
        inner 20 "exe=\$(readlink /proc/\$(systemctl show -P MainPID $unit)/exe); echo \$exe; test -x \"\$exe\"" || return 1
    done
    inner 20 "dpkg-query -W -f '\${Version}\n' virtid-host" | grep next
}

removed() {
    inner 120 'dpkg -r virtid-host virtid-server virtid' && inner 20 'virsh -q domstate bare | grep running' &&
        ! inner 20 'pgrep -l virtid' && ! inner 20 'ls -R /etc/libvirt/hooks | grep virtid'
}

purged() {
    inner 120 'dpkg -P virtid-host virtid-server virtid virtid-agent' &&
        inner 20 '! ls -d /etc/virtid /var/lib/virtid* /var/cache/virtid /run/virtid* /usr/libexec/virtid 2>/dev/null | grep .'
}

# What belongs to the machines, not to us.
theirs() {
    inner 60 "find /var/lib/libvirt/swtpm -name tpm2-00.permall; sha256sum $images/disk.img; virsh dumpxml --inactive bare |
        grep -E 'urn:virtid|org.virtid|<tpm'"
}

agent_waits() {
    inner_wait 60 'systemctl is-active virtid-agent' && inner 30 'virtid-agent status' | grep -i channel
}

starts_again() {
    inner 120 'virsh -q destroy bare; virsh -q start bare && virsh -q domstate bare | grep running'
}

all_stopped() {
    inner 90 'systemctl stop virtid-hostd virtid-privd virtid-tokend && ! pgrep virtid'
}

nothing_denied() {
    ! inner 30 "dmesg | grep -E 'type=1326|apparmor=\"DENIED\".*virtid'"
}

# exposure UNIT MOST: systemd's own figure, tenths.
exposure() {
    local told

    told=$(inner 60 "systemd-analyze security --no-pager $1.service | tail -n 1" | grep -oE '[0-9]+\.[0-9]')
    echo "$1: $told"
    [ -n "$told" ] && [ "${told/./}" -le "$2" ]
}

if command -v lintian >/dev/null; then
    ok debians_own_lint_finds_nothing lintian --fail-on error,warning "$debs"/now/*.changes
else
    skip debians_own_lint_finds_nothing "lintian is not installed"
fi
must "$HOST_RIG/debian-host.sh" "$cache"
must start_machine
must inner 300 'systemctl is-system-running --wait || systemctl --failed --no-legend --no-pager | wc -l | grep -qx 0'
ok the_packages_install install_debs now virtid virtid-server virtid-host
ok installing_them_starts_nothing_in_vain nothing_failed
ok virtid_init_makes_a_trust_domain inner 90 'virtid init --trust-domain units.test --issuer https://id.units.test:8443'
ok the_token_service_runs_under_its_unit unit_runs virtid-tokend
ok a_host_joins_it host_joins
ok the_root_half_runs_under_its_unit unit_runs virtid-privd
ok the_host_daemon_runs_under_its_unit unit_runs virtid-hostd
ok libvirtd_is_confined_by_apparmor confined
ok libvirtd_looks_for_hooks_again inner 120 'systemctl restart libvirtd && virsh -q list'
ok a_domain_is_enabled define_inner bare
ok its_vtpm_is_made_and_placed step_is bare place '^(ok|done)' 120
ok it_starts inner 300 'virsh -q start bare'
ok the_hook_was_called_out_of_confinement step_is bare hook '^ok' 10
ok its_lease_is_taken step_is bare lease '^ok' 30
ok its_channel_is_connected step_is bare channel '^(ok|waiting) *(silent|up|.*signatures)' 60
ok its_vtpm_is_the_one_we_made inner 30 'test "$(find /var/lib/libvirt/swtpm -name tpm2-00.permall | wc -l)" = 1'
ok a_killed_token_service_comes_back comes_back virtid-tokend
ok a_killed_root_half_comes_back comes_back virtid-privd
ok a_killed_host_daemon_comes_back comes_back virtid-hostd
ok it_runs_on_with_its_lease step_is bare lease '^ok' 60
inner 60 'virsh -q destroy bare' >/dev/null
make_disk >/dev/null
ok a_domain_with_a_disk_is_enabled define_inner disk $images/disk.img
ok the_injection_appliance_runs_under_the_unit appliance_runs
ok nothing_was_denied_to_them nothing_denied
ok the_token_service_is_little_exposed exposure virtid-tokend 25
ok the_host_daemon_is_little_exposed exposure virtid-hostd 15
ok the_root_half_is_no_more_exposed_than_it_must exposure virtid-privd 42
refused the_agent_is_not_for_hosts install_debs now virtid-agent

inner 120 'virsh -q start bare' >/dev/null
ok it_has_its_lease_again step_is bare lease '^ok' 60
before=$(qemu_and_epoch)
ok a_newer_version_is_installed_under_a_running_domain upgraded
ok its_lease_is_renewed step_is bare lease '^ok' 90
ok the_domain_runs_on_with_the_lease_and_epoch_of_before same_guest
ok its_channel_is_connected_again step_is bare channel '^(ok|waiting) *(silent|up|.*signatures)' 60
ok all_units_stop all_stopped
ok without_them_the_domain_starts_as_before starts_again
kept=$(theirs)
ok the_packages_are_removed_under_a_running_domain removed
ok the_agent_is_installed_where_no_host_is install_debs now virtid-agent
ok it_waits_for_its_channel agent_waits
ok what_was_ours_is_purged purged
ok what_is_the_machines_stays test "$(theirs)" = "$kept"
ok after_all_it_starts_as_before starts_again
done_testing
