#include "config.h"

#include "lib/crypto/key.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/obj_mac.h>
#include <openssl/pem.h>

#include "lib/common/encode.h"
#include "lib/crypto/crypto_error.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/random.h"

enum { DER_SIGNATURE_MAX = 80, PEM_TEXT_MAX = 4096 };

struct key {
    EVP_PKEY *evp;
    bool is_private;
    uint8_t point[KEY_POINT_LEN];
    uint8_t scalar[KEY_PRIVATE_LEN]; /* OpenSSL allocates to tell it, and key_private() has no failure to tell */
};

/* The order n of P-256 (FIPS 186-4, D.1.2.3). */
static const uint8_t order[32] = {
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17,
    0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
};

static bool
is_scalar(const uint8_t bytes[static 32])
{
    static const uint8_t zero[32];

    return memcmp(bytes, zero, 32) != 0 && memcmp(bytes, order, 32) < 0;
}

/* From a point and, for a private key, its scalar. */
static int
import(const uint8_t point[static KEY_POINT_LEN], const BIGNUM *scalar,
       struct key **ret_key, struct error *err)
{
    CLEANUP(OSSL_PARAM_BLD_free) OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    CLEANUP(OSSL_PARAM_free) OSSL_PARAM *params = NULL;
    CLEANUP(EVP_PKEY_CTX_free)
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    CLEANUP(EVP_PKEY_CTX_free) EVP_PKEY_CTX *check = NULL;
    CLEANUP(key_free) struct key *key = calloc(1, sizeof *key);

    if (!build || !ctx || !key)
        return error_sys(err, ENOMEM, "key");
    if (!OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME,
                                         "prime256v1", 0) ||
        !OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point,
                                          KEY_POINT_LEN) ||
        (scalar && !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, scalar)) ||
        !(params = OSSL_PARAM_BLD_to_param(build)))
        return crypto_error(err, ERROR_SYSTEM, "key");
    if (EVP_PKEY_fromdata_init(ctx) <= 0 ||
        EVP_PKEY_fromdata(ctx, &key->evp,
                          scalar ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, params) <= 0)
        return crypto_error(err, ERROR_INPUT, "no point on P-256");
    check = EVP_PKEY_CTX_new_from_pkey(NULL, key->evp, NULL);
    if (!check || EVP_PKEY_public_check_quick(check) <= 0)
        return crypto_error(err, ERROR_INPUT, "no point on P-256");
    memcpy(key->point, point, KEY_POINT_LEN);
    key->is_private = scalar != NULL;
    *ret_key = STEAL(key);
    return 0;
}

int
key_from_point(const uint8_t point[static KEY_POINT_LEN], struct key **ret_key,
               struct error *err)
{
    if (point[0] != 4)
        return error_set(err, ERROR_INPUT, "no uncompressed point on P-256");
    return import(point, NULL, ret_key, err);
}

int
key_from_private(const uint8_t scalar[static KEY_PRIVATE_LEN], struct key **ret_key,
                 struct error *err)
{
    CLEANUP(EC_GROUP_free) EC_GROUP *group = NULL;
    CLEANUP(EC_POINT_free) EC_POINT *at = NULL;
    CLEANUP(BN_clear_free) BIGNUM *d = NULL;
    CLEANUP(BN_CTX_free) BN_CTX *ctx = NULL;
    uint8_t point[KEY_POINT_LEN];

    if (!is_scalar(scalar))
        return error_set(err, ERROR_INPUT, "private key out of range");
    group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    at = group ? EC_POINT_new(group) : NULL;
    d = BN_secure_new();
    ctx = BN_CTX_secure_new();
    if (!at || !d || !ctx || !BN_bin2bn(scalar, KEY_PRIVATE_LEN, d))
        return error_sys(err, ENOMEM, "key");
    BN_set_flags(d, BN_FLG_CONSTTIME);
    if (!EC_POINT_mul(group, at, d, NULL, NULL, ctx) ||
        EC_POINT_point2oct(group, at, POINT_CONVERSION_UNCOMPRESSED, point,
                           sizeof point, ctx) != sizeof point)
        return crypto_error(err, ERROR_SYSTEM, "public half of a key");
    if (import(point, d, ret_key, err) < 0)
        return -1;
    memcpy((*ret_key)->scalar, scalar, KEY_PRIVATE_LEN);
    return 0;
}

