#include "config.h"

#include "tests/unit/api_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tokenservice/api/caller.h"

static void
a_host_joins_after_approval_and_gets_its_certificates(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(json_decref) json_t *pending = NULL;
    const char *fingerprint;

    (void)state;
    sim_host_invite(&h, "one.example", false);
    assert_int_equal(sim_host_join(&h), 202);
    pending = api_answer();
    fingerprint = json_string_value(json_object_get(pending, "fingerprint"));
    assert_int_equal(strlen(fingerprint), 32);
    assert_int_equal(api_admin("POST", "/v1/admin/hosts/one.example/approve",
                               json_pack("{s:s}", "fingerprint", "00")),
                     409);
    assert_int_equal(sim_host_join(&h), 202);
    assert_int_equal(api_admin("POST", "/v1/admin/hosts/one.example/approve",
                               json_pack("{s:s}", "fingerprint", fingerprint)),
                     200);
    assert_int_equal(sim_host_join(&h), 200);
    assert_int_equal(sim_host_ask(&h, "GET", "/v1/host/bundle", NULL), 200);
}

static void
a_wrong_code_is_refused_and_leaves_no_trace(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    int64_t before;

    (void)state;
    sim_host_invite(&h, "one.example", true);
    before = api_audit_count();
    h.token[0] ^= 1;
    assert_int_equal(sim_host_join(&h), 403);
    assert_string_equal(the_api.problem, "refused");
    strcpy(h.name, "nobody.example");
    assert_int_equal(sim_host_join(&h), 403);
    assert_string_equal(the_api.problem, "refused");
    assert_int_equal(api_audit_count(), before);
}

static void
a_join_code_dies_after_fifteen_minutes(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;

    (void)state;
    sim_host_invite(&h, "one.example", true);
    the_api.skew_ms = 15 * 60 * 1000 + 1;
    assert_int_equal(sim_host_join(&h), 403);
    assert_string_equal(the_api.problem, "join-expired");
}

static void
a_join_code_is_redeemed_by_one_pair_of_keys(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    struct key *first, *other = NULL;
    struct error err;

    (void)state;
    sim_host_invite(&h, "one.example", false);
    assert_int_equal(sim_host_join(&h), 202);
    first = h.tls;
    assert_int_equal(key_generate(&other, &err), 0);
    h.tls = other;
    assert_int_equal(sim_host_join(&h), 409);
    assert_string_equal(the_api.problem, "join-used");
    h.tls = first;
    key_free(other);
    assert_int_equal(sim_host_join(&h), 202);
}

static void
one_key_for_two_purposes_does_not_join(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    struct key *proof;

    (void)state;
    sim_host_invite(&h, "one.example", true);
    proof = h.proof;
    h.proof = h.tls;
    assert_int_equal(sim_host_join(&h), 403);
    h.proof = proof;
    assert_int_equal(sim_host_join(&h), 200);
}

static void
a_repeated_join_shows_the_same_certificate(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    uint8_t first[2048];

    (void)state;
    sim_host_invite(&h, "one.example", true);
    assert_int_equal(sim_host_join(&h), 200);
    memcpy(first, h.cert, sizeof first);
    assert_int_equal(sim_host_join(&h), 200);
    assert_memory_equal(first, h.cert, h.cert_len);
}

static struct key *
copy_key(const struct key *key)
{
    uint8_t scalar[KEY_PRIVATE_LEN];
    struct key *copy = NULL;
    struct error err;

    key_private(key, scalar);
    assert_int_equal(key_from_private(scalar, &copy, &err), 0);
    return copy;
}

/* Whoever has the code and the first keys, from an old backup, gets nothing for them.
 */
