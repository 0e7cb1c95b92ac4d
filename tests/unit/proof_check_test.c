/*
 * proof_check_test.c - a proof is accepted whole, by the right VM, on the right host, once
 */
#include "config.h"

#include "tokenservice/attest/proof_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/crypto/hash.h"
#include "tests/unit/proof_scene.h"

static void
a_whole_proof_is_accepted(void **state)
{
    struct scene *s = *state;

    scene_accepted(s);
    assert_int_equal(s->result.factors, FACTOR_HOST | FACTOR_VTPM | FACTOR_SECRET);
    assert_true(s->result.from_holder && s->result.has_vtpm);
    assert_false(s->result.take_ek || s->result.take_ak || s->result.take_cur ||
                 s->result.take_x || s->result.tpm_cleared);
}

/* Change field `i` of what the transcript covers; false: no such field. */
static bool
swap_field(struct scene *s, int i)
{
    struct prove *p = &s->p;

    switch (i) {
    case 0: s->service.issuer = "https://id.example.tess"; return true;
    case 1: p->uuid.bytes[15] ^= 1; return true;
    case 2: p->epoch ^= 1; return true;
    case 3: s->random[0] ^= 1; /* another nonce of the service, as good as the first */
        assert_int_equal(nonce_make(s->nonce_key, s->service.issuer, s->service.now_ms, s->random,
                                    NULL, p->nonce, &s->err), 0);
        return true;
    case 4: s->exporter[31] ^= 1; return true;
    case 5: p->factors ^= FACTOR_SECRET; return true;
    case 6: p->ak[40] ^= 1; return true;
    case 7: memcpy(p->ek, s->tpm.ek, SOFT_EK_LEN); p->ek_len = SOFT_EK_LEN; return true;
    case 8: p->audience[8] ^= 1; return true;
    case 9: p->has_cnf = true; key_point(s->new_, p->cnf); return true;
    case 10: key_point(s->new_, p->cur); return true;
    case 11: p->has_new = true; key_point(s->new_, p->new_); return true;
    case 12: p->fresh = !p->fresh; return true;
    case 13: p->x[0] ^= 1; return true;
    default: return false;
    }
}

static void
any_transcript_field_swapped_after_signing_is_refused(void **state)
{
    (void)state;
    for (int i = 0;; i++) {
        struct scene s;

        scene_new(&s);
        if (!swap_field(&s, i)) {
            scene_clear(&s);
            break;
        }
        assert_int_equal(scene_judge(&s), PROOF_REFUSED);
        assert_false(s.result.from_holder);
        scene_clear(&s);
    }
}

static void
any_field_swapped_by_the_host_itself_is_refused_by_the_quote(void **state)
{
    (void)state;
    for (int i = 0;; i++) {
        struct scene s;

        scene_new(&s);
        if (!swap_field(&s, i)) {
            scene_clear(&s);
            break;
        }
        s.account.epoch = s.p.epoch;
        if (i == 0) /* the nonce too is the issuer's */
            assert_int_equal(nonce_make(s.nonce_key, s.service.issuer, s.service.now_ms, s.random,
                                        NULL, s.p.nonce, &s.err), 0);
        scene_sign(&s, SCENE_HOST);
        assert_int_equal(scene_judge(&s), PROOF_REFUSED);
        assert_true(s.result.from_holder);
        if (i != 5 && i != 6) /* refused before the quote: factors, AK */
            assert_string_equal(s.result.check, "quote");
        scene_clear(&s);
    }
}

static void
any_field_swapped_with_host_and_tpm_is_refused_by_the_secret(void **state)
{
    static const int fields[] = { 1, 3, 4, 7, 8, 9, 12 };

    (void)state;
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        struct scene s;

        scene_new(&s);
        assert_true(swap_field(&s, fields[i]));
        scene_sign(&s, SCENE_HOST | SCENE_QUOTE | SCENE_CERTIFY);
        scene_refused(&s, "secret", "secret-signature");
        scene_clear(&s);
    }
}

static void
a_proof_over_another_connection_is_refused(void **state)
{
    struct scene *s = *state;

    s->exporter[0] ^= 1;
    scene_refused_at_the_door(s);
}

