#!/bin/bash
# Relying parties as they are: Debian's Apache with mod_auth_openidc lets a VM in by its token, and so do the examples
# of docs/RELYING.md, run as they stand there; what the page says of each refusal is what each of them says.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"
# shellcheck source=tests/lib/made_issuer.sh
. "$srcdir/tests/lib/made_issuer.sh"

apache=/usr/sbin/apache2
modules=/usr/lib/apache2/modules
examples=$(cd "$srcdir/docs/examples" && pwd)
page=$srcdir/docs/RELYING.md
skip_without apache2-bin test -x $apache
skip_without libapache2-mod-auth-openidc test -e $modules/mod_auth_openidc.so
skip_without python3-jwt /usr/bin/python3 -c 'import jwt'
skip_without python3-cryptography /usr/bin/python3 -c 'import cryptography'

# ---- an issuer whose key makes what ours never makes ----------------------------

make_issuer() {
    made_issuer_tls "$SERVICE" made stranger
    mkdir "$SERVICE/case"
    cat >"$SERVICE/issuer.py" <<'P'
import base64, hashlib, json, sys, time
import jwt, made_issuer
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

folder = sys.argv[1]

def make_key():
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(ECAlgorithm.to_jwk(key.public_key()))
    thumb = json.dumps({m: public[m] for m in ("crv", "kty", "x", "y")}, separators=(",", ":"))
    public["kid"] = base64.urlsafe_b64encode(hashlib.sha256(thumb.encode()).digest()).rstrip(b"=").decode()
    return key, public | {"use": "sig", "alg": "ES256"}

key, public = make_key()
other, unpublished = make_key()

class Handler(made_issuer.Handler):
    def do_GET(self):
        body = {"keys": [public]} if self.path.endswith("jwks.json") else \
            {"issuer": base, "jwks_uri": base + "/.well-known/jwks.json"}
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

server, base = made_issuer.listen(folder, Handler)
now = int(time.time())
good = made_issuer.claims(base)

def put(name, text):
    with open(folder + "/case/" + name, "w") as file:
        file.write(text + "\n")

def make(name, change, by=key, kid=public["kid"], algorithm="ES256"):
    put(name, jwt.encode(good | change, by, algorithm=algorithm, headers={"kid": kid, "typ": "JWT"}))

make("good", {})
make("token-expired", {"iat": now - 1000, "nbf": now - 1000, "exp": now - 700})
make("token-not-yet", {"iat": now + 700, "nbf": now + 700, "exp": now + 1000})
make("token-key", {}, other, unpublished["kid"])
make("token-signature", {}, other)
make("token-issuer", {"iss": base + "/other"})
make("token-audience", {"aud": "other"})
make("token-bound", {"iss": base + "/bound", "aud": "pop:shop", "cnf": {"jkt": unpublished["kid"]}}, other, unpublished["kid"])
make("token-algorithm", {}, json.dumps(public), algorithm="HS256")
make("none", {}, None, algorithm="none")
put("token-malformed", "not.a.token")
# A claim that only a mistake of the issuer's leaves out.
good.pop("sub")
make("token-claims", {})
print(base, flush=True)
server.serve_forever()
P
    exec {said}< <(PYTHONPATH=$srcdir/tests/lib exec /usr/bin/python3 -B "$SERVICE/issuer.py" "$SERVICE" 2>"$SERVICE/issuer.log")
    made_pid=$!
    read -rt 60 made <&"$said" || { sed 's/^/# /' "$SERVICE/issuer.log"; return 1; }
}

# ---- the relying parties ----------------------------------------------------------

# One port for our issuer, one for the made one, one that has another CA, with the example's file in each; and one
# where the example's two conditions are left out.
start_apache() {
    local ports i issuer=("$ISSUER" "$made" "$made" "$ISSUER") ca=("$CA" "$SERVICE/made.pem" "$SERVICE/stranger.pem" "$CA")
    local module lines=("$examples/apache.conf" "$examples/apache.conf" "$examples/apache.conf" "$SERVICE/loose.conf") _

    read -ra ports < <(free_ports 4)
    sed 's/Require claim.*/Require valid-user/' "$examples/apache.conf" >"$SERVICE/loose.conf"
    mkdir "$SERVICE/www"
    echo '<!--#printenv -->' >"$SERVICE/www/index.shtml"
    {
        printf '%s\n' "ServerName shop.example" "PidFile $SERVICE/apache.pid" "ErrorLog $SERVICE/apache.log" \
            "LogLevel auth_openidc:info" "DocumentRoot $SERVICE/www" "Mutex file:$SERVICE" "StartServers 1" \
            "TypesConfig /dev/null"
        for module in mpm_event authn_core authz_core authz_user include mime auth_openidc; do
            echo "LoadModule ${module}_module $modules/mod_$module.so"
        done
        printf '%s\n' "AddType text/html .shtml" "AddOutputFilter INCLUDES .shtml" "<Directory $SERVICE/www>" \
            "Options +Includes" "</Directory>"
        for i in 0 1 2 3; do
            printf '%s\n' "Listen 127.0.0.1:${ports[i]}" "<VirtualHost 127.0.0.1:${ports[i]}>" "Define VIRTID_ISSUER ${issuer[i]}" \
                "Define VIRTID_AUDIENCE shop" "Define VIRTID_CA ${ca[i]}" "Include ${lines[i]}" "</VirtualHost>"
        done
    } >"$SERVICE/apache.conf"
    site=http://127.0.0.1:${ports[0]} made_site=http://127.0.0.1:${ports[1]} stranger_site=http://127.0.0.1:${ports[2]}
    loose_site=http://127.0.0.1:${ports[3]}
    "${AS[@]}" $apache -f "$SERVICE/apache.conf" -DFOREGROUND >"$SERVICE/apache.out" 2>&1 &
    apache_pid=$!
    for _ in {1..300}; do
        curl -s --max-time 5 -o /dev/null "$site/" && return 0
        read -rt 0.1 <>"$SERVICE/quiet"
    done
    sed 's/^/# /' "$SERVICE/apache.out" "$SERVICE/apache.log" | tail
    return 1
}

