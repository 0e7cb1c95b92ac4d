#!/bin/bash
# Bound tokens of a simulated VM: over its own connection, relayed, replayed, at other audiences, and shown as bearer
# tokens to libraries that know nothing of them and look at no audience.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"
skip_without python3-jwt /usr/bin/python3 -c 'import jwt'
skip_without python3-cryptography /usr/bin/python3 -c 'import cryptography'
skip_without openssl command -v openssl

agent() { timeout 60 "$BUILD/virtid-agent" "$@" --config "$SERVICE/vm/1/agent.conf"; }
prove() { agent prove -a "$1" --nonce "$2" --exporter "$3"; }
# says STATUS WORDS COMMAND...
says() {
    local got
    "${@:3}" >"$SERVICE/said" 2>&1
    got=$?
    [ "$got" -eq "$1" ] && { [ -z "$2" ] || grep -q -- "$2" "$SERVICE/said"; } || { echo "exit status $got"; cat "$SERVICE/said"; return 1; }
}
proof() { "$BUILD/virtid-verify" --proof --issuer "$ISSUER" --ca "$CA" --audience "$1" --nonce "$2" --exporter "$3" "$4"; }
bearer() { "$BUILD/virtid-verify" --issuer "$ISSUER" --ca "$CA" --audience "$1" "$2"; }
claim() { python3 -c 'import base64,json,sys; c=open(sys.argv[1]).read().split(".")[1]; print(json.loads(base64.urlsafe_b64decode(c + "=" * (-len(c) % 4))).get(sys.argv[2]))' "$1" "$2"; }
published() { curl -sS --max-time 20 --cacert "$CA" "$ISSUER$1/.well-known/$2"; }
key() { admin --output json key list | python3 -c 'import json,sys; print(*[k["kid"] for k in json.load(sys.stdin)["keys"] if (k["purpose"], k["state"]) == ("bound", sys.argv[1])])' "$1"; }

# connection NAME: a TLS connection to a relying party; what each end exports is in NAME.client and NAME.server.
connection() {
    local port server
    openssl s_server -accept 127.0.0.1:0 -naccept 1 -cert "$SERVICE/party.pem" -key "$SERVICE/party.key" -tls1_3 \
        -keymatexport EXPORTER-virtid-pop -keymatexportlen 32 <"$SERVICE/quiet" >"$SERVICE/party" 2>/dev/null &
    server=$!
    exec {said}<"$SERVICE/party"
    while read -rt 30 line <&"$said"; do
        case $line in
        "ACCEPT "*) port=${line##*:}
            openssl s_client -connect "127.0.0.1:$port" -tls1_3 -keymatexport EXPORTER-virtid-pop -keymatexportlen 32 \
                </dev/null 2>/dev/null | sed -n 's/.*Keying material: //p' >"$SERVICE/$1.client" ;;
        *"Keying material: "*) echo "${line##*: }" >"$SERVICE/$1.server" ;;
        esac
    done
    exec {said}<&-
    wait "$server"
}

service_up || { not_ok the_service_starts; plan; exit 1; }
mkfifo "$SERVICE/quiet" "$SERVICE/out" "$SERVICE/party"
exec 8<>"$SERVICE/quiet" # nobody writes to it, and nobody who reads waits to open it
check an_audience_is_declared_bound says 0 'count with a proof' admin audience add db --all --bound
check and_is_listed_so says 0 '^ *db *bound *every VM' admin audience list
for audience in bank later; do admin audience add "$audience" --all --bound >/dev/null; done
admin audience add shop --all >/dev/null
admin host add simhost --auto >"$SERVICE/code" 2>/dev/null
"$BUILD/virtid-tpmsim" vm --host simhost -a shop --state "$SERVICE/vm" --keep-running <"$SERVICE/code" >"$SERVICE/out" 2>"$SERVICE/vm.log" &
vm=$!
trap 'kill "$vm" 2>/dev/null; wait "$vm" 2>/dev/null; service_down' EXIT
read -rt 120 token <"$SERVICE/out" || sed 's/^/# /' "$SERVICE/vm.log"
echo "$token" >"$SERVICE/bearer"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=party \
    -keyout "$SERVICE/party.key" -out "$SERVICE/party.pem" 2>/dev/null

published /bound openid-configuration >"$SERVICE/discovery"
published /bound jwks.json >"$SERVICE/bound.json"
published "" jwks.json >"$SERVICE/bearer.json"
check the_bound_issuer_has_its_own_discovery grep -q "\"issuer\":\"$ISSUER/bound\".*\"jwks_uri\":\"$ISSUER/bound/.well-known/jwks.json\"" "$SERVICE/discovery"
check and_keys_of_its_own python3 -c 'import json,sys; a, b = ({k["kid"] for k in json.load(open(f))["keys"]} for f in sys.argv[1:]); sys.exit(not a or not b or bool(a & b))' "$SERVICE/bound.json" "$SERVICE/bearer.json"
agent token -a db >"$SERVICE/token"
check a_bound_token_is_of_that_issuer test "$(claim "$SERVICE/token" iss) $(claim "$SERVICE/token" aud)" = "$ISSUER/bound pop:db"
check it_names_the_vms_key test "$(claim "$SERVICE/token" cnf)" != None
check a_bearer_token_names_none test "$(claim "$SERVICE/bearer" cnf)" = None

