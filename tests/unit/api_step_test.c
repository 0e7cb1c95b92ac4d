/*
 * The two ratchets of a VM as the service stores them, answers with them, and shows them.
 */
#include "config.h"

#include "tests/unit/sim_put_back.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tokenservice/api/vm_account.h"

static void
two_proofs_step_both_and_the_token_says_so(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_stepper_clear) struct sim_stepper s = { .next = NULL };

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&s.vm, 1, SIM_SECRET | SIM_TPM, &h);
    assert_int_equal(sim_vm_token(&s.vm, &h, &the_answer), 200); /* an agent that can not step */
    assert_false(sim_says_fresh("vtpm") || sim_says_fresh("secret"));
    sim_assert_shown(&s.vm, "ratchet", "off");
    assert_int_equal(sim_stepper_prove(&s, &h), 200);
    sim_stepper_extend(&s);
    sim_assert_shown(&s.vm, "ratchet", "on");
    api_restart(); /* v is in the row */
    assert_int_equal(sim_stepper_prove(&s, &h), 200);
    sim_stepper_take(&s);
    assert_true(sim_says_fresh("vtpm") && sim_says_fresh("secret"));
    assert_int_equal(sim_vm_token(&s.vm, &h, &the_answer), 200); /* later */
    assert_true(sim_says_fresh("vtpm") && sim_says_fresh("secret"));
}

static void
a_retry_in_the_same_run_gets_the_same_v(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_stepper_clear) struct sim_stepper s = { .next = NULL };
    uint8_t v[32];

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&s.vm, 1, SIM_SECRET | SIM_TPM, &h);
    assert_int_equal(sim_stepper_prove(&s, &h), 200);
    memcpy(v, the_answer.v, sizeof v);
    api_restart();
    assert_int_equal(sim_stepper_prove(&s, &h), 200);
    assert_int_equal(the_answer.type, ANSWER_EXTEND);
    assert_memory_equal(v, the_answer.v, sizeof v);
}

static void
without_a_tpm_one_proof_steps_the_secret(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_stepper_clear) struct sim_stepper s = { .next = NULL };

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&s.vm, 1, SIM_SECRET, &h);
    assert_int_equal(sim_stepper_prove(&s, &h), 200);
    sim_stepper_take(&s);
    assert_true(sim_says_fresh("secret"));
    s.vm.tpm.reset++; /* it has none: no other run */
    assert_int_equal(sim_vm_token(&s.vm, &h, &the_answer), 200);
    assert_true(sim_says_fresh("secret"));
}

/* The host repeats with each lease what it once made. */
static void
the_account_of_a_vm_that_stepped_is_repeated_in_peace(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_stepper_clear) struct sim_stepper s = { .next = NULL };
    CLEANUP(key_free) struct key *first = NULL;
    struct key *now;
    struct error err;
    uint8_t private[32];

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&s.vm, 1, SIM_SECRET | SIM_TPM, &h);
    key_private(s.vm.secret, private);
    assert_int_equal(key_from_private(private, &first, &err), 0);
    sim_stepper_step(&s, &h);
    now = s.vm.secret;
    s.vm.secret = first;
    assert_int_equal(sim_vm_account(&s.vm, &h), 200);
    s.vm.secret = now;
    assert_int_equal(sim_vm_token(&s.vm, &h, &the_answer), 200);
    assert_true(sim_says_fresh("secret"));
}

/* The row as it is, but for what was seen. */
static struct identity_row
row_of(const struct store_vm *vm)
{
    struct identity_row row;
    struct error err;

    assert_int_equal(identity_row_decode(vm->row, vm->row_len, &row, &err), 0);
    memset(&row.seen, 0, sizeof row.seen);
    return row;
}

