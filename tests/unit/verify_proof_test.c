/*
 * A bound token and its proof at relying parties: each over a TLS 1.3 connection of its own, as they would have it.
 */
#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/crypto/random.h"
#include "lib/crypto/tls.h"
#include "lib/wire/pop.h"
#include "tests/unit/verify_fixture.h"
#include "verify/virtid-verify.h"

#define BOUND_ISSUER FIXTURE_ISSUER "/bound"

static struct key *bound_key, *bearer_key, *vm_key;
static struct buf bound_set = { .max = 1024 }, bearer_set = { .max = 1024 };
static struct virtid_verifier *shop, *bank, *bearer;
static struct error err;

static struct virtid_verifier *
verifier_of(const char *audience, const struct buf *set, bool bound)
{
    struct virtid_options options = VIRTID_OPTIONS(FIXTURE_ISSUER, audience);
    struct virtid_verifier *verifier = NULL;
    struct virtid_error error;

    options.jwks_text = (const char *)set->data;
    options.bound = bound;
    assert_int_equal(virtid_verifier_new(&options, &verifier, &error), VIRTID_VALID);
    return verifier;
}

static int
set_up(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    assert_int_equal(key_generate(&bound_key, &err), 0);
    assert_int_equal(key_generate(&bearer_key, &err), 0);
    assert_int_equal(key_generate(&vm_key, &err), 0);
    fixture_jwks(bound_key, &bound_set);
    fixture_jwks(bearer_key, &bearer_set);
    shop = verifier_of("shop", &bound_set, true);
    bank = verifier_of("bank", &bound_set, true);
    bearer = verifier_of("shop", &bearer_set, false);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    virtid_verifier_free(shop);
    virtid_verifier_free(bank);
    virtid_verifier_free(bearer);
    buf_clear(&bound_set);
    buf_clear(&bearer_set);
    key_free(bound_key);
    key_free(bearer_key);
    key_free(vm_key);
    return 0;
}

/* ---- connections ---- */

/* A TLS connection, seen from both ends, and the nonce that the server made for it. */
struct line {
    uint8_t at_client[POP_EXPORTER_LEN], at_server[POP_EXPORTER_LEN], nonce[POP_NONCE_LEN];
};

struct server_end {
    int fd, failed;
    uint8_t *exporter;
};

static void *
accept_one(void *context)
{
    CLEANUP(tls_ctx_free) struct ssl_ctx_st *ctx = NULL;
    CLEANUP(tls_free) struct tls *tls = NULL;
    struct server_end *end = context;
    struct error why;

    end->failed = tls_server_throwaway_new(&ctx, &why) < 0 ||
                  tls_accept(ctx, end->fd, clock_monotonic_ms() + 30000, &tls, &why) < 0 ||
                  tls_exporter(tls_ssl(tls), POP_EXPORTER, end->exporter, &why) < 0;
    return NULL;
}

static struct line
connection(void)
{
    CLEANUP(tls_ctx_free) struct ssl_ctx_st *ctx = NULL;
    CLEANUP(tls_free) struct tls *tls = NULL;
    struct line line;
    struct server_end end = { .exporter = line.at_server };
    pthread_t thread;
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    end.fd = pair[1];
    assert_int_equal(pthread_create(&thread, NULL, accept_one, &end), 0);
    assert_int_equal(tls_client_blind_new(&ctx, &err), 0);
    assert_int_equal(tls_connect(ctx, pair[0], NULL, clock_monotonic_ms() + 30000, &tls, &err), 0);
    assert_int_equal(tls_exporter(tls_ssl(tls), POP_EXPORTER, line.at_client, &err), 0);
    pthread_join(thread, NULL);
    assert_int_equal(end.failed, 0);
    assert_int_equal(random_bytes(line.nonce, sizeof line.nonce, &err), 0);
    return line;
}

/* ---- the VM ---- */

static void
claims_of_bound(const char *audience, int64_t now, json_t **ret)
{
    char aud[300];

    snprintf(aud, sizeof aud, "pop:%s", audience);
    *ret = fixture_claims(aud, now, vm_key);
    json_object_set_new(*ret, "iss", json_string(BOUND_ISSUER));
}

/* What `virtid-agent prove` prints, for the nonce that it was told and its own end of the connection. */
static void
prove(const char *audience, int64_t now, const uint8_t *nonce, const uint8_t *exporter, struct buf *into)
{
    CLEANUP(json_decref) json_t *claims = NULL;
    CLEANUP(buf_clear) struct buf token = BUF(TOKEN_TEXT_MAX);
    struct pop_place place = { audience, nonce, exporter };
    struct pop pop;

    claims_of_bound(audience, now, &claims);
    assert_int_equal(token_sign(claims, bound_key, &token, &err), 0);
    snprintf(pop.token, sizeof pop.token, "%s", buf_text(&token));
    assert_int_equal(pop_sign(&pop, vm_key, &place, &err), 0);
    into->len = 0;
    assert_int_equal(pop_print(&pop, into, &err), 0);
}

static int64_t
now(void)
{
    return clock_realtime_ms() / 1000;
}

