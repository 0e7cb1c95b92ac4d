/*
 * proof_tpm_test.c - the TPM in a proof is the enrolled one, and speaks about this proof
 */
#include "config.h"

#include "tokenservice/attest/proof_tpm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "lib/tpm/tpm_device.h"
#include "tests/unit/proof_scene.h"
#include "tpmsim/swtpm_box.h"

static void
every_flipped_bit_of_quote_and_certify_is_refused(void **state)
{
    struct scene *s = *state;
    uint8_t *parts[] = { s->p.quote, s->p.quote_sig, s->p.certify, s->p.certify_sig };
    const size_t lens[] = { SOFT_QUOTE_LEN, 64, SOFT_CERTIFY_LEN, 64 };

    for (int part = 0; part < 4; part++) {
        const char *name = part < 2 ? "quote" : "certify";

        for (size_t bit = 0; bit < lens[part] * 8; bit++) {
            parts[part][bit / 8] ^= (uint8_t)(1 << bit % 8);
            scene_refused(s, name, name);
            parts[part][bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
    scene_accepted(s);
}

static void
a_stale_quote_under_a_fresh_host_signature_is_refused(void **state)
{
    struct scene *s = *state;

    scene_nonce(s);
    scene_sign(s, SCENE_HOST | SCENE_CERTIFY | SCENE_SECRET);
    scene_refused(s, "quote", "quote");
    scene_sign(s, SCENE_QUOTE);
    scene_nonce(s);
    scene_sign(s, SCENE_HOST | SCENE_QUOTE | SCENE_SECRET);
    scene_refused(s, "certify", "certify");
}

static void
a_well_signed_quote_with_a_wrong_field_is_refused(void **state)
{
    static const struct {
        size_t at, len;
        const char *bytes;
    } wrong[] = {
        { AT_MAGIC, 4, "\xff\x54\x43\x48" },  { AT_TYPE, 2, "\x80\x14" },
        { AT_EXTRA, 4, "\0\0\0\0" },          { AT_QUOTE_SELECT, 3, "\0\0\0" },
        { AT_QUOTE_SELECT, 3, "\xff\x01\0" }, { AT_QUOTE_HASH, 2, "\0\x04" },
        { AT_QUOTE_DIGEST_LEN, 2, "\0\x14" }, { AT_SIGNER + 3, 4, "\0\0\0\0" },
    };
    struct scene *s = *state;
    uint8_t h[32];

    scene_h(s, h);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        soft_quote(&s->tpm, h, s->p.quote);
        memcpy(s->p.quote + wrong[i].at, wrong[i].bytes, wrong[i].len);
        soft_sign(&s->tpm, s->p.quote, s->p.quote_len, s->p.quote_sig);
        scene_refused(s, "quote", "quote");
    }
    soft_quote(&s->tpm, h, s->p.quote);
    s->p.quote_len++; /* a trailing byte, signed along */
    s->p.quote[SOFT_QUOTE_LEN] = 0;
    soft_sign(&s->tpm, s->p.quote, s->p.quote_len, s->p.quote_sig);
    scene_refused(s, "quote", "quote");
}

static void
quote_and_certify_of_two_runs_are_refused(void **state)
{
    struct scene *s = *state;

    s->tpm.reset++;
    scene_sign(s, SCENE_CERTIFY);
    scene_refused(s, "certify", "certify");
    s->tpm.reset--;
    s->tpm.restart++;
    scene_sign(s, SCENE_CERTIFY);
    scene_refused(s, "certify", "certify");
}

static void
a_quote_by_another_ak_is_refused(void **state)
{
    struct scene *s = *state;
    struct soft_tpm other;
    uint8_t h[32];

    soft_tpm_new(&other);
    scene_h(s, h);
    soft_quote(&other, h, s->p.quote);
    soft_sign(&other, s->p.quote, s->p.quote_len, s->p.quote_sig);
    scene_refused(s, "quote", "quote");
    soft_quote(&s->tpm, h, s->p.quote);
    soft_sign(&other, s->p.quote, s->p.quote_len, s->p.quote_sig);
    scene_refused(s, "quote", "quote");
    soft_tpm_clear(&other);
}

static void
an_ak_with_wrong_attributes_is_refused(void **state)
{
    struct scene *s = *state;

    for (int bit = 0; bit < 32; bit++) {
        s->p.ak[AT_AK_ATTRIBUTES + bit / 8] ^= (uint8_t)(1 << bit % 8);
        scene_prove(s);
        scene_refused(s, "ak", "ak-template");
        s->p.ak[AT_AK_ATTRIBUTES + bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void
another_ak_than_the_known_one_is_refused(void **state)
{
    struct scene *s = *state;

    s->account.ak_name[10] ^= 1;
    scene_refused(s, "ak", "ak-changed");
}

static void
the_same_uuid_with_another_ek_is_refused(void **state)
{
    struct scene *s = *state;

    s->p.ek_len = soft_ek_public(2, s->p.ek);
    scene_prove(s);
    scene_refused(s, "ek", "ek-changed");
    s->account.has_ak = false; /* nor does it get a credential */
    scene_refused(s, "ek", "ek-changed");
}

static void
a_credential_for_another_ak_or_proof_is_refused(void **state)
{
    struct scene *s = *state;

    scene_pending(s);
    s->tpm.ak_name[20] ^= 1;
    scene_activate(s);
    s->tpm.ak_name[20] ^= 1;
    scene_refused(s, "activation", "activation");
    scene_activate(s);
    scene_prove(s); /* the next proof, with the last one's credential */
    scene_refused(s, "activation", "activation");
    scene_activate(s);
    scene_accepted(s);
}

static void
counters_that_went_back_are_evidence_and_refuse_nobody(void **state)
{
    struct scene *s = *state;

    s->account.has_mark_counters = true;
    s->account.mark_reset = 5;
    s->account.mark_restart = 2;
    s->account.mark_clock = 999;
    scene_accepted(s);
    assert_false(s->result.tpm_cleared);
    s->account.mark_clock = 1000;
    scene_accepted(s);
    assert_true(s->result.tpm_cleared);
    s->tpm.reset = s->tpm.restart = 0;
    s->tpm.clock = UINT64_MAX; /* ClockSet to the end of time */
    scene_prove(s);
    scene_accepted(s);
    assert_true(s->result.tpm_cleared);
    s->account.mark_clock = UINT64_MAX;
    s->tpm.reset = 6;
    scene_prove(s);
    scene_accepted(s);
    assert_false(s->result.tpm_cleared);
}

#define OK(call)                                    \
    do {                                            \
        if ((call) < 0)                             \
            fail_msg("%s: %s", #call, s->err.text); \
    } while (0)

/* A box, its TPM, and a pending account for it. */
struct real {
    struct swtpm_box *box;
    struct tpm_device *tpm;
    struct x509_der ca;
};

static void
real_new(struct scene *s, struct real *r)
{
    OK(swtpm_box_new(NULL, NULL, &r->box, &s->err));
    OK(tpm_open(swtpm_box_tcti(r->box), &r->tpm, &s->err));
    swtpm_box_ca(r->box, &r->ca.bytes, &r->ca.len);
    s->p.uuid = *swtpm_box_uuid(r->box);
    s->service.now_ms = 1000 * (int64_t)time(NULL);
    s->service.ek_cas = &r->ca;
    s->service.n_ek_cas = 1;
}

static void
real_free_at(struct real *r)
{
    tpm_close(r->tpm);
    swtpm_box_free(r->box);
}

static void
new_account_for(struct scene *s, struct tpm_device *tpm, bool rsa)
{
    CLEANUP(buf_clear) struct buf ek = BUF(EK_PUBLIC_MAX), cert = BUF(EK_CERT_MAX);

    scene_pending(s);
    s->account.has_ek = s->account.ratchet.has_x = false;
    s->p.has_activation = false;
    OK(tpm_ek_public(tpm, rsa, &ek, &s->err));
    OK(tpm_ek_cert(tpm, rsa, &cert, &s->err));
    memcpy(s->p.ek, ek.data, ek.len);
    s->p.ek_len = ek.len;
    memcpy(s->p.ek_cert, cert.data, cert.len);
    s->p.ek_cert_len = cert.len;
}

/* Fill p from the TPM. */
static void
prove_on(struct scene *s, struct tpm_device *tpm)
{
    struct tpm_proof proof;
    uint8_t h[32];

    scene_nonce(s);
    OK(tpm_ak_public(tpm, s->p.ak, &s->err));
    OK(tpm_nv_read(tpm, s->p.x, &s->err));
    scene_h(s, h);
    OK(tpm_prove(tpm, h, &proof, &s->err));
    memcpy(s->p.quote, proof.quote, sizeof proof.quote);
    s->p.quote_len = proof.quote_len;
    memcpy(s->p.certify, proof.certify, sizeof proof.certify);
    s->p.certify_len = proof.certify_len;
    memcpy(s->p.quote_sig, proof.quote_sig, 64);
    memcpy(s->p.certify_sig, proof.certify_sig, 64);
    scene_sign(s, SCENE_HOST | SCENE_SECRET);
}

static void
activate_on(struct scene *s, struct tpm_device *tpm, bool rsa)
{
    struct credential_blob *blob = &s->result.blob;

    assert_int_equal(scene_judge(s), PROOF_ACTIVATE);
    OK(tpm_activate(tpm, rsa, blob->id_object, blob->id_object_len, blob->seed, blob->seed_len,
                    s->p.activation, &s->err));
    s->p.has_activation = true;
}

static void
a_real_tpm_is_activated_and_accepted_with_its_certificate(void **state)
{
    CLEANUP(real_free) struct real r = { 0 };
    struct scene *s = *state;

    real_new(s, &r);
    for (int rsa = 0; rsa < 2; rsa++) {
        s->service.n_ek_cas = 1;
        new_account_for(s, r.tpm, rsa);
        prove_on(s, r.tpm);
        activate_on(s, r.tpm, rsa);
        scene_accepted(s);
        assert_true(s->result.ek_ca && s->result.take_ek && s->result.take_x);
        s->service.n_ek_cas = 0; /* the same without knowing the CA: bound under the host's word */
        scene_accepted(s);
        assert_false(s->result.ek_ca);
    }
}

/* A vTPM state that was copied: its certificate says whose it is. */
static void
the_tpm_of_another_vm_does_not_count(void **state)
{
    CLEANUP(real_free) struct real r = { 0 };
    struct scene *s = *state;

    real_new(s, &r);
    s->p.uuid.bytes[3] ^= 1;
    new_account_for(s, r.tpm, false);
    prove_on(s, r.tpm);
    scene_accepted(s);
    assert_true(s->result.copied && !s->result.take_ek && !s->result.take_ak && !s->result.take_x);
    assert_false(s->result.has_vtpm);
    assert_int_equal(s->result.factors, FACTOR_HOST | FACTOR_SECRET);
    assert_memory_equal(&s->result.owner, swtpm_box_uuid(r.box), sizeof s->result.owner);
    s->account.floor = FACTOR_HOST | FACTOR_VTPM; /* nor is less let in for it */
    scene_refused(s, "ek", "ek-known");
}

/* Its host said that it is this VM's own. */
static void
a_certificate_of_another_vm_is_refused(void **state)
{
    CLEANUP(real_free) struct real r = { 0 };
    struct scene *s = *state;

    real_new(s, &r);
    s->p.uuid.bytes[3] ^= 1;
    new_account_for(s, r.tpm, false);
    s->account.has_ek = true;
    memcpy(s->account.ek, s->p.ek, s->p.ek_len);
    s->account.ek_len = s->p.ek_len;
    prove_on(s, r.tpm);
    scene_refused(s, "ek", "ek-cert");
}

static void
the_ek_of_another_account_does_not_count(void **state)
{
    struct scene *s = *state;

    scene_pending(s);
    s->account.is_copied = true;
    s->account.owner.bytes[0] = 7;
    scene_activate(s);
    scene_accepted(s); /* its host registered that EK: whether it may have it is asked there */
    assert_false(s->result.copied);
    s->account.has_ek = s->account.ratchet.has_x = false;
    memcpy(s->p.ek, s->account.ek, s->account.ek_len);
    s->p.ek_len = s->account.ek_len;
    s->p.has_activation = false;
    scene_prove(s);
    scene_accepted(s);
    assert_true(s->result.copied && s->result.owner.bytes[0] == 7);
    assert_int_equal(s->result.factors, FACTOR_HOST | FACTOR_SECRET);
    s->account.pending = false; /* one that is enrolled has no use for it */
    scene_accepted(s);
    assert_false(s->result.copied);
}

static void
a_certificate_of_another_key_is_refused(void **state)
{
    CLEANUP(buf_clear) struct buf other = BUF(EK_CERT_MAX);
    CLEANUP(real_free) struct real r = { 0 };
    struct scene *s = *state;

    real_new(s, &r);
    new_account_for(s, r.tpm, false);
    OK(tpm_ek_cert(r.tpm, true, &other, &s->err));
    memcpy(s->p.ek_cert, other.data, other.len);
    s->p.ek_cert_len = other.len;
    prove_on(s, r.tpm);
    scene_refused(s, "ek", "ek-cert");
}

static void
a_certificate_by_a_strange_ca_says_nothing(void **state)
{
    CLEANUP(real_free) struct real r = { 0 }, other = { 0 };
    struct scene *s = *state;

    real_new(s, &other);
    real_new(s, &r);
    s->service.ek_cas = &other.ca;
    new_account_for(s, r.tpm, false);
    prove_on(s, r.tpm);
    activate_on(s, r.tpm, false);
    scene_accepted(s);
    assert_false(s->result.ek_ca);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE_TEST(every_flipped_bit_of_quote_and_certify_is_refused),
        SCENE_TEST(a_stale_quote_under_a_fresh_host_signature_is_refused),
        SCENE_TEST(a_well_signed_quote_with_a_wrong_field_is_refused),
        SCENE_TEST(quote_and_certify_of_two_runs_are_refused),
        SCENE_TEST(a_quote_by_another_ak_is_refused),
        SCENE_TEST(an_ak_with_wrong_attributes_is_refused),
        SCENE_TEST(another_ak_than_the_known_one_is_refused),
        SCENE_TEST(the_same_uuid_with_another_ek_is_refused),
        SCENE_TEST(a_credential_for_another_ak_or_proof_is_refused),
        SCENE_TEST(counters_that_went_back_are_evidence_and_refuse_nobody),
        SCENE_TEST(a_real_tpm_is_activated_and_accepted_with_its_certificate),
        SCENE_TEST(the_tpm_of_another_vm_does_not_count),
        SCENE_TEST(the_ek_of_another_account_does_not_count),
        SCENE_TEST(a_certificate_of_another_vm_is_refused),
        SCENE_TEST(a_certificate_of_another_key_is_refused),
        SCENE_TEST(a_certificate_by_a_strange_ca_says_nothing),
    };

    return cmocka_run_group_tests_name("proof_tpm", tests, NULL, NULL);
}
