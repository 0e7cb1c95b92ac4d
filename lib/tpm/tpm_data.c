#include "config.h"

#include "lib/tpm/tpm_data.h"

#include <stdlib.h>
#include <string.h>

#include <tss2/tss2_mu.h>

#include "lib/crypto/hash.h"
#include "lib/crypto/key.h"
#include "lib/crypto/x509.h"

enum {
    /* fixedTPM fixedParent sensitiveDataOrigin userWithAuth noDA restricted sign */
    AK_ATTRIBUTES = 0x00050472,
    EK_ATTRIBUTES_LOW = 0x000300b2,  /* the older templates: authorized by policy A alone */
    EK_ATTRIBUTES_HIGH = 0x000300f2, /* the newer: also by the (empty) password */
    /* extend, authread, authwrite, no_da, platformcreate, policydelete, written */
    NV_ATTRIBUTES_WRITTEN = 0x62040444,
};

/* TCG EK Credential Profile 2.5, B.6: PolicyA and PolicyB for the digest of the name. */
static const uint8_t policy_a_sha256[32] = {
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
    0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
};
static const uint8_t policy_b_sha256[32] = {
    0xca, 0x3d, 0x0a, 0x99, 0xa2, 0xb9, 0x39, 0x06, 0xf7, 0xa3, 0x34, 0x24, 0x14, 0xef, 0xcf, 0xb3,
    0xa3, 0x85, 0xd4, 0x4c, 0xd1, 0xfd, 0x45, 0x90, 0x89, 0xd1, 0x9b, 0x50, 0x71, 0xc0, 0xb7, 0xa0,
};
static const uint8_t policy_b_sha384[48] = {
    0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a,
    0x07, 0x41, 0x48, 0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca,
    0xcb, 0x47, 0xba, 0x09, 0x69, 0x96, 0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12,
};

/*
 * tss2 logs to stderr whatever it can not read: with bytes from strangers that is a flood.
 * What is wrong, our errors say.  Before main(), because setenv() and threads do not agree.
 */
__attribute__((constructor)) static void
silence_tss2(void)
{
    (void)setenv("TSS2_LOG", "all+NONE", 0);
}

/* One TPMT_PUBLIC and nothing behind it. */
static int
read_public(const char *what, const uint8_t *bytes, size_t len, TPMT_PUBLIC *ret,
            struct error *err)
{
    size_t at = 0;

    memset(ret, 0, sizeof *ret);
    if (Tss2_MU_TPMT_PUBLIC_Unmarshal(bytes, len, &at, ret) != TSS2_RC_SUCCESS)
        return error_set(err, ERROR_DENIED, "%s: not a TPMT_PUBLIC", what);
    if (at != len)
        return error_set(err, ERROR_DENIED, "%s: %zu bytes too many", what, len - at);
    return 0;
}

static int
ak_refused(struct error *err, const char *field, unsigned seen, unsigned expected)
{
    return error_set(err, ERROR_DENIED, "AK: %s is 0x%x, not 0x%x", field, seen, expected);
}

