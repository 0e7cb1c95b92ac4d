/*
 * The keys that sign tokens, as values: one after the other by time, by an operator, in an emergency, and by
 * clocks that are wrong; and their bytes.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tokenservice/mint/key_ring.h"

enum { T0 = 1700000000, DAY = 86400, INTERVAL = 30 * DAY };

static struct error err;

static struct key *
new_key(void)
{
    struct key *key;

    assert_int_equal(key_generate(&key, &err), 0);
    return key;
}

static struct key_ring
new_ring(void)
{
    CLEANUP(key_free) struct key *key = new_key();
    struct key_ring ring;

    assert_int_equal(key_ring_begin(key, T0, &ring, &err), 0);
    return ring;
}

static enum ring_move
due(const struct key_ring *ring, int64_t now)
{
    return key_ring_due(ring, INTERVAL, now);
}

/* As the signer does it; how many keys were made. */
static unsigned
turn(struct key_ring *ring, int64_t now)
{
    unsigned made = 0;

    for (enum ring_move move; (move = due(ring, now)) != RING_STAYS;) {
        CLEANUP(key_free) struct key *key = new_key();

        if (move == RING_BEGINS)
            made++, assert_int_equal(key_ring_begin(key, now, ring, &err), 0);
        else if (move == RING_DROPS)
            key_ring_drop(ring, now);
        else if (move == RING_ROTATES)
            assert_int_equal(key_ring_rotate(ring, now, &err), 0);
        else
            made++, assert_int_equal(key_ring_publish(ring, key, now, &err), 0);
    }
    return made;
}

static const char *
kid(const struct key_ring *ring, enum mint_key_state state)
{
    const struct ring_key *key = key_ring_find(ring, state);

    return key ? key->kid : "";
}

static void
a_key_is_published_used_retired_and_gone_in_order(void **state)
{
    struct key_ring ring = new_ring();
    char first[MINT_KID_MAX + 1], second[MINT_KID_MAX + 1];

    (void)state;
    strcpy(first, kid(&ring, MINT_KEY_ACTIVE));
    assert_int_equal(due(&ring, T0), RING_PUBLISHES);
    assert_int_equal(turn(&ring, T0), 1);
    strcpy(second, kid(&ring, MINT_KEY_NEXT));
    assert_int_equal(due(&ring, T0 + INTERVAL - 1), RING_STAYS);
    assert_int_equal(due(&ring, T0 + INTERVAL), RING_ROTATES);
    assert_int_equal(turn(&ring, T0 + INTERVAL), 1); /* the third is published at once */
    assert_string_equal(kid(&ring, MINT_KEY_ACTIVE), second);
    assert_string_equal(kid(&ring, MINT_KEY_RETIRING), first);
    assert_string_not_equal(kid(&ring, MINT_KEY_NEXT), second);
    assert_int_equal(due(&ring, T0 + INTERVAL + KEY_RETIRE_SECONDS - 1), RING_STAYS);
    assert_int_equal(due(&ring, T0 + INTERVAL + KEY_RETIRE_SECONDS), RING_DROPS);
    turn(&ring, T0 + INTERVAL + KEY_RETIRE_SECONDS);
    assert_string_equal(kid(&ring, MINT_KEY_RETIRING), "");
    assert_int_equal(ring.n, 2);
}

static void
a_retiring_key_outlives_the_last_token_it_made(void **state)
{
    (void)state;
    /* made 60 s ahead of the signer's clock, 300 s long, taken 60 s after its end */
    assert_true(KEY_RETIRE_SECONDS >= 60 + 300 + 60);
    /* what a verifier may have kept from before the key was published: an hour */
    assert_true(KEY_PUBLISH_SECONDS > 3600);
}

static void
the_steps_are_told_with_their_times(void **state)
{
    struct key_ring ring = new_ring();

    (void)state;
    turn(&ring, T0);
    assert_int_equal(key_ring_step_at(&ring, key_ring_find(&ring, MINT_KEY_ACTIVE), INTERVAL), T0 + INTERVAL);
    assert_int_equal(key_ring_step_at(&ring, key_ring_find(&ring, MINT_KEY_NEXT), INTERVAL), T0 + INTERVAL);
    turn(&ring, T0 + INTERVAL);
    assert_int_equal(key_ring_step_at(&ring, key_ring_find(&ring, MINT_KEY_RETIRING), INTERVAL),
                     T0 + INTERVAL + KEY_RETIRE_SECONDS);
}

