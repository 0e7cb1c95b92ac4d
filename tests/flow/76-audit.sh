#!/bin/bash
# Operators read the audit: filtered, followed, kept elsewhere; and a copy shows what was changed since.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"

n_lines() { [ "$(wc -l <"$1")" -eq "$2" ] || { cat "$1"; return 1; }; }
# Until a file says so, at most half a minute.
until_has() {
    local _
    for _ in {1..150}; do
        grep -q "$1" "$2" && return 0
        read -rt 0.2 <>"$SERVICE/quiet"
    done
    cat "$2"
    return 1
}
# in_database STATEMENT: while the service is stopped.
in_database() { python3 -c 'import sqlite3,sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()' "$SERVICE/state/tokend.db" "$1"; }

service_up || { not_ok the_service_starts; plan; exit 1; }
mkfifo "$SERVICE/quiet"
mkdir "$SERVICE/aside"
admin audience add shop --all >/dev/null
admin host add simhost --auto >"$SERVICE/code" 2>>"$SERVICE/add.log"
"$BUILD/virtid-tpmsim" vm --host simhost --name shop-vm -a shop --state "$SERVICE/a" <"$SERVICE/code" >"$SERVICE/first" 2>"$SERVICE/first.log"
uuid=$(admin --output json list | grep -o '"uuid":"[^"]*"' | cut -d'"' -f4)

check what_was_decided_is_listed says ' token ' admin audit
check oldest_first says ' joined ' sed -n 1,9p <(admin audit --all)
check of_one_domain_alone says "$uuid" admin audit shop-vm
refused_is() { ! grep -v "$uuid" "$SERVICE/said"; }
check and_nothing_else refused_is
check of_one_kind_alone says ' token ' admin audit --what token
check by_one_alone says ' host simhost ' admin audit --who 'host simhost'
check a_kind_that_never_was_is_nothing status_is 0 admin audit --what never-was
check and_says_nothing test -z "$(admin audit --what never-was)"
check so_many_of_the_newest n_lines <(admin audit --last 2) 2
check more_than_a_page_is_refused status_is 2 admin audit --last 65
check a_domain_that_is_unknown_is_named says 'nobody' admin audit nobody

"${AS[@]}" "$BUILD/virtid" --service "$ADMIN" --output json audit --all --follow >"$SERVICE/copy" 2>&1 &
follower=$!
until_has '"what":"token"' "$SERVICE/copy"
admin lock shop-vm --reason 'ticket 76: laptop lost' >/dev/null
check a_follower_sees_what_comes until_has '"what":"locked".*ticket 76' "$SERVICE/copy"
for i in {1..70}; do echo "shop$i"; done | xargs -I{} "${AS[@]}" "$BUILD/virtid" --service "$ADMIN" audience add {} >/dev/null
check also_more_than_a_page until_has '"seen":"shop70"' "$SERVICE/copy"
# The signer's key, which whoever writes the database has not.
check its_head_is_signed until_has '"what":"head"' "$SERVICE/copy"
kill "$follower"
wait "$follower" 2>/dev/null

# done_so STATE CHANGED COMMAND...: what a script is told of one that was done to one VM.
done_so() {
    admin --output json "${@:3}" | python3 -c '
import json, sys
(vm,) = json.load(sys.stdin)
assert (vm["name"], vm["state"], str(vm.get("changed"))) == ("shop-vm", *sys.argv[1:]), vm' "$1" "$2"
}
check scripts_are_told_of_a_lock done_so locked False lock shop-vm
check and_of_its_end done_so ok True unlock shop-vm
check and_of_the_end_of_an_identity done_so retired None retire --yes shop-vm
check the_services_records_follow_from_one_another says 'service: records 1 to ' admin audit verify
check and_those_of_the_copy says 'The service has what the copy has' admin audit verify "$SERVICE/copy"
# As docs/WATCHING.md goes on with a copy.
admin audience add later >/dev/null
last=$(tail -n 1 "$SERVICE/copy" | grep -o '"id":[0-9]*' | cut -d: -f2)
admin --output json audit --after "${last:-0}" >>"$SERVICE/copy"
check a_copy_goes_on_where_it_ends says 'The service has what the copy has' admin audit verify "$SERVICE/copy"
check with_what_came_meanwhile until_has '"seen":"later"' "$SERVICE/copy"
tail -n 20 "$SERVICE/copy" >"$SERVICE/tail"
check a_copy_may_begin_later says 'tail: records ' admin audit verify "$SERVICE/tail"
sed '3s/"who":"[^"]*"/"who":"admin 77"/' "$SERVICE/copy" >"$SERVICE/changed"
check a_changed_word_in_a_copy_is_found says 'record 3 does not follow' admin audit verify "$SERVICE/changed"
sed 3d "$SERVICE/copy" >"$SERVICE/short"
check a_missing_record_is_found says 'record 4 does not follow from record 2' admin audit verify "$SERVICE/short"
sed '3s/^.*$/{"id":3}/' "$SERVICE/copy" >"$SERVICE/no-record"
check what_is_no_record_is_named_by_its_line says 'no-record, line 3' admin audit verify "$SERVICE/no-record"
check an_empty_copy_is_none says 'has no record' admin audit verify /dev/null

