#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/crypto/key.h"
#include "lib/wire/proof_msg.h"

static struct prove *
full(void)
{
    struct prove *p = calloc(1, sizeof *p);

    assert_non_null(p);
    memset(p->uuid.bytes, 0x11, 16);
    p->epoch = 1760000000000;
    p->factors = 7;
    strcpy(p->audience, "https://api.example");
    strcpy(p->host, "host-a");
    p->has_ak = p->has_cnf = p->has_cur = p->has_new = p->has_x = p->has_activation = true;
    p->ek_len = 122;
    p->ek_cert_len = 700;
    p->quote_len = 145;
    p->certify_len = 170;
    return p;
}

static int
through_json(const struct prove *p, struct prove *back, struct error *err)
{
    CLEANUP(buf_clear) struct buf body = BUF(2 * PROVE_BODY_MAX);

    assert_int_equal(prove_encode(p, &body, err), 0);
    return prove_decode((const char *)body.data, body.len, back, err);
}

static void
a_full_proof_comes_back_as_it_went(void **state)
{
    struct prove *p = full(), *back = calloc(1, sizeof *back);
    struct error err = { 0 };

    (void)state;
    memset(p->ek, 0x33, p->ek_len);
    memset(p->quote, 0x44, p->quote_len);
    memset(p->x, 0x55, sizeof p->x);
    assert_int_equal(through_json(p, back, &err), 0);
    assert_memory_equal(p, back, sizeof *p);
    free(p);
    free(back);
}

static void
the_least_proof_comes_back_as_it_went(void **state)
{
    struct prove *p = full(), *back = calloc(1, sizeof *back);
    struct error err = { 0 };

    (void)state;
    p->has_ak = p->has_cnf = p->has_cur = p->has_new = p->has_x = p->has_activation = false;
    p->ek_len = p->ek_cert_len = p->quote_len = p->certify_len = 0;
    p->factors = FACTOR_HOST;
    assert_int_equal(through_json(p, back, &err), 0);
    assert_memory_equal(p, back, sizeof *p);
    free(p);
    free(back);
}

static void
claimed_factors_are_the_shown_ones(void **state)
{
    struct prove *p = full(), *back = calloc(1, sizeof *back);
    struct error err = { 0 };

    (void)state;
    for (uint8_t f = 0; f < 9; f++) {
        p->factors = f;
        assert_int_equal(through_json(p, back, &err), f == 7 ? 0 : -1);
    }
    free(p);
    free(back);
}

/* The body with one member taken out, or replaced by `value`. */
static int
without(const char *name, json_t *value)
{
    CLEANUP(buf_clear) struct buf body = BUF(2 * PROVE_BODY_MAX), changed = BUF(65536);
    CLEANUP(json_decref) json_t *o = NULL;
    struct prove *p = full(), *back = calloc(1, sizeof *back);
    struct error err = { 0 };
    int outcome;

    assert_int_equal(prove_encode(p, &body, &err), 0);
    assert_int_equal(json_parse((const char *)body.data, body.len, &o, &err), 0);
    if (value)
        assert_int_equal(json_object_set_new(o, name, value), 0);
    else
        assert_int_equal(json_object_del(o, name), 0);
    assert_int_equal(json_print(o, &changed, &err), 0);
    outcome = prove_decode((const char *)changed.data, changed.len, back, &err);
    free(p);
    free(back);
    return outcome;
}

static void
a_missing_member_is_refused(void **state)
{
    static const char *const needed[] = { "v",       "uuid",    "epoch",     "nonce",
                                          "factors", "audience", "host",     "hostsig",
                                          "cur_sig", "cur",     "new",       "new_sig",
                                          "fresh",   "ak",      "quote",     "quote_sig",
                                          "certify", "x",       "certify_sig", "ek" };

    (void)state;
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        assert_int_equal(without(needed[i], NULL), -1);
    assert_int_equal(without("ek_cert", NULL), 0);
    assert_int_equal(without("cnf", NULL), 0);
    assert_int_equal(without("activation", NULL), 0);
}

static void
a_member_of_another_kind_or_length_is_refused(void **state)
{
    static const char *const bytes[] = { "nonce", "hostsig", "ak",    "cnf",   "cur",  "cur_sig",
                                         "new",   "new_sig", "x",     "quote", "certify",
                                         "quote_sig", "certify_sig", "activation", "ek" };

    (void)state;
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        assert_int_equal(without(bytes[i], json_string("")), -1);
        assert_int_equal(without(bytes[i], json_string("AA=")), -1);
        assert_int_equal(without(bytes[i], json_integer(1)), -1);
        assert_int_equal(without(bytes[i], json_null()), -1);
    }
    assert_int_equal(without("v", json_integer(2)), -1);
    assert_int_equal(without("epoch", json_integer(-1)), -1);
    assert_int_equal(without("epoch", json_real(1.0)), -1);
    assert_int_equal(without("audience", json_string("two words")), -1);
    assert_int_equal(without("host", json_string("Host")), -1);
    assert_int_equal(without("uuid", json_string("11111111-1111-1111-1111-11111111111A")), -1);
    assert_int_equal(without("fresh", json_integer(1)), -1);
    assert_int_equal(without("more", json_true()), -1);
}

