#!/bin/bash
# A domain is undefined and defined again: while the host daemon is down, and many times with its disk
# written each time, after which no process, descriptor, mount, lock, socket or file is left of it.
# VIRTID_PROVISIONS: how many times (3); the requirement is 200 (make check-long).
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"

times=${VIRTID_PROVISIONS:-3}
hostd_log=$box/log/virtid-hostd.log
daemons='virtid-tokend virtid-signer virtid-hostd virtid-privd libvirtd'

# it_is NAME: the domain that the words below are about.
it_is() {
    dom=$1
    tpm=$box/var-lib/libvirt/swtpm/$(uuid_of "$dom")/tpm2/tpm2-00.permall
    xml "$dom" marker channel >"$box/$dom.xml"
}

n_provisioned() {
    grep -c "event=provisioned vm=$dom .*vtpm=done secret=done" "$hostd_log"
}

more_than() {
    [ "$(n_provisioned)" -gt "$1" ]
}

new_disk() {
    rm -f "$box/var-lib/libvirt/images/$dom.raw"
    disk "$dom" >/dev/null
}

# Once more from nothing, and away again.
provision_once() {
    local n

    n=$(n_provisioned)
    new_disk
    define_it && host_wait 120 more_than "$n" && virsh undefine --tpm "$dom" >/dev/null && host_wait 20 not test -e "$tpm" && host_wait 20 is_absent
}

define_it() {
    virsh define /dev/stdin <"$box/$dom.xml" >/dev/null
}

has_all_three() {
    claims "$(has_token again)" | grep -q '"factors": *\["host", *"vtpm", *"secret"\]'
}

is_absent() {
    inside virtid why "$(uuid_of "$dom")" | grep -q 'libvirt does not know it'
}

provision_all() {
    local i

    for ((i = 0; i < times; i++)); do
        provision_once || { tail -n 5 "$hostd_log"; return 1; }
    done
}

# Every PID inside, and what a daemon of ours holds: descriptors by what they are, without numbers.
processes() {
    inside ps -eo user:20,args --no-headers |
        grep -vE ' (ps -eo|nsenter |sleep |/bin/bash .*init.sh|\[)' | sed -E 's/ +/ /g' | sort
}

pids_of() {
    inside pgrep -x "${1:0:15}"
}

# Connections to libvirt come and go with its own threads: of libvirtd only what is ours counts.
descriptors() {
    local daemon pid

    for daemon in ${daemons% libvirtd}; do
        for pid in $(pids_of "$daemon"); do
            inside find "/proc/$pid/fd" -type l -printf "$daemon %l\n" |
                sed -E 's/(socket|pipe):\[[0-9]+\]/\1/; s/ \(deleted\)//'
            inside find "/proc/$pid/task" -mindepth 1 -maxdepth 1 -printf "$daemon thread\n"
        done
    done | sort | uniq -c
}

memory_of() {
    local pid sum=0

    for pid in $(pids_of "$1"); do
        sum=$((sum + $(inside awk '/^VmRSS:/ { print $2 }' "/proc/$pid/status")))
    done
    echo $sum
}

files() {
    inside find /tmp /var/tmp /run /var/cache/virtid /var/lib/virtid /var/lib/virtid-signer /var/lib/virtid-token \
        /var/lib/libvirt/images /var/lib/libvirt/swtpm /var/lib/libvirt/qemu /var/cache/libvirt -xdev 2>/dev/null |
        grep -vE '/virtid.db-(wal|shm)$|^/run/nscd' | sort
}

# QEMU's locks belong to no process, so the list has those of other machines too: only ours, by their inodes.
locks() {
    find "$box" -printf '%i\n' >"$box.inodes"
    awk 'NR == FNR { ours[$1] = 1; next } { split($6, at, ":") } at[3] in ours { print $2, $3, $4 }' "$box.inodes" /proc/locks | sort
    rm -f "$box.inodes"
}

everything() {
    processes >"$box/$1.processes"
    descriptors >"$box/$1.descriptors"
    inside cat /proc/1/mountinfo | cut -d' ' -f5- | sort >"$box/$1.mounts"
    losetup -a | grep -F "$box" | sort >"$box/$1.loops"
    locks >"$box/$1.locks"
    inside ss -xanp 2>/dev/null | awk 'NR > 1 { print $1, $2, ($5 == "*" ? "-" : $5) }' | sort | uniq -c >"$box/$1.sockets"
    files >"$box/$1.files"
}

same() {
    diff "$box/before.$1" "$box/after.$1"
}

# Of what is counted: a connection that was kept open for a while, and is closed by now, is none that was left.
no_more() {
    awk '{ n = $1; $1 = "" }
        NR == FNR { had[$0] = n; next }
        n > had[$0] { print n $0 ", of " had[$0] + 0 " before"; left = 1 }
        END { exit left }' "$box/before.$1" "$box/after.$1"
}

# settled HOW WORD: what ends a moment later has ended.
settled() {
    local i

    for ((i = 0; i < 20; i++)); do
        everything after
        "$1" "$2" >/dev/null && return 0
        sleep 0.5
    done
    "$1" "$2"
}

# grew_little DAEMON: in kB, from after the first ones on; some of it is the allocator's.
grew_little() {
    local now

    now=$(memory_of "$1")
    echo "$1: ${memory[$1]} kB, $now kB after $times provisions" | tee -a "$box/memory.out"
    [ $((now - memory[$1])) -le $((1024 + 4 * times)) ]
}

stack_up
must inside mount -t tmpfs none /tmp # of its own, as each unit has: others write there too
must inside mount -t tmpfs none /var/tmp
it_is again
must define_it
ok it_is_provisioned host_wait 120 more_than 0
stop virtid-hostd
first=$(sha256sum <"$tpm")
must virsh undefine --tpm again
ok libvirt_removed_its_tpm not test -e "$tpm"
new_disk
must define_it
must hostd_up
ok undefined_and_defined_while_the_daemon_was_down_it_is_provisioned_again host_wait 120 more_than 1
ok with_a_tpm_of_its_own test "$(sha256sum <"$tpm" 2>/dev/null)" != "$first"
must virsh start again
ok it_proves_itself_with_all_three has_all_three
virsh destroy again >/dev/null
stop virtid-hostd
must hostd_up
ok once_proved_it_is_left_as_it_is host_wait 30 why_says again '\] account +ok'
virsh undefine --keep-tpm again >/dev/null

# ---- what is left of many: of another one, that never runs ----
it_is many
must provision_once # what is made once, and stays, is there now
declare -A memory
for daemon in $daemons; do memory[$daemon]=$(memory_of "$daemon"); done
everything before
ok so_many_provisions_succeed provision_all
ok no_processes_are_left settled same processes
ok no_descriptors_are_left settled no_more descriptors
ok no_mounts_are_left settled same mounts
ok no_loops_are_left settled same loops
ok no_locks_are_left settled same locks
ok no_sockets_are_left settled no_more sockets
ok no_files_are_left settled same files
ok tokend_has_not_grown grew_little virtid-tokend
ok signer_has_not_grown grew_little virtid-signer
ok hostd_has_not_grown grew_little virtid-hostd
ok privd_has_not_grown grew_little virtid-privd
sed 's/^/# /' "$box/memory.out"
done_testing
