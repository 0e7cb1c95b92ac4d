#include "config.h"

#include "tests/unit/api_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/wire/token.h"
#include "tokenservice/api/vm_account.h"
#include "tokenservice/attest/nonce.h"

static struct answer answer;

static void
a_vm_with_a_secret_gets_a_token_that_verifies(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    assert_int_equal(sim_vm_token(&vm, &h, &answer), 200);
    sim_vm_check_token(&vm, &answer, "virtid-connect", 2);
    assert_int_equal(answer.expires_in, TOKEN_LIFE_SECONDS);
}

static void
a_vm_with_all_factors_activates_and_gets_a_token(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET | SIM_TPM, &h);
    sim_vm_prove(&vm, &h); /* the AK is bound: no second question */
    assert_int_equal(sim_vm_send(&vm, &answer), 200);
    sim_vm_check_token(&vm, &answer, "virtid-connect", 3);
}

static void
each_proof_is_good_once(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    sim_vm_prove(&vm, &h);
    assert_int_equal(sim_vm_send(&vm, &answer), 200);
    assert_int_equal(sim_vm_send(&vm, &answer), 409);
    assert_string_equal(the_api.problem, "stale");
}

static void
a_proof_over_another_connection_is_refused(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    sim_vm_prove(&vm, &h);
    the_api.exporter[0] ^= 1;
    assert_int_equal(sim_vm_send(&vm, &answer), 403);
    assert_string_equal(the_api.problem, "refused");
}

static void
strangers_get_one_answer_whether_the_vm_is_known_or_not(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    char known[400], unknown[400];
    int64_t before;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    before = api_audit_count();
    sim_vm_prove(&vm, &h);
    vm.p.hostsig[5] ^= 1;
    assert_int_equal(sim_vm_send(&vm, &answer), 403);
    snprintf(known, sizeof known, "%.*s", (int)the_api.body.len,
             (char *)the_api.body.data);
    vm.p.uuid.bytes[0] ^= 0xff;
    assert_int_equal(sim_vm_send(&vm, &answer), 403);
    snprintf(unknown, sizeof unknown, "%.*s", (int)the_api.body.len,
             (char *)the_api.body.data);
    assert_string_equal(known, unknown);
    assert_int_equal(api_audit_count(), before);
}

static int
by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static int64_t
nanoseconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* The whole endpoint, interleaved; medians, since a busy machine has long tails. */
static bool
take_the_same_time(struct sim_vm *vm)
{
    enum { ROUNDS = 300 };
    static int64_t took[2][ROUNDS];
    int64_t known, unknown;

    for (int i = 0; i < 2 * ROUNDS; i++) {
        int64_t from = nanoseconds();

        assert_int_equal(sim_vm_send(vm, &answer), 403);
        took[i % 2][i / 2] = nanoseconds() - from;
        vm->p.uuid.bytes[0] ^= 0xff;
    }
    qsort(took[0], ROUNDS, sizeof took[0][0], by_size);
    qsort(took[1], ROUNDS, sizeof took[1][0], by_size);
    known = took[0][ROUNDS / 2];
    unknown = took[1][ROUNDS / 2];
    print_message("# known %lld us, unknown %lld us\n", (long long)known / 1000,
                  (long long)unknown / 1000);
    return known < unknown * 5 / 4 && unknown < known * 5 / 4;
}

/* A difference that is there is there each time; one that the machine makes is not. */
static void
known_and_unknown_vms_are_refused_in_the_same_time(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    sim_vm_prove(&vm, &h);
    vm.p.hostsig[5] ^= 1;
    assert_true(take_the_same_time(&vm) || take_the_same_time(&vm) || take_the_same_time(&vm));
}

static void
a_stranger_leaves_the_row_bit_identical(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    static struct store_vm before, after;
    struct error err;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    assert_int_equal(store_vm_find(the_api.service.store, &vm.uuid, &before, &err), 0);
    for (int i = 0; i < 50; i++) {
        sim_vm_prove(&vm, &h);
        vm.p.hostsig[i] ^= 1;
        assert_int_equal(sim_vm_send(&vm, &answer), 403);
    }
    assert_int_equal(store_vm_find(the_api.service.store, &vm.uuid, &after, &err), 0);
    assert_memory_equal(&before, &after, sizeof before);
}

