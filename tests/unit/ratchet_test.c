/*
 * The service's half of the two ratchets, row by row: S1 to S6 in each mode, and the crash table of
 * docs/PROTOCOL-proof.md, 4.
 *
 * A guest here is what a crash leaves of one: two slots and an index. Keys and contents are single bytes, spread
 * over their whole length; x' is really SHA-256(x || v).
 */
#include "config.h"

#include "tokenservice/attest/ratchet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lib/crypto/hash.h"

enum { BOTH = RATCHET_KEY | RATCHET_INDEX };

struct scene {
    struct ratchet r;
    unsigned halves;
    struct ratchet_shown disk; /* what the guest would show now */
    struct ratchet_answer answer;
    uint8_t random;
};

static void
fill(uint8_t *bytes, size_t len, uint8_t value)
{
    memset(bytes, value, len);
}

static void
show(struct scene *s, char cur, char new_, bool fresh)
{
    s->disk.has_cur = cur != 0;
    s->disk.has_new = new_ != 0;
    s->disk.fresh = fresh;
    fill(s->disk.cur, sizeof s->disk.cur, (uint8_t)cur);
    fill(s->disk.new_, sizeof s->disk.new_, (uint8_t)new_);
}

/* A VM of `halves` whose disk and account have K, in its first run with an agent that can step. */
static struct scene
begin(unsigned halves)
{
    struct scene s = { .halves = halves };

    s.r.has_cur = true;
    s.r.has_x = s.disk.has_x = (halves & RATCHET_INDEX) != 0;
    fill(s.r.cur, sizeof s.r.cur, 'K');
    fill(s.r.xcur, sizeof s.r.xcur, 'x');
    fill(s.disk.x, sizeof s.disk.x, 'x');
    s.disk.run = (struct proof_run){ .epoch = 1000, .reset_count = 1 };
    show(&s, 'K', 'A', true);
    return s;
}

static void
new_run(struct scene *s)
{
    s->disk.run.epoch++;
    s->disk.fresh = false;
}

static void
prove(struct scene *s, enum answer_type expected)
{
    uint8_t random[32];
    struct error err;

    assert_true(!(s->halves & RATCHET_KEY) || ratchet_key_fits(&s->r, &s->disk));
    assert_true(!(s->halves & RATCHET_INDEX) || ratchet_index_fits(&s->r, &s->disk));
    fill(random, sizeof random, ++s->random);
    assert_int_equal(ratchet_step(&s->r, s->halves, &s->disk, random, &s->answer, &err), 0);
    assert_int_equal(s->answer.type, expected);
    /* One that is not going on has nothing left of its step. */
    for (size_t i = 0; i < 32 && !s->r.has_xnext; i++)
        assert_int_equal(s->r.v[i], 0);
}

static bool
is_key(const uint8_t key[65], char value)
{
    uint8_t wanted[65];

    fill(wanted, sizeof wanted, (uint8_t)value);
    return memcmp(key, wanted, sizeof wanted) == 0;
}

static void
assert_kid(const struct scene *s, char value)
{
    uint8_t key[65], kid[32];
    struct error err;

    fill(key, sizeof key, (uint8_t)value);
    assert_int_equal(hash_sha256(key, sizeof key, kid, &err), 0);
    assert_true(s->answer.has_kid);
    assert_memory_equal(s->answer.kid, kid, sizeof kid);
}

/* NV_Extend, if the index holds what the answer steps from. */
static void
extend(struct scene *s)
{
    uint8_t both[64];
    struct error err;

    if (memcmp(s->disk.x, s->answer.from, 32) != 0)
        return;
    memcpy(both, s->disk.x, 32);
    memcpy(both + 32, s->r.v, 32);
    assert_int_equal(hash_sha256(both, sizeof both, s->disk.x, &err), 0);
    assert_memory_equal(s->disk.x, s->r.xnext, 32);
}

/* A whole step of a run that has begun, to the key `new_`. */
static void
step_to(struct scene *s, char cur, char new_)
{
    show(s, cur, new_, true);
    prove(s, ANSWER_EXTEND);
    extend(s);
    prove(s, ANSWER_TOKEN);
    assert_int_equal(s->answer.stepped, BOTH);
    assert_kid(s, new_);
    show(s, new_, 0, false);
}

static void
a_first_run_takes_two_proofs_and_forgets_the_old_state_with_the_second(void **state)
{
    struct scene s = begin(BOTH);

    (void)state;
    prove(&s, ANSWER_EXTEND); /* S4 */
    assert_true(s.r.on && s.r.has_next && s.r.has_xnext && is_key(s.r.cur, 'K') && is_key(s.r.next, 'A'));
    assert_int_equal(s.answer.stepped, 0);
    assert_int_equal(s.r.done_run.epoch, 0);
    extend(&s);
    prove(&s, ANSWER_TOKEN); /* S6 */
    assert_true(s.answer.completed && is_key(s.r.cur, 'A') && !s.r.has_next && !s.r.has_xnext);
    assert_int_equal(s.answer.stepped, BOTH);
    assert_kid(&s, 'A');
    show(&s, 'K', 0, false);
    assert_false(ratchet_key_fits(&s.r, &s.disk));
    fill(s.disk.x, 32, 'x');
    assert_false(ratchet_index_fits(&s.r, &s.disk));
}

