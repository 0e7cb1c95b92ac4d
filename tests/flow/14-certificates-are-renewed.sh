#!/bin/bash
# Two days in less than a minute: the programs' time of day is moved (tests/lib/moved_clock.c) over
# the half and the end of every certificate's life.  libvirt is its in-memory test driver.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"

uuid=6ba7b810-9dad-11d1-80b4-00c04fd430c8
hour=3600
clock_lib=$BUILD/tests/lib/.libs/moved_clock.so
[ -e "$clock_lib" ] || { echo "1..0 # SKIP no shared libraries in this build"; exit 0; }
base=$(mktemp -d "${TMPDIR:-/tmp}/virtid-clock.XXXXXX")
chmod 711 "$base"
clock=$base/clock
host=$base/host
sim_pid='' host_pid='' keeper_pid=''

end_all() {
    [ -n "$sim_pid" ] && kill "$sim_pid" 2>/dev/null && wait "$sim_pid" 2>/dev/null
    [ -n "$keeper_pid" ] && kill "$keeper_pid" 2>/dev/null
    [ -n "$host_pid" ] && kill "$host_pid" 2>/dev/null && timeout 30 tail --pid="$host_pid" -f /dev/null
    service_down
    rm -rf "$base"
}
trap end_all EXIT

# later SECONDS: it is that much later than at the beginning, for all of them. In place: it is mapped.
later() { printf '%020d\n' "$1" 1<>"$clock"; }
later 0

# A sanitizer's library wants to be first, and need not.
PRELOAD=(env "LD_PRELOAD=$clock_lib" "VIRTID_MOVED_CLOCK=$clock" ASAN_OPTIONS=verify_asan_link_order=0)
AS+=("${PRELOAD[@]}")
# tokend gives its signer no environment.
{
    echo '#!/bin/sh'
    printf 'exec'
    printf ' "%s"' "${PRELOAD[@]}" "$BUILD/virtid-signer"
    echo ' "$@"'
} >"$base/signer"
chmod 755 "$base/signer"

# until_true COMMAND...: again and again, at most three minutes.
until_true() {
    local until=$((SECONDS + 180))
    while ((SECONDS < until)); do
        "$@" >/dev/null 2>&1 && return 0
        read -rt 0.1 <>"$base/quiet"
    done
    "$@"
}
says() { grep -qE -- "$2" "$1"; }
# How often the log said so; more_often LOG WORDS N: it says so once more.
times() { grep -cE -- "$2" "$1"; }
more_often() { [ "$(times "$1" "$2")" -gt "$3" ]; }

join_host() {
    grep -o 'virtid1,[^ ]*' "$base/code" | "${AS[@]}" "$BUILD/virtid-hostd" join --config "$base/hostd.conf" --wait 60
}
invite() { admin host add "$1" --auto >"$base/code" 2>&1; }
ask() { curl -sS --max-time 20 --unix-socket "$host/run/hostd.sock" "http://localhost/v1/$1"; }
answers() { ask "$1" | grep -qF -- "$2"; }
epoch() { ask "vms/$uuid" | grep -o '"epoch":[0-9]*' | cut -d: -f2; }
has_lease() { answers "vms/$uuid" "\"step\":\"lease\",\"state\":\"ok\",\"seen\":\"epoch $1"; }
# What somebody gets who has a copy of that host's state: the status of an answer.
as_copy() {
    "${AS[@]}" curl -sS --max-time 20 --cacert "$CA" --cert "$1/tls.pem" -o "$base/answer" -w '%{http_code}\n' \
        "https://$HOSTS/v1/host/bundle"
}
copy_gets() { [ "$(as_copy "$1")" = "$2" ]; }
verify() { "${AS[@]}" "$BUILD/virtid-verify" --issuer "$ISSUER" --ca "$CA" "$@"; }
subject() { verify --audience "$1" --json "$2" | python3 -c 'import json,sys; print(json.load(sys.stdin)["uuid"])'; }
sim=("${AS[@]}" "$BUILD/virtid-tpmsim" vm --state "$base/vm")

service_up --signer "$base/signer" || { not_ok the_service_starts; plan; exit 1; }
trap end_all EXIT
mkfifo "$base/quiet" "$base/token"
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

# ---- before ----
invite host-a
check a_host_joins join_host
"${AS[@]}" "$BUILD/virtid-hostd" --config "$base/hostd.conf" >/dev/null 2>"$base/host.log" &
host_pid=$!
check its_daemon_finds_the_service until_true answers status '"service":"up"'
check its_running_vm_has_a_lease until_true has_lease ''
first=$(epoch)
cp -r "$host/state" "$base/copy"
for name in shop late last; do admin audience add $name --all >/dev/null; done
invite simhost
grep -o 'virtid1,[^ ]*' "$base/code" >"$base/simcode"
"${sim[@]}" --host simhost -a shop --keep-running <"$base/simcode" >"$base/token" 2>"$base/vm.log" &
sim_pid=$!
read -rt 60 token <"$base/token"
echo "$token" >"$base/shop"
check a_simulated_vm_has_a_token verify --audience shop "$base/shop"
# A verifier keeps its connection over all of this.
cat >"$base/keeper.py" <<'P'
import http.client, select, ssl, sys
host, port = sys.argv[1].rsplit(":", 1)
def connect():
    c = http.client.HTTPSConnection(host, int(port), timeout=60, context=ssl.create_default_context(cafile=sys.argv[2]))
    c.connect()
    return c, c.sock.getpeercert()["serialNumber"]
