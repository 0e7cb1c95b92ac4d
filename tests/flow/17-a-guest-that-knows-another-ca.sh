#!/bin/bash
# The token service was set up anew at its address: the guest's bundle names the CA that it had. The agent shows
# nothing to a service that its bundle does not vouch for and says so, in the guest and by `virtid why` on the host,
# with what repairs it; then it goes on. And the CA of the same service turned while the guest was off: that it follows
# by itself. A real service, virtid-hostd and virtid-agent; libvirt is its test driver.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"

uuid=6ba7b810-9dad-11d1-80b4-00c04fd430c8
base=$(mktemp -d "${TMPDIR:-/tmp}/virtid-other-ca.XXXXXX")
chmod 711 "$base"
guest=$base/guest
host_pid='' agent_pid='' root_pid=''

# end PID: it is no child of every shell.
end() { [ -z "$1" ] || { kill "$1" 2>/dev/null && timeout 30 tail --pid="$1" -f /dev/null; }; }
end_all() {
    end "$agent_pid"
    end "$host_pid"
    end "$root_pid"
    service_down
    rm -rf "$base"
}
trap end_all EXIT

until_true() {
    local until=$((SECONDS + 90))
    while ((SECONDS < until)); do
        "$@" >/dev/null 2>&1 && return 0
        read -rt 0.2 <>"$base/quiet"
    done
    "$@"
}