static void
a_body_above_the_limit_is_refused(void **state)
{
    static char body[PROVE_BODY_MAX + 1];
    struct prove *back = calloc(1, sizeof *back);
    struct error err = { 0 };

    (void)state;
    memset(body, ' ', sizeof body);
    assert_int_equal(prove_decode(body, sizeof body, back, &err), -1);
    free(back);
}

static void
the_transcript_has_what_the_proof_shows(void **state)
{
    struct prove *p = full();
    CLEANUP(key_free) struct key *key = NULL;
    struct transcript t;
    uint8_t exporter[32] = { 9 }, thumbprint[32];
    struct error err = { 0 };

    (void)state;
    assert_int_equal(key_generate(&key, &err), 0);
    key_point(key, p->cnf);
    assert_int_equal(prove_transcript(p, "https://id.example.test", exporter, &t, &err), 0);
    assert_true(t.has_ak && t.has_ek && t.has_cnf && t.has_cur && t.has_new && t.has_x);
    assert_int_equal(key_thumbprint(p->cnf, thumbprint, &err), 0);
    assert_memory_equal(t.cnf, thumbprint, 32);
    assert_int_equal(t.exporter[0], 9);
    p->ek_len = 0;
    p->has_x = false;
    assert_int_equal(prove_transcript(p, "https://id.example.test", exporter, &t, &err), 0);
    assert_false(t.has_ek || t.has_x);
    free(p);
}

static void
answer_comes_back(struct answer *a)
{
    CLEANUP(buf_clear) struct buf body = BUF(16384);
    struct answer *back = calloc(1, sizeof *back);
    struct error err = { 0 };

    assert_int_equal(answer_encode(a, &body, &err), 0);
    assert_int_equal(answer_decode((const char *)body.data, body.len, back, &err), 0);
    assert_int_equal(back->type, a->type);
    assert_string_equal(back->token, a->token);
    assert_memory_equal(back->kid, a->kid, 32);
    assert_memory_equal(back->v, a->v, 32);
    assert_memory_equal(back->id_object, a->id_object, sizeof a->id_object);
    assert_int_equal(back->seed_len, a->seed_len);
    assert_true(back->expires_in == a->expires_in);
    free(back);
}

static void
every_answer_comes_back_as_it_went(void **state)
{
    struct answer token = { .type = ANSWER_TOKEN, .token = "a.b.c", .expires_in = 300,
                            .has_kid = true, .kid = { 7 } };
    struct answer resolve = { .type = ANSWER_RESOLVE, .has_kid = true, .kid = { 1 } };
    struct answer extend = { .type = ANSWER_EXTEND, .v = { 1 }, .from = { 2 }, .to = { 3 } };
    struct answer activate = { .type = ANSWER_ACTIVATE, .id_object = { 4 }, .id_object_len = 68,
                               .seed = { 5 }, .seed_len = 100 };

    (void)state;
    answer_comes_back(&token);
    answer_comes_back(&resolve);
    answer_comes_back(&extend);
    answer_comes_back(&activate);
}

static void
an_answer_of_an_unknown_type_or_with_more_members_is_refused(void **state)
{
    static const char *const bad[] = {
        "{}",
        "{\"type\":\"OTHER\"}",
        "{\"type\":\"RESOLVE\"}",
        "{\"type\":\"RESOLVE\",\"kid\":\"AA\"}",
        "{\"type\":\"TOKEN\",\"token\":\"\",\"expires_in\":1}",
        "[]",
        "{\"type\":\"RESOLVE\",\"type\":\"TOKEN\"}",
    };
    struct answer *back = calloc(1, sizeof *back);

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = { 0 };

        assert_int_equal(answer_decode(bad[i], strlen(bad[i]), back, &err), -1);
        assert_int_equal(err.code, ERROR_INPUT);
    }
    free(back);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_proof_comes_back_as_it_went),
        cmocka_unit_test(the_least_proof_comes_back_as_it_went),
        cmocka_unit_test(claimed_factors_are_the_shown_ones),
        cmocka_unit_test(a_missing_member_is_refused),
        cmocka_unit_test(a_member_of_another_kind_or_length_is_refused),
        cmocka_unit_test(a_body_above_the_limit_is_refused),
        cmocka_unit_test(the_transcript_has_what_the_proof_shows),
        cmocka_unit_test(every_answer_comes_back_as_it_went),
        cmocka_unit_test(an_answer_of_an_unknown_type_or_with_more_members_is_refused),
    };

    return cmocka_run_group_tests_name("proof_msg", tests, NULL, NULL);
}