# The VM, at its end of a connection, is asked by the party at the other.
connection own
connection relays
own=$(cat "$SERVICE/own.client") nonce=$(openssl rand -hex 32) other=$(openssl rand -hex 32)
check both_ends_of_a_connection_export_the_same test "$own" = "$(cat "$SERVICE/own.server")"
prove db "$nonce" "$own" >"$SERVICE/proof"
check a_proof_over_its_connection_is_valid says 0 '^VALID' proof db "$nonce" "$own" "$SERVICE/proof"
check relayed_over_another_it_is_not says 1 'token-proof' proof db "$nonce" "$(cat "$SERVICE/relays.server")" "$SERVICE/proof"
check replayed_to_another_question_it_is_not says 1 'token-proof' proof db "$other" "$own" "$SERVICE/proof"
check at_another_audience_it_is_not says 1 'token-audience' proof bank "$nonce" "$own" "$SERVICE/proof"
check the_token_without_its_proof_is_nothing says 1 'token-bound' proof db "$nonce" "$own" "$SERVICE/token"
check nor_is_it_a_bearer_token says 1 'token-bound' bearer db "$SERVICE/token"
check a_bearer_token_is_one says 0 '^VALID' bearer shop "$SERVICE/bearer"
echo "$token~$(cut -d'~' -f2- "$SERVICE/proof")" >"$SERVICE/mixed"
check and_none_with_a_proof says 1 'token-issuer' proof shop "$nonce" "$own" "$SERVICE/mixed"
check bearer_audiences_have_no_proofs says 3 'bearer tokens' prove shop "$nonce" "$own"
check a_proof_needs_a_connection says 2 'exporter' "$BUILD/virtid-verify" --proof --issuer "$ISSUER" --audience db --nonce "$nonce" "$SERVICE/proof"

# Libraries as they are: whatever key of the set fits, and no look at the audience.
cat >"$SERVICE/stock.py" <<'P'
import sys
import jwt
keys, issuer, token = sys.argv[1:4]
for key in jwt.PyJWKSet.from_json(open(keys).read()).keys:
    try:
        jwt.decode(token, key.key, algorithms=["ES256"], issuer=issuer or None, options={"verify_aud": False})
        sys.exit(0)
    except jwt.PyJWTError:
        pass
sys.exit(1)
P
cat >"$SERVICE/stock.mjs" <<'P'
import { createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
const [library, keys, issuer, token] = process.argv.slice(2);
const iss = issuer || undefined, algorithms = ["ES256"];
const checks = {
    jose: async (key) => (await import("jose")).jwtVerify(token, key, { algorithms, issuer: iss }),
    jsonwebtoken: async (key) => (await import("jsonwebtoken")).default.verify(token, key, { algorithms, issuer: iss }),
    "fast-jwt": async (key) => (await import("fast-jwt")).default.createVerifier({
        key: key.export({ type: "spki", format: "pem" }), algorithms, allowedIss: iss })(token),
};
let taken = 1;
for (const jwk of JSON.parse(readFileSync(keys, "utf8")).keys)
    await checks[library](createPublicKey({ key: jwk, format: "jwk" })).then(() => { taken = 0; }, () => {});
process.exit(taken);
P
stock() { # LIBRARY KEYS ISSUER TOKEN-FILE
    if [ "$1" = pyjwt ]; then /usr/bin/python3 "$SERVICE/stock.py" "$2" "$3" "$(cat "$4")"; else
        node "$SERVICE/stock.mjs" "$1" "$2" "$3" "$(cat "$4")"; fi
}
modules=${VIRTID_NODE_MODULES:-$BUILD/node_modules}
ln -s "$modules" "$SERVICE/node_modules"
for point in bound_tokens_are_refused_by_pyjwt bound_tokens_are_refused_by_jose \
    bound_tokens_are_refused_by_jsonwebtoken bound_tokens_are_refused_by_fast-jwt; do
    library=${point##*_}
    if [ "$library" != pyjwt ] && ! [ -d "$modules/$library" ]; then
        skip_npm "$point" "$library"
        continue
    fi
    check "${library}_takes_a_bearer_token" stock "$library" "$SERVICE/bearer.json" "" "$SERVICE/bearer"
    check "$point" says 1 '' stock "$library" "$SERVICE/bearer.json" "" "$SERVICE/token"
    check "and_by_their_issuer_if_keys_are_mixed_up_in_$library" says 1 '' stock "$library" "$SERVICE/bound.json" "$ISSUER" "$SERVICE/token"
done

# Its keys are listed, told to wait, and revoked as the others.
one=$(key active)
check a_young_bound_key_waits says 1 'can sign in' admin key rotate --bound
check a_bound_key_is_revoked says 0 'Revoked' admin key revoke "$one" --yes
check another_is_there test -n "$(key active)" -a "$(key active)" != "$one"
prove later "$nonce" "$own" >"$SERVICE/proof"
check and_signs_at_once says 0 '^VALID' proof later "$nonce" "$own" "$SERVICE/proof"
published /bound jwks.json >"$SERVICE/bound.json"
check the_revoked_one_is_published_no_more says 1 '' grep -F -- "$one" "$SERVICE/bound.json"
plan
