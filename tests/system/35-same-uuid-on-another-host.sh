#!/bin/bash
# A second host that defines the same UUID gets no lease; the first is not disturbed.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"

# The second host is the same box with another identity: its daemon starts from nothing.
become_host2() {
    stop virtid-hostd
    inside mv /var/lib/virtid /var/lib/virtid.host1
    inside install -d -m 750 -o virtid -g virtid /var/lib/virtid
    sed -i 's/^name = .*/name = host2/' "$box/etc/virtid/hostd.conf"
    host_join "$box" host2 && hostd_up
}

become_host1() {
    stop virtid-hostd
    inside rm -rf /var/lib/virtid
    inside mv /var/lib/virtid.host1 /var/lib/virtid
    sed -i 's/^name = .*/name = host1/' "$box/etc/virtid/hostd.conf"
    hostd_up
}

epoch_of() {
    inside virtid --output json info "$1" | grep -oE '"epoch": *[0-9]+' | head -n 1
}

settle_is_told() {
    host_wait 180 why_says twin 'claimed|foreign|virtid place' || {
        inside virtid why twin
        return 1
    }
}

stack_up
define twin marker channel >/dev/null
ok the_first_host_provisions_the_domain provisioned twin
ok the_domain_runs_on_the_first_host virsh start twin
ok it_has_a_token_there has_token twin
virsh destroy twin >/dev/null
ok a_second_host_joins become_host2
ok the_second_host_is_told_what_settles_it settle_is_told
virsh start twin >/dev/null 2>&1
refused the_copy_on_the_second_host_gets_no_token has_token twin 15
virsh destroy twin >/dev/null 2>&1
ok the_first_host_comes_back become_host1
ok the_domain_starts_on_the_first_host_again virsh start twin
ok it_has_a_token_on_the_first_host_again has_token twin
done_testing
