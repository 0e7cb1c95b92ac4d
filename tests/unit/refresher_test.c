#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "guestagent/refresher.h"
#include "guestagent/token_cache.h"
#include "lib/common/clock.h"
#include "lib/wire/connect_msg.h"

/* ---- the schedule ---- */

static void
a_token_is_renewed_between_half_and_three_quarters_of_its_life(void **state)
{
    (void)state;
    for (uint32_t dice = 0; dice < 5000; dice += 7) {
        int64_t at = refresh_point(1000, 300, dice);

        assert_true(at >= 1000 + 150000 && at < 1000 + 225000);
    }
    assert_true(refresh_point(0, 300, 0) != refresh_point(0, 300, 500));
}

static void
waiting_doubles_from_one_second_to_five_minutes(void **state)
{
    static const int64_t whole[] = { 1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000,
                                     256000, 300000, 300000 };

    (void)state;
    for (unsigned i = 0; i < sizeof whole / sizeof *whole; i++) {
        for (uint32_t dice = 0; dice < 2000; dice += 13) {
            int64_t delay = backoff_delay(i + 1, dice);

            assert_true(delay >= whole[i] / 2 && delay <= whole[i]);
        }
    }
    assert_true(backoff_delay(UINT32_MAX, 1000) == 300000);
}

static struct proof_token
token(const char *text, int64_t asked_ms, int64_t utc_offset, uint64_t epoch)
{
    struct proof_token t = { .asked_ms = asked_ms, .answered_ms = asked_ms, .expires_in = 300, .epoch = epoch,
                             .asked_utc_ms = asked_ms + utc_offset };
    struct error err = { 0 };

    assert_int_equal(secret_new(strlen(text), &t.text, &err), 0);
    memcpy(t.text->bytes, text, strlen(text));
    return t;
}

static void
a_token_ends_by_the_clock_or_by_the_hosts_time(void **state)
{
    struct token_cache *c = calloc(1, sizeof *c);
    struct cached_token *t = token_cache_entry(c, "db", 0);
    struct proof_token made = token("x", 1000, 50000, 1);

    (void)state;
    c->utc_offset_ms = 50000;
    token_cache_put(c, t, &made, 0);
    assert_true(token_cache_valid(c, t, 1001));
    assert_true(token_cache_valid(c, t, 300999));
    assert_false(token_cache_valid(c, t, 301000));
    /* Restored a day later: the guest's own clock stood still. */
    token_cache_greeted(c, 1, 50000 + 86400000, 0, 0);
    assert_false(token_cache_valid(c, t, 1001));
    token_cache_clear(c);
    free(c);
}

static void
another_epoch_makes_every_token_due(void **state)
{
    struct token_cache *c = calloc(1, sizeof *c);
    struct cached_token *t = token_cache_entry(c, "db", 0);
    struct proof_token made = token("x", 1000, 0, 1);
    int64_t next = 0;

    (void)state;
    t->prefetched = true;
    token_cache_put(c, t, &made, 0);
    assert_null(token_cache_due(c, 1001, &next));
    assert_true(next == 1000 + 150000);
    token_cache_greeted(c, 1, 0, 0, 0);
    assert_null(token_cache_due(c, 1001, &next));
    token_cache_greeted(c, 0, 0, 0, 0); /* the host daemon was restarted and has not asked for the lease yet */
    assert_null(token_cache_due(c, 1001, &next));
    token_cache_greeted(c, 2, 0, 0, 0);
    assert_ptr_equal(token_cache_due(c, 1001, &next), t);
    assert_true(token_cache_valid(c, t, 1001)); /* and still served */
    token_cache_clear(c);
    free(c);
}