/* ---- a relying party ---- */

static enum virtid_result
shown(struct virtid_verifier *party, const struct buf *proof, const struct line *line)
{
    struct virtid_identity *vm = NULL;
    struct virtid_error error = { 0 };
    enum virtid_result result = virtid_verify_proof(party, (const char *)proof->data, proof->len, line->nonce,
                                                    line->at_server, &vm, &error);

    if (result == VIRTID_VALID)
        assert_string_equal(virtid_identity_uuid(vm), FIXTURE_UUID);
    else
        assert_string_equal(error.problem, virtid_result_name(result));
    assert_true(result == VIRTID_VALID || error.repair[0]);
    virtid_identity_free(vm);
    return result;
}

static void
a_vm_proves_itself_over_its_connection(void **state)
{
    CLEANUP(buf_clear) struct buf proof = BUF(POP_TEXT_MAX);
    struct line line = connection();

    (void)state;
    prove("shop", now(), line.nonce, line.at_client, &proof);
    assert_int_equal(shown(shop, &proof, &line), VIRTID_VALID);
}

/* The VM talks to one, which talks to the other and passes on nonce and proof. */
static void
a_proof_relayed_between_two_relying_parties_is_refused(void **state)
{
    CLEANUP(buf_clear) struct buf proof = BUF(POP_TEXT_MAX);
    struct line to_relay = connection(), from_relay = connection();

    (void)state;
    assert_memory_not_equal(to_relay.at_server, from_relay.at_server, POP_EXPORTER_LEN);
    prove("shop", now(), from_relay.nonce, to_relay.at_client, &proof);
    assert_int_equal(shown(shop, &proof, &from_relay), VIRTID_PROOF);
    /* A relying party that is honest about its own name gets a proof that no other takes. */
    prove("bank", now(), from_relay.nonce, to_relay.at_client, &proof);
    assert_int_equal(shown(shop, &proof, &from_relay), VIRTID_AUDIENCE);
}

static void
a_proof_replayed_is_refused(void **state)
{
    CLEANUP(buf_clear) struct buf proof = BUF(POP_TEXT_MAX);
    struct line line = connection(), later = connection();

    (void)state;
    prove("shop", now(), line.nonce, line.at_client, &proof);
    assert_int_equal(shown(shop, &proof, &line), VIRTID_VALID);
    assert_int_equal(shown(shop, &proof, &later), VIRTID_PROOF);
    /* A party that asks with the same nonce again is safe still; and so is one that asks anew in one connection. */
    memcpy(later.nonce, line.nonce, sizeof later.nonce);
    assert_int_equal(shown(shop, &proof, &later), VIRTID_PROOF);
    line.nonce[0] ^= 1;
    assert_int_equal(shown(shop, &proof, &line), VIRTID_PROOF);
}

static void
an_old_proof_is_refused(void **state)
{
    CLEANUP(buf_clear) struct buf proof = BUF(POP_TEXT_MAX);
    struct line line = connection();

    (void)state;
    prove("shop", now() - TOKEN_LIFE_SECONDS - TOKEN_SKEW_SECONDS - 1, line.nonce, line.at_client, &proof);
    assert_int_equal(shown(shop, &proof, &line), VIRTID_EXPIRED);
}

static void
a_proof_for_another_audience_is_refused(void **state)
{
    CLEANUP(buf_clear) struct buf proof = BUF(POP_TEXT_MAX);
    struct line line = connection();

    (void)state;
    prove("shop", now(), line.nonce, line.at_client, &proof);
    assert_int_equal(shown(bank, &proof, &line), VIRTID_AUDIENCE);
}

/* Another token of the same VM does not make an old signature good, nor another's signature this token. */
static void
a_token_shown_by_whoever_found_it_is_refused(void **state)
{
    CLEANUP(buf_clear) struct buf proof = BUF(POP_TEXT_MAX), again = BUF(POP_TEXT_MAX);
    CLEANUP(key_free) struct key *thief = NULL;
    struct line line = connection();
    struct pop_place place = { "shop", line.nonce, line.at_client };
    struct pop pop, newer;

    (void)state;
    assert_int_equal(key_generate(&thief, &err), 0);
    prove("shop", now(), line.nonce, line.at_client, &proof);
    prove("shop", now() - 1, line.nonce, line.at_client, &again);
    assert_int_equal(pop_parse((char *)proof.data, proof.len, &pop, &err), 0);
    assert_int_equal(pop_parse((char *)again.data, again.len, &newer, &err), 0);
    memcpy(newer.signature, pop.signature, sizeof pop.signature);
    again.len = 0;
    assert_int_equal(pop_print(&newer, &again, &err), 0);
    assert_int_equal(shown(shop, &again, &line), VIRTID_PROOF);
    assert_int_equal(pop_sign(&pop, thief, &place, &err), 0);
    proof.len = 0;
    assert_int_equal(pop_print(&pop, &proof, &err), 0);
    assert_int_equal(shown(shop, &proof, &line), VIRTID_PROOF);
}

