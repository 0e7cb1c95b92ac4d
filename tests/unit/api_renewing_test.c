/*
 * A VM whose TPM was lost comes with a new one on the host that an operator named, and proves itself as who it was.
 */
#include "config.h"

#include "tests/unit/sim_lost_tpm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void
its_named_host_brings_a_new_one_and_it_has_all_factors(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    sim_lost_new(&g);
    sim_lost_happens(&g);
    sim_lost_placed(&g, &g.b);
    assert_int_equal(sim_lost_gen(&g.s.vm), 0);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200);
    assert_true(sim_lost_audit_has("\"what\":\"new-vtpm-registered\""));
    assert_int_equal(sim_lost_gen(&g.s.vm), 0); /* with the first proof, not before */
    sim_lost_proves(&g, &g.b);
    assert_int_equal(sim_lost_gen(&g.s.vm), 1);
    assert_true(sim_lost_audit_has("\"what\":\"renewed\""));
    sim_lost_begin(&g.s, &g.b);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200); /* once in each lease, for ever */
    sim_stepper_step(&g.s, &g.b);
    assert_int_equal(sim_lost_gen(&g.s.vm), 1);
    sim_lost_is_back(&g);
    assert_int_equal(sim_vm_token(&g.s.vm, &g.b, &the_answer), 409);
    assert_string_equal(the_api.problem, "ek-changed");
}

static void
it_is_registered_once_and_repeated_as_often_as_need_be(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;
    struct soft_tpm first, second;
    int64_t records;

    (void)state;
    sim_lost_new(&g);
    sim_lost_happens(&g);
    sim_lost_placed(&g, &g.b);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200);
    records = api_audit_count();
    api_restart();
    sim_host_say(&g.a, &g.s.vm.uuid, VIEW_OFF, 0, false);
    assert_int_equal(sim_host_say(&g.b, &g.s.vm.uuid, VIEW_RUN, g.s.vm.epoch, false).answer, LEASE_OK);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200);
    assert_int_equal(api_audit_count(), records);
    first = second = g.s.vm.tpm;
    sim_lost_ek(&second);
    g.s.vm.tpm = second;
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 409);
    assert_string_equal(the_api.problem, "ek-changed");
    g.s.vm.tpm = first;
    g.s.vm.tpm.x[0]++;
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 409);
    assert_string_equal(the_api.problem, "ek-changed");
    g.s.vm.tpm = first;
    assert_int_equal(sim_vm_account(&g.s.vm, &g.b), 409); /* a secret that it did not name at first */
    assert_string_equal(the_api.problem, "secret-changed");
    sim_lost_proves(&g, &g.b);
}

static void
a_second_word_begins_anew(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    sim_lost_new(&g);
    sim_lost_happens(&g);
    sim_lost_placed(&g, &g.b);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200);
    assert_int_equal(sim_lost_post_place(&g.s.vm, &g.b, json_pack("{s:b}", "new_vtpm", 1)), 200); /* it runs there */
    sim_lost_ek(&g.s.vm.tpm);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200);
    sim_lost_proves(&g, &g.b);
    assert_int_equal(sim_lost_gen(&g.s.vm), 1);
}

static void
the_tpm_that_was_not_lost_ends_it(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    sim_lost_new(&g);
    sim_lost_happens(&g);
    sim_lost_placed(&g, &g.b);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200);
    sim_lost_is_back(&g);
    sim_stepper_step(&g.s, &g.b);
    assert_int_equal(sim_lost_gen(&g.s.vm), 0);
    sim_lost_is_back(&g);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 409);
    assert_int_equal(sim_vm_token(&g.s.vm, &g.b, &the_answer), 409);
    assert_string_equal(the_api.problem, "ek-changed");
}

static void
all_of_its_floor_is_shown_or_it_is_refused(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    sim_lost_new(&g);
    sim_lost_happens(&g);
    sim_lost_placed(&g, &g.b);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200);
    g.s.vm.has = SIM_TPM;
    assert_int_equal(sim_vm_token(&g.s.vm, &g.b, &the_answer), 403);
    assert_string_equal(the_api.problem, "floor");
    g.s.vm.has = SIM_SECRET;
    assert_int_equal(sim_vm_token(&g.s.vm, &g.b, &the_answer), 403);
    assert_string_equal(the_api.problem, "floor");
    g.s.vm.has = SIM_TPM | SIM_SECRET;
    g.s.vm.tpm.x[0]++; /* not the index that its host made */
    assert_int_equal(sim_vm_token(&g.s.vm, &g.b, &the_answer), 409);
    assert_string_equal(the_api.problem, "tpm-behind");
    g.s.vm.tpm.x[0]--;
    sim_lost_proves(&g, &g.b);
}