static void
tokens_of_a_revoked_key_are_due_at_once_and_served_until_then(void **state)
{
    struct token_cache *c = calloc(1, sizeof *c);
    struct cached_token *t = token_cache_entry(c, "db", 0);
    struct proof_token made = token("x", 1000, 0, 1), other = token("y", 2001, 0, 1);
    int64_t next = 0;

    (void)state;
    t->prefetched = true;
    token_cache_put(c, t, &made, 0);
    assert_null(token_cache_due(c, 2000, &next));
    assert_true(token_cache_stale(c, 2000));
    assert_ptr_equal(token_cache_due(c, 2000, &next), t);
    assert_true(token_cache_valid(c, t, 2000));
    token_cache_put(c, t, &other, 0);
    assert_null(token_cache_due(c, 2002, &next));
    /* A host that says so all the time. */
    assert_false(token_cache_stale(c, 2000 + STALE_EVERY_MS - 1));
    assert_null(token_cache_due(c, 2000 + STALE_EVERY_MS - 1, &next));
    assert_true(token_cache_stale(c, 2000 + STALE_EVERY_MS));
    token_cache_clear(c);
    free(c);
}

/* Else nobody would prove the new run before half of the old token's life is over. */
static void
a_token_whose_proof_was_overtaken_by_a_greeting_is_due_at_once(void **state)
{
    struct token_cache *c = calloc(1, sizeof *c);
    struct cached_token *t = token_cache_entry(c, "db", 0);
    struct proof_token old = token("x", 1000, 0, 1), next_one = token("y", 1002, 0, 2);
    int64_t next = 0;

    (void)state;
    t->prefetched = true;
    token_cache_greeted(c, 1, 0, 0, 0);
    token_cache_greeted(c, 2, 0, 0, 0);
    token_cache_put(c, t, &old, 0);
    assert_ptr_equal(token_cache_due(c, 1001, &next), t);
    assert_true(token_cache_valid(c, t, 1001));
    token_cache_put(c, t, &next_one, 0);
    assert_null(token_cache_due(c, 1003, &next));
    token_cache_clear(c);
    free(c);
}

static void
a_run_is_proved_once_also_where_nobody_asks(void **state)
{
    struct token_cache *c = calloc(1, sizeof *c);
    struct proof_token made = token("x", 20000, 0, 1), moved = token("y", 30000, 0, 2);
    struct error busy = { .code = ERROR_BUSY }, denied = { .code = ERROR_DENIED };
    struct cached_token *t;
    int64_t next = 0;

    (void)state;
    assert_null(token_cache_due(c, 100000, &next)); /* the host has not greeted it */
    token_cache_greeted(c, 1, 0, 1000, 5000);
    token_cache_greeted(c, 1, 0, 9000, 0); /* once more in that run */
    assert_null(token_cache_due(c, 1000, &next));
    assert_true(next == 1000 + RUN_PROOF_MS + 5000); /* who wants a token asks before that */
    t = token_cache_due(c, 16000, &next);
    assert_non_null(t);
    assert_string_equal(t->audience, CONNECT_AUDIENCE);
    token_cache_fail(c, t, &busy, 16000, 0);
    assert_null(token_cache_due(c, 16100, &next));
    token_cache_fail(c, t, &denied, 16600, 0);
    assert_null(token_cache_due(c, 17000, &next)); /* it is tried again, later */
    assert_true(next > 17000 && next < INT64_MAX);
    assert_ptr_equal(token_cache_due(c, next, &next), t);
    token_cache_put(c, t, &made, 0);
    token_cache_succeed(c);
    assert_null(token_cache_due(c, 200000, &next)); /* and not once more in that run */
    token_cache_greeted(c, 2, 0, 30000, 0);
    t = token_cache_entry(c, "db", 30000);
    t->prefetched = true;
    assert_ptr_equal(token_cache_due(c, 30000, &next), t);
    token_cache_put(c, t, &moved, 0);
    assert_null(token_cache_due(c, 60000, &next)); /* that proved it as well */
    token_cache_clear(c);
    free(c);
}

