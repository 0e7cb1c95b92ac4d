#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/wire/token.h"
#include "tests/unit/verify_fixture.h"
#include "verify/issuer_keys.h"
#include "verify/virtid-verify.h"

static struct key *key, *stranger;
static struct buf set = { .max = 1024 };

static int
set_up(void **state)
{
    struct error err;

    (void)state;
    assert_int_equal(key_generate(&key, &err), 0);
    assert_int_equal(key_generate(&stranger, &err), 0);
    fixture_jwks(key, &set);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    key_free(key);
    key_free(stranger);
    buf_clear(&set);
    return 0;
}

static struct virtid_options
good_options(void)
{
    struct virtid_options options = VIRTID_OPTIONS(FIXTURE_ISSUER, "shop");

    options.jwks_text = (char *)set.data;
    return options;
}

static void
make_token(json_t *take_claims, const struct key *by, struct buf *into)
{
    CLEANUP(json_decref) json_t *claims = take_claims;
    struct error err;

    assert_int_equal(token_sign(claims, by, into, &err), 0);
}

static enum virtid_result
verify(const struct buf *token, struct virtid_identity **vm, struct virtid_error *error)
{
    struct virtid_options options = good_options();
    struct virtid_verifier *verifier = NULL;
    enum virtid_result result;

    assert_int_equal(virtid_verifier_new(&options, &verifier, error), VIRTID_VALID);
    result = virtid_verify(verifier, (char *)token->data, token->len, vm, error);
    virtid_verifier_free(verifier);
    return result;
}

static int64_t
now(void)
{
    return clock_realtime_ms() / 1000;
}

static void
good_token_says_who_it_is(void **state)
{
    CLEANUP(buf_clear) struct buf token = BUF(8192);
    struct virtid_identity *vm = NULL;
    struct virtid_error error;
    char kid[44];

    (void)state;
    make_token(fixture_claims("shop", now(), stranger), key, &token);
    assert_int_equal(verify(&token, &vm, &error), VIRTID_VALID);
    fixture_kid(key, kid);
    assert_string_equal(virtid_identity_uuid(vm), FIXTURE_UUID);
    assert_string_equal(virtid_identity_name(vm), "web1");
    assert_string_equal(virtid_identity_subject(vm), "spiffe://example.test/vm/" FIXTURE_UUID);
    assert_string_equal(virtid_identity_key_id(vm), kid);
    assert_int_equal(virtid_identity_factors(vm), VIRTID_FACTOR_HOST | VIRTID_FACTOR_VTPM);
    assert_int_equal(virtid_identity_generation(vm), 3);
    assert_true(virtid_identity_epoch(vm) == 1790000000123u);
    assert_int_equal(virtid_identity_expires(vm) - virtid_identity_issued(vm), 300);
    assert_non_null(virtid_identity_confirmation(vm));
    assert_non_null(strstr(virtid_identity_claims(vm), "\"jti\""));
    virtid_identity_free(vm);
}

static void
refusals_have_a_result_a_name_and_a_repair(void **state)
{
    CLEANUP(buf_clear) struct buf token = BUF(8192);
    struct virtid_identity *vm = NULL;
    struct virtid_error error;

    (void)state;
    make_token(fixture_claims("other", now(), NULL), key, &token);
    assert_int_equal(verify(&token, &vm, &error), VIRTID_AUDIENCE);
    assert_int_equal(error.result, VIRTID_AUDIENCE);
    assert_string_equal(error.problem, "token-audience");
    assert_non_null(strstr(error.text, "other"));
    assert_true(error.repair[0] != '\0');
    token.len = 0;
    make_token(fixture_claims("shop", now() - 1000, NULL), key, &token);
    assert_int_equal(verify(&token, &vm, &error), VIRTID_EXPIRED);
    token.len = 0;
    make_token(fixture_claims("shop", now() + 1000, NULL), key, &token);
    assert_int_equal(verify(&token, &vm, &error), VIRTID_NOT_YET);
    token.len = 0;
    make_token(fixture_claims("shop", now(), NULL), stranger, &token);
    assert_int_equal(verify(&token, &vm, &error), VIRTID_KEY);
    token.len = 0;
    buf_add_text(&token, "rubbish");
    assert_int_equal(verify(&token, &vm, &error), VIRTID_MALFORMED);
    token.len = 0;
    assert_int_equal(verify(&token, &vm, &error), VIRTID_MALFORMED);
    assert_null(vm);
}

static void
token_of_something_that_is_no_vm_is_refused(void **state)
{
    CLEANUP(buf_clear) struct buf token = BUF(8192);
    struct virtid_identity *vm = NULL;
    struct virtid_error error;
    json_t *claims = fixture_claims("shop", now(), NULL);

    (void)state;
    json_object_set_new(claims, "sub", json_string("spiffe://example.test/host/h1"));
    make_token(claims, key, &token);
    assert_int_equal(verify(&token, &vm, &error), VIRTID_CLAIMS);
    token.len = 0;
    claims = fixture_claims("shop", now(), NULL);
    json_object_del(claims, "virtid");
    make_token(claims, key, &token);
    assert_int_equal(verify(&token, &vm, &error), VIRTID_CLAIMS);
    assert_null(vm);
}

