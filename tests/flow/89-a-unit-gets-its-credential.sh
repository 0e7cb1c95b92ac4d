#!/bin/bash
# The example unit under a real systemd, in namespaces of its own: its token comes as a credential, for the unit that
# the rules name and for no other.  And what docs/WORKLOADS.md shows, as it stands there: its rules, and its command.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"

sim=$BUILD/virtid-tpmsim
systemd=/lib/systemd/systemd
unified=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)
own=$(sed -n 's/^0:://p' /proc/self/cgroup)
group=${own%/}/virtid-test-$$
vm=
db=
shop=61184 # of the numbers that Debian gives to nobody

[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP root is missing, which alone boots a systemd"; exit 0; }
[ -x $systemd ] || { echo "1..0 # SKIP $systemd is missing (Debian: systemd)"; exit 0; }
if [ -z "${ACCOUNTS_OF_ITS_OWN:-}" ]; then
    mkdir "$unified$group" 2>/dev/null || { echo "1..0 # SKIP a cgroup2 that can be written to is missing: $unified$group"; exit 0; }
    # In a mount namespace of the test's own, where the page's accounts are; as the same process.
    ACCOUNTS_OF_ITS_OWN=yes exec unshare --mount --propagation private bash "$0"
fi

clean_up() {
    local _

    [ -z "$db" ] || kill "$db" 2>/dev/null
    [ -z "$vm" ] || { kill "$vm" && wait "$vm"; } 2>/dev/null
    # Its processes are killed, but not gone yet.
    for _ in {1..100}; do
        find "$unified$group" -depth -type d -exec rmdir {} \; 2>/dev/null
        [ -d "$unified$group" ] || break
        read -rt 0.1 <>"$SERVICE/quiet"
    done
    service_down
}

rules() { printf '[workload shop]\ncgroup = %s\naudiences = shop\n' "$1" >"$guest/workloads.conf"; }
reload() { "$BUILD/virtid-agent" --config "$guest/agent.conf" reload; }

# boot: a systemd that starts the unit and says what became of it.
boot() {
    local i pid

    rm -f "$SERVICE/token" "$SERVICE/became"
    # shellcheck disable=SC2016 # for the shell in there
    (
        echo "$BASHPID" >"$unified$group/cgroup.procs"
        container=virtid SYSTEMD_UNIT_PATH=$SERVICE/units exec unshare --pid --fork --kill-child --mount \
            --mount-proc --ipc --uts --cgroup sh -c 'mount --make-rshared / && mount -t tmpfs tmpfs /run && mount -t cgroup2 cgroup2 /sys/fs/cgroup &&
            exec "$1" --system --unit=boot.target --log-target=console' - $systemd
    ) </dev/null >"$SERVICE/boot.log" 2>&1 &
    pid=$!
    for ((i = 0; i < 600; i++)); do
        [ -e "$SERVICE/became" ] && break
        read -rt 0.2 <>"$SERVICE/quiet"
    done
    { kill -KILL "$pid" && wait "$pid"; } 2>/dev/null
    cat "$SERVICE/became" || { cat "$SERVICE/boot.log"; return 1; }
}
is_started() { [ "$(boot)" = inactive ] && test -s "$SERVICE/token"; }
is_not_started() { [ "$(boot)" = failed ] && ! test -s "$SERVICE/token"; }
says() { grep -q -- "$1" "$SERVICE/vm.log"; }

write_units() {
    mkdir "$SERVICE/units"
    # What the unit does with its token is the test's; how it gets it is the example's.
    sed -e "s|/run/virtid/agent.sock|$guest/run/agent.sock|" -e '/virtid-agent.service/d' -e 's/=db:/=shop:/' -e 's|}/db|}/shop|g' \
        -e "s|^ExecStart=.*|ExecStart=/bin/cat \${CREDENTIALS_DIRECTORY}/shop\nStandardOutput=file:$SERVICE/token|" \
        -e 's/^\[Unit\]/[Unit]\nDefaultDependencies=no/' -e 's/^Restart=.*//' -e 's/^\[Service\]/[Service]\nType=oneshot/' \
        "$srcdir/packaging/examples/shop.service" >"$SERVICE/units/shop.service"
    printf '[Unit]\nDefaultDependencies=no\nWants=driver.service\n' >"$SERVICE/units/boot.target"
    cat >"$SERVICE/units/driver.service" <<-END
	[Unit]
	DefaultDependencies=no
	[Service]
	Type=oneshot
	ExecStart=/bin/sh -c "systemctl start shop.service; systemctl is-failed shop.service >$SERVICE/came; mv $SERVICE/came $SERVICE/became"
	END
}

# ---- the page ----

# page LANGUAGE: the first block of it.
page() { awk -v lang="$1" '$0 == "```" lang { on = 1; next } $0 == "```" && on { exit } on' "$srcdir/docs/WORKLOADS.md"; }

make_accounts() {
    { cat /etc/passwd; echo "shop:x:$shop:$shop::/:/bin/sh"; } >"$SERVICE/passwd"
    { cat /etc/group; echo "shop:x:$shop:"; grep -q ^www-data: /etc/group || echo www-data:x:33:; } >"$SERVICE/group"
    chmod 644 "$SERVICE/passwd" "$SERVICE/group"
    mount --bind "$SERVICE/passwd" /etc/passwd && mount --bind "$SERVICE/group" /etc/group
}

# What the page's curl finds at https://db.example: whoever asks is told nothing, and what he showed is kept.
make_database() {
    local port

    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=db.example \
        -addext subjectAltName=DNS:db.example -keyout "$SERVICE/db.key" -out "$SERVICE/db.pem" 2>/dev/null
    cat >"$SERVICE/db.py" <<-'P'
	import http.server, ssl, sys
	folder = sys.argv[1]
	class Handler(http.server.BaseHTTPRequestHandler):
	    def log_message(self, *args):
	        pass
	    def do_GET(self):
	        with open(folder + "/shown", "w") as shown:
	            shown.write(self.headers.get("Authorization", "").removeprefix("Bearer "))
	        self.send_response(200)
	        self.end_headers()
	        self.wfile.write(b"rows\n")
	server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
	tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
	tls.load_cert_chain(folder + "/db.pem", folder + "/db.key")
	server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
	print(server.server_port, flush=True)
	server.serve_forever()
	P
    exec {said}< <(exec python3 "$SERVICE/db.py" "$SERVICE")
    db=$!
    read -rt 60 port <&"$said" || return 1
    # The user's surroundings: his PATH, and a curl that finds db.example.
    mkdir "$SERVICE/home"
    cp "$BUILD/virtid-agent" "$SERVICE/home/agent"
    cp "$guest/agent.conf" "$SERVICE/db.pem" "$SERVICE/home/"
    printf '#!/bin/sh\nexec %s --config %s "$@"\n' "$SERVICE/home/agent" "$SERVICE/home/agent.conf" >"$SERVICE/home/virtid-agent"
    printf 'cacert = "%s"\nconnect-to = "db.example:443:127.0.0.1:%s"\n' "$SERVICE/home/db.pem" "$port" >"$SERVICE/home/.curlrc"
    chmod -R a+rX "$SERVICE/home"
    chmod a+x "$SERVICE/home"/*agent "$SERVICE" "$SERVICE/vm" "$guest" "$guest/run"
}
# as_user UID: what the page shows.
as_user() { setpriv --reuid "$1" --regid "$1" --clear-groups env HOME="$SERVICE/home" PATH="$SERVICE/home:/usr/bin:/bin" sh -c "$(page sh)"; }
shown_is_for_db() { "$BUILD/virtid-verify" --issuer "$ISSUER" --ca "$CA" --audience db "$1"; }
file_is_shops() {
    local _

    for _ in {1..100}; do
        [ -s "$guest/run/tokens/db" ] && break
        read -rt 0.1 <>"$SERVICE/quiet"
    done
    [ "$(stat -c '%u %a' "$guest/run/tokens/db")" = "$shop 400" ] && shown_is_for_db "$guest/run/tokens/db"
}
another_user_is_not_served() { as_user $((shop + 1)); [ $? = 125 ]; }

service_up || { rmdir "$unified$group"; not_ok the_service_starts; plan; exit 1; }
trap clean_up EXIT
mkfifo "$SERVICE/printed" "$SERVICE/quiet"
admin audience add shop --all >/dev/null
admin host add host1 --auto >"$SERVICE/code" 2>/dev/null
guest=$SERVICE/vm/1
admin audience add db --all >/dev/null
make_accounts || { not_ok accounts_are_made; plan; exit 1; }
"$sim" vm --host host1 --no-tpm -a shop --state "$SERVICE/vm" --keep-running <"$SERVICE/code" >"$SERVICE/printed" 2>"$SERVICE/vm.log" &
vm=$!
read -rt 120 _ <"$SERVICE/printed" || sed 's/^/# /' "$SERVICE/vm.log"
write_units

check a_unit_that_no_rule_names_is_not_started is_not_started
check the_agent_says_which_cgroup_a_rule_would_name says "credential-refused: .*cgroup $group/system.slice/shop.service"
rules "$group/system.slice/shop.service"
check the_rules_are_read_again reload
check a_unit_that_is_named_starts_with_its_token is_started
check it_is_the_virtual_machines_token \
    "$BUILD/virtid-verify" --issuer "$ISSUER" --ca "$CA" --audience shop "$SERVICE/token"
rules "$group/system.slice/other.service"
check the_rules_are_read_once_more reload
check it_has_none_when_another_is_named_instead is_not_started

page ini >"$guest/workloads.conf"
check the_pages_rules_are_read reload
make_database || { not_ok the_database_starts; plan; exit 1; }
check the_pages_file_has_a_token_and_is_the_users file_is_shops
check the_pages_command_gets_through as_user $shop
check with_a_token_for_it shown_is_for_db "$SERVICE/shown"
rm "$SERVICE/shown"
check another_user_has_none another_user_is_not_served
check and_shows_nothing test ! -s "$SERVICE/shown"
plan