# Elsewhere: the copy and the signer's public key, and no service to ask.
admin audit key >"$SERVICE/audit.key"
alone() { "${AS[@]}" "$BUILD/virtid" --service /nowhere audit verify --key "$SERVICE/audit.key" "$@"; }
rewrite() { python3 "$srcdir/tests/lib/rewrite_audit.py" "$@"; }
check a_copy_is_verified_where_there_is_no_service says 'signed up to record' alone "$SERVICE/copy"
rewrite "$SERVICE/copy" 3 >"$SERVICE/anew"
check one_whose_hashes_were_made_anew_is_found says 'is not the one that was signed' alone "$SERVICE/anew"
sed 's/"expected":"....\(.*\)"what":"head"/"expected":"AAAA\1"what":"head"/; s/\("what":"head".*"expected":"\)..../\1AAAA/' "$SERVICE/copy" >"$SERVICE/false"
check a_head_that_was_made_up_is_found says 'did not sign\|does not follow' alone "$SERVICE/false"
grep -v '"what":"head"' "$SERVICE/copy" | head -n 5 >"$SERVICE/unsigned"
check without_a_head_a_copy_proves_nothing says 'no signed head' alone "$SERVICE/unsigned"
grep '"what":"head"' "$SERVICE/copy" | head -n 1 >"$SERVICE/head"
check a_head_without_its_record_proves_nothing_either says 'no signed head' alone "$SERVICE/head"
printf 'A%.0s' {1..87} >"$SERVICE/no.key"
check what_is_no_key_is_refused status_is 1 "${AS[@]}" "$BUILD/virtid" audit verify --key "$SERVICE/no.key" "$SERVICE/copy"
check a_key_without_a_copy_is_wrong_usage status_is 2 alone

# The log, kept elsewhere, is a copy too.
check the_log_is_a_copy_too says 'signed up to record' alone "$SERVICE/tokend.log"
sed '/event=audit {"id":20,/d' "$SERVICE/tokend.log" >"$SERVICE/cut"
check in_which_a_missing_line_is_found says 'record 21 does not follow from record 19' alone "$SERVICE/cut"
sed '/event=audit {"id":20,/s/"seen":"/&x/' "$SERVICE/tokend.log" >"$SERVICE/changed"
check and_a_changed_one says 'record 20 does not follow' alone "$SERVICE/changed"
cat "$SERVICE/copy" "$SERVICE/copy" >"$SERVICE/twice"
check what_is_there_twice_says_the_same says 'signed up to record' alone "$SERVICE/twice"
{ cat "$SERVICE/copy" && sed -n 3,5p "$SERVICE/anew"; } >"$SERVICE/fork"
check records_that_go_another_way_are_found says 'record 3 stands there twice' alone "$SERVICE/fork"

# Whoever writes the database makes the hashes anew, but not the heads.
newest_is_signed() { local _; for _ in {1..100}; do says 'signed up to record' admin audit --last 1 && return; read -rt 0.2 <>"$SERVICE/quiet"; done; return 1; }
admin host remove simhost --yes >/dev/null # nobody is waited for, and nothing is signed in grace
service_stop
service_start
check soon_after_a_start_all_is_signed newest_is_signed
service_stop
cp "$SERVICE/state/tokend.db"* "$SERVICE/aside/"
service_start
rewrite "$SERVICE/state/tokend.db" 3
check a_chain_that_was_made_anew_is_found_without_a_copy says 'is not the one that was signed' admin audit verify
service_stop
service_start >"$SERVICE/said" 2>&1
check and_the_service_does_not_start_with_it says 'is not the one that was signed' cat "$SERVICE/tokend.log"
rm "$SERVICE/state/tokend.db"*
cp "$SERVICE/aside/"* "$SERVICE/state/"
service_start
check with_the_right_one_it_does says 'signed up to record' admin audit verify

# The newest records are gone, and the chain before them is whole.
service_stop
in_database 'DELETE FROM audit WHERE id > (SELECT max(id) - 5 FROM audit)'
service_start
check records_that_were_cut_off_are_an_alarm says 'event=alarm the audit was signed up to record' cat "$SERVICE/tokend.log"
check records_that_were_cut_off_are_found says 'the copy goes on to record\|is not the service' admin audit verify "$SERVICE/copy"
check which_is_a_failure status_is 1 admin audit verify "$SERVICE/copy"
check the_database_is_taken_for_a_restored_one says '"recovery":true' admin --output json recovery show
check with_a_line_of_its_own says 'a new line begins' admin audit --what head
check which_the_log_shows says 'another line of records begins' alone "$SERVICE/tokend.log"
sed -n '/event=alarm the audit was signed up to record/,$p' "$SERVICE/tokend.log" >"$SERVICE/since"
check also_where_nothing_of_the_line_before_is says 'another line of records begins' alone "$SERVICE/since"
check but_alone_the_service_has_a_chain says 'signed up to record' admin audit verify
check a_follower_does_not_wait_for_ever says 'its database is an older one' admin audit --after 100000
service_stop
in_database "UPDATE audit SET what = 'unlocked' WHERE id = 3"
service_start >"$SERVICE/said" 2>&1
check a_changed_record_stops_the_service_or_is_found says 'does not follow\|not reachable\|does not answer' admin audit verify
plan
