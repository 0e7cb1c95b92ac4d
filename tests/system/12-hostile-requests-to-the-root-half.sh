#!/bin/bash
# Whatever the host daemon's user asks of virtid-privd: what is not in the table, not below
# the configured folders, not ours or there already is refused, and nothing changes.
set -u
# shellcheck source=tests/lib/privd.sh
. "$(dirname "$0")/../lib/privd.sh"
box_up

# ---- things to be lured into ---------------------------------------------------
prepare() {
    local i=$box/images other=00000000-1111-4222-8333-444444444444

    truncate -s 8M "$i/good.img" "$box/elsewhere/secret.img" "$i/linked.img" "$i/foreign.img" \
        "$i/readonly.img"
    ln "$i/linked.img" "$i/linked-again.img"
    ln -s "$box/elsewhere/secret.img" "$i/symlink.img"
    ln -s "$box/elsewhere" "$i/folder-link"
    mkdir "$i/folder"
    mkfifo "$i/fifo.img"
    mknod "$i/zero.img" c 1 5
    chown games "$i/foreign.img"
    chmod 444 "$i/readonly.img"
    ln -s /proc/self/fd/0 "$i/proc.img"
    qemu-img create -q -f qcow2 -F raw -b "$box/elsewhere/secret.img" "$i/outside.qcow2" 8M
    for name in json:'{"driver":"file"}' nbd://127.0.0.1:1/x ../elsewhere/secret.img folder-link/secret.img \
        symlink.img linked.img fifo.img foreign.img /proc/self/fd/0 good.img:x self.qcow2; do
        lie=$((${lie:-0} + 1))
        backed "$i/lie$lie.qcow2" "$name"
    done
    backed "$i/self.qcow2" self.qcow2 qcow2
    mkdir -p "$box/swtpm/$other/tpm2" "$box/swtpm/${other/444444444444/555555555555}"
    echo precious >"$box/swtpm/$other/tpm2/tpm2-00.permall"
    ln -s "$box/elsewhere" "$box/swtpm/${other/444444444444/666666666666}"
    head -c 64 /dev/zero >"$box/zeros"
    head -c 300000 /dev/zero >"$box/large"
    mkfifo "$box/fifo"
    chmod 644 "$box/zeros" "$box/large" "$box/fifo"
    printf '\2\1\0\12\0\0\0\0\0\100' >"$box/state"
    head -c 54 /dev/urandom >>"$box/state"
    chmod 644 "$box/state"
    existing=$other
    linked_state=${other/444444444444/666666666666}
}

# backed FILE NAME [FORMAT]: a qcow2 whose header names this backing file
backed() {
    python3 - "$1" "$2" "${3:-raw}" <<'END'
import struct, sys
path, name, fmt = sys.argv[1], sys.argv[2].encode(), sys.argv[3].encode()
ext = struct.pack('>II', 0xe2792aca, len(fmt)) + fmt + b'\0' * (-len(fmt) % 8) + struct.pack('>II', 0, 0)
at = 104 + len(ext)
head = b'QFI\xfb' + struct.pack('>IQIIQIIQQIIQQQQII', 3, at, len(name), 16, 8 << 20, 0, 1,
                                65536 * 2, 65536, 1, 0, 0, 0, 0, 0, 4, 104)
open(path, 'wb').write((head + ext + name).ljust(65536 * 4, b'\0'))
END
}

# A program that listens where a domain's QEMU would, and is none.
listen_falsely() {
    python3 - "$box/chan/org.virtid.0" "$box/chan/org.qemu.guest_agent.0" <<'END' &
import socket, sys, time
held = []
for path in sys.argv[1:]:
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.listen(8)
    held.append(s)
open(sys.argv[1] + '.ready', 'w').close()
time.sleep(600)
END
    others="$others $!"
    until [ -e "$box/chan/org.virtid.0.ready" ]; do pause; done
    echo $$ >"$box/run/other.pid"
    echo "$!" >"$box/run/fake.pid"
    echo "$!" >"$box/run/writable.pid"
    chmod 666 "$box/run/writable.pid"
    echo 1 >"$box/run/init.pid"
    echo nonsense >"$box/run/nonsense.pid"
    ln -s fake.pid "$box/run/link.pid"
    ln -s org.virtid.0 "$box/chan/link"
    mkdir "$box/chan/d"
    ln -s "$box/chan" "$box/chan/d/up"
    truncate -s 0 "$box/chan/d/org.virtid.0"
}

