#include "config.h"

#include "lib/crypto/hash.h"

#include <stdint.h>

#include <openssl/core_names.h>

#include "lib/crypto/crypto_error.h"

int
hash_sha256(const void *bytes, size_t len, uint8_t ret[static SHA256_LEN],
            struct error *err)
{
    if (!EVP_Q_digest(NULL, "SHA256", NULL, len ? bytes : "", len, ret, NULL))
        return crypto_error(err, ERROR_SYSTEM, "SHA-256");
    return 0;
}

int
hash_sha384(const void *bytes, size_t len, uint8_t ret[static SHA384_LEN],
            struct error *err)
{
    if (!EVP_Q_digest(NULL, "SHA384", NULL, len ? bytes : "", len, ret, NULL))
        return crypto_error(err, ERROR_SYSTEM, "SHA-384");
    return 0;
}

int
hash_hmac(const void *key, size_t key_len, const void *bytes, size_t len,
          uint8_t ret[static SHA256_LEN], struct error *err)
{
    size_t out = 0;

    if (!EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key_len ? key : "", key_len,
                   len ? bytes : (const void *)"", len, ret, SHA256_LEN, &out) ||
        out != SHA256_LEN)
        return crypto_error(err, ERROR_SYSTEM, "HMAC-SHA-256");
    return 0;
}

int
hash_hkdf(const void *key, size_t key_len, const void *info, size_t info_len,
          uint8_t ret[static SHA256_LEN], struct error *err)
{
    CLEANUP(EVP_KDF_free) EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    CLEANUP(EVP_KDF_CTX_free) EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)key,
                                          key_len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)info,
                                          info_len),
        OSSL_PARAM_construct_end(),
    };

    if (!ctx || EVP_KDF_derive(ctx, ret, SHA256_LEN, params) <= 0)
        return crypto_error(err, ERROR_SYSTEM, "HKDF-SHA-256");
    return 0;
}
