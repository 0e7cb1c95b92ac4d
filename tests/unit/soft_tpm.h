/*
 * soft_tpm.h - a TPM that signs whatever a test wants
 *
 * An AK in software and structures built byte by byte, so that a wrong one can carry a right
 * signature.  Offsets are those of a TPMS_ATTEST with SHA-256 names (TPM 2.0 Part 2, 10.12).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/crypto/key.h"
#include "lib/tpm/tpm_data.h"

enum {
    AT_MAGIC = 0,
    AT_TYPE = 4,
    AT_SIGNER = 8,
    AT_EXTRA_LEN = 42,
    AT_EXTRA = 44,
    AT_CLOCK = 76,
    AT_RESET = 84,
    AT_RESTART = 88,
    AT_SAFE = 92,
    AT_QUOTE_COUNT = 101,
    AT_QUOTE_HASH = 105,
    AT_QUOTE_SELECT_LEN = 107,
    AT_QUOTE_SELECT = 108,
    AT_QUOTE_DIGEST_LEN = 111,
    SOFT_QUOTE_LEN = 145,
    AT_NV_NAME = 103,
    AT_NV_OFFSET = 137,
    AT_NV_CONTENTS_LEN = 139,
    AT_NV_CONTENTS = 141,
    SOFT_CERTIFY_LEN = 173,
    SOFT_EK_LEN = 170,
    AT_AK_ATTRIBUTES = 4,
};

struct soft_tpm {
    struct key *ak;
    uint8_t ak_public[TPM_AK_PUBLIC_LEN], ak_name[TPM_NAME_LEN];
    uint8_t ek[SOFT_EK_LEN]; /* template H-3; nobody has its private half */
    uint8_t x[32];
    uint32_t reset, restart;
    uint64_t clock;
};

void soft_tpm_new(struct soft_tpm *t);
void soft_tpm_clear(struct soft_tpm *t);

/* Well-formed attestations over h. */
void soft_quote(const struct soft_tpm *t, const uint8_t *h, uint8_t ret[SOFT_QUOTE_LEN]);
void soft_certify(const struct soft_tpm *t, const uint8_t *h, uint8_t ret[SOFT_CERTIFY_LEN]);
void soft_sign(const struct soft_tpm *t, const uint8_t *bytes, size_t len, uint8_t ret[64]);

/* The AK's public area around a point; and an EK of template H-3 (index 0), L-2 (1), H-2 (2), L-1 (3), H-1 (4). */
void soft_ak_public(const uint8_t point[65], uint8_t ret[TPM_AK_PUBLIC_LEN]);
size_t soft_ek_public(int which, uint8_t ret[512]);
