#!/bin/bash
# Live migrations back and forth between two hosts, while the guest asks for a token every 100 ms; beside it a guest
# that we do not manage, for comparison: `make check-migration COUNT=n`.
#
# COUNT: how many of each (10). Prints totals; fails on a failed migration of ours (the other guest's are tried twice), a
# token that was not got, and a lease that two hosts had; with 30 and more of each also on a downtime that is more than a twentieth above that of the other guest.
set -u
# shellcheck source=tests/lib/two_hosts.sh
. "$(dirname "$0")/../lib/two_hosts.sh"
count=${COUNT:-10}
MOST_PERCENT=105
FEW=30 # with fewer of each the medians say little
[[ $count =~ ^[1-9][0-9]{0,4}$ ]] || {
    echo "check-migration: COUNT=$count is no number from 1 to 99999" >&2
    exit 2
}
failed=0 unsettled=0 stock_again=0

# loop NAME COMMAND: in that guest, every 100 ms; it counts what it tried and what failed, and the longest time without
# (in hundredths of a second, by its own clock).
loop() {
    on a guest_run "$boxes/a" "$1" 60 "(i=0; longest=0; last=; while [ ! -e /run/stop ]; do
        if $2 >/dev/null 2>>/run/errors; then
            read now rest </proc/uptime; now=\${now%.*}\${now#*.}
            [ -z \"\$last\" ] || [ \$((now - last)) -le \$longest ] || { longest=\$((now - last)); echo \$longest >/run/longest; }
            last=\$now
        else
            echo failed >>/run/failures
        fi
        i=\$((i + 1)); echo \$i >/run/fetched; usleep 100000; done) >/dev/null 2>&1 </dev/null &"
}

# in_guest HOST NAME COMMAND
in_guest() {
    on "$1" guest_run "$boxes/$1" "$2" 60 "$3"
}

# downtime HOST NAME: of the migration that brought it there, in ms, as libvirt measured it.
downtime() {
    on "$1" virsh domjobinfo "$2" --completed | sed -nE 's/^Total downtime: +([0-9]+) +ms.*/\1/p'
}

# goes NAME FROM TO [OPTION...]: QEMU itself may fail now and then, and is no failure of ours where we do nothing.
goes() {
    migrate "$@" >>"$boxes/migrate.log" 2>&1 && on "$3" in_state "$1" running && return 0
    [ "$1" = stock ] || return 1
    stock_again=$((stock_again + 1))
    migrate "$@" >>"$boxes/migrate.log" 2>&1 && on "$3" in_state "$1" running
}

# One of each, in turn first: what else the machine does hits both alike.
round() {
    local n=$1 from=$2 to=$3 names=(moving stock) how=() name

    ((n % 2)) && names=(stock moving)
    ((n % 4 < 2)) || how=(--p2p)
    for name in "${names[@]}"; do
        if goes "$name" "$from" "$to" "${how[@]}"; then
            downtime "$to" "$name" | grep . >>"$boxes/downtime.$name" || { echo "libvirt tells no downtime of $name" >&2; return 1; }
        else
            failed=$((failed + 1))
            echo "migration $n of $name from $from to $to failed: $(tail -n 1 "$boxes/migrate.log")" >&2
            return 1
        fi
    done
    host_wait 60 lease_is moving "$to" && return 0
    unsettled=$((unsettled + 1))
    echo "after migration $n the lease is not at $to:" >&2
    on "$to" inside virtid why moving >&2
    on "$to" console_tail >&2
    return 1
}

console_tail() {
    tail -n 30 "$(guest_console "$box" moving)"
}

# What the service granted, in order: an epoch belongs to one host, and is never followed by an older one.
double_leases() {
    grep -hE "event=(token|lease) uuid=$(uuid_of moving) " "$boxes/a/log/virtid-tokend.log" | /usr/bin/python3 -c '
import re, sys
holder, newest, double = {}, 0, 0
for line in sys.stdin:
    word = dict(re.findall(r"(\w+)=(\S+)", line))
    epoch = int(word["epoch"])
    double += epoch < newest or holder.setdefault(epoch, word["host"]) != word["host"]
    newest = max(newest, epoch)
print(double)'
}

median() {
    sort -n "$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

totals() {
    local at=$1 fetched missed longest double ours stock percent

    in_guest "$at" moving 'touch /run/stop; sleep 2' >/dev/null
    fetched=$(in_guest "$at" moving 'cat /run/fetched' | grep -oE '[0-9]+' | tail -n 1)
    missed=$(in_guest "$at" moving 'cat /run/failures 2>/dev/null | wc -l' | grep -oE '[0-9]+' | tail -n 1)
    longest=$(in_guest "$at" moving 'cat /run/longest' | grep -oE '[0-9]+' | tail -n 1)
    double=$(double_leases)
    ours=$(median "$boxes/downtime.moving") stock=$(median "$boxes/downtime.stock")
    percent=$(awk -v a="$ours" -v b="$stock" 'BEGIN { printf "%d", (b > 0 ? a * 100 / b + 0.5 : 0) }')
    printf '%-22s %s\n' migrations "$(cat "$boxes"/downtime.* | wc -l)" "failed, ours" "$failed" "failed, other, once" "$stock_again" "lease not settled" "$unsettled" \
        tokens "$fetched" "missed tokens" "$missed" \
        "longest without one" "${longest:-?}0 ms" "double leases" "$double" \
        "median downtime" "$ours ms with virtid, $stock ms without: $percent %"
    [ "${missed:-1}" = 0 ] || in_guest "$at" moving 'tail -n 5 /run/errors'
    [ "$(cat "$boxes"/downtime.* | wc -l)" = $((2 * count)) ] && [ "$failed" = 0 ] && [ "$unsettled" = 0 ] && [ "${missed:-1}" = 0 ] && [ "$double" = 0 ] && [ "${fetched:-0}" -gt "$count" ] &&
        { [ "$count" -lt $FEW ] || [ "$percent" -le $MOST_PERCENT ]; }
}

two_hosts_up
must on a define stock channel
must on a define moving channel marker
must on a provisioned moving
must on a virsh start moving
must on a virsh start stock
on a has_token moving >/dev/null || must false
must loop moving 'virtid-agent token -a db'
must loop stock 'virtid-agent --version'
at=a
for ((n = 1; n <= count; n++)); do
    to=b
    [ $at = a ] || to=a
    round $n $at $to || break
    at=$to
    ((n % 25)) || echo "$n of $count" >&2
done
totals $at && exit 0
show_logs
exit 1
