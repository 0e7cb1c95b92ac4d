#include "config.h"

#include "lib/tpm/tpm_device.h"

#include <string.h>

#include "lib/tpm/tpm_esys.h"

enum { NV_CHUNK = 768, CERT_MAX = 8192 };

/* Our ratchet. ERROR_MISSING: none there, or another program's index in its place. */
static int
hold_index(struct tpm_device *tpm, struct tpm_held *ret, struct error *err)
{
    CLEANUP(tpm_held_drop) struct tpm_held index = TPM_HELD(tpm);
    CLEANUP(esys_free) TPM2B_NAME *name = NULL;
    uint8_t ours[TPM_NAME_LEN];
    TSS2_RC rc;

    if (tpm_hold_handle(tpm, TPM_NV_INDEX, "NV index", &index, err) < 0 ||
        tpm_nv_name(ours, err) < 0)
        return -1;
    rc = Esys_TR_GetName(tpm->esys, index.tr, &name);
    if (rc != TSS2_RC_SUCCESS)
        return tpm_failed(rc, "name of the NV index", err);
    if (name->size != sizeof ours || memcmp(name->name, ours, sizeof ours) != 0)
        return error_set(err, ERROR_MISSING, "TPM: the NV index 0x%08x is not virtid's",
                         TPM_NV_INDEX);
    *ret = index;
    index.tr = ESYS_TR_NONE;
    return 0;
}

static int
read_nv(struct tpm_device *tpm, ESYS_TR index, size_t len, uint8_t *ret, struct error *err)
{
    for (size_t at = 0; at < len;) {
        CLEANUP(esys_free) TPM2B_MAX_NV_BUFFER *part = NULL;
        size_t n = len - at < NV_CHUNK ? len - at : NV_CHUNK;
        TSS2_RC rc = TPM_CALL(Esys_NV_Read(tpm->esys, index, index, ESYS_TR_PASSWORD,
                                           ESYS_TR_NONE, ESYS_TR_NONE, (uint16_t)n,
                                           (uint16_t)at, &part));

        if (rc != TSS2_RC_SUCCESS)
            return tpm_failed(rc, "read NV", err);
        if (part->size != n)
            return error_set(err, ERROR_SYSTEM, "TPM: %u bytes of NV, asked for %zu", part->size,
                             n);
        memcpy(ret + at, part->buffer, n);
        at += n;
    }
    return 0;
}

int
tpm_nv_read(struct tpm_device *tpm, uint8_t ret[static 32], struct error *err)
{
    CLEANUP(tpm_held_drop) struct tpm_held index = TPM_HELD(tpm);
    uint8_t x[32];

    if (hold_index(tpm, &index, err) < 0 || read_nv(tpm, index.tr, sizeof x, x, err) < 0)
        return -1;
    memcpy(ret, x, sizeof x);
    return 0;
}

int
tpm_nv_extend(struct tpm_device *tpm, const uint8_t v[static 32], struct error *err)
{
    CLEANUP(tpm_held_drop) struct tpm_held index = TPM_HELD(tpm);
    TPM2B_MAX_NV_BUFFER data = { .size = 32 };
    TSS2_RC rc;

    if (hold_index(tpm, &index, err) < 0)
        return -1;
    memcpy(data.buffer, v, 32);
    rc = TPM_CALL(Esys_NV_Extend(tpm->esys, index.tr, index.tr, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                 ESYS_TR_NONE, &data));
    explicit_bzero(&data, sizeof data);
    return rc == TSS2_RC_SUCCESS ? 0 : tpm_failed(rc, "extend the NV index", err);
}

int
tpm_counters(struct tpm_device *tpm, uint32_t *ret_reset, uint32_t *ret_restart,
             struct error *err)
{
    CLEANUP(esys_free) TPMS_TIME_INFO *info = NULL;
    TSS2_RC rc = TPM_CALL(
        Esys_ReadClock(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &info));

    if (rc != TSS2_RC_SUCCESS)
        return tpm_failed(rc, "read the clock", err);
    *ret_reset = info->clockInfo.resetCount;
    *ret_restart = info->clockInfo.restartCount;
    return 0;
}

/* Manufacturers pad the index; the certificate ends where its DER says. */
static size_t
der_length(const uint8_t *der, size_t len)
{
    size_t total;

    if (len < 4 || der[0] != 0x30 || der[1] != 0x82)
        return 0;
    total = 4 + ((size_t)der[2] << 8 | der[3]);
    return total <= len ? total : 0;
}

