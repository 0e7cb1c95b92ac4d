#!/bin/bash
# Keys that sign tokens change under a simulated VM whose workloads ask for tokens and relying parties that check
# them: in order, by an operator's word and by time, through kills in the middle, and in an emergency.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"
skip_without python3-jwt /usr/bin/python3 -c 'import jwt'
skip_without python3-cryptography /usr/bin/python3 -c 'import cryptography'

rest() { read -rt "$1" <>"$SERVICE/quiet"; }
refused_with() { ! says "$@" && return 1; ! "${@:2}" >/dev/null 2>&1; }

# A token of an audience that was never asked for is a proof of now.
asked=0
token_of() { timeout 60 "$BUILD/virtid-agent" token -a "$1" --config "$SERVICE/vm/1/agent.conf"; }
new_token() {
    asked=$((asked + 1))
    token_of "a$asked" >"$SERVICE/token"
}
kid_in() { python3 -c 'import base64,json,sys; h=open(sys.argv[1]).read().split(".")[0]; print(json.loads(base64.urlsafe_b64decode(h + "=" * (-len(h) % 4)))["kid"])' "$1"; }
key() { admin --output json key list | python3 -c 'import json,sys; print(*[k["kid"] for k in json.load(sys.stdin)["keys"] if (k["purpose"], k["state"]) == ("token", sys.argv[1])])' "$1"; }
published() { curl -sS --max-time 20 --cacert "$CA" "$ISSUER/.well-known/jwks.json"; }
is_published() { published | grep -qF -- "$1"; }
signed_by() { test "$(kid_in "$2")" = "$1"; }

shown=0
show() { # to the relying party
    echo "a$asked $(cat "$SERVICE/token")" >&"$to_party"
    read -rt 30 verdict <&"$from_party" || verdict=silent
    shown=$((shown + 1))
    [ "$verdict" = valid ] || echo "$verdict" >>"$SERVICE/refused"
}
load() { # N proofs, each checked
    local i
    for ((i = 0; i < $1; i++)); do
        new_token || echo "no token for a$asked" >>"$SERVICE/refused"
        show
    done
}
nobody_is_refused() { cat "$SERVICE/refused" 2>/dev/null; [ ! -s "$SERVICE/refused" ] && [ "$shown" -ge "$1" ]; }

service_up || { not_ok the_service_starts; plan; exit 1; }
# A relying party as they are: PyJWT with its cache of the key set. One answer for each line "AUDIENCE TOKEN".
cat >"$SERVICE/party.py" <<'P'
import sys
import jwt
issuer = sys.argv[1]
keys = jwt.PyJWKClient(issuer + "/.well-known/jwks.json")
for line in sys.stdin:
    audience, token = line.split()
    try:
        key = keys.get_signing_key_from_jwt(token)
        jwt.decode(token, key.key, algorithms=["ES256"], audience=audience, issuer=issuer)
        print("valid", flush=True)
    except Exception as e:
        print("refused:", e, flush=True)
P
mkfifo "$SERVICE/quiet" "$SERVICE/out"
for audience in shop $(seq -f 'a%.0f' 1 40); do admin audience add "$audience" --all >/dev/null; done
admin host add simhost --auto >"$SERVICE/code" 2>/dev/null
"$BUILD/virtid-tpmsim" vm --host simhost -a shop --state "$SERVICE/vm" --keep-running <"$SERVICE/code" >"$SERVICE/out" 2>"$SERVICE/vm.log" &
vm=$!
party=
trap 'kill "$vm" $party 2>/dev/null; wait "$vm" 2>/dev/null; service_down' EXIT
read -rt 120 first <"$SERVICE/out" || sed 's/^/# /' "$SERVICE/vm.log"
echo "$first" >"$SERVICE/first"
mkfifo "$SERVICE/to" "$SERVICE/from"
SSL_CERT_FILE=$CA /usr/bin/python3 "$SERVICE/party.py" "$ISSUER" <"$SERVICE/to" >"$SERVICE/from" 2>/dev/null &
party=$!
exec {to_party}>"$SERVICE/to" {from_party}<"$SERVICE/from"

one=$(key active) two=$(key next)
check a_token_is_signed_by_the_active_key signed_by "$one" "$SERVICE/first"
check the_next_key_is_published_already is_published "$two"
check an_operator_sees_both_and_the_cas says "^ *$two *token *next .* active in 29 days" admin key list
check and_is_told_to_wait_for_a_young_key refused_with 'can sign in 6[0-9] min' admin key rotate

