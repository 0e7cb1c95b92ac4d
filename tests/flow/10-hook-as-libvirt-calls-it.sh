#!/bin/bash
# The hook as libvirt runs it: argv, XML on stdin, exit status; with the real daemon, with
# none, with one that is frozen, with one that never answers.  Prints TAP.
# The daemon watches libvirt's in-memory test driver, which knows none of these domains.
set -u

src=${srcdir:-.}
build=${builddir_abs:-$PWD}
hook=$build/virtid-hook
hostd=$build/virtid-hostd
dir=$(mktemp -d) || exit 99
managed=6ba7b810-9dad-11d1-80b4-00c04fd430c8
n=0
hostd_pid=

export VIRTID_HOOK_RUN_DIR=$dir/run

end() {
    [ -z "$hostd_pid" ] || kill -KILL "$hostd_pid" 2>/dev/null
    rm -rf "$dir"
}
trap end EXIT

# ok NAME CONDITION...: one line of TAP.
ok() {
    local name=$1

    shift
    n=$((n + 1))
    if "$@"; then
        echo "ok $n $name"
    else
        echo "not ok $n $name"
    fi
}

# call NAME OP SUBOP FILE: exit status in $status, time in $ms, output in files.
call() {
    local begin

    begin=$(date +%s%N)
    "$hook" "$1" "$2" "$3" - <"$4" >"$dir/out" 2>"$dir/err"
    status=$?
    ms=$((($(date +%s%N) - begin) / 1000000))
}

# quick_call LIMIT NAME OP...: as call; of three times the quickest counts, because the machine may
# be busy with something else.
quick_call() {
    local limit=$1 _

    shift
    for _ in 1 2 3; do
        call "$@"
        [ "$ms" -lt "$limit" ] && break
    done
}

hostd_start() {
    # One empty line on the pipe is "ready"; its end without one is the daemon's end.
    exec 8< <("$hostd" --config "$dir/hostd.conf" --ready-fd 7 7>&1 >/dev/null 2>>"$dir/log" &
        echo "$!" >"$dir/pid"; wait)
    read -r -t 60 _ <&8 || { echo "Bail out! virtid-hostd does not start"; cat "$dir/log" >&2; exit 99; }
    hostd_pid=$(<"$dir/pid")
}

# hostd_mode MODE: the daemon begins again with that mode for all.
hostd_mode() {
    hostd_kill
    sed -i -e '/^mode = /d' -e "s/^name = .*/&\nmode = $1/" "$dir/hostd.conf"
    hostd_start
}

hostd_kill() {
    kill -KILL "$hostd_pid"
    hostd_pid=
    exec 8<&-
}

silent_and() {
    [ "$status" -eq "$1" ] && [ ! -s "$dir/out" ]
}

strict() {
    mkdir -p "$dir/run/strict"
    : >"$dir/run/strict/$managed"
}

loose() {
    rm -rf "$dir/run/strict"
}

mkdir "$dir/run" "$dir/state"
cat >"$dir/hostd.conf" <<END
[host]
name = host-a
libvirt_uri = test:///default
state_dir = $dir/state
run_dir = $dir/run
priv_socket = $dir/none
[users]
host = $(id -un)
END
xml=$src/tests/data/domain/managed.xml
plain=$src/tests/data/domain/unmanaged.xml
: >"$dir/empty"
{
    head -n 4 "$xml"
    head -c 10000000 /dev/zero | tr '\0' ' '
    tail -n +5 "$xml"
} >"$dir/big.xml"

# ---- no daemon ----
call web1 prepare begin "$xml"
ok "without_a_daemon_a_loose_start_goes_on" silent_and 0
ok "without_a_daemon_the_start_is_noted" grep -q '^prepare [0-9]' "$dir/run/missed/$managed"
strict
call web1 prepare begin "$xml"
ok "without_a_daemon_a_strict_start_is_refused" silent_and 1
ok "the_refusal_is_one_line_that_names_the_vm" \
    test "$(grep -c '^virtid: vm web1 may not start: ' "$dir/err")/$(wc -l <"$dir/err")" = 1/1
call web1 reconnect begin "$xml"
ok "reconnect_succeeds_without_a_daemon_even_for_a_strict_vm" silent_and 0
call plain prepare begin "$plain"
ok "without_a_daemon_an_unmanaged_start_goes_on" silent_and 0
loose
rm -rf "$dir/run/missed"
mkdir "$dir/elsewhere"
ln -s "$dir/elsewhere" "$dir/run/missed"
call web1 prepare begin "$xml"
ok "no_link_of_the_daemons_leads_a_mark_elsewhere" test -z "$(ls -A "$dir/elsewhere")"
rm "$dir/run/missed"
mkdir "$dir/run/missed"
: >"$dir/elsewhere/file"
ln "$dir/elsewhere/file" "$dir/run/missed/$managed"
call web1 prepare begin "$xml"
ok "a_file_with_another_name_gets_no_mark" test ! -s "$dir/elsewhere/file"
rm -rf "$dir/run/missed"
if [ "$(id -u)" = 0 ]; then
    chown nobody "$dir/run"
    call web1 prepare begin "$xml"
    ok "the_marks_are_the_daemons_to_take_away" test "$(stat -c %U "$dir/run/missed")" = nobody
    chown root "$dir/run"
    rm -rf "$dir/run/missed"
else
    ok "the_marks_are_the_daemons_to_take_away # SKIP needs root" true
fi

