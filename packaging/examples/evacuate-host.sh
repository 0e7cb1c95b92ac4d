#!/bin/sh
# evacuate-host.sh - before an evacuation: take the identities of a dead host's VMs along
#
#   evacuate-host.sh HOST [TO]
#
# HOST is off: the caller has seen to that (a fence agent, a power switch, a person).  Fences it in virtid
# and prints the UUIDs of the VMs that may start elsewhere now, one a line: on TO alone, if it is named; else on
# the other hosts of its pool (`virtid pool list`), or, where it is in none, on any other.
# For orchestrators that rebuild VMs (Nova's `evacuate`, Masakari, scripts of your own): call it first.
#
# VIRTID            the command, as in pacemaker-alert.sh
set -eu

VIRTID=${VIRTID:-virtid}
TRIES=20 PAUSE=${VIRTID_PAUSE:-5} # a service that has just started waits a minute for its hosts

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "Usage: evacuate-host.sh HOST [TO]" >&2
    exit 2
fi
host=$1
to=${2:+--to $2}
case "$host ${2:-}" in -* | *[!a-z0-9.\ -]*) echo "\"$*\": no host names" >&2 && exit 2 ;; esac

# shellcheck disable=SC2086 # a command with its arguments
vms=$($VIRTID --output json list | tr '{' '\n' | grep -F "\"host\":\"$host\"" | grep -o '"uuid":"[0-9a-f-]*"' | cut -d'"' -f4 || true)
while :; do
    status=0
    # shellcheck disable=SC2086
    $VIRTID host fence "$host" $to --yes >&2 || status=$?
    [ $status -ne 0 ] || break
    TRIES=$((TRIES - 1))
    { [ $status -eq 3 ] && [ $TRIES -gt 0 ]; } || exit $status
    sleep $PAUSE
done
[ -z "$vms" ] || printf '%s\n' "$vms"