# In the root half's place: it gives the host daemon the channel that the agent has opened.
root_half() {
    cat >"$base/root_half.py" <<'P'
import array, os, socket, struct, sys
folder = sys.argv[1]
def listen(path, kind):
    s = socket.socket(socket.AF_UNIX, kind)
    s.bind(path)
    s.listen(8)
    return s
def fields(*all):
    return b"".join(struct.pack(">H", len(f)) + f for f in all)
asked = listen(folder + "/priv.sock", socket.SOCK_SEQPACKET)
channel = listen(folder + "/channel", socket.SOCK_STREAM)
channel.settimeout(2)
while True:
    host, _ = asked.accept()
    request = host.recv(65536)
    held = []
    try:
        if request[:3] != b"\0\1\3":
            raise OSError("only channels here")
        held = [channel.accept()[0].detach(), os.pidfd_open(os.getpid())]
        host.sendmsg([fields(b"\0", b"", b"connected", struct.pack(">I", os.getpid()))],
                     [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", held))])
    except OSError:
        host.send(fields(b"\4", b"", b"not now"))
    for fd in held:
        os.close(fd)
    host.close()
P
    exec "${AS[@]}" python3 "$base/root_half.py" "$base"
}

ask() { curl -sS --max-time 20 --unix-socket "$base/run/hostd.sock" "http://localhost/v1/$1"; }
answers() { ask "$1" | grep -qE -- "$2"; }
agent() { "${AS[@]}" "$BUILD/virtid-agent" "$@" --config "$guest/agent.conf"; }
start_agent() {
    "${AS[@]}" env ASAN_OPTIONS=detect_leaks=0 "$BUILD/virtid-agent" run --config "$guest/agent.conf" 2>>"$guest/log" &
    agent_pid=$!
    until_true test -S "$guest/run/agent.sock"
}
stop_agent() {
    end "$agent_pid"
    agent_pid=''
}
join_host() {
    admin host add host-a --auto >"$base/code" 2>&1
    grep -o 'virtid1,[^ ]*' "$base/code" | "${AS[@]}" "$BUILD/virtid-hostd" join --config "$base/hostd.conf" --wait 60
}
token() { agent token -a "$1" --wait "${2:-90}" >"$base/$1"; }
has_token() { admin key ca >"$CA" && token "$1" && "${AS[@]}" "$BUILD/virtid-verify" --issuer "$ISSUER" --ca "$CA" --audience "$1" "$base/$1"; }
gets_none() { ! token "$1" 3; }
status_says() { agent status 2>/dev/null | grep -E -- "$1"; }
why_says() { "${AS[@]}" "$BUILD/virtid" --service "$ADMIN" --host "$base/run/hostd.sock" why "$uuid" 2>/dev/null | grep -E -- "$1"; }
held() { sha256sum <"$guest/state/bundle"; }
nobody_is_behind() { admin --output json key ca | grep -qF '"behind":[]'; }
same_bundle() { [ "$bundle" = "$(held)" ]; }

service_up || { not_ok the_service_starts; plan; exit 1; }
trap end_all EXIT
mkfifo "$base/quiet"
mkdir -p "$base/run" "$base/state" "$guest/state" "$guest/run"
printf '[host]\nname = host-a\nlibvirt_uri = test://%s\nstate_dir = %s\nrun_dir = %s\npriv_socket = %s\n' \
    "$base/node.xml" "$base/state" "$base/run" "$base/priv.sock" >"$base/hostd.conf"
printf '[agent]\ntcti=none\nchannel=unix:%s\nstate_dir=%s\nrun_dir=%s\n' "$base/channel" "$guest/state" "$guest/run" \
    >"$guest/agent.conf"
cat >"$base/node.xml" <<X
<node><domain type='test'><name>web1</name><uuid>$uuid</uuid>
  <metadata><virtid:identity xmlns:virtid='urn:virtid:domain:1'/></metadata>
  <memory>8192</memory><os><type>hvm</type></os>
  <devices><channel type='unix'><source mode='bind' path='$base/channel'/>
    <target type='virtio' name='org.virtid.0'/></channel></devices>
</domain></node>
X
root_half &
root_pid=$!
for name in a b c d; do admin audience add $name --all >/dev/null; done
check a_host_joins join_host
"${AS[@]}" env ASAN_OPTIONS=detect_leaks=0 "$BUILD/virtid-hostd" --config "$base/hostd.conf" >/dev/null 2>"$base/host.log" &
host_pid=$!
start_agent
check the_guest_has_a_token has_token a
check and_its_bundle until_true test -s "$guest/state/bundle"
bundle=$(held)
check which_the_host_sees until_true why_says '^ *\[ok\] agent +the guest says: token'

# ---- the service is another one now, and the host has joined it ----
service_stop
rm -rf "${SERVICE:?}/etc" "$SERVICE/state" "$SERVICE/keys"
"${AS[@]}" "$BUILD/virtid" init --trust-domain example.test --issuer "$ISSUER" --hosts "$HOSTS" --guests "$GUESTS" \
    --listen 127.0.0.1 --config-dir "$SERVICE/etc" --state-dir "$SERVICE/state" --key-dir "$SERVICE/keys" \
    --run-dir "$SERVICE/run" --signer "$BUILD/virtid-signer" --test >"$SERVICE/init.log" 2>&1
service_start
for name in a b c d e; do admin audience add $name --all >/dev/null; done
check the_host_joins_the_new_service join_host
check and_is_in_touch_with_it until_true answers status '"service":"up"'
check its_vm_has_a_lease_there until_true answers "vms/$uuid" '"step":"lease","state":"ok"'
check the_guest_gets_no_token until_true gets_none b
check the_agent_says_why until_true status_says '^Problem: +ca-changed'
check and_what_it_saw status_says '^Detail: .*by another CA than the trust bundle here names'
check its_log_says_it_too grep -q 'event=proof-failed .*by another CA' "$guest/log"
check once test "$(grep -c 'event=proof-failed .*by another CA' "$guest/log")" = 1
check the_host_sees_it until_true why_says 'the guest says: ca-changed .*by another CA'
check which_is_bad why_says '^ *\[!!\] agent '
check and_the_repair why_says 'remove /etc/virtid/bundle in the guest and restart virtid-agent'
check no_bundle_of_the_new_ca_was_taken same_bundle
stop_agent
start_agent
check nor_does_it_after_a_restart gets_none c
check and_it_keeps_its_bundle same_bundle

# ---- what repairs it ----
stop_agent
rm "$guest/state/bundle"
start_agent
check without_the_old_bundle_it_has_a_token has_token c
check the_host_sees_that_too until_true why_says '^ *\[ok\] agent +the guest says: token'

# ---- the same service's CA turns twice while the guest is off: that it follows ----
stop_agent
for turn in first second; do
    admin key rotate --ca >/dev/null
    check "the_host_takes_the_${turn}_next_ca" until_true nobody_is_behind
    check "the_${turn}_issues" admin key rotate --ca --yes
done
start_agent
check a_guest_that_was_off_meanwhile_has_a_token has_token d
check by_one_step_after_the_other until_true eval '[ "$(grep -c bundle-taken "$guest/log")" = 3 ]'
stop_agent
rm "$guest/state/bundle"
start_agent
check one_that_lost_its_bundle_has_a_token_too has_token e
check and_the_host_is_in_touch answers status '"service":"up"'
plan