static void
nothing_is_tried_before_the_service_wants_it(void **state)
{
    struct token_cache *c = calloc(1, sizeof *c);
    struct error busy = { .code = ERROR_BUSY, .retry_s = 20 }, denied = { .code = ERROR_DENIED, .retry_s = 30 };
    struct cached_token *t = token_cache_entry(c, "db", 0);
    int64_t next = 0;

    (void)state;
    t->prefetched = true;
    token_cache_fail(c, t, &busy, 1000, 0);
    assert_null(token_cache_due(c, 20999, &next));
    assert_true(next == 21000);
    token_cache_fail(c, t, &denied, 1000, 0);
    assert_null(token_cache_due(c, 30999, &next));
    assert_ptr_equal(token_cache_due(c, 31000, &next), t);
    /* Not all guests at once. */
    token_cache_fail(c, t, &busy, 1000, 1000);
    assert_true(c->retry_at_ms == 26000);
    token_cache_fail(c, t, &denied, 1000, 500);
    assert_true(t->retry_at_ms == 34750);
    /* Its own pace, if that is slower. */
    for (int i = 0; i < 10; i++)
        token_cache_fail(c, t, &busy, 1000, 1000);
    assert_true(c->retry_at_ms == 301000);
    token_cache_clear(c);
    free(c);
}

static void
a_refusal_is_of_one_audience_and_a_silence_of_all(void **state)
{
    struct token_cache *c = calloc(1, sizeof *c);
    struct cached_token *a, *b;
    struct error denied = { .code = ERROR_DENIED }, busy = { .code = ERROR_BUSY };
    int64_t next = 0, until = 0;

    (void)state;
    a = token_cache_entry(c, "a", 0);
    a->prefetched = true;
    b = token_cache_entry(c, "b", 0);
    b->prefetched = true;
    token_cache_fail(c, a, &denied, 1000, 0);
    assert_ptr_equal(token_cache_due(c, 1000, &next), b);
    assert_non_null(token_cache_why_not(c, a, 1000, &until));
    assert_null(token_cache_why_not(c, b, 1000, &until));
    assert_true(until == INT64_MAX);
    token_cache_fail(c, b, &busy, 1000, 0);
    assert_null(token_cache_due(c, 1000, &next));
    assert_null(token_cache_why_not(c, b, 1000, &until));
    token_cache_greeted(c, 1, 0, 0, 0);
    assert_non_null(token_cache_due(c, 1000, &next));
    token_cache_clear(c);
    free(c);
}

static void
what_a_restart_takes_is_waited_for_and_a_long_absence_is_told(void **state)
{
    static const struct error failures[] = { { .code = ERROR_BUSY, .retry_s = 60 },
                                             { .code = ERROR_DENIED, .problem = "refused", .retry_s = 60 } };

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct token_cache *c = calloc(1, sizeof *c);
        struct cached_token *t = token_cache_entry(c, "db", 0);
        struct proof_token made = token("x", 90000, 0, 1);
        int64_t until = 0;

        token_cache_fail(c, t, &failures[i], 1000, 0);
        assert_null(token_cache_why_not(c, t, 1000 + PATIENCE_MS - 1, &until));
        assert_true(until == 1000 + PATIENCE_MS);
        assert_non_null(token_cache_why_not(c, t, 1000 + PATIENCE_MS, &until));
        /* Neither another failure nor a greeting begins it anew; a success does. */
        token_cache_greeted(c, 1, 0, 0, 0);
        token_cache_fail(c, t, &failures[i], 20000, 0);
        assert_non_null(token_cache_why_not(c, t, 20000, &until));
        token_cache_put(c, t, &made, 0);
        token_cache_succeed(c);
        token_cache_fail(c, t, &failures[i], 100000, 0);
        assert_null(token_cache_why_not(c, t, 100000, &until));
        token_cache_clear(c);
        free(c);
    }
}

