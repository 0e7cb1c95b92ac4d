/*
 * crypto_error.h - OpenSSL's queue of errors as one of ours; only for lib/crypto
 */
#pragma once

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/param_build.h>
#include <openssl/params.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"

/* "what: the newest reason in OpenSSL's queue"; the queue is empty afterwards. -1.  A lack of memory
 * in it makes `code` ERROR_SYSTEM: the other side is not to blame. */
int crypto_error(struct error *err, enum error_code code, const char *what);

DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free);
DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free);
DEFINE_CLEANUP(EVP_KDF *, EVP_KDF_free);
DEFINE_CLEANUP(EVP_KDF_CTX *, EVP_KDF_CTX_free);
DEFINE_CLEANUP(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free);
DEFINE_CLEANUP(OSSL_PARAM_BLD *, OSSL_PARAM_BLD_free);
DEFINE_CLEANUP(OSSL_PARAM *, OSSL_PARAM_free);
DEFINE_CLEANUP(BIGNUM *, BN_clear_free);
DEFINE_CLEANUP(BN_CTX *, BN_CTX_free);
DEFINE_CLEANUP(EC_GROUP *, EC_GROUP_free);
DEFINE_CLEANUP(EC_POINT *, EC_POINT_free);
DEFINE_CLEANUP(ECDSA_SIG *, ECDSA_SIG_free);
DEFINE_CLEANUP(BIO *, BIO_free_all);
DEFINE_CLEANUP(PKCS8_PRIV_KEY_INFO *, PKCS8_PRIV_KEY_INFO_free);
DEFINE_CLEANUP(X509 *, X509_free);