static void
another_host_can_not_sign_for_the_holder(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_host_clear) struct sim_host b;
    CLEANUP(sim_vm_clear) struct sim_vm vm;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_host_new(&b, "b.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &a);
    sim_vm_prove(&vm, &b);
    assert_int_equal(sim_vm_send(&vm, &answer), 403);
    assert_string_equal(the_api.problem, "refused");
    strcpy(vm.p.host, a.name); /* b's key under a's name */
    assert_int_equal(sim_vm_send(&vm, &answer), 403);
    assert_string_equal(the_api.problem, "refused");
}

static void
a_lapsed_lease_and_a_removed_host_prove_nothing(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    the_api.skew_ms = 60001;
    sim_vm_prove(&vm, &h);
    assert_int_equal(sim_vm_send(&vm, &answer), 403);
    the_api.skew_ms = 0;
    sim_vm_prove(&vm, &h);
    assert_int_equal(sim_vm_send(&vm, &answer), 200);
    assert_int_equal(api_admin("DELETE", "/v1/admin/hosts/a.example", NULL), 200);
    sim_vm_prove(&vm, &h);
    assert_int_equal(sim_vm_send(&vm, &answer), 403);
    assert_string_equal(the_api.problem, "refused");
}

static void
a_renewed_proof_key_counts_at_once(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    assert_int_equal(sim_host_renew(&h), 200);
    sim_vm_prove(&vm, &h); /* before the new certificate was used */
    assert_int_equal(sim_vm_send(&vm, &answer), 200);
    assert_int_equal(sim_host_ask(&h, "GET", "/v1/host/bundle", NULL), 200);
    sim_vm_prove(&vm, &h);
    assert_int_equal(sim_vm_send(&vm, &answer), 200);
}

static void
refusals_of_one_kind_are_one_record_an_hour(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    int64_t before;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    before = api_audit_count();
    for (int i = 0; i < 20; i++) {
        sim_vm_prove(&vm, &h);
        vm.p.cur_sig[3] ^= 1;
        assert_int_equal(sim_vm_send(&vm, &answer), 403);
        assert_string_equal(the_api.problem, "secret-signature");
    }
    assert_int_equal(api_audit_count(), before + 1);
}

static void
an_older_secret_is_behind_and_stops_nothing(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    struct key *right, *wrong = NULL;
    struct error err;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    assert_int_equal(key_generate(&wrong, &err), 0);
    right = vm.secret;
    vm.secret = wrong;
    sim_vm_prove(&vm, &h);
    assert_int_equal(sim_vm_send(&vm, &answer), 409);
    assert_string_equal(the_api.problem, "disk-behind");
    vm.secret = right;
    key_free(wrong);
    sim_vm_prove(&vm, &h);
    assert_int_equal(sim_vm_send(&vm, &answer), 200);
}

static void
an_audience_must_be_declared_and_allowed(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    char path[80];

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    strcpy(vm.audience, "https://db.example");
    sim_vm_prove(&vm, &h);
    assert_int_equal(sim_vm_send(&vm, &answer), 403);
    assert_string_equal(the_api.problem, "audience-not-allowed");
    assert_int_equal(api_admin("POST", "/v1/admin/audiences",
                               json_pack("{s:s,s:b,s:[s]}", "name", vm.audience, "all",
                                         0, "claims", "host")),
                     200);
    sim_vm_prove(&vm, &h);
    assert_int_equal(sim_vm_send(&vm, &answer), 403);
    snprintf(path, sizeof path, "/v1/admin/vms/%s", vm.text);
    assert_int_equal(
        api_admin("PATCH", path, json_pack("{s:[s,s]}", "audiences", "x", vm.audience)),
        200);
    sim_vm_prove(&vm, &h);
    assert_int_equal(sim_vm_send(&vm, &answer), 200);
    sim_vm_check_token(&vm, &answer, vm.audience, 2);
}