static void
a_join_code_makes_no_second_certificate(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_host_clear) struct sim_host copy;

    (void)state;
    sim_host_new(&h, "one.example");
    copy = h;
    copy.tls = copy_key(h.tls);
    copy.proof = copy_key(h.proof);
    assert_int_equal(sim_host_renew(&h), 200);
    assert_int_equal(sim_host_ask(&h, "GET", "/v1/host/bundle", NULL), 200);
    assert_int_equal(sim_host_join(&copy), 409);
    assert_string_equal(the_api.problem, "join-used");
    assert_int_equal(sim_host_ask(&h, "GET", "/v1/host/bundle", NULL), 200);
}

/* Nor for the host itself, once what it got has ended. */
static void
a_join_code_shows_no_certificate_that_has_ended(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;

    (void)state;
    sim_host_new(&h, "one.example");
    the_api.skew_ms = INT64_C(25) * 3600 * 1000;
    assert_int_equal(sim_host_join(&h), 409);
    assert_string_equal(the_api.problem, "join-used");
}

static void
a_joined_name_is_not_given_out_again(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_host_clear) struct sim_host again;

    (void)state;
    sim_host_new(&h, "one.example");
    assert_int_equal(
        api_admin("POST", "/v1/admin/hosts", json_pack("{s:s}", "name", h.name)), 409);
    assert_int_equal(api_admin("DELETE", "/v1/admin/hosts/one.example", NULL), 200);
    sim_host_new(&again, "one.example");
    assert_int_equal(sim_host_ask(&h, "GET", "/v1/host/bundle", NULL), 403);
}

/* It was off for a day: its name is free for it again. */
static void
a_name_whose_certificates_have_ended_is_invited_again(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;

    (void)state;
    sim_host_new(&h, "one.example");
    the_api.skew_ms = INT64_C(23) * 3600 * 1000;
    assert_int_equal(
        api_admin("POST", "/v1/admin/hosts", json_pack("{s:s}", "name", h.name)), 409);
    the_api.skew_ms = INT64_C(25) * 3600 * 1000;
    assert_int_equal(
        api_admin("POST", "/v1/admin/hosts", json_pack("{s:s}", "name", h.name)), 201);
    the_api.skew_ms = 0; /* what it had is worth nothing, whatever the clock says */
    assert_int_equal(sim_host_ask(&h, "GET", "/v1/host/bundle", NULL), 403);
}

static void
a_removed_host_is_refused_at_its_next_request(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;

    (void)state;
    sim_host_new(&h, "one.example");
    assert_int_equal(api_admin("DELETE", "/v1/admin/hosts/one.example", NULL), 200);
    assert_int_equal(sim_host_ask(&h, "GET", "/v1/host/bundle", NULL), 403);
    assert_string_equal(the_api.problem, "refused");
    assert_int_equal(sim_host_join(&h), 403);
}

static void
a_renewed_certificate_retires_the_one_before_at_its_first_use(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    uint8_t old[2048];
    size_t old_len;

    (void)state;
    sim_host_new(&h, "one.example");
    memcpy(old, h.cert, sizeof old);
    old_len = h.cert_len;
    assert_int_equal(sim_host_renew(&h), 200);
    /* An answer that was lost: the old one still works. */
    assert_int_equal(
        api_ask_json(ON_HOSTS, "GET", "/v1/host/bundle", NULL, old, old_len), 200);
    assert_int_equal(sim_host_ask(&h, "GET", "/v1/host/bundle", NULL), 200);
    assert_int_equal(
        api_ask_json(ON_HOSTS, "GET", "/v1/host/bundle", NULL, old, old_len), 403);
    assert_int_equal(sim_host_ask(&h, "GET", "/v1/host/bundle", NULL), 200);
}

static void
a_copied_key_locks_the_host_once_it_was_renewed(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    uint8_t old[2048];
    size_t old_len;

    (void)state;
    sim_host_new(&h, "one.example");
    memcpy(old, h.cert, sizeof old);
    old_len = h.cert_len;
    assert_int_equal(sim_host_renew(&h), 200);
    assert_int_equal(sim_host_ask(&h, "GET", "/v1/host/bundle", NULL), 200);
    the_api.skew_ms = CALLER_RETIRED_MS + 1000;
    assert_int_equal(
        api_ask_json(ON_HOSTS, "GET", "/v1/host/bundle", NULL, old, old_len), 403);
    assert_int_equal(sim_host_ask(&h, "GET", "/v1/host/bundle", NULL), 403);
}

