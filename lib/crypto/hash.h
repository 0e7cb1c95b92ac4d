/*
 * hash.h - SHA-256, HMAC-SHA-256, HKDF-SHA-256
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/common/error.h"

enum { SHA256_LEN = 32, SHA384_LEN = 48 };

int hash_sha256(const void *bytes, size_t len, uint8_t ret[static SHA256_LEN],
                struct error *err);
int hash_sha384(const void *bytes, size_t len, uint8_t ret[static SHA384_LEN],
                struct error *err);
int hash_hmac(const void *key, size_t key_len, const void *bytes, size_t len,
              uint8_t ret[static SHA256_LEN], struct error *err);
/* RFC 5869, extract and expand, no salt; `info` is the label. */
int hash_hkdf(const void *key, size_t key_len, const void *info, size_t info_len,
              uint8_t ret[static SHA256_LEN], struct error *err);
