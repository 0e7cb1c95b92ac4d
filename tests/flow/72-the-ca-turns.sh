#!/bin/bash
# The trust domain's CA turns twice under a simulated VM that proves itself all the time, through kills in the middle;
# a VM that was off meanwhile, and a host that was, come back.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"

rest() { read -rt "$1" <>"$SERVICE/quiet"; }
refused_with() { ! says "$@" && return 1; ! "${@:2}" >/dev/null 2>&1; }
until_true() {
    local _
    for _ in {1..300}; do
        "$@" >/dev/null 2>&1 && return 0
        rest 0.1
    done
    "$@"
}
token_of() { timeout 60 "$BUILD/virtid-agent" token -a "$2" --config "$SERVICE/$1/1/agent.conf"; }
# Token after token, each of an audience that was never asked for: a proof of now, over a connection of now.
prove_on() {
    local n=0
    while [ ! -e "$SERVICE/enough" ]; do
        n=$((n + 1))
        token_of vm "a$n" >"$SERVICE/token.now" 2>"$SERVICE/token.why" || { echo "token $n"; cat "$SERVICE/token.why"; } >>"$SERVICE/refused"
        echo "$n" >"$SERVICE/proofs"
        rest 0.5 # an agent keeps 64 tokens
    done
}
proofs() { cat "$SERVICE/proofs"; }
more_proofs() { local n; n=$(proofs); until_true eval '[ "$(proofs)" -ge '$((n + 2))' ]'; }
nobody_was_refused() { cat "$SERVICE/refused" 2>/dev/null; [ ! -s "$SERVICE/refused" ] && [ "$(proofs)" -ge 8 ]; }
ca() { admin --output json key list | python3 -c 'import json,sys; print(*[k["kid"] for k in json.load(sys.stdin)["keys"] if (k["purpose"], k["state"]) == ("host-ca", sys.argv[1])])' "$1"; }
turn() { admin key rotate --ca --yes "$@"; }
is_now() { test "$(ca active)" = "$1" && test -z "$(ca next)"; }
hosts_behind() { admin --output json key ca | python3 -c 'import json,sys; print(*json.load(sys.stdin)["behind"])'; }
all_have_it() { test -z "$(hosts_behind)"; }
taken() { grep -c 'event=bundle-taken' "$SERVICE/$1.log"; }
has_taken() { test "$(taken "$1")" -ge "$2"; }
in_order() { grep -o 'bundle-taken serial=.*' "$SERVICE/$1.log" | cut -d= -f2 | sort -nuC; }
certificates() { grep -c 'BEGIN CERTIFICATE' "$1"; }
child() { cat "/proc/$SERVICE_PID/task/$SERVICE_PID/children"; }
again() {
    timeout 30 tail --pid="$SERVICE_PID" -f /dev/null
    SERVICE_PID=
    service_start
}
start_vm() { # FOLDER HOST CODE-FILE
    "$BUILD/virtid-tpmsim" vm --host "$2" -a shop --state "$SERVICE/$1" --keep-running <"$3" >"$SERVICE/out" 2>>"$SERVICE/$1.log" &
    vms+=($!)
    read -rt 120 first <"$SERVICE/out" || sed 's/^/# /' "$SERVICE/$1.log"
}

service_up || { not_ok the_service_starts; plan; exit 1; }
mkfifo "$SERVICE/quiet" "$SERVICE/out"
"${AS[@]}" python3 - "$ADMIN" <<'P'
import http.client, json, socket, sys
c = http.client.HTTPConnection("localhost")
c.sock = socket.socket(socket.AF_UNIX)
c.sock.connect(sys.argv[1])
for name in ["shop", *(f"a{n}" for n in range(1, 200))]:
    c.request("POST", "/v1/admin/audiences", json.dumps({"name": name, "all": True, "bound": False, "claims": []}), {"Content-Type": "application/json"})
    c.getresponse().read()
P
vms=()
trap 'touch "$SERVICE/enough"; kill "${vms[@]}" 2>/dev/null; wait "${vms[@]}" 2>/dev/null; service_down' EXIT
admin host add away --auto >"$SERVICE/code" 2>/dev/null
start_vm away away "$SERVICE/code"
kill "${vms[0]}"
wait "${vms[0]}"
vms=()
admin host add simhost --auto >"$SERVICE/code" 2>/dev/null
start_vm vm simhost "$SERVICE/code"
echo 0 >"$SERVICE/proofs"
prove_on &
vms+=($!)
cp "$CA" "$SERVICE/ca.1"
one=$(ca active)

