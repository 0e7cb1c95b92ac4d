/*
 * The two ratchets of a VM as the service stores them, answers with them, and shows them.
 */
#include "config.h"

#include "tests/unit/api_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/crypto/hash.h"
#include "lib/wire/token.h"
#include "tokenservice/api/vm_account.h"

static struct answer answer;

/* A VM that can step: its key, and the one it is about to step to. */
struct stepper_vm {
    struct sim_vm vm;
    struct key *next;
};

static void
clear(struct stepper_vm *s)
{
    key_free(s->next);
    sim_vm_clear(&s->vm);
}
#define clear_at clear

static void
sign_next(struct stepper_vm *s)
{
    CLEANUP(buf_clear) struct buf message = BUF(256);
    struct transcript t;
    struct error err;
    uint8_t hash[32];

    assert_int_equal(prove_transcript(&s->vm.p, the_mint.info.issuer, the_api.exporter, &t, &err), 0);
    assert_int_equal(transcript_hash(&t, hash, &err), 0);
    assert_int_equal(transcript_secret_message(hash, &message, &err), 0);
    assert_int_equal(key_sign(s->next, message.data, message.len, s->vm.p.new_sig, &err), 0);
}

/* A proof with the next key, which is made where there is none. */
static int
prove_fresh(struct stepper_vm *s, const struct sim_host *h)
{
    struct error err;

    if (!s->next)
        assert_int_equal(key_generate(&s->next, &err), 0);
    sim_vm_prove(&s->vm, h);
    s->vm.p.has_new = s->vm.p.fresh = true;
    key_point(s->next, s->vm.p.new_);
    sim_vm_sign(&s->vm, h);
    sign_next(s);
    return sim_vm_send(&s->vm, &answer);
}

/* What the agent and its TPM do with EXTEND. */
static void
extend(struct stepper_vm *s)
{
    uint8_t both[64];
    struct error err;

    assert_int_equal(answer.type, ANSWER_EXTEND);
    assert_memory_equal(answer.from, s->vm.tpm.x, 32);
    memcpy(both, answer.from, 32);
    memcpy(both + 32, answer.v, 32);
    assert_int_equal(hash_sha256(both, sizeof both, s->vm.tpm.x, &err), 0);
    assert_memory_equal(answer.to, s->vm.tpm.x, 32);
}

/* TOKEN: the next key is the current one. */
static void
take_next(struct stepper_vm *s)
{
    assert_int_equal(answer.type, ANSWER_TOKEN);
    key_free(s->vm.secret);
    s->vm.secret = s->next;
    s->next = NULL;
}

static void
step(struct stepper_vm *s, const struct sim_host *h)
{
    assert_int_equal(prove_fresh(s, h), 200);
    extend(s);
    assert_int_equal(prove_fresh(s, h), 200);
    take_next(s);
}

static bool
says_fresh(const char *factor)
{
    CLEANUP(jwks_free) struct jwks *jwks = NULL;
    CLEANUP(token_clear) struct token token;
    struct error err = { 0 };

    memset(&token, 0, sizeof token);
    assert_int_equal(answer.type, ANSWER_TOKEN);
    assert_int_equal(jwks_parse(the_mint.info.jwks, strlen(the_mint.info.jwks), &jwks, &err), 0);
    if (token_verify(answer.token, strlen(answer.token), jwks, the_mint.info.issuer, "virtid-connect",
                     clock_realtime_ms() / 1000, &token, &err) < 0)
        fail_msg("%s", err.text);
    return json_is_true(json_object_get(
        json_object_get(json_object_get(token.claims, "virtid"), factor), "fresh"));
}

/* As `virtid info` has it. */
static void
assert_shown(const struct sim_vm *vm, const char *member, const char *expected)
{
    CLEANUP(json_decref) json_t *o = NULL;
    char target[80];

    snprintf(target, sizeof target, "/v1/admin/vms/%s", vm->text);
    assert_int_equal(api_admin("GET", target, NULL), 200);
    o = api_answer();
    assert_string_equal(json_string_value(json_object_get(o, member)), expected);
}

