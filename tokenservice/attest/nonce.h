/*
 * nonce.h - the 40 bytes that make a proof fresh, without a table of those given out
 *
 * time in ms (8) || random (16) || 16 bytes of HMAC(subkey, F("virtid-nonce-1", issuer, time, random, bind)).
 * `bind` is empty for a challenge; for the nonce in a TOKEN it is F(uuid, epoch, AK name).
 * docs/PROTOCOL-proof.md, 2.  Time, randomness and subkeys are arguments.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/error.h"
#include "lib/tpm/tpm_data.h"
#include "lib/wire/transcript.h"
#include "lib/wire/vm_uuid.h"

enum {
    NONCE_KEY_LEN = 32,
    NONCE_RANDOM_LEN = 16,
    NONCE_CHALLENGE_MS = 30000, /* a challenge's life: a TPM answers within seconds */
    NONCE_TOKEN_MS = 300000,    /* a token nonce's: good in the second half of it */
    NONCE_SKEW_MS = 1000,       /* clocks of replicas agree to this */
    NONCE_HOUR_MS = 3600000,    /* a subkey is used for one hour of nonces */
};

/* Whom a token's nonce is for. */
struct nonce_bind {
    struct vm_uuid uuid;
    uint64_t epoch;
    bool has_ak;
    uint8_t ak_name[TPM_NAME_LEN];
};

enum nonce_kind { NONCE_CHALLENGE, NONCE_TOKEN };

/* The hour (since 1970) whose subkeys make nonces now. */
uint64_t nonce_hour_now(int64_t now_ms);
/*
 * The hour whose subkeys a nonce from outside needs, before anything of it is believed.
 * ERROR_DENIED "stale": its time can not be good now, whatever key it was made with; ask for no key then.
 */
int nonce_hour(const uint8_t nonce[static NONCE_LEN], int64_t now_ms, uint64_t *ret_hour,
               struct error *err);

/* `bind` NULL: a challenge. */
int nonce_make(const uint8_t subkey[static NONCE_KEY_LEN], const char *issuer, int64_t now_ms,
               const uint8_t random[static NONCE_RANDOM_LEN], const struct nonce_bind *bind,
               uint8_t ret[static NONCE_LEN], struct error *err);

/*
 * Genuine, and young: a challenge of at most NONCE_CHALLENGE_MS, or a token's nonce for exactly `bind`.
 * Says which in *ret_kind.  ERROR_DENIED "stale" otherwise.
 */
int nonce_check(const uint8_t subkey[static NONCE_KEY_LEN], const char *issuer, int64_t now_ms,
                const uint8_t nonce[static NONCE_LEN], const struct nonce_bind *bind,
                enum nonce_kind *ret_kind, struct error *err);

/* By (time, random): below 0, 0, above 0.  A later accepted proof must compare above the one before. */
int nonce_compare(const uint8_t a[static NONCE_LEN], const uint8_t b[static NONCE_LEN]);
