#include "config.h"

#include "lib/tpm/tpm_device.h"

#include <string.h>

#include <tss2/tss2_mu.h>

#include "lib/crypto/hash.h"
#include "lib/tpm/tpm_esys.h"

enum {
    SIGNER_ATTRIBUTES = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                        TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH |
                        TPMA_OBJECT_NODA | TPMA_OBJECT_SIGN_ENCRYPT,
    EK_ATTRIBUTES = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                    TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_ADMINWITHPOLICY |
                    TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT,
};

static const char ak_label[] = "virtid-ak-1";

/* TCG EK Credential Profile 2.5: PolicyA for SHA-256 (L-1), PolicyB for SHA-384 (H-3). */
static const TPM2B_DIGEST policy_a = {
    .size = 32,
    .buffer = { 0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc,
                0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52,
                0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa },
};
static const TPM2B_DIGEST policy_b = {
    .size = 48,
    .buffer = { 0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc,
                0xf5, 0xfd, 0x3a, 0x1a, 0x07, 0x41, 0x48, 0xbb, 0x35, 0xd3, 0xb4, 0xe4,
                0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca, 0xcb, 0x47, 0xba, 0x09,
                0x69, 0x96, 0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12 },
};

/* The branches of PolicyB for SHA-384 (the profile's PolicyA and PolicyC): the first is the one that is shown. */
static const TPML_DIGEST policy_b_branches = {
    .count = 2,
    .digests = {
        { .size = 48,
          .buffer = { 0x8b, 0xbf, 0x22, 0x66, 0x53, 0x7c, 0x17, 0x1c, 0xb5, 0x6e, 0x40, 0x3c,
                      0x4d, 0xc1, 0xd4, 0xb6, 0x4f, 0x43, 0x26, 0x11, 0xdc, 0x38, 0x6e, 0x6f,
                      0x53, 0x20, 0x50, 0xc3, 0x27, 0x8c, 0x93, 0x0e, 0x14, 0x3e, 0x8b, 0xb1,
                      0x13, 0x38, 0x24, 0xcc, 0xb4, 0x31, 0x05, 0x38, 0x71, 0xc6, 0xdb, 0x53 } },
        { .size = 48,
          .buffer = { 0xd6, 0x03, 0x2c, 0xe6, 0x1f, 0x2f, 0xb3, 0xc2, 0x40, 0xeb, 0x3c, 0xf6,
                      0xa3, 0x32, 0x37, 0xef, 0x2b, 0x6a, 0x16, 0xf4, 0x29, 0x3c, 0x22, 0xb4,
                      0x55, 0xe2, 0x61, 0xcf, 0xfd, 0x21, 0x7a, 0xd5, 0xb4, 0x94, 0x7c, 0x2d,
                      0x73, 0xe6, 0x30, 0x05, 0xee, 0xd2, 0xdc, 0x2b, 0x35, 0x93, 0xd1, 0x65 } },
    },
};

static void
signer_template(TPMA_OBJECT more, TPM2B_PUBLIC *ret)
{
    *ret = (TPM2B_PUBLIC){
        .publicArea = {
            .type = TPM2_ALG_ECC,
            .nameAlg = TPM2_ALG_SHA256,
            .objectAttributes = SIGNER_ATTRIBUTES | more,
            .parameters.eccDetail = {
                .symmetric = { .algorithm = TPM2_ALG_NULL },
                .scheme = { .scheme = TPM2_ALG_ECDSA,
                            .details.ecdsa.hashAlg = TPM2_ALG_SHA256 },
                .curveID = TPM2_ECC_NIST_P256,
                .kdf = { .scheme = TPM2_ALG_NULL },
            },
        },
    };
}

