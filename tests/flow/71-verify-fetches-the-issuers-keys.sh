#!/bin/bash
# virtid-verify and an issuer by HTTPS: discovery, keys, CA; a false one is told from a bad token.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/made_issuer.sh
. "$srcdir/tests/lib/made_issuer.sh"
build=${builddir_abs:-$PWD}
n=0 bad=0 server=

expect() {
    local want=$1 text=$2 got
    shift 2
    [ -e "$dir/out" ] && mv "$dir/out" "$dir/last"
    "$@" >"$dir/out" 2>&1 </dev/null
    got=$?
    n=$((n + 1))
    if [ "$got" -eq "$want" ]; then echo "ok $n - $text"; else
        bad=$((bad + 1))
        echo "not ok $n - $text"
        sed 's/^/# /' "$dir/out" | tail -5
    fi
}
stop() {
    [ -n "$server" ] && kill "$server" 2>/dev/null
    rm -rf "$dir"
}

dir=$(mktemp -d "${TMPDIR:-/tmp}/virtid-test.XXXXXX") || exit 1
trap stop EXIT
trap 'exit 1' INT TERM
for program in openssl python3 jose; do
    command -v "$program" >/dev/null || { echo "1..0 # SKIP $program is missing"; exit 0; }
done
/usr/bin/python3 -c 'import jwt, cryptography' 2>/dev/null || { echo "1..0 # SKIP python3-jwt is missing"; exit 0; }

made_issuer_tls "$dir" ca other
jose jwk gen -i '{"alg":"ES256"}' -o "$dir/key.jwk"

# An issuer per path: what is wrong with each is in its name.
cat >"$dir/issuer.py" <<'P'
import http.server, json, sys
import jwt, made_issuer
from jwt.algorithms import ECAlgorithm

folder, kid = sys.argv[1:3]
key = json.load(open(folder + "/key.jwk"))
public = {m: key[m] for m in ("kty", "crv", "x", "y")} | {"kid": kid, "use": "sig", "alg": "ES256"}

class Handler(made_issuer.Handler):
    def do_GET(self):
        path, _, what = self.path.partition("/.well-known/")
        body, status = {}, 200
        if what == "openid-configuration":
            body = {"issuer": base + path, "jwks_uri": base + path + "/.well-known/jwks.json"}
            if path == "/elsewhere":
                body["jwks_uri"] = "https://127.0.0.2:1/jwks.json"
            if path == "/liar":
                body["issuer"] = base + "/good"
        elif what == "jwks.json":
            body = {"keys": [public]}
        if path == "/gone" or not what:
            status = 404
        if path == "/moved":
            status = 302
        text = json.dumps(body).encode()
        if path == "/huge":
            text = b"{" + b" " * 200000 + b"}"
        self.send_response(status)
        if status == 302:
            self.send_header("Location", base + "/good/.well-known/" + what)
        self.send_header("Cache-Control", "max-age=300")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

server, base = made_issuer.listen(folder, Handler, http.server.HTTPServer)
private = ECAlgorithm.from_jwk(json.dumps(key | {"alg": "ES256"}))
for path in ("good", "elsewhere", "liar", "gone", "moved", "huge"):
    claims = made_issuer.claims(base + "/" + path)
    open(folder + "/" + path, "w").write(jwt.encode(claims, private, algorithm="ES256", headers={"kid": kid, "typ": "JWT"}))
print(base, flush=True)
server.serve_forever()
P
exec {said}< <(PYTHONPATH=$srcdir/tests/lib exec /usr/bin/python3 -B "$dir/issuer.py" "$dir" "$(jose jwk thp -i "$dir/key.jwk")" 2>"$dir/issuer.log")
server=$!
read -r -t 60 base <&"$said" || { sed 's/^/# /' "$dir/issuer.log"; echo "Bail out! the issuer does not start"; exit 1; }

verify() { "$build/virtid-verify" --issuer "$base/$1" --audience shop --ca "$dir/$2" "$dir/$1"; }
expect 0 keys_are_found_through_discovery verify good ca.pem
expect 3 an_issuer_of_another_ca_is_not_asked verify good other.pem
expect 3 keys_of_another_origin_are_not_taken verify elsewhere ca.pem
expect 0 and_the_origin_is_the_reason grep -q 'same origin' "$dir/last"
expect 3 a_discovery_that_names_another_issuer_is_not_taken verify liar ca.pem
expect 3 an_issuer_without_discovery_is_not_a_bad_token verify gone ca.pem
expect 3 no_redirect_is_followed verify moved ca.pem
expect 3 an_endless_answer_is_cut_off verify huge ca.pem
expect 1 a_token_of_another_issuer_is_refused "$build/virtid-verify" --issuer "$base/good" --audience shop --ca "$dir/ca.pem" "$dir/gone"
expect 3 without_a_ca_file_the_systems_cas_count "$build/virtid-verify" --issuer "$base/good" --audience shop "$dir/good"
kill "$server"
wait "$server" 2>/dev/null
expect 3 an_issuer_that_is_away_is_no_verdict verify good ca.pem
server=
echo "1..$n"
[ "$bad" -eq 0 ]
