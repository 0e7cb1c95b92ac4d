#!/bin/bash
# The token service is down before a live migration, in its middle or behind it: a guest that is not strict moves all the
# same; one host alone holds its lease, and it is who it was.
set -u
# shellcheck source=tests/lib/failed_moves.sh
. "$(dirname "$0")/../lib/failed_moves.sh"

service_down_all_the_time() {
    on a stop virtid-tokend && on a migrates "$1" "$2" && on a service_up
}

service_stops_in_the_middle() {
    begin_move "$1" "$2" && in_the_middle_now && on a stop virtid-tokend && in_the_middle_now && hurry && ends_well &&
        on a service_up
}

# Its guest asks for nothing until the service has forgotten everything but its database.
service_restarts_behind_it() {
    on "$1" guest_run "$boxes/$1" moving 30 'killall -STOP virtid-agent' && migrates "$1" "$2" && restart_tokend &&
        on "$2" guest_run "$boxes/$2" moving 30 'killall -CONT virtid-agent'
}

# Both hosts have heard that it is strict.
strict_stays() {
    local file

    file=/var/lib/virtid/strict/$(uuid_of moving)
    on a inside virtid set moving --mode strict && host_wait 60 on a inside test -e "$file" &&
        host_wait 60 on b inside test -e "$file" && on a stop virtid-tokend || return 1
    migrate moving a b && return 1
    on a service_up && lives a && on a inside virtid set moving --mode loose && host_wait 60 on b not inside test -e "$file"
}

moving_up
ok it_moves_while_the_service_is_down service_down_all_the_time a b
ok it_arrives_before_the_service_does lives b
ok the_service_stops_in_the_middle service_stops_in_the_middle b a
ok it_arrives_though_the_service_went_in_the_middle lives a
ok the_service_is_killed_and_back_in_the_middle through a b '' restart_tokend
ok it_arrives_though_the_service_was_killed lives b
ok the_service_is_killed_behind_it service_restarts_behind_it b a
ok it_proves_itself_to_a_service_that_was_killed lives a
ok a_strict_one_is_not_moved_without_the_service strict_stays
done_testing
