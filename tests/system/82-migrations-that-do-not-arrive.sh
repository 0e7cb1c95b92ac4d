#!/bin/bash
# A live migration is cut in its middle by what happens to its destination, to the link, or by its user: the guest goes
# on where it is, one host alone holds its lease, and it is who it was. What only disturbs a migration does not end it.
set -u
# shellcheck source=tests/lib/failed_moves.sh
. "$(dirname "$0")/../lib/failed_moves.sh"

destination_swtpm_killed() {
    begin_move a b && in_the_middle_now && kill_on b swtpm && hurry && ends_badly
}

# The hook of the destination finds nobody; the daemon comes back when half of the memory is there.
without_hostd_at_first() {
    on b stop virtid-hostd KILL && through a b '' on b hostd_up
}

link_cut_and_mended() {
    cut_link && sleep 2 && mend_link
}

link_cut_for_long() {
    begin_move b a --p2p && in_the_middle_now && cut_link && ends_badly
    mend_link
}

moving_up
ok its_user_aborts_the_job cut_by a b '' on a virsh domjobabort moving
ok it_lives_on_after_the_abort lives a
ok the_destinations_qemu_is_killed cut_by a b --p2p kill_on b qemu-system-x86_64
ok it_lives_on_without_the_destinations_qemu lives a
ok the_destinations_swtpm_is_killed destination_swtpm_killed
ok it_lives_on_without_the_destinations_swtpm lives a
ok the_destinations_libvirtd_is_killed cut_by a b --p2p restart_libvirtd b
ok it_lives_on_without_the_destinations_libvirtd lives a
ok the_destinations_daemon_is_killed_in_the_middle through a b '' restart_hostd b
ok it_arrives_though_the_destinations_daemon_was_killed lives b
must through b a ''
ok the_destinations_daemon_is_away_at_the_hook without_hostd_at_first
ok it_arrives_without_the_hooks_question lives b
ok the_link_is_cut_for_long link_cut_for_long
ok it_lives_on_behind_a_link_that_was_cut lives b
ok the_link_is_cut_and_mended through b a --p2p link_cut_and_mended
ok it_arrives_over_a_link_that_was_cut lives a
done_testing
