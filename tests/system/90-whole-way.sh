#!/bin/bash
# define, enable, start: a token that two implementations accept, and a client outside
# that knows which VM it talks to.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"

verify() {
    inside virtid-verify --issuer "$issuer" --ca /etc/virtid/ca.pem "$@"
}

ours() {
    echo "$token" | verify --audience "${1:-db}" -
}

theirs() {
    inside /usr/bin/python3 - "$token" "$issuer" "$uuid" <<-'END'
	import json, ssl, sys, urllib.request, jwt
	token, issuer, uuid = sys.argv[1:]
	tls = ssl.create_default_context(cafile="/etc/virtid/ca.pem")
	jwks = json.load(urllib.request.urlopen(issuer + "/.well-known/jwks.json", context=tls))
	kid = jwt.get_unverified_header(token)["kid"]
	key = next(k for k in jwt.PyJWKSet.from_dict(jwks).keys if k.key_id == kid)
	claims = jwt.decode(token, key.key, algorithms=["ES256"], audience="db", issuer=issuer)
	assert claims["sub"] == "spiffe://system.test/vm/" + uuid, claims
	END
}

factors_are_complete() {
    claims "$token" | /usr/bin/python3 -c 'import json,sys
c = json.load(sys.stdin)
print(c)
sys.exit(sorted(c["virtid"]["factors"]) != ["host", "secret", "vtpm"] or not c["acr"].endswith("host+vtpm+secret"))'
}

ek_is_certified() {
    claims "$token" | /usr/bin/python3 -c 'import json,sys
ek = json.load(sys.stdin)["virtid"]["vtpm"]["ek"]
print(ek)
sys.exit(ek != "ca")'
}

# Host daemon and root half have made the vTPM durable, or there would be none.
both_are_fresh() {
    claims "$1" | /usr/bin/python3 -c 'import json,sys
v = json.load(sys.stdin)["virtid"]
print(v)
sys.exit(not (v["vtpm"]["fresh"] and v["secret"]["fresh"]))'
}

connect() {
    verify --connect 10.78.0.2:7443 --expect "$1"
}

connected() {
    host_wait 180 connect "$1" || connect "$1"
}

wrong_vm_is_told() {
    connect 00000000-0000-4000-8000-000000000000
    [ $? = 1 ]
}

no_secret_on_the_host() {
    ! grep -rlE 'BEGIN (EC )?PRIVATE KEY' "$box/var-log" "$box/log" "$box/var-lib/virtid" --include='*.log' --include='*.json'
}

disabled() {
    inside virtid disable whole && ! virsh dumpxml --inactive whole | grep -q 'urn:virtid:domain'
}

stack_up
must host_network "$box"
uuid=$(uuid_of whole)
must define whole tap
ok enable_adds_marker_and_channel inside virtid enable whole
ok the_domain_is_provisioned_while_it_is_off provisioned whole
ok the_domain_starts virsh start whole
token=$(has_token whole)
ok the_agent_has_a_token test -n "$token"
ok virtid_verify_accepts_the_token ours
refused virtid_verify_refuses_it_for_another_audience ours other
ok pyjwt_accepts_the_token theirs
ok the_token_names_all_three_factors factors_are_complete
ok its_ek_is_one_that_the_service_certified ek_is_certified
ok both_ratchets_have_stepped both_are_fresh "$token"
ok connect_says_which_vm_it_is connected "$uuid"
ok connect_knows_it_by_name connected whole
ok connect_refuses_another_vm wrong_vm_is_told
ok no_private_key_is_in_a_log no_secret_on_the_host
virsh destroy whole >/dev/null
ok a_second_start_works virsh start whole
ok a_second_token_comes has_token whole
ok both_ratchets_have_stepped_again both_are_fresh "$(has_token whole)"
virsh destroy whole >/dev/null
ok disable_takes_the_marker_away disabled
done_testing
