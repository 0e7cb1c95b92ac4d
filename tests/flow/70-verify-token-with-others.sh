#!/bin/bash
# Tokens made by us are taken by `jose` and by PyJWT, and theirs by us; altered ones by nobody.
set -u
srcdir=${srcdir:-.}
build=${builddir_abs:-$PWD}
n=0 bad=0
issuer=https://id.example:8443
uuid=6f1b0a3e-58c1-4a0e-9d4e-0a1b2c3d4e5f

tell() {
    n=$((n + 1))
    if [ "$1" -eq "$2" ]; then echo "ok $n - $3"; else
        bad=$((bad + 1))
        echo "not ok $n - $3"
        sed 's/^/# /' "$dir/out" | tail -5
    fi
}
# expect STATUS TEXT COMMAND...
expect() {
    local want=$1 text=$2
    shift 2
    [ -e "$dir/out" ] && mv "$dir/out" "$dir/last"
    "$@" >"$dir/out" 2>&1 </dev/null
    tell $? "$want" "$text"
}
verify() { "$build/virtid-verify" --issuer "$issuer" --audience shop --jwks "$dir/jwks.json" "$@"; }

dir=$(mktemp -d "${TMPDIR:-/tmp}/virtid-test.XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
for program in jose python3; do
    command -v "$program" >/dev/null || { echo "1..0 # SKIP $program is missing"; exit 0; }
done
python3=/usr/bin/python3
"$python3" -c 'import jwt, cryptography' 2>/dev/null || { echo "1..0 # SKIP python3-jwt is missing"; exit 0; }

# Ours, shown to others.
"$build/tests/unit/token_maker" "$dir" shop || exit 1
token=$(cat "$dir/token")
expect 0 our_token_is_valid_to_us verify "$dir/token"
expect 0 our_token_is_valid_to_jose jose jws ver -i "$dir/token" -k "$dir/jwks.json"
cat >"$dir/check.py" <<'P'
import sys
import jwt

issuer, audience, keys, token = sys.argv[1:]
keys = jwt.PyJWKSet.from_json(open(keys).read()).keys
key = next(k for k in keys if k.key_id == jwt.get_unverified_header(token)["kid"])
jwt.decode(token, key.key, algorithms=["ES256"], audience=audience, issuer=issuer,
           options={"require": ["exp", "iat", "nbf", "iss", "aud", "sub"]})
P
cat >"$dir/check.mjs" <<'J'
import { readFileSync } from "node:fs";
import { createLocalJWKSet, jwtVerify } from "jose";

const [issuer, audience, keys, token] = process.argv.slice(2);
await jwtVerify(token, createLocalJWKSet(JSON.parse(readFileSync(keys, "utf8"))), { issuer, audience, algorithms: ["ES256"] });
J
expect 0 our_token_is_valid_to_pyjwt "$python3" "$dir/check.py" "$issuer" shop "$dir/jwks.json" "$token"
expect 1 our_token_is_refused_by_pyjwt_for_another_audience "$python3" "$dir/check.py" "$issuer" other "$dir/jwks.json" "$token"
modules=${VIRTID_NODE_MODULES:-$build/node_modules}
if [ -d "$modules/jose" ]; then
    ln -s "$modules" "$dir/node_modules"
    expect 0 our_token_is_valid_to_jose_of_npm node "$dir/check.mjs" "$issuer" shop "$dir/jwks.json" "$token"
    expect 1 our_token_is_refused_by_jose_of_npm_for_another_audience node "$dir/check.mjs" "$issuer" other "$dir/jwks.json" "$token"
else
    n=$((n + 1))
    echo "ok $n - our_token_is_valid_to_jose_of_npm # SKIP npm's jose is missing: npm install --prefix $build jose"
fi
expect 0 our_thumbprint_is_that_of_jose test \
    "$(jose jwk thp -i "$dir/jwks.json" | tr -d '\n')" = "$(jose fmt -j "$dir/jwks.json" -Og keys -Ag 0 -Og kid -Su-)"
# One bit of the signature: the middle of its text.
altered=${token%???????????????}$(echo "${token: -15}" | tr 'A-Za-z' 'B-ZAb-za')
echo "$altered" >"$dir/altered"
expect 1 an_altered_token_is_refused_by_us verify "$dir/altered"
expect 1 an_altered_token_is_refused_by_jose jose jws ver -i "$dir/altered" -k "$dir/jwks.json"

# Theirs, shown to us.
jose jwk gen -i '{"alg":"ES256"}' -o "$dir/key.jwk"
kid=$(jose jwk thp -i "$dir/key.jwk")
cat >"$dir/others.py" <<'P'
import json, sys, time
import jwt
from jwt.algorithms import ECAlgorithm

folder, issuer, uuid, kid = sys.argv[1:5]
now = int(time.time())
claims = {"iss": issuer, "sub": "spiffe://example.test/vm/" + uuid, "aud": "shop", "iat": now, "nbf": now,
          "exp": now + 300, "jti": "j", "virtid": {"factors": ["host"], "gen": 0, "epoch": 1}}
key = json.load(open(folder + "/key.jwk"))
public = {m: key[m] for m in ("kty", "crv", "x", "y")} | {"kid": kid, "use": "sig", "alg": "ES256"}
json.dump({"keys": [public]}, open(folder + "/jwks.json", "w"))
json.dump(claims, open(folder + "/claims.json", "w"))
headers = {"kid": kid, "typ": "JWT"}
private = ECAlgorithm.from_jwk(json.dumps(key | {"alg": "ES256"}))
def put(name, text):
    open(folder + "/" + name, "w").write(text)
put("pyjwt", jwt.encode(claims, private, algorithm="ES256", headers=headers))
put("hmac", jwt.encode(claims, json.dumps(public), algorithm="HS256", headers=headers))
put("none", jwt.encode(claims, None, algorithm="none", headers=headers))
put("extra", jwt.encode(claims, private, algorithm="ES256", headers=headers | {"crit": ["exp"]}))
put("late", jwt.encode(claims | {"iat": now - 1000, "nbf": now - 1000, "exp": now - 700}, private, algorithm="ES256", headers=headers))
P
"$python3" "$dir/others.py" "$dir" "$issuer" "$uuid" "$kid" >"$dir/out" 2>&1 || sed 's/^/# /' "$dir/out"
jose jws sig -I "$dir/claims.json" -k "$dir/key.jwk" -c \
    -s "{\"protected\":{\"alg\":\"ES256\",\"kid\":\"$kid\",\"typ\":\"JWT\"}}" -o "$dir/jose"
expect 0 a_token_of_pyjwt_is_valid_to_us verify "$dir/pyjwt"
expect 0 a_token_of_jose_is_valid_to_us verify "$dir/jose"
expect 1 hmac_with_the_public_key_is_refused verify "$dir/hmac"
expect 1 algorithm_none_of_pyjwt_is_refused verify "$dir/none"
expect 1 a_token_with_crit_is_refused verify "$dir/extra"
expect 1 a_token_that_ended_is_refused verify "$dir/late"
expect 0 the_reason_is_named grep -q 'token-expired' "$dir/last"

# The command's other answers.
expect 2 no_issuer_is_wrong_usage "$build/virtid-verify" --audience shop "$dir/jose"
expect 2 no_audience_is_wrong_usage "$build/virtid-verify" --issuer "$issuer" "$dir/jose"
expect 2 connect_without_expect_is_wrong_usage "$build/virtid-verify" --issuer "$issuer" --connect 127.0.0.1:1
expect 3 a_vm_that_is_away_is_not_a_verdict "$build/virtid-verify" --issuer "$issuer" --connect 127.0.0.1:1 --expect web1 --jwks "$dir/jwks.json"
verify --json "$dir/jose" >"$dir/out" 2>&1
"$python3" -c 'import json,sys; o=json.load(open(sys.argv[1])); sys.exit(not (o["valid"] and o["uuid"] == sys.argv[2] and o["factors"] == ["host"]))' "$dir/out" "$uuid"
tell $? 0 json_is_one_object_with_what_the_token_says
verify --json "$dir/late" >"$dir/out" 2>&1
"$python3" -c 'import json,sys; o=json.load(open(sys.argv[1])); sys.exit(not (o["valid"] is False and o["problem"] == "token-expired" and o["repair"]))' "$dir/out"
tell $? 0 json_of_a_refusal_names_problem_and_repair
echo "1..$n"
[ "$bad" -eq 0 ]
