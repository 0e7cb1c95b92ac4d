#!/bin/bash
# What happens to the source of a live migration in its middle: the guest goes on where it is, or starts again there
# when it died with its host's QEMU; one host alone holds its lease, and it is who it was.
set -u
# shellcheck source=tests/lib/failed_moves.sh
. "$(dirname "$0")/../lib/failed_moves.sh"

# The daemon that comes back knows the hand-over from its journal, and has to see that the job still goes on.
daemon_killed_and_job_aborted() {
    begin_move b a && in_the_middle_now && restart_hostd b && in_the_middle_now && on b virsh domjobabort moving && ends_badly
}

# Nobody is there from before the switch-over until it is long over.
daemon_misses_the_end() {
    begin_move b a && in_the_middle_now && on b stop virtid-hostd KILL && hurry && ends_well && on b hostd_up
}

source_swtpm_killed() {
    begin_move a b && in_the_middle_now && kill_on a swtpm && hurry && ends_badly
}

# Its TPM died under it: it runs on without, and a new start heals it.
boots_with_its_tpm() {
    on "$1" in_state moving running && on "$1" virsh destroy moving && starts_again "$1"
}

moving_up
ok the_sources_libvirtd_is_killed cut_by a b --p2p restart_libvirtd a
ok it_lives_on_without_the_sources_libvirtd lives a
ok the_sources_daemon_is_killed_in_the_middle through a b '' restart_hostd a
ok it_arrives_though_the_sources_daemon_was_killed lives b
ok the_sources_daemon_is_killed_and_the_job_aborted daemon_killed_and_job_aborted
ok it_lives_on_at_a_source_whose_daemon_was_killed lives b
ok the_sources_daemon_misses_the_end daemon_misses_the_end
ok it_arrives_though_the_source_says_so_late lives a
ok the_sources_swtpm_is_killed source_swtpm_killed
ok with_its_tpm_killed_it_boots_as_who_it_was boots_with_its_tpm a
ok the_sources_qemu_is_killed cut_by a b '' kill_on a qemu-system-x86_64
ok it_starts_again_where_it_was starts_again a
done_testing
