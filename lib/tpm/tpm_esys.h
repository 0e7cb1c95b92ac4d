/*
 * tpm_esys.h - what the files of lib/tpm share about ESAPI: patience, handles that go away
 *
 * Not for others: they see tpm_device.h.
 */
#pragma once

#include <tss2/tss2_esys.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/tpm/tpm_device.h"

struct tpm_device {
    TSS2_TCTI_CONTEXT *tcti;
    ESYS_CONTEXT *esys;
    bool endorsement_password; /* one was given, and was not refused */
};

/* How long a TPM may answer "not now". */
struct tpm_patience {
    int64_t until_ms;
    unsigned tries;
};

/* True, after a pause, if `rc` says RETRY, YIELDED or TESTING and there is patience left. */
bool tpm_again(TSS2_RC rc, struct tpm_patience *patience);

#define TPM_CALL(call)                           \
    ({                                           \
        struct tpm_patience patience_ = { 0 };   \
        TSS2_RC rc_;                             \
        do                                       \
            rc_ = (call);                        \
        while (tpm_again(rc_, &patience_));      \
        rc_;                                     \
    })

/* The TPM's own code without layer and parameter number: e.g. TPM2_RC_BAD_AUTH whichever session. */
TSS2_RC tpm_rc_base(TSS2_RC rc);
/* "what: words of the code"; the code of struct error as tpm_device.h says. Returns -1. */
int tpm_failed(TSS2_RC rc, const char *what, struct error *err);
bool tpm_is_auth_failure(TSS2_RC rc);
/* As tpm_failed, for commands authorized by the endorsement hierarchy. */
int tpm_endorsement_failed(TSS2_RC rc, const char *what, struct error *err);

/* A handle that leaves the TPM (object, session), or only us (NV index, persistent object). */
struct tpm_held {
    struct tpm_device *tpm;
    ESYS_TR tr;
    bool stays; /* in the TPM */
};
#define TPM_HELD(device) { .tpm = (device), .tr = ESYS_TR_NONE }
void tpm_held_drop(struct tpm_held *held);
#define tpm_held_drop_at tpm_held_drop /* CLEANUP(tpm_held_drop) struct tpm_held h = TPM_HELD(tpm); */

/* Memory that ESAPI handed out. */
static inline void
esys_free_at(void *at)
{
    Esys_Free(*(void **)at);
}

/* The persistent object or NV index at `handle`. ERROR_MISSING: there is none. */
int tpm_hold_handle(struct tpm_device *tpm, uint32_t handle, const char *what,
                    struct tpm_held *ret, struct error *err);
/* The AK, with its public area. */
int tpm_hold_ak(struct tpm_device *tpm, struct tpm_held *ret, TPM2B_PUBLIC **ret_public,
                struct error *err);
/* A new EK by its template; not the persistent one. */
int tpm_create_ek(struct tpm_device *tpm, bool rsa, struct tpm_held *ret,
                  TPM2B_PUBLIC **ret_public, struct error *err);
/* TPMT_PUBLIC as bytes. */
int tpm_public_bytes(const TPM2B_PUBLIC *public, struct buf *into, struct error *err);
/* r || s, each padded to 32 bytes. */
int tpm_signature_bytes(const TPMT_SIGNATURE *signature, uint8_t ret[static 64],
                        struct error *err);