/* A folder of an earlier version: one key, much older than the interval. */
static void
an_old_key_alone_waits_until_the_next_one_is_known(void **state)
{
    struct key_ring ring = new_ring();
    int64_t now = T0 + 400 * (int64_t)DAY;

    (void)state;
    assert_int_equal(turn(&ring, now), 1);
    assert_int_equal(due(&ring, now + KEY_PUBLISH_SECONDS - 1), RING_STAYS);
    assert_int_equal(key_ring_step_at(&ring, key_ring_find(&ring, MINT_KEY_NEXT), INTERVAL), now + KEY_PUBLISH_SECONDS);
    assert_int_equal(due(&ring, now + KEY_PUBLISH_SECONDS), RING_ROTATES);
}

static void
an_operator_waits_for_a_young_key_and_for_no_other(void **state)
{
    struct key_ring ring = new_ring(), before;

    (void)state;
    assert_int_equal(key_ring_rotate(&ring, T0, &err), -1); /* none is next */
    turn(&ring, T0);
    before = ring;
    assert_int_equal(key_ring_rotate(&ring, T0 + 600, &err), -1);
    assert_int_equal(err.code, ERROR_BUSY);
    assert_string_equal(err.problem, "key-young");
    assert_non_null(strstr(err.text, "in 55 min"));
    assert_memory_equal(&ring, &before, sizeof ring);
    assert_int_equal(key_ring_rotate(&ring, T0 + KEY_PUBLISH_SECONDS, &err), 0);
    assert_string_equal(kid(&ring, MINT_KEY_ACTIVE), before.keys[1].kid);
}

static void
as_often_as_one_may_the_set_stays_small(void **state)
{
    struct key_ring ring = new_ring();
    int64_t now = T0;

    (void)state;
    for (int i = 0; i < 100; i++) {
        turn(&ring, now);
        now += KEY_PUBLISH_SECONDS;
        assert_int_equal(key_ring_rotate(&ring, now, &err), 0);
        assert_in_range(ring.n, 1, 3);
    }
}

static void
a_revoked_active_key_is_replaced_by_a_fresh_one(void **state)
{
    CLEANUP(key_free) struct key *fresh = new_key();
    struct key_ring ring = new_ring();
    char bad[MINT_KID_MAX + 1], next[MINT_KID_MAX + 1];

    (void)state;
    turn(&ring, T0);
    strcpy(bad, kid(&ring, MINT_KEY_ACTIVE));
    strcpy(next, kid(&ring, MINT_KEY_NEXT));
    assert_int_equal(key_ring_revoke(&ring, bad, fresh, T0 + 5, &err), 0);
    for (size_t i = 0; i < ring.n; i++)
        assert_string_not_equal(ring.keys[i].kid, bad);
    assert_string_equal(kid(&ring, MINT_KEY_NEXT), next); /* goes on as it was */
    assert_string_not_equal(kid(&ring, MINT_KEY_ACTIVE), next);
    assert_int_equal(key_ring_find(&ring, MINT_KEY_ACTIVE)->made, T0 + 5);
    assert_int_equal(key_ring_revoke(&ring, bad, fresh, T0 + 5, &err), -1);
    assert_int_equal(err.code, ERROR_MISSING);
}

static void
a_revoked_next_or_retiring_key_changes_nothing_else(void **state)
{
    CLEANUP(key_free) struct key *fresh = new_key();
    struct key_ring ring = new_ring();
    char active[MINT_KID_MAX + 1], gone[MINT_KID_MAX + 1];

    (void)state;
    turn(&ring, T0);
    turn(&ring, T0 + INTERVAL);
    strcpy(active, kid(&ring, MINT_KEY_ACTIVE));
    strcpy(gone, kid(&ring, MINT_KEY_RETIRING));
    assert_int_equal(key_ring_revoke(&ring, gone, fresh, T0 + INTERVAL, &err), 0);
    strcpy(gone, kid(&ring, MINT_KEY_NEXT));
    assert_int_equal(key_ring_revoke(&ring, gone, fresh, T0 + INTERVAL, &err), 0);
    assert_int_equal(ring.n, 1);
    assert_string_equal(kid(&ring, MINT_KEY_ACTIVE), active);
    assert_int_equal(due(&ring, T0 + INTERVAL), RING_PUBLISHES);
}