static void
two_proofs_step_both_and_the_token_says_so(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(clear) struct stepper_vm s = { .next = NULL };

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&s.vm, 1, SIM_SECRET | SIM_TPM, &h);
    assert_int_equal(sim_vm_token(&s.vm, &h, &answer), 200); /* an agent that can not step */
    assert_false(says_fresh("vtpm") || says_fresh("secret"));
    assert_shown(&s.vm, "ratchet", "off");
    assert_int_equal(prove_fresh(&s, &h), 200);
    extend(&s);
    assert_shown(&s.vm, "ratchet", "on");
    api_restart(); /* v is in the row */
    assert_int_equal(prove_fresh(&s, &h), 200);
    take_next(&s);
    assert_true(says_fresh("vtpm") && says_fresh("secret"));
    assert_int_equal(sim_vm_token(&s.vm, &h, &answer), 200); /* later */
    assert_true(says_fresh("vtpm") && says_fresh("secret"));
}

static void
a_retry_in_the_same_run_gets_the_same_v(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(clear) struct stepper_vm s = { .next = NULL };
    uint8_t v[32];

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&s.vm, 1, SIM_SECRET | SIM_TPM, &h);
    assert_int_equal(prove_fresh(&s, &h), 200);
    memcpy(v, answer.v, sizeof v);
    api_restart();
    assert_int_equal(prove_fresh(&s, &h), 200);
    assert_int_equal(answer.type, ANSWER_EXTEND);
    assert_memory_equal(v, answer.v, sizeof v);
}

static void
without_a_tpm_one_proof_steps_the_secret(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(clear) struct stepper_vm s = { .next = NULL };

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&s.vm, 1, SIM_SECRET, &h);
    assert_int_equal(prove_fresh(&s, &h), 200);
    take_next(&s);
    assert_true(says_fresh("secret"));
    s.vm.tpm.reset++; /* it has none: no other run */
    assert_int_equal(sim_vm_token(&s.vm, &h, &answer), 200);
    assert_true(says_fresh("secret"));
}

/* The host repeats with each lease what it once made. */
static void
the_account_of_a_vm_that_stepped_is_repeated_in_peace(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(clear) struct stepper_vm s = { .next = NULL };
    CLEANUP(key_free) struct key *first = NULL;
    struct key *now;
    struct error err;
    uint8_t private[32];

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&s.vm, 1, SIM_SECRET | SIM_TPM, &h);
    key_private(s.vm.secret, private);
    assert_int_equal(key_from_private(private, &first, &err), 0);
    step(&s, &h);
    now = s.vm.secret;
    s.vm.secret = first;
    assert_int_equal(sim_vm_account(&s.vm, &h), 200);
    s.vm.secret = now;
    assert_int_equal(sim_vm_token(&s.vm, &h, &answer), 200);
    assert_true(says_fresh("secret"));
}

/* A proof that is refused so leaves everything as it is, but one record an hour. */
static void
refused_as(struct stepper_vm *s, const struct sim_host *h, const char *problem)
{
    static struct store_vm before, after;
    int64_t records = api_audit_count();
    struct error err;

    assert_int_equal(store_vm_find(the_api.service.store, &s->vm.uuid, &before, &err), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sim_vm_token(&s->vm, h, &answer), 409);
        assert_string_equal(the_api.problem, problem);
    }
    assert_int_equal(store_vm_find(the_api.service.store, &s->vm.uuid, &after, &err), 0);
    assert_memory_equal(&before, &after, sizeof before);
    assert_int_equal(api_audit_count(), records + 1);
    assert_shown(&s->vm, "state", problem);
}

