#!/bin/bash
# docs/openapi.yaml is what the token service does: held against its table of routes, and against a running one with a
# simulated VM and a host of the test's own, in both directions.  As an ordinary user.
set -u
srcdir=${srcdir:-.}
# shellcheck source=tests/lib/service.sh
. "$srcdir/tests/lib/service.sh"
for module in yaml jsonschema cryptography; do
    skip_without "python3-$module" /usr/bin/python3 -c "import $module"
done

points=(
    the_file_has_the_form_of_openapi_3_1
    no_object_of_it_is_open
    its_problems_are_words_of_the_service_with_their_status
    it_has_each_route_and_no_other
    messages_of_the_codecs_fit_it
    who_needs_a_certificate_is_told
    a_host_joins_by_it
    each_of_its_operations_is_there
    no_listener_has_another_method_or_path
    bodies_are_as_strict_as_it_says
    hosts_are_answered_as_it_says
    guests_are_answered_as_it_says
    what_is_asked_for_is_answered_as_it_says
    operators_are_answered_as_it_says
    what_is_asked_for_is_answered_as_it_says
    each_operation_was_answered_well
    each_member_was_taken
    each_member_of_an_answer_came_but_those_of_rare_days
)

service_up || { not_ok the_service_starts; plan; exit 1; }
METRICS=127.0.0.1:$(free_ports 1)
export METRICS
mkdir -p "$SERVICE/etc/tokend.conf.d"
printf '[listen]\nmetrics = %s\n' "$METRICS" >"$SERVICE/etc/tokend.conf.d/metrics.conf"
# With a page, and keys that are old enough to turn.
service_later 4500 || { not_ok it_starts_with_a_page; plan; exit 1; }
admin audience add shop --all >/dev/null
admin host add simhost --auto >"$SERVICE/code" 2>"$SERVICE/add.log"
"$BUILD/virtid-tpmsim" vm --host simhost --name shop-vm -a shop --state "$SERVICE/vm" <"$SERVICE/code" >"$SERVICE/token" 2>"$SERVICE/vm.log" ||
    sed 's/^/# /' "$SERVICE/vm.log"
"${AS[@]}" /usr/bin/python3 "$srcdir/tests/lib/openapi.py" "$srcdir" "$SERVICE" "${points[@]}"
