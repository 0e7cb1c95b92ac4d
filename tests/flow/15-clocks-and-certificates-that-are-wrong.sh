#!/bin/bash
# The clock of a host, of the service or of a guest is an hour off, or the service is another one: what
# is wrong and what repairs it is said, what need not break does not, and a clock that is set right is
# all that it takes.  The times of day are moved (tests/lib/moved_clock.c); libvirt is its test driver.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"

uuid=6ba7b810-9dad-11d1-80b4-00c04fd430c8
clock_lib=$BUILD/tests/lib/.libs/moved_clock.so
[ -e "$clock_lib" ] || { echo "1..0 # SKIP no shared libraries in this build"; exit 0; }
base=$(mktemp -d "${TMPDIR:-/tmp}/virtid-clocks.XXXXXX")
chmod 711 "$base"
host=$base/host
host_pid='' sim_pid=''

end_all() {
    [ -n "$sim_pid" ] && kill "$sim_pid" 2>/dev/null && wait "$sim_pid" 2>/dev/null
    stop_host
    service_down
    rm -rf "$base"
}
trap end_all EXIT

# clock WHOSE SECONDS: theirs is that much ahead. In place: it is mapped.
clock() { printf '%020d\n' "$2" 1<>"$base/clock.$1"; }
clock service 0
clock host 0
clock guest 0

# A sanitizer's library wants to be first, and need not.
preload() { echo env "LD_PRELOAD=$clock_lib" "VIRTID_MOVED_CLOCK=$base/clock.$1" ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0; }
PLAIN=("${AS[@]}")
read -ra of_service < <(preload service)
read -ra of_host < <(preload host)
AS+=("${of_service[@]}")
HOST=("${PLAIN[@]}" "${of_host[@]}")
# Neither tokend's signer nor a simulated VM's agent inherits the environment.
wrapper() { printf '#!/bin/sh\nexec %s "%s" "$@"\n' "$(preload "$1")" "$2" >"$3" && chmod 755 "$3"; }
wrapper service "$BUILD/virtid-signer" "$base/signer"
wrapper guest "$BUILD/virtid-agent" "$base/agent"

until_true() {
    local until=$((SECONDS + 90))
    while ((SECONDS < until)); do
        "$@" >/dev/null 2>&1 && return 0
        read -rt 0.2 <>"$base/quiet"
    done
    "$@"
}
says() { grep -qE -- "$2" "$1"; }
times() { grep -cE -- "$2" "$1"; }
more_often() { [ "$(times "$1" "$2")" -gt "$3" ]; }
ask() { curl -sS --max-time 20 --unix-socket "$host/run/hostd.sock" "http://localhost/v1/$1"; }
answers() { ask "$1" | grep -qE -- "$2"; }
epoch() { ask "vms/$uuid" | grep -o '"epoch":[0-9]*' | cut -d: -f2; }
has_lease() { answers "vms/$uuid" "\"step\":\"lease\",\"state\":\"ok\",\"seen\":\"epoch $1"; }
host_check() { "${HOST[@]}" "$BUILD/virtid" --service "$ADMIN" --host "$host/run/hostd.sock" host check; }
check_says() { host_check 2>/dev/null | grep -E "$1"; }
# The way of this VM, as `virtid why` shows it on its host.
why_says() { "${HOST[@]}" "$BUILD/virtid" --service "$ADMIN" --host "$host/run/hostd.sock" why "$uuid" 2>/dev/null | grep -qE -- "$1"; }
join_host() {
    admin host add host-a --auto >"$base/code" 2>&1
    grep -o 'virtid1,[^ ]*' "$base/code" | "${HOST[@]}" "$BUILD/virtid-hostd" join --config "$base/hostd.conf" --wait 60
}
start_host() {
    "${HOST[@]}" "$BUILD/virtid-hostd" --config "$base/hostd.conf" >/dev/null 2>>"$base/host.log" &
    host_pid=$!
    until_true ask status
}
stop_host() {
    [ -n "$host_pid" ] && kill "$host_pid" 2>/dev/null && timeout 30 tail --pid="$host_pid" -f /dev/null
    host_pid=''
}
verify() { "${PLAIN[@]}" "$BUILD/virtid-verify" --issuer "$ISSUER" --ca "$CA" --audience "$1" "$2"; }
token() { "${PLAIN[@]}" "$BUILD/virtid-agent" token -a "$1" --wait "${2:-60}" --config "$base/vm/1/agent.conf" >"$base/$1"; }
token_refused() { ! token "$1" 1 2>"$base/refusal"; }
has_token() { token "$1" && verify "$1" "$base/$1"; }