static void
a_missing_host_signature_is_refused(void **state)
{
    struct scene *s = *state;

    memset(s->p.hostsig, 0, sizeof s->p.hostsig);
    scene_refused_at_the_door(s);
    memset(s->p.hostsig, 0xff, sizeof s->p.hostsig);
    scene_refused_at_the_door(s);
}

static void
a_host_signature_by_another_host_is_refused(void **state)
{
    struct scene *s = *state;

    /* Another host's key, under the holder's name and under its own. */
    key_point(s->new_, s->account.host_point);
    scene_refused_at_the_door(s);
    key_point(s->host, s->account.host_point);
    strcpy(s->p.host, "host-b");
    scene_sign(s, SCENE_HOST);
    scene_refused_at_the_door(s);
}

static void
a_host_signature_for_another_vm_is_refused(void **state)
{
    struct scene *s = *state;

    s->p.uuid.bytes[0] ^= 1;
    scene_sign(s, SCENE_HOST);
    s->p.uuid.bytes[0] ^= 1;
    scene_refused_at_the_door(s);
}

static void
a_host_signature_for_another_epoch_is_refused(void **state)
{
    struct scene *s = *state;

    s->p.epoch--;
    scene_prove(s);
    scene_refused_at_the_door(s);
    s->p.epoch += 2;
    scene_prove(s);
    scene_refused_at_the_door(s);
}

static void
a_host_that_signs_one_name_or_epoch_and_shows_another_is_refused(void **state)
{
    CLEANUP(buf_clear) struct buf m = BUF(1024);
    struct scene *s = *state;
    uint8_t h[32];

    strcpy(s->p.host, "host-b");
    scene_refused_at_the_door(s);
    strcpy(s->p.host, "host-a");
    /* The transcript says an old epoch, the host's words around it the right one. */
    s->p.epoch--;
    scene_prove(s);
    scene_h(s, h);
    assert_int_equal(transcript_host_message(s->service.issuer, s->p.host, &s->p.uuid, s->account.epoch, h, &m,
                                             &s->err), 0);
    assert_int_equal(key_sign(s->host, m.data, m.len, s->p.hostsig, &s->err), 0);
    scene_refused_at_the_door(s);
}

static void
without_a_live_lease_nothing_is_accepted(void **state)
{
    struct scene *s = *state;

    s->account.has_lease = false;
    scene_refused_at_the_door(s);
}

static void
an_unknown_vm_is_refused_in_the_same_words_as_a_wrong_signature(void **state)
{
    struct scene *s = *state;
    struct proof_account nobody = { 0 };
    struct proof_result known;

    s->p.hostsig[5] ^= 1;
    scene_refused_at_the_door(s);
    known = s->result;
    s->account = nobody;
    scene_refused_at_the_door(s);
    assert_string_equal(known.problem, s->result.problem);
    assert_string_equal(known.check, s->result.check);
}

static void
an_old_or_foreign_nonce_is_refused_before_the_host_signature(void **state)
{
    struct scene *s = *state;

    s->service.now_ms += NONCE_CHALLENGE_MS + 1;
    scene_refused(s, "nonce", "stale");
    assert_false(s->result.from_holder);
    s->service.now_ms -= NONCE_CHALLENGE_MS + 1;
    s->nonce_key[0] ^= 1;
    scene_refused(s, "nonce", "stale");
}

static void
a_replayed_proof_is_refused(void **state)
{
    struct scene *s = *state;

    scene_accepted(s);
    memcpy(s->account.mark_nonce, s->p.nonce, NONCE_LEN);
    s->account.has_mark = true;
    scene_refused(s, "order", "stale");
    s->service.now_ms++;
    scene_prove(s);
    scene_accepted(s);
}

static void
a_locked_vm_is_refused(void **state)
{
    struct scene *s = *state;

    s->account.locked = true;
    scene_refused(s, "lock", "locked");
    assert_true(s->result.from_holder);
}