/* What `virtid why` says of the newest proof. */
static bool
why_says(const struct sim_vm *vm, const char *words)
{
    CLEANUP(json_decref) json_t *o = NULL;
    json_t *step;
    size_t i;
    char target[80];

    snprintf(target, sizeof target, "/v1/admin/vms/%s", vm->text);
    assert_int_equal(api_admin("GET", target, NULL), 200);
    o = api_answer();
    json_array_foreach(json_object_get(o, "steps"), i, step) {
        if (strcmp(json_string_value(json_object_get(step, "step")), "proof") == 0 &&
            strstr(json_string_value(json_object_get(step, "seen")), words))
            return true;
    }
    return false;
}

static void
an_older_disk_or_tpm_is_behind_as_long_as_it_is_there(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(clear) struct stepper_vm s = { .next = NULL };
    CLEANUP(key_free) struct key *old = NULL;
    struct key *now;
    struct error err;
    uint8_t private[32], old_x[32], x[32];

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&s.vm, 1, SIM_SECRET | SIM_TPM, &h);
    key_private(s.vm.secret, private);
    assert_int_equal(key_from_private(private, &old, &err), 0);
    memcpy(old_x, s.vm.tpm.x, sizeof old_x);
    step(&s, &h);
    now = s.vm.secret;
    memcpy(x, s.vm.tpm.x, sizeof x);

    s.vm.secret = old;
    refused_as(&s, &h, "disk-behind");
    assert_true(why_says(&s.vm, ", unknown")); /* it was the first, no step */
    s.vm.secret = now;
    assert_int_equal(sim_vm_token(&s.vm, &h, &answer), 200);
    assert_shown(&s.vm, "state", "ok");

    memcpy(s.vm.tpm.x, old_x, sizeof x);
    refused_as(&s, &h, "tpm-behind");
    memcpy(s.vm.tpm.x, x, sizeof x);
    assert_int_equal(sim_vm_token(&s.vm, &h, &answer), 200);
    assert_true(says_fresh("vtpm"));
}

/* Restored from the backup of last week: the operator sees which it is. */
static void
an_older_state_is_named_by_its_step(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(clear) struct stepper_vm s = { .next = NULL };
    uint8_t x[32];

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&s.vm, 1, SIM_SECRET | SIM_TPM, &h);
    step(&s, &h);
    memcpy(x, s.vm.tpm.x, sizeof x);
    for (int i = 0; i < 2; i++) {
        s.vm.tpm.restart++;
        assert_int_equal(sim_vm_token(&s.vm, &h, &answer), 200);
        assert_int_equal(answer.type, ANSWER_RESOLVE);
        step(&s, &h);
    }
    memcpy(s.vm.tpm.x, x, sizeof x);
    refused_as(&s, &h, "tpm-behind");
    assert_true(why_says(&s.vm, ", 2 steps ago"));
}

static void
another_vms_key_is_nobodys_next_one(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(clear) struct stepper_vm s = { .next = NULL };
    CLEANUP(clear) struct stepper_vm copy = { .next = NULL };
    struct error err;
    uint8_t private[32];

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&s.vm, 1, SIM_SECRET | SIM_TPM, &h);
    sim_vm_enrolled(&copy.vm, 2, SIM_SECRET, &h);
    assert_int_equal(prove_fresh(&s, &h), 200);
    key_private(s.next, private);
    assert_int_equal(key_from_private(private, &copy.next, &err), 0);
    assert_int_equal(prove_fresh(&copy, &h), 409);
    assert_string_equal(the_api.problem, "secret-known");
    extend(&s);
    /* The last answer was the copy's refusal: the original notices nothing. */
    assert_int_equal(prove_fresh(&s, &h), 200);
    assert_int_equal(answer.type, ANSWER_TOKEN);
    assert_int_equal(prove_fresh(&copy, &h), 409);
    assert_string_equal(the_api.problem, "secret-known");
}

static int
account_of_disk(const struct sim_vm *vm, struct sim_host *h, bool transient)
{
    json_t *body = json_pack("{s:s,s:I,s:s}", "uuid", vm->text, "epoch", (json_int_t)vm->epoch, "name", "web1");

    if (transient)
        json_object_set_new(body, "transient", json_true());
    if (vm->has & SIM_TPM) {
        json_set_bytes(body, "ek", vm->tpm.ek, sizeof vm->tpm.ek);
        json_set_bytes(body, "x0", vm->tpm.x, sizeof vm->tpm.x);
    }
    return sim_host_ask(h, "POST", "/v1/host/account", body);
}