/* A proof that is refused so leaves everything as it is, but what was seen, and one record an hour. */
static void
refused_as(struct sim_stepper *s, const struct sim_host *h, const char *problem)
{
    static struct store_vm before, after, first;
    static struct identity_row row_before, row_after;
    int64_t records = api_audit_count();
    struct error err;

    assert_int_equal(store_vm_find(the_api.service.store, &s->vm.uuid, &before, &err), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sim_vm_token(&s->vm, h, &the_answer), 409);
        assert_string_equal(the_api.problem, problem);
        assert_int_equal(store_vm_find(the_api.service.store, &s->vm.uuid, i ? &after : &first, &err), 0);
    }
    assert_memory_equal(&first, &after, sizeof first);
    row_before = row_of(&before);
    row_after = row_of(&after);
    assert_memory_equal(&row_before, &row_after, sizeof row_before);
    memcpy(after.row, before.row, sizeof after.row);
    memcpy(after.mac, before.mac, sizeof after.mac);
    after.row_len = before.row_len;
    after.row_ver = before.row_ver;
    assert_memory_equal(&before, &after, sizeof before);
    assert_int_equal(api_audit_count(), records + 1);
    sim_assert_shown(&s->vm, "state", problem);
}

static void
an_older_disk_or_tpm_is_behind_as_long_as_it_is_there(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_stepper_clear) struct sim_stepper s = { .next = NULL };
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
    sim_stepper_step(&s, &h);
    now = s.vm.secret;
    memcpy(x, s.vm.tpm.x, sizeof x);

    s.vm.secret = old;
    refused_as(&s, &h, "disk-behind");
    assert_true(sim_why_says(&s.vm, ", unknown")); /* it was the first, no step */
    s.vm.secret = now;
    assert_int_equal(sim_vm_token(&s.vm, &h, &the_answer), 200);
    sim_assert_shown(&s.vm, "state", "ok");

    memcpy(s.vm.tpm.x, old_x, sizeof x);
    refused_as(&s, &h, "tpm-behind");
    memcpy(s.vm.tpm.x, x, sizeof x);
    assert_int_equal(sim_vm_token(&s.vm, &h, &the_answer), 200);
    assert_true(sim_says_fresh("vtpm"));
}

/* Put back one boot ago, and left running until its TPM's clock has passed the last one that was accepted. */
static void
behind_whatever_its_clock_says(bool key, bool x, const char *problem)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;
    uint64_t last;

    sim_put_back_new(&c, key, x);
    last = c.s.vm.tpm.clock += 7200000;
    sim_put_back_show(&c, false, false);
    assert_int_equal(sim_vm_token(&c.s.vm, &c.h, &the_answer), 200);
    sim_put_back_show(&c, key, x);
    for (uint64_t clock = last - 3600000; clock <= last + 3600000; clock += 3600000) {
        c.s.vm.tpm.clock = clock;
        sim_put_back_refused(&c, problem);
        c.s.vm.epoch = sim_host_say(&c.h, &c.s.vm.uuid, VIEW_RUN, 0, true).e; /* in its next run, too */
        sim_put_back_refused(&c, problem);
    }
    sim_put_back_show(&c, false, false);
    assert_int_equal(sim_vm_token(&c.s.vm, &c.h, &the_answer), 200);
}

static void
a_disk_alone_is_behind_whatever_the_tpms_clock_says(void **state)
{
    (void)state;
    behind_whatever_its_clock_says(true, false, "disk-behind");
}

static void
a_tpm_alone_is_behind_whatever_its_clock_says(void **state)
{
    (void)state;
    behind_whatever_its_clock_says(false, true, "tpm-behind");
}

/* Restored from the backup of last week: the operator sees which it is. */
static void
an_older_state_is_named_by_its_step(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_stepper_clear) struct sim_stepper s = { .next = NULL };
    uint8_t x[32];

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&s.vm, 1, SIM_SECRET | SIM_TPM, &h);
    sim_stepper_step(&s, &h);
    memcpy(x, s.vm.tpm.x, sizeof x);
    for (int i = 0; i < 2; i++) {
        s.vm.tpm.restart++;
        assert_int_equal(sim_vm_token(&s.vm, &h, &the_answer), 200);
        assert_int_equal(the_answer.type, ANSWER_RESOLVE);
        sim_stepper_step(&s, &h);
    }
    memcpy(s.vm.tpm.x, x, sizeof x);
    refused_as(&s, &h, "tpm-behind");
    assert_true(sim_why_says(&s.vm, ", 2 steps ago"));
}