static void
a_key_that_is_no_tpms_must_still_be_shown(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g = { 0 };
    struct key *other;

    (void)state;
    sim_host_new(&g.a, "a.example");
    sim_host_new(&g.b, "b.example");
    sim_host_new(&g.c, "c.example");
    sim_vm_enrolled(&g.s.vm, 1, SIM_SECRET | SIM_TPM, &g.a);
    sim_lost_happens(&g);
    sim_lost_placed(&g, &g.b);
    assert_int_equal(sim_vm_account(&g.s.vm, &g.b), 409); /* a new secret */
    assert_string_equal(the_api.problem, "secret-changed");
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200);
    assert_int_equal(sim_vm_token(&g.s.vm, &g.b, &the_answer), 409);
    assert_string_equal(the_api.problem, "disk-behind");
    other = g.s.vm.secret;
    g.s.vm.secret = g.old_key;
    assert_int_equal(sim_vm_account(&g.s.vm, &g.b), 200); /* the one of before is none */
    assert_int_equal(sim_vm_token(&g.s.vm, &g.b, &the_answer), 200);
    assert_int_equal(the_answer.type, ANSWER_TOKEN);
    g.old_key = other;
    assert_int_equal(sim_lost_gen(&g.s.vm), 1);
}

/* Both halves were on their way when it happened: nothing of that is left. */
static void
lost_in_the_middle_of_a_step_it_comes_back(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    sim_lost_new(&g);
    sim_lost_begin(&g.s, &g.a);
    assert_int_equal(sim_stepper_prove(&g.s, &g.a), 200);
    assert_int_equal(the_answer.type, ANSWER_EXTEND);
    sim_lost_happens(&g);
    key_free(g.s.next);
    g.s.next = NULL;
    sim_lost_placed(&g, &g.b);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200);
    sim_lost_proves(&g, &g.b);
    assert_int_equal(sim_lost_gen(&g.s.vm), 1);
}

/* A step was begun, and none ever completed: the key is still that of the disk. */
static void
a_key_that_was_about_to_step_must_still_be_shown(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g = { 0 };

    (void)state;
    sim_host_new(&g.a, "a.example");
    sim_host_new(&g.b, "b.example");
    sim_host_new(&g.c, "c.example");
    sim_vm_enrolled(&g.s.vm, 1, SIM_SECRET | SIM_TPM, &g.a);
    assert_int_equal(sim_stepper_prove(&g.s, &g.a), 200);
    assert_int_equal(the_answer.type, ANSWER_EXTEND);
    sim_lost_happens(&g);
    key_free(g.s.next);
    g.s.next = NULL;
    sim_lost_placed(&g, &g.b);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200);
    assert_int_equal(sim_vm_token(&g.s.vm, &g.b, &the_answer), 409);
    assert_string_equal(the_api.problem, "disk-behind");
    key_free(g.s.vm.secret);
    g.s.vm.secret = g.old_key;
    g.old_key = NULL;
    sim_lost_proves(&g, &g.b);
}

static void
say_accept(const struct sim_vm *vm)
{
    CLEANUP(json_decref) json_t *seen = NULL;
    char path[80];

    snprintf(path, sizeof path, "/v1/admin/vms/%s/accept", vm->text);
    assert_int_equal(api_admin("POST", path, json_pack("{s:b}", "dry_run", 1)), 200);
    seen = api_answer();
    assert_int_equal(api_admin("POST", path,
                               json_pack("{s:O,s:O,s:O}", "cur", json_object_get(seen, "cur"), "new",
                                         json_object_get(seen, "new"), "x", json_object_get(seen, "x"))),
                     200);
}

/* TPM and disk are lost, and its key was none of the TPM's: the second word is for the second loss. */
static void
one_that_is_lost_too_is_accepted_by_a_word_of_its_own(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g = { 0 };
    struct lease_result result;

    (void)state;
    sim_host_new(&g.a, "a.example");
    sim_host_new(&g.b, "b.example");
    sim_host_new(&g.c, "c.example");
    sim_vm_enrolled(&g.s.vm, 1, SIM_SECRET | SIM_TPM, &g.a);
    sim_lost_happens(&g);
    sim_lost_placed(&g, &g.b);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200);
    assert_int_equal(sim_vm_token(&g.s.vm, &g.b, &the_answer), 409);
    assert_string_equal(the_api.problem, "disk-behind");
    say_accept(&g.s.vm);
    result = sim_host_say(&g.b, &g.s.vm.uuid, VIEW_RUN, g.s.vm.epoch, false);
    assert_true(result.e > g.s.vm.epoch);
    g.s.vm.epoch = result.e;
    assert_int_equal(sim_vm_token(&g.s.vm, &g.b, &the_answer), 200);
    assert_int_equal(the_answer.type, ANSWER_TOKEN);
    assert_int_equal(sim_lost_gen(&g.s.vm), 1); /* one jump */
    sim_stepper_step(&g.s, &g.b);
}

