#include "config.h"

#include "tests/unit/proof_scene.h"

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/crypto/hash.h"
#include "lib/crypto/random.h"

static void
must(int r, const struct error *err)
{
    if (r != 0)
        fprintf(stderr, "%s\n", err->text);
    assert(r == 0);
}

static void
new_account(struct scene *s)
{
    struct proof_account *a = &s->account;

    a->known = a->has_lease = a->has_ek = a->has_ak = true;
    a->ratchet.has_cur = a->ratchet.has_x = true;
    a->floor = FACTOR_HOST | FACTOR_VTPM | FACTOR_SECRET;
    a->epoch = 1000;
    strcpy(a->host, "host-a");
    key_point(s->host, a->host_point);
    memcpy(a->ek, s->tpm.ek, SOFT_EK_LEN);
    a->ek_len = SOFT_EK_LEN;
    memcpy(a->ak_name, s->tpm.ak_name, TPM_NAME_LEN);
    key_point(s->cur, a->ratchet.cur);
    memcpy(a->ratchet.xcur, s->tpm.x, 32);
}

static void
new_proof(struct scene *s)
{
    struct prove *p = &s->p;

    memset(p->uuid.bytes, 0xab, 16);
    p->epoch = s->account.epoch;
    p->factors = FACTOR_HOST | FACTOR_VTPM | FACTOR_SECRET;
    strcpy(p->audience, "https://api.example");
    strcpy(p->host, "host-a");
    p->has_ak = p->has_cur = p->has_x = true;
    memcpy(p->ak, s->tpm.ak_public, sizeof p->ak);
    key_point(s->cur, p->cur);
    memcpy(p->x, s->tpm.x, 32);
}

void
scene_new(struct scene *s)
{
    memset(s, 0, sizeof *s);
    soft_tpm_new(&s->tpm);
    must(key_generate(&s->host, &s->err), &s->err);
    must(key_generate(&s->cur, &s->err), &s->err);
    must(key_generate(&s->new_, &s->err), &s->err);
    must(random_bytes(s->exporter, 32, &s->err), &s->err);
    must(random_bytes(s->nonce_key, 32, &s->err), &s->err);
    must(random_bytes(s->activate_key, 32, &s->err), &s->err);
    s->service = (struct proof_service){
        .issuer = "https://id.example.test",
        .now_ms = 1700000000000,
        .nonce_key = s->nonce_key,
        .activate_key = s->activate_key,
    };
    new_account(s);
    new_proof(s);
    scene_prove(s);
}

void
scene_clear(struct scene *s)
{
    soft_tpm_clear(&s->tpm);
    key_free(s->host);
    key_free(s->cur);
    key_free(s->new_);
}

void
scene_nonce(struct scene *s)
{
    must(random_bytes(s->random, sizeof s->random, &s->err), &s->err);
    must(nonce_make(s->nonce_key, s->service.issuer, s->service.now_ms, s->random, NULL, s->p.nonce,
                    &s->err),
         &s->err);
}

void
scene_h(struct scene *s, uint8_t ret[static 32])
{
    struct transcript t;

    must(prove_transcript(&s->p, s->service.issuer, s->exporter, &t, &s->err), &s->err);
    must(transcript_hash(&t, ret, &s->err), &s->err);
}

static void
sign_host(struct scene *s, const uint8_t *h)
{
    CLEANUP(buf_clear) struct buf m = BUF(1024);

    must(transcript_host_message(s->service.issuer, s->p.host, &s->p.uuid, s->p.epoch, h, &m, &s->err),
         &s->err);
    must(key_sign(s->host, m.data, m.len, s->p.hostsig, &s->err), &s->err);
}

static void
sign_secret(struct scene *s, const struct key *key, const uint8_t *h, uint8_t *ret)
{
    CLEANUP(buf_clear) struct buf m = BUF(256);

    must(transcript_secret_message(h, &m, &s->err), &s->err);
    must(key_sign(key, m.data, m.len, ret, &s->err), &s->err);
}

void
scene_sign(struct scene *s, int parts)
{
    struct prove *p = &s->p;
    uint8_t h[32];

    scene_h(s, h);
    if (parts & SCENE_HOST)
        sign_host(s, h);
    if ((parts & SCENE_QUOTE) && p->has_ak) {
        soft_quote(&s->tpm, h, p->quote);
        p->quote_len = SOFT_QUOTE_LEN;
        soft_sign(&s->tpm, p->quote, p->quote_len, p->quote_sig);
    }
    if ((parts & SCENE_CERTIFY) && p->has_x) {
        soft_certify(&s->tpm, h, p->certify);
        p->certify_len = SOFT_CERTIFY_LEN;
        soft_sign(&s->tpm, p->certify, p->certify_len, p->certify_sig);
    }
    if ((parts & SCENE_SECRET) && p->has_cur)
        sign_secret(s, s->cur, h, p->cur_sig);
    if ((parts & SCENE_SECRET) && p->has_new)
        sign_secret(s, s->new_, h, p->new_sig);
}

void
scene_prove(struct scene *s)
{
    scene_nonce(s);
    scene_sign(s, SCENE_ALL);
}

void
scene_activate(struct scene *s)
{
    uint8_t h[32], ek_digest[32];
    const uint8_t *ek = s->account.has_ek ? s->account.ek : s->p.ek;
    size_t ek_len = s->account.has_ek ? s->account.ek_len : s->p.ek_len;
    struct credential_about about = {
        .issuer = s->service.issuer, .nonce = s->p.nonce,    .uuid = s->p.uuid, .epoch = s->p.epoch,
        .ak_name = s->tpm.ak_name,   .ek_digest = ek_digest, .h = h,
    };

    scene_h(s, h);
    must(hash_sha256(ek, ek_len, ek_digest, &s->err), &s->err);
    must(credential_secret(s->activate_key, &about, s->p.activation, &s->err), &s->err);
    s->p.has_activation = true;
}

enum proof_verdict
scene_judge(struct scene *s)
{
    must(proof_check(&s->p, s->exporter, &s->service, &s->account, &s->result, &s->err), &s->err);
    return s->result.verdict;
}

int
scene_set_up(void **state)
{
    struct scene *s = malloc(sizeof *s);

    scene_new(s);
    *state = s;
    return 0;
}

int
scene_tear_down(void **state)
{
    scene_clear(*state);
    free(*state);
    return 0;
}

void
scene_refused(struct scene *s, const char *check, const char *problem)
{
    assert_int_equal(scene_judge(s), PROOF_REFUSED);
    assert_string_equal(s->result.check, check);
    assert_string_equal(s->result.problem, problem);
    assert_true(s->result.seen[0] && s->result.expected[0]);
    assert_false(s->result.take_cur || s->result.take_x);
}

void
scene_refused_at_the_door(struct scene *s)
{
    scene_refused(s, "host-signature", "refused");
    assert_false(s->result.from_holder);
}

void
scene_accepted(struct scene *s)
{
    if (scene_judge(s) != PROOF_ACCEPTED)
        fail_msg("%s: %s: seen %s, expected %s", s->result.check, s->result.problem, s->result.seen,
                 s->result.expected);
}

void
scene_pending(struct scene *s)
{
    s->account.pending = true;
    s->account.floor = FACTOR_HOST;
    s->account.has_ak = false;
}