def ask(c):
    c.request("GET", "/healthz")
    answer = c.getresponse()
    answer.read()
    return answer.status
kept, serial = connect()
print(ask(kept), serial, flush=True)
while True: # now and then, because idle ones are closed
    status = ask(kept)
    if select.select([sys.stdin], [], [], 10)[0]:
        if not sys.stdin.readline():
            break
        print(ask(kept), connect()[1], flush=True)
P
coproc KEEPER { exec "${AS[@]}" python3 "$base/keeper.py" "$PUBLIC" "$CA" 2>"$base/keeper.log"; }
keeper_pid=$KEEPER_PID
read -rt 60 kept_status first_serial <&"${KEEPER[0]}"
check a_verifier_is_connected test "$kept_status" = 200

# ---- thirteen hours later: past half of a host's certificate ----
later $((13 * hour))
check a_host_past_half_of_its_certificate_renews_it until_true says "$base/host.log" event=certificates-renewed
check the_service_has_it_in_its_log until_true says "$SERVICE/tokend.log" 'event=host-renewed host=host-a'
check the_one_before_retires_when_the_new_one_is_used until_true copy_gets "$base/copy" 403
check that_locks_nothing_so_soon test "$(times "$SERVICE/tokend.log" event=alarm)" = 0
check the_host_goes_on_with_the_new_one until_true copy_gets "$host/state" 200
check its_lease_is_the_same_one until_true has_lease "$first"
check the_service_was_never_away_for_it test "$(times "$base/host.log" event=service-down)" = 0

# ---- the copy of its keys, used later than any request that was under way ----
later $((13 * hour + 1200))
check a_retired_certificate_is_refused copy_gets "$base/copy" 403
check and_that_is_an_alarm says "$SERVICE/tokend.log" 'event=alarm host=host-a a retired certificate was used'
check the_host_is_locked copy_gets "$host/state" 403
check its_daemon_says_what_repairs_it until_true says "$base/host.log" \
    'event=certificates-refused host=host-a .*"virtid host add host-a".*"virtid-hostd join"'
check so_does_why until_true answers "vms/$uuid" 'virtid host add NAME, then virtid-hostd join'
n=$(times "$base/host.log" event=joined)
invite host-a
check a_locked_host_joins_again join_host
check its_running_daemon_takes_that_up until_true more_often "$base/host.log" 'event=joined host=host-a' "$n"
check the_service_is_there_again until_true answers status '"service":"up"'
check its_lease_is_still_the_same_one until_true has_lease "$first"
check the_copy_stays_useless copy_gets "$base/copy" 403

# ---- by now the other host has noticed the time as well ----
check a_simulated_host_renews_too until_true says "$base/vm.log" event=certificates-renewed
check a_running_vm_gets_tokens_with_its_hosts_new_keys sh -c '"$@" >"$0"' "$base/late" \
    "$BUILD/virtid-agent" token -a late --wait 60 --config "$base/vm/1/agent.conf"
vm=$(subject late "$base/late")
check a_stranger_verifies_them test -n "$vm"

# ---- a day later at one go: the hosts slept past the end of theirs ----
later $((39 * hour))
check a_host_that_slept_too_long_says_so until_true says "$base/host.log" \
    'event=certificates-refused host=host-a the certificate of host host-a ended .*"virtid host add host-a"'
check the_service_renewed_its_own until_true says "$SERVICE/tokend.log" 'event=server-certificate renewed'
echo >&"${KEEPER[1]}"
read -rt 60 kept_status serial <&"${KEEPER[0]}" || sed 's/^/# /' "$base/keeper.log"
check who_is_connected_notices_nothing test "$kept_status" = 200
check who_comes_now_sees_the_new_one test "$serial" != "$first_serial"
n=$(times "$base/host.log" event=joined)
check it_is_invited_again_by_its_name invite host-a
check it_joins_again join_host
check its_daemon_takes_that_up_too until_true more_often "$base/host.log" 'event=joined host=host-a' "$n"
check and_has_its_lease until_true has_lease "$first"

check the_simulated_host_says_so_too until_true says "$base/vm.log" 'event=service-down .*"virtid host add simhost"'
kill "$sim_pid"; wait "$sim_pid" 2>/dev/null
sim_pid=''
"${sim[@]}" -a last </dev/null >/dev/null 2>"$base/ended.log"
check started_again_it_is_refused test $? -eq 3
check and_told_why says "$base/ended.log" 'the certificate of host simhost ended .*"virtid host add simhost"'
invite simhost
grep -o 'virtid1,[^ ]*' "$base/code" >"$base/simcode"
check with_another_code_it_is_the_same_vm sh -c '"$@" <"$0" >"$0.token"' "$base/simcode" \
    "${sim[@]}" --host simhost -a last
check of_the_same_uuid test "$(subject last "$base/simcode.token")" = "$vm"
plan
