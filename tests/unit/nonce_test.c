/*
 * nonce_test.c - a nonce is good for whom it was made, when it is young, and nowhere else
 */
#include "config.h"

#include "tokenservice/attest/nonce.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t key[NONCE_KEY_LEN] = { 9 };
static const uint8_t random_part[NONCE_RANDOM_LEN] = { 4, 5, 6 };
static const char issuer[] = "https://id.example.test";
enum { NOW = 1700000000 };
static const int64_t now = NOW * 1000LL;
static struct nonce_bind bind_vm = { .uuid = { { 1 } }, .epoch = 7, .has_ak = true, .ak_name = { 0, 11, 3 } };
static struct error err;

static int
check_at(const uint8_t *nonce, int64_t at)
{
    enum nonce_kind kind;

    memset(&err, 0, sizeof err);
    return nonce_check(key, issuer, at, nonce, &bind_vm, &kind, &err);
}

static void
make(const struct nonce_bind *whom, uint8_t *ret)
{
    assert_int_equal(nonce_make(key, issuer, now, random_part, whom, ret, &err), 0);
}

static void
refused(int r)
{
    assert_int_equal(r, -1);
    assert_int_equal(err.code, ERROR_DENIED);
    assert_string_equal(err.problem, "stale");
}

static void
a_challenge_is_good_for_thirty_seconds(void **state)
{
    uint8_t nonce[NONCE_LEN];
    enum nonce_kind kind;

    (void)state;
    make(NULL, nonce);
    assert_int_equal(check_at(nonce, now), 0);
    assert_int_equal(check_at(nonce, now + NONCE_CHALLENGE_MS), 0);
    refused(check_at(nonce, now + NONCE_CHALLENGE_MS + 1));
    assert_int_equal(nonce_check(key, issuer, now, nonce, NULL, &kind, &err), 0);
    assert_int_equal(kind, NONCE_CHALLENGE);
}

static void
replicas_may_differ_by_one_second(void **state)
{
    uint8_t nonce[NONCE_LEN];

    (void)state;
    make(NULL, nonce);
    assert_int_equal(check_at(nonce, now - NONCE_SKEW_MS), 0);
    refused(check_at(nonce, now - NONCE_SKEW_MS - 1));
}

static void
a_token_nonce_is_good_in_the_second_half_of_its_life(void **state)
{
    uint8_t nonce[NONCE_LEN];

    (void)state;
    make(&bind_vm, nonce);
    refused(check_at(nonce, now));
    refused(check_at(nonce, now + NONCE_TOKEN_MS / 2 - 1));
    assert_int_equal(check_at(nonce, now + NONCE_TOKEN_MS / 2), 0);
    assert_int_equal(check_at(nonce, now + NONCE_TOKEN_MS), 0);
    refused(check_at(nonce, now + NONCE_TOKEN_MS + 1));
}

static void
a_token_nonce_is_for_one_vm_epoch_and_ak(void **state)
{
    struct nonce_bind other[4];
    uint8_t nonce[NONCE_LEN];

    (void)state;
    for (int i = 0; i < 4; i++)
        other[i] = bind_vm;
    other[0].uuid.bytes[15] ^= 1;
    other[1].epoch++;
    other[2].ak_name[33] ^= 1;
    other[3].has_ak = false;
    for (int i = 0; i < 4; i++) {
        make(&other[i], nonce);
        refused(check_at(nonce, now + NONCE_TOKEN_MS));
    }
}

static void
another_key_or_issuer_makes_no_nonce_of_ours(void **state)
{
    static const uint8_t other_key[NONCE_KEY_LEN] = { 8 };
    uint8_t nonce[NONCE_LEN];

    (void)state;
    assert_int_equal(nonce_make(other_key, issuer, now, random_part, NULL, nonce, &err), 0);
    refused(check_at(nonce, now));
    assert_int_equal(nonce_make(key, "https://id.example.tes", now, random_part, NULL, nonce, &err), 0);
    refused(check_at(nonce, now));
}

static void
any_flipped_bit_spoils_it(void **state)
{
    uint8_t nonce[NONCE_LEN];

    (void)state;
    make(NULL, nonce);
    for (int bit = 0; bit < 8 * NONCE_LEN; bit++) {
        nonce[bit / 8] ^= (uint8_t)(1 << bit % 8);
        refused(check_at(nonce, now));
        nonce[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(check_at(nonce, now), 0);
}

static void
a_stranger_can_not_make_us_derive_keys_of_other_hours(void **state)
{
    uint8_t nonce[NONCE_LEN];
    uint64_t hour = 0;

    (void)state;
    make(NULL, nonce);
    assert_int_equal(nonce_hour(nonce, now, &hour, &err), 0);
    assert_int_equal(hour, NOW / 3600);
    refused(nonce_hour(nonce, now + NONCE_TOKEN_MS + 1, &hour, &err));
    refused(nonce_hour(nonce, now - NONCE_SKEW_MS - 1, &hour, &err));
    memset(nonce, 0xff, 8);
    refused(nonce_hour(nonce, now, &hour, &err));
    memset(nonce, 0, 8);
    refused(nonce_hour(nonce, now, &hour, &err));
}

static void
order_is_by_time_then_by_random(void **state)
{
    static const uint8_t more[NONCE_RANDOM_LEN] = { 4, 5, 7 };
    uint8_t a[NONCE_LEN], b[NONCE_LEN], c[NONCE_LEN];

    (void)state;
    make(NULL, a);
    assert_int_equal(nonce_make(key, issuer, now + 1, random_part, NULL, b, &err), 0);
    assert_int_equal(nonce_make(key, issuer, now, more, NULL, c, &err), 0);
    assert_true(nonce_compare(a, b) < 0);
    assert_true(nonce_compare(b, a) > 0);
    assert_true(nonce_compare(a, c) < 0);
    assert_true(nonce_compare(c, b) < 0);
    assert_int_equal(nonce_compare(a, a), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_challenge_is_good_for_thirty_seconds),
        cmocka_unit_test(replicas_may_differ_by_one_second),
        cmocka_unit_test(a_token_nonce_is_good_in_the_second_half_of_its_life),
        cmocka_unit_test(a_token_nonce_is_for_one_vm_epoch_and_ak),
        cmocka_unit_test(another_key_or_issuer_makes_no_nonce_of_ours),
        cmocka_unit_test(any_flipped_bit_spoils_it),
        cmocka_unit_test(a_stranger_can_not_make_us_derive_keys_of_other_hours),
        cmocka_unit_test(order_is_by_time_then_by_random),
    };

    return cmocka_run_group_tests_name("nonce", tests, NULL, NULL);
}