static void
rsa_ek_template(TPM2B_PUBLIC *ret)
{
    *ret = (TPM2B_PUBLIC){
        .publicArea = {
            .type = TPM2_ALG_RSA,
            .nameAlg = TPM2_ALG_SHA256,
            .objectAttributes = EK_ATTRIBUTES,
            .authPolicy = policy_a,
            .parameters.rsaDetail = {
                .symmetric = { .algorithm = TPM2_ALG_AES, .keyBits.aes = 128,
                               .mode.aes = TPM2_ALG_CFB },
                .scheme = { .scheme = TPM2_ALG_NULL },
                .keyBits = 2048,
            },
            .unique.rsa = { .size = 256 }, /* L-1: zeros of the modulus's length */
        },
    };
}

static void
p384_ek_template(TPM2B_PUBLIC *ret)
{
    *ret = (TPM2B_PUBLIC){
        .publicArea = {
            .type = TPM2_ALG_ECC,
            .nameAlg = TPM2_ALG_SHA384,
            .objectAttributes = EK_ATTRIBUTES | TPMA_OBJECT_USERWITHAUTH,
            .authPolicy = policy_b,
            .parameters.eccDetail = {
                .symmetric = { .algorithm = TPM2_ALG_AES, .keyBits.aes = 256,
                               .mode.aes = TPM2_ALG_CFB },
                .scheme = { .scheme = TPM2_ALG_NULL },
                .curveID = TPM2_ECC_NIST_P384,
                .kdf = { .scheme = TPM2_ALG_NULL },
            },
        },
    };
}

static TSS2_RC
call_create_primary(struct tpm_device *tpm, const TPM2B_PUBLIC *template, ESYS_TR *ret,
                    TPM2B_PUBLIC **ret_public)
{
    TPM2B_SENSITIVE_CREATE sensitive = { 0 };
    TPM2B_DATA outside = { 0 };
    TPML_PCR_SELECTION pcrs = { 0 };

    return TPM_CALL(Esys_CreatePrimary(tpm->esys, ESYS_TR_RH_ENDORSEMENT, ESYS_TR_PASSWORD,
                                       ESYS_TR_NONE, ESYS_TR_NONE, &sensitive, template,
                                       &outside, &pcrs, ret, ret_public, NULL, NULL, NULL));
}

static int
create_primary(struct tpm_device *tpm, const char *what, const TPM2B_PUBLIC *template,
               struct tpm_held *ret, TPM2B_PUBLIC **ret_public, struct error *err)
{
    TSS2_RC rc = call_create_primary(tpm, template, &ret->tr, ret_public);

    /* The password we were given may be of before a Clear, which empties it.  No attempt of either kind counts
     * for the dictionary-attack lockout (TPM 2.0 Part 1, 19.8.2: hierarchies are not protected by it). */
    if (tpm_is_auth_failure(rc) && tpm->endorsement_password) {
        if (tpm_endorsement_password(tpm, NULL, 0, err) < 0)
            return -1;
        rc = call_create_primary(tpm, template, &ret->tr, ret_public);
    }
    if (rc != TSS2_RC_SUCCESS) {
        ret->tr = ESYS_TR_NONE;
        return tpm_endorsement_failed(rc, what, err);
    }
    return 0;
}

int
tpm_public_bytes(const TPM2B_PUBLIC *public, struct buf *into, struct error *err)
{
    uint8_t bytes[sizeof *public];
    size_t len = 0;

    if (Tss2_MU_TPMT_PUBLIC_Marshal(&public->publicArea, bytes, sizeof bytes, &len) !=
        TSS2_RC_SUCCESS)
        return error_set(err, ERROR_SYSTEM, "TPM: a public area that can not be written");
    buf_add(into, bytes, len);
    if (!buf_ok(into))
        return error_set(err, ERROR_SYSTEM, "TPM: a public area of %zu bytes", len);
    return 0;
}

static int
pad_to_32(const TPM2B_ECC_PARAMETER *number, uint8_t ret[static 32], struct error *err)
{
    if (number->size > 32)
        return error_set(err, ERROR_SYSTEM, "TPM: a number of %u bytes", number->size);
    memset(ret, 0, 32);
    memcpy(ret + 32 - number->size, number->buffer, number->size);
    return 0;
}