/* A proof by an agent that names its key, and what the token says of it. */
static void
ask_with_key(struct sim_vm *vm, const struct sim_host *h, const char *audience)
{
    strcpy(vm->audience, audience);
    sim_vm_prove(vm, h);
    vm->p.has_cnf = true;
    key_point(vm->secret, vm->p.cnf); /* any point */
    sim_vm_sign(vm, h);
    assert_int_equal(sim_vm_send(vm, &answer), 200);
}

static void
a_bound_audience_gets_bound_tokens_and_no_other_names_the_key(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    CLEANUP(jwks_free) struct jwks *jwks = NULL;
    char issuer[300], longest[NAME_AUDIENCE_MAX + 1] = "";
    struct service *s = &the_api.service;
    struct token token;
    struct error err;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    memset(longest, 'a', NAME_AUDIENCE_MAX);
    assert_int_equal(api_admin("POST", "/v1/admin/audiences",
                               json_pack("{s:s,s:b,s:b}", "name", longest, "all", 1, "bound", 1)),
                     400);
    for (int bound = 1; bound >= 0; bound--) {
        assert_int_equal(api_admin("POST", "/v1/admin/audiences",
                                   json_pack("{s:s,s:b,s:b}", "name", "db", "all", 1, "bound", bound)),
                         200);
        ask_with_key(&vm, &h, "db");
        snprintf(issuer, sizeof issuer, "%s%s", s->info.issuer, bound ? "/bound" : "");
        jwks_free(jwks);
        assert_int_equal(jwks_parse(bound ? s->info.bound_jwks : s->info.jwks,
                                    strlen(bound ? s->info.bound_jwks : s->info.jwks), &jwks, &err), 0);
        assert_int_equal(token_verify(answer.token, strlen(answer.token), jwks, issuer, bound ? "pop:db" : "db",
                                      s->clock_ms() / 1000, &token, &err),
                         0);
        assert_int_equal(token.has_jkt, bound);
        token_clear(&token);
    }
    ask_with_key(&vm, &h, "virtid-connect");
    assert_int_equal(token_verify(answer.token, strlen(answer.token), jwks, s->info.issuer, "virtid-connect",
                                  s->clock_ms() / 1000, &token, &err),
                     0);
    assert_true(token.has_jkt);
    token_clear(&token);
}

static void
an_agent_that_names_no_key_gets_no_bound_token(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    assert_int_equal(api_admin("POST", "/v1/admin/audiences",
                               json_pack("{s:s,s:b,s:b}", "name", "db", "all", 1, "bound", 1)),
                     200);
    assert_int_equal(api_admin("GET", "/v1/admin/audiences", NULL), 200);
    assert_non_null(strstr(buf_text(&the_api.body), "\"bound\":true"));
    strcpy(vm.audience, "db");
    sim_vm_prove(&vm, &h);
    assert_int_equal(sim_vm_send(&vm, &answer), 403);
    assert_string_equal(the_api.problem, "bound-key");
}

static void
the_nonce_of_a_token_is_bound_and_for_later(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    sim_vm_prove(&vm, &h);
    assert_int_equal(sim_vm_send(&vm, &answer), 200);
    sim_vm_prove(&vm, &h);
    memcpy(vm.p.nonce, answer.nonce, sizeof vm.p.nonce);
    sim_vm_sign(&vm, &h);
    assert_int_equal(sim_vm_send(&vm, &answer), 409); /* not yet */
    assert_string_equal(the_api.problem, "stale");
}