static int
ak_is_our_template(const TPMT_PUBLIC *p, struct error *err)
{
    const TPMS_ECC_PARMS *ecc = &p->parameters.eccDetail;

    if (p->type != TPM2_ALG_ECC)
        return ak_refused(err, "type", p->type, TPM2_ALG_ECC);
    if (p->nameAlg != TPM2_ALG_SHA256)
        return ak_refused(err, "nameAlg", p->nameAlg, TPM2_ALG_SHA256);
    if (p->objectAttributes != AK_ATTRIBUTES)
        return ak_refused(err, "attributes", p->objectAttributes, AK_ATTRIBUTES);
    if (p->authPolicy.size != 0)
        return ak_refused(err, "length of the policy", p->authPolicy.size, 0);
    if (ecc->symmetric.algorithm != TPM2_ALG_NULL)
        return ak_refused(err, "symmetric", ecc->symmetric.algorithm, TPM2_ALG_NULL);
    if (ecc->scheme.scheme != TPM2_ALG_ECDSA)
        return ak_refused(err, "scheme", ecc->scheme.scheme, TPM2_ALG_ECDSA);
    if (ecc->scheme.details.ecdsa.hashAlg != TPM2_ALG_SHA256)
        return ak_refused(err, "hash", ecc->scheme.details.ecdsa.hashAlg, TPM2_ALG_SHA256);
    if (ecc->curveID != TPM2_ECC_NIST_P256)
        return ak_refused(err, "curve", ecc->curveID, TPM2_ECC_NIST_P256);
    if (ecc->kdf.scheme != TPM2_ALG_NULL)
        return ak_refused(err, "kdf", ecc->kdf.scheme, TPM2_ALG_NULL);
    if (p->unique.ecc.x.size != 32 || p->unique.ecc.y.size != 32)
        return error_set(err, ERROR_DENIED, "AK: coordinates of %u and %u bytes",
                         p->unique.ecc.x.size, p->unique.ecc.y.size);
    return 0;
}

int
tpm_ak_check(const uint8_t *ak, size_t len, uint8_t ret_point[static 65],
             uint8_t ret_name[static TPM_NAME_LEN], struct error *err)
{
    CLEANUP(key_free) struct key *key = NULL;
    uint8_t point[65] = { 4 }, name[TPM_NAME_LEN] = { 0x00, 0x0b };
    TPMT_PUBLIC p;

    if (len != TPM_AK_PUBLIC_LEN)
        return error_set(err, ERROR_DENIED, "AK of %zu bytes, not %d", len, TPM_AK_PUBLIC_LEN);
    if (read_public("AK", ak, len, &p, err) < 0 || ak_is_our_template(&p, err) < 0)
        return -1;
    memcpy(point + 1, p.unique.ecc.x.buffer, 32);
    memcpy(point + 33, p.unique.ecc.y.buffer, 32);
    if (key_from_point(point, &key, err) < 0) {
        if (err->code == ERROR_INPUT)
            err->code = ERROR_DENIED;
        return error_wrap(err, "AK");
    }
    if (hash_sha256(ak, len, name + 2, err) < 0)
        return -1;
    memcpy(ret_point, point, sizeof point);
    memcpy(ret_name, name, sizeof name);
    return 0;
}

/* What must be equal in an EK's public area, by template (EK Credential Profile 2.5, B.3 and B.4). */
struct ek_template {
    const char *name;
    uint16_t type, name_hash;
    uint32_t attributes;
    const uint8_t *policy;
    uint16_t policy_len, aes_bits, curve, coordinate_len;
    int kind;
};

static const struct ek_template ek_templates[] = {
    { "L-1", TPM2_ALG_RSA, TPM2_ALG_SHA256, EK_ATTRIBUTES_LOW, policy_a_sha256, 32, 128, 0, 0,
      CREDENTIAL_EK_RSA2048 },
    { "H-1", TPM2_ALG_RSA, TPM2_ALG_SHA256, EK_ATTRIBUTES_HIGH, policy_b_sha256, 32, 128, 0, 0,
      CREDENTIAL_EK_RSA2048 },
    { "L-2", TPM2_ALG_ECC, TPM2_ALG_SHA256, EK_ATTRIBUTES_LOW, policy_a_sha256, 32, 128,
      TPM2_ECC_NIST_P256, 32, CREDENTIAL_EK_P256 },
    { "H-2", TPM2_ALG_ECC, TPM2_ALG_SHA256, EK_ATTRIBUTES_HIGH, policy_b_sha256, 32, 128,
      TPM2_ECC_NIST_P256, 32, CREDENTIAL_EK_P256 },
    { "H-3", TPM2_ALG_ECC, TPM2_ALG_SHA384, EK_ATTRIBUTES_HIGH, policy_b_sha384, 48, 256,
      TPM2_ECC_NIST_P384, 48, CREDENTIAL_EK_P384 },
};