# Each reads a token, and takes issuer, audience and CA from its surroundings.
party_py() { SSL_CERT_FILE=$VIRTID_CA /usr/bin/python3 "$examples/check.py"; }
party_js() { NODE_EXTRA_CA_CERTS=$VIRTID_CA node "$SERVICE/check.mjs"; }
party_c() { "$BUILD/docs/examples/check"; }
party_sh() { PATH=$BUILD:$PATH sh "$examples/check.sh"; }
party_apache() { curl -sS --max-time 20 --fail -H @<(printf 'Authorization: Bearer %s' "$(cat)") "$at/index.shtml"; }

# ask FILE PARTY...: what each says of that token is in said.PARTY, and how it ended in status.PARTY.
ask() {
    local file=$1 party pids=() logged
    shift
    logged=$(stat -c %s "$SERVICE/apache.log")
    for party in "$@"; do
        { "party_$party" <"$file" >"$SERVICE/said.$party" 2>&1; echo $? >"$SERVICE/status.$party"; } &
        pids+=($!)
    done
    wait "${pids[@]}"
    tail -c +$((logged + 1)) "$SERVICE/apache.log" >>"$SERVICE/said.apache"
}
took() { [ "$(cat "$SERVICE/status.$1")" = 0 ]; }
all_take() { # FILE
    local party sub
    ask "$1" "${parties[@]}"
    sub=$(python3 -c 'import base64, json, sys
claims = sys.stdin.read().split(".")[1]
print(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"])' <"$1")
    for party in "${parties[@]}"; do
        took "$party" && grep -qF "$sub" "$SERVICE/said.$party" || { echo "$party:"; cat "$SERVICE/said.$party"; return 1; }
    done
}
apache_takes() { ask "$1" apache; took apache || { cat "$SERVICE/said.apache"; return 1; }; }
shell_says() { # STATUS WORDS FILE
    ask "$3" sh
    [ "$(cat "$SERVICE/status.sh")" = "$1" ] && grep -q -- "$2" "$SERVICE/said.sh" || { cat "$SERVICE/said.sh"; return 1; }
}
apache_refuses() { ask "$1" apache; ! took apache; }

# ---- the page ---------------------------------------------------------------------

# cell NAME N: in the table's row of NAME what stands in column N.
cell() { awk -F ' *[|] *' -v name="\`$1\`" -v n="$2" 'index($2, name) == 1 { print $(n + 1); exit }' "$page"; }
# says_as_on_the_page PARTY CELL: `text` stands in what it said and it refused; "taken": it took the token.
says_as_on_the_page() {
    case $2 in
    taken*) took "$1" ;;
    \`*\`*) text=${2#\`} && ! took "$1" && grep -qF -- "${text%%\`*}" "$SERVICE/said.$1" ;;
    *) false ;;
    esac || { echo "$1 ($(cat "$SERVICE/status.$1")), and on the page: $2"; cat "$SERVICE/said.$1"; return 1; }
}
row_is_true() { # NAME FILE
    local party bad=0 n
    ask "$2" "${parties[@]}"
    for party in "${parties[@]}"; do
        case $party in c) n=2 ;; py) n=3 ;; js) n=4 ;; apache) n=5 ;; esac
        says_as_on_the_page "$party" "$(cell "$1" $n)" || bad=1
    done
    # The row's own name is the program's.
    case $1 in token-* | unreachable) grep -qF "$1: " "$SERVICE/said.c" || { echo "$1 is not its name"; bad=1; } ;; esac
    return $bad
}
generation_is_true() {
    "$BUILD/virtid-verify" --issuer "$made" --audience shop --ca "$VIRTID_CA" --min-gen 1 "$SERVICE/case/good" >"$SERVICE/said.sh"
    echo $? >"$SERVICE/status.sh"
    says_as_on_the_page sh "$(cell token-generation 2)" && grep -qE '^ *problem *token-generation$' "$SERVICE/said.sh"
}
every_problem_has_its_row() {
    local name bad=0
    for name in $(grep -oE '"token-[a-z-]+"' "$srcdir/lib/wire/problem.c" | tr -d '"'); do
        [ -n "$(cell "$name" 2)" ] || { echo "no row: $name"; bad=1; }
    done
    return $bad
}

# ---- the story ----------------------------------------------------------------------

# new_vm NAME AUDIENCE: its token is in the file of that name.  Its host is removed: a service that starts again waits
# for those that it knows.
new_vm() {
    admin host add "host-$1" --auto >"$SERVICE/code-$1" 2>/dev/null &&
        "$BUILD/virtid-tpmsim" vm --host "host-$1" --name "$1" -a "$2" <"$SERVICE/code-$1" >"$SERVICE/$1" 2>"$SERVICE/vm-$1.log" &&
        admin host remove "host-$1" --yes >/dev/null || sed 's/^/# /' "$SERVICE/vm-$1.log"
}
has() { grep -qF -- "$1" "$SERVICE/said.apache" || { cat "$SERVICE/said.apache"; return 1; }; }

service_up || { not_ok the_service_starts; plan; exit 1; }
made_pid='' apache_pid=''
clean_up() {
    # shellcheck disable=SC2086 # those that there are
    kill $apache_pid $made_pid 2>/dev/null
    # shellcheck disable=SC2086
    wait $apache_pid 2>/dev/null
    service_down
}
trap clean_up EXIT
mkfifo "$SERVICE/quiet"
make_issuer && start_apache || { not_ok relying_parties_start; plan; exit 1; }
parties=(apache py c)
if [ -d "${VIRTID_NODE_MODULES:-$BUILD/node_modules}/jose" ]; then
    ln -s "${VIRTID_NODE_MODULES:-$BUILD/node_modules}" "$SERVICE/node_modules"
    cp "$examples/check.mjs" "$SERVICE/"
    parties+=(js)
    ok npms_jose_is_there
else
    skip_npm npms_jose_is_there jose
fi
for audience in shop other; do admin audience add $audience --all --claim name >/dev/null; done
new_vm others other &
new_vm one shop
wait $!

export VIRTID_ISSUER=$ISSUER VIRTID_AUDIENCE=shop VIRTID_CA=$CA
at=$site
check the_vm_is_let_in_by_apache_and_by_the_examples all_take "$SERVICE/one"
check apache_passes_its_claims_on has "&quot;name&quot;: &quot;one&quot;"
check a_vm_with_a_token_for_another_is_not_let_in row_is_true token-audience "$SERVICE/others"
check the_shell_lines_let_it_in_too shell_says 0 '^spiffe://example.test/vm/' "$SERVICE/one"
check and_say_why_they_do_not shell_says 1 'problem *token-audience$' "$SERVICE/others"
at=$loose_site
check apache_would_take_it_without_the_two_lines apache_takes "$SERVICE/others"
at=$site

# The next key signs: a set that was kept from before has it.
service_later 7200
check the_signing_key_turns admin key rotate
new_vm two shop
two=$(head -1 "$SERVICE/two" | cut -d. -f1)
service_stop
check apache_goes_on_with_the_set_it_has_while_keys_turn apache_takes "$SERVICE/two"
check and_takes_tokens_of_the_key_before apache_takes "$SERVICE/one"
service_start
check the_key_is_another test "$two" != "$(cut -d. -f1 "$SERVICE/one")"
# In an emergency the key that signs next was in nobody's set.
check all_keys_are_revoked admin key revoke --all --yes
new_vm three shop
check apache_fetches_a_key_that_it_does_not_know apache_takes "$SERVICE/three"
check and_the_revoked_ones_are_nothing_to_it apache_refuses "$SERVICE/two"

export VIRTID_ISSUER=$made VIRTID_CA=$SERVICE/made.pem
at=$made_site
check an_issuer_of_the_tests_own_is_believed all_take "$SERVICE/case/good"
for case in token-expired token-not-yet token-key token-signature token-issuer token-algorithm token-malformed \
    token-claims token-bound; do
    check "${case}_is_answered_as_on_the_page" row_is_true $case "$SERVICE/case/$case"
done
check token-generation_is_answered_as_on_the_page generation_is_true
check algorithm_none_is_taken_by_nobody row_is_true token-algorithm "$SERVICE/case/none"
export VIRTID_CA=$SERVICE/stranger.pem
at=$stranger_site
check an_unknown_ca_is_answered_as_on_the_page row_is_true 'SSL certificate problem' "$SERVICE/case/good"
export VIRTID_CA=$SERVICE/made.pem
at=$made_site
kill "$made_pid"
wait "$made_pid" 2>/dev/null
made_pid=
check an_issuer_that_is_away_is_answered_as_on_the_page row_is_true unreachable "$SERVICE/case/token-key"
check and_by_the_shell_lines_with_ask_again_later shell_says 75 'NOT KNOWN' "$SERVICE/case/good"
check every_problem_of_a_token_has_its_row every_problem_has_its_row
plan