service_up --signer "$base/signer" || { not_ok the_service_starts; plan; exit 1; }
trap end_all EXIT
mkfifo "$base/quiet" "$base/first"
mkdir -p "$host/run" "$host/state"
printf '[host]\nname = host-a\nlibvirt_uri = test://%s\nstate_dir = %s\nrun_dir = %s\npriv_socket = %s\n' \
    "$base/node.xml" "$host/state" "$host/run" "$base/none" >"$base/hostd.conf"
cat >"$base/node.xml" <<X
<node><domain type='test'><name>web1</name><uuid>$uuid</uuid>
  <metadata><virtid:identity xmlns:virtid='urn:virtid:domain:1'/></metadata>
  <memory>8192</memory><os><type>hvm</type></os>
  <devices><channel type='unix'><target type='virtio' name='org.virtid.0'/></channel></devices>
</domain></node>
X
for name in a b c d e f; do admin audience add $name --all >/dev/null; done
check a_host_joins join_host
start_host
check its_running_vm_has_a_lease until_true has_lease ''
first=$(epoch)
check clocks_that_agree_pass until_true check_says "clock agrees with the token service's .*PASS"
admin host add simhost --auto >"$base/simcode" 2>&1
grep -o 'virtid1,[^ ]*' "$base/simcode" |
    "${PLAIN[@]}" "$BUILD/virtid-tpmsim" vm --state "$base/vm" --agent "$base/agent" --host simhost -a a --keep-running \
        >"$base/first" 2>"$base/vm.log" &
sim_pid=$!
read -rt 60 word <"$base/first"
echo "$word" >"$base/a"
check a_vm_has_a_token verify a "$base/a"

# ---- the guest's ----
clock guest 3600
check a_guest_an_hour_ahead_gets_tokens has_token b
clock guest -3600
check a_guest_an_hour_behind_gets_tokens has_token c
clock guest 0

# ---- the host's, while it runs ----
clock host -3600
check a_host_an_hour_behind_says_so until_true says "$base/host.log" 'event=clock state=off .* 3[56][0-9][0-9] s behind .*set the wrong one'
check an_hour_behind_host_check_fails until_true check_says "clock agrees with the token service's .*FAIL .*3[56][0-9][0-9]\.[0-9] s behind the service's"
check why_names_it_and_the_repair why_says 'this host.s clock is 3[56][0-9][0-9] s behind'
check its_lease_goes_on until_true has_lease "$first"
check the_service_is_up_for_it answers status '"service":"up"'

# ---- the host's, when it has to begin: the service's certificate is of today ----
stop_host
start_host
check it_says_why_it_does_not_believe_the_service until_true says "$base/host.log" \
    'event=service-down .*certificate is not yet valid.*repair: compare the clocks'
check so_does_why until_true why_says 'service +.*not yet valid'
check and_host_check check_says 'if the token service answers .*FAIL .*not yet valid'
check which_says_what_to_compare sh -c '"$@" 2>/dev/null | grep -A1 "token service answers" | grep -q "repair: compare the clocks"' - \
    "${HOST[@]}" "$BUILD/virtid" --host "$host/run/hostd.sock" host check