asked=0
wrong=''
# refused ARGUMENTS: the answer is a refusal, or none to what is no request
refused() {
    local answer

    asked=$((asked + 1))
    answer=$(ask "$@" 2>&1)
    case $answer in
    error* | skipped*) ;;
    *"the other side closed") [ "$1" = raw ] || wrong="$wrong
$* -> $answer" ;;
    *) wrong="$wrong
$* -> $answer" ;;
    esac
}

image() { # image PATH [FORMAT]
    refused inject $uuid "${2:-raw}" "$1" 2000 FILE:644:/etc/x:y
}

nothing_wrong() {
    echo "$wrong"
    [ -z "$wrong" ] && [ $asked -ge 40 ]
}

ask_everything() {
    local i=$box/images

    for path in /etc/shadow /etc/passwd /dev/null /dev/kvm /proc/self/mem /proc/1/environ "$i" "$i/" / \
        "$i/../elsewhere/secret.img" "$box/elsewhere/secret.img" "${i}x/good.img" "$i/absent.img" \
        "$i/symlink.img" "$i/folder-link/secret.img" "$i/linked.img" "$i/linked-again.img" \
        "$i/folder" "$i/fifo.img" "$i/zero.img" "$i/foreign.img" "$i/readonly.img" "$i/proc.img" \
        "$i/./../images/../elsewhere/secret.img" "$i/good.img"; do
        image "$path"
    done
    for path in "$i"/lie*.qcow2 "$i/outside.qcow2" "$i/self.qcow2" "$i/good.img"; do
        image "$path" qcow2
    done
    UNSEALED=1 image "$i/good.img"
    refused inject $uuid raw "$i/good.img" 0 FILE:644:/etc/x:y
    refused inject $uuid raw "$i/good.img" 4000000000 FILE:644:/etc/x:y
    refused place $uuid "$box/zeros"
    refused place $uuid "$box/large"
    refused place $uuid "$box/fifo"
    refused place $uuid /dev/zero
    refused place $uuid "$box/chan"
    refused place "$linked_state" "$box/zeros"
    for name in fake other writable init nonsense link absent ..; do
        refused channel $uuid "$name" "$box/chan/org.virtid.0"
    done
    refused channel $uuid fake "$box/chan/org.qemu.guest_agent.0"
    refused channel $uuid fake "$box/chan/link"
    refused channel $uuid fake "$box/chan/d/up/org.virtid.0"
    refused channel $uuid fake "$box/chan/d/org.virtid.0"
    refused channel $uuid fake "$box/socket/priv.sock"
    for name in fake other writable init nonsense link absent ..; do
        refused stop $uuid "$name"
    done
    refused raw 00
    refused raw 000107
    refused raw 000100
    refused raw "$(head -c 4000 /dev/zero | od -An -v -tx1 | tr -d ' \n')"
    refused raw "000103001000000000000000000000000000000000000a2e2e2f2e2e2f6574630001ff"
}

existing_state_stays() {
    [ "$(ask place "$existing" "$box/state")" = exists ] &&
        [ "$(ask place "$linked_state" "$box/state" | cut -d' ' -f1)" = error ] &&
        [ "$(cat "$box/swtpm/$existing/tpm2/tpm2-00.permall")" = precious ]
}

new_state_is_placed_once() {
    local at=$box/swtpm/$uuid

    [ "$(ask vtpm $uuid)" = absent ] && [ "$(ask place $uuid "$box/state")" = placed ] &&
        [ "$(ask vtpm $uuid)" = present ] && [ "$(ask place $uuid "$box/state")" = exists ] &&
        cmp "$at/tpm2/tpm2-00.permall" "$box/state" &&
        [ "$(stat -c '%a %U' "$at" "$at/tpm2" "$at/tpm2/tpm2-00.permall" | tr '\n' ' ')" = \
            "711 root 700 tss 600 tss " ] && ! compgen -G "$box/swtpm/*virtid-new*"
}