# The next CA is published; whoever is on hears of it with the next report.
check the_next_ca_is_published says "Next CA '.*' is published" admin key rotate --ca
two=$(ca next)
check the_list_shows_both says "^ *$two *host-ca *next .* active by your word" admin key list
check it_is_in_the_audit says '"what":"ca-published"' grep event=audit "$SERVICE/tokend.log"
check a_host_that_has_it_not_holds_it_up refused_with 'hosts do not have the next CA yet: .*away' turn
kill -KILL "$(child)"
again
check kill_the_signer_and_it_is_the_same_ca test "$(ca next)" = "$two"
# By a download that the CA of before vouches for, and from the operator.
curl -sS --max-time 20 --cacert "$SERVICE/ca.1" "$ISSUER/.well-known/virtid-ca.pem" -o "$SERVICE/ca.2"
check a_relying_party_fetches_both test "$(certificates "$SERVICE/ca.2")" = 2
admin key ca >"$SERVICE/ca.operator"
check the_operator_has_the_same_file cmp "$SERVICE/ca.2" "$SERVICE/ca.operator"
check the_vm_takes_it until_true has_taken vm 1
check proofs_go_on more_proofs

# It issues.
check nothing_issues_unasked refused_with 'say --yes' admin key rotate --ca --force
check it_issues_by_an_operators_word says "CA '$two' issues now" turn --force
kill -KILL "$SERVICE_PID"
again
check kill_the_service_and_it_issues_still is_now "$two"
check proofs_go_on_with_it more_proofs
fetch() { curl -sS --max-time 20 --cacert "$1" "$ISSUER/.well-known/jwks.json"; }
check who_trusts_both_goes_on fetch "$SERVICE/ca.2"
check who_trusts_the_old_one_alone_does_not status_is 60 fetch "$SERVICE/ca.1"
check the_old_one_is_dropped_in_a_day says "^ *$one *host-ca *retiring .* dropped in 2[45] h" admin key list

: >"$SERVICE/empty"
off_host() { timeout 20 "$BUILD/virtid-tpmsim" vm --state "$SERVICE/away" -a shop <"$SERVICE/empty"; }
check a_host_that_was_off_is_told_so refused_with 'if its CA was rotated .*virtid host add away' off_host
admin host remove away --yes >/dev/null

# Once more; nobody is behind now.
admin key rotate --ca >/dev/null
three=$(ca next)
kill -KILL "$SERVICE_PID" "$(child)"
again
check kill_both_and_it_is_the_same_ca test "$(ca next)" = "$three"
check a_host_that_is_on_takes_it until_true all_have_it
check the_third_issues says "CA '$three' issues now" turn
check its_vm_has_taken_each_in_turn until_true has_taken vm 3
check in_order in_order vm
check and_proves_itself more_proofs
check it_is_said_again_in_peace says '"behind"' "${AS[@]}" curl -sS --max-time 20 --unix-socket "$ADMIN" -H 'Content-Type: application/json' -d "{\"kid\":\"$three\"}" http://localhost/v1/admin/ca/rotate
touch "$SERVICE/enough"
check nobody_was_refused_a_token nobody_was_refused

# A VM that was off all the time, on a host that has joined anew: it takes one step after the other.
admin host add away --auto >"$SERVICE/code" 2>/dev/null
mv "$SERVICE/away/host" "$SERVICE/away.host"
start_vm away away "$SERVICE/code"
echo "$first" >"$SERVICE/token"
admin key ca >"$SERVICE/ca.3"
check a_vm_that_was_off_has_a_token "$BUILD/virtid-verify" --issuer "$ISSUER" --ca "$SERVICE/ca.3" --audience shop "$SERVICE/token"
# Both links, and the newest by the third CA itself.
check it_took_the_steps_one_after_the_other until_true eval '[ "$(taken away)" = 3 ] && in_order away'
check what_did_not_follow_was_refused says event=bundle-refused cat "$SERVICE/away.log"

# One that holds nothing is new here.
admin host add newhost --auto >"$SERVICE/code" 2>/dev/null
start_vm new newhost "$SERVICE/code"
echo "$first" >"$SERVICE/token"
check a_new_vm_has_a_token_too "$BUILD/virtid-verify" --issuer "$ISSUER" --ca "$SERVICE/ca.3" --audience shop "$SERVICE/token"
plan