int
tpm_ek_cert(struct tpm_device *tpm, bool rsa, struct buf *ret, struct error *err)
{
    CLEANUP(tpm_held_drop) struct tpm_held index = TPM_HELD(tpm);
    CLEANUP(esys_free) TPM2B_NV_PUBLIC *public = NULL;
    uint8_t bytes[CERT_MAX];
    size_t len;
    TSS2_RC rc;

    if (tpm_hold_handle(tpm, rsa ? TPM_NV_CERT_RSA2048 : TPM_NV_CERT_P384, "EK certificate",
                        &index, err) < 0)
        return -1;
    rc = TPM_CALL(Esys_NV_ReadPublic(tpm->esys, index.tr, ESYS_TR_NONE, ESYS_TR_NONE,
                                     ESYS_TR_NONE, &public, NULL));
    if (rc != TSS2_RC_SUCCESS)
        return tpm_failed(rc, "EK certificate", err);
    len = public->nvPublic.dataSize;
    if (len > sizeof bytes)
        return error_set(err, ERROR_MISSING, "TPM: an EK certificate of %zu bytes", len);
    if (read_nv(tpm, index.tr, len, bytes, err) < 0)
        return -1;
    len = der_length(bytes, len);
    if (len == 0)
        return error_set(err, ERROR_MISSING, "TPM: what lies in place of the EK certificate is "
                                             "none");
    buf_add(ret, bytes, len);
    if (!buf_ok(ret))
        return error_set(err, ERROR_SYSTEM, "TPM: an EK certificate of %zu bytes", len);
    return 0;
}

static int
take_attest(const TPM2B_ATTEST *attest, const TPMT_SIGNATURE *signature, uint8_t *ret,
            size_t max, size_t *ret_len, uint8_t ret_signature[static 64], struct error *err)
{
    if (attest->size > max)
        return error_set(err, ERROR_SYSTEM, "TPM: attestation of %u bytes", attest->size);
    memcpy(ret, attest->attestationData, attest->size);
    *ret_len = attest->size;
    return tpm_signature_bytes(signature, ret_signature, err);
}

static int
quote(struct tpm_device *tpm, ESYS_TR ak, const TPM2B_DATA *h, struct tpm_proof *ret,
      struct error *err)
{
    CLEANUP(esys_free) TPM2B_ATTEST *attest = NULL;
    CLEANUP(esys_free) TPMT_SIGNATURE *signature = NULL;
    TPMT_SIG_SCHEME scheme = { .scheme = TPM2_ALG_NULL };
    TPML_PCR_SELECTION pcrs = {
        .count = 1,
        .pcrSelections = { { .hash = TPM2_ALG_SHA256,
                             .sizeofSelect = 3,
                             .pcrSelect = { TPM_QUOTE_PCR_MASK & 0xff,
                                            TPM_QUOTE_PCR_MASK >> 8 & 0xff,
                                            TPM_QUOTE_PCR_MASK >> 16 & 0xff } } },
    };
    TSS2_RC rc = TPM_CALL(Esys_Quote(tpm->esys, ak, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                                     h, &scheme, &pcrs, &attest, &signature));

    if (rc != TSS2_RC_SUCCESS)
        return tpm_failed(rc, "quote", err);
    return take_attest(attest, signature, ret->quote, sizeof ret->quote, &ret->quote_len,
                       ret->quote_sig, err);
}

static int
certify(struct tpm_device *tpm, ESYS_TR ak, ESYS_TR index, const TPM2B_DATA *h,
        struct tpm_proof *ret, struct error *err)
{
    CLEANUP(esys_free) TPM2B_ATTEST *attest = NULL;
    CLEANUP(esys_free) TPMT_SIGNATURE *signature = NULL;
    TPMT_SIG_SCHEME scheme = { .scheme = TPM2_ALG_NULL };
    struct tpm_attest read;
    TSS2_RC rc = TPM_CALL(Esys_NV_Certify(tpm->esys, ak, index, index, ESYS_TR_PASSWORD,
                                          ESYS_TR_PASSWORD, ESYS_TR_NONE, h, &scheme, 32, 0,
                                          &attest, &signature));

    if (rc != TSS2_RC_SUCCESS)
        return tpm_failed(rc, "certify the NV index", err);
    if (take_attest(attest, signature, ret->certify, sizeof ret->certify, &ret->certify_len,
                    ret->certify_sig, err) < 0)
        return -1;
    if (tpm_certify_read(ret->certify, ret->certify_len, h->buffer, &read, err) < 0)
        return error_wrap(err, "TPM");
    memcpy(ret->x, read.nv_contents, 32);
    ret->has_x = true;
    return 0;
}

int
tpm_prove(struct tpm_device *tpm, const uint8_t h[static 32], struct tpm_proof *ret,
          struct error *err)
{
    CLEANUP(tpm_held_drop) struct tpm_held ak = TPM_HELD(tpm), index = TPM_HELD(tpm);
    struct tpm_proof proof = { 0 };
    TPM2B_DATA over = { .size = 32 };
    struct error none;
    int has_index;

    memcpy(over.buffer, h, 32);
    has_index = hold_index(tpm, &index, &none);
    if (has_index < 0 && none.code != ERROR_MISSING) {
        *err = none;
        return -1;
    }
    if (tpm_hold_ak(tpm, &ak, NULL, err) < 0 || quote(tpm, ak.tr, &over, &proof, err) < 0)
        return -1;
    if (has_index == 0 && certify(tpm, ak.tr, index.tr, &over, &proof, err) < 0)
        return -1;
    *ret = proof;
    return 0;
}