static bool
is_aes_cfb(const TPMT_SYM_DEF_OBJECT *sym, uint16_t bits)
{
    return sym->algorithm == TPM2_ALG_AES && sym->keyBits.aes == bits &&
           sym->mode.aes == TPM2_ALG_CFB;
}

static bool
is_rsa_ek(const struct ek_template *t, const TPMT_PUBLIC *p)
{
    const TPMS_RSA_PARMS *rsa = &p->parameters.rsaDetail;

    return is_aes_cfb(&rsa->symmetric, t->aes_bits) && rsa->scheme.scheme == TPM2_ALG_NULL &&
           rsa->keyBits == 2048 && rsa->exponent == 0 && p->unique.rsa.size == 256 &&
           (p->unique.rsa.buffer[0] & 0x80) && (p->unique.rsa.buffer[255] & 1);
}

static bool
is_ecc_ek(const struct ek_template *t, const TPMT_PUBLIC *p)
{
    const TPMS_ECC_PARMS *ecc = &p->parameters.eccDetail;

    return is_aes_cfb(&ecc->symmetric, t->aes_bits) && ecc->scheme.scheme == TPM2_ALG_NULL &&
           ecc->curveID == t->curve && ecc->kdf.scheme == TPM2_ALG_NULL &&
           p->unique.ecc.x.size == t->coordinate_len &&
           p->unique.ecc.y.size == t->coordinate_len;
}

static bool
is_ek_of(const struct ek_template *t, const TPMT_PUBLIC *p)
{
    return p->type == t->type && p->nameAlg == t->name_hash &&
           p->objectAttributes == t->attributes && p->authPolicy.size == t->policy_len &&
           memcmp(p->authPolicy.buffer, t->policy, t->policy_len) == 0 && /* no secret */
           (t->type == TPM2_ALG_RSA ? is_rsa_ek(t, p) : is_ecc_ek(t, p));
}

int
tpm_ek_check(const uint8_t *ek, size_t len, struct credential_ek *ret, struct error *err)
{
    CLEANUP(buf_clear) struct buf spki = BUF(1024);
    const struct ek_template *t = NULL;
    struct credential_ek found = { 0 };
    TPMT_PUBLIC p;

    if (read_public("EK", ek, len, &p, err) < 0)
        return -1;
    for (size_t i = 0; i < sizeof ek_templates / sizeof ek_templates[0] && !t; i++) {
        if (is_ek_of(&ek_templates[i], &p))
            t = &ek_templates[i];
    }
    if (!t)
        return error_set(err, ERROR_DENIED,
                         "EK: type 0x%x with attributes 0x%x fits none of the TCG templates L-1, "
                         "H-1, L-2, H-2, H-3",
                         p.type, (unsigned)p.objectAttributes);
    found.kind = t->kind;
    if (t->type == TPM2_ALG_RSA) {
        memcpy(found.modulus, p.unique.rsa.buffer, 256);
    } else {
        memcpy(found.x, p.unique.ecc.x.buffer, t->coordinate_len);
        memcpy(found.y, p.unique.ecc.y.buffer, t->coordinate_len);
    }
    /* Building the key is what tells whether the point is on its curve. */
    if (tpm_ek_spki(&found, &spki, err) < 0) {
        if (err->code == ERROR_INPUT)
            err->code = ERROR_DENIED;
        return -1;
    }
    *ret = found;
    return 0;
}