static void
a_report_is_believed_about_its_own_host_only(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    struct vm_uuid uuid = { { 1 } };

    (void)state;
    sim_host_new(&a, "a.example");
    strcpy(a.name, "b.example");
    sim_host_say(&a, &uuid, VIEW_RUN, 0, true);
    assert_int_equal(the_api.status, 403);
    assert_string_equal(the_api.problem, "wrong-host");
}

static void
another_host_is_foreign_and_told_who_has_it(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_host_clear) struct sim_host b;
    struct vm_uuid uuid = { { 1 } };
    struct lease_result r;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_host_new(&b, "b.example");
    assert_int_equal(sim_host_say(&a, &uuid, VIEW_RUN, 0, true).answer, LEASE_OK);
    r = sim_host_say(&b, &uuid, VIEW_RUN, 0, true);
    assert_int_equal(r.answer, LEASE_FOREIGN);
    assert_string_equal(r.holder, "a.example");
    assert_in_range(r.seconds_left, 50, 60);
    assert_int_equal(r.receipt_len, 0); /* it has not proved itself: nothing that could be lost */
}

static void
a_word_heard_before_is_acknowledged_and_not_applied(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    struct vm_uuid uuid = { { 1 } };
    struct lease_result r;
    uint64_t epoch;

    (void)state;
    sim_host_new(&a, "a.example");
    epoch = sim_host_say(&a, &uuid, VIEW_RUN, 0, true).e;
    the_api.seq--;
    r = sim_host_say(&a, &uuid, VIEW_RUN, 0, true);
    assert_int_equal(r.answer, LEASE_OK);
    assert_true(r.e == epoch);
    /* An end that arrives late, with a number from before. */
    the_api.seq -= 2;
    sim_host_say(&a, &uuid, VIEW_GO, epoch, false);
    r = sim_host_say(&a, &uuid, VIEW_RUN, epoch, false);
    assert_int_equal(r.answer, LEASE_OK);
}

static void
an_end_is_acknowledged_and_gives_the_lease_back(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    struct vm_uuid uuid = { { 1 } };
    struct lease_result r;
    uint64_t epoch;

    (void)state;
    sim_host_new(&a, "a.example");
    epoch = sim_host_say(&a, &uuid, VIEW_RUN, 0, true).e;
    r = sim_host_say(&a, &uuid, VIEW_GO, epoch, false);
    assert_int_equal(r.answer, LEASE_ACK);
    assert_true(r.acked_seq > 0);
    assert_true(sim_host_say(&a, &uuid, VIEW_RUN, 0, true).e > epoch);
}

static void
with_enrol_placed_a_new_vm_waits_for_an_operator(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    struct vm_uuid uuid = { { 1, 2, 3, 4, 5, 6, 0x40, 8, 0x80 } };

    (void)state;
    the_api.service.enrol_placed = true;
    sim_host_new(&a, "a.example");
    assert_int_equal(sim_host_say(&a, &uuid, VIEW_RUN, 0, true).answer, LEASE_FOREIGN);
    assert_int_equal(
        api_admin("POST", "/v1/admin/vms/01020304-0506-4008-8000-000000000000/place",
                  json_pack("{s:s}", "host", "a.example")),
        200);
    assert_int_equal(sim_host_say(&a, &uuid, VIEW_RUN, 0, true).answer, LEASE_OK);
}

