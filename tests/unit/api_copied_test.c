/*
 * A VM that comes with a copy of another one's vTPM: it enrolls without that factor, says whose it is, and gets a TPM
 * of its own by an operator's word.  The original notices nothing.
 */
#include "config.h"

#include "tests/unit/sim_lost_tpm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* `g` is the original, with TPM and secret; `copy` has a secret of its own, and its EK: all soft TPMs have one. */
struct scene {
    struct sim_lost g;
    struct sim_stepper copy;
};

static void
scene_clear(struct scene *s)
{
    sim_stepper_clear(&s->copy);
    sim_lost_clear(&s->g);
}
#define scene_clear_at scene_clear

/* Its secret steps alone: with one proof. */
static void
proves(struct scene *s)
{
    assert_int_equal(sim_stepper_prove(&s->copy, &s->g.a), 200);
    sim_stepper_take(&s->copy);
}

/* Its host finds a vTPM state there: it says nothing of it, and the copy's first proof is accepted. */
static void
scene_new(struct scene *s)
{
    struct sim_vm *vm = &s->copy.vm;

    memset(s, 0, sizeof *s);
    sim_lost_new(&s->g);
    sim_vm_new(vm, 2, SIM_SECRET);
    sim_lost_begin(&s->copy, &s->g.a);
    assert_int_equal(sim_vm_account(vm, &s->g.a), 200);
    vm->has = SIM_TPM | SIM_SECRET;
    proves(s);
}

static bool
why_has(const struct sim_vm *vm, const char *text)
{
    char path[80];

    snprintf(path, sizeof path, "/v1/admin/vms/%s", vm->text);
    assert_int_equal(api_admin("GET", path, NULL), 200);
    return sim_lost_answer_has(text);
}

static int
place_new_tpm(struct scene *s)
{
    return sim_host_placed(&s->g.a, &s->copy.vm.uuid, json_pack("{s:b}", "new_vtpm", 1));
}

/* What the commands of `why` come to: off, a TPM made by its host, an operator's word, a start. */
static void
gets_its_own(struct scene *s)
{
    struct error err;

    sim_host_say(&s->g.a, &s->copy.vm.uuid, VIEW_GO, s->copy.vm.epoch, false);
    soft_tpm_clear(&s->copy.vm.tpm);
    soft_tpm_new(&s->copy.vm.tpm);
    sim_lost_ek(&s->copy.vm.tpm);
    memset(s->copy.vm.tpm.x, 0x55, sizeof s->copy.vm.tpm.x);
    key_free(s->copy.vm.secret); /* it was one of the copied TPM */
    assert_int_equal(key_generate(&s->copy.vm.secret, &err), 0);
    assert_int_equal(place_new_tpm(s), 200);
    sim_lost_begin(&s->copy, &s->g.a);
}

static void
it_enrolls_with_what_is_its_own(void **state)
{
    CLEANUP(scene_clear) struct scene s;

    (void)state;
    scene_new(&s);
    sim_vm_check_token(&s.copy.vm, &the_answer, "virtid-connect", 2);
    assert_true(sim_says_fresh("secret"));
    sim_lost_begin(&s.copy, &s.g.a); /* and so it stays */
    proves(&s);
    sim_vm_check_token(&s.copy.vm, &the_answer, "virtid-connect", 2);
}

static void
its_report_names_the_original_and_the_commands(void **state)
{
    CLEANUP(scene_clear) struct scene s;
    char text[200];

    (void)state;
    scene_new(&s);
    snprintf(text, sizeof text, "the vTPM of %s", s.g.s.vm.text);
    assert_true(sim_lost_audit_has("\"what\":\"copied-vtpm\""));
    assert_true(why_has(&s.copy.vm, text));
    snprintf(text, sizeof text, "`rm -r /var/lib/libvirt/swtpm/%s`; `virtid place %s a.example --new-vtpm`",
             s.copy.vm.text, s.copy.vm.text);
    assert_true(why_has(&s.copy.vm, text));
    assert_false(why_has(&s.g.s.vm, "vtpm copied"));
}

static void
the_original_notices_nothing(void **state)
{
    CLEANUP(scene_clear) struct scene s;

    (void)state;
    scene_new(&s);
    assert_int_equal(sim_lost_gen(&s.g.s.vm), 0);
    sim_lost_begin(&s.g.s, &s.g.a);
    sim_stepper_step(&s.g.s, &s.g.a);
    sim_vm_check_token(&s.g.s.vm, &the_answer, "virtid-connect", 3);
}

static void
it_gets_a_tpm_of_its_own_by_an_operators_word(void **state)
{
    CLEANUP(scene_clear) struct scene s;

    (void)state;
    scene_new(&s);
    gets_its_own(&s);
    assert_int_equal(sim_lost_tell(&s.copy.vm, &s.g.a), 200);
    assert_int_equal(sim_vm_token(&s.copy.vm, &s.g.a, &the_answer), 200);
    sim_stepper_step(&s.copy, &s.g.a);
    sim_vm_check_token(&s.copy.vm, &the_answer, "virtid-connect", 3);
    assert_true(sim_says_fresh("vtpm") && sim_says_fresh("secret"));
    assert_int_equal(sim_lost_gen(&s.copy.vm), 1);
    assert_true(sim_lost_audit_has("\"expected\":\"none\"")); /* it had no EK before */
    assert_false(why_has(&s.copy.vm, "vtpm copied"));
    /* From now on it must show it. */
    s.copy.vm.has = SIM_SECRET;
    assert_int_equal(sim_vm_token(&s.copy.vm, &s.g.a, &the_answer), 403);
    assert_string_equal(the_api.problem, "floor");
}

static void
without_that_word_it_does_not(void **state)
{
    CLEANUP(scene_clear) struct scene s;

    (void)state;
    scene_new(&s);
    sim_host_say(&s.g.a, &s.copy.vm.uuid, VIEW_GO, s.copy.vm.epoch, false);
    sim_lost_ek(&s.copy.vm.tpm);
    sim_lost_begin(&s.copy, &s.g.a);
    assert_int_equal(sim_lost_tell(&s.copy.vm, &s.g.a), 409);
    assert_string_equal(the_api.problem, "ek-changed");
    proves(&s); /* its key is shown: the rest does not count */
    sim_vm_check_token(&s.copy.vm, &the_answer, "virtid-connect", 2);
}

/* The original's EK is none that it may come with. */
static void
nor_with_the_copy_itself(void **state)
{
    CLEANUP(scene_clear) struct scene s;

    (void)state;
    scene_new(&s);
    sim_host_say(&s.g.a, &s.copy.vm.uuid, VIEW_GO, s.copy.vm.epoch, false);
    assert_int_equal(place_new_tpm(&s), 200);
    sim_lost_begin(&s.copy, &s.g.a);
    assert_int_equal(sim_lost_tell(&s.copy.vm, &s.g.a), 409);
    assert_string_equal(the_api.problem, "ek-known");
    proves(&s);
    sim_vm_check_token(&s.copy.vm, &the_answer, "virtid-connect", 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(it_enrolls_with_what_is_its_own),
        API_TEST(its_report_names_the_original_and_the_commands),
        API_TEST(the_original_notices_nothing),
        API_TEST(it_gets_a_tpm_of_its_own_by_an_operators_word),
        API_TEST(without_that_word_it_does_not),
        API_TEST(nor_with_the_copy_itself),
    };

    return cmocka_run_group_tests_name("api_copied", tests, api_fixture_start, api_fixture_stop);
}