static void
all_are_revoked_at_once(void **state)
{
    CLEANUP(key_free) struct key *fresh = new_key();
    struct key_ring ring = new_ring(), before;

    (void)state;
    turn(&ring, T0);
    turn(&ring, T0 + INTERVAL);
    before = ring;
    assert_int_equal(before.n, 3);
    assert_int_equal(key_ring_revoke(&ring, "", fresh, T0 + INTERVAL, &err), 0);
    assert_int_equal(ring.n, 1);
    for (size_t i = 0; i < before.n; i++)
        assert_string_not_equal(ring.keys[0].kid, before.keys[i].kid);
    /* Of their bytes nothing is left. */
    for (size_t i = 1; i < KEY_RING_MAX; i++) {
        static const struct ring_key nothing;

        assert_memory_equal(&ring.keys[i], &nothing, sizeof nothing);
    }
}

static void
a_clock_that_is_set_ages_no_key(void **state)
{
    static const int64_t steps[] = { 3650 * (int64_t)DAY, -3650 * (int64_t)DAY, INTERVAL, -INTERVAL };

    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct key_ring ring = new_ring();

        turn(&ring, T0);
        key_ring_shift(&ring, steps[i]);
        assert_int_equal(due(&ring, T0 + 100 + steps[i]), RING_STAYS);
        assert_int_equal(due(&ring, T0 + INTERVAL - 1 + steps[i]), RING_STAYS);
        assert_int_equal(due(&ring, T0 + INTERVAL + steps[i]), RING_ROTATES);
    }
}

/* At a start there is only the time of day; years ahead, it costs one turn, and the next waits its time. */
static void
a_clock_that_was_wrong_at_a_start_costs_one_key_at_most(void **state)
{
    struct key_ring ring = new_ring();
    int64_t now = T0 + 3650 * (int64_t)DAY;

    (void)state;
    turn(&ring, T0);
    assert_int_equal(turn(&ring, now), 1);
    assert_int_equal(turn(&ring, now + 10), 0);
    /* and back again, with another start: nothing is of the future, and nothing is lost */
    key_ring_clamp(&ring, T0 + 60);
    for (size_t i = 0; i < ring.n; i++)
        assert_true(ring.keys[i].made <= T0 + 60 && ring.keys[i].since <= T0 + 60);
    assert_int_equal(turn(&ring, T0 + 60), 0);
    assert_int_equal(due(&ring, T0 + 60 + KEY_PUBLISH_SECONDS), RING_DROPS);
}

static void
no_time_is_before_the_first(void **state)
{
    struct key_ring ring = new_ring();

    (void)state;
    key_ring_shift(&ring, -T0 - 1000);
    assert_int_equal(ring.keys[0].since, 0);
}

static struct buf
encoded(const struct key_rings *rings)
{
    struct buf bytes = BUF(KEY_RING_BYTES_MAX);

    assert_int_equal(key_rings_encode(rings, 7, &bytes, &err), 0);
    return bytes;
}

static struct key_ring
full_ring(void)
{
    struct key_ring ring = new_ring();

    while (ring.n < KEY_RING_MAX) {
        CLEANUP(key_free) struct key *key = new_key();
        struct key_ring one;

        assert_int_equal(key_ring_begin(key, T0 + 1, &one, &err), 0);
        one.keys[0].state = ring.n == 1 ? MINT_KEY_NEXT : MINT_KEY_RETIRING;
        ring.keys[ring.n++] = one.keys[0];
    }
    return ring;
}

static void
assert_same(const struct key_ring *a, const struct key_ring *b)
{
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        assert_string_equal(a->keys[i].kid, b->keys[i].kid);
        assert_memory_equal(a->keys[i].scalar, b->keys[i].scalar, KEY_PRIVATE_LEN);
        assert_int_equal(a->keys[i].state, b->keys[i].state);
        assert_int_equal(a->keys[i].made, b->keys[i].made);
        assert_int_equal(a->keys[i].since, b->keys[i].since);
    }
}