int
tpm_signature_bytes(const TPMT_SIGNATURE *signature, uint8_t ret[static 64], struct error *err)
{
    if (signature->sigAlg != TPM2_ALG_ECDSA || signature->signature.ecdsa.hash != TPM2_ALG_SHA256)
        return error_set(err, ERROR_SYSTEM, "TPM: signature of another kind: 0x%x",
                         signature->sigAlg);
    if (pad_to_32(&signature->signature.ecdsa.signatureR, ret, err) < 0)
        return -1;
    return pad_to_32(&signature->signature.ecdsa.signatureS, ret + 32, err);
}

int
tpm_hold_ak(struct tpm_device *tpm, struct tpm_held *ret, TPM2B_PUBLIC **ret_public,
            struct error *err)
{
    TPM2B_PUBLIC template;

    signer_template(TPMA_OBJECT_RESTRICTED, &template);
    template.publicArea.unique.ecc.x.size = 32;
    if (hash_sha256(ak_label, strlen(ak_label), template.publicArea.unique.ecc.x.buffer, err) < 0)
        return -1;
    return create_primary(tpm, "make the AK", &template, ret, ret_public, err);
}

int
tpm_ak_public(struct tpm_device *tpm, uint8_t ret[static TPM_AK_PUBLIC_LEN], struct error *err)
{
    CLEANUP(tpm_held_drop) struct tpm_held ak = TPM_HELD(tpm);
    CLEANUP(esys_free) TPM2B_PUBLIC *public = NULL;
    CLEANUP(buf_clear) struct buf bytes = BUF(sizeof *public);

    if (tpm_hold_ak(tpm, &ak, &public, err) < 0 || tpm_public_bytes(public, &bytes, err) < 0)
        return -1;
    if (bytes.len != TPM_AK_PUBLIC_LEN)
        return error_set(err, ERROR_SYSTEM, "TPM: AK of %zu bytes", bytes.len);
    memcpy(ret, bytes.data, bytes.len);
    return 0;
}

int
tpm_create_ek(struct tpm_device *tpm, bool rsa, struct tpm_held *ret, TPM2B_PUBLIC **ret_public,
              struct error *err)
{
    TPM2B_PUBLIC template;

    if (rsa)
        rsa_ek_template(&template);
    else
        p384_ek_template(&template);
    return create_primary(tpm, "make the EK", &template, ret, ret_public, err);
}

/* The persistent EK if it is one by our template, which spares making an RSA key; else a new one. */
static int
hold_ek(struct tpm_device *tpm, bool rsa, struct tpm_held *ret, struct buf *ret_public,
        struct error *err)
{
    CLEANUP(tpm_held_drop) struct tpm_held kept = TPM_HELD(tpm);
    CLEANUP(esys_free) TPM2B_PUBLIC *public = NULL, *made = NULL;
    struct credential_ek ek;
    struct error why;
    TSS2_RC rc = TPM2_RC_HANDLE;

    if (tpm_hold_handle(tpm, rsa ? TPM_EK_RSA2048 : TPM_EK_P384, "EK", &kept, &why) == 0)
        rc = TPM_CALL(Esys_ReadPublic(tpm->esys, kept.tr, ESYS_TR_NONE, ESYS_TR_NONE,
                                      ESYS_TR_NONE, &public, NULL, NULL));
    if (rc == TSS2_RC_SUCCESS && tpm_public_bytes(public, ret_public, err) == 0 &&
        tpm_ek_check(ret_public->data, ret_public->len, &ek, &why) == 0 &&
        ek.kind == (rsa ? CREDENTIAL_EK_RSA2048 : CREDENTIAL_EK_P384)) {
        *ret = kept;
        kept.tr = ESYS_TR_NONE;
        return 0;
    }
    buf_drop(ret_public, ret_public->len);
    if (tpm_create_ek(tpm, rsa, ret, &made, err) < 0)
        return -1;
    return tpm_public_bytes(made, ret_public, err);
}

