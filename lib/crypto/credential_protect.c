#include "config.h"

#include "lib/crypto/credential_protect.h"

#include <stdio.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/rsa.h>

#include "lib/common/buf.h"
#include "lib/crypto/crypto_error.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/random.h"

enum { NAME_MAX_LEN = 66, DIGEST_MAX = 48, INPUT_ROOM = 256 };

/* What the kind of EK decides: its nameAlg and the symmetric cipher of its template. */
struct suite {
    const char *digest, *cipher, *group;
    size_t digest_len, cipher_key_len, coordinate;
};

static const struct suite suites[] = {
    [CREDENTIAL_EK_RSA2048] = { "SHA256", "AES-128-CFB", NULL, 32, 16, 0 },
    [CREDENTIAL_EK_P384] = { "SHA384", "AES-256-CFB", "secp384r1", 48, 32, 48 },
    [CREDENTIAL_EK_P256] = { "SHA256", "AES-128-CFB", "prime256v1", 32, 16, 32 },
};

static int
hmac(const struct suite *suite, const uint8_t *key, size_t key_len,
     const struct buf *input, uint8_t ret[static DIGEST_MAX], struct error *err)
{
    size_t out = 0;

    if (!buf_ok(input))
        return error_set(err, ERROR_SYSTEM, "credential: no memory");
    if (!EVP_Q_mac(NULL, "HMAC", NULL, suite->digest, NULL, key, key_len, input->data,
                   input->len, ret, DIGEST_MAX, &out) ||
        out != suite->digest_len)
        return crypto_error(err, ERROR_SYSTEM, "credential: HMAC");
    return 0;
}

/* KDFa (TPM 2.0 Part 1, 11.4.10.2), one block: no key here is longer than the digest.
 */
static int
kdfa(const struct suite *suite, const uint8_t *seed, const char *label,
     const uint8_t *context, size_t context_len, size_t bits,
     uint8_t ret[static DIGEST_MAX], struct error *err)
{
    CLEANUP(buf_clear) struct buf input = BUF(INPUT_ROOM);

    buf_add_u32(&input, 1);
    buf_add(&input, label, strlen(label) + 1);
    buf_add(&input, context, context_len);
    buf_add_u32(&input, (uint32_t)bits);
    return hmac(suite, seed, suite->digest_len, &input, ret, err);
}

/* RSA: a random seed under OAEP with the label "IDENTITY", its NUL included (Part 1,
 * B.10.4). */
static int
seal_seed_rsa(const struct credential_ek *ek, uint8_t ret_seed[static DIGEST_MAX],
              uint8_t *ret_sealed, size_t *ret_len, struct error *err)
{
    CLEANUP(EVP_PKEY_free) EVP_PKEY *evp = NULL;
    CLEANUP(EVP_PKEY_CTX_free) EVP_PKEY_CTX *make = NULL, *seal = NULL;
    CLEANUP(OSSL_PARAM_BLD_free) OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    CLEANUP(OSSL_PARAM_free) OSSL_PARAM *params = NULL;
    CLEANUP(BN_clear_free) BIGNUM *n = BN_bin2bn(ek->modulus, sizeof ek->modulus, NULL);
    char *label;

    if (!build || !n)
        return crypto_error(err, ERROR_SYSTEM, "credential");
    if (BN_num_bits(n) != 2048 || !BN_is_odd(n))
        return error_set(err, ERROR_INPUT, "the EK's modulus is no RSA-2048 modulus");
    make = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    if (!make || !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) ||
        !OSSL_PARAM_BLD_push_uint(build, OSSL_PKEY_PARAM_RSA_E, 65537) ||
        !(params = OSSL_PARAM_BLD_to_param(build)) ||
        EVP_PKEY_fromdata_init(make) <= 0 ||
        EVP_PKEY_fromdata(make, &evp, EVP_PKEY_PUBLIC_KEY, params) <= 0)
        return crypto_error(err, ERROR_INPUT, "the EK's modulus");
    if (random_bytes(ret_seed, 32, err) < 0)
        return -1;
    seal = EVP_PKEY_CTX_new_from_pkey(NULL, evp, NULL);
    label = OPENSSL_strdup("IDENTITY");
    if (!seal || !label || EVP_PKEY_encrypt_init(seal) <= 0 ||
        EVP_PKEY_CTX_set_rsa_padding(seal, RSA_PKCS1_OAEP_PADDING) <= 0 ||
        EVP_PKEY_CTX_set_rsa_oaep_md(seal, EVP_sha256()) <= 0 ||
        EVP_PKEY_CTX_set_rsa_mgf1_md(seal, EVP_sha256()) <= 0 ||
        EVP_PKEY_CTX_set0_rsa_oaep_label(seal, label, sizeof "IDENTITY") <= 0) {
        OPENSSL_free(label);
        return crypto_error(err, ERROR_SYSTEM, "credential: OAEP");
    }
    *ret_len = CREDENTIAL_SEED_MAX;
    if (EVP_PKEY_encrypt(seal, ret_sealed, ret_len, ret_seed, 32) <= 0)
        return crypto_error(err, ERROR_SYSTEM, "credential: OAEP");
    return 0;
}