saved_state_is_seen() {
    [ "$(ask save $uuid web1)" = none ] && touch "$box/save/web1.save" &&
        [ "$(ask save $uuid web1)" = managed ]
}

# The names change while privd looks: what it opened is checked, not the name.
swapped_paths_never_win() {
    local i=$box/images before after

    before=$(sha256sum "$box/elsewhere/secret.img")
    python3 - "$i/swap.img" "$i/good.img" "$box/elsewhere/secret.img" <<'END' &
import os, sys
name, good, bad = sys.argv[1:]
while True:
    for target in (good, bad):
        try:
            os.symlink(target, name + '.n') if target == bad else os.link(target, name + '.n')
            os.rename(name + '.n', name)
        except OSError:
            pass
END
    local swapper=$!
    for _ in $(seq 40); do image "$i/swap.img"; done
    kill $swapper
    wait $swapper 2>/dev/null
    rm -f "$i/swap.img" "$i/swap.img.n"
    after=$(sha256sum "$box/elsewhere/secret.img")
    echo "$wrong"
    [ "$before" = "$after" ] && [ -z "$wrong" ]
}

other_users_are_turned_away() {
    [ "$(setpriv --reuid=news --regid=news --clear-groups env ASAN_OPTIONS=detect_leaks=0 \
        "$box/ask_privd" "$box/socket/priv.sock" vtpm $uuid 2>&1 | grep -c .)" -ge 1 ] &&
        ! setpriv --reuid=news --regid=news --clear-groups env ASAN_OPTIONS=detect_leaks=0 \
            "$box/ask_privd" "$box/socket/priv.sock" vtpm $uuid >/dev/null 2>&1 &&
        [ "$(ASAN_OPTIONS=detect_leaks=0 "$box/ask_privd" "$box/socket/priv.sock" connect)" = closed ]
}

as_hostd() {
    setpriv --reuid=games --regid=games --clear-groups "$@" 2>/dev/null
}

hostd_can_do_nothing_itself() {
    chmod 600 "$box/images/good.img"
    chmod 750 "$box/chan"
    ! as_hostd dd if="$box/images/good.img" of=/dev/null bs=1 count=1 &&
        ! as_hostd ls "$box/swtpm/$uuid/tpm2" && ! as_hostd touch "$box/swtpm/x" &&
        ! as_hostd python3 -c "import socket; socket.socket(socket.AF_UNIX).connect('$box/chan/org.virtid.0')"
}

# As QEMU does: it listens, libvirt's pid file names it, its command line has the UUID.
channel_is_connected_for_its_own_domain_only() {
    mkdir "$box/chan/good"
    python3 -c 'import socket, sys, time
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(8)
open(sys.argv[1] + ".ready", "w").close(); time.sleep(600)' \
        "$box/chan/good/org.virtid.0" -uuid $uuid &
    local qemu=$!

    others="$others $qemu"
    until [ -e "$box/chan/good/org.virtid.0.ready" ]; do pause; done
    echo $qemu >"$box/run/good.pid"
    [ "$(ask channel $uuid good "$box/chan/good/org.virtid.0")" = "connected $qemu fds=2" ] &&
        ask channel "$existing" good "$box/chan/good/org.virtid.0" | grep -q '^error.*channel-foreign' &&
        ask channel $uuid fake "$box/chan/good/org.virtid.0" | grep -q '^error.*channel-foreign'
}

prepare
listen_falsely
ok privd_starts privd_up
before=$(state)
ask_everything
ok forty_hostile_requests_are_refused nothing_wrong
after=$(state)
ok state_is_bit_identical_after_hostile_requests [ "$before" = "$after" ]
ok no_guest_was_stopped [ ! -e "$box/virsh.told" ]
ok existing_vtpm_state_is_never_touched existing_state_stays
ok new_vtpm_state_is_placed_once_and_whole new_state_is_placed_once
ok managed_save_is_seen saved_state_is_seen
ok channel_is_connected_for_its_own_domain_only channel_is_connected_for_its_own_domain_only
ok paths_swapped_in_the_middle_never_win swapped_paths_never_win
ok other_users_are_turned_away other_users_are_turned_away
ok the_host_daemons_user_can_do_none_of_it_itself hostd_can_do_nothing_itself
done_testing