static void
full_rings_go_through_their_bytes_and_back(void **state)
{
    struct key_rings rings = { .of = { full_ring(), full_ring() } }, again;
    uint64_t seq;

    (void)state;
    for (int i = 0; i < 2; i++) {
        CLEANUP(buf_clear) struct buf bytes = encoded(&rings);

        assert_int_equal(key_rings_decode(bytes.data, bytes.len, &again, &seq, &err), 0);
        assert_int_equal(seq, 7);
        assert_same(&again.of[RING_TOKEN], &rings.of[RING_TOKEN]);
        assert_same(&again.of[RING_BOUND], &rings.of[RING_BOUND]);
        for (size_t len = 0; len < bytes.len; len++)
            assert_int_equal(key_rings_decode(bytes.data, len, &again, &seq, &err), -1);
        rings.of[RING_BOUND].n = 0; /* as an earlier version wrote it */
    }
    assert_int_equal(key_ring_publish(&rings.of[RING_TOKEN], NULL, T0, &err), -1);
    assert_int_equal(due(&rings.of[RING_TOKEN], T0 + 2), RING_STAYS); /* full */
}

static void
a_ring_without_keys_begins_and_signs_at_once(void **state)
{
    struct key_ring ring = { .n = 0 };

    (void)state;
    assert_int_equal(due(&ring, T0), RING_BEGINS);
    assert_int_equal(turn(&ring, T0), 2);
    assert_int_equal(key_ring_find(&ring, MINT_KEY_ACTIVE)->since, T0);
    assert_non_null(key_ring_find(&ring, MINT_KEY_NEXT));
}

static void
what_is_no_ring_is_not_read(void **state)
{
    struct key_rings good = { .of = { new_ring(), new_ring() } }, ret;
    uint64_t seq;

    (void)state;
    turn(&good.of[RING_TOKEN], T0);
    turn(&good.of[RING_BOUND], T0);
    for (int i = 0; i < 16; i++) {
        CLEANUP(buf_clear) struct buf bytes = BUF(KEY_RING_BYTES_MAX);
        struct key_rings rings = good;
        struct key_ring *bad = &rings.of[i % 2];

        if (i / 2 == 0)
            bad->keys[1].state = MINT_KEY_ACTIVE; /* two that sign */
        else if (i / 2 == 1)
            bad->keys[0].state = MINT_KEY_NEXT; /* none */
        else if (i / 2 == 2)
            memcpy(bad->keys[1].scalar, bad->keys[0].scalar, KEY_PRIVATE_LEN); /* the same twice */
        else if (i / 2 == 3)
            memset(bad->keys[1].scalar, 0, KEY_PRIVATE_LEN);
        else if (i / 2 == 4)
            bad->keys[1].since = -1;
        else if (i / 2 == 5) /* the same for both kinds */
            memcpy(bad->keys[0].scalar, rings.of[1 - i % 2].keys[1].scalar, KEY_PRIVATE_LEN);
        else if (i / 2 == 6)
            rings.of[RING_TOKEN].n = 0;
        assert_int_equal(key_rings_encode(&rings, 1, &bytes, &err), 0);
        if (i / 2 == 7) /* the first key's purpose, behind label, number and count */
            bytes.data[2 + strlen("virtid-keys-1") + 2 + 8 + 2 + 1 + 2] = MINT_KEY_RECEIPT;
        assert_int_equal(key_rings_decode(bytes.data, bytes.len, &ret, &seq, &err), -1);
        assert_int_equal(err.code, ERROR_INPUT);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_published_used_retired_and_gone_in_order),
        cmocka_unit_test(a_retiring_key_outlives_the_last_token_it_made),
        cmocka_unit_test(the_steps_are_told_with_their_times),
        cmocka_unit_test(an_old_key_alone_waits_until_the_next_one_is_known),
        cmocka_unit_test(an_operator_waits_for_a_young_key_and_for_no_other),
        cmocka_unit_test(as_often_as_one_may_the_set_stays_small),
        cmocka_unit_test(a_revoked_active_key_is_replaced_by_a_fresh_one),
        cmocka_unit_test(a_revoked_next_or_retiring_key_changes_nothing_else),
        cmocka_unit_test(all_are_revoked_at_once),
        cmocka_unit_test(a_clock_that_is_set_ages_no_key),
        cmocka_unit_test(a_clock_that_was_wrong_at_a_start_costs_one_key_at_most),
        cmocka_unit_test(no_time_is_before_the_first),
        cmocka_unit_test(full_rings_go_through_their_bytes_and_back),
        cmocka_unit_test(a_ring_without_keys_begins_and_signs_at_once),
        cmocka_unit_test(what_is_no_ring_is_not_read),
    };

    return cmocka_run_group_tests_name("key_ring", tests, NULL, NULL);
}