static void
less_than_the_floor_is_refused(void **state)
{
    struct scene *s = *state;

    s->p.has_cur = false;
    s->p.factors = FACTOR_HOST | FACTOR_VTPM;
    scene_prove(s);
    scene_refused(s, "floor", "floor");
    s->p.has_cur = true;
    s->p.has_ak = s->p.has_x = false;
    s->p.factors = FACTOR_HOST | FACTOR_SECRET;
    scene_prove(s);
    scene_refused(s, "floor", "floor");
    s->account.floor = FACTOR_HOST | FACTOR_SECRET;
    scene_accepted(s);
    assert_int_equal(s->result.factors, FACTOR_HOST | FACTOR_SECRET);
}

static void
factors_claimed_but_not_shown_are_refused(void **state)
{
    struct scene *s = *state;

    s->account.floor = FACTOR_HOST;
    s->p.has_cur = false;
    scene_prove(s);
    scene_refused(s, "message", "proof-malformed");
}

static void
a_wrong_secret_is_refused(void **state)
{
    struct scene *s = *state;
    struct key *right = s->cur;

    key_point(s->new_, s->p.cur);
    s->cur = s->new_;
    scene_prove(s);
    s->cur = right;
    scene_refused(s, "key", "disk-behind");
    /* and one that is only named */
    key_point(right, s->p.cur);
    s->cur = s->new_;
    scene_prove(s);
    s->cur = right;
    scene_refused(s, "secret", "secret-signature");
}

static void
another_index_content_is_refused(void **state)
{
    struct scene *s = *state;

    s->account.ratchet.xcur[0] ^= 1;
    scene_refused(s, "index", "tpm-behind");
    s->account.ratchet.xcur[0] ^= 1;
    s->p.has_x = false;
    scene_prove(s);
    scene_refused(s, "index", "tpm-behind");
    s->p.has_x = true;
    s->p.x[3] ^= 1; /* says one thing, certifies another */
    scene_prove(s);
    scene_refused(s, "certify", "certify");
}

static void
a_half_behind_that_the_floor_does_not_need_is_left_out(void **state)
{
    struct scene *s = *state;

    s->account.floor = FACTOR_HOST | FACTOR_SECRET;
    s->account.ratchet.xcur[0] ^= 1;
    scene_accepted(s);
    assert_int_equal(s->result.factors, FACTOR_HOST | FACTOR_SECRET);
    s->account.ratchet.xcur[0] ^= 1;
    s->account.floor = FACTOR_HOST | FACTOR_VTPM;
    s->account.ratchet.cur[5] ^= 1;
    scene_accepted(s);
    assert_int_equal(s->result.factors, FACTOR_HOST | FACTOR_VTPM);
}

/* An operator's word about what was refused, in this epoch. */
static void
grant_it(struct scene *s)
{
    assert_int_not_equal(s->result.behind, 0);
    s->account.ratchet.grant = (struct grant){ .given = true,
                                               .epoch = s->p.epoch,
                                               .ends_ms = s->service.now_ms + 1,
                                               .shown = s->result.shown };
}

static void
what_an_operator_accepted_is_let_in(void **state)
{
    struct scene *s = *state;

    s->account.ratchet.cur[5] ^= 1;
    s->account.ratchet.xcur[0] ^= 1;
    scene_refused(s, "key", "disk-behind");
    assert_int_equal(s->result.behind, RATCHET_KEY | RATCHET_INDEX);
    grant_it(s);
    scene_accepted(s);
    assert_int_equal(s->result.behind, RATCHET_KEY | RATCHET_INDEX);
    assert_int_equal(s->result.factors, FACTOR_HOST | FACTOR_VTPM | FACTOR_SECRET);
    s->account.ratchet.cur[5] ^= 1; /* one half of it fits: the grant is for what is shown */
    scene_accepted(s);
    assert_int_equal(s->result.behind, RATCHET_INDEX);
    s->service.now_ms++;
    scene_refused(s, "index", "tpm-behind");
    s->service.now_ms--;
    s->account.ratchet.grant.epoch--;
    scene_refused(s, "index", "tpm-behind");
}

