/*
 * proof_tpm.h - the TPM's part of a proof: EK, AK, activation, quote, NV index
 *
 * Called by proof_check alone, behind the host's signature.  Each check returns 0 (go on),
 * 1 (*ret holds the verdict) or -1 (we failed, not the proof).
 */
#pragma once

#include "tokenservice/attest/proof_check.h"

/* C2 */
int proof_check_tpm(const struct prove *p, const struct proof_service *s,
                    const struct proof_account *a, struct proof_result *ret, struct error *err);
/* C4, the TPM's half.  One that is behind and that the VM may leave out is taken from ret->factors. */
bool proof_index_is_behind(const struct prove *p, uint8_t required, const struct proof_account *a,
                           struct proof_result *ret);

/* Fill in a refusal; 1. */
int proof_refuse(struct proof_result *ret, const char *check, const char *problem,
                 const char *expected, const char *seen, ...)
    __attribute__((format(printf, 5, 6)));
/* A refusal in err's words if the other side is to blame; else -1. */
int proof_refuse_or_fail(struct proof_result *ret, const char *check, const char *problem,
                         const char *expected, const struct error *err);