int
tpm_ek_public(struct tpm_device *tpm, bool rsa, struct buf *ret, struct error *err)
{
    CLEANUP(tpm_held_drop) struct tpm_held ek = TPM_HELD(tpm);
    CLEANUP(buf_clear) struct buf public = BUF(sizeof(TPM2B_PUBLIC));

    if (hold_ek(tpm, rsa, &ek, &public, err) < 0)
        return -1;
    buf_add(ret, public.data, public.len);
    if (!buf_ok(ret))
        return error_set(err, ERROR_SYSTEM, "TPM: EK of %zu bytes", public.len);
    return 0;
}

static TSS2_RC
show_ek_policy(struct tpm_device *tpm, bool rsa, ESYS_TR session)
{
    TSS2_RC rc = TPM_CALL(Esys_PolicySecret(tpm->esys, ESYS_TR_RH_ENDORSEMENT, session,
                                            ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, NULL,
                                            NULL, NULL, 0, NULL, NULL));

    if (rc != TSS2_RC_SUCCESS || rsa)
        return rc;
    return TPM_CALL(Esys_PolicyOR(tpm->esys, session, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                  &policy_b_branches));
}

/*
 * A session in which the endorsement hierarchy's password was shown.  L-1 knows no other way; H-3 would take its
 * own empty password, but an EK is not exempt from the dictionary-attack lockout, and policies are.
 */
static int
start_endorsement_session(struct tpm_device *tpm, bool rsa, struct tpm_held *ret,
                          struct error *err)
{
    TPMT_SYM_DEF none = { .algorithm = TPM2_ALG_NULL };
    TSS2_RC rc = TPM_CALL(Esys_StartAuthSession(
        tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, NULL,
        TPM2_SE_POLICY, &none, rsa ? TPM2_ALG_SHA256 : TPM2_ALG_SHA384, &ret->tr));

    if (rc != TSS2_RC_SUCCESS) {
        ret->tr = ESYS_TR_NONE;
        return tpm_failed(rc, "start a session", err);
    }
    /* We end it ourselves, also when the command fails. */
    rc = Esys_TRSess_SetAttributes(tpm->esys, ret->tr, TPMA_SESSION_CONTINUESESSION, 0xff);
    if (rc != TSS2_RC_SUCCESS)
        return tpm_failed(rc, "session", err);
    rc = show_ek_policy(tpm, rsa, ret->tr);
    if (rc != TSS2_RC_SUCCESS)
        return tpm_endorsement_failed(rc, "authorize the EK", err);
    return 0;
}

static int
activate(struct tpm_device *tpm, ESYS_TR ak, ESYS_TR ek, ESYS_TR ek_session,
         const TPM2B_ID_OBJECT *blob, const TPM2B_ENCRYPTED_SECRET *seed,
         uint8_t ret_secret[static 32], struct error *err)
{
    TPM2B_DIGEST *secret = NULL;
    TSS2_RC rc = TPM_CALL(Esys_ActivateCredential(tpm->esys, ak, ek, ESYS_TR_PASSWORD,
                                                  ek_session, ESYS_TR_NONE, blob, seed,
                                                  &secret));
    size_t len;

    if (rc != TSS2_RC_SUCCESS)
        return tpm_failed(rc, "activate a credential", err);
    len = secret->size;
    if (len == 32)
        memcpy(ret_secret, secret->buffer, 32);
    explicit_bzero(secret, sizeof *secret);
    Esys_Free(secret);
    if (len != 32)
        return error_set(err, ERROR_DENIED, "TPM: a credential of %zu bytes, not 32", len);
    return 0;
}

