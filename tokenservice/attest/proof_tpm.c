#include "config.h"

#include "tokenservice/attest/proof_tpm.h"

#include <stdio.h>
#include <string.h>

#include "lib/common/buf.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/key.h"
#include "lib/tpm/tpm_data.h"

/* The EK this proof is about, and whether it may be: the registered one, or a pending account's first. */
static int
find_ek(const struct prove *p, const struct proof_account *a, struct proof_result *ret,
        struct credential_ek *ret_key, struct error *err)
{
    char seen[17], expected[17];

    if (a->has_ek && p->ek_len > 0 &&
        (p->ek_len != a->ek_len || memcmp(p->ek, a->ek, a->ek_len) != 0)) { /* public keys */
        proof_print_thumbprint(p->ek, p->ek_len, seen);
        proof_print_thumbprint(a->ek, a->ek_len, expected);
        return proof_refuse(ret, "ek", "ek-changed", expected, "%s", seen);
    }
    if (!a->has_ek && p->ek_len == 0)
        return proof_refuse(ret, "ek", "ek-missing", "the EK, at first contact", "none");
    ret->ek = a->has_ek ? a->ek : p->ek;
    ret->ek_len = a->has_ek ? a->ek_len : p->ek_len;
    if (tpm_ek_check(ret->ek, ret->ek_len, ret_key, err) < 0)
        return proof_refuse_or_fail(ret, "ek", "ek-template", "one of the TCG's EK templates",
                                    err);
    if (hash_sha256(ret->ek, ret->ek_len, ret->ek_digest, err) < 0)
        return -1;
    ret->take_ek = !a->has_ek;
    return 0;
}

/*
 * A certificate by one of our EK CAs must be for this key and this VM: otherwise the state is
 * another VM's.  One by a stranger (libvirt's own local CA) says nothing: "ek: host".
 */
static int
check_ek_cert(const struct prove *p, const struct proof_service *s,
              const struct proof_account *a, const struct credential_ek *key,
              struct proof_result *ret, struct error *err)
{
    CLEANUP(buf_clear) struct buf spki = BUF(1024);
    char uuid[VM_UUID_TEXT];
    struct x509_info info;
    struct error ignored;
    uint8_t hash[32];

    ret->ek_ca = a->has_ek && a->ek_ca;
    if (p->ek_cert_len == 0 || s->n_ek_cas == 0)
        return 0;
    if (x509_verify(p->ek_cert, p->ek_cert_len, X509_EK, s->ek_cas, s->n_ek_cas,
                    s->now_ms / 1000, &info, err) < 0)
        return err->code == ERROR_DENIED || err->code == ERROR_INPUT ? 0 : -1;
    if (tpm_ek_spki(key, &spki, err) < 0 || hash_sha256(spki.data, spki.len, hash, err) < 0)
        return -1;
    if (memcmp(hash, info.spki_sha256, sizeof hash) != 0) /* public keys */
        return proof_refuse(ret, "ek", "ek-cert", "a certificate of this EK",
                            "a certificate of another key");
    vm_uuid_print(&p->uuid, uuid);
    if (strcmp(info.subject_cn, uuid) != 0) {
        ret->copied = !a->has_ek && vm_uuid_parse(info.subject_cn, &ret->owner, &ignored) == 0;
        return ret->copied ? 0
                           : proof_refuse(ret, "ek", "ek-cert", uuid, "the vTPM of %s", info.subject_cn);
    }
    ret->ek_ca = true;
    return 0;
}

/*
 * Is the TPM with which a new VM comes another VM's, by the account that has its EK or by its certificate?  A state
 * that was copied proves nothing of this VM: it enrolls with what else it shows.
 */
static int
look_for_copy(const struct proof_account *a, struct proof_result *ret)
{
    char uuid[VM_UUID_TEXT];

    if (a->is_copied && !a->has_ek) {
        ret->copied = true;
        ret->owner = a->owner;
    }
    if (!ret->copied)
        return 0;
    vm_uuid_print(&ret->owner, uuid);
    if (a->floor & FACTOR_VTPM)
        return proof_refuse(ret, "ek", "ek-known", "a vTPM of its own", "the vTPM of %s", uuid);
    ret->factors &= ~FACTOR_VTPM;
    ret->take_ek = false;
    return 0;
}

static int
check_ak(const struct prove *p, const struct proof_service *s, const struct proof_account *a,
         const struct credential_ek *ek, uint8_t ret_point[static 65], struct proof_result *ret,
         struct error *err)
{
    struct credential_about about = {
        .issuer = s->issuer, .nonce = p->nonce,       .uuid = p->uuid, .epoch = p->epoch,
        .ak_name = ret->ak_name, .ek_digest = ret->ek_digest, .h = ret->h,
    };
    char seen[17], expected[17];

