#!/bin/bash
# A backup made while the service writes, sealed for a passphrase or a key, restored where nothing is left; openssl and
# tar read it too.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"

pass='correct horse battery'
virtid() { "${AS[@]}" "$BUILD/virtid" "$@"; }
backup() { virtid backup --config "$SERVICE/etc/tokend.conf" --tokend "$BUILD/virtid-tokend" "$@"; }
restore() { virtid restore --config "$SERVICE/etc/tokend.conf" "$@"; }
with() { echo "$1" | "${@:2}"; }
vm() { "$BUILD/virtid-tpmsim" vm "$@" -a shop --state "$SERVICE/vm"; }
claim() { "$BUILD/virtid-verify" --issuer "$ISSUER" --ca "$CA" --audience shop --json "$1" | python3 -c 'import json,sys; print(eval(sys.argv[1], {"t": json.load(sys.stdin)}))' "$2"; }
listed() { tar -tf "$SERVICE/plain" | grep -qx "$1"; }
nothing_plain() { ! grep -aqE 'SQLite format|PRIVATE KEY|trust_domain' "$1"; }
# What the service is, out of the way.
lose() {
    mkdir -p "$SERVICE/lost" && chown --reference="$SERVICE/state" "$SERVICE/lost"
    mv "$SERVICE/state" "$SERVICE/keys" "$SERVICE/etc" "$SERVICE/lost/"
}
left_nothing() { ! compgen -G "$SERVICE/keys*" && ! compgen -G "$SERVICE/state/*" && ! compgen -G "$SERVICE/etc*"; }

service_up || { not_ok the_service_starts; plan; exit 1; }
cp "$CA" "$SERVICE/ca-of-before.pem"
admin audience add shop --all >/dev/null
admin host add simhost --auto >"$SERVICE/code" 2>>"$SERVICE/add.log"
vm --host simhost --name shop-vm <"$SERVICE/code" >"$SERVICE/first" 2>"$SERVICE/first.log"
uuid=$(claim "$SERVICE/first" "t['uuid']")

check a_short_passphrase_is_refused says 'at least 12' with short backup "$SERVICE/b1"
check and_leaves_no_file test ! -e "$SERVICE/b1"
while :; do
    admin audience add busy --claim name && admin audience remove busy
done >/dev/null 2>&1 &
writer=$!
check it_is_made_while_the_service_writes says 'database, keys and configuration' with "$pass" backup "$SERVICE/b1"
kill "$writer"
wait "$writer" 2>/dev/null
check the_service_went_on says "$uuid" admin --output json list
check nobody_else_reads_it test "$(stat -c %a "$SERVICE/b1")" = 600
check nothing_in_it_is_plain nothing_plain "$SERVICE/b1"
check no_copy_is_left test ! -e "$SERVICE/state/backup.db"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=keeper -days 2 -keyout "$SERVICE/keeper.key" -out "$SERVICE/keeper.pem" 2>/dev/null
chmod 644 "$SERVICE/keeper.key"
backup --recipient "$SERVICE/keeper.pem" - >"$SERVICE/b2"
check one_for_a_key_goes_to_standard_output test -s "$SERVICE/b2"
check of_which_nothing_is_plain_either nothing_plain "$SERVICE/b2"
check what_is_no_certificate_is_refused says 'certificate' backup --recipient "$SERVICE/keeper.key" "$SERVICE/b3"

openssl cms -decrypt -inform DER -in "$SERVICE/b1" -pwri_password "$pass" -out "$SERVICE/plain"
check openssl_and_tar_read_it listed tokend.db
check with_the_keys listed keys/token-keys
openssl cms -decrypt -inform DER -in "$SERVICE/b2" -inkey "$SERVICE/keeper.key" -recip "$SERVICE/keeper.pem" -out "$SERVICE/plain"
check and_that_for_a_key listed tokend.conf

check nothing_is_written_over says 'tokend.db is there' with "$pass" restore "$SERVICE/b1"
service_stop
mkdir "$SERVICE/aside" && mv "$SERVICE/state/tokend.db"* "$SERVICE/aside/"
check no_keys_either says 'is not empty' with "$pass" restore "$SERVICE/b1"
mv "$SERVICE/aside/"* "$SERVICE/state/"
lose
check another_passphrase_opens_nothing says 'passphrase' with 'wrong horse battery' restore "$SERVICE/b1"
check and_leaves_nothing left_nothing
python3 -c 'import sys; b = bytearray(open(sys.argv[1], "rb").read()); b[len(b) // 2] ^= 1; open(sys.argv[2], "wb").write(b)' "$SERVICE/b1" "$SERVICE/changed"
check a_changed_one_is_not_taken says 'changed' with "$pass" restore "$SERVICE/changed"
check and_leaves_nothing_of_it left_nothing
head -c 20000 "$SERVICE/b1" >"$SERVICE/part"
check nor_a_part_of_one says 'part of one' with "$pass" restore "$SERVICE/part"
mkdir -m 700 "$SERVICE/etc.restore" && echo secret >"$SERVICE/etc.restore/left"
check it_is_restored says 'Next:' with "$pass" restore "$SERVICE/b1"
check no_part_of_it_is_left_elsewhere test ! -e "$SERVICE/etc.restore"
check its_folders_are_closed test "$(stat -c %a "$SERVICE/state" "$SERVICE/keys" | sort -u)" = 700
service_start --recovery
check it_is_the_same_domain cmp "$SERVICE/ca-of-before.pem" "$CA"
check its_audit_is_whole says 'records 1 to ' admin audit verify
vm >"$SERVICE/second" 2>"$SERVICE/second.log"
check the_vm_is_who_it_was test "$(claim "$SERVICE/second" "t['uuid']")" = "$uuid"
check in_a_later_epoch test "$(claim "$SERVICE/second" "t['claims']['virtid']['epoch']")" -gt "$(claim "$SERVICE/first" "t['claims']['virtid']['epoch']")"
check the_restoration_is_ended says . admin recovery finish --yes

service_stop
rm -rf "$SERVICE/lost"
lose
check that_for_a_key_is_restored_too says 'Next:' restore --key "$SERVICE/keeper.key" "$SERVICE/b2"
service_start --recovery
check and_serves says "$uuid" admin --output json list
plan