int
key_generate(struct key **ret_key, struct error *err)
{
    uint8_t scalar[KEY_PRIVATE_LEN];
    int failed;

    do {
        if (random_bytes(scalar, sizeof scalar, err) < 0)
            return -1;
    } while (!is_scalar(scalar)); /* once in 2^32 */
    failed = key_from_private(scalar, ret_key, err);
    explicit_bzero(scalar, sizeof scalar);
    return failed;
}

void
key_free(struct key *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->evp); /* clears its scalar */
    explicit_bzero(key->scalar, sizeof key->scalar);
    free(key);
}

void
key_point(const struct key *key, uint8_t ret[static KEY_POINT_LEN])
{
    memcpy(ret, key->point, KEY_POINT_LEN);
}

static int
read_scalar(EVP_PKEY *evp, uint8_t ret[static KEY_PRIVATE_LEN])
{
    CLEANUP(BN_clear_free) BIGNUM *d = NULL;

    if (!EVP_PKEY_get_bn_param(evp, OSSL_PKEY_PARAM_PRIV_KEY, &d) ||
        BN_bn2binpad(d, ret, KEY_PRIVATE_LEN) != KEY_PRIVATE_LEN)
        return -1;
    return 0;
}

void
key_private(const struct key *key, uint8_t ret[static KEY_PRIVATE_LEN])
{
    assert(key->is_private);
    memcpy(ret, key->scalar, KEY_PRIVATE_LEN);
}

struct evp_pkey_st *
key_evp(const struct key *key)
{
    return key->evp;
}

/* The DER inside one "PRIVATE KEY" block: PKCS#8, unencrypted. */
static int
decode_pem(const void *pem, size_t len, PKCS8_PRIV_KEY_INFO **ret, struct error *err)
{
    CLEANUP(BIO_free_all) BIO *bio = NULL;
    char *name = NULL, *header = NULL;
    unsigned char *der = NULL;
    const unsigned char *at;
    long der_len = 0;
    bool good;

    if (len > PEM_TEXT_MAX)
        return error_set(err, ERROR_INPUT, "private key of %zu bytes", len);
    bio = BIO_new_mem_buf(pem, (int)len);
    if (!bio)
        return error_sys(err, ENOMEM, "private key");
    if (!PEM_read_bio(bio, &name, &header, &der, &der_len))
        return crypto_error(err, ERROR_INPUT, "no PEM block with a private key");
    at = der;
    good = strcmp(name, PEM_STRING_PKCS8INF) == 0 && header[0] == '\0' &&
           (*ret = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, der_len)) && at == der + der_len;
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_clear_free(der, (size_t)der_len);
    if (!good)
        return crypto_error(err, ERROR_INPUT,
                            "no PKCS#8 private key (\"PRIVATE KEY\")");
    return 0;
}

int
key_from_pem(const void *pem, size_t len, struct key **ret_key, struct error *err)
{
    CLEANUP(PKCS8_PRIV_KEY_INFO_free) PKCS8_PRIV_KEY_INFO *info = NULL;
    CLEANUP(EVP_PKEY_free) EVP_PKEY *evp = NULL;
    uint8_t scalar[KEY_PRIVATE_LEN];
    char group[32] = "";
    int failed;

    if (decode_pem(pem, len, &info, err) < 0)
        return -1;
    evp = EVP_PKCS82PKEY(info);
    if (!evp || !EVP_PKEY_is_a(evp, "EC") ||
        !EVP_PKEY_get_group_name(evp, group, sizeof group, NULL) ||
        strcmp(group, "prime256v1") != 0 || read_scalar(evp, scalar) < 0)
        return crypto_error(err, ERROR_INPUT, "no P-256 private key");
    failed = key_from_private(scalar, ret_key, err);
    explicit_bzero(scalar, sizeof scalar);
    return failed;
}

int
key_to_pem(const struct key *key, struct buf *into, struct error *err)
{
    CLEANUP(BIO_free_all) BIO *bio = BIO_new(BIO_s_secmem());
    char *text = NULL;
    long len;

    assert(key->is_private);
    if (!bio ||
        !PEM_write_bio_PKCS8PrivateKey(bio, key->evp, NULL, NULL, 0, NULL, NULL))
        return crypto_error(err, ERROR_SYSTEM, "write a private key");
    len = BIO_get_mem_data(bio, &text);
    buf_add(into, text, (size_t)len);
    if (!buf_ok(into))
        return error_sys(err, ENOMEM, "write a private key");
    return 0;
}

