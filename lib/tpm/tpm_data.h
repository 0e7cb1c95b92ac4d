/*
 * tpm_data.h - TPM structures as bytes: templates, names, quotes; no TPM needed
 *
 * Everything that a guest sends is parsed here, bounded, and without trailing
 * bytes (TPM 2.0 Part 2).  The only users of tss2-mu are this file and tpm_device.c.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/error.h"
#include "lib/crypto/credential_protect.h"

enum {
    TPM_NAME_LEN = 34,              /* 000b || SHA-256 */
    TPM_AK_PUBLIC_LEN = 88,
    TPM_NV_INDEX = 0x01400a01,      /* the ratchet */
    TPM_NV_CERT_RSA2048 = 0x01c00002, TPM_NV_CERT_P384 = 0x01c00016,
    TPM_EK_RSA2048 = 0x81010001, TPM_EK_P384 = 0x81010016,
};

/* An AK's TPMT_PUBLIC: exactly our template (CHECKS C2), point in ret_point, name recomputed. ERROR_DENIED otherwise. */
int tpm_ak_check(const uint8_t *ak, size_t len, uint8_t ret_point[static 65],
                 uint8_t ret_name[static TPM_NAME_LEN], struct error *err);
/* The same for a secret's primary key is not needed: the service only sees its point. */

/* An EK's TPMT_PUBLIC: L-1 (RSA-2048), L-2/H-2 (P-256) or H-3 (P-384), every field but unique (CHECKS C1). */
int tpm_ek_check(const uint8_t *ek, size_t len, struct credential_ek *ret,
                 struct error *err);
/* DER SubjectPublicKeyInfo of a checked EK, to compare with or put into a certificate. */
int tpm_ek_spki(const struct credential_ek *ek, struct buf *into, struct error *err);

/* What an attestation says. */
struct tpm_attest {
    uint8_t extra[64];              /* extraData */
    size_t extra_len;
    uint64_t clock;
    uint32_t reset_count, restart_count;
    bool safe;
    uint64_t firmware;
    uint8_t signer[TPM_NAME_LEN];   /* qualified name of the AK: compare with tpm_qualified_name() */
    uint8_t pcr_digest[32];         /* quote */
    uint8_t nv_name[TPM_NAME_LEN];  /* certify */
    uint8_t nv_contents[32];
};
/* TPMS_ATTEST of a quote over `extra` (32 bytes): magic, type, PCR selection exactly TPM_QUOTE_PCR_MASK of the SHA-256
 * bank, digest length, no trailing bytes (CHECKS C14, C15; docs/DECISIONS/003-quoted-pcrs.md). */
enum { TPM_QUOTE_PCR_MASK = 0x0000ff }; /* PCR 0..7, SHA-256 bank */
int tpm_quote_read(const uint8_t *attest, size_t len, const uint8_t extra[static 32],
                   struct tpm_attest *ret, struct error *err);
/* TPMS_ATTEST of NV_Certify of our index, all 32 bytes from offset 0; nv_name must be tpm_nv_name(). */
int tpm_certify_read(const uint8_t *attest, size_t len, const uint8_t extra[static 32],
                     struct tpm_attest *ret, struct error *err);
/* The name that our index has in every TPM. */
int tpm_nv_name(uint8_t ret[static TPM_NAME_LEN], struct error *err);
/* The qualified name of a primary key of the endorsement hierarchy with this name (Part 1, 16). */
int tpm_qualified_name(const uint8_t name[static TPM_NAME_LEN], uint8_t ret[static TPM_NAME_LEN],
                       struct error *err);