static void
later_proofs_of_the_run_are_one_each(void **state)
{
    struct scene s = begin(BOTH);

    (void)state;
    step_to(&s, 'K', 'A');
    for (int i = 0; i < 3; i++) {
        prove(&s, ANSWER_TOKEN); /* S1 */
        assert_int_equal(s.answer.stepped, BOTH);
        assert_false(s.answer.completed || s.r.has_next);
    }
}

static void
a_key_that_is_not_fresh_is_resolved(void **state)
{
    struct scene s = begin(BOTH);

    (void)state;
    step_to(&s, 'K', 'A');
    new_run(&s);
    prove(&s, ANSWER_RESOLVE); /* S3: no next key */
    assert_kid(&s, 'A');
    show(&s, 'A', 'B', false);
    prove(&s, ANSWER_RESOLVE); /* S3: not fresh */
    assert_false(s.r.has_next);
    step_to(&s, 'A', 'B');
}

static void
the_same_run_gets_the_same_v_again(void **state)
{
    struct scene s = begin(BOTH);
    uint8_t v[32];

    (void)state;
    prove(&s, ANSWER_EXTEND);
    memcpy(v, s.r.v, sizeof v);
    prove(&s, ANSWER_EXTEND); /* S5 */
    assert_memory_equal(v, s.r.v, sizeof v);
}

static void
another_next_key_in_the_same_run_begins_the_step_anew(void **state)
{
    struct scene s = begin(BOTH);
    uint8_t v[32];

    (void)state;
    prove(&s, ANSWER_EXTEND);
    memcpy(v, s.r.v, sizeof v);
    show(&s, 'K', 'B', true);
    prove(&s, ANSWER_EXTEND); /* S2, S4 */
    assert_true(is_key(s.r.next, 'B'));
    assert_memory_not_equal(v, s.r.v, sizeof v);
}

static void
a_run_that_died_is_settled_and_stepped_again_never_just_completed(void **state)
{
    struct scene s = begin(BOTH);

    (void)state;
    prove(&s, ANSWER_EXTEND);
    extend(&s);
    new_run(&s); /* the second proof never came */
    prove(&s, ANSWER_RESOLVE);
    assert_true(is_key(s.r.cur, 'A') && !s.r.has_next && !s.r.has_xnext);
    assert_memory_equal(s.r.xcur, s.disk.x, 32);
    assert_kid(&s, 'A');
    step_to(&s, 'A', 'B');
}

/* "S4, answer lost or guest dies before extend", also after a host's power loss before SYNC. */
static void
a_run_that_died_before_it_extended_promotes_the_key_alone(void **state)
{
    struct scene s = begin(BOTH);

    (void)state;
    prove(&s, ANSWER_EXTEND);
    new_run(&s);
    prove(&s, ANSWER_RESOLVE);
    assert_true(is_key(s.r.cur, 'A') && !s.r.has_xnext);
    assert_memory_equal(s.r.xcur, s.disk.x, 32);
    step_to(&s, 'A', 'B');
}

/* "G1": the guest died before its first proof; {K} or {K,A}. */
static void
a_key_that_the_service_never_saw_is_dropped(void **state)
{
    struct scene s = begin(BOTH);

    (void)state;
    step_to(&s, 'K', 'J');
    new_run(&s);
    show(&s, 'J', 'A', false);
    prove(&s, ANSWER_RESOLVE);
    assert_kid(&s, 'J');
    step_to(&s, 'J', 'B');
}

/* "S6, TOKEN lost" and "G4c rename not durable": {K,A} upon (A; x'). */
static void
a_token_that_was_lost_is_given_again_in_its_run_and_resolved_in_the_next(void **state)
{
    struct scene s = begin(BOTH);

    (void)state;
    prove(&s, ANSWER_EXTEND);
    extend(&s);
    prove(&s, ANSWER_TOKEN);
    s.disk.fresh = false; /* another process */
    prove(&s, ANSWER_TOKEN);
    assert_kid(&s, 'A');
    new_run(&s);
    prove(&s, ANSWER_RESOLVE);
    assert_kid(&s, 'A');
    show(&s, 'A', 0, false);
    prove(&s, ANSWER_RESOLVE);
    step_to(&s, 'A', 'B');
}

static void
each_half_is_settled_by_itself(void **state)
{
    struct scene s = begin(BOTH);

    (void)state;
    prove(&s, ANSWER_EXTEND);
    extend(&s);
    new_run(&s);
    show(&s, 'K', 0, false); /* the new key did not reach the disk: cache=unsafe */
    prove(&s, ANSWER_RESOLVE);
    assert_true(is_key(s.r.cur, 'K'));
    assert_memory_equal(s.r.xcur, s.disk.x, 32);
}