/* The EK's point as a key; refused unless it lies on its curve. */
static int
import_ek(const struct credential_ek *ek, const struct suite *suite, EVP_PKEY **ret,
          struct error *err)
{
    CLEANUP(EVP_PKEY_CTX_free)
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    CLEANUP(EVP_PKEY_CTX_free) EVP_PKEY_CTX *check = NULL;
    char group[16];
    uint8_t point[97] = { 4 };
    OSSL_PARAM params[3];

    snprintf(group, sizeof group, "%s", suite->group);
    memcpy(point + 1, ek->x, suite->coordinate);
    memcpy(point + 1 + suite->coordinate, ek->y, suite->coordinate);
    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0);
    params[1] = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point,
                                                  1 + 2 * suite->coordinate);
    params[2] = OSSL_PARAM_construct_end();
    if (!ctx || EVP_PKEY_fromdata_init(ctx) <= 0 ||
        EVP_PKEY_fromdata(ctx, ret, EVP_PKEY_PUBLIC_KEY, params) <= 0)
        return crypto_error(err, ERROR_INPUT, "the EK's point is not on its curve");
    check = EVP_PKEY_CTX_new_from_pkey(NULL, *ret, NULL);
    if (!check || EVP_PKEY_public_check(check) <= 0)
        return crypto_error(err, ERROR_INPUT, "the EK's point is not on its curve");
    return 0;
}

/* ECC: seed = KDFe(Z, "IDENTITY", ephemeral x, EK x) (Part 1, C.6.4 and 11.4.10.3). */
static int
seal_seed_ecc(const struct credential_ek *ek, const struct suite *suite,
              uint8_t ret_seed[static DIGEST_MAX], uint8_t *ret_sealed, size_t *ret_len,
              struct error *err)
{
    CLEANUP(EVP_PKEY_free) EVP_PKEY *theirs = NULL, *ours = NULL;
    CLEANUP(EVP_PKEY_CTX_free) EVP_PKEY_CTX *ctx = NULL;
    CLEANUP(buf_clear)
    struct buf input = BUF(INPUT_ROOM),
               sealed = BUF(CREDENTIAL_SEED_MAX);
    uint8_t z[48], point[97];
    size_t z_len = sizeof z, point_len = 0, n = suite->coordinate;
    bool derived;

    if (import_ek(ek, suite, &theirs, err) < 0)
        return -1;
    ours = EVP_EC_gen(suite->group);
    ctx = ours ? EVP_PKEY_CTX_new_from_pkey(NULL, ours, NULL) : NULL;
    if (!ctx || EVP_PKEY_derive_init(ctx) <= 0 ||
        EVP_PKEY_derive_set_peer(ctx, theirs) <= 0 ||
        EVP_PKEY_derive(ctx, z, &z_len) <= 0 || z_len != n ||
        !EVP_PKEY_get_octet_string_param(ours, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY,
                                         point, sizeof point, &point_len) ||
        point_len != 1 + 2 * n || point[0] != 4)
        return crypto_error(err, ERROR_SYSTEM, "credential: ECDH");
    buf_add_u32(&input, 1);
    buf_add(&input, z, n);
    buf_add(&input, "IDENTITY", sizeof "IDENTITY");
    buf_add(&input, point + 1, n);
    buf_add(&input, ek->x, n);
    explicit_bzero(z, sizeof z);
    derived = buf_ok(&input) && EVP_Q_digest(NULL, suite->digest, NULL, input.data,
                                             input.len, ret_seed, NULL);
    if (!derived)
        return crypto_error(err, ERROR_SYSTEM, "credential: KDFe");
    buf_add_u16(&sealed, (uint16_t)n);
    buf_add(&sealed, point + 1, n);
    buf_add_u16(&sealed, (uint16_t)n);
    buf_add(&sealed, point + 1 + n, n);
    if (!buf_ok(&sealed))
        return error_set(err, ERROR_SYSTEM, "credential: no memory");
    memcpy(ret_sealed, sealed.data, sealed.len);
    *ret_len = sealed.len;
    return 0;
}

