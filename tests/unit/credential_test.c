/*
 * credential_test.c - the activation secret is about one proof, one AK, one EK
 */
#include "config.h"

#include "tokenservice/attest/credential.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/soft_tpm.h"

static const uint8_t key[32] = { 1 };
static struct error err;

struct about {
    uint8_t nonce[NONCE_LEN], ak_name[TPM_NAME_LEN], ek_digest[EK_DIGEST_LEN], h[32];
    struct credential_about it;
};

static void
new_about(struct about *a)
{
    memset(a, 0, sizeof *a);
    a->it = (struct credential_about){ .issuer = "https://id.example.test", .nonce = a->nonce, .epoch = 3,
                                       .ak_name = a->ak_name, .ek_digest = a->ek_digest, .h = a->h };
}

static void
the_secret_changes_with_everything_it_is_about(void **state)
{
    uint8_t secret[32], other[32], key2[32] = { 2 };
    struct about a;

    (void)state;
    new_about(&a);
    assert_int_equal(credential_secret(key, &a.it, secret, &err), 0);
    assert_int_equal(credential_check(key, &a.it, secret, &err), 0);
    for (int i = 0; i < 8; i++) {
        new_about(&a);
        switch (i) {
        case 0: a.nonce[39] ^= 1; break;
        case 1: a.ak_name[33] ^= 1; break;
        case 2: a.ek_digest[31] ^= 1; break;
        case 3: a.h[0] ^= 1; break;
        case 4: a.it.epoch++; break;
        case 5: a.it.uuid.bytes[0] ^= 1; break;
        case 6: a.it.issuer = "https://id.example.tes"; break;
        default: break;
        }
        assert_int_equal(credential_secret(i == 7 ? key2 : key, &a.it, other, &err), 0);
        assert_memory_not_equal(secret, other, 32);
        assert_int_equal(credential_check(i == 7 ? key2 : key, &a.it, secret, &err), -1);
        assert_int_equal(err.code, ERROR_DENIED);
        assert_string_equal(err.problem, "activation");
    }
}

static void
a_secret_with_any_flipped_bit_is_refused(void **state)
{
    uint8_t secret[32];
    struct about a;

    (void)state;
    new_about(&a);
    assert_int_equal(credential_secret(key, &a.it, secret, &err), 0);
    for (int bit = 0; bit < 256; bit++) {
        secret[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(credential_check(key, &a.it, secret, &err), -1);
        secret[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void
the_blob_differs_each_time_and_never_shows_the_secret(void **state)
{
    struct credential_blob first, second;
    struct credential_ek ek;
    uint8_t secret[32], public[512];
    struct about a;

    (void)state;
    new_about(&a);
    assert_int_equal(credential_secret(key, &a.it, secret, &err), 0);
    for (int which = 0; which < 5; which++) {
        size_t len = soft_ek_public(which, public);

        assert_int_equal(tpm_ek_check(public, len, &ek, &err), 0);
        assert_int_equal(credential_ask(key, &a.it, &ek, &first, &err), 0);
        assert_int_equal(credential_ask(key, &a.it, &ek, &second, &err), 0);
        assert_memory_not_equal(first.seed, second.seed, first.seed_len);
        assert_null(memmem(first.id_object, first.id_object_len, secret, 8));
        assert_null(memmem(first.seed, first.seed_len, secret, 8));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_secret_changes_with_everything_it_is_about),
        cmocka_unit_test(a_secret_with_any_flipped_bit_is_refused),
        cmocka_unit_test(the_blob_differs_each_time_and_never_shows_the_secret),
    };

    return cmocka_run_group_tests_name("credential", tests, NULL, NULL);
}