static void
a_cleared_tpm_is_another_run(void **state)
{
    struct scene s = begin(BOTH);

    (void)state;
    step_to(&s, 'K', 'A');
    s.disk.run.reset_count = 0;
    prove(&s, ANSWER_RESOLVE);
    step_to(&s, 'A', 'B');
    s.disk.run.restart_count++;
    prove(&s, ANSWER_RESOLVE);
}

static void
without_an_index_one_proof_does_both(void **state)
{
    struct scene s = begin(RATCHET_KEY);

    (void)state;
    prove(&s, ANSWER_TOKEN);
    assert_int_equal(s.answer.stepped, RATCHET_KEY);
    assert_true(s.answer.completed && is_key(s.r.cur, 'A') && !s.r.has_next);
    show(&s, 'A', 0, false);
    prove(&s, ANSWER_TOKEN);
    new_run(&s);
    prove(&s, ANSWER_RESOLVE);
    show(&s, 'A', 'B', true);
    prove(&s, ANSWER_TOKEN);
    assert_true(is_key(s.r.cur, 'B'));
}

static void
without_a_secret_the_index_steps_alone(void **state)
{
    struct scene s = begin(RATCHET_INDEX);

    (void)state;
    prove(&s, ANSWER_EXTEND);
    assert_false(s.r.has_next);
    prove(&s, ANSWER_EXTEND);
    extend(&s);
    prove(&s, ANSWER_TOKEN);
    assert_int_equal(s.answer.stepped, RATCHET_INDEX);
    assert_true(is_key(s.r.cur, 'K'));
    assert_kid(&s, 'K'); /* so that the agent drops its next key */
    new_run(&s);
    prove(&s, ANSWER_EXTEND); /* fresh or not */
    extend(&s);
    new_run(&s);
    prove(&s, ANSWER_EXTEND); /* settled, stepped again */
    assert_memory_equal(s.r.xcur, s.disk.x, 32);
}

static void
with_nothing_but_the_host_there_is_no_step(void **state)
{
    struct scene s = begin(0);

    (void)state;
    s.r.has_cur = false;
    prove(&s, ANSWER_TOKEN);
    assert_int_equal(s.answer.stepped, 0);
    assert_false(s.answer.has_kid || s.r.on);
}

static void
an_agent_that_can_not_step_goes_on_until_one_that_can_has_come(void **state)
{
    struct scene s = begin(BOTH);

    (void)state;
    for (int i = 0; i < 2; i++) {
        show(&s, 'K', 0, false);
        prove(&s, ANSWER_TOKEN);
        assert_int_equal(s.answer.stepped, 0);
        assert_kid(&s, 'K');
        new_run(&s);
    }
    assert_false(s.r.on);
    show(&s, 'K', 'A', false); /* one that was killed before its first proof */
    prove(&s, ANSWER_RESOLVE);
    assert_kid(&s, 'K');
    assert_false(s.r.on);
    step_to(&s, 'K', 'A');
    assert_true(s.r.on);
    new_run(&s);
    prove(&s, ANSWER_RESOLVE); /* and no way back */
}

/* A VM that got the other half while a step of one was under way. */
static void
a_half_that_comes_later_joins_the_step(void **state)
{
    struct scene s = begin(RATCHET_INDEX);
    uint8_t v[32];

    (void)state;
    prove(&s, ANSWER_EXTEND);
    memcpy(v, s.r.v, sizeof v);
    s.halves = BOTH;
    prove(&s, ANSWER_EXTEND);
    assert_memory_equal(v, s.r.v, sizeof v); /* it may be in the TPM already */
    extend(&s);
    prove(&s, ANSWER_TOKEN);
    assert_int_equal(s.answer.stepped, BOTH);
    assert_true(is_key(s.r.cur, 'A'));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_first_run_takes_two_proofs_and_forgets_the_old_state_with_the_second),
        cmocka_unit_test(later_proofs_of_the_run_are_one_each),
        cmocka_unit_test(a_key_that_is_not_fresh_is_resolved),
        cmocka_unit_test(the_same_run_gets_the_same_v_again),
        cmocka_unit_test(another_next_key_in_the_same_run_begins_the_step_anew),
        cmocka_unit_test(a_run_that_died_is_settled_and_stepped_again_never_just_completed),
        cmocka_unit_test(a_run_that_died_before_it_extended_promotes_the_key_alone),
        cmocka_unit_test(a_key_that_the_service_never_saw_is_dropped),
        cmocka_unit_test(a_token_that_was_lost_is_given_again_in_its_run_and_resolved_in_the_next),
        cmocka_unit_test(each_half_is_settled_by_itself),
        cmocka_unit_test(a_cleared_tpm_is_another_run),
        cmocka_unit_test(without_an_index_one_proof_does_both),
        cmocka_unit_test(without_a_secret_the_index_steps_alone),
        cmocka_unit_test(with_nothing_but_the_host_there_is_no_step),
        cmocka_unit_test(an_agent_that_can_not_step_goes_on_until_one_that_can_has_come),
        cmocka_unit_test(a_half_that_comes_later_joins_the_step),
    };

    return cmocka_run_group_tests_name("ratchet", tests, NULL, NULL);
}
