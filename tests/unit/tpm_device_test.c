/*
 * tpm_device_test.c - everything virtid does with a TPM, on a real swtpm
 */
#include "config.h"

#include "lib/tpm/tpm_device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/key.h"
#include "lib/crypto/random.h"
#include "lib/crypto/x509.h"
#include "tpmsim/swtpm_box.h"

static struct swtpm_box *box;
static struct error err;

#define OK(call)                            \
    do {                                    \
        if ((call) < 0)                     \
            fail_msg("%s: %s", #call, err.text); \
    } while (0)

static int
set_up(void **state)
{
    (void)state;
    if (swtpm_box_new(NULL, NULL, &box, &err) < 0) {
        print_error("%s\n", err.text);
        return -1;
    }
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    swtpm_box_free(box);
    return 0;
}

static struct tpm_device *
open_tpm(void)
{
    struct tpm_device *tpm = NULL;

    OK(tpm_open(swtpm_box_tcti(box), &tpm, &err));
    return tpm;
}

static void
assert_nothing_loaded(struct tpm_device *tpm)
{
    unsigned n = 99;

    OK(tpm_loaded_count(tpm, &n, &err));
    assert_int_equal(n, 0);
}

static void
the_ak_is_the_same_after_a_reset_and_passes_the_check(void **state)
{
    uint8_t before[TPM_AK_PUBLIC_LEN], after[TPM_AK_PUBLIC_LEN], point[65], name[TPM_NAME_LEN];
    struct tpm_device *tpm = open_tpm();

    (void)state;
    OK(tpm_ak_public(tpm, before, &err));
    OK(tpm_ak_check(before, sizeof before, point, name, &err));
    assert_nothing_loaded(tpm);
    tpm_close(tpm);
    OK(swtpm_box_reset(box, true, &err));
    tpm = open_tpm();
    OK(tpm_ak_public(tpm, after, &err));
    assert_memory_equal(before, after, sizeof before);
    tpm_close(tpm);
}

static void
both_eks_pass_the_check_and_have_certificates_by_the_ca(void **state)
{
    struct tpm_device *tpm = open_tpm();
    struct x509_der ca;

    (void)state;
    swtpm_box_ca(box, &ca.bytes, &ca.len);
    for (int rsa = 0; rsa < 2; rsa++) {
        CLEANUP(buf_clear) struct buf ek = BUF(1024), cert = BUF(4096), spki = BUF(1024);
        struct credential_ek key;
        struct x509_info info;
        uint8_t hash[32];

        OK(tpm_ek_public(tpm, rsa, &ek, &err));
        OK(tpm_ek_check(ek.data, ek.len, &key, &err));
        assert_int_equal(key.kind, rsa ? CREDENTIAL_EK_RSA2048 : CREDENTIAL_EK_P384);
        OK(tpm_ek_cert(tpm, rsa, &cert, &err));
        OK(x509_verify(cert.data, cert.len, X509_EK, &ca, 1, clock_realtime_ms() / 1000, &info,
                       &err));
        OK(tpm_ek_spki(&key, &spki, &err));
        OK(hash_sha256(spki.data, spki.len, hash, &err));
        assert_memory_equal(info.spki_sha256, hash, 32);
    }
    assert_nothing_loaded(tpm);
    tpm_close(tpm);
}

static int
activate_for(struct tpm_device *tpm, bool rsa, const uint8_t *name, const uint8_t *secret,
             uint8_t *ret)
{
    CLEANUP(buf_clear) struct buf ek = BUF(1024);
    uint8_t id[CREDENTIAL_ID_OBJECT_MAX], seed[CREDENTIAL_SEED_MAX];
    size_t id_len, seed_len;
    struct credential_ek key;

    OK(tpm_ek_public(tpm, rsa, &ek, &err));
    OK(tpm_ek_check(ek.data, ek.len, &key, &err));
    OK(credential_protect(&key, name, TPM_NAME_LEN, secret, id, &id_len, seed, &seed_len, &err));
    return tpm_activate(tpm, rsa, id, id_len, seed, seed_len, ret, &err);
}

static void
a_credential_for_this_ek_and_ak_is_activated(void **state)
{
    uint8_t ak[TPM_AK_PUBLIC_LEN], point[65], name[TPM_NAME_LEN], secret[32], opened[32];
    struct tpm_device *tpm = open_tpm();

    (void)state;
    OK(tpm_ak_public(tpm, ak, &err));
    OK(tpm_ak_check(ak, sizeof ak, point, name, &err));
    for (int rsa = 0; rsa < 2; rsa++) {
        OK(random_bytes(secret, sizeof secret, &err));
        OK(activate_for(tpm, rsa, name, secret, opened));
        assert_memory_equal(secret, opened, 32);
        assert_nothing_loaded(tpm);
    }
    tpm_close(tpm);
}

static void
a_credential_for_another_ak_is_not_activated(void **state)
{
    uint8_t ak[TPM_AK_PUBLIC_LEN], point[65], name[TPM_NAME_LEN], secret[32] = { 1 }, opened[32];
    struct tpm_device *tpm = open_tpm();

    (void)state;
    OK(tpm_ak_public(tpm, ak, &err));
    OK(tpm_ak_check(ak, sizeof ak, point, name, &err));
    name[33] ^= 1;
    for (int rsa = 0; rsa < 2; rsa++) {
        assert_int_equal(activate_for(tpm, rsa, name, secret, opened), -1);
        assert_int_equal(err.code, ERROR_DENIED);
        assert_nothing_loaded(tpm);
    }
    tpm_close(tpm);
}

static void
a_credential_too_long_for_a_tpm_is_refused_before_it_gets_there(void **state)
{
    static const uint8_t junk[4096];
    struct tpm_device *tpm = open_tpm();
    uint8_t opened[32];

    (void)state;
    assert_int_equal(tpm_activate(tpm, false, junk, sizeof junk, junk, 10, opened, &err), -1);
    assert_int_equal(tpm_activate(tpm, false, junk, 10, junk, sizeof junk, opened, &err), -1);
    assert_int_equal(tpm_activate(tpm, true, junk, 50, junk, 256, opened, &err), -1);
    assert_nothing_loaded(tpm);
    tpm_close(tpm);
}

static void
check_proof(struct tpm_device *tpm, const uint8_t h[static 32], struct tpm_proof *proof)
{
    uint8_t ak[TPM_AK_PUBLIC_LEN], point[65], name[TPM_NAME_LEN];
    CLEANUP(key_free) struct key *key = NULL;
    struct tpm_attest quote, nv;

    OK(tpm_ak_public(tpm, ak, &err));
    OK(tpm_ak_check(ak, sizeof ak, point, name, &err));
    OK(key_from_point(point, &key, &err));
    OK(tpm_prove(tpm, h, proof, &err));
    OK(tpm_quote_read(proof->quote, proof->quote_len, h, &quote, &err));
    OK(key_verify(key, proof->quote, proof->quote_len, proof->quote_sig, &err));
    if (!proof->has_x)
        return;
    OK(tpm_certify_read(proof->certify, proof->certify_len, h, &nv, &err));
    OK(key_verify(key, proof->certify, proof->certify_len, proof->certify_sig, &err));
    assert_memory_equal(proof->x, nv.nv_contents, 32);
    assert_int_equal(quote.reset_count, nv.reset_count);
    assert_int_equal(quote.restart_count, nv.restart_count);
}

static void
a_proof_carries_the_index_and_two_signatures_over_h(void **state)
{
    struct tpm_device *tpm = open_tpm();
    uint8_t h[32], x[32];
    struct tpm_proof proof;

    (void)state;
    OK(random_bytes(h, sizeof h, &err));
    check_proof(tpm, h, &proof);
    assert_true(proof.has_x);
    assert_memory_equal(proof.x, swtpm_box_made(box)->x0, 32);
    OK(tpm_nv_read(tpm, x, &err));
    assert_memory_equal(proof.x, x, 32);
    assert_nothing_loaded(tpm);
    tpm_close(tpm);
}

static void
many_proofs_leave_nothing_in_the_tpm(void **state)
{
    const char *asked = getenv("VIRTID_PROOFS");
    long n = asked ? atol(asked) : 300;
    uint8_t h[32] = { 0 }, unique[64] = { 7 }, signature[64];
    struct tpm_device *tpm = open_tpm();
    int64_t start = clock_monotonic_ms();
    struct tpm_proof proof;

    (void)state;
    for (long i = 0; i < n; i++) {
        memcpy(h, &i, sizeof i);
        OK(tpm_prove(tpm, h, &proof, &err));
        OK(tpm_secret_sign(tpm, unique, h, signature, &err));
    }
    print_message("# %ld proofs in %lld ms\n", n, (long long)(clock_monotonic_ms() - start));
    assert_nothing_loaded(tpm);
    tpm_close(tpm);
}

static void
a_slot_gives_one_key_on_this_tpm_and_signs_with_it(void **state)
{
    uint8_t unique[64], point[65], again[65], other[65], digest[32], signature[64];
    CLEANUP(key_free) struct key *key = NULL;
    struct tpm_device *tpm = open_tpm();

    (void)state;
    OK(random_bytes(unique, sizeof unique, &err));
    OK(random_bytes(digest, sizeof digest, &err));
    OK(tpm_secret_point(tpm, unique, point, &err));
    OK(tpm_secret_point(tpm, unique, again, &err));
    assert_memory_equal(point, again, 65);
    OK(tpm_secret_sign(tpm, unique, digest, signature, &err));
    OK(key_from_point(point, &key, &err));
    OK(key_verify_digest(key, digest, signature, &err));
    for (size_t i = 0; i < 64; i += 63) {
        unique[i] ^= 1;
        OK(tpm_secret_point(tpm, unique, other, &err));
        assert_memory_not_equal(point, other, 65);
        unique[i] ^= 1;
    }
    assert_nothing_loaded(tpm);
    tpm_close(tpm);
}

static void
a_slot_on_another_tpm_gives_another_key(void **state)
{
    CLEANUP(swtpm_box_free) struct swtpm_box *other = NULL;
    struct tpm_device *tpm = open_tpm(), *there = NULL;
    uint8_t unique[64] = { 3 }, here_point[65], there_point[65];

    (void)state;
    OK(swtpm_box_new(NULL, NULL, &other, &err));
    OK(tpm_open(swtpm_box_tcti(other), &there, &err));
    OK(tpm_secret_point(tpm, unique, here_point, &err));
    OK(tpm_secret_point(there, unique, there_point, &err));
    assert_memory_not_equal(here_point, there_point, 65);
    tpm_close(there);
    tpm_close(tpm);
}

static void
a_tpm_that_is_not_there_is_an_error_with_words(void **state)
{
    struct tpm_device *tpm = NULL;

    (void)state;
    assert_int_equal(tpm_open("swtpm:path=/nonexistent/socket", &tpm, &err), -1);
    assert_int_equal(err.code, ERROR_SYSTEM);
    assert_non_null(strstr(err.text, "/nonexistent/socket"));
    assert_int_equal(tpm_open("no-such-tcti:x", &tpm, &err), -1);
    assert_null(tpm);
}

static void
a_tpm_that_dies_is_an_error_and_not_a_hang(void **state)
{
    CLEANUP(swtpm_box_free) struct swtpm_box *other = NULL;
    struct tpm_device *tpm = NULL;
    uint8_t ak[TPM_AK_PUBLIC_LEN];

    (void)state;
    OK(swtpm_box_new(NULL, NULL, &other, &err));
    OK(tpm_open(swtpm_box_tcti(other), &tpm, &err));
    swtpm_box_free(STEAL(other));
    assert_int_equal(tpm_ak_public(tpm, ak, &err), -1);
    assert_int_equal(err.code, ERROR_SYSTEM);
    tpm_close(tpm);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_ak_is_the_same_after_a_reset_and_passes_the_check),
        cmocka_unit_test(both_eks_pass_the_check_and_have_certificates_by_the_ca),
        cmocka_unit_test(a_credential_for_this_ek_and_ak_is_activated),
        cmocka_unit_test(a_credential_for_another_ak_is_not_activated),
        cmocka_unit_test(a_credential_too_long_for_a_tpm_is_refused_before_it_gets_there),
        cmocka_unit_test(a_proof_carries_the_index_and_two_signatures_over_h),
        cmocka_unit_test(many_proofs_leave_nothing_in_the_tpm),
        cmocka_unit_test(a_slot_gives_one_key_on_this_tpm_and_signs_with_it),
        cmocka_unit_test(a_slot_on_another_tpm_gives_another_key),
        cmocka_unit_test(a_tpm_that_is_not_there_is_an_error_with_words),
        cmocka_unit_test(a_tpm_that_dies_is_an_error_and_not_a_hang),
    };

    return cmocka_run_group_tests_name("tpm_device", tests, set_up, tear_down);
}