int
tpm_activate(struct tpm_device *tpm, bool rsa, const uint8_t *id_object, size_t id_len,
             const uint8_t *seed, size_t seed_len, uint8_t ret_secret[static 32],
             struct error *err)
{
    CLEANUP(tpm_held_drop) struct tpm_held ak = TPM_HELD(tpm), ek = TPM_HELD(tpm);
    CLEANUP(tpm_held_drop) struct tpm_held session = TPM_HELD(tpm);
    CLEANUP(buf_clear) struct buf public = BUF(sizeof(TPM2B_PUBLIC));
    TPM2B_ID_OBJECT blob = { .size = (uint16_t)id_len };
    TPM2B_ENCRYPTED_SECRET wrapped = { .size = (uint16_t)seed_len };

    if (id_len > sizeof blob.credential || seed_len > sizeof wrapped.secret)
        return error_set(err, ERROR_DENIED, "a credential of %zu and %zu bytes", id_len,
                         seed_len);
    memcpy(blob.credential, id_object, id_len);
    memcpy(wrapped.secret, seed, seed_len);
    if (tpm_hold_ak(tpm, &ak, NULL, err) < 0 || hold_ek(tpm, rsa, &ek, &public, err) < 0)
        return -1;
    if (start_endorsement_session(tpm, rsa, &session, err) < 0)
        return -1;
    return activate(tpm, ak.tr, ek.tr, session.tr, &blob, &wrapped, ret_secret, err);
}

/* The slot's 64 bytes are the template's `unique`: what lies on the disk is no key without this TPM. */
static int
hold_secret(struct tpm_device *tpm, const uint8_t unique[static 64], struct tpm_held *ret,
            TPM2B_PUBLIC **ret_public, struct error *err)
{
    TPM2B_PUBLIC template;
    int r;

    signer_template(0, &template);
    template.publicArea.unique.ecc.x.size = 32;
    memcpy(template.publicArea.unique.ecc.x.buffer, unique, 32);
    template.publicArea.unique.ecc.y.size = 32;
    memcpy(template.publicArea.unique.ecc.y.buffer, unique + 32, 32);
    r = create_primary(tpm, "make the secret's key", &template, ret, ret_public, err);
    explicit_bzero(&template, sizeof template);
    return r;
}

int
tpm_secret_point(struct tpm_device *tpm, const uint8_t unique[static 64],
                 uint8_t ret_point[static 65], struct error *err)
{
    CLEANUP(tpm_held_drop) struct tpm_held key = TPM_HELD(tpm);
    CLEANUP(esys_free) TPM2B_PUBLIC *public = NULL;
    uint8_t point[65] = { 4 };

    if (hold_secret(tpm, unique, &key, &public, err) < 0 ||
        pad_to_32(&public->publicArea.unique.ecc.x, point + 1, err) < 0 ||
        pad_to_32(&public->publicArea.unique.ecc.y, point + 33, err) < 0)
        return -1;
    memcpy(ret_point, point, sizeof point);
    return 0;
}

int
tpm_secret_sign(struct tpm_device *tpm, const uint8_t unique[static 64],
                const uint8_t digest[static 32], uint8_t ret[static 64], struct error *err)
{
    CLEANUP(tpm_held_drop) struct tpm_held key = TPM_HELD(tpm);
    CLEANUP(esys_free) TPMT_SIGNATURE *signature = NULL;
    TPMT_SIG_SCHEME scheme = { .scheme = TPM2_ALG_NULL }; /* the key's own */
    TPMT_TK_HASHCHECK ticket = { .tag = TPM2_ST_HASHCHECK, .hierarchy = TPM2_RH_NULL };
    TPM2B_DIGEST what = { .size = 32 };
    TSS2_RC rc;

    memcpy(what.buffer, digest, 32);
    if (hold_secret(tpm, unique, &key, NULL, err) < 0)
        return -1;
    rc = TPM_CALL(Esys_Sign(tpm->esys, key.tr, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                            &what, &scheme, &ticket, &signature));
    if (rc != TSS2_RC_SUCCESS)
        return tpm_failed(rc, "sign", err);
    return tpm_signature_bytes(signature, ret, err);
}
