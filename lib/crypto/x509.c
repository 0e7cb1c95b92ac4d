#include "config.h"

#include "lib/crypto/x509.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "lib/common/encode.h"
#include "lib/crypto/crypto_error.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/x509_shape.h"

static int
spki_of_evp(EVP_PKEY *evp, struct buf *into, struct error *err)
{
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(evp, &der);

    if (len <= 0)
        return crypto_error(err, ERROR_SYSTEM, "encode a public key");
    buf_add(into, der, (size_t)len);
    OPENSSL_free(der);
    return buf_ok(into) ? 0 : error_sys(err, ENOMEM, "public key");
}

int
x509_spki_of_point(const uint8_t point[static KEY_POINT_LEN], struct buf *into,
                   struct error *err)
{
    CLEANUP(key_free) struct key *key = NULL;

    if (key_from_point(point, &key, err) < 0)
        return -1;
    return spki_of_evp(key_evp(key), into, err);
}

static int
import_public(const char *type, OSSL_PARAM *params, EVP_PKEY **ret, struct error *err)
{
    CLEANUP(EVP_PKEY_CTX_free)
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    CLEANUP(EVP_PKEY_CTX_free) EVP_PKEY_CTX *check = NULL;

    if (!ctx || EVP_PKEY_fromdata_init(ctx) <= 0 ||
        EVP_PKEY_fromdata(ctx, ret, EVP_PKEY_PUBLIC_KEY, params) <= 0)
        return crypto_error(err, ERROR_INPUT, "no good public key");
    check = EVP_PKEY_CTX_new_from_pkey(NULL, *ret, NULL);
    if (!check || EVP_PKEY_public_check(check) <= 0)
        return crypto_error(err, ERROR_INPUT, "no good public key");
    return 0;
}

int
x509_spki_of_p384(const uint8_t x[static 48], const uint8_t y[static 48],
                  struct buf *into, struct error *err)
{
    CLEANUP(EVP_PKEY_free) EVP_PKEY *evp = NULL;
    char group[] = "secp384r1";
    uint8_t point[97] = { 4 };
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point),
        OSSL_PARAM_construct_end(),
    };

    memcpy(point + 1, x, 48);
    memcpy(point + 49, y, 48);
    if (import_public("EC", params, &evp, err) < 0)
        return -1;
    return spki_of_evp(evp, into, err);
}

int
x509_spki_of_rsa(const uint8_t *modulus, size_t len, struct buf *into,
                 struct error *err)
{
    CLEANUP(EVP_PKEY_free) EVP_PKEY *evp = NULL;
    CLEANUP(BN_clear_free) BIGNUM *n = NULL;
    CLEANUP(OSSL_PARAM_BLD_free) OSSL_PARAM_BLD *build = NULL;
    CLEANUP(OSSL_PARAM_free) OSSL_PARAM *params = NULL;

    if (len < 256 || len > 512)
        return error_set(err, ERROR_INPUT, "RSA modulus of %zu bytes", len);
    n = BN_bin2bn(modulus, (int)len, NULL);
    build = OSSL_PARAM_BLD_new();
    if (!n || !build)
        return error_sys(err, ENOMEM, "RSA key");
    if (BN_num_bits(n) != (int)len * 8 || !BN_is_odd(n))
        return error_set(err, ERROR_INPUT, "no RSA modulus of %zu bits", len * 8);
    if (!OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) ||
        !OSSL_PARAM_BLD_push_uint(build, OSSL_PKEY_PARAM_RSA_E, 65537) ||
        !(params = OSSL_PARAM_BLD_to_param(build)))
        return crypto_error(err, ERROR_SYSTEM, "RSA key");
    if (import_public("RSA", params, &evp, err) < 0)
        return -1;
    return spki_of_evp(evp, into, err);
}