static void
an_audience_nobody_asks_for_is_forgotten(void **state)
{
    struct token_cache *c = calloc(1, sizeof *c);
    struct cached_token *t = token_cache_entry(c, "db", 0);
    struct proof_token made = token("x", 0, 0, 1);
    int64_t next = 0;

    (void)state;
    t->wanted_until_ms = TOKEN_WANTED_MS;
    token_cache_put(c, t, &made, 0);
    assert_ptr_equal(token_cache_due(c, 299999, &next), t);
    assert_null(token_cache_due(c, TOKEN_WANTED_MS, &next));
    assert_int_equal(t->audience[0], 0);
    assert_null(t->text);
    token_cache_clear(c);
    free(c);
}

static void
the_cache_is_bounded_and_keeps_what_is_wanted(void **state)
{
    struct token_cache *c = calloc(1, sizeof *c);
    char name[16];

    (void)state;
    for (int i = 0; i < TOKEN_CACHE_MAX; i++) {
        snprintf(name, sizeof name, "a%d", i);
        token_cache_entry(c, name, 0)->wanted_until_ms = 1000;
    }
    assert_null(token_cache_entry(c, "one-more", 999));
    assert_non_null(token_cache_entry(c, "a3", 999));
    assert_non_null(token_cache_entry(c, "one-more", 1000));
    token_cache_clear(c);
    free(c);
}

/* ---- the thread ---- */

static atomic_int proofs, failures_left, away_s;

static int
fake_prove(void *context, const char *audience, struct proof_token *ret, struct error *err)
{
    (void)context;
    proofs++;
    if (strcmp(audience, "forbidden") == 0)
        return error_problem(err, ERROR_DENIED, "audience-not-allowed", "no");
    if (failures_left > 0) {
        failures_left--;
        error_problem(err, ERROR_BUSY, "unavailable", "away");
        err->retry_s = away_s;
        return -1;
    }
    *ret = token(audience, clock_monotonic_ms(), 0, 1);
    return 0;
}

static int
get(struct refresher *r, const char *audience, int64_t wait_ms, struct error *err)
{
    CLEANUP(secret_free) struct secret *text = NULL;
    int64_t expires_in = 0;

    if (refresher_token(r, audience, clock_monotonic_ms() + wait_ms, &text, &expires_in, err) <
        0)
        return -1;
    assert_int_equal(text->len, strlen(audience));
    assert_memory_equal(text->bytes, audience, text->len);
    return (int)expires_in;
}

static void
one_proof_serves_many(void **state)
{
    struct refresher_options options = { fake_prove, NULL, NULL };
    CLEANUP(refresher_free) struct refresher *r = NULL;
    struct error err = { 0 };

    (void)state;
    proofs = failures_left = 0;
    assert_int_equal(refresher_new(&options, &r, &err), 0);
    for (int i = 0; i < 50; i++)
        assert_true(get(r, "db", 5000, &err) > 290);
    assert_int_equal(proofs, 1);
}

static int
slow_prove(void *context, const char *audience, struct proof_token *ret, struct error *err)
{
    struct refresher **r = context;

    if (proofs == 0)
        refresher_stale(*r);
    return fake_prove(NULL, audience, ret, err);
}

static void
a_proof_under_way_when_a_key_is_revoked_is_made_again(void **state)
{
    struct refresher *r = NULL;
    struct refresher_options options = { slow_prove, NULL, &r };
    struct error err = { 0 };

    (void)state;
    proofs = failures_left = 0;
    assert_int_equal(refresher_new(&options, &r, &err), 0);
    assert_true(get(r, "db", 5000, &err) > 290);
    for (int i = 0; i < 250 && proofs < 2; i++)
        usleep(20000);
    assert_int_equal(proofs, 2);
    refresher_free(r);
}

static void
a_refusal_is_told_at_once_and_not_asked_again_at_once(void **state)
{
    struct refresher_options options = { fake_prove, NULL, NULL };
    CLEANUP(refresher_free) struct refresher *r = NULL;
    struct error err = { 0 };

    (void)state;
    proofs = failures_left = 0;
    assert_int_equal(refresher_new(&options, &r, &err), 0);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(get(r, "forbidden", 5000, &err), -1);
        assert_string_equal(err.problem, "audience-not-allowed");
    }
    assert_true(proofs < 4);
    assert_true(get(r, "db", 5000, &err) > 290);
}