static enum virtid_result
bare(struct virtid_verifier *party, const struct buf *token)
{
    struct virtid_identity *vm = NULL;
    struct virtid_error error;
    enum virtid_result result = virtid_verify(party, (const char *)token->data, token->len, &vm, &error);

    virtid_identity_free(vm);
    return result;
}

static void
a_token_of_one_kind_is_refused_where_the_other_is_taken(void **state)
{
    CLEANUP(buf_clear) struct buf token = BUF(TOKEN_TEXT_MAX), proof = BUF(POP_TEXT_MAX);
    CLEANUP(json_decref) json_t *bound = NULL, *plain = fixture_claims("shop", now(), vm_key);
    struct line line = connection();
    struct pop_place place = { "shop", line.nonce, line.at_client };
    struct pop pop;

    (void)state;
    claims_of_bound("shop", now(), &bound);
    assert_int_equal(token_sign(bound, bound_key, &token, &err), 0);
    assert_int_equal(bare(bearer, &token), VIRTID_BOUND);
    assert_int_equal(bare(shop, &token), VIRTID_BOUND);
    assert_int_equal(shown(shop, &token, &line), VIRTID_BOUND); /* without its proof */
    token.len = 0;
    assert_int_equal(token_sign(plain, bearer_key, &token, &err), 0);
    assert_int_equal(bare(bearer, &token), VIRTID_VALID);
    assert_int_equal(bare(shop, &token), VIRTID_BOUND);
    snprintf(pop.token, sizeof pop.token, "%s", buf_text(&token));
    assert_int_equal(pop_sign(&pop, vm_key, &place, &err), 0);
    assert_int_equal(pop_print(&pop, &proof, &err), 0);
    assert_int_equal(shown(shop, &proof, &line), VIRTID_ISSUER);
    assert_int_equal(bare(bearer, &proof), VIRTID_MALFORMED);
    assert_int_equal(bare(shop, &proof), VIRTID_BOUND);
}

/* The claims alone decide nothing: each kind has keys of its own. */
static void
claims_of_the_other_kind_do_not_help(void **state)
{
    CLEANUP(buf_clear) struct buf token = BUF(TOKEN_TEXT_MAX);
    CLEANUP(json_decref) json_t *plain = fixture_claims("shop", now(), vm_key);

    (void)state;
    assert_int_equal(token_sign(plain, bound_key, &token, &err), 0);
    assert_int_equal(bare(bearer, &token), VIRTID_KEY);
}

static void
a_proof_out_of_shape_is_refused(void **state)
{
    CLEANUP(buf_clear) struct buf proof = BUF(2 * POP_TEXT_MAX);
    struct line line = connection();

    (void)state;
    assert_int_equal(shown(shop, &proof, &line), VIRTID_BOUND); /* nothing at all */
    prove("shop", now(), line.nonce, line.at_client, &proof);
    proof.len--;
    assert_int_equal(shown(shop, &proof, &line), VIRTID_MALFORMED);
    proof.len = 0;
    buf_add_text(&proof, "a.b.c~~");
    assert_int_equal(shown(shop, &proof, &line), VIRTID_MALFORMED);
}

static void
options_that_make_no_sense_are_refused(void **state)
{
    struct virtid_options options = VIRTID_OPTIONS(BOUND_ISSUER, "shop");
    struct virtid_verifier *verifier = NULL;
    struct virtid_identity *vm = NULL;
    struct line line = connection();
    struct virtid_error error;
    char longest[NAME_BOUND_MAX + 2];

    (void)state;
    options.jwks_text = (const char *)bound_set.data;
    options.bound = 1;
    assert_int_equal(virtid_verifier_new(&options, &verifier, &error), VIRTID_USAGE);
    options.issuer = FIXTURE_ISSUER;
    memset(longest, 'a', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    options.audience = longest;
    assert_int_equal(virtid_verifier_new(&options, &verifier, &error), VIRTID_USAGE);
    assert_int_equal(virtid_verify_proof(bearer, "a", 1, line.nonce, line.at_server, &vm, &error), VIRTID_USAGE);
    assert_int_equal(virtid_verify_proof(shop, "a", 1, line.nonce, NULL, &vm, &error), VIRTID_USAGE);
    assert_int_equal(virtid_verify_proof(shop, "a", 1, NULL, line.at_server, &vm, &error), VIRTID_USAGE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_vm_proves_itself_over_its_connection),
        cmocka_unit_test(a_proof_relayed_between_two_relying_parties_is_refused),
        cmocka_unit_test(a_proof_replayed_is_refused),
        cmocka_unit_test(an_old_proof_is_refused),
        cmocka_unit_test(a_proof_for_another_audience_is_refused),
        cmocka_unit_test(a_token_shown_by_whoever_found_it_is_refused),
        cmocka_unit_test(a_token_of_one_kind_is_refused_where_the_other_is_taken),
        cmocka_unit_test(claims_of_the_other_kind_do_not_help),
        cmocka_unit_test(a_proof_out_of_shape_is_refused),
        cmocka_unit_test(options_that_make_no_sense_are_refused),
    };

    return cmocka_run_group_tests_name("verify_proof", tests, set_up, tear_down);
}