int
x509_compose(const struct x509_request *request, const struct key *ca_key,
             const uint8_t *ca_der, size_t ca_der_len, struct buf *into_der,
             struct error *err)
{
    CLEANUP(X509_free) X509 *cert = NULL, *ca = NULL;
    unsigned char *der = NULL;
    int len;

    if (x509_is_ca(request->kind) != (ca_der == NULL))
        return error_set(err, ERROR_INPUT, "a CA signs itself, and nothing else does");
    if (ca_der && x509_decode(ca_der, ca_der_len, &ca, err) < 0)
        return error_wrap(err, "CA");
    if (x509_shape(request, ca, &cert, err) < 0)
        return error_wrap(err, "certificate");
    if (!EVP_PKEY_eq(X509_get0_pubkey(ca ? ca : cert), key_evp(ca_key)))
        return error_set(err, ERROR_INPUT, "the key is not the CA's");
    if (!X509_sign(cert, key_evp(ca_key), EVP_sha256()))
        return crypto_error(err, ERROR_SYSTEM, "sign a certificate");
    len = i2d_X509(cert, &der);
    if (len <= 0 || len > X509_DER_MAX) {
        OPENSSL_free(der);
        return crypto_error(err, ERROR_INPUT, "encode a certificate");
    }
    buf_add(into_der, der, (size_t)len);
    OPENSSL_free(der);
    return buf_ok(into_der) ? 0 : error_sys(err, ENOMEM, "certificate");
}

static int
read_time(const ASN1_TIME *from, int64_t *ret)
{
    static const int before[] = {
        0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334
    };
    struct tm t;
    int64_t y, days;

    if (!ASN1_TIME_to_tm(from, &t))
        return -1;
    y = t.tm_year + 1900;
    days = (y - 1970) * 365 + (y - 1969) / 4 - (y - 1901) / 100 + (y - 1601) / 400 +
           before[t.tm_mon] + t.tm_mday - 1;
    if (t.tm_mon > 1 && ((y % 4 == 0 && y % 100 != 0) || y % 400 == 0))
        days++;
    *ret = ((days * 24 + t.tm_hour) * 60 + t.tm_min) * 60 + t.tm_sec;
    return 0;
}

/* Much of what is asked of a certificate answers "no" when it finds no memory: malloc() is asked
 * whether it did. */
static int
no_memory(struct error *err)
{
    ERR_clear_error();
    return error_sys(err, ENOMEM, "certificate");
}

static int
read_key(X509 *cert, struct x509_info *ret, struct error *err)
{
    CLEANUP(buf_clear) struct buf spki = BUF(X509_DER_MAX);
    EVP_PKEY *evp = X509_get0_pubkey(cert);
    char group[32] = "";
    size_t len = 0;

    if (!evp)
        return crypto_error(err, ERROR_INPUT, "certificate: public key");
    if (spki_of_evp(evp, &spki, err) < 0 ||
        hash_sha256(spki.data, spki.len, ret->spki_sha256, err) < 0)
        return -1;
    if (EVP_PKEY_is_a(evp, "EC") &&
        EVP_PKEY_get_group_name(evp, group, sizeof group, NULL) &&
        strcmp(group, "prime256v1") == 0 &&
        (!EVP_PKEY_get_octet_string_param(evp, OSSL_PKEY_PARAM_PUB_KEY, ret->point,
                                          sizeof ret->point, &len) ||
         len != sizeof ret->point || ret->point[0] != 4))
        return crypto_error(err, ERROR_INPUT, "certificate: compressed point");
    return 0;
}