service_later 7200
published >"$SERVICE/set-of-before"
load 2
check the_next_key_signs_when_it_is_known says "Key '$two' signs tokens now" admin key rotate
three=$(key next)
load 2
check the_new_key_signs signed_by "$two" "$SERVICE/token"
check a_relying_party_that_kept_its_set_for_an_hour_takes_it \
    "$BUILD/virtid-verify" --issuer "$ISSUER" --audience "a$asked" --jwks "$SERVICE/set-of-before" "$SERVICE/token"
check the_old_one_is_published_still is_published "$one"
check and_its_tokens_are_taken "$BUILD/virtid-verify" --issuer "$ISSUER" --ca "$CA" --audience shop "$SERVICE/first"
check the_key_after_it_is_published is_published "$three"
check it_is_in_the_audit says "\"what\":\"key-rotated\".*\"seen\":\"$two\"" grep event=audit "$SERVICE/tokend.log"

# In the middle of it: three keys, one retiring.
published >"$SERVICE/set"
child() { cat "/proc/$SERVICE_PID/task/$SERVICE_PID/children"; }
again() {
    timeout 30 tail --pid="$SERVICE_PID" -f /dev/null
    SERVICE_PID=
    service_start
}
# Not in a subshell, which would keep the new service's pid to itself.
kept() { cat "$SERVICE/killed"; published | cmp - "$SERVICE/set"; }
kill_the_signer() { kill -KILL "$(child)"; again; }
kill_the_service() { kill -KILL "$SERVICE_PID"; again; }
kill_both() { kill -KILL "$SERVICE_PID" "$(child)"; again; }
kill_the_signer >"$SERVICE/killed" 2>&1
check kill_the_signer_and_the_keys_are_the_same kept
load 1
kill_the_service >"$SERVICE/killed" 2>&1
check kill_the_service_and_the_keys_are_the_same kept
load 1
kill_both >"$SERVICE/killed" 2>&1
check kill_both_and_the_keys_are_the_same kept
load 1
check the_same_key_signs signed_by "$two" "$SERVICE/token"

# By itself, when its time has come.
service_later $((31 * 86400))
load 2
check after_a_month_the_next_one_signs signed_by "$three" "$SERVICE/token"
check which_the_service_says_itself says "event=key-rotated kid=$three before=$two" cat "$SERVICE/tokend.log"
check the_first_one_is_gone sh -c '! printf %s "$1" | grep -qF -- "$2"' - "$(published)" "$one"
check nobody_was_refused_a_token_or_with_one nobody_is_refused 9

# The drill: the active key is in wrong hands.
cp "$SERVICE/token" "$SERVICE/stolen"
stolen_for=a$asked
kept_is_of_three() { token_of "$stolen_for" >"$SERVICE/kept" && signed_by "$three" "$SERVICE/kept"; }
check nothing_is_revoked_unasked refused_with 'say --yes' admin key revoke "$three"
check and_what_follows_is_said grep 'Tokens that it signed fail' "$SERVICE/said"
check the_agent_has_a_token_of_it_at_hand kept_is_of_three
began=$SECONDS
check one_command_revokes_it says 'Revoked; key' admin key revoke "$three" --yes
four=$(key active)
load 2
drill=$((SECONDS - began))
# What was at hand: the host hears of it with its next report, and the agent from the host.
kept_is_new() { token_of "$stolen_for" >"$SERVICE/kept" && ! signed_by "$three" "$SERVICE/kept"; }
until_true() {
    local _
    for _ in {1..300}; do
        "$@" >/dev/null 2>&1 && return 0
        rest 0.2
    done
    "$@"
}
check tokens_at_hand_are_replaced_within_a_minute until_true kept_is_new
drill_of_all=$((SECONDS - began))
check a_new_key_signs_at_once signed_by "$four" "$SERVICE/token"
check its_tokens_are_taken nobody_is_refused 11
check the_revoked_one_is_published_no_more sh -c '! printf %s "$1" | grep -qF -- "$2"' - "$(published)" "$three"
check its_tokens_are_refused refused_with token-key "$BUILD/virtid-verify" --issuer "$ISSUER" --ca "$CA" --audience "$stolen_for" "$SERVICE/stolen"
check it_took_less_than_five_minutes test "$drill_of_all" -lt 300
echo "# drill: new tokens by a new key, taken, after $drill s; those at hand were replaced after $drill_of_all s"
check no_key_that_is_unknown_is_revoked refused_with 'key list' admin key revoke "$three" --yes
check all_are_revoked_in_one_command says 'Revoked; key' admin key revoke --all --yes
load 1
check and_another_one_signs sh -c '[ "$1" != "$2" ]' - "$(kid_in "$SERVICE/token")" "$four"
check its_tokens_are_taken_too nobody_is_refused 12
plan