/* Its TPM is no factor, but the next proof will name its AK again. */
static void
the_nonce_of_a_token_fits_a_vm_whose_tpm_nobody_enrolled(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    const struct service_subkeys *keys;
    struct nonce_bind bind;
    enum nonce_kind kind;
    struct error err;
    uint64_t hour;
    int64_t later;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    vm.has |= SIM_TPM;
    sim_vm_prove(&vm, &h);
    assert_int_equal(sim_vm_send(&vm, &answer), 200);
    sim_vm_check_token(&vm, &answer, "virtid-connect", 2);
    later = clock_realtime_ms() + NONCE_TOKEN_MS / 2;
    assert_int_equal(nonce_hour(answer.nonce, later, &hour, &err), 0);
    assert_int_equal(service_subkeys(&the_api.service, hour, &keys, &err), 0);
    bind = (struct nonce_bind){ .uuid = vm.uuid, .epoch = vm.p.epoch, .has_ak = true };
    memcpy(bind.ak_name, vm.tpm.ak_name, sizeof bind.ak_name);
    assert_int_equal(nonce_check(keys->nonce, the_mint.info.issuer, later, answer.nonce,
                                 &bind, &kind, &err),
                     0);
    assert_int_equal(kind, NONCE_TOKEN);
}

static void
what_was_answered_is_there_after_a_restart(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    api_restart();
    sim_vm_prove(&vm, &h); /* grace: proofs of what the record says */
    assert_int_equal(sim_vm_send(&vm, &answer), 200);
    sim_vm_check_token(&vm, &answer, "virtid-connect", 2);
}

/* As after TPM2_ClockSet, then TPM2_Clear. */
static void
a_cleared_tpm_is_an_event_and_the_vm_goes_on(void **state)
{
    static const uint64_t clocks[] = { 86400000, UINT64_C(1) << 63, UINT64_C(0xffff000000000000) };
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    int64_t before;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET | SIM_TPM, &h);
    for (size_t i = 0; i < sizeof clocks / sizeof clocks[0]; i++) {
        before = api_audit_count();
        vm.tpm.clock = clocks[i];
        assert_int_equal(sim_vm_token(&vm, &h, &answer), 200);
        sim_vm_check_token(&vm, &answer, "virtid-connect", 3);
        assert_int_equal(api_audit_count(), before + 1); /* the token */
    }
    api_restart(); /* the greatest clock came back from the database */
    before = api_audit_count();
    vm.tpm.reset = vm.tpm.restart = 0;
    vm.tpm.clock = 17;
    assert_int_equal(sim_vm_token(&vm, &h, &answer), 200);
    sim_vm_check_token(&vm, &answer, "virtid-connect", 3);
    assert_int_equal(api_audit_count(), before + 2); /* tpm-cleared, and the token */
    vm.tpm.clock = 18;
    assert_int_equal(sim_vm_token(&vm, &h, &answer), 200);
    assert_int_equal(api_audit_count(), before + 3);
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        API_TEST(a_vm_with_a_secret_gets_a_token_that_verifies),
        API_TEST(a_vm_with_all_factors_activates_and_gets_a_token),
        API_TEST(each_proof_is_good_once),
        API_TEST(a_proof_over_another_connection_is_refused),
        API_TEST(strangers_get_one_answer_whether_the_vm_is_known_or_not),
        API_TEST(known_and_unknown_vms_are_refused_in_the_same_time),
        API_TEST(a_stranger_leaves_the_row_bit_identical),
        API_TEST(another_host_can_not_sign_for_the_holder),
        API_TEST(a_lapsed_lease_and_a_removed_host_prove_nothing),
        API_TEST(a_renewed_proof_key_counts_at_once),
        API_TEST(refusals_of_one_kind_are_one_record_an_hour),
        API_TEST(an_older_secret_is_behind_and_stops_nothing),
        API_TEST(an_audience_must_be_declared_and_allowed),
        API_TEST(a_bound_audience_gets_bound_tokens_and_no_other_names_the_key),
        API_TEST(an_agent_that_names_no_key_gets_no_bound_token),
        API_TEST(the_nonce_of_a_token_is_bound_and_for_later),
        API_TEST(the_nonce_of_a_token_fits_a_vm_whose_tpm_nobody_enrolled),
        API_TEST(what_was_answered_is_there_after_a_restart),
        API_TEST(a_cleared_tpm_is_an_event_and_the_vm_goes_on),
    };
    return cmocka_run_group_tests_name("api_vm", t, api_fixture_start,
                                       api_fixture_stop);
}
