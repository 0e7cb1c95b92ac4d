/*
 * The CA turns by an operator's word: published, told to hosts, awaited, recorded; certificates of before are taken
 * until they have ended.
 */
#include "config.h"

#include "tests/unit/api_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/wire/bundle.h"
#include "tokenservice/api/signing_keys.h"
#include "tokenservice/mint/signer_ca.h"

static unsigned recertified;

static void
count_recertified(void *context)
{
    (void)context;
    recertified++;
}

static uint64_t
serial(void)
{
    return the_api.service.info.bundle_serial;
}

static const char *
next_kid(void)
{
    const struct ca_pair *next = ca_set_find(&the_mint.keys->cas, MINT_KEY_NEXT);

    assert_non_null(next);
    return next->kid;
}

static int
publish(void)
{
    return api_admin("POST", "/v1/admin/ca/rotate", json_object());
}

static int
turn(const char *kid, bool force)
{
    return api_admin("POST", "/v1/admin/ca/rotate", json_pack("{s:s,s:b}", "kid", kid, "force", force));
}

/* A report of a host that runs nothing and holds this bundle; 0: it does not say. */
static int
report(struct sim_host *h, uint64_t held)
{
    char target[64] = "/v1/host/report";

    if (held)
        snprintf(target, sizeof target, "/v1/host/report?bundle=%llu", (unsigned long long)held);
    return sim_host_ask(h, "POST", target,
                        json_pack("{s:s,s:s,s:I,s:[]}", "host", h->name, "boot", "0a5e8b2c-1111-4222-8333-944455566677",
                                  "seq", (json_int_t)++the_api.seq, "vms"));
}

static bool
is_recorded(const char *what, const char *seen)
{
    char wanted[160];

    assert_int_equal(api_admin("GET", "/v1/admin/audit?limit=20", NULL), 200);
    snprintf(wanted, sizeof wanted, "\"seen\":\"%s\"", seen);
    return strstr(buf_text(&the_api.body), wanted) && strstr(buf_text(&the_api.body), what);
}

static size_t
certificates_in(const char *text)
{
    size_t n = 0;

    while ((text = strstr(text, "BEGIN CERTIFICATE"))) {
        text++;
        n++;
    }
    return n;
}

static void
a_next_ca_is_published_told_and_recorded(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    uint64_t before = serial(), published;
    char header[64];
    int64_t records;

    (void)state;
    sim_host_new(&h, "one");
    assert_int_equal(report(&h, before), 200);
    assert_int_equal(publish(), 200);
    published = serial();
    assert_true(published > before);
    assert_true(is_recorded("ca-published", next_kid()));
    records = api_audit_count();
    assert_int_equal(publish(), 200); /* said twice */
    assert_int_equal(serial(), published);
    assert_int_equal(api_audit_count(), records);
    assert_int_equal(report(&h, before), 200);
    snprintf(header, sizeof header, "Virtid-Bundle: %llu\r\n", (unsigned long long)published);
    assert_non_null(strstr(the_api.headers, header));
    assert_int_equal(api_ask_raw(ON_PUBLIC, "GET", "/.well-known/virtid-ca.pem", NULL, 0, NULL, 0), 200);
    assert_int_equal(certificates_in(buf_text(&the_api.body)), 2);
}

static void
it_issues_when_every_host_that_was_seen_has_it(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a, b;
    char kid[MINT_KID_MAX + 1];

    (void)state;
    sim_host_new(&a, "one");
    sim_host_new(&b, "two");
    assert_int_equal(publish(), 200);
    strcpy(kid, next_kid());
    assert_int_equal(report(&a, serial()), 200);
    assert_int_equal(report(&b, 0), 200); /* one of before does not say */
    assert_int_equal(turn(kid, false), 409);
    assert_string_equal(the_api.problem, "ca-young");
    assert_non_null(strstr(buf_text(&the_api.body), "1 of 2 hosts"));
    assert_non_null(strstr(buf_text(&the_api.body), " two"));
    assert_int_equal(report(&b, serial() - 1), 200);
    assert_int_equal(turn(kid, false), 409);
    assert_int_equal(turn("nobodys", true), 404);
    assert_int_equal(report(&b, serial()), 200);
    recertified = 0;
    assert_int_equal(turn(kid, false), 200);
    assert_int_equal(recertified, 1);
    assert_true(is_recorded("ca-turned", kid));
    assert_int_equal(turn(kid, false), 200); /* said twice, and nobody holds the newest yet */
    assert_int_equal(recertified, 1);
}