int
tpm_ek_spki(const struct credential_ek *ek, struct buf *into, struct error *err)
{
    uint8_t point[65] = { 4 };

    switch (ek->kind) {
    case CREDENTIAL_EK_RSA2048:
        return x509_spki_of_rsa(ek->modulus, sizeof ek->modulus, into, err);
    case CREDENTIAL_EK_P384:
        return x509_spki_of_p384(ek->x, ek->y, into, err);
    case CREDENTIAL_EK_P256:
        memcpy(point + 1, ek->x, 32);
        memcpy(point + 33, ek->y, 32);
        return x509_spki_of_point(point, into, err);
    }
    return error_set(err, ERROR_INPUT, "EK of unknown kind %d", (int)ek->kind);
}

/* One TPMS_ATTEST of `type` over `extra`, and nothing behind it; the common fields into *ret. */
static int
read_attest(const uint8_t *bytes, size_t len, uint16_t type, const uint8_t extra[static 32],
            TPMS_ATTEST *a, struct tpm_attest *ret, struct error *err)
{
    uint8_t again[sizeof *a];
    size_t at = 0, written = 0;

    memset(a, 0, sizeof *a);
    /* Said first: unmarshalling refuses it too, but without words. */
    if (len < 6 || memcmp(bytes, "\xff\x54\x43\x47", 4) != 0)
        return error_set(err, ERROR_DENIED, "magic is not TPM_GENERATED");
    if ((bytes[4] << 8 | bytes[5]) != type)
        return error_set(err, ERROR_DENIED, "type is 0x%x, not 0x%x",
                         (unsigned)(bytes[4] << 8 | bytes[5]), (unsigned)type);
    if (Tss2_MU_TPMS_ATTEST_Unmarshal(bytes, len, &at, a) != TSS2_RC_SUCCESS)
        return error_set(err, ERROR_DENIED, "not a TPMS_ATTEST");
    if (at != len)
        return error_set(err, ERROR_DENIED, "%zu bytes too many", len - at);
    /* One value, one spelling: what a TPM would not have written, it has not written. */
    if (Tss2_MU_TPMS_ATTEST_Marshal(a, again, sizeof again, &written) != TSS2_RC_SUCCESS ||
        written != len || memcmp(again, bytes, len) != 0)
        return error_set(err, ERROR_DENIED, "not a canonical TPMS_ATTEST");
    if (a->extraData.size != 32 || memcmp(a->extraData.buffer, extra, 32) != 0)
        return error_set(err, ERROR_DENIED, "is over another transcript");
    if (a->qualifiedSigner.size != TPM_NAME_LEN ||
        memcmp(a->qualifiedSigner.name, "\x00\x0b", 2) != 0)
        return error_set(err, ERROR_DENIED, "signer's name is not a SHA-256 name");
    if (a->clockInfo.safe > 1)
        return error_set(err, ERROR_DENIED, "clock's safe is %u", a->clockInfo.safe);
    memset(ret, 0, sizeof *ret);
    memcpy(ret->extra, a->extraData.buffer, 32);
    ret->extra_len = 32;
    memcpy(ret->signer, a->qualifiedSigner.name, TPM_NAME_LEN);
    ret->clock = a->clockInfo.clock;
    ret->reset_count = a->clockInfo.resetCount;
    ret->restart_count = a->clockInfo.restartCount;
    ret->safe = a->clockInfo.safe;
    ret->firmware = a->firmwareVersion;
    return 0;
}

int
tpm_quote_read(const uint8_t *attest, size_t len, const uint8_t extra[static 32],
               struct tpm_attest *ret, struct error *err)
{
    struct tpm_attest found;
    const TPMS_PCR_SELECTION *s;
    TPMS_ATTEST a;

