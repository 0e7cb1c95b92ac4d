#!/bin/bash
# virtid-tpmsim run: a fresh TPM for a command, as any user, several at once, nothing left.
set -u
build=${builddir_abs:-$PWD}
sim=$build/virtid-tpmsim
n=0 bad=0

# check TEXT CONDITION...
check() {
    local text=$1
    shift
    n=$((n + 1))
    if "$@" >>"$dir/out" 2>&1; then echo "ok $n - $text"; else
        bad=$((bad + 1))
        echo "not ok $n - $text"
        tail -5 "$dir/out" | sed 's/^/# /'
    fi
}
status_is() {
    local want=$1
    shift
    "$@" >>"$dir/out" 2>&1 </dev/null
    [ $? -eq "$want" ]
}
# Until CONDITION holds, at most a minute.
eventually() {
    local _
    for _ in {1..600}; do
        "$@" 2>/dev/null && return 0
        read -rt 0.1 <>"$dir/quiet"
    done
    return 1
}
is_gone() { [ ! -e "$1" ]; }
# Also when nobody has waited for it yet: an orphan's new parent may be slow, or none that does.
is_dead() { ! kill -0 "$1" 2>/dev/null || grep -qs '^State:.*Z' "/proc/$1/status"; }
folder_of() { local s=${1#swtpm:path=}; dirname "$(dirname "$s")"; }

dir=$(mktemp -d "${TMPDIR:-/tmp}/virtid-test.XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
mkfifo "$dir/quiet"

# shellcheck disable=SC2016 # expanded by the command's own shell
{
    check the_environment_names_the_tpm_and_its_ca "$sim" run -- sh -c \
        '[ "$VIRTID_TCTI" = "$TPM2TOOLS_TCTI" ] && [ -S "${VIRTID_TCTI#swtpm:path=}" ] && grep -q CERTIFICATE "$VIRTID_TPMSIM_CA"'
    check the_exit_status_is_the_commands status_is 7 "$sim" run -- sh -c 'exit 7'
    check a_command_ended_by_a_signal_gives_128_and_its_number status_is 137 "$sim" run -- sh -c 'kill -9 $$'
    check a_command_that_is_not_there_gives_127 status_is 127 "$sim" run -- /nonexistent/command
    check a_missing_swtpm_gives_125 status_is 125 "$sim" run --swtpm /nonexistent/swtpm -- true
    check no_command_is_wrong_usage status_is 2 "$sim" run
    check an_unknown_subcommand_is_wrong_usage status_is 2 "$sim" frobnicate
    check help_and_version_are_told sh -c '"$1" --help | grep -q "run " && "$1" run --help | grep -q keep && "$1" --version | grep -q virtid' - "$sim"

    # Gone when the command ends, also what it left running.
    "$sim" run -- sh -c 'echo "$VIRTID_TCTI" >"$1"; sleep 1000 & echo $! >"$2"' - "$dir/tcti" "$dir/pid" </dev/null
    check the_folder_is_gone_afterwards is_gone "$(folder_of "$(cat "$dir/tcti")")"
    check what_the_command_left_running_is_ended is_dead "$(cat "$dir/pid")"

    # Gone when we are killed outright.
    mkfifo "$dir/ready"
    "$sim" run -- sh -c 'echo "$VIRTID_TCTI $$" >"$1"; exec sleep 1000' - "$dir/ready" </dev/null &
    killed=$!
    read -r tcti command <"$dir/ready"
    kill -9 $killed
    wait $killed 2>/dev/null
    check the_folder_is_gone_after_kill_nine eventually is_gone "$(folder_of "$tcti")"
    check the_command_is_gone_after_kill_nine eventually is_dead "$command"

    # A signal for us is a signal for the command.
    "$sim" run -- sh -c 'trap "exit 9" TERM; echo up >"$1"; while :; do read -r _ <"$1"; done' - "$dir/ready" </dev/null 2>/dev/null &
    told=$!
    read -r _ <"$dir/ready"
    kill -TERM $told
    wait $told
    check signals_are_passed_on [ $? -eq 9 ]

    # Several at once, each with a TPM of its own.
    for i in 1 2 3 4; do
        "$sim" run -- sh -c 'echo "$VIRTID_TCTI $VIRTID_TPMSIM_UUID"' >"$dir/many.$i" </dev/null &
    done
    wait
    check several_at_once_have_each_their_own [ "$(cat "$dir"/many.? | sort -u | wc -l)" -eq 4 ]

    "$sim" run --keep "$dir/kept" -- true </dev/null
    check keep_leaves_the_state_and_the_ca sh -c '[ -s "$1"/*/tpm2-00.permall ] && [ -s "$1/ek-ca.pem" ]' - "$dir/kept"
    check keep_takes_no_folder_with_something_in_it status_is 125 "$sim" run --keep "$dir/kept" -- true
    if command -v tpm2_nvread >/dev/null; then
        check tpm2_tools_find_the_tpm "$sim" run -- sh -c '[ "$(tpm2_nvread 0x01400a01 2>/dev/null | wc -c)" -eq 32 ] && tpm2_getekcertificate -o /dev/null'
    else
        n=$((n + 1))
        echo "ok $n - tpm2_tools_find_the_tpm # SKIP tpm2-tools are not installed"
    fi
}
echo "1..$n"
[ $bad -eq 0 ]