static void
a_host_that_has_joined_and_said_nothing_is_waited_for(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;

    (void)state;
    sim_host_new(&h, "one");
    assert_int_equal(publish(), 200);
    assert_int_equal(turn(next_kid(), false), 409);
    assert_non_null(strstr(buf_text(&the_api.body), "1 of 1 hosts"));
}

static void
certificates_of_before_are_taken_until_they_have_ended(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    struct error err;

    (void)state;
    sim_host_new(&h, "one");
    assert_int_equal(publish(), 200);
    assert_int_equal(turn(next_kid(), true), 200);
    assert_int_equal(report(&h, serial()), 200);
    for (size_t i = 0; i < the_mint.keys->cas.n; i++) {
        if (the_mint.keys->cas.of[i].state == MINT_KEY_RETIRING)
            the_mint.keys->cas.of[i].since -= CA_RETIRE_SECONDS;
    }
    assert_int_equal(signing_keys_look(&the_api.service, &err), 0);
    assert_int_equal(the_api.service.info.n_host_before, 0);
    assert_int_equal(report(&h, serial()), 403);
}

/* Published, and tokend did not hear of it: what hosts said of the bundle before is not enough. */
static void
a_turn_goes_by_the_signers_newest_bundle(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    struct error err;

    (void)state;
    sim_host_new(&h, "one");
    assert_int_equal(report(&h, serial()), 200);
    assert_int_equal(mint_ca_publish(the_api.service.mint, &err), 0);
    assert_int_equal(turn(next_kid(), false), 409);
    assert_string_equal(the_api.problem, "ca-young");
}

/* tokend ended between the signer's change and the record of it. */
static void
a_change_that_was_not_recorded_is_recorded_at_the_next_start(void **state)
{
    char kid[MINT_KID_MAX + 1];
    struct error err;

    (void)state;
    assert_int_equal(publish(), 200);
    strcpy(kid, next_kid());
    assert_int_equal(mint_ca_turn(the_api.service.mint, kid, &err), 0);
    assert_false(is_recorded("ca-turned", kid));
    api_restart();
    assert_true(is_recorded("ca-turned", kid));
}

static void
a_host_is_answered_the_step_behind_what_it_holds(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(json_decref) json_t *answer = NULL;
    uint64_t first = serial();
    uint8_t bytes[BUNDLE_MAX];
    struct bundle bundle;
    struct error err;
    char target[64];
    size_t len;

    (void)state;
    sim_host_new(&h, "one");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(publish(), 200);
        assert_int_equal(turn(next_kid(), true), 200);
    }
    snprintf(target, sizeof target, "/v1/host/bundle?after=%llu", (unsigned long long)first);
    assert_int_equal(sim_host_ask(&h, "GET", target, NULL), 200);
    answer = api_answer();
    assert_int_equal(json_integer_value(json_object_get(answer, "serial")), serial());
    assert_int_equal(json_get_bytes(answer, "bundle", false, bytes, sizeof bytes, &len, &err), 0);
    assert_int_equal(bundle_decode(bytes, len, &bundle, &err), 0);
    assert_true(bundle.serial > first && bundle.serial < serial());
    assert_int_equal(sim_host_ask(&h, "GET", "/v1/host/bundle?after=x", NULL), 400);
    assert_int_equal(sim_host_ask(&h, "GET", "/v1/host/bundle?after=", NULL), 400);
    assert_int_equal(sim_host_ask(&h, "GET", "/v1/host/bundle", NULL), 200);
}

static int
fixture_new(void **state)
{
    if (api_fixture_new(state) < 0)
        return -1;
    the_api.service.recertify = count_recertified;
    return 0;
}

#define CA_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_new, api_fixture_free)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CA_TEST(a_next_ca_is_published_told_and_recorded),
        CA_TEST(it_issues_when_every_host_that_was_seen_has_it),
        CA_TEST(a_host_that_has_joined_and_said_nothing_is_waited_for),
        CA_TEST(certificates_of_before_are_taken_until_they_have_ended),
        CA_TEST(a_turn_goes_by_the_signers_newest_bundle),
        CA_TEST(a_change_that_was_not_recorded_is_recorded_at_the_next_start),
        CA_TEST(a_host_is_answered_the_step_behind_what_it_holds),
    };

    return cmocka_run_group_tests_name("api_ca", tests, api_fixture_start, api_fixture_stop);
}