/* TPM2B_DIGEST(secret) under CFB with a zero IV: the key is used once. */
static int
encrypt(const struct suite *suite, const uint8_t *key,
        const uint8_t secret[static CREDENTIAL_SECRET_LEN],
        uint8_t ret[static 2 + CREDENTIAL_SECRET_LEN], struct error *err)
{
    CLEANUP(EVP_CIPHER_CTX_free) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    static const uint8_t iv[16];
    uint8_t plain[2 + CREDENTIAL_SECRET_LEN] = { 0, CREDENTIAL_SECRET_LEN };
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, suite->cipher, NULL);
    int len = 0;
    bool done;

    memcpy(plain + 2, secret, CREDENTIAL_SECRET_LEN);
    done = ctx && cipher && EVP_EncryptInit_ex2(ctx, cipher, key, iv, NULL) &&
           EVP_EncryptUpdate(ctx, ret, &len, plain, sizeof plain) &&
           len == sizeof plain;
    explicit_bzero(plain, sizeof plain);
    EVP_CIPHER_free(cipher);
    return done ? 0 : crypto_error(err, ERROR_SYSTEM, "credential: AES-CFB");
}

/* The outer wrap, TPM2B_DIGEST(HMAC) || encIdentity (Part 1, 24.4 and 24.5). */
static int
wrap(const struct suite *suite, const uint8_t *seed, const uint8_t *ak_name,
     size_t ak_name_len, const uint8_t *secret, uint8_t *ret_id_object, size_t *ret_len,
     struct error *err)
{
    CLEANUP(buf_clear) struct buf out = BUF(CREDENTIAL_ID_OBJECT_MAX);
    CLEANUP(buf_clear) struct buf covered = BUF(INPUT_ROOM);
    uint8_t key[DIGEST_MAX], mac[DIGEST_MAX], hidden[2 + CREDENTIAL_SECRET_LEN];
    int failed;

    failed =
        kdfa(suite, seed, "STORAGE", ak_name, ak_name_len, suite->cipher_key_len * 8,
             key, err) < 0 ||
        encrypt(suite, key, secret, hidden, err) < 0 ||
        kdfa(suite, seed, "INTEGRITY", NULL, 0, suite->digest_len * 8, key, err) < 0;
    if (!failed) {
        buf_add(&covered, hidden, sizeof hidden);
        buf_add(&covered, ak_name, ak_name_len);
        failed = hmac(suite, key, suite->digest_len, &covered, mac, err) < 0;
    }
    explicit_bzero(key, sizeof key);
    if (failed)
        return -1;
    buf_add_u16(&out, (uint16_t)suite->digest_len);
    buf_add(&out, mac, suite->digest_len);
    buf_add(&out, hidden, sizeof hidden);
    if (!buf_ok(&out))
        return error_set(err, ERROR_SYSTEM, "credential: no memory");
    memcpy(ret_id_object, out.data, out.len);
    *ret_len = out.len;
    return 0;
}

int
credential_protect(const struct credential_ek *ek, const uint8_t *ak_name,
                   size_t ak_name_len,
                   const uint8_t secret[static CREDENTIAL_SECRET_LEN],
                   uint8_t ret_id_object[static CREDENTIAL_ID_OBJECT_MAX],
                   size_t *ret_id_object_len,
                   uint8_t ret_seed[static CREDENTIAL_SEED_MAX], size_t *ret_seed_len,
                   struct error *err)
{
    const struct suite *suite;
    uint8_t seed[DIGEST_MAX];
    int failed;

    if ((unsigned)ek->kind >= sizeof suites / sizeof suites[0])
        return error_set(err, ERROR_INPUT, "EK of an unknown kind");
    if (ak_name_len == 0 || ak_name_len > NAME_MAX_LEN)
        return error_set(err, ERROR_INPUT, "AK name of %zu bytes", ak_name_len);
    suite = &suites[ek->kind];
    failed = ek->kind == CREDENTIAL_EK_RSA2048
                 ? seal_seed_rsa(ek, seed, ret_seed, ret_seed_len, err)
                 : seal_seed_ecc(ek, suite, seed, ret_seed, ret_seed_len, err);
    if (!failed)
        failed = wrap(suite, seed, ak_name, ak_name_len, secret, ret_id_object,
                      ret_id_object_len, err);
    explicit_bzero(seed, sizeof seed);
    return failed;
}