/* All the rest is asked for as ever. */
static void
a_grant_spares_a_proof_nothing_else(void **state)
{
    struct scene *s = *state;

    s->account.ratchet.cur[5] ^= 1;
    scene_refused(s, "key", "disk-behind");
    grant_it(s);
    s->p.cur_sig[7] ^= 1;
    scene_refused(s, "secret", "secret-signature");
    s->p.cur_sig[7] ^= 1;
    s->account.locked = true;
    scene_refused(s, "lock", "locked");
    s->account.locked = false;
    scene_accepted(s);
    s->account.has_mark = true; /* it is good once */
    memcpy(s->account.mark_nonce, s->p.nonce, sizeof s->account.mark_nonce);
    scene_refused(s, "order", "stale");
}

static void
a_tpm_without_its_index_is_never_let_in(void **state)
{
    struct scene *s = *state;

    s->p.has_x = false;
    scene_prove(s);
    scene_refused(s, "index", "tpm-behind");
    assert_false(s->result.may_be_granted);
    grant_it(s);
    scene_refused(s, "index", "tpm-behind");
}

static void
a_new_key_that_did_not_sign_is_refused(void **state)
{
    struct scene *s = *state;

    s->p.has_new = true;
    key_point(s->new_, s->p.new_);
    scene_prove(s);
    scene_accepted(s);
    s->p.new_sig[9] ^= 1;
    scene_refused(s, "secret", "secret-signature");
    memcpy(s->p.new_sig, s->p.cur_sig, sizeof s->p.new_sig);
    scene_refused(s, "secret", "secret-signature");
}

static void
the_nonce_of_a_token_is_for_this_vm_epoch_and_ak(void **state)
{
    struct scene *s = *state;
    struct nonce_bind whom = { .uuid = s->p.uuid, .epoch = s->p.epoch, .has_ak = true };

    memcpy(whom.ak_name, s->tpm.ak_name, sizeof whom.ak_name);
    for (int i = 0; i < 3; i++) {
        whom.epoch += i == 1;
        whom.ak_name[9] ^= i == 2;
        assert_int_equal(nonce_make(s->nonce_key, s->service.issuer, s->service.now_ms, s->random, &whom,
                                    s->p.nonce, &s->err), 0);
        scene_sign(s, SCENE_ALL);
        s->service.now_ms += NONCE_TOKEN_MS - 1;
        if (i == 0)
            scene_accepted(s);
        else
            scene_refused(s, "nonce", "stale");
        s->service.now_ms -= NONCE_TOKEN_MS - 1;
        whom.epoch = s->p.epoch;
    }
}

static void
a_new_key_that_is_the_known_one_is_accepted(void **state)
{
    struct scene *s = *state;

    s->p.has_new = true;
    key_point(s->new_, s->p.new_);
    key_point(s->new_, s->account.ratchet.cur);
    scene_prove(s);
    scene_accepted(s);
    key_point(s->cur, s->account.ratchet.cur);
    scene_accepted(s);
}

/* C4: two keys and two contents, no third one. */
static void
while_a_step_is_under_way_both_ends_of_it_are_accepted(void **state)
{
    struct scene *s = *state;
    struct ratchet *r = &s->account.ratchet;
    struct key *third = NULL;

    r->on = r->has_next = r->has_xnext = true;
    memcpy(r->next, r->cur, sizeof r->next);
    memcpy(r->xnext, r->xcur, sizeof r->xnext);
    key_point(s->new_, r->cur);
    r->xcur[0] ^= 1;
    scene_accepted(s);
    memcpy(r->xcur, r->xnext, sizeof r->xcur);
    r->xnext[0] ^= 1;
    scene_accepted(s);
    assert_int_equal(key_generate(&third, &s->err), 0);
    key_point(third, r->next);
    scene_refused(s, "key", "disk-behind");
    key_point(s->cur, r->next);
    r->xcur[0] ^= 2;
    scene_refused(s, "index", "tpm-behind");
    key_free(third);
}

static void
first_contact_is_activated_then_accepted(void **state)
{
    struct scene *s = *state;

    scene_pending(s);
    assert_int_equal(scene_judge(s), PROOF_ACTIVATE);
    assert_true(s->result.blob.id_object_len > 0 && s->result.blob.seed_len > 0);
    scene_activate(s);
    scene_accepted(s);
    assert_true(s->result.take_ak);
    assert_false(s->result.take_ek || s->result.take_cur || s->result.take_x);
}

