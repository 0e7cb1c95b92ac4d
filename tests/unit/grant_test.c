/*
 * An operator's word: what it lets in, and what a proof under it does to the row, in each mode of
 * docs/PROTOCOL-proof.md, 4.  Keys and contents are single bytes over their whole length, as in ratchet_test.c.
 */
#include "config.h"

#include "tokenservice/attest/grant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tokenservice/attest/ratchet.h"

enum { BOTH = RATCHET_KEY | RATCHET_INDEX, EPOCH = 1001, NOW = 50000 };

static struct ratchet_shown
shows(char cur, char new_, char x)
{
    struct ratchet_shown s = { .has_cur = cur != 0, .has_new = new_ != 0, .has_x = x != 0,
                               .run = { .epoch = EPOCH, .reset_count = 1 } };

    memset(s.cur, cur, sizeof s.cur);
    memset(s.new_, new_, sizeof s.new_);
    memset(s.x, x, sizeof s.x);
    return s;
}

static struct proof_shown
shown_by(const struct ratchet_shown *s)
{
    struct proof_shown shown;
    struct error err;

    assert_int_equal(grant_shown(s, &shown, &err), 0);
    return shown;
}

static struct grant
grant_for(const struct ratchet_shown *s)
{
    return (struct grant){ .given = true, .epoch = EPOCH, .ends_ms = NOW + GRANT_LIFE_MS, .shown = shown_by(s) };
}

static bool
lets_in(const struct grant *g, const struct ratchet_shown *s)
{
    struct proof_shown shown = shown_by(s);

    return grant_fits(g, &shown, s->run.epoch, NOW);
}

static void
it_lets_in_what_was_seen_and_nothing_else(void **state)
{
    static const char *const others[] = { "LAx", "KBx", "KAy", "K-x", "-Ax", "KA-", "AKx", "---" };
    struct ratchet_shown seen = shows('K', 'A', 'x');
    struct grant g = grant_for(&seen);

    (void)state;
    assert_true(lets_in(&g, &seen));
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        const char *o = others[i];
        struct ratchet_shown other = shows(o[0] == '-' ? 0 : o[0], o[1] == '-' ? 0 : o[1], o[2] == '-' ? 0 : o[2]);

        if (lets_in(&g, &other))
            fail_msg("%s is let in", o);
    }
    seen.fresh = true; /* that is said by whoever made it, and no state */
    assert_true(lets_in(&g, &seen));
}

static void
it_is_good_in_one_epoch_and_for_a_while(void **state)
{
    struct ratchet_shown seen = shows('K', 0, 'x');
    struct proof_shown shown = shown_by(&seen);
    struct grant g = grant_for(&seen);

    (void)state;
    assert_false(grant_fits(&g, &shown, EPOCH - 1, NOW)); /* before the word */
    assert_false(grant_fits(&g, &shown, EPOCH + 1, NOW));
    assert_true(grant_fits(&g, &shown, EPOCH, g.ends_ms - 1));
    assert_false(grant_fits(&g, &shown, EPOCH, g.ends_ms));
    g.epoch = 0; /* its host has not heard of it */
    assert_false(grant_fits(&g, &shown, EPOCH, NOW));
    assert_false(grant_fits(&g, &shown, 0, NOW));
    g = (struct grant){ .given = false };
    assert_false(grant_fits(&g, &shown, EPOCH, NOW));
    memset(&shown, 0, sizeof shown);
    assert_false(grant_fits(&g, &shown, 0, -1));
}

/* An account (L, M pending; y, z pending) that has stepped in this run's predecessor. */
static struct ratchet
account(bool index, bool pending)
{
    struct ratchet r = { .on = true, .has_cur = true, .has_x = index, .has_next = pending,
                         .has_xnext = index && pending, .pend_run = { .epoch = 900 }, .done_run = { .epoch = 900 } };

    memset(r.cur, 'L', sizeof r.cur);
    memset(r.xcur, 'y', index ? sizeof r.xcur : 0);
    memset(r.next, 'M', pending ? sizeof r.next : 0);
    memset(r.xnext, 'z', r.has_xnext ? sizeof r.xnext : 0);
    memset(r.v, 'v', r.has_xnext ? sizeof r.v : 0);
    return r;
}

static bool
is(const uint8_t *bytes, size_t len, char value)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != (uint8_t)value)
            return false;
    }
    return true;
}

static enum answer_type
under_grant(struct ratchet *r, unsigned halves, unsigned behind, const struct ratchet_shown *s)
{
    static const uint8_t random[32] = { 7 };
    struct ratchet_answer answer;
    struct error err;

    r->grant = grant_for(s);
    ratchet_accept(r, behind, s);
    assert_false(r->has_next || r->has_xnext);
    assert_true(is(r->v, sizeof r->v, 0));
    assert_int_equal(r->done_run.epoch, 0);
    assert_int_equal(ratchet_step(r, halves, s, random, &answer, &err), 0);
    assert_false(r->grant.given);
    return answer.type;
}