clock host 0
check with_the_clock_right_it_goes_on_by_itself until_true answers status '"service":"up"'
check the_vm_has_its_lease_again until_true has_lease ''
check the_clocks_agree_again until_true check_says "clock agrees with the token service's .*PASS"
clock host $((8 * 24 * 3600))
stop_host
start_host
check a_week_ahead_it_is_the_service_that_seems_old until_true says "$base/host.log" \
    'event=service-down .*certificate has expired.*repair: compare the clocks'
check its_own_certificate_is_not_blamed test "$(times "$base/host.log" event=certificates-refused)" = 0
clock host 0
check that_goes_by_itself_too until_true answers status '"service":"up"'
check nobody_had_to_join_again test "$(times "$base/host.log" event=certificates-renewed)" = 0

# ---- the service's ----
n=$(times "$base/host.log" 'event=clock state=off')
clock service -3600
check a_service_an_hour_behind_grants_nothing until_true token_refused d
check it_is_an_alarm_that_says_what_to_do until_true says "$SERVICE/tokend.log" \
    'event=alarm the clock is 3[56][0-9][0-9] s behind the newest audit record: nothing is granted; set the clock'
check the_guest_is_told_that_it_is_the_clock grep -qi clock "$base/refusal"
check the_host_sees_it until_true more_often "$base/host.log" 'event=clock state=off' "$n"
check the_lease_of_who_runs_goes_on until_true has_lease ''
clock service 0
check set_right_it_says_so until_true says "$SERVICE/tokend.log" event=clock-in-order
check and_grants_again until_true has_token d
clock service 3600
check an_hour_ahead_a_stranger_does_not_take_its_tokens until_true sh -c \
    '"$1" token -a e --wait 5 --config "$2" >"$3" && ! "$4" --issuer "$5" --ca "$6" --audience e "$3" >"$3.refusal" 2>&1' - \
    "$BUILD/virtid-agent" "$base/vm/1/agent.conf" "$base/e" "$BUILD/virtid-verify" "$ISSUER" "$CA"
check and_says_whose_clock grep -qi 'clock' "$base/e.refusal"
check the_hosts_say_that_they_are_behind until_true check_says "clock agrees with the token service's .*FAIL .*behind the service's"
check the_lease_goes_on_all_the_same until_true has_lease ''
clock service 0
check back_again_its_records_are_of_the_future until_true token_refused f
check the_alarm_names_the_option until_true says "$SERVICE/tokend.log" 'once with --accept-clock'
service_stop
check it_is_told_that_the_clock_is_right sh -c '"$@" >/dev/null 2>>"$0" & echo $! >"$0.pid"' "$SERVICE/tokend.log" \
    "${AS[@]}" "$BUILD/virtid-tokend" --config "$SERVICE/etc/tokend.conf" --accept-clock
SERVICE_PID=$(cat "$SERVICE/tokend.log.pid")
check then_it_grants_again until_true has_token f

# ---- another service at the same address ----
kill "$sim_pid"
wait "$sim_pid" 2>/dev/null
sim_pid=''
service_stop
rm -rf "${SERVICE:?}/etc" "$SERVICE/state" "$SERVICE/keys"
"${AS[@]}" "$BUILD/virtid" init --trust-domain example.test --issuer "$ISSUER" --hosts "$HOSTS" --guests "$GUESTS" \
    --listen 127.0.0.1 --config-dir "$SERVICE/etc" --state-dir "$SERVICE/state" --key-dir "$SERVICE/keys" \
    --run-dir "$SERVICE/run" --signer "$base/signer" --test >"$SERVICE/init.log" 2>&1
service_start
check a_service_with_another_ca_is_not_believed until_true says "$base/host.log" \
    'event=service-down .*is by a CA that is not trusted here.*repair: .*virtid host add NAME'
check why_says_what_to_do answers "vms/$uuid" 'if the token service was set up anew'
check so_does_host_check check_says 'if the token service answers .*FAIL'
check it_joins_the_new_one join_host
check and_goes_on_by_itself until_true answers status '"service":"up"'
check its_running_vm_has_a_lease_there until_true has_lease ''
plan
