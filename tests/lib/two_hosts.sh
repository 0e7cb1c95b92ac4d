# shellcheck shell=bash
# two_hosts.sh - hosts a and b with one token service, the same images, and a cable between them
#
# Sourced by tests of migration instead of system.sh.  `on HOST COMMAND` runs any word of system.sh
# for that host; the token service runs on a.
. "$(dirname "${BASH_SOURCE[0]}")/system.sh"
boxes=$box
shared_images=$boxes/images # both hosts have the same disks
declare -A address=([a]=10.79.0.1 [b]=10.79.0.2)

two_hosts_end() {
    host_down "$boxes/a"
    host_down "$boxes/b"
    system_end
}
trap two_hosts_end EXIT

# on HOST COMMAND...
on() {
    local box=$boxes/$1

    shift
    "$@"
}

make_host() {
    host_up "$box" "$1" "$stage" || return 1
    printf '[host]\nname = %s\n%s\n' "$1" "${HOSTD_EXTRA:-}" >"$box/etc/virtid/hostd.conf"
    printf '[priv]\nimage_roots = /var/lib/libvirt/images /var/lib/libvirt/local\n' >"$box/etc/virtid/privd.conf"
    inside install -d -m 711 /var/lib/libvirt/local # for disks that the other host has not
    host_takes_migrations "$box" "${address[$1]}"
    inside mount --bind "$shared_images" /var/lib/libvirt/images
}

join_host() { # as host_join, with the service on a
    on a host_enter "$boxes/a" virtid host add "$1" --auto | grep -o 'virtid1,[^ ]*' |
        inside setpriv --reuid virtid --regid "$(host_gid "$box" virtid)" --init-groups -- \
            "$HOST_PREFIX/sbin/virtid-hostd" join --wait 60
}

start_host() {
    join_host "$1" && privd_up && hostd_up && host_libvirtd "$box" --listen && guest_boot_files "$box" "$cache"
}

two_hosts_up() {
    local host

    install -d -m 711 "$shared_images"
    for host in a b; do
        must on $host make_host $host
    done
    must host_link "$boxes/a" "${address[a]}" "$boxes/b" "${address[b]}"
    for host in a b; do
        echo "${address[a]} id.system.test" >>"$boxes/$host/etc/hosts"
    done
    must on a inside virtid init --trust-domain system.test --issuer "$issuer"
    must on a service_up
    must on a inside virtid audience add db --all
    for host in a b; do
        must on $host start_host $host
    done
}

# migrate DOMAIN FROM TO [OPTION...]
migrate() {
    local domain=$1 from=$2 to=$3

    shift 3
    on "$from" virsh migrate --live --unsafe "$@" "$domain" "qemu+tcp://${address[$to]}/system"
}

# held_by DOMAIN HOST [SECONDS]: the service says that this host holds its lease.
held_by() {
    host_wait "${3:-30}" lease_is "$1" "$2" && return 0
    on a inside virtid info "$1"
    return 1
}

lease_is() {
    on a inside virtid --output json info "$1" | /usr/bin/python3 -c '
import json, sys
vm = json.load(sys.stdin)[0]
sys.exit(not (vm["host"] == sys.argv[1] and vm["lease"] == "runs"))' "$2"
}

# Of both hosts, for whoever reads a failure.
show_logs() {
    local host file

    for host in a b; do
        for file in "$boxes/$host"/log/*.log "$boxes/$host/var-log/libvirt/libvirtd.log"; do
            [ -s "$file" ] || continue
            echo "# ---- $host ${file##*/}"
            tail -n 25 "$file" | sed 's/^/# /'
        done
    done
}
