#!/bin/sh
# pacemaker-alert.sh - tell virtid that Pacemaker has fenced a node: its VMs may start elsewhere
#
# An alert agent of Pacemaker (Pacemaker Administration, "Alert Agents"), on every node:
#
#   pcs alert create id=virtid path=/usr/local/lib/virtid/pacemaker-alert.sh \
#       options VIRTID="ssh virtid@id.example.test virtid"
#
# VIRTID            the command; it must be one that may administer the token service: there, as root or in
#                   its admin group. Over ssh, a key that may run nothing but "virtid host fence" is enough.
# VIRTID_SUFFIX     what a node's name lacks to be its host's name in virtid, e.g. .example.test
#
# The VMs of a node that is in a pool start on the others of that pool alone: let it be the cluster (virtid pool set).
# Runs on each node for each event: a fence that was said before changes nothing.  Ordering: a VM that is
# started by the cluster before this was heard is refused once (its host has no lease), and starts with the
# cluster's next try.
set -u

VIRTID=${VIRTID:-virtid}
TRIES=5 PAUSE=${VIRTID_PAUSE:-4} # seconds; Pacemaker gives an alert 30
OLD=120         # an alert that comes later may mean a node that has come back

[ "${CRM_alert_kind:-}" = fencing ] || exit 0
case ${CRM_alert_task:-} in off | reboot) ;; *) exit 0 ;; esac
[ "${CRM_alert_rc:-1}" = 0 ] || exit 0
case ${CRM_alert_node:-} in
'' | -* | *[!a-z0-9.-]*)
    echo "virtid: \"${CRM_alert_node:-}\" is no host name" >&2
    exit 1
    ;;
esac
now=$(date +%s)
[ $((now - ${CRM_alert_timestamp_epoch:-$now})) -le $OLD ] || exit 0

# Exit status 3: the service cannot be reached, or has just started and waits for its hosts.
while :; do
    # shellcheck disable=SC2086 # a command with its arguments
    $VIRTID host fence "$CRM_alert_node${VIRTID_SUFFIX:-}" --yes
    status=$?
    TRIES=$((TRIES - 1))
    { [ $status -ne 3 ] || [ $TRIES -le 0 ]; } && exit $status
    sleep $PAUSE
done
