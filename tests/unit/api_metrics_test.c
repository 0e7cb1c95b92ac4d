/*
 * What the service tells Prometheus, and `virtid top`.
 */
#include "config.h"

#include "tests/unit/api_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/common/clock.h"

static struct answer answer;
static char page[JSON_TEXT_MAX];

static void
look(void)
{
    assert_int_equal(api_ask_raw(ON_METRICS, "GET", "/metrics", NULL, 0, NULL, 0), 200);
    snprintf(page, sizeof page, "%s", buf_text(&the_api.body));
}

static void
assert_says(const char *line)
{
    char whole[400];

    snprintf(whole, sizeof whole, "\n%s\n", line);
    if (!strstr(page, whole))
        fail_msg("not there: %s", line);
}

static void
what_was_answered_is_counted(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_host_clear) struct sim_host b;
    CLEANUP(sim_vm_clear) struct sim_vm vm;

    (void)state;
    look();
    assert_says("virtid_proofs_total{result=\"token\"} 0");
    assert_says("virtid_proofs_total{result=\"refused\"} 0");
    assert_null(strstr(page, "virtid_proofs_refused_total{"));

    sim_host_new(&a, "a.example");
    sim_host_new(&b, "b.example");
    sim_vm_enrolled(&vm, 1, SIM_TPM | SIM_SECRET, &a);
    look();
    assert_says("virtid_proofs_total{result=\"token\"} 1");
    assert_says("virtid_proofs_total{result=\"activate\"} 1");
    assert_says("virtid_tokens_issued_total{kind=\"bearer\",factors=\"host+vtpm+secret\"} 1");
    assert_says("virtid_tokens_issued_total{kind=\"bearer\",factors=\"host\"} 0");
    assert_says("virtid_tokens_issued_total{kind=\"bound\",factors=\"host+vtpm+secret\"} 0");
    assert_says("virtid_lease_answers_total{op=\"acquire\",answer=\"ok\"} 1");
    assert_says("virtid_leases{state=\"runs\"} 1");
    assert_says("virtid_accounts{state=\"proved\"} 1");

    strcpy(vm.audience, "nobodys");
    assert_int_equal(sim_vm_token(&vm, &a, &answer), 403);
    (void)sim_host_say(&b, &vm.uuid, VIEW_RUN, 0, true);
    (void)sim_host_say(&a, &vm.uuid, VIEW_RUN, vm.epoch, false);
    look();
    assert_says("virtid_proofs_total{result=\"refused\"} 1");
    assert_says("virtid_proofs_refused_total{problem=\"audience-not-allowed\"} 1");
    assert_says("virtid_refusals_total{listener=\"guests\",problem=\"audience-not-allowed\"} 1");
    assert_says("virtid_lease_answers_total{op=\"acquire\",answer=\"foreign\"} 1");
    assert_says("virtid_lease_answers_total{op=\"report\",answer=\"ok\"} 1");
    assert_non_null(strstr(page, "virtid_request_duration_seconds_count{listener=\"guests\"} "));
    assert_null(strstr(page, "virtid_request_duration_seconds_count{listener=\"guests\"} 0"));
    /* Totals only: there are any number of VMs. */
    assert_null(strstr(page, vm.text));
}

static void
a_host_that_is_silent_and_its_lapsed_lease_are_seen(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    char line[120];

    (void)state;
    the_api.frozen_ms = clock_realtime_ms();
    sim_host_new(&a, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &a);
    snprintf(line, sizeof line, "virtid_host_report_timestamp_seconds{host=\"a.example\"} %lld.%03lld",
             (long long)the_api.frozen_ms / 1000, (long long)the_api.frozen_ms % 1000);
    the_api.skew_ms = LEASE_LIFE_MS - 1;
    look();
    assert_says("virtid_leases{state=\"lapsed\"} 0");
    the_api.skew_ms = LEASE_LIFE_MS;
    look();
    assert_says("virtid_leases{state=\"lapsed\"} 1");
    assert_says("virtid_leases{state=\"runs\"} 0");
    assert_says(line);
    assert_says("virtid_hosts{state=\"joined\"} 1");
    /* After a restart nobody's silence is known yet. */
    api_restart();
    look();
    assert_says("virtid_leases{state=\"lapsed\"} 0");
    assert_says("virtid_leases{state=\"runs\"} 1");
    assert_says("virtid_grace 1");
}

static void
what_an_operator_must_know_is_a_flag(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    struct error err;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &a);
    look();
    assert_says("virtid_clock_behind 0");
    assert_says("virtid_recovery 0");
    assert_says("virtid_host_hook_dead{host=\"a.example\"} 0");
    assert_non_null(strstr(page, "virtid_key_since_timestamp_seconds{purpose=\"token\",state=\"active\",kid=\""));
    assert_non_null(strstr(page, "virtid_key_step_timestamp_seconds{purpose=\"host-ca\",state=\"active\",kid=\""));
    assert_int_equal(store_hook_put(the_api.service.store, "a.example", "late", &err), 0);
    the_api.skew_ms = -2 * CLOCK_BACK_MS;
    the_api.service.recovery = true;
    look();
    assert_says("virtid_clock_behind 1");
    assert_says("virtid_recovery 1");
    assert_says("virtid_host_hook_dead{host=\"a.example\"} 1");
}

