#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/api_fixture.h"

static const struct vm_uuid vm = { { 0x6b, [6] = 0x40, [8] = 0x80, [15] = 1 } };
#define VM "6b000000-0000-4000-8000-000000000001"

static int
set_mode(const char *mode)
{
    return api_admin("PATCH", "/v1/admin/vms/" VM, json_pack("{s:s}", "mode", mode));
}

/* The question of a host that observes: a report that must change nothing. */
static struct lease_result
ask(struct sim_host *h)
{
    static struct lease_report report;
    CLEANUP(buf_clear) struct buf text = BUF(HTTP_BODY_MAX);
    struct lease_result result = { .answer = 0 };
    struct error err = { 0 };
    size_t n;

    memset(&report, 0, sizeof report);
    strcpy(report.host, h->name);
    strcpy(report.boot, "0a5e8b2c-1111-4222-8333-944455566677");
    strcpy(report.hook, "silent");
    report.seq = ++the_api.seq;
    report.op = LEASE_OP_ASK;
    report.n_vms = 1;
    report.vms[0].uuid = vm;
    report.vms[0].view = VIEW_RUN;
    assert_int_equal(lease_report_encode(&report, &text, &err), 0);
    assert_int_equal(api_ask_raw(ON_HOSTS, "POST", "/v1/host/report", text.data, text.len, h->cert, h->cert_len), 200);
    assert_int_equal(lease_results_decode((const char *)the_api.body.data, the_api.body.len, &result, 1, &n, &err), 0);
    return result;
}

static void
a_mode_goes_to_the_host_with_every_answer(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;

    (void)state;
    sim_host_new(&a, "a.example");
    assert_int_equal(sim_host_say(&a, &vm, VIEW_RUN, 0, true).mode, MODE_OF_HOST);
    assert_int_equal(set_mode("strict"), 200);
    assert_int_equal(sim_host_say(&a, &vm, VIEW_OFF, 0, false).mode, MODE_STRICT);
    api_restart();
    assert_int_equal(sim_host_say(&a, &vm, VIEW_OFF, 0, false).mode, MODE_STRICT);
    assert_int_equal(set_mode("host"), 200);
    assert_int_equal(sim_host_say(&a, &vm, VIEW_OFF, 0, false).mode, MODE_OF_HOST);
}

static void
a_mode_can_be_set_before_the_first_claim_and_makes_no_account(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;

    (void)state;
    sim_host_new(&a, "a.example");
    assert_int_equal(set_mode("observe"), 200);
    assert_int_equal(api_admin("GET", "/v1/admin/vms/" VM, NULL), 404);
    assert_int_equal(sim_host_say(&a, &vm, VIEW_OFF, 0, false).mode, MODE_OBSERVE);
    assert_int_equal(api_admin("GET", "/v1/admin/vms/" VM, NULL), 404);
}

static void
what_is_no_mode_is_refused_and_changes_nothing(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;

    (void)state;
    sim_host_new(&a, "a.example");
    assert_int_equal(set_mode("strict"), 200);
    assert_int_equal(set_mode("stric"), 400);
    assert_int_equal(set_mode(""), 400);
    assert_int_equal(api_admin("PATCH", "/v1/admin/vms/" VM, json_pack("{s:i}", "mode", 2)), 400);
    /* An account is needed for all else, and a name for nobody is none. */
    assert_int_equal(api_admin("PATCH", "/v1/admin/vms/" VM, json_pack("{s:s,s:s}", "mode", "loose", "owner", "x")), 404);
    assert_int_equal(api_admin("PATCH", "/v1/admin/vms/web1", json_pack("{s:s}", "mode", "loose")), 404);
    assert_int_equal(sim_host_say(&a, &vm, VIEW_OFF, 0, false).mode, MODE_STRICT);
}

static void
a_question_takes_no_lease_and_leaves_no_trace(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_host_clear) struct sim_host b;
    struct lease_result result;
    uint64_t held;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_host_new(&b, "b.example");
    result = ask(&a);
    assert_int_equal(result.answer, LEASE_OK);
    assert_int_equal(result.e, 0);
    assert_int_equal(result.receipt_len, 0);
    assert_int_equal(api_admin("GET", "/v1/admin/vms/" VM, NULL), 404);
    held = sim_host_say(&b, &vm, VIEW_RUN, 0, true).e;
    result = ask(&a);
    assert_int_equal(result.answer, LEASE_FOREIGN);
    assert_string_equal(result.holder, "b.example");
    assert_int_equal(result.receipt_len, 0);
    ask(&b); /* acquire would begin a new epoch */
    assert_true(sim_host_say(&b, &vm, VIEW_RUN, held, false).e == held);
}

static void
an_observed_vm_is_claimed_by_nobody(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    struct lease_result result;
    uint64_t held;

    (void)state;
    sim_host_new(&a, "a.example");
    assert_int_equal(set_mode("observe"), 200);
    result = sim_host_say(&a, &vm, VIEW_RUN, 0, true);
    assert_int_equal(result.answer, LEASE_OK);
    assert_int_equal(result.e, 0);
    assert_int_equal(sim_host_say(&a, &vm, VIEW_RUN, 0, false).e, 0);
    assert_int_equal(api_admin("GET", "/v1/admin/vms/" VM, NULL), 404);
    /* A run that began with the lease keeps it to its end. */
    assert_int_equal(set_mode("loose"), 200);
    held = sim_host_say(&a, &vm, VIEW_RUN, 0, true).e;
    assert_int_equal(set_mode("observe"), 200);
    assert_true(held != 0 && sim_host_say(&a, &vm, VIEW_RUN, held, false).e == held);
    assert_int_equal(sim_host_say(&a, &vm, VIEW_GO, held, false).answer, LEASE_ACK);
    assert_int_equal(sim_host_say(&a, &vm, VIEW_RUN, 0, true).e, 0);
}

static void
the_hooks_word_is_shown_with_its_host(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(json_decref) json_t *answer = NULL;
    json_t *host;

    (void)state;
    sim_host_new(&a, "a.example");
    ask(&a);
    api_restart();
    assert_int_equal(api_admin("GET", "/v1/admin/hosts", NULL), 200);
    answer = api_answer();
    host = json_array_get(json_object_get(answer, "hosts"), 0);
    assert_string_equal(json_string_value(json_object_get(host, "hook")), "silent");
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        API_TEST(a_mode_goes_to_the_host_with_every_answer),
        API_TEST(a_mode_can_be_set_before_the_first_claim_and_makes_no_account),
        API_TEST(what_is_no_mode_is_refused_and_changes_nothing),
        API_TEST(a_question_takes_no_lease_and_leaves_no_trace),
        API_TEST(an_observed_vm_is_claimed_by_nobody),
        API_TEST(the_hooks_word_is_shown_with_its_host),
    };

    return cmocka_run_group_tests_name("api_words", t, api_fixture_start, api_fixture_stop);
}
