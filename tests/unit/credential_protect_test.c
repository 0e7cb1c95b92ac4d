#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "lib/common/buf.h"
#include "lib/crypto/credential_protect.h"

/* The TPM's side (Part 1, 24.5), written down a second time and by other means. */
struct tpm {
    EVP_PKEY *key;
    const char *digest, *cipher;
    size_t digest_len, key_len, coordinate;
    struct credential_ek ek;
};

static struct tpm tpms[3];
static const uint8_t name[34] = { 0x00, 0x0b, 1, 2, 3 };

static void
make_rsa(struct tpm *t)
{
    BIGNUM *n = NULL;

    *t = (struct tpm){ EVP_RSA_gen(2048), "SHA256", "AES-128-CFB", 32, 16, 0,
                       { .kind = CREDENTIAL_EK_RSA2048 } };
    assert_int_equal(EVP_PKEY_get_bn_param(t->key, OSSL_PKEY_PARAM_RSA_N, &n), 1);
    assert_int_equal(BN_bn2binpad(n, t->ek.modulus, 256), 256);
    BN_free(n);
}

static void
make_ecc(struct tpm *t, const char *curve, const char *digest, const char *cipher, size_t size)
{
    uint8_t point[97];
    size_t len;

    t->key = EVP_EC_gen(curve);
    t->digest = digest;
    t->cipher = cipher;
    t->digest_len = t->coordinate = size;
    t->key_len = size == 48 ? 32 : 16;
    t->ek.kind = size == 48 ? CREDENTIAL_EK_P384 : CREDENTIAL_EK_P256;
    assert_int_equal(EVP_PKEY_get_octet_string_param(t->key, OSSL_PKEY_PARAM_PUB_KEY, point,
                                                     sizeof point, &len), 1);
    assert_int_equal(len, 1 + 2 * size);
    memcpy(t->ek.x, point + 1, size);
    memcpy(t->ek.y, point + 1 + size, size);
}

static int
set_up(void **state)
{
    (void)state;
    make_rsa(&tpms[0]);
    make_ecc(&tpms[1], "P-256", "SHA256", "AES-128-CFB", 32);
    make_ecc(&tpms[2], "P-384", "SHA384", "AES-256-CFB", 48);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        EVP_PKEY_free(tpms[i].key);
    return 0;
}

static bool
open_seed_rsa(const struct tpm *t, const uint8_t *sealed, size_t len, uint8_t seed[48])
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(t->key, NULL);
    size_t out = 256;
    uint8_t plain[256];
    bool good = EVP_PKEY_decrypt_init(ctx) > 0 &&
                EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) > 0 &&
                EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256()) > 0 &&
                EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, OPENSSL_memdup("IDENTITY", 9), 9) > 0 &&
                EVP_PKEY_decrypt(ctx, plain, &out, sealed, len) > 0 && out == 32;

    EVP_PKEY_CTX_free(ctx);
    if (good)
        memcpy(seed, plain, 32);
    return good;
}

static bool
open_seed_ecc(const struct tpm *t, const uint8_t *sealed, size_t len, uint8_t seed[48])
{
    CLEANUP(buf_clear) struct buf input = BUF(256);
    size_t n = t->coordinate, z_len = 48;
    uint8_t point[97] = { 4 }, z[48];
    EVP_PKEY *peer = EVP_PKEY_new();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(t->key, NULL);
    bool good;

    assert_int_equal(len, 2 * (2 + n));
    assert_int_equal(sealed[0] << 8 | sealed[1], n);
    assert_int_equal(sealed[2 + n] << 8 | sealed[3 + n], n);
    memcpy(point + 1, sealed + 2, n);
    memcpy(point + 1 + n, sealed + 4 + n, n);
    good = EVP_PKEY_copy_parameters(peer, t->key) == 1 &&
           EVP_PKEY_set1_encoded_public_key(peer, point, 1 + 2 * n) == 1 &&
           EVP_PKEY_derive_init(ctx) > 0 && EVP_PKEY_derive_set_peer(ctx, peer) > 0 &&
           EVP_PKEY_derive(ctx, z, &z_len) > 0;
    buf_add(&input, "\0\0\0\1", 4);
    buf_add(&input, z, z_len);
    buf_add(&input, "IDENTITY", 9);
    buf_add(&input, point + 1, n);
    buf_add(&input, t->ek.x, n);
    good = good && EVP_Q_digest(NULL, t->digest, NULL, input.data, input.len, seed, NULL);
    EVP_PKEY_free(peer);
    EVP_PKEY_CTX_free(ctx);
    return good;
}

static void
mac(const struct tpm *t, const uint8_t *key, const struct buf *over, uint8_t ret[48])
{
    size_t len;

    assert_non_null(EVP_Q_mac(NULL, "HMAC", NULL, t->digest, NULL, key, t->digest_len, over->data,
                              over->len, ret, 48, &len));
}

static void
derive(const struct tpm *t, const uint8_t *seed, const char *label, const uint8_t *ak_name,
       size_t len, size_t bits, uint8_t ret[48])
{
    CLEANUP(buf_clear) struct buf input = BUF(256);

    buf_add_u32(&input, 1);
    buf_add(&input, label, strlen(label) + 1);
    buf_add(&input, ak_name, len);
    buf_add_u32(&input, (uint32_t)bits);
    mac(t, seed, &input, ret);
}