/* It has the key it was made with again after each boot: the TPM alone steps. */
static void
a_transient_disk_has_no_ratchet(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(clear) struct stepper_vm s = { .next = NULL };

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&s.vm, 1, SIM_SECRET | SIM_TPM, &h);
    assert_int_equal(account_of_disk(&s.vm, &h, true), 200);
    assert_int_equal(prove_fresh(&s, &h), 200);
    extend(&s);
    assert_int_equal(prove_fresh(&s, &h), 200);
    assert_true(says_fresh("vtpm"));
    assert_false(says_fresh("secret"));
    assert_shown(&s.vm, "ratchet", "on, but for its transient disk");
    assert_int_equal(sim_vm_token(&s.vm, &h, &answer), 200); /* the first key */
    assert_true(says_fresh("vtpm"));
    assert_int_equal(account_of_disk(&s.vm, &h, false), 200); /* another disk */
    step(&s, &h);
    assert_true(says_fresh("secret") && says_fresh("vtpm"));
}

/* And one whose secret is made anew with each boot has none. */
static void
a_secret_that_goes_with_the_boot_is_not_enrolled(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(clear) struct stepper_vm s = { .next = NULL };
    struct lease_result result;
    struct error err;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_new(&s.vm, 1, SIM_SECRET | SIM_TPM);
    result = sim_host_say(&h, &s.vm.uuid, VIEW_RUN, 0, true);
    s.vm.epoch = result.e;
    assert_int_equal(account_of_disk(&s.vm, &h, true), 200);
    assert_int_equal(sim_vm_token(&s.vm, &h, &answer), 200);
    sim_vm_check_token(&s.vm, &answer, "virtid-connect", 2);
    key_free(s.vm.secret);
    assert_int_equal(key_generate(&s.vm.secret, &err), 0);
    assert_int_equal(sim_vm_token(&s.vm, &h, &answer), 200);
    sim_vm_check_token(&s.vm, &answer, "virtid-connect", 2);
}

static void
a_new_epoch_is_another_run(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(clear) struct stepper_vm s = { .next = NULL };
    struct lease_result result;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&s.vm, 1, SIM_SECRET | SIM_TPM, &h);
    step(&s, &h);
    sim_host_say(&h, &s.vm.uuid, VIEW_OUT, s.vm.epoch, false);
    result = sim_host_say(&h, &s.vm.uuid, VIEW_RUN, 0, true);
    assert_int_equal(result.answer, LEASE_OK);
    assert_true(result.e > s.vm.epoch);
    s.vm.epoch = result.e;
    assert_int_equal(sim_vm_token(&s.vm, &h, &answer), 200);
    assert_int_equal(answer.type, ANSWER_RESOLVE);
    step(&s, &h);
    assert_true(says_fresh("vtpm") && says_fresh("secret"));
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        API_TEST(two_proofs_step_both_and_the_token_says_so),
        API_TEST(a_retry_in_the_same_run_gets_the_same_v),
        API_TEST(without_a_tpm_one_proof_steps_the_secret),
        API_TEST(the_account_of_a_vm_that_stepped_is_repeated_in_peace),
        API_TEST(an_older_disk_or_tpm_is_behind_as_long_as_it_is_there),
        API_TEST(an_older_state_is_named_by_its_step),
        API_TEST(another_vms_key_is_nobodys_next_one),
        API_TEST(a_transient_disk_has_no_ratchet),
        API_TEST(a_secret_that_goes_with_the_boot_is_not_enrolled),
        API_TEST(a_new_epoch_is_another_run),
    };

    return cmocka_run_group_tests_name("api_step", t, api_fixture_start, api_fixture_stop);
}
