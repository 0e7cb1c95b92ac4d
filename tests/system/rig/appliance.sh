#!/bin/bash
# appliance.sh CACHE STAGE - libguestfs's appliance as virtid-privd makes it, in CACHE/appliance
#
# Each host makes its own when it is idle: half a minute under TCG, and the same bytes each time.
# Hosts that host_appliance() gives this one find it made.
set -eu
. "$(dirname "$(readlink -f "$0")")/host.sh"
cache=$(mkdir -p "$1" && cd "$1" && pwd) stage=$2

fresh() {
    [ -e "$cache/appliance" ] && [ "$cache/appliance" -nt /var/lib/dpkg/status ] &&
        [ -z "$(find "$stage$HOST_PREFIX/libexec" "$stage$HOST_PREFIX/share/virtid" -newer "$cache/appliance" -print -quit)" ]
}

# made: nobody is at work on it any more.
made() {
    compgen -G "$box/var-cache/virtid/inject/.guestfs-*/appliance.d/root" &&
        ! compgen -G "$box/var-cache/virtid/inject/run-*"
}

! fresh || exit 0
box=$(mktemp -d /var/tmp/virtid-appliance.XXXXXX)
trap 'host_down "$box" >/dev/null || :; rm -rf "$box"' EXIT
host_up "$box" host1 "$stage"
printf '[priv]\nimage_roots = /var/lib/libvirt/images\n' >"$box/etc/virtid/privd.conf"
host_daemon "$box" virtid-privd
host_wait 600 made || {
    tail -n 20 "$box"/log/*.log >&2
    exit 1
}
rm -rf "$cache/appliance.new"
cp -a --sparse=always "$box/var-cache/virtid/inject" "$cache/appliance.new"
touch "$cache/appliance.new"
rm -rf "$cache/appliance"
mv "$cache/appliance.new" "$cache/appliance"