static void
another_vms_key_is_nobodys_next_one(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_stepper_clear) struct sim_stepper s = { .next = NULL };
    CLEANUP(sim_stepper_clear) struct sim_stepper copy = { .next = NULL };
    struct error err;
    uint8_t private[32];

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&s.vm, 1, SIM_SECRET | SIM_TPM, &h);
    sim_vm_enrolled(&copy.vm, 2, SIM_SECRET, &h);
    assert_int_equal(sim_stepper_prove(&s, &h), 200);
    key_private(s.next, private);
    assert_int_equal(key_from_private(private, &copy.next, &err), 0);
    assert_int_equal(sim_stepper_prove(&copy, &h), 409);
    assert_string_equal(the_api.problem, "secret-known");
    sim_stepper_extend(&s);
    /* The last answer was the copy's refusal: the original notices nothing. */
    assert_int_equal(sim_stepper_prove(&s, &h), 200);
    assert_int_equal(the_answer.type, ANSWER_TOKEN);
    assert_int_equal(sim_stepper_prove(&copy, &h), 409);
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
    CLEANUP(sim_stepper_clear) struct sim_stepper s = { .next = NULL };

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&s.vm, 1, SIM_SECRET | SIM_TPM, &h);
    assert_int_equal(account_of_disk(&s.vm, &h, true), 200);
    assert_int_equal(sim_stepper_prove(&s, &h), 200);
    sim_stepper_extend(&s);
    assert_int_equal(sim_stepper_prove(&s, &h), 200);
    assert_true(sim_says_fresh("vtpm"));
    assert_false(sim_says_fresh("secret"));
    sim_assert_shown(&s.vm, "ratchet", "on, but for its transient disk");
    assert_int_equal(sim_vm_token(&s.vm, &h, &the_answer), 200); /* the first key */
    assert_true(sim_says_fresh("vtpm"));
    assert_int_equal(account_of_disk(&s.vm, &h, false), 200); /* another disk */
    sim_stepper_step(&s, &h);
    assert_true(sim_says_fresh("secret") && sim_says_fresh("vtpm"));
}

/* And one whose secret is made anew with each boot has none. */
static void
a_secret_that_goes_with_the_boot_is_not_enrolled(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_stepper_clear) struct sim_stepper s = { .next = NULL };
    struct lease_result result;
    struct error err;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_new(&s.vm, 1, SIM_SECRET | SIM_TPM);
    result = sim_host_say(&h, &s.vm.uuid, VIEW_RUN, 0, true);
    s.vm.epoch = result.e;
    assert_int_equal(account_of_disk(&s.vm, &h, true), 200);
    assert_int_equal(sim_vm_token(&s.vm, &h, &the_answer), 200);
    sim_vm_check_token(&s.vm, &the_answer, "virtid-connect", 2);
    key_free(s.vm.secret);
    assert_int_equal(key_generate(&s.vm.secret, &err), 0);
    assert_int_equal(sim_vm_token(&s.vm, &h, &the_answer), 200);
    sim_vm_check_token(&s.vm, &the_answer, "virtid-connect", 2);
}

static void
a_new_epoch_is_another_run(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_stepper_clear) struct sim_stepper s = { .next = NULL };
    struct lease_result result;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&s.vm, 1, SIM_SECRET | SIM_TPM, &h);
    sim_stepper_step(&s, &h);
    sim_host_say(&h, &s.vm.uuid, VIEW_OUT, s.vm.epoch, false);
    result = sim_host_say(&h, &s.vm.uuid, VIEW_RUN, 0, true);
    assert_int_equal(result.answer, LEASE_OK);
    assert_true(result.e > s.vm.epoch);
    s.vm.epoch = result.e;
    assert_int_equal(sim_vm_token(&s.vm, &h, &the_answer), 200);
    assert_int_equal(the_answer.type, ANSWER_RESOLVE);
    sim_stepper_step(&s, &h);
    assert_true(sim_says_fresh("vtpm") && sim_says_fresh("secret"));
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
        API_TEST(a_disk_alone_is_behind_whatever_the_tpms_clock_says),
        API_TEST(a_tpm_alone_is_behind_whatever_its_clock_says),
        API_TEST(an_older_state_is_named_by_its_step),
        API_TEST(another_vms_key_is_nobodys_next_one),
        API_TEST(a_transient_disk_has_no_ratchet),
        API_TEST(a_secret_that_goes_with_the_boot_is_not_enrolled),
        API_TEST(a_new_epoch_is_another_run),
    };

    return cmocka_run_group_tests_name("api_step", t, api_fixture_start, api_fixture_stop);
}
