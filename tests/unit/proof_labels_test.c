/*
 * proof_labels_test.c - what is signed or derived for one purpose passes for no other
 *
 * One key and the same contents everywhere: only the labels differ.
 */
#include "config.h"

#include "tokenservice/attest/credential.h"
#include "tokenservice/attest/nonce.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/crypto/key.h"
#include "lib/wire/bundle.h"
#include "tests/unit/soft_tpm.h"

static const char issuer[] = "https://id.example.test";
static const uint8_t zero[64];
static const struct vm_uuid uuid;
static struct error err;

static int
host_message(struct buf *into)
{
    return transcript_host_message(issuer, "host-a", &uuid, 0, zero, into, &err);
}

static int
secret_message(struct buf *into)
{
    return transcript_secret_message(zero, into, &err);
}

static int
pop_message(struct buf *into)
{
    return transcript_pop_message(zero, issuer, zero, zero, into, &err);
}

static int
proof_transcript(struct buf *into)
{
    struct transcript t = { .issuer = issuer, .audience = "a", .factors = FACTOR_HOST };

    return transcript_encode(&t, into, &err);
}

static int
trust_bundle(struct buf *into)
{
    static struct bundle b = { .serial = 1, .guest_listener = "h:1", .ca_now_len = 1 };

    strcpy(b.issuer, issuer);
    return bundle_message(&b, into, &err);
}

static int
quote_attest(struct buf *into)
{
    uint8_t bytes[SOFT_QUOTE_LEN];
    struct soft_tpm t;

    soft_tpm_new(&t);
    soft_quote(&t, zero, bytes);
    soft_tpm_clear(&t);
    buf_add(into, bytes, sizeof bytes);
    return 0;
}

static int
certify_attest(struct buf *into)
{
    uint8_t bytes[SOFT_CERTIFY_LEN];
    struct soft_tpm t;

    soft_tpm_new(&t);
    soft_certify(&t, zero, bytes);
    soft_tpm_clear(&t);
    buf_add(into, bytes, sizeof bytes);
    return 0;
}

static void
only_the_diagonal_passes(void **state)
{
    static int (*const make[])(struct buf *) = { host_message, secret_message, pop_message, proof_transcript,
                                                 trust_bundle, quote_attest, certify_attest };
    enum { N = sizeof make / sizeof make[0] };
    CLEANUP(key_free) struct key *key = NULL;
    uint8_t signature[N][64];
    struct buf message[N];

    (void)state;
    assert_int_equal(key_generate(&key, &err), 0);
    for (int i = 0; i < N; i++) {
        message[i] = BUF(8192);
        assert_int_equal(make[i](&message[i]), 0);
        assert_true(buf_ok(&message[i]) && message[i].len > 0);
        assert_int_equal(key_sign(key, message[i].data, message[i].len, signature[i], &err), 0);
    }
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++)
            assert_int_equal(key_verify(key, message[j].data, message[j].len, signature[i], &err) == 0, i == j);
    }
    for (int i = 0; i < N; i++)
        buf_clear(&message[i]);
}

static void
quote_and_certify_are_read_as_nothing_else(void **state)
{
    struct soft_tpm t;
    uint8_t quote[SOFT_QUOTE_LEN], certify[SOFT_CERTIFY_LEN];
    struct tpm_attest a;

    (void)state;
    soft_tpm_new(&t);
    soft_quote(&t, zero, quote);
    soft_certify(&t, zero, certify);
    assert_int_equal(tpm_quote_read(quote, sizeof quote, zero, &a, &err), 0);
    assert_int_equal(tpm_certify_read(certify, sizeof certify, zero, &a, &err), 0);
    assert_int_equal(tpm_quote_read(certify, sizeof certify, zero, &a, &err), -1);
    assert_int_equal(tpm_certify_read(quote, sizeof quote, zero, &a, &err), -1);
    soft_tpm_clear(&t);
}

static void
a_challenge_is_no_token_nonce_and_no_activation_secret(void **state)
{
    struct nonce_bind whom = { .has_ak = true };
    uint8_t challenge[NONCE_LEN], token[NONCE_LEN], secret[32];
    struct credential_about about = { .issuer = issuer, .nonce = challenge, .ak_name = zero, .ek_digest = zero,
                                      .h = zero };
    enum nonce_kind kind;

    (void)state;
    assert_int_equal(nonce_make(zero, issuer, 1000000, zero, NULL, challenge, &err), 0);
    assert_int_equal(nonce_make(zero, issuer, 1000000, zero, &whom, token, &err), 0);
    assert_memory_not_equal(challenge + 24, token + 24, 16);
    assert_int_equal(nonce_check(zero, issuer, 1000000, token, NULL, &kind, &err), -1);
    assert_int_equal(credential_secret(zero, &about, secret, &err), 0);
    assert_memory_not_equal(secret, challenge + 24, 16);
    assert_memory_not_equal(secret, token + 24, 16);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_diagonal_passes),
        cmocka_unit_test(quote_and_certify_are_read_as_nothing_else),
        cmocka_unit_test(a_challenge_is_no_token_nonce_and_no_activation_secret),
    };

    return cmocka_run_group_tests_name("proof_labels", tests, NULL, NULL);
}