static void
the_page_is_on_no_other_path_and_for_no_other_method(void **state)
{
    (void)state;
    assert_int_equal(api_ask_json(ON_METRICS, "POST", "/metrics", json_object(), NULL, 0), 405);
    assert_string_equal(the_api.problem, "method-not-allowed");
    assert_int_equal(api_ask_json(ON_METRICS, "GET", "/v1/admin/top", NULL, NULL, 0), 404);
}

/* ---- virtid top ---- */

static void
top_shows_first_what_is_about_to_lapse_and_is_bounded(void **state)
{
    CLEANUP(json_decref) json_t *o = NULL;
    CLEANUP(sim_host_clear) struct sim_host a;
    struct vm_uuid uuid = { .bytes = { 1, 2, 3, 4, 5, 6, 0x47, 8, 0x89 } };
    char text[VM_UUID_TEXT];
    const json_t *vms;

    (void)state;
    the_api.frozen_ms = clock_realtime_ms();
    sim_host_new(&a, "a.example");
    for (int i = 0; i < 70; i++) {
        uuid.bytes[15] = (uint8_t)i;
        the_api.skew_ms = i == 40 ? 0 : 10000;
        assert_int_equal(sim_host_say(&a, &uuid, VIEW_RUN, 0, true).answer, LEASE_OK);
    }
    the_api.skew_ms = 30000;
    assert_int_equal(api_admin("GET", "/v1/admin/top", NULL), 200);
    o = api_answer();
    assert_int_equal(json_integer_value(json_object_get(json_object_get(o, "leases"), "runs")), 70);
    vms = json_object_get(o, "vms");
    assert_int_equal(json_array_size(vms), 64);
    uuid.bytes[15] = 40;
    vm_uuid_print(&uuid, text);
    assert_string_equal(json_string_value(json_object_get(json_array_get(vms, 0), "uuid")), text);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(vms, 0), "seconds_left")), 30);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(vms, 1), "seconds_left")), 40);
}

static void
top_names_who_was_refused_newest_first(void **state)
{
    CLEANUP(json_decref) json_t *o = NULL;
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_host_clear) struct sim_host b;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    const json_t *refusals;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_host_new(&b, "b.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &a);
    (void)sim_host_say(&b, &vm.uuid, VIEW_RUN, 0, true);
    strcpy(vm.audience, "nobodys");
    assert_int_equal(sim_vm_token(&vm, &a, &answer), 403);
    assert_int_equal(api_admin("GET", "/v1/admin/top", NULL), 200);
    o = api_answer();
    refusals = json_object_get(o, "refusals");
    assert_int_equal(json_array_size(refusals), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(refusals, 0), "problem")), "audience-not-allowed");
    assert_string_equal(json_string_value(json_object_get(json_array_get(refusals, 0), "uuid")), vm.text);
    assert_string_equal(json_string_value(json_object_get(json_array_get(refusals, 1), "problem")), "foreign");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(o, "proofs"), "refused")), 1);
}

static void
top_names_the_host_that_is_longest_silent_first(void **state)
{
    CLEANUP(json_decref) json_t *o = NULL;
    static struct sim_host h[4];
    struct vm_uuid uuid = { .bytes = { 1, 2, 3, 4, 5, 6, 0x47, 8, 0x89 } };
    static const int seconds[] = { 20, 5, 30, 10 };
    static const char *const order[] = { "b.example", "d.example", "a.example", "c.example" };
    const json_t *hosts;

    (void)state;
    the_api.frozen_ms = clock_realtime_ms();
    for (size_t i = 0; i < 4; i++)
        sim_host_new(&h[i], (const char *const[]){ "a.example", "b.example", "c.example", "d.example" }[i]);
    for (size_t i = 0; i < 4; i++) {
        the_api.skew_ms = seconds[i] * 1000;
        (void)sim_host_say(&h[i], &uuid, VIEW_OFF, 0, false);
    }
    assert_int_equal(api_admin("GET", "/v1/admin/top", NULL), 200);
    o = api_answer();
    hosts = json_object_get(o, "hosts");
    assert_int_equal(json_integer_value(json_object_get(o, "joined")), 4);
    assert_int_equal(json_array_size(hosts), 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(json_string_value(json_object_get(json_array_get(hosts, i), "name")), order[i]);
        sim_host_clear(&h[i]);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(what_was_answered_is_counted),
        API_TEST(a_host_that_is_silent_and_its_lapsed_lease_are_seen),
        API_TEST(what_an_operator_must_know_is_a_flag),
        API_TEST(the_page_is_on_no_other_path_and_for_no_other_method),
        API_TEST(top_shows_first_what_is_about_to_lapse_and_is_bounded),
        API_TEST(top_names_who_was_refused_newest_first),
        API_TEST(top_names_the_host_that_is_longest_silent_first),
    };

    return cmocka_run_group_tests_name("api_metrics", tests, api_fixture_start, api_fixture_stop);
}
