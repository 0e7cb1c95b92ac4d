#!/bin/bash
# Clones and copies of real guests.  virt-clone of one that has proved itself, and of a sealed template: machines of
# their own.  Disk and vTPM state copied under another UUID: one without that factor, until it has a TPM of its own.
# Disk, vTPM and memory, resumed by a libvirtd that knows nothing of us: nothing, also where a hostile host relays its
# channel to the real token service.  All the time the original runs and asks for tokens.
set -u
# shellcheck disable=SC2034 # for system.sh
HOSTD_EXTRA='inject = never' # what was written to a disk first would be another test, and minutes
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"

images=$box/var-lib/libvirt/images
swtpm=$box/var-lib/libvirt/swtpm
stranger=$box/stranger
sealed=(sealed1 sealed2 sealed3)

stranger_end() {
    host_down "$stranger"
    system_end
}
trap stranger_end EXIT

sql() {
    sqlite3 -readonly "$box/var-lib/virtid-token/tokend.db" "$1"
}

told() {
    claims "$(cat "$box/$1.token")" | /usr/bin/python3 -c 'import json,sys
c = json.load(sys.stdin); v = c["virtid"]
print(eval(sys.argv[1]))' "$2"
}

# all_have_tokens NAME...: those that started together; each one's is kept.
all_have_tokens() {
    local name

    for name in "$@"; do
        (has_token "$name" 120 >"$box/$name.token") &
    done
    wait
    for name in "$@"; do
        [ -s "$box/$name.token" ] || return 1
        grep -q '^eyJ' "$box/$name.token" || { cat "$box/$name.token"; return 1; }
    done
}

factors() {
    told "$1" '"+".join(sorted(v["factors"]))'
}

# has_identity NAME FACTORS GENERATION: as itself, by its newest token.
has_identity() {
    echo "$(told "$1" 'c["sub"]') $(factors "$1") $(told "$1" 'v["gen"]')"
    [ "$(told "$1" 'c["sub"]')" = "spiffe://system.test/vm/$(virsh domuuid "$1")" ] &&
        [ "$(factors "$1")" = "$2" ] && [ "$(told "$1" 'v["gen"]')" = "$3" ]
}

all_are_themselves() {
    local name

    for name in "$@"; do
        has_identity "$name" host+secret+vtpm 0 || return 1
    done
}

