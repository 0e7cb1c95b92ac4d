/*
 * bundle.h - the trust bundle: whom a guest's agent trusts, and since when
 *
 * F("virtid-bundle-1", issuer, serial(8), guest listener "HOST:PORT", CA now (DER), CA next (DER or empty))
 * || signature(64) by the CA key of the bundle before (serial 1: by CA now itself).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/error.h"
#include "lib/wire/names.h"

enum { BUNDLE_MAX = 6144, BUNDLE_CA_MAX = 2048 };

struct bundle {
    char issuer[NAME_ISSUER_MAX + 1];
    uint64_t serial;
    char guest_listener[256];
    uint8_t ca_now[BUNDLE_CA_MAX], ca_next[BUNDLE_CA_MAX];
    size_t ca_now_len, ca_next_len;
};

/* The signed part, for the signer. */
int bundle_message(const struct bundle *b, struct buf *into, struct error *err);
/* Decode; says nothing about the signature. */
int bundle_decode(const uint8_t *bytes, size_t len, struct bundle *ret, struct error *err);
/*
 * May `next` (encoded, signed) replace `held` (NULL: none)?  Without one: its own CA's signature only.
 * With one: same issuer, higher serial, signed by held's ca_now or ca_next. ERROR_DENIED otherwise.
 */
int bundle_accept(const struct bundle *held, const uint8_t *bytes, size_t len,
                  struct bundle *ret, struct error *err);
