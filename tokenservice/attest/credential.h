/*
 * credential.h - the one question that only the TPM of an EK answers, and only about one AK
 *
 * Stateless: the secret is derived from what it is about, so any replica can check it.
 * secret = HMAC(subkey, F("virtid-activate-1", issuer, nonce, uuid, epoch, AK name, EK digest, h)).
 * TPM 2.0 Part 1, 24; docs/PROTOCOL-proof.md, "Activation".
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/common/error.h"
#include "lib/crypto/credential_protect.h"
#include "lib/tpm/tpm_data.h"
#include "lib/wire/transcript.h"

struct credential_about {
    const char *issuer;
    const uint8_t *nonce;     /* NONCE_LEN */
    struct vm_uuid uuid;
    uint64_t epoch;
    const uint8_t *ak_name;   /* TPM_NAME_LEN, recomputed by us */
    const uint8_t *ek_digest; /* EK_DIGEST_LEN */
    const uint8_t *h;         /* 32: the transcript's hash */
};

int credential_secret(const uint8_t subkey[static 32], const struct credential_about *about,
                      uint8_t ret[static CREDENTIAL_SECRET_LEN], struct error *err);

/* The secret, wrapped for `ek` and the AK name: what ACTIVATE carries. */
struct credential_blob {
    uint8_t id_object[CREDENTIAL_ID_OBJECT_MAX], seed[CREDENTIAL_SEED_MAX];
    size_t id_object_len, seed_len;
};
int credential_ask(const uint8_t subkey[static 32], const struct credential_about *about,
                   const struct credential_ek *ek, struct credential_blob *ret,
                   struct error *err);

/* Constant time.  ERROR_DENIED "activation": another secret. */
int credential_check(const uint8_t subkey[static 32], const struct credential_about *about,
                     const uint8_t secret[static CREDENTIAL_SECRET_LEN], struct error *err);