static int
read_info(X509 *cert, struct x509_info *ret, struct error *err)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
    int len = ASN1_STRING_length(serial);

    memset(ret, 0, sizeof *ret);
    if (len < 1 || len > (int)sizeof ret->serial ||
        ASN1_STRING_type(serial) != V_ASN1_INTEGER)
        return error_set(err, ERROR_INPUT, "certificate: serial number");
    ret->serial_len = (size_t)len;
    memcpy(ret->serial, ASN1_STRING_get0_data(serial), ret->serial_len);
    if (read_time(X509_get0_notBefore(cert), &ret->not_before) < 0 ||
        read_time(X509_get0_notAfter(cert), &ret->not_after) < 0)
        return crypto_error(err, ERROR_INPUT, "certificate: time");
    x509_shape_uri(cert, ret->uri, sizeof ret->uri);
    x509_shape_cn(cert, ret->subject_cn, sizeof ret->subject_cn);
    return read_key(cert, ret, err);
}

int
x509_read(const uint8_t *der, size_t len, struct x509_info *ret_info, struct error *err)
{
    CLEANUP(X509_free) X509 *cert = NULL;
    struct x509_info info;
    int failed;

    errno = 0;
    failed = x509_decode(der, len, &cert, err) < 0 || read_info(cert, &info, err) < 0;
    if (errno == ENOMEM)
        return no_memory(err);
    if (failed)
        return -1;
    *ret_info = info;
    return 0;
}

static int
check_time(const struct x509_info *info, int64_t now, struct error *err)
{
    if (now < info->not_before)
        return error_set(err, ERROR_DENIED, "the certificate is not valid yet");
    if (now > info->not_after)
        return error_set(err, ERROR_DENIED, "the certificate has expired");
    return 0;
}

/*
 * What x509_compose would have made from the name, key, serial and time that the
 * certificate shows must be this certificate, byte for byte, but for the signature.
 */
static int
check_shape(X509 *cert, enum x509_kind kind, X509 *ca, const struct x509_info *info,
            struct error *err)
{
    CLEANUP(buf_clear) struct buf spki = BUF(X509_DER_MAX);
    CLEANUP(X509_free) X509 *expected = NULL;
    struct x509_request request = { .kind = kind,
                                    .now = info->not_before + X509_BACKDATE };
    char name[X509_NAME_MAX];
    uint8_t serial[16] = { 0 };
    const X509_ALGOR *inner = X509_get0_tbs_sigalg(cert), *outer;

    X509_get0_signature(NULL, &outer, cert);
    if (X509_ALGOR_cmp(inner, outer) != 0 ||
        X509_get_signature_nid(cert) != NID_ecdsa_with_SHA256)
        return error_set(err, ERROR_DENIED, "the certificate is not signed by ES256");
    if (x509_shape_name(cert, kind, name, sizeof name) < 0 ||
        info->serial_len > sizeof serial)
        return error_set(err, ERROR_DENIED, "the certificate is of another kind");
    if (spki_of_evp(X509_get0_pubkey(cert), &spki, err) < 0)
        return -1;
    request.name = name;
    request.spki = spki.data;
    request.spki_len = spki.len;
    memcpy(serial + sizeof serial - info->serial_len, info->serial, info->serial_len);
    request.serial = serial;
    if (x509_shape(&request, ca, &expected, err) < 0 ||
        !x509_shape_equal(cert, expected))
        return error_set(err, ERROR_DENIED, "the certificate is of another kind");
    return 0;
}

/* Is it this CA's, and the CA one of ours and in its time? */
static int
check_against(X509 *cert, enum x509_kind kind, const struct x509_der *ca_der,
              int64_t now, const struct x509_info *info, struct error *err)
{
    CLEANUP(X509_free) X509 *ca = NULL;
    struct x509_info ca_info;
    enum x509_kind ca_kind =
        kind == X509_EK || kind == X509_CA_EK ? X509_CA_EK : X509_CA_HOST;

    if (x509_decode(ca_der->bytes, ca_der->len, &ca, err) < 0 ||
        read_info(ca, &ca_info, err) < 0)
        return error_wrap(err, "CA");
    if (x509_is_ca(kind)
            ? X509_cmp(cert, ca) != 0
            : X509_NAME_cmp(X509_get_issuer_name(cert), X509_get_subject_name(ca)))
        return error_set(err, ERROR_DENIED, "the certificate is from another CA");
    if (X509_verify(cert, X509_get0_pubkey(ca)) != 1)
        return crypto_error(err, ERROR_DENIED,
                            "the certificate is not signed by the CA");
    if (check_shape(ca, ca_kind, NULL, &ca_info, err) < 0 ||
        check_time(&ca_info, now, err) < 0)
        return error_wrap(err, "CA");
    return x509_is_ca(kind) ? 0 : check_shape(cert, kind, ca, info, err);
}