/* RFC 7638, 3: members in lexicographic order, no white space. */
int
key_thumbprint(const uint8_t point[static KEY_POINT_LEN],
               uint8_t ret[static KEY_THUMBPRINT_LEN], struct error *err)
{
    CLEANUP(buf_clear) struct buf json = BUF(256);
    char x[B64URL_LEN(32) + 1], y[B64URL_LEN(32) + 1];

    b64url_encode(point + 1, 32, x);
    b64url_encode(point + 33, 32, y);
    buf_printf(&json, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}", x,
               y);
    if (!buf_ok(&json))
        return error_sys(err, ENOMEM, "thumbprint");
    return hash_sha256(json.data, json.len, ret, err);
}

int
key_sign_digest(const struct key *key, const uint8_t digest[static 32],
                uint8_t ret[static KEY_SIGNATURE_LEN], struct error *err)
{
    CLEANUP(EVP_PKEY_CTX_free) EVP_PKEY_CTX *ctx = NULL;
    CLEANUP(ECDSA_SIG_free) ECDSA_SIG *parts = NULL;
    uint8_t der[DER_SIGNATURE_MAX];
    const uint8_t *at = der;
    size_t der_len = sizeof der;

    assert(key->is_private);
    ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key->evp, NULL);
    if (!ctx || EVP_PKEY_sign_init(ctx) <= 0 ||
        EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) <= 0 ||
        EVP_PKEY_sign(ctx, der, &der_len, digest, SHA256_LEN) <= 0 ||
        !(parts = d2i_ECDSA_SIG(NULL, &at, (long)der_len)) ||
        BN_bn2binpad(ECDSA_SIG_get0_r(parts), ret, 32) != 32 ||
        BN_bn2binpad(ECDSA_SIG_get0_s(parts), ret + 32, 32) != 32)
        return crypto_error(err, ERROR_SYSTEM, "sign");
    return 0;
}

int
key_sign(const struct key *key, const void *bytes, size_t len,
         uint8_t ret[static KEY_SIGNATURE_LEN], struct error *err)
{
    uint8_t digest[SHA256_LEN];

    if (hash_sha256(bytes, len, digest, err) < 0)
        return -1;
    return key_sign_digest(key, digest, ret, err);
}

/* r || s as OpenSSL wants it; both are in range here. */
static int
signature_to_der(const uint8_t signature[static KEY_SIGNATURE_LEN],
                 uint8_t ret[static DER_SIGNATURE_MAX], size_t *ret_len,
                 struct error *err)
{
    CLEANUP(ECDSA_SIG_free) ECDSA_SIG *parts = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature, 32, NULL),
           *s = BN_bin2bn(signature + 32, 32, NULL);
    uint8_t *to = ret;
    int len;

    if (!parts || !r || !s || !ECDSA_SIG_set0(parts, r, s)) {
        BN_free(r);
        BN_free(s);
        return error_sys(err, ENOMEM, "signature");
    }
    len = i2d_ECDSA_SIG(parts, NULL);
    if (len <= 0 || len > DER_SIGNATURE_MAX || i2d_ECDSA_SIG(parts, &to) != len)
        return crypto_error(err, ERROR_SYSTEM, "signature");
    *ret_len = (size_t)len;
    return 0;
}

int
key_verify_digest(const struct key *key, const uint8_t digest[static 32],
                  const uint8_t signature[static KEY_SIGNATURE_LEN], struct error *err)
{
    CLEANUP(EVP_PKEY_CTX_free) EVP_PKEY_CTX *ctx = NULL;
    uint8_t der[DER_SIGNATURE_MAX];
    size_t der_len;
    int fits;

    if (!is_scalar(signature) || !is_scalar(signature + 32))
        return error_set(err, ERROR_DENIED, "signature out of range");
    if (signature_to_der(signature, der, &der_len, err) < 0)
        return -1;
    ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key->evp, NULL);
    if (!ctx || EVP_PKEY_verify_init(ctx) <= 0 ||
        EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) <= 0)
        return crypto_error(err, ERROR_SYSTEM, "verify");
    fits = EVP_PKEY_verify(ctx, der, der_len, digest, SHA256_LEN);
    if (fits != 1) /* below 0: it was not compared */
        return crypto_error(err, fits < 0 ? ERROR_SYSTEM : ERROR_DENIED, "the signature does not fit");
    return 0;
}

int
key_verify(const struct key *key, const void *bytes, size_t len,
           const uint8_t signature[static KEY_SIGNATURE_LEN], struct error *err)
{
    uint8_t digest[SHA256_LEN];

    if (hash_sha256(bytes, len, digest, err) < 0)
        return -1;
    return key_verify_digest(key, digest, signature, err);
}