static void
a_bare_pending_account_takes_what_its_first_proof_shows(void **state)
{
    struct scene *s = *state;

    scene_pending(s);
    s->account.has_ek = s->account.ratchet.has_cur = s->account.ratchet.has_x = false;
    scene_refused(s, "ek", "ek-missing");
    memcpy(s->p.ek, s->tpm.ek, SOFT_EK_LEN);
    s->p.ek_len = SOFT_EK_LEN;
    scene_prove(s);
    assert_int_equal(scene_judge(s), PROOF_ACTIVATE);
    scene_activate(s);
    scene_accepted(s);
    assert_true(s->result.take_ek && s->result.take_ak && s->result.take_cur && s->result.take_x);
    assert_memory_equal(s->result.ek, s->tpm.ek, SOFT_EK_LEN);
}

static void
a_pending_account_must_show_what_was_made_for_it(void **state)
{
    struct scene *s = *state;

    scene_pending(s);
    s->p.has_ak = s->p.has_x = false;
    s->p.factors = FACTOR_HOST | FACTOR_SECRET;
    scene_prove(s);
    scene_refused(s, "floor", "floor");
}

static void
what_nobody_enrolled_counts_for_nothing(void **state)
{
    struct scene *s = *state;

    s->account.floor = FACTOR_HOST;
    s->account.has_ek = s->account.has_ak = s->account.ratchet.has_cur = s->account.ratchet.has_x = false;
    scene_accepted(s);
    assert_int_equal(s->result.factors, FACTOR_HOST);
    assert_false(s->result.take_ek || s->result.take_ak || s->result.take_cur || s->result.take_x);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE_TEST(a_whole_proof_is_accepted),
        SCENE_TEST(any_transcript_field_swapped_after_signing_is_refused),
        SCENE_TEST(any_field_swapped_by_the_host_itself_is_refused_by_the_quote),
        SCENE_TEST(any_field_swapped_with_host_and_tpm_is_refused_by_the_secret),
        SCENE_TEST(a_proof_over_another_connection_is_refused),
        SCENE_TEST(a_missing_host_signature_is_refused),
        SCENE_TEST(a_host_signature_by_another_host_is_refused),
        SCENE_TEST(a_host_signature_for_another_vm_is_refused),
        SCENE_TEST(a_host_signature_for_another_epoch_is_refused),
        SCENE_TEST(a_host_that_signs_one_name_or_epoch_and_shows_another_is_refused),
        SCENE_TEST(without_a_live_lease_nothing_is_accepted),
        SCENE_TEST(an_unknown_vm_is_refused_in_the_same_words_as_a_wrong_signature),
        SCENE_TEST(an_old_or_foreign_nonce_is_refused_before_the_host_signature),
        SCENE_TEST(a_replayed_proof_is_refused),
        SCENE_TEST(a_locked_vm_is_refused),
        SCENE_TEST(less_than_the_floor_is_refused),
        SCENE_TEST(factors_claimed_but_not_shown_are_refused),
        SCENE_TEST(a_wrong_secret_is_refused),
        SCENE_TEST(another_index_content_is_refused),
        SCENE_TEST(a_half_behind_that_the_floor_does_not_need_is_left_out),
        SCENE_TEST(what_an_operator_accepted_is_let_in),
        SCENE_TEST(a_grant_spares_a_proof_nothing_else),
        SCENE_TEST(a_tpm_without_its_index_is_never_let_in),
        SCENE_TEST(a_new_key_that_did_not_sign_is_refused),
        SCENE_TEST(the_nonce_of_a_token_is_for_this_vm_epoch_and_ak),
        SCENE_TEST(a_new_key_that_is_the_known_one_is_accepted),
        SCENE_TEST(while_a_step_is_under_way_both_ends_of_it_are_accepted),
        SCENE_TEST(first_contact_is_activated_then_accepted),
        SCENE_TEST(a_bare_pending_account_takes_what_its_first_proof_shows),
        SCENE_TEST(a_pending_account_must_show_what_was_made_for_it),
        SCENE_TEST(what_nobody_enrolled_counts_for_nothing),
    };

    return cmocka_run_group_tests_name("proof_check", tests, NULL, NULL);
}
