#include "config.h"

#include "lib/tpm/tpm_device.h"

#include <string.h>

#include "lib/crypto/random.h"
#include "lib/tpm/tpm_esys.h"

enum {
    NV_CHUNK = 768,
    CERT_MAX = 2048, /* swtpm's NV is small, and ours are below 800 bytes */
    CERT_ATTRIBUTES = TPMA_NV_PLATFORMCREATE | TPMA_NV_AUTHREAD | TPMA_NV_OWNERREAD |
                      TPMA_NV_PPREAD | TPMA_NV_PPWRITE | TPMA_NV_NO_DA | TPMA_NV_WRITEDEFINE,
    /* nobody's password or policy deletes it, anybody in the guest may read and extend it */
    INDEX_ATTRIBUTES = TPM2_NT_EXTEND << TPMA_NV_TPM2_NT_SHIFT | TPMA_NV_AUTHREAD |
                       TPMA_NV_AUTHWRITE | TPMA_NV_NO_DA | TPMA_NV_PLATFORMCREATE |
                       TPMA_NV_POLICY_DELETE,
};

int
tpm_make_ek(struct tpm_device *tpm, bool rsa, struct buf *ret_public, struct error *err)
{
    CLEANUP(tpm_held_drop) struct tpm_held ek = TPM_HELD(tpm), kept = TPM_HELD(tpm);
    CLEANUP(esys_free) TPM2B_PUBLIC *public = NULL;
    TSS2_RC rc;

    if (tpm_create_ek(tpm, rsa, &ek, &public, err) < 0)
        return -1;
    rc = TPM_CALL(Esys_EvictControl(tpm->esys, ESYS_TR_RH_OWNER, ek.tr, ESYS_TR_PASSWORD,
                                    ESYS_TR_NONE, ESYS_TR_NONE,
                                    rsa ? TPM_EK_RSA2048 : TPM_EK_P384, &kept.tr));
    if (rc != TSS2_RC_SUCCESS) {
        kept.tr = ESYS_TR_NONE;
        return tpm_failed(rc, "keep the EK", err);
    }
    kept.stays = true;
    return tpm_public_bytes(public, ret_public, err);
}

static int
define_nv(struct tpm_device *tpm, const TPMS_NV_PUBLIC *what, struct tpm_held *ret,
          struct error *err)
{
    TPM2B_NV_PUBLIC public = { .nvPublic = *what };
    TPM2B_AUTH empty = { 0 };
    TSS2_RC rc = TPM_CALL(Esys_NV_DefineSpace(tpm->esys, ESYS_TR_RH_PLATFORM, ESYS_TR_PASSWORD,
                                              ESYS_TR_NONE, ESYS_TR_NONE, &empty, &public,
                                              &ret->tr));

    if (rc != TSS2_RC_SUCCESS) {
        ret->tr = ESYS_TR_NONE;
        return tpm_failed(rc, "define an NV index", err);
    }
    ret->stays = true;
    return 0;
}

int
tpm_store_ek_cert(struct tpm_device *tpm, bool rsa, const uint8_t *der, size_t len,
                  struct error *err)
{
    CLEANUP(tpm_held_drop) struct tpm_held index = TPM_HELD(tpm);
    TPMS_NV_PUBLIC public = {
        .nvIndex = rsa ? TPM_NV_CERT_RSA2048 : TPM_NV_CERT_P384,
        .nameAlg = TPM2_ALG_SHA256,
        .attributes = CERT_ATTRIBUTES,
        .dataSize = (uint16_t)len,
    };
    TSS2_RC rc;

    if (len == 0 || len > CERT_MAX)
        return error_set(err, ERROR_INPUT, "an EK certificate of %zu bytes", len);
    if (define_nv(tpm, &public, &index, err) < 0)
        return -1;
    for (size_t at = 0; at < len;) {
        TPM2B_MAX_NV_BUFFER part = { .size = (uint16_t)(len - at < NV_CHUNK ? len - at : NV_CHUNK) };

        memcpy(part.buffer, der + at, part.size);
        rc = TPM_CALL(Esys_NV_Write(tpm->esys, ESYS_TR_RH_PLATFORM, index.tr, ESYS_TR_PASSWORD,
                                    ESYS_TR_NONE, ESYS_TR_NONE, &part, (uint16_t)at));
        if (rc != TSS2_RC_SUCCESS)
            return tpm_failed(rc, "write the EK certificate", err);
        at += part.size;
    }
    rc = TPM_CALL(Esys_NV_WriteLock(tpm->esys, ESYS_TR_RH_PLATFORM, index.tr, ESYS_TR_PASSWORD,
                                    ESYS_TR_NONE, ESYS_TR_NONE));
    return rc == TSS2_RC_SUCCESS ? 0 : tpm_failed(rc, "lock the EK certificate", err);
}

int
tpm_make_index(struct tpm_device *tpm, uint8_t ret_x0[static 32], struct error *err)
{
    CLEANUP(tpm_held_drop) struct tpm_held index = TPM_HELD(tpm);
    TPM2B_MAX_NV_BUFFER first = { .size = 32 };
    TPMS_NV_PUBLIC public = {
        .nvIndex = TPM_NV_INDEX,
        .nameAlg = TPM2_ALG_SHA256,
        .attributes = INDEX_ATTRIBUTES,
        .authPolicy = { .size = 32 },
        .dataSize = 32,
    };
    TSS2_RC rc;

    memset(public.authPolicy.buffer, 0xff, 32); /* a policy that nobody can reach */
    if (define_nv(tpm, &public, &index, err) < 0 || random_bytes(first.buffer, 32, err) < 0)
        return -1;
    rc = TPM_CALL(Esys_NV_Extend(tpm->esys, index.tr, index.tr, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                 ESYS_TR_NONE, &first));
    if (rc != TSS2_RC_SUCCESS)
        return tpm_failed(rc, "extend the NV index", err);
    /* Reading it back also compares its name with what every certify must show. */
    return tpm_nv_read(tpm, ret_x0, err);
}

int
tpm_finish(struct tpm_device *tpm, struct error *err)
{
    static const uint16_t banks[] = { TPM2_ALG_SHA256, TPM2_ALG_SHA1, TPM2_ALG_SHA384,
                                      TPM2_ALG_SHA512 };
    TPML_PCR_SELECTION pcrs = { .count = sizeof banks / sizeof banks[0] };
    TPMI_YES_NO done = TPM2_NO;
    TSS2_RC rc;

    for (size_t i = 0; i < pcrs.count; i++) {
        pcrs.pcrSelections[i].hash = banks[i];
        pcrs.pcrSelections[i].sizeofSelect = 3;
        memset(pcrs.pcrSelections[i].pcrSelect, i == 0 ? 0xff : 0, 3);
    }
    rc = TPM_CALL(Esys_PCR_Allocate(tpm->esys, ESYS_TR_RH_PLATFORM, ESYS_TR_PASSWORD,
                                    ESYS_TR_NONE, ESYS_TR_NONE, &pcrs, &done, NULL, NULL,
                                    NULL));
    if (rc != TSS2_RC_SUCCESS)
        return tpm_failed(rc, "choose the PCR banks", err);
    if (done != TPM2_YES)
        return error_set(err, ERROR_SYSTEM, "TPM: choose the PCR banks: refused");
    rc = TPM_CALL(Esys_Shutdown(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                TPM2_SU_CLEAR));
    return rc == TSS2_RC_SUCCESS ? 0 : tpm_failed(rc, "shut down", err);
}