static void
a_secret_that_was_registered_with_it_is_the_one(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;
    struct key *other = NULL;
    struct error err;

    (void)state;
    sim_lost_new(&g);
    sim_lost_happens(&g);
    sim_lost_placed(&g, &g.b);
    assert_int_equal(sim_vm_account(&g.s.vm, &g.b), 200);
    assert_int_equal(sim_vm_account(&g.s.vm, &g.b), 200);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 409); /* without it */
    assert_string_equal(the_api.problem, "secret-changed");
    assert_int_equal(key_generate(&other, &err), 0);
    key_free(g.s.next);
    g.s.next = g.s.vm.secret;
    g.s.vm.secret = other;
    assert_int_equal(sim_vm_account(&g.s.vm, &g.b), 409);
    assert_string_equal(the_api.problem, "secret-changed");
    assert_int_equal(sim_vm_token(&g.s.vm, &g.b, &the_answer), 409);
    assert_string_equal(the_api.problem, "disk-behind");
    key_free(g.s.vm.secret);
    g.s.vm.secret = g.s.next;
    g.s.next = NULL;
    sim_lost_proves(&g, &g.b);
}

static int
fence(const struct sim_host *h, json_t *take_body)
{
    char path[120];

    snprintf(path, sizeof path, "/v1/admin/hosts/%s/fence", h->name);
    return api_admin("POST", path, take_body);
}

static int64_t
counted(const char *name)
{
    CLEANUP(json_decref) json_t *o = api_answer();

    return json_integer_value(json_object_get(o, name));
}

static void
a_fence_gives_it_to_the_host_it_names(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;
    uint64_t e;

    (void)state;
    sim_lost_new(&g);
    e = g.s.vm.epoch;
    sim_lost_happens(&g);
    sim_host_say(&g.a, &g.s.vm.uuid, VIEW_RUN, e, true);
    sim_host_say(&g.b, &(struct vm_uuid){ { 9 } }, VIEW_OFF, 0, false);
    assert_int_equal(fence(&g.a, json_pack("{s:s,s:b}", "to", g.b.name, "dry_run", 1)), 200);
    assert_int_equal(counted("new_vtpms"), 0);
    assert_int_equal(fence(&g.a, json_pack("{s:s}", "to", g.b.name)), 200);
    assert_int_equal(counted("new_vtpms"), 1);
    assert_int_equal(sim_host_say(&g.c, &g.s.vm.uuid, VIEW_RUN, 0, true).answer, LEASE_FOREIGN);
    sim_lost_begin(&g.s, &g.b);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200);
    sim_lost_proves(&g, &g.b);
    assert_int_equal(sim_lost_gen(&g.s.vm), 1);
}

static void
a_fence_of_the_named_host_ends_it(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    sim_lost_new(&g);
    sim_lost_happens(&g);
    sim_lost_placed(&g, &g.b);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200);
    assert_int_equal(fence(&g.b, json_object()), 200);
    sim_lost_begin(&g.s, &g.b); /* it was not dead, and nobody has taken what it had */
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 409);
    assert_string_equal(the_api.problem, "ek-changed");
    assert_int_equal(sim_vm_token(&g.s.vm, &g.b, &the_answer), 409);
    assert_string_equal(the_api.problem, "ek-changed");
}

static void
an_operator_sees_that_it_waits(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    sim_lost_new(&g);
    sim_lost_happens(&g);
    sim_lost_placed(&g, &g.b);
    sim_assert_shown(&g.s.vm, "new_vtpm_host", "b.example");
    api_admin("GET", "/v1/admin/vms/web1", NULL);
    assert_true(sim_lost_answer_has("none registered by b.example yet"));
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200);
    api_admin("GET", "/v1/admin/vms/web1", NULL);
    assert_true(sim_lost_answer_has("\"seen\":\"registered by b.example\""));
    sim_lost_proves(&g, &g.b);
    api_admin("GET", "/v1/admin/vms/web1", NULL);
    assert_false(sim_lost_answer_has("new_vtpm"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(its_named_host_brings_a_new_one_and_it_has_all_factors),
        API_TEST(it_is_registered_once_and_repeated_as_often_as_need_be),
        API_TEST(a_second_word_begins_anew),
        API_TEST(the_tpm_that_was_not_lost_ends_it),
        API_TEST(all_of_its_floor_is_shown_or_it_is_refused),
        API_TEST(a_key_that_is_no_tpms_must_still_be_shown),
        API_TEST(lost_in_the_middle_of_a_step_it_comes_back),
        API_TEST(a_key_that_was_about_to_step_must_still_be_shown),
        API_TEST(one_that_is_lost_too_is_accepted_by_a_word_of_its_own),
        API_TEST(a_secret_that_was_registered_with_it_is_the_one),
        API_TEST(a_fence_gives_it_to_the_host_it_names),
        API_TEST(a_fence_of_the_named_host_ends_it),
        API_TEST(an_operator_sees_that_it_waits),
    };

    return cmocka_run_group_tests_name("api_renewing", tests, api_fixture_start, api_fixture_stop);
}