    if (read_attest(attest, len, TPM2_ST_ATTEST_QUOTE, extra, &a, &found, err) < 0)
        return error_wrap(err, "quote");
    s = &a.attested.quote.pcrSelect.pcrSelections[0];
    if (a.attested.quote.pcrSelect.count != 1)
        return error_set(err, ERROR_DENIED, "quote: %u PCR banks, not 1",
                         (unsigned)a.attested.quote.pcrSelect.count);
    if (s->hash != TPM2_ALG_SHA256)
        return error_set(err, ERROR_DENIED, "quote: PCR bank 0x%x, not SHA-256", s->hash);
    if (s->sizeofSelect != 3 || s->pcrSelect[0] != (TPM_QUOTE_PCR_MASK & 0xff) ||
        s->pcrSelect[1] != (TPM_QUOTE_PCR_MASK >> 8 & 0xff) ||
        s->pcrSelect[2] != (TPM_QUOTE_PCR_MASK >> 16 & 0xff))
        return error_set(err, ERROR_DENIED, "quote: other PCRs than 0 to 7");
    if (a.attested.quote.pcrDigest.size != 32)
        return error_set(err, ERROR_DENIED, "quote: PCR digest of %u bytes, not 32",
                         a.attested.quote.pcrDigest.size);
    memcpy(found.pcr_digest, a.attested.quote.pcrDigest.buffer, 32);
    *ret = found;
    return 0;
}

int
tpm_certify_read(const uint8_t *attest, size_t len, const uint8_t extra[static 32],
                 struct tpm_attest *ret, struct error *err)
{
    uint8_t name[TPM_NAME_LEN];
    struct tpm_attest found;
    TPMS_ATTEST a;

    if (read_attest(attest, len, TPM2_ST_ATTEST_NV, extra, &a, &found, err) < 0)
        return error_wrap(err, "certify");
    if (tpm_nv_name(name, err) < 0)
        return -1;
    if (a.attested.nv.indexName.size != sizeof name ||
        memcmp(a.attested.nv.indexName.name, name, sizeof name) != 0)
        return error_set(err, ERROR_DENIED, "certify: another NV index than ours");
    if (a.attested.nv.offset != 0 || a.attested.nv.nvContents.size != 32)
        return error_set(err, ERROR_DENIED, "certify: %u bytes from %u, not 32 from 0",
                         a.attested.nv.nvContents.size, a.attested.nv.offset);
    memcpy(found.nv_name, name, sizeof name);
    memcpy(found.nv_contents, a.attested.nv.nvContents.buffer, 32);
    *ret = found;
    return 0;
}

int
tpm_nv_name(uint8_t ret[static TPM_NAME_LEN], struct error *err)
{
    uint8_t public[4 + 2 + 4 + 2 + 32 + 2] = {
        TPM_NV_INDEX >> 24, TPM_NV_INDEX >> 16 & 0xff, TPM_NV_INDEX >> 8 & 0xff,
        TPM_NV_INDEX & 0xff, 0x00, 0x0b,
        NV_ATTRIBUTES_WRITTEN >> 24, NV_ATTRIBUTES_WRITTEN >> 16 & 0xff,
        NV_ATTRIBUTES_WRITTEN >> 8 & 0xff, NV_ATTRIBUTES_WRITTEN & 0xff, 0, 32,
    };
    uint8_t name[TPM_NAME_LEN] = { 0x00, 0x0b };

    memset(public + 12, 0xff, 32); /* a policy digest nobody can reach */
    public[44] = 0;
    public[45] = 32;
    if (hash_sha256(public, sizeof public, name + 2, err) < 0)
        return -1;
    memcpy(ret, name, sizeof name);
    return 0;
}

int
tpm_qualified_name(const uint8_t name[static TPM_NAME_LEN], uint8_t ret[static TPM_NAME_LEN],
                   struct error *err)
{
    uint8_t path[4 + TPM_NAME_LEN] = { 0x40, 0x00, 0x00, 0x0b }; /* TPM_RH_ENDORSEMENT */
    uint8_t found[TPM_NAME_LEN] = { 0x00, 0x0b };

    memcpy(path + 4, name, TPM_NAME_LEN);
    if (hash_sha256(path, sizeof path, found + 2, err) < 0)
        return -1;
    memcpy(ret, found, sizeof found);
    return 0;
}