static int
verify(const uint8_t *der, size_t len, enum x509_kind kind, const struct x509_der *cas,
       size_t n_ca, int64_t now, struct x509_info *ret_info, struct error *err)
{
    CLEANUP(X509_free) X509 *cert = NULL;
    struct x509_info info;

    if (x509_decode(der, len, &cert, err) < 0 || read_info(cert, &info, err) < 0) {
        if (err->code != ERROR_SYSTEM)
            err->code = ERROR_DENIED;
        return -1;
    }
    if (check_time(&info, now, err) < 0)
        return -1;
    error_set(err, ERROR_DENIED, "there is no CA to check a certificate with");
    for (size_t i = 0; i < n_ca; i++) {
        struct error seen;

        if (check_against(cert, kind, &cas[i], now, &info, &seen) == 0) {
            *err = (struct error){ 0 };
            *ret_info = info;
            return 0;
        }
        *err = seen;
    }
    if (err->code != ERROR_SYSTEM)
        err->code = ERROR_DENIED;
    return -1;
}

int
x509_verify(const uint8_t *der, size_t len, enum x509_kind kind,
            const struct x509_der *cas, size_t n_ca, int64_t now,
            struct x509_info *ret_info, struct error *err)
{
    struct x509_info info;
    int failed;

    errno = 0;
    failed = verify(der, len, kind, cas, n_ca, now, &info, err);
    if (errno == ENOMEM)
        return no_memory(err);
    if (failed == 0)
        *ret_info = info;
    return failed;
}

int
x509_to_pem(const uint8_t *der, size_t len, struct buf *into, struct error *err)
{
    CLEANUP(mem_free) char *text = malloc(4 * ((len + 2) / 3) + 1);
    size_t text_len;

    if (!text)
        return error_sys(err, ENOMEM, "PEM");
    b64_encode(der, len, text);
    text_len = strlen(text);
    buf_add_text(into, "-----BEGIN CERTIFICATE-----\n");
    for (size_t at = 0; at < text_len; at += 64) {
        buf_add(into, text + at, text_len - at < 64 ? text_len - at : 64);
        buf_add_u8(into, '\n');
    }
    buf_add_text(into, "-----END CERTIFICATE-----\n");
    return buf_ok(into) ? 0 : error_sys(err, ENOMEM, "PEM");
}

int
x509_from_pem(const char *pem, size_t len, struct buf *into_der, struct error *err)
{
    CLEANUP(BIO_free_all) BIO *bio = NULL;
    CLEANUP(X509_free) X509 *cert = NULL;
    unsigned char *der = NULL;
    long der_len = 0;

    if (len > 4 * X509_DER_MAX)
        return error_set(err, ERROR_INPUT, "PEM of %zu bytes", len);
    bio = BIO_new_mem_buf(pem, (int)len);
    if (!bio)
        return error_sys(err, ENOMEM, "PEM");
    if (!PEM_bytes_read_bio(&der, &der_len, NULL, PEM_STRING_X509, bio, NULL, NULL))
        return crypto_error(err, ERROR_INPUT, "no certificate in PEM");
    buf_add(into_der, der, (size_t)der_len);
    if (x509_decode(der, (size_t)der_len, &cert, err) < 0) {
        OPENSSL_free(der);
        return -1;
    }
    OPENSSL_free(der);
    return buf_ok(into_der) ? 0 : error_sys(err, ENOMEM, "certificate");
}
