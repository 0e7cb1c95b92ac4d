/*
 * credential_protect.h - TPM2_MakeCredential in software
 *
 * TPM 2.0 Part 1, 24 (credential protection) with KDFa and KDFe of 11.4.10:
 * a secret that only the TPM with this EK opens, and only for this AK name.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/common/error.h"

enum { CREDENTIAL_SECRET_LEN = 32, CREDENTIAL_ID_OBJECT_MAX = 256, CREDENTIAL_SEED_MAX = 512 };

struct credential_ek {
    enum { CREDENTIAL_EK_RSA2048, CREDENTIAL_EK_P384, CREDENTIAL_EK_P256 } kind;
    uint8_t x[48], y[48];   /* P-256 uses the first 32 */
    uint8_t modulus[256];   /* RSA, e = 65537 */
};

/*
 * RSA-2048 and P-256: nameAlg SHA-256, AES-128-CFB (templates L-1, L-2, H-1, H-2).
 * P-384: nameAlg SHA-384, AES-256-CFB (template H-3).
 * ret_id_object: TPM2B_ID_OBJECT's content (without its size); ret_seed: TPM2B_ENCRYPTED_SECRET's
 * content (ECC: a marshalled TPMS_ECC_POINT).
 */
int credential_protect(const struct credential_ek *ek, const uint8_t *ak_name,
                       size_t ak_name_len, const uint8_t secret[static CREDENTIAL_SECRET_LEN],
                       uint8_t ret_id_object[static CREDENTIAL_ID_OBJECT_MAX],
                       size_t *ret_id_object_len,
                       uint8_t ret_seed[static CREDENTIAL_SEED_MAX], size_t *ret_seed_len,
                       struct error *err);
