#!/bin/bash
# The example unit under a real systemd, in namespaces of its own: its token comes as a credential, for the unit that
# the rules name and for no other.
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

[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP root is missing, which alone boots a systemd"; exit 0; }
[ -x $systemd ] || { echo "1..0 # SKIP $systemd is missing (Debian: systemd)"; exit 0; }
mkdir "$unified$group" 2>/dev/null || { echo "1..0 # SKIP a cgroup2 that can be written to is missing: $unified$group"; exit 0; }

clean_up() {
    local _

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

service_up || { rmdir "$unified$group"; not_ok the_service_starts; plan; exit 1; }
trap clean_up EXIT
mkfifo "$SERVICE/printed" "$SERVICE/quiet"
admin audience add shop --all >/dev/null
admin host add host1 --auto >"$SERVICE/code" 2>/dev/null
guest=$SERVICE/vm/1
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
plan