/* TPM2_ActivateCredential: the secret, or false. */
static bool
activate(const struct tpm *t, const uint8_t *ak_name, size_t ak_name_len, const uint8_t *id_object,
         size_t id_len, const uint8_t *sealed, size_t sealed_len, uint8_t ret[32])
{
    CLEANUP(buf_clear) struct buf covered = BUF(256);
    const uint8_t *hidden = id_object + 2 + t->digest_len;
    size_t hidden_len = id_len - 2 - t->digest_len;
    uint8_t seed[48], key[48], expected[48], plain[64];
    static const uint8_t iv[16];
    EVP_CIPHER *cipher;
    EVP_CIPHER_CTX *ctx;
    int len = 0;

    assert_int_equal(id_object[0] << 8 | id_object[1], t->digest_len);
    assert_int_equal(hidden_len, 34);
    if (!(t->coordinate ? open_seed_ecc : open_seed_rsa)(t, sealed, sealed_len, seed))
        return false;
    derive(t, seed, "INTEGRITY", NULL, 0, t->digest_len * 8, key);
    buf_add(&covered, hidden, hidden_len);
    buf_add(&covered, ak_name, ak_name_len);
    mac(t, key, &covered, expected);
    if (memcmp(expected, id_object + 2, t->digest_len) != 0)
        return false;
    derive(t, seed, "STORAGE", ak_name, ak_name_len, t->key_len * 8, key);
    cipher = EVP_CIPHER_fetch(NULL, t->cipher, NULL);
    ctx = EVP_CIPHER_CTX_new();
    assert_int_equal(EVP_DecryptInit_ex2(ctx, cipher, key, iv, NULL), 1);
    assert_int_equal(EVP_DecryptUpdate(ctx, plain, &len, hidden, (int)hidden_len), 1);
    EVP_CIPHER_CTX_free(ctx);
    EVP_CIPHER_free(cipher);
    assert_int_equal(plain[0] << 8 | plain[1], 32);
    memcpy(ret, plain + 2, 32);
    return true;
}

static void
tpm_with_this_ek_opens_it_for_this_name(void **state)
{
    uint8_t secret[32], got[32], id[CREDENTIAL_ID_OBJECT_MAX], seed[CREDENTIAL_SEED_MAX];
    size_t id_len, seed_len;
    struct error err;

    (void)state;
    for (size_t i = 0; i < sizeof secret; i++)
        secret[i] = (uint8_t)(i * 7);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(credential_protect(&tpms[i].ek, name, sizeof name, secret, id, &id_len,
                                            seed, &seed_len, &err), 0);
        assert_true(activate(&tpms[i], name, sizeof name, id, id_len, seed, seed_len, got));
        assert_memory_equal(got, secret, sizeof secret);
    }
}

static void
another_name_or_ek_opens_nothing(void **state)
{
    static const uint8_t secret[32] = { 1 };
    uint8_t got[32], other[34], id[CREDENTIAL_ID_OBJECT_MAX], seed[CREDENTIAL_SEED_MAX];
    struct tpm stranger = { 0 };
    size_t id_len, seed_len;
    struct error err;

    (void)state;
    memcpy(other, name, sizeof other);
    other[33] ^= 1;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(credential_protect(&tpms[i].ek, name, sizeof name, secret, id, &id_len,
                                            seed, &seed_len, &err), 0);
        assert_false(activate(&tpms[i], other, sizeof other, id, id_len, seed, seed_len, got));
        if (i == 0)
            make_rsa(&stranger);
        else
            make_ecc(&stranger, i == 1 ? "P-256" : "P-384", tpms[i].digest, tpms[i].cipher,
                     tpms[i].coordinate);
        assert_false(activate(&stranger, name, sizeof name, id, id_len, seed, seed_len, got));
        EVP_PKEY_free(stranger.key);
    }
}

static void
two_credentials_of_one_secret_differ(void **state)
{
    static const uint8_t secret[32] = { 1 };
    uint8_t id[2][CREDENTIAL_ID_OBJECT_MAX], seed[CREDENTIAL_SEED_MAX];
    size_t id_len, seed_len;
    struct error err;

    (void)state;
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 2; j++)
            assert_int_equal(credential_protect(&tpms[i].ek, name, sizeof name, secret, id[j],
                                                &id_len, seed, &seed_len, &err), 0);
        assert_memory_not_equal(id[0], id[1], id_len);
    }
}

static void
eks_that_are_no_keys_are_refused(void **state)
{
    static const uint8_t secret[32] = { 1 };
    uint8_t id[CREDENTIAL_ID_OBJECT_MAX], seed[CREDENTIAL_SEED_MAX];
    size_t id_len, seed_len;
    struct error err;

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct credential_ek ek = tpms[i].ek;

        ek.y[0] ^= 1;           /* off the curve */
        ek.modulus[255] &= 0xfe; /* even */
        assert_int_equal(credential_protect(&ek, name, sizeof name, secret, id, &id_len, seed,
                                            &seed_len, &err), -1);
        assert_int_equal(err.code, ERROR_INPUT);
    }
    assert_int_equal(credential_protect(&tpms[0].ek, name, 0, secret, id, &id_len, seed,
                                        &seed_len, &err), -1);
    assert_int_equal(credential_protect(&tpms[0].ek, name, 67, secret, id, &id_len, seed,
                                        &seed_len, &err), -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tpm_with_this_ek_opens_it_for_this_name),
        cmocka_unit_test(another_name_or_ek_opens_nothing),
        cmocka_unit_test(two_credentials_of_one_secret_differ),
        cmocka_unit_test(eks_that_are_no_keys_are_refused),
    };

    return cmocka_run_group_tests_name("credential_protect", tests, set_up, tear_down);
}