static void
what_is_behind_becomes_the_state_and_then_both_step(void **state)
{
    struct ratchet_shown s = shows('K', 'A', 'x');
    struct ratchet r = account(true, false);

    (void)state;
    assert_int_equal(under_grant(&r, BOTH, BOTH, &s), ANSWER_RESOLVE);
    assert_true(is(r.cur, sizeof r.cur, 'K') && is(r.xcur, sizeof r.xcur, 'x'));
    r = account(true, false);
    s.fresh = true; /* no agent says so in a new epoch; it would step at once, and have no token for it */
    assert_int_equal(under_grant(&r, BOTH, BOTH, &s), ANSWER_EXTEND);
    assert_true(is(r.next, sizeof r.next, 'A'));
}

static void
the_half_that_is_not_behind_is_settled(void **state)
{
    struct ratchet_shown s = shows('K', 0, 'z');
    struct ratchet r = account(true, true);

    (void)state;
    assert_int_equal(under_grant(&r, BOTH, RATCHET_KEY, &s), ANSWER_RESOLVE);
    assert_true(is(r.cur, sizeof r.cur, 'K') && is(r.xcur, sizeof r.xcur, 'z'));
    r = account(true, true);
    s = shows('L', 'M', 'x');
    assert_int_equal(under_grant(&r, BOTH, RATCHET_INDEX, &s), ANSWER_RESOLVE);
    assert_true(is(r.cur, sizeof r.cur, 'M') && is(r.xcur, sizeof r.xcur, 'x'));
}

static void
without_an_index_the_key_alone_is_taken_back(void **state)
{
    struct ratchet_shown s = shows('K', 0, 0);
    struct ratchet r = account(false, true);

    (void)state;
    assert_int_equal(under_grant(&r, RATCHET_KEY, RATCHET_KEY, &s), ANSWER_RESOLVE);
    assert_true(is(r.cur, sizeof r.cur, 'K'));
    assert_false(r.has_x || r.has_xnext);
}

static void
without_a_secret_the_index_alone_is_taken_back(void **state)
{
    struct ratchet_shown s = shows(0, 0, 'x');
    struct ratchet r = account(true, false);

    (void)state;
    r.has_cur = false;
    memset(r.cur, 0, sizeof r.cur);
    assert_int_equal(under_grant(&r, RATCHET_INDEX, RATCHET_INDEX, &s), ANSWER_EXTEND);
    assert_true(is(r.xcur, sizeof r.xcur, 'x'));
    assert_false(r.has_cur);
}

static void
a_vm_that_does_not_step_goes_on_from_it(void **state)
{
    struct ratchet_shown s = shows('K', 0, 'x');
    struct ratchet r = account(true, false);

    (void)state;
    r.on = false;
    r.pend_run = r.done_run = (struct proof_run){ .epoch = 0 };
    assert_int_equal(under_grant(&r, BOTH, BOTH, &s), ANSWER_TOKEN);
    assert_true(is(r.cur, sizeof r.cur, 'K') && is(r.xcur, sizeof r.xcur, 'x'));
    assert_false(r.on);
    assert_int_equal(r.pend_run.epoch, 0); /* the row has none of one that is off */
}

static void
any_accepted_proof_ends_it(void **state)
{
    struct ratchet_shown s = shows('L', 0, 'y'), other = shows('K', 0, 'x');
    struct ratchet r = account(true, false);
    struct ratchet_answer answer;
    struct error err;
    uint8_t random[32] = { 1 };

    (void)state;
    r.grant = grant_for(&other);
    assert_int_equal(ratchet_step(&r, BOTH, &s, random, &answer, &err), 0);
    assert_false(lets_in(&r.grant, &other));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_lets_in_what_was_seen_and_nothing_else),
        cmocka_unit_test(it_is_good_in_one_epoch_and_for_a_while),
        cmocka_unit_test(what_is_behind_becomes_the_state_and_then_both_step),
        cmocka_unit_test(the_half_that_is_not_behind_is_settled),
        cmocka_unit_test(without_an_index_the_key_alone_is_taken_back),
        cmocka_unit_test(without_a_secret_the_index_alone_is_taken_back),
        cmocka_unit_test(a_vm_that_does_not_step_goes_on_from_it),
        cmocka_unit_test(any_accepted_proof_ends_it),
    };

    return cmocka_run_group_tests_name("grant", tests, NULL, NULL);
}
