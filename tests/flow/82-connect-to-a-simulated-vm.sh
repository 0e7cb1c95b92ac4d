#!/bin/bash
# virtid-verify --connect and a running VM: the right one, a wrong one, and a relay in the middle.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"

sim=$BUILD/virtid-tpmsim
connect() { "$BUILD/virtid-verify" --connect "$1" --issuer "$ISSUER" --ca "$CA" --expect "$2" "${@:3}"; }
# check_says TEXT STATUS WORDS COMMAND...: exit status, and words on its output.
check_says() {
    local text=$1 want=$2 words=$3 out got
    shift 3
    out=$("$@" 2>&1)
    got=$?
    if [ "$got" -eq "$want" ] && grep -q -- "$words" <<<"$out"; then ok "$text"; else
        not_ok "$text"
        printf '%s\n' "exit status $got" "$out" | sed 's/^/# /'
    fi
}

service_up || { not_ok the_service_starts; plan; exit 1; }
skip_without openssl command -v openssl
mkfifo "$SERVICE/out"
admin audience add shop --all --claim name >/dev/null
for vm in one two; do
    admin host add "$vm" --auto >"$SERVICE/code" 2>/dev/null
    # The token comes last: behind it the server serves.
    "$sim" vm --host "$vm" --name "vm-$vm" -a shop --serve 127.0.0.1:0 --keep-running <"$SERVICE/code" >"$SERVICE/out" 2>"$SERVICE/$vm.log" &
    pids+=("$!")
    read -rt 120 _ <"$SERVICE/out" || sed 's/^/# /' "$SERVICE/$vm.log"
done
relay=
trap 'kill "${pids[@]}" $relay 2>/dev/null; wait "${pids[@]}" $relay 2>/dev/null; service_down' EXIT
address() { sed -n 's/.*event=serving name=.* address=//p' "$SERVICE/$1.log" | head -1; }
uuid_of() { sed -n 's/.*event=started .*uuid=\([^ ]*\).*/\1/p' "$SERVICE/$1.log" | head -1; }
one=$(address one) two=$(address two)

check_says the_vm_of_that_name_is_valid 0 '^VALID' connect "$one" vm-one
check_says the_vm_of_that_uuid_is_valid 0 '^VALID' connect "$two" "$(uuid_of two)"
check_says another_vm_at_that_address_is_not 1 'NOT VALID' connect "$two" vm-one
check_says neither_is_a_uuid_that_is_another_vms 1 'NOT VALID' connect "$one" "$(uuid_of two)"
check_says an_unknown_uuid_is_not 1 'NOT VALID' connect "$one" 11111111-2222-4333-8444-555555555555

# A man in the middle that ends TLS on both sides and passes on every byte.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=relay \
    -keyout "$SERVICE/relay.key" -out "$SERVICE/relay.pem" 2>/dev/null
cat >"$SERVICE/relay.py" <<'P'
import socket, ssl, sys, threading

folder, target = sys.argv[1:3]
host, port = target.rsplit(":", 1)
inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
inside.load_cert_chain(folder + "/relay.pem", folder + "/relay.key")
outside = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
outside.check_hostname = False
outside.verify_mode = ssl.CERT_NONE

def serve(raw):
    with inside.wrap_socket(raw, server_side=True) as a, \
            socket.create_connection((host, int(port))) as plain, outside.wrap_socket(plain) as b:
        b.sendall(a.recv(8194))
        answer = b""
        while len(answer) < 2 or len(answer) < 2 + int.from_bytes(answer[:2], "big"):
            more = b.recv(8194)
            if not more:
                break
            answer += more
        a.sendall(answer)
        print("relayed", len(answer), file=sys.stderr, flush=True)

listener = socket.create_server(("127.0.0.1", 0))
print("127.0.0.1:%d" % listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
P
/usr/bin/python3 "$SERVICE/relay.py" "$SERVICE" "$one" >"$SERVICE/out" 2>"$SERVICE/relay.log" &
relay=$!
read -rt 60 middle <"$SERVICE/out"
check_says a_relay_in_the_middle_is_refused 1 'NOT VALID' connect "$middle" vm-one
check the_relay_had_passed_on_a_whole_answer grep -q 'relayed [0-9][0-9][0-9]' "$SERVICE/relay.log"
check_says the_vm_itself_still_is_valid 0 '^VALID' connect "$one" vm-one
kill "${pids[0]}"
wait "${pids[0]}"
check_says a_vm_that_is_off_does_not_answer 3 '' connect "$one" vm-one
plan
