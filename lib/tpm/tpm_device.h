/*
 * tpm_device.h - a TPM that answers: ESAPI behind the few things virtid does with one
 *
 * `tcti` is a TCTI configuration ("device:/dev/tpmrm0", "swtpm:path=/x/sock"), or "auto" or NULL:
 * /dev/tpmrm0 if there is one, else /dev/tpm0.  Every call leaves no transient object and no session behind, also on failure.
 * TPM_RC_RETRY, _YIELDED, _TESTING are repeated up to 2 s.  Errors: ERROR_BUSY (retry later, lockout),
 * ERROR_SYSTEM (with problem "tpm-gone" where the way to it broke), ERROR_DENIED with problem
 * "tpm-endorsement-auth" when the endorsement hierarchy has another password than the one given.  After an ERROR_SYSTEM open the TPM anew.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/tpm/tpm_data.h"

struct tpm_device;

int tpm_open(const char *tcti, struct tpm_device **ret, struct error *err);
void tpm_close(struct tpm_device *tpm);
DEFINE_CLEANUP(struct tpm_device *, tpm_close);
/* A simulator that says nothing for so long is an error (default 30 s); a kernel's driver has limits of its own. */
void tpm_limit_silence(struct tpm_device *tpm, int seconds);

enum { TPM_PASSWORD_MAX = 64 }; /* what a TPM with SHA-512 takes */
/*
 * What the guest's owner gave the endorsement hierarchy as its password (len 0: none, as after opening).  If
 * the TPM does not take it, the empty one is tried: TPM2_Clear empties it.
 */
int tpm_endorsement_password(struct tpm_device *tpm, const uint8_t *password, size_t len,
                             struct error *err);

/* The EK by template H-3 (P-384), or L-1 (RSA-2048) if `rsa`; TPMT_PUBLIC into ret. */
int tpm_ek_public(struct tpm_device *tpm, bool rsa, struct buf *ret, struct error *err);
/* EK certificate from NV, DER; ERROR_MISSING if there is none. */
int tpm_ek_cert(struct tpm_device *tpm, bool rsa, struct buf *ret, struct error *err);
/* The AK's TPMT_PUBLIC (created and flushed). */
int tpm_ak_public(struct tpm_device *tpm, uint8_t ret[static TPM_AK_PUBLIC_LEN],
                  struct error *err);
/* TPM2_ActivateCredential with that EK and the AK; the 32-byte secret. */
int tpm_activate(struct tpm_device *tpm, bool rsa, const uint8_t *id_object, size_t id_len,
                 const uint8_t *seed, size_t seed_len, uint8_t ret_secret[static 32],
                 struct error *err);
/* Quote PCRs and, if the index is there, certify it; both with qualifyingData h, signed by the AK (r || s).
 * *ret_has_x = false: no index. */
struct tpm_proof {
    uint8_t quote[512], quote_sig[64], certify[512], certify_sig[64], x[32];
    size_t quote_len, certify_len;
    bool has_x;
};
int tpm_prove(struct tpm_device *tpm, const uint8_t h[static 32], struct tpm_proof *ret,
              struct error *err);
/* x as read now; ERROR_MISSING: no index. */
int tpm_nv_read(struct tpm_device *tpm, uint8_t ret[static 32], struct error *err);
/* TPM2_NV_Extend of our index: x becomes SHA-256(x || v), in swtpm's file before this returns, not yet durable. */
int tpm_nv_extend(struct tpm_device *tpm, const uint8_t v[static 32], struct error *err);
/* resetCount and restartCount: which run of the TPM this is. */
int tpm_counters(struct tpm_device *tpm, uint32_t *ret_reset, uint32_t *ret_restart,
                 struct error *err);
/* The secret's primary key from a slot's 64 bytes: its point; and its signature over a digest. */
int tpm_secret_point(struct tpm_device *tpm, const uint8_t unique[static 64],
                     uint8_t ret_point[static 65], struct error *err);
int tpm_secret_sign(struct tpm_device *tpm, const uint8_t unique[static 64],
                    const uint8_t digest[static 32], uint8_t ret[static 64],
                    struct error *err);

/* Manufacture (host side, platform auth empty): persistent EKs, NV index extended once by a random value. */
int tpm_make_ek(struct tpm_device *tpm, bool rsa, struct buf *ret_public, struct error *err);
int tpm_store_ek_cert(struct tpm_device *tpm, bool rsa, const uint8_t *der, size_t len,
                      struct error *err);
int tpm_make_index(struct tpm_device *tpm, uint8_t ret_x0[static 32], struct error *err);
/* PCR banks: SHA-256 only, then TPM2_Shutdown(CLEAR). */
int tpm_finish(struct tpm_device *tpm, struct error *err);

/* For tests: handles that are loaded now (transient objects + sessions). */
int tpm_loaded_count(struct tpm_device *tpm, unsigned *ret, struct error *err);