static void
a_greeting_ends_the_waiting(void **state)
{
    struct refresher_options options = { fake_prove, NULL, NULL };
    CLEANUP(refresher_free) struct refresher *r = NULL;
    struct error err = { 0 };

    (void)state;
    proofs = 0;
    failures_left = 1;
    away_s = 60;
    assert_int_equal(refresher_new(&options, &r, &err), 0);
    assert_int_equal(get(r, "db", 1000, &err), -1);
    refresher_greeted(r, 1, 0);
    assert_true(get(r, "db", 5000, &err) > 290);
}

static void
a_service_that_is_restarted_is_waited_for(void **state)
{
    struct refresher_options options = { fake_prove, NULL, NULL };
    CLEANUP(refresher_free) struct refresher *r = NULL;
    struct error err = { 0 };

    (void)state;
    proofs = away_s = 0;
    failures_left = 2;
    assert_int_equal(refresher_new(&options, &r, &err), 0);
    assert_true(get(r, "db", 8000, &err) > 290);
    assert_int_equal(proofs, 3);
}

static void
whoever_waits_is_told_when_the_agent_ends(void **state)
{
    struct refresher_options options = { fake_prove, NULL, NULL };
    CLEANUP(refresher_free) struct refresher *r = NULL;
    struct error err = { 0 };
    int64_t began = clock_monotonic_ms();

    (void)state;
    failures_left = 1;
    away_s = 60;
    assert_int_equal(refresher_new(&options, &r, &err), 0);
    refresher_stop(r);
    assert_int_equal(get(r, "db", 8000, &err), -1);
    assert_true(clock_monotonic_ms() - began < 4000);
}

static void
what_is_no_audience_is_refused(void **state)
{
    struct refresher_options options = { fake_prove, NULL, NULL };
    CLEANUP(refresher_free) struct refresher *r = NULL;
    struct error err = { 0 };

    (void)state;
    assert_int_equal(refresher_new(&options, &r, &err), 0);
    assert_int_equal(get(r, "", 10, &err), -1);
    assert_int_equal(get(r, "two words", 10, &err), -1);
    assert_int_equal(refresher_prefetch(r, (const char *[]){ "two words" }, 1, &err), -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_is_renewed_between_half_and_three_quarters_of_its_life),
        cmocka_unit_test(waiting_doubles_from_one_second_to_five_minutes),
        cmocka_unit_test(a_token_ends_by_the_clock_or_by_the_hosts_time),
        cmocka_unit_test(another_epoch_makes_every_token_due),
        cmocka_unit_test(tokens_of_a_revoked_key_are_due_at_once_and_served_until_then),
        cmocka_unit_test(a_proof_under_way_when_a_key_is_revoked_is_made_again),
        cmocka_unit_test(a_token_whose_proof_was_overtaken_by_a_greeting_is_due_at_once),
        cmocka_unit_test(a_run_is_proved_once_also_where_nobody_asks),
        cmocka_unit_test(nothing_is_tried_before_the_service_wants_it),
        cmocka_unit_test(a_refusal_is_of_one_audience_and_a_silence_of_all),
        cmocka_unit_test(what_a_restart_takes_is_waited_for_and_a_long_absence_is_told),
        cmocka_unit_test(an_audience_nobody_asks_for_is_forgotten),
        cmocka_unit_test(the_cache_is_bounded_and_keeps_what_is_wanted),
        cmocka_unit_test(one_proof_serves_many),
        cmocka_unit_test(a_refusal_is_told_at_once_and_not_asked_again_at_once),
        cmocka_unit_test(a_greeting_ends_the_waiting),
        cmocka_unit_test(a_service_that_is_restarted_is_waited_for),
        cmocka_unit_test(whoever_waits_is_told_when_the_agent_ends),
        cmocka_unit_test(what_is_no_audience_is_refused),
    };

    return cmocka_run_group_tests_name("refresher", tests, NULL, NULL);
}