static void
a_token_of_an_earlier_generation_is_refused_if_that_is_asked_for(void **state)
{
    CLEANUP(buf_clear) struct buf token = BUF(8192);
    struct virtid_options options = good_options();
    struct virtid_identity *vm = NULL;
    struct virtid_verifier *v = NULL;
    struct virtid_error error;
    int64_t gen;

    (void)state;
    make_token(fixture_claims("shop", now(), NULL), key, &token);
    assert_int_equal(verify(&token, &vm, &error), VIRTID_VALID);
    gen = virtid_identity_generation(vm);
    virtid_identity_free(vm);
    vm = NULL;
    for (int64_t more = 0; more < 2; more++) {
        options.min_generation = gen + more;
        assert_int_equal(virtid_verifier_new(&options, &v, &error), VIRTID_VALID);
        assert_int_equal(virtid_verify(v, (const char *)token.data, token.len, &vm, &error),
                         more ? VIRTID_GENERATION : VIRTID_VALID);
        if (!more) {
            virtid_identity_free(vm);
            vm = NULL;
        }
        virtid_verifier_free(v);
    }
    assert_null(vm);
    assert_string_equal(error.problem, "token-generation");
    assert_true(error.repair[0] != '\0');
    options.min_generation = -1;
    assert_int_equal(virtid_verifier_new(&options, &v, &error), VIRTID_USAGE);
}

static void
issuer_and_audience_are_required(void **state)
{
    struct virtid_options options = good_options();
    struct virtid_verifier *verifier = NULL;
    struct virtid_error error;

    (void)state;
    options.issuer = NULL;
    assert_int_equal(virtid_verifier_new(&options, &verifier, &error), VIRTID_USAGE);
    options.issuer = "http://id.example";
    assert_int_equal(virtid_verifier_new(&options, &verifier, NULL), VIRTID_USAGE);
    options = good_options();
    options.audience = NULL;
    assert_int_equal(virtid_verifier_new(&options, &verifier, &error), VIRTID_USAGE);
    options.audience = "pop:shop";
    assert_int_equal(virtid_verifier_new(&options, &verifier, &error), VIRTID_USAGE);
    options = good_options();
    options.size = 1;
    assert_int_equal(virtid_verifier_new(&options, &verifier, &error), VIRTID_USAGE);
    options = good_options();
    options.jwks_file = "file";
    assert_int_equal(virtid_verifier_new(&options, &verifier, &error), VIRTID_USAGE);
    options = good_options();
    options.jwks_text = "{}";
    assert_int_equal(virtid_verifier_new(&options, &verifier, &error), VIRTID_USAGE);
    assert_null(verifier);
}

static void
issuer_that_is_away_is_not_a_bad_token(void **state)
{
    CLEANUP(buf_clear) struct buf token = BUF(8192);
    struct virtid_options options = VIRTID_OPTIONS("https://127.0.0.1:1", "shop");
    struct virtid_verifier *verifier = NULL;
    struct virtid_identity *vm = NULL;
    struct virtid_error error;

    (void)state;
    make_token(fixture_claims("shop", now(), NULL), key, &token);
    assert_int_equal(virtid_verifier_new(&options, &verifier, &error), VIRTID_VALID);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(virtid_verify(verifier, (char *)token.data, token.len, &vm, &error),
                         VIRTID_UNREACHABLE);
        assert_non_null(strstr(error.text, "127.0.0.1"));
    }
    assert_null(vm);
    virtid_verifier_free(verifier);
}

static void
keys_of_another_origin_are_not_fetched(void **state)
{
    static const char issuer[] = "https://id.example:8443/td";
    static const char *const others[] = {
        "http://id.example:8443/jwks.json",      "https://id.example/jwks.json",
        "https://id.example:84430/jwks.json",    "https://id.example:8443.evil.example/jwks.json",
        "https://id.example:8443@evil/jwks",     "https://id.example:8443",
        "https://evil.example:8443/jwks.json",   "https://id.example:8443/jwks?x=1", "",
    };

    (void)state;
    assert_true(issuer_has_origin_of(issuer, "https://id.example:8443/td/.well-known/jwks.json"));
    assert_true(issuer_has_origin_of(issuer, "https://id.example:8443/jwks.json"));
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_false(issuer_has_origin_of(issuer, others[i]));
}

struct crowd {
    struct virtid_verifier *verifier;
    const struct buf *token;
    int valid;
};

static void *
verify_often(void *arg)
{
    struct crowd *c = arg;

    for (int i = 0; i < 50; i++) {
        struct virtid_identity *vm = NULL;

        if (virtid_verify(c->verifier, (char *)c->token->data, c->token->len, &vm, NULL) ==
            VIRTID_VALID)
            c->valid++;
        virtid_identity_free(vm);
    }
    return NULL;
}

static void
one_verifier_serves_many_threads(void **state)
{
    CLEANUP(buf_clear) struct buf token = BUF(8192);
    struct virtid_options options = good_options();
    struct virtid_verifier *verifier = NULL;
    struct crowd crowds[4];
    pthread_t threads[4];

    (void)state;
    make_token(fixture_claims("shop", now(), NULL), key, &token);
    assert_int_equal(virtid_verifier_new(&options, &verifier, NULL), VIRTID_VALID);
    for (int i = 0; i < 4; i++) {
        crowds[i] = (struct crowd){ verifier, &token, 0 };
        assert_int_equal(pthread_create(&threads[i], NULL, verify_often, &crowds[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(crowds[i].valid, 50);
    }
    virtid_verifier_free(verifier);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_token_says_who_it_is),
        cmocka_unit_test(refusals_have_a_result_a_name_and_a_repair),
        cmocka_unit_test(token_of_something_that_is_no_vm_is_refused),
        cmocka_unit_test(a_token_of_an_earlier_generation_is_refused_if_that_is_asked_for),
        cmocka_unit_test(issuer_and_audience_are_required),
        cmocka_unit_test(issuer_that_is_away_is_not_a_bad_token),
        cmocka_unit_test(keys_of_another_origin_are_not_fetched),
        cmocka_unit_test(one_verifier_serves_many_threads),
    };

    return cmocka_run_group_tests_name("verify", tests, set_up, tear_down);
}