no_alarm() {
    local name

    for name in "$@"; do
        inside virtid why "$name" >"$box/why"
        ! grep -A3 -F '[!!]' "$box/why" || return 1
    done
    ! grep -h event=alarm "$box"/log/*.log
}

# log_has EVENT NAME...: the agent in one of these guests has said so.
log_has() {
    local name

    for name in "${@:2}"; do
        grep "event=$1" "$(guest_console "$box" "$name")" && return 0
    done
    return 1
}

# What it set aside as another VM's was wiped when its own was accepted.
has_own_slots_alone() {
    guest_run "$box" "$1" 30 'ls -A1 /etc/virtid/slots' >"$box/slots"
    cat "$box/slots"
    grep -qx cur "$box/slots" && ! grep -q other "$box/slots"
}

# A clone's serial ports are files and sockets of the original: they become its own.
own_ports() {
    virsh dumpxml --inactive "$2" | sed "s|/$1\.console|/$2.console|; s|/$1\.shell|/$2.shell|" >"$box/$2.xml" &&
        virsh define /dev/stdin <"$box/$2.xml"
}

clone() {
    inside virt-clone --quiet --original "$1" --name "$2" --file "/var/lib/libvirt/images/$2.raw" && own_ports "$1" "$2"
}

clone_all() {
    local name

    for name in "${@:2}"; do
        clone "$1" "$name" || return 1
    done
}

# The disk and the vTPM's state of one moment: of the copy's UUID are its definition, and the folder's name.
copy_files() {
    local uuid

    uuid=$(uuid_of "$2")
    cp --sparse=always "$images/$1.raw" "$images/$2.raw" && chmod 600 "$images/$2.raw" &&
        cp -a "$swtpm/$(virsh domuuid "$1")" "$swtpm/$uuid" && xml "$2" marker channel >"$box/$2.xml"
}

power_off() {
    guest_run "$box" "$1" 10 'sync; mount -o remount,ro /; poweroff -f' >/dev/null
    in_state "$1" 'shut off' 60
}

# The agent is ended with the loop that would start it again.
seals() {
    guest_run "$box" "$1" 30 'p=$(pidof virtid-agent); kill $(cut -d" " -f4 /proc/$p/stat) $p
        while pidof virtid-agent; do usleep 100000; done; virtid-agent seal && ls -A /etc/virtid' >"$box/sealing"
    cat "$box/sealing"
    grep -q '^sealed: ' "$box/sealing" && power_off "$1"
}

# ---- the original: what a workload in it sees, and what the service keeps of it ----

asks_all_the_time() {
    guest_run "$box" origin 30 '(n=0; while :; do n=$((n + 1)); a=a$((n % 60 + 1))
        virtid-agent token -a $a 2>&1 >/dev/null | sed s/^/$a:/ >>/tmp/refused
        echo $n >/tmp/asked; usleep 1500000; done) </dev/null >/dev/null 2>&1 & echo $! >/tmp/asker'
}

asked() {
    guest_run "$box" origin 30 'cat /tmp/asked' | grep -oE '^[0-9]+' | tail -n 1
}

epoch() {
    inside virtid --output json info origin | grep -oE '"epoch": *[0-9]+' | grep -oE '[0-9]+' | head -n 1
}

boot_id() {
    guest_run "$1" origin 30 'cat /proc/sys/kernel/random/boot_id' | grep -oE '[0-9a-f]{8}-[0-9a-f-]{27}'
}

remember_origin() {
    asked >"$box/asked" && epoch >"$box/epoch" && [ -s "$box/asked" ]
}

asked_more() {
    [ "$(asked)" -gt $(($(cat "$box/asked") + 2)) ]
}

# It has asked on since, none was refused, and it is who it was, in the lease it had.
origin_notices_nothing() {
    host_wait 30 asked_more || { asked; return 1; }
    guest_run "$box" origin 30 'cat /tmp/refused' >"$box/refused" || return 1
    [ -s "$box/refused" ] && { cat "$box/refused"; return 1; }
    [ "$(epoch)" = "$(cat "$box/epoch")" ] && has_token origin 20 >"$box/origin.token" &&
        has_identity origin host+secret+vtpm 0 && [ "$(told origin 'v["epoch"]')" = "$(cat "$box/epoch")" ] &&
        no_alarm origin && remember_origin
}

# different COLUMN NAME...: the original and these have one each.
different() {
    local names column=$1 n

    shift
    names=$(printf "'%s'," origin "$@")
    n=$(sql "SELECT count(DISTINCT $column) FROM vms WHERE name IN (${names%,})")
    echo "$n"
    [ "$n" = $(($# + 1)) ]
}

# ---- a copied vTPM, and the way to one of its own ----

why_names_the_original() {
    inside virtid why copied >"$box/why"
    cat "$box/why"
    grep -q "the vTPM of $(virsh domuuid origin) (origin)" "$box/why"
}

# The commands of the report, word by word.  A tiny guest hears no power button.
does_what_why_says() {
    local command

    inside virtid why copied | grep -oE '`[^`]+`' | tr -d '`' >"$box/commands"
    cat "$box/commands"
    [ "$(wc -l <"$box/commands")" = 4 ] || return 1
    while read -r command; do
        # shellcheck disable=SC2086 # its words
        inside $command </dev/null || return 1
        [[ $command != *shutdown* ]] || power_off copied || return 1
    done <"$box/commands"
}

tpm_is_no_copy() {
    ! cmp "$swtpm/$(uuid_of copied)/tpm2/tpm2-00.permall" "$swtpm/$(virsh domuuid origin)/tpm2/tpm2-00.permall"
}

# ---- a memory that was copied ----

# What libvirt and its swtpm write while the original goes on; then the files that do not change any more.
copy_memory() {
    virsh snapshot-create-as origin warm --live --no-metadata \
        --memspec file=/var/lib/libvirt/images/origin.mem,snapshot=external \
        --diskspec vda,snapshot=external,file=/var/lib/libvirt/images/origin.live &&
        mkdir -p "$stranger/var-lib/libvirt/images" &&
        cp --sparse=always "$images/origin.raw" "$images/origin.mem" "$stranger/var-lib/libvirt/images/" &&
        cp -a "$swtpm/$(virsh domuuid origin)" "$stranger/var-lib/libvirt/swtpm/"
}

# A host without any program or file of ours.
stranger_up() {
    host_up "$stranger" stranger && host_link "$box" 10.79.0.1 "$stranger" 10.79.0.2 &&
        echo '10.79.0.1 id.system.test' >>"$stranger/etc/hosts" && host_libvirtd "$stranger" &&
        guest_boot_files "$stranger" "$cache"
}

# copy COMMAND [SECONDS]: in the guest that runs there.
copy() {
    guest_run "$stranger" origin "${2:-60}" "$1"
}

# Its boot is the one that the original goes on in.
resumes_there() {
    host_enter "$stranger" virsh -q restore /var/lib/libvirt/images/origin.mem && copy 'kill $(cat /tmp/asker)' &&
        boot_id "$stranger" | diff "$box/boot" -
}

# gets_nothing AUDIENCE: nobody ever asked for that one.
gets_nothing() {
    copy "virtid-agent token -a $1" >"$box/copy.said"
    cat "$box/copy.said"
    grep -q 'no token' "$box/copy.said" && ! grep -q eyJ "$box/copy.said"
}

# relayed AUDIENCE EPOCH: the same with a hostile host, that brings its proofs to the real service.
relayed() {
    local thief status

    host_enter "$stranger" /usr/bin/python3 - '/var/lib/libvirt/qemu/channel/target/*/org.virtid.0' \
        "$(virsh domuuid origin)" "$2" "$issuer" id.system.test:8445 9 \
        <"$SYSTEM_TOP/tests/system/rig/hostile_host.py" >"$box/thief" 2>&1 &
    thief=$!
    gets_nothing "$1"
    status=$?
    wait "$thief"
    cat "$box/thief"
    [ $status = 0 ] && grep -qE 'ready=[1-9].* sign=[1-9].* answered=[1-9][0-9]{3}' "$box/thief" &&
        grep -q 'The proof was refused' "$box/copy.said" "$(guest_console "$stranger" origin)"
}

