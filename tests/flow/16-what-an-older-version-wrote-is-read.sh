#!/bin/bash
# Today's programs begin where older ones ended: database, signer's keys, a host's identity and journal with a running
# VM, and a simulated VM, as tests/data/upgrade has them. In a network of its own, because these name their ports,
# and on the day on which they were written (tests/lib/moved_clock.c).
set -u
srcdir=${srcdir:-.}
clock_lib=${builddir_abs:-$PWD}/tests/lib/.libs/moved_clock.so
[ -e "$clock_lib" ] || { echo "1..0 # SKIP no shared libraries in this build"; exit 0; }
if [ "${1:-}" != inner ]; then
    alone=(unshare --net)
    [ "$(id -u)" = 0 ] || alone=(unshare --user --map-root-user --net)
    "${alone[@]}" true 2>/dev/null || { echo "1..0 # SKIP no network namespaces for this user"; exit 0; }
    exec "${alone[@]}" bash "$0" inner
fi
ip link set lo up
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"

uuid=6ba7b810-9dad-11d1-80b4-00c04fd430c8
base=$(mktemp -d "${TMPDIR:-/tmp}/virtid-upgrade.XXXXXX")
SERVICE=$base
host=$base/host
host_pid=''

end_all() {
    [ -n "$host_pid" ] && kill "$host_pid" 2>/dev/null && timeout 30 tail --pid="$host_pid" -f /dev/null
    service_down
}
trap end_all EXIT
trap 'exit 1' INT TERM

# ten_minutes_later: than when the files were written.
ten_minutes_later() { printf '%020d\n' $(($(cat "$base/seconds") + 600 - $(date +%s))) >"$base/clock"; }
PRELOAD=(env "LD_PRELOAD=$clock_lib" "VIRTID_MOVED_CLOCK=$base/clock" ASAN_OPTIONS=verify_asan_link_order=0)
AS+=("${PRELOAD[@]}")

until_true() {
    local until=$((SECONDS + 120))
    while ((SECONDS < until)); do
        "$@" >/dev/null 2>&1 && return 0
        read -rt 0.2 <>"$base/quiet"
    done
    "$@"
}
ask() { curl -sS --max-time 20 --unix-socket "$host/run/hostd.sock" "http://localhost/v1/$1"; }
answers() { ask "$1" | grep -F -- "$2"; }
verify() { "${AS[@]}" "$BUILD/virtid-verify" --issuer https://127.0.0.1:18443 --ca "$base/etc/ca.pem" --audience shop --json "$1"; }
field() { python3 -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
of_vm() { verify "$base/$1" | field "$2"; }
vm_is() { python3 -c 'import json,sys
v = json.load(open(sys.argv[1]))["vms"][0]
print(v)
sys.exit(str(v[sys.argv[2]]) != sys.argv[3])' "$base/vms.json" "$1" "$2"; }
new_token() { "${AS[@]}" "$BUILD/virtid-tpmsim" vm --state "$base/vm" -a shop -w 60 </dev/null >"$base/again" 2>"$base/vm.log"; }
not_said() { ! grep -E "$1" "$base/vm.log"; }
schema() { sqlite3 "$base/state/tokend.db" 'PRAGMA user_version'; }
nothing_put_aside() { [ -z "$(find "$host/state" -name '*.bad')" ]; }

cp -r "$srcdir/tests/data/upgrade/files/." "$base/"
chmod -R u+w,go= "$base"
chmod 711 "$base"
mkdir -p "$base/run" "$host/run"
mkfifo "$base/quiet"
cp "$srcdir/tests/data/upgrade/node.xml" "$base/"
sed "s|@BASE@|$base|g" "$srcdir/tests/data/upgrade/hostd.conf.in" >"$base/hostd.conf"
grep -rl @BASE@ "$base" | while read -r file; do sed -i "s|@BASE@|$base|g" "$file"; done
# The folder of the programs is another; tokend gives its signer no environment.
printf '#!/bin/sh\nexec %s "$@"\n' "$(printf '"%s" ' "${PRELOAD[@]}" "$BUILD/virtid-signer")" >"$base/signer"
chmod 755 "$base/signer"
sed -i "s|@SIGNER@|$base/signer|" "$base/etc/tokend.conf"
ADMIN=$base/run/admin.sock
ten_minutes_later
before=$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["vms"][0]["epoch"])' "$base/vms.json")

x=$(openssl pkey -in "$base/keys/token.pem" -pubout -outform DER | tail -c 64 | head -c 32 | base64 | tr '+/' '-_' | tr -d '=\n')
check these_files_are_of_the_first_schema test "$(schema)" = 1
if service_start; then ok the_service_opens_them; else not_ok the_service_opens_them; fi
check it_brings_the_schema_up_to_date test "$(schema)" -gt 1
published() { curl -sS --max-time 20 --cacert "$base/etc/ca.pem" https://127.0.0.1:18443/.well-known/jwks.json; }
check its_key_is_published_still sh -c 'printf %s "$1" | grep -F -- "\"x\":\"$2\""' - "$(published)" "$x"
check with_the_one_that_comes_next test "$(published | grep -o '"kid"' | wc -l)" = 2
check the_key_has_moved_into_the_ring test ! -e "$base/keys/token.pem" -a -s "$base/keys/token-keys"
check and_signs_now sh -c '"$@" key list | grep "token *active .* retiring"' - "${AS[@]}" "$BUILD/virtid" --service "$ADMIN"
check its_cas_have_moved_too test ! -e "$base/keys/host-ca.pem" -a ! -e "$base/keys/bundle" -a -s "$base/keys/ca-keys"
check an_operator_sees_the_old_vms sh -c '"$@" list | grep web1' - "${AS[@]}" "$BUILD/virtid" --service "$ADMIN"
"${AS[@]}" "$BUILD/virtid-hostd" --config "$base/hostd.conf" >/dev/null 2>"$base/host.log" &
host_pid=$!
check the_host_is_still_joined until_true answers status '"service":"up"'
check it_can_be_in_a_pool sh -c '"$@" | grep -q "comes in"' - "${AS[@]}" "$BUILD/virtid" --service "$ADMIN" pool set rack1 "$(sed -n 's/^name = //p' "$base/hostd.conf")"
check its_vms_are_of_it_then sh -c '"$@" | grep -q "pool: *rack1"' - "${AS[@]}" "$BUILD/virtid" --service "$ADMIN" info web1
check its_journal_is_read until_true answers vms "$uuid"
check nothing_of_it_is_put_aside nothing_put_aside
check its_running_vm_keeps_its_lease_and_epoch until_true answers "vms/$uuid" "\"step\":\"lease\",\"state\":\"ok\",\"seen\":\"epoch $before"
check a_vm_of_then_gets_a_token new_token
check it_is_the_vm_that_it_was test "$(of_vm again uuid)" = "$(basename "$(dirname "$base"/vm/1/*/tpm2-00.permall)")"
check with_all_three_factors test "$(of_vm again factors)" = "['host', 'vtpm', 'secret']"
check its_ratchets_have_begun test "$(of_vm again claims | grep -o "'fresh': True" | wc -l)" = 2
check without_enrolling_again not_said 'event=(joined|account)'
plan
