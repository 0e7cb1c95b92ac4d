/*
 * key.h - P-256 keys and ES256 signatures; the only kind that virtid's own keys are
 *
 * A signature is r || s, 64 bytes big-endian, 1 <= r,s < n (RFC 7518, 3.4).
 * A public key is an uncompressed point of 65 bytes, checked to be on the curve.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/cleanup.h"
#include "lib/common/error.h"

enum { KEY_POINT_LEN = 65, KEY_PRIVATE_LEN = 32, KEY_SIGNATURE_LEN = 64, KEY_THUMBPRINT_LEN = 32 };

struct key; /* a private or a public P-256 key */

int key_generate(struct key **ret_key, struct error *err);
/* ERROR_INPUT: not an uncompressed point on P-256, or the point at infinity. */
int key_from_point(const uint8_t point[static KEY_POINT_LEN], struct key **ret_key,
                   struct error *err);
/* ERROR_INPUT: zero or not below the order. */
int key_from_private(const uint8_t scalar[static KEY_PRIVATE_LEN], struct key **ret_key,
                     struct error *err);
/* PKCS#8 PEM, unencrypted; only P-256 is taken. */
int key_from_pem(const void *pem, size_t len, struct key **ret_key, struct error *err);
void key_free(struct key *key);
DEFINE_CLEANUP(struct key *, key_free);

void key_point(const struct key *key, uint8_t ret[static KEY_POINT_LEN]);
/* asserts that `key` is private */
void key_private(const struct key *key, uint8_t ret[static KEY_PRIVATE_LEN]);
int key_to_pem(const struct key *key, struct buf *into, struct error *err);

/* RFC 7638 thumbprint of the JWK of a point. */
int key_thumbprint(const uint8_t point[static KEY_POINT_LEN],
                   uint8_t ret[static KEY_THUMBPRINT_LEN], struct error *err);

/* ECDSA over SHA-256(bytes). */
int key_sign(const struct key *key, const void *bytes, size_t len,
             uint8_t ret[static KEY_SIGNATURE_LEN], struct error *err);
/* ERROR_DENIED: the signature does not fit, or r or s is out of range. */
int key_verify(const struct key *key, const void *bytes, size_t len,
               const uint8_t signature[static KEY_SIGNATURE_LEN], struct error *err);
/* The same for a digest already made. */
int key_verify_digest(const struct key *key, const uint8_t digest[static 32],
                      const uint8_t signature[static KEY_SIGNATURE_LEN], struct error *err);
int key_sign_digest(const struct key *key, const uint8_t digest[static 32],
                    uint8_t ret[static KEY_SIGNATURE_LEN], struct error *err);

/* The EVP_PKEY inside, borrowed; for lib/crypto and TLS set-up only. */
struct evp_pkey_st;
struct evp_pkey_st *key_evp(const struct key *key);