static void
after_a_restart_nothing_changes_before_the_hosts_have_reported(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_host_clear) struct sim_host b;
    struct vm_uuid uuid = { { 1 } }, other = { { 2 } };
    uint64_t epoch;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_host_new(&b, "b.example");
    epoch = sim_host_say(&a, &uuid, VIEW_RUN, 0, true).e;
    sim_host_say(&b, &other, VIEW_OFF, 0, false);
    api_restart();
    assert_int_equal(api_ask_json(ON_PUBLIC, "GET", "/readyz", NULL, NULL, 0), 503);
    assert_int_equal(sim_host_say(&a, &other, VIEW_RUN, 0, true).answer, LEASE_GRACE);
    assert_int_equal(sim_host_say(&a, &uuid, VIEW_RUN, epoch, false).answer, LEASE_OK);
    sim_host_say(&b, &other, VIEW_OFF, 0, false);
    assert_int_equal(api_ask_json(ON_PUBLIC, "GET", "/readyz", NULL, NULL, 0), 200);
    assert_int_equal(sim_host_say(&a, &other, VIEW_RUN, 0, true).answer, LEASE_OK);
}

static void
grace_ends_by_itself(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    struct vm_uuid uuid = { { 1 } };

    (void)state;
    sim_host_new(&a, "a.example");
    sim_host_say(&a, &uuid, VIEW_RUN, 0, true);
    api_restart();
    assert_int_equal(api_ask_json(ON_PUBLIC, "GET", "/readyz", NULL, NULL, 0), 503);
    the_api.skew_ms = 60000;
    assert_int_equal(api_ask_json(ON_PUBLIC, "GET", "/readyz", NULL, NULL, 0), 200);
}

/* However far the clock goes back, it is one more lease time at most. */
static void
grace_ends_although_the_clock_goes_back(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    struct vm_uuid uuid = { { 1 } };

    (void)state;
    sim_host_new(&a, "a.example");
    sim_host_say(&a, &uuid, VIEW_RUN, 0, true);
    api_restart();
    the_api.skew_ms = -3600 * 1000;
    assert_true(service_in_grace(&the_api.service, the_api.service.clock_ms(), NULL));
    the_api.skew_ms += 60000;
    assert_false(service_in_grace(&the_api.service, the_api.service.clock_ms(), NULL));
}

static void
a_service_that_knows_no_hosts_has_no_grace(void **state)
{
    (void)state;
    api_restart();
    assert_int_equal(api_ask_json(ON_PUBLIC, "GET", "/readyz", NULL, NULL, 0), 200);
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        API_TEST(a_host_joins_after_approval_and_gets_its_certificates),
        API_TEST(a_wrong_code_is_refused_and_leaves_no_trace),
        API_TEST(a_join_code_dies_after_fifteen_minutes),
        API_TEST(a_join_code_is_redeemed_by_one_pair_of_keys),
        API_TEST(one_key_for_two_purposes_does_not_join),
        API_TEST(a_repeated_join_shows_the_same_certificate),
        API_TEST(a_join_code_makes_no_second_certificate),
        API_TEST(a_join_code_shows_no_certificate_that_has_ended),
        API_TEST(a_joined_name_is_not_given_out_again),
        API_TEST(a_name_whose_certificates_have_ended_is_invited_again),
        API_TEST(a_removed_host_is_refused_at_its_next_request),
        API_TEST(a_renewed_certificate_retires_the_one_before_at_its_first_use),
        API_TEST(a_copied_key_locks_the_host_once_it_was_renewed),
        API_TEST(a_report_is_believed_about_its_own_host_only),
        API_TEST(another_host_is_foreign_and_told_who_has_it),
        API_TEST(a_word_heard_before_is_acknowledged_and_not_applied),
        API_TEST(an_end_is_acknowledged_and_gives_the_lease_back),
        API_TEST(with_enrol_placed_a_new_vm_waits_for_an_operator),
        API_TEST(after_a_restart_nothing_changes_before_the_hosts_have_reported),
        API_TEST(grace_ends_by_itself),
        API_TEST(grace_ends_although_the_clock_goes_back),
        API_TEST(a_service_that_knows_no_hosts_has_no_grace),
    };
    return cmocka_run_group_tests_name("api_host", t, api_fixture_start,
                                       api_fixture_stop);
}