# ---- the daemon runs ----
hostd_start
call plain prepare begin "$plain"
ok "an_unmanaged_start_goes_on" silent_and 0
ok "an_unmanaged_domain_is_not_journalled" test ! -e "$dir/state/vms/11111111-2222-3333-4444-555555555555.json"
call web1 prepare begin "$xml"
ok "a_host_without_service_lets_a_loose_vm_start" silent_and 0
ok "a_managed_start_is_journalled" grep -q '"id":"starting"' "$dir/state/vms/$managed.json"
call web1 prepare begin "$xml"
ok "a_second_prepare_is_answered_too" silent_and 0
for op in started start release stopped attach; do
    call web1 $op begin "$xml"
    [ "$status" = 0 ] || break
done
ok "operations_out_of_order_succeed" silent_and 0
call web1 frobnicate begin "$xml"
ok "an_unknown_operation_succeeds" silent_and 0
"$hook" </dev/null >"$dir/out" 2>/dev/null && "$hook" web1 </dev/null >>"$dir/out" 2>/dev/null
status=$?
ok "missing_arguments_succeed" silent_and 0
call web1 prepare begin "$dir/empty"
ok "no_xml_at_all_succeeds" silent_and 0
call web1 prepare begin "$dir/big.xml"
ok "ten_megabytes_of_xml_are_drained" silent_and 0
call web1 reconnect begin "$xml"
ok "reconnect_succeeds" silent_and 0
hostd_mode strict
ok "the_daemon_keeps_a_file_for_a_strict_vm" test -f "$dir/state/strict/$managed"
call web1 prepare begin "$xml"
ok "a_strict_vm_does_not_start_without_a_lease" silent_and 1
ok "the_daemons_reason_is_shown" grep -q 'has not joined' "$dir/err"
call web1 prepare begin "$dir/big.xml"
ok "a_strict_vm_is_known_by_its_uuid_when_the_xml_is_too_long" silent_and 1
call web1 migrate begin "$xml"
ok "a_strict_vm_does_not_come_in_by_migration" silent_and 1
hostd_mode loose
ok "and_takes_it_away_when_it_is_loose" test ! -e "$dir/state/strict/$managed"
call web1 migrate begin "$xml"
ok "a_loose_vm_comes_in_by_migration" silent_and 0
call "$(printf 'we\nb')" prepare begin "$plain"
ok "a_name_with_a_line_end_does_no_harm" silent_and 0

# ---- the daemon is frozen ----
kill -STOP "$hostd_pid"
rm -rf "$dir/run/missed"
quick_call 900 web1 prepare begin "$xml"
ok "a_frozen_daemon_lets_a_loose_vm_start" silent_and 0
ok "within_half_a_second_and_its_own_start" test "$ms" -lt 900
ok "a_frozen_daemons_start_is_noted" grep -q '^prepare ' "$dir/run/missed/$managed"
quick_call 300 web1 stopped end "$xml"
ok "nobody_waits_for_stopped" test "$status/$((ms < 300))" = 0/1
call web1 reconnect begin "$xml"
ok "reconnect_succeeds_with_a_frozen_daemon" silent_and 0
strict
call web1 prepare begin "$xml"
ok "a_frozen_daemon_lets_no_strict_vm_start" silent_and 1
loose
kill -CONT "$hostd_pid"
call plain prepare begin "$plain"
ok "a_thawed_daemon_answers" silent_and 0

# ---- killed, and back ----
hostd_kill
call web1 prepare begin "$xml"
ok "a_killed_daemon_lets_a_loose_vm_start" silent_and 0
hostd_start
call web1 prepare begin "$xml"
ok "a_daemon_that_is_back_answers" silent_and 0
hostd_kill

# ---- one that takes the question and says nothing, or nonsense, or waits for ever ----
cat >"$dir/fake.py" <<'END'
import os, socket, sys, time
path, mode = sys.argv[1:]
if os.path.exists(path):
    os.unlink(path)
s = socket.socket(socket.AF_UNIX)
s.bind(path)
s.listen(4)
print(flush=True)
while True:
    c, _ = s.accept()
    c.recv(100)
    try:
        if mode == "nonsense":
            c.sendall(b"perhaps\n")
        elif mode == "busy":
            for _ in range(6):
                c.sendall(b"wait 2\n")
                time.sleep(0.2)
            c.sendall(b"no it took its time\n")
        elif mode == "dribble":
            for _ in range(100):
                c.sendall(b"w")
                time.sleep(0.1)
        else:
            time.sleep(2)
    except OSError:
        pass
    c.close()
END
fake() {
    exec 9< <(exec python3 "$dir/fake.py" "$dir/run/hook.sock" "$1")
    hostd_pid=$!
    read -r -t 60 _ <&9
}
fake_end() {
    kill -KILL "$hostd_pid"
    hostd_pid=
    exec 9<&-
}
fake hang
quick_call 900 web1 prepare begin "$xml"
ok "a_hanging_daemon_lets_a_loose_vm_start_in_time" test "$status/$((ms < 900))" = 0/1
strict
call web1 prepare begin "$xml"
ok "a_hanging_daemon_lets_no_strict_vm_start" silent_and 1
loose
fake_end
fake nonsense
call web1 prepare begin "$xml"
ok "nonsense_is_no_answer" silent_and 0
fake_end
fake dribble
quick_call 900 web1 prepare begin "$xml"
ok "single_bytes_are_no_answer" test "$status/$((ms < 900))" = 0/1
fake_end
fake busy
call web1 prepare begin "$xml"
ok "wait_is_waited_for" test "$status/$((ms > 1100))" = 1/1
ok "and_the_last_word_counts" grep -q 'it took its time' "$dir/err"
fake_end
ok "nothing_is_left_on_stdout" test ! -s "$dir/out"
echo "1..$n"