# Of every VM what only a start, a step or an operator changes; of all but the original also its newest proof.
stored() {
    sql "SELECT hex(uuid), hex(row), hex(mac), row_ver, name, pending, hex(ek_sha256), hex(cur), hex(next), hex(ek),
        st, hol, ep, nx, out, placed FROM vms ORDER BY uuid;
        SELECT hex(uuid), hex(mark_nonce), mark_reset, mark_restart, mark_clock, mark_ms FROM vms WHERE name <> 'origin'"
}

newest_record() {
    sql 'SELECT max(id) FROM audit'
}

others_are_off() {
    [ "$(sql "SELECT count(*) FROM vms WHERE name <> 'origin' AND st <> 0")" = 0 ]
}

nothing_was_stored() {
    stored | diff "$box/stored" - && sql "SELECT what, problem, why, seen FROM audit WHERE id > $(cat "$box/record")
        AND NOT (what = 'token' AND problem = '' AND why GLOB 'a[0-9]*')" >"$box/records" && ! grep . "$box/records"
}

stack_up
must audiences 60
must inside sh -c 'seq -f "virtid audience add copy%g --all" 3 | sh >/dev/null'
must define origin marker channel
must define template marker channel
must provisioned origin
must provisioned template
must virsh start origin
must virsh start template
must all_have_tokens origin template
must power_off origin
ok a_template_is_sealed_and_shut_down seals template
ok one_that_has_proved_itself_is_cloned clone origin unsealed
must copy_files origin copied
must virsh start origin
must virsh define /dev/stdin <"$box/copied.xml"
ok the_template_is_cloned clone_all template "${sealed[@]}"
must all_have_tokens origin
must asks_all_the_time
must host_wait 60 remember_origin
boot_id "$box" >"$box/boot" # the kernel makes it when it is asked for
for name in unsealed copied "${sealed[@]}"; do
    must provisioned "$name" 30
    must virsh start "$name"
done
ok all_of_them_have_a_token all_have_tokens unsealed copied "${sealed[@]}"

ok a_clone_has_an_identity_of_its_own has_identity unsealed host+secret+vtpm 0
ok it_says_whose_secret_it_found log_has slots-foreign unsealed
ok that_secret_is_gone has_own_slots_alone unsealed
ok three_clones_of_a_template_have_one_each all_are_themselves "${sealed[@]}"
ok they_found_nobodys_secret not log_has slots-foreign "${sealed[@]}"
ok of_all_that_no_alarm_is_left no_alarm unsealed template "${sealed[@]}"
ok their_secrets_are_their_own different cur template unsealed copied "${sealed[@]}"
ok so_are_their_tpms different ek_sha256 template unsealed "${sealed[@]}"
ok a_copied_vtpm_is_no_factor has_identity copied host+secret 0
ok why_names_the_original why_names_the_original
ok what_why_says_works does_what_why_says
ok it_has_a_token_then all_have_tokens copied
ok with_all_factors_and_as_the_next_generation has_identity copied host+secret+vtpm 1
ok its_tpm_is_its_own tpm_is_no_copy
ok and_known_as_such different ek_sha256 template unsealed copied "${sealed[@]}"
ok nothing_of_that_is_left_in_why no_alarm copied
ok the_original_notices_nothing origin_notices_nothing

for name in unsealed copied "${sealed[@]}"; do
    must virsh destroy "$name"
done
must host_wait 60 others_are_off
must stranger_up
ok its_memory_is_copied_while_it_runs copy_memory
must origin_notices_nothing
stored >"$box/stored"
newest_record >"$box/record"
ok the_copy_is_resumed_where_nobody_knows_us resumes_there
ok it_gets_no_token gets_nothing copy1
ok nor_by_a_host_that_relays_its_proof relayed copy2 "$(cat "$box/epoch")"
ok nor_as_if_it_had_a_lease_of_its_own relayed copy3 $(($(cat "$box/epoch") + 1))
ok not_a_byte_of_it_is_stored nothing_was_stored
ok its_original_notices_nothing_of_that origin_notices_nothing
done_testing