    if (tpm_ak_check(p->ak, sizeof p->ak, ret_point, ret->ak_name, err) < 0)
        return proof_refuse_or_fail(ret, "ak", "ak-template", "the template of virtid's AK", err);
    if (a->has_ak) {
        if (memcmp(ret->ak_name, a->ak_name, TPM_NAME_LEN) == 0) /* public names */
            return 0;
        proof_print_thumbprint(ret->ak_name, TPM_NAME_LEN, seen);
        proof_print_thumbprint(a->ak_name, TPM_NAME_LEN, expected);
        return proof_refuse(ret, "ak", "ak-changed", expected, "%s", seen);
    }
    if (!p->has_activation) {
        if (credential_ask(s->activate_key, &about, ek, &ret->blob, err) < 0)
            return -1;
        ret->verdict = PROOF_ACTIVATE;
        return 1;
    }
    if (credential_check(s->activate_key, &about, p->activation, err) < 0)
        return proof_refuse_or_fail(ret, "activation", "activation",
                                    "the secret in the credential, for this very proof", err);
    ret->take_ak = true;
    return 0;
}

/* What both attestations must share: the AK's signature, its place in the TPM. */
static int
check_signed(const char *check, const uint8_t *attest, size_t len, const uint8_t *signature,
             const struct tpm_attest *read, const struct key *ak, struct proof_result *ret,
             struct error *err)
{
    uint8_t signer[TPM_NAME_LEN];

    if (tpm_qualified_name(ret->ak_name, signer, err) < 0)
        return -1;
    if (memcmp(signer, read->signer, sizeof signer) != 0) /* public names */
        return proof_refuse(ret, check, check, "the AK in the endorsement hierarchy",
                            "another signer");
    if (key_verify(ak, attest, len, signature, err) < 0)
        return proof_refuse_or_fail(ret, check, check, "a signature by the AK", err);
    return 0;
}

static int
check_attests(const struct prove *p, const uint8_t *point, struct proof_result *ret,
              struct error *err)
{
    CLEANUP(key_free) struct key *ak = NULL;
    struct tpm_attest quote, nv;
    int r;

    if (key_from_point(point, &ak, err) < 0)
        return -1;
    if (tpm_quote_read(p->quote, p->quote_len, ret->h, &quote, err) < 0)
        return proof_refuse_or_fail(ret, "quote", "quote", "a quote over this transcript", err);
    r = check_signed("quote", p->quote, p->quote_len, p->quote_sig, &quote, ak, ret, err);
    if (r != 0)
        return r;
    ret->reset_count = quote.reset_count;
    ret->restart_count = quote.restart_count;
    ret->clock = quote.clock;
    ret->firmware = quote.firmware;
    if (!p->has_x)
        return 0;
    if (tpm_certify_read(p->certify, p->certify_len, ret->h, &nv, err) < 0)
        return proof_refuse_or_fail(ret, "certify", "certify",
                                    "the NV index certified over this transcript", err);
    r = check_signed("certify", p->certify, p->certify_len, p->certify_sig, &nv, ak, ret, err);
    if (r != 0)
        return r;
    if (nv.reset_count != quote.reset_count || nv.restart_count != quote.restart_count)
        return proof_refuse(ret, "certify", "certify", "quote and certify of one run",
                            "reset %u restart %u and reset %u restart %u", quote.reset_count,
                            quote.restart_count, nv.reset_count, nv.restart_count);
    if (memcmp(nv.nv_contents, p->x, sizeof p->x) != 0) /* no secret */
        return proof_refuse(ret, "certify", "certify", "the content that the transcript names",
                            "another content");
    return 0;
}

/* Counters are evidence: they refuse nobody (TPM2_Clear and ClockSet are the guest's right). */
static bool
went_back(const struct proof_account *a, const struct proof_result *r)
{
    if (!a->has_mark_counters)
        return false;
    if (r->reset_count != a->mark_reset)
        return r->reset_count < a->mark_reset;
    if (r->restart_count != a->mark_restart)
        return r->restart_count < a->mark_restart;
    return r->clock <= a->mark_clock;
}

int
proof_check_tpm(const struct prove *p, const struct proof_service *s,
                const struct proof_account *a, struct proof_result *ret, struct error *err)
{
    struct credential_ek ek;
    uint8_t point[65];
    int r;

    if (!(ret->factors & FACTOR_VTPM))
        return 0;
    if (!a->has_ek && !a->pending) {
        ret->factors &= ~FACTOR_VTPM; /* a TPM nobody enrolled proves nothing */
        return 0;
    }
    r = find_ek(p, a, ret, &ek, err);
    if (r == 0)
        r = check_ek_cert(p, s, a, &ek, ret, err);
    if (r == 0)
        r = look_for_copy(a, ret);
    if (r != 0 || ret->copied)
        return r;
    r = check_ak(p, s, a, &ek, point, ret, err);
    if (r == 0)
        r = check_attests(p, point, ret, err);
    if (r != 0)
        return r;
    ret->has_vtpm = true;
    ret->tpm_cleared = went_back(a, ret);
    return 0;
}

bool
proof_index_is_behind(const struct prove *p, uint8_t required, const struct proof_account *a,
                      struct proof_result *ret)
{
    struct ratchet_shown shown;

    if (!(ret->factors & FACTOR_VTPM))
        return false;
    if (!a->ratchet.has_x) {
        ret->take_x = a->pending && p->has_x;
        return false;
    }
    (void)proof_ratchet(p, a, ret, &shown);
    if (ratchet_index_fits(&a->ratchet, &shown))
        return false;
    if (required & FACTOR_VTPM)
        return true;
    ret->factors &= ~FACTOR_VTPM;
    ret->take_ek = ret->take_ak = false;
    return false;
}
