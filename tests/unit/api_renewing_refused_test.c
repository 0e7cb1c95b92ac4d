/*
 * A new TPM that is not to be: without a word, on another host, too late, another VM's, of a VM that may have none.
 */
#include "config.h"

#include "tests/unit/sim_lost_tpm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tokenservice/api/renewing.h"

static void
without_a_word_it_is_refused_and_the_command_is_named(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    sim_lost_new(&g);
    sim_lost_happens(&g);
    assert_int_equal(sim_host_placed(&g.b, &g.s.vm.uuid, json_object()), 200);
    sim_lost_begin(&g.s, &g.b);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 409);
    assert_string_equal(the_api.problem, "ek-changed");
    assert_true(sim_lost_answer_has("virtid place web1 b.example --new-vtpm"));
    assert_int_equal(sim_vm_token(&g.s.vm, &g.b, &the_answer), 409);
    assert_string_equal(the_api.problem, "ek-changed");
    api_admin("GET", "/v1/admin/vms/web1", NULL);
    assert_true(sim_lost_answer_has("virtid place web1 b.example --new-vtpm"));
    assert_int_equal(sim_lost_gen(&g.s.vm), 0);
}

static void
nobody_else_may(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    sim_lost_new(&g);
    sim_lost_happens(&g);
    assert_int_equal(sim_lost_place(&g, &g.b), 200);
    assert_int_equal(sim_host_say(&g.c, &g.s.vm.uuid, VIEW_RUN, 0, true).answer, LEASE_FOREIGN);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.c), 409);
    assert_string_equal(the_api.problem, "foreign");
    /* Named later, without that word: the right of before is gone. */
    assert_int_equal(sim_host_placed(&g.c, &g.s.vm.uuid, json_object()), 200);
    sim_lost_begin(&g.s, &g.c);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.c), 409);
    assert_string_equal(the_api.problem, "ek-changed");
    assert_int_equal(sim_host_placed(&g.b, &g.s.vm.uuid, json_pack("{s:b}", "force", 1)), 200);
    sim_lost_begin(&g.s, &g.b);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 409);
}

static void
named_in_between_another_host_has_it_no_more(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    sim_lost_new(&g);
    sim_lost_happens(&g);
    assert_int_equal(sim_lost_place(&g, &g.b), 200);
    assert_int_equal(sim_host_placed(&g.c, &g.s.vm.uuid, json_object()), 200);
    assert_int_equal(sim_host_placed(&g.b, &g.s.vm.uuid, json_object()), 200);
    sim_lost_begin(&g.s, &g.b);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 409);
    assert_string_equal(the_api.problem, "ek-changed");
}

static void
while_the_service_waits_or_recovers_nothing_is_taken(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    sim_lost_new(&g);
    sim_lost_happens(&g);
    sim_lost_placed(&g, &g.b);
    the_api.service.recovery = true;
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 503);
    assert_string_equal(the_api.problem, "recovery");
    the_api.service.recovery = false;
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200);
    the_api.service.recovery = true;
    assert_int_equal(sim_vm_token(&g.s.vm, &g.b, &the_answer), 503);
    assert_string_equal(the_api.problem, "recovery");
    api_restart();
    assert_int_equal(sim_host_say(&g.b, &g.s.vm.uuid, VIEW_RUN, g.s.vm.epoch, false).answer, LEASE_OK);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 503);
    assert_string_equal(the_api.problem, "grace");
    assert_int_equal(sim_vm_token(&g.s.vm, &g.b, &the_answer), 503);
    assert_string_equal(the_api.problem, "grace");
    assert_int_equal(sim_lost_post_place(&g.s.vm, &g.b, json_pack("{s:b}", "new_vtpm", 1)), 503);
    assert_int_equal(sim_lost_gen(&g.s.vm), 0);
}

static void
registered_it_is_good_with_its_own_host_only(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    sim_lost_new(&g);
    sim_lost_happens(&g);
    sim_lost_placed(&g, &g.b);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200);
    assert_int_equal(sim_vm_token(&g.s.vm, &g.c, &the_answer), 403);
    assert_string_equal(the_api.problem, "refused");
    assert_int_equal(sim_host_placed(&g.c, &g.s.vm.uuid, json_pack("{s:b}", "force", 1)), 200);
    sim_lost_begin(&g.s, &g.c);
    assert_int_equal(sim_vm_token(&g.s.vm, &g.c, &the_answer), 409);
    assert_string_equal(the_api.problem, "ek-changed");
    assert_int_equal(sim_lost_gen(&g.s.vm), 0);
}

/* It is migrated before it has proved itself: the host where it arrives has no such right. */
static void
on_its_way_to_another_host_it_is_not_taken_there(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;
    struct sim_word arrives = { .view = VIEW_RUN, .k = true };
    struct lease_result result;

    (void)state;
    sim_lost_new(&g);
    sim_lost_happens(&g);
    sim_lost_placed(&g, &g.b);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200);
    sim_host_say(&g.b, &g.s.vm.uuid, VIEW_OUT, g.s.vm.epoch, false);
    result = sim_host_say_all(&g.c, &g.s.vm.uuid, &arrives);
    assert_int_equal(result.answer, LEASE_CANDIDATE);
    g.s.vm.epoch = result.e;
    assert_int_equal(sim_vm_token(&g.s.vm, &g.c, &the_answer), 409);
    assert_string_equal(the_api.problem, "ek-changed");
    assert_int_equal(sim_lost_gen(&g.s.vm), 0);
}

static void
after_an_hour_it_is_over(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    sim_lost_new(&g);
    sim_lost_happens(&g);
    assert_int_equal(sim_lost_place(&g, &g.b), 200);
    the_api.skew_ms = RENEWING_LIFE_MS - 1000;
    sim_lost_begin(&g.s, &g.b);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200); /* in its last second */
    the_api.skew_ms = RENEWING_LIFE_MS + 1000;
    sim_lost_begin(&g.s, &g.b);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 409);
    assert_string_equal(the_api.problem, "ek-changed");
    assert_int_equal(sim_vm_token(&g.s.vm, &g.b, &the_answer), 409);
    assert_string_equal(the_api.problem, "ek-changed");
    assert_int_equal(sim_lost_gen(&g.s.vm), 0);
}

static void
the_tpm_of_another_vm_is_not_taken(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;
    CLEANUP(sim_vm_clear) struct sim_vm other;

    (void)state;
    sim_lost_new(&g);
    sim_vm_new(&other, 2, SIM_TPM | SIM_SECRET);
    sim_lost_ek(&other.tpm);
    other.epoch = sim_host_say(&g.b, &other.uuid, VIEW_RUN, 0, true).e;
    assert_int_equal(sim_vm_account(&other, &g.b), 200);
    assert_int_equal(sim_vm_token(&other, &g.b, &the_answer), 200);
    sim_lost_happens(&g);
    sim_lost_placed(&g, &g.b);
    memcpy(g.s.vm.tpm.ek, other.tpm.ek, sizeof other.tpm.ek);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 409);
    assert_string_equal(the_api.problem, "ek-known");
}

static void
of_two_vms_with_one_new_tpm_the_first_has_it(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;
    CLEANUP(sim_vm_clear) struct sim_vm other;

    (void)state;
    sim_lost_new(&g);
    sim_lost_happens(&g);
    sim_lost_placed(&g, &g.b);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200);
    sim_vm_new(&other, 2, SIM_TPM | SIM_SECRET);
    memcpy(other.tpm.ek, g.s.vm.tpm.ek, sizeof other.tpm.ek);
    other.epoch = sim_host_say(&g.b, &other.uuid, VIEW_RUN, 0, true).e;
    assert_int_equal(sim_vm_account(&other, &g.b), 200);
    assert_int_equal(sim_vm_token(&other, &g.b, &the_answer), 200);
    assert_int_equal(sim_vm_token(&g.s.vm, &g.b, &the_answer), 409);
    assert_string_equal(the_api.problem, "ek-known");
    assert_int_equal(sim_lost_gen(&g.s.vm), 0);
}

static void
who_has_no_tpm_to_lose_gets_no_such_word(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;
    CLEANUP(sim_vm_clear) struct sim_vm bare;
    CLEANUP(sim_vm_clear) struct sim_vm pending;

    (void)state;
    sim_lost_new(&g);
    sim_vm_enrolled(&bare, 2, SIM_SECRET, &g.a);
    assert_int_equal(sim_lost_post_place(&bare, &g.a, json_pack("{s:b}", "new_vtpm", 1)), 409);
    assert_string_equal(the_api.problem, "conflict");
    sim_vm_new(&pending, 3, SIM_SECRET | SIM_TPM);
    pending.epoch = sim_host_say(&g.a, &pending.uuid, VIEW_RUN, 0, true).e;
    assert_int_equal(sim_lost_post_place(&pending, &g.a, json_pack("{s:b}", "new_vtpm", 1)), 409);
    assert_string_equal(the_api.problem, "conflict");
    pending.uuid.bytes[0] ^= 1; /* never seen */
    vm_uuid_print(&pending.uuid, pending.text);
    assert_int_equal(sim_lost_post_place(&pending, &g.a, json_pack("{s:b}", "new_vtpm", 1)), 409);
    assert_int_equal(sim_lost_post_place(&g.s.vm, &g.a, json_pack("{s:b,s:b}", "new_vtpm", 1, "reincarnate", 1)), 400);
    assert_int_equal(sim_lost_post_place(&g.s.vm, &g.a, json_pack("{s:s}", "new_vtpm", "yes")), 400);
}

static void
its_end_ends_it(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;
    char path[80];

    (void)state;
    sim_lost_new(&g);
    sim_lost_happens(&g);
    sim_lost_placed(&g, &g.b);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200);
    snprintf(path, sizeof path, "/v1/admin/vms/%s/retire", g.s.vm.text);
    assert_int_equal(api_admin("POST", path, json_object()), 200);
    assert_int_equal(sim_vm_token(&g.s.vm, &g.b, &the_answer), 403);
    assert_string_equal(the_api.problem, "refused");
    assert_int_equal(sim_lost_place(&g, &g.b), 403);
    assert_string_equal(the_api.problem, "retired");
    assert_int_equal(sim_lost_gen(&g.s.vm), 0);
}

static void
lock(const struct sim_vm *vm, bool locked)
{
    char path[80];

    snprintf(path, sizeof path, "/v1/admin/vms/%s/%s", vm->text, locked ? "lock" : "unlock");
    assert_int_equal(api_admin("POST", path, json_object()), 200);
}

static void
a_lock_ends_it(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    sim_lost_new(&g);
    sim_lost_happens(&g);
    sim_lost_placed(&g, &g.b);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200);
    lock(&g.s.vm, true);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 403);
    assert_string_equal(the_api.problem, "locked");
    assert_int_equal(sim_vm_token(&g.s.vm, &g.b, &the_answer), 403);
    assert_string_equal(the_api.problem, "locked");
    assert_int_equal(sim_lost_post_place(&g.s.vm, &g.b, json_pack("{s:b}", "new_vtpm", 1)), 403);
    assert_string_equal(the_api.problem, "locked");
    lock(&g.s.vm, false);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 409);
    assert_string_equal(the_api.problem, "ek-changed");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(without_a_word_it_is_refused_and_the_command_is_named),
        API_TEST(nobody_else_may),
        API_TEST(named_in_between_another_host_has_it_no_more),
        API_TEST(while_the_service_waits_or_recovers_nothing_is_taken),
        API_TEST(registered_it_is_good_with_its_own_host_only),
        API_TEST(on_its_way_to_another_host_it_is_not_taken_there),
        API_TEST(after_an_hour_it_is_over),
        API_TEST(the_tpm_of_another_vm_is_not_taken),
        API_TEST(of_two_vms_with_one_new_tpm_the_first_has_it),
        API_TEST(who_has_no_tpm_to_lose_gets_no_such_word),
        API_TEST(its_end_ends_it),
        API_TEST(a_lock_ends_it),
    };

    return cmocka_run_group_tests_name("api_renewing_refused", tests, api_fixture_start, api_fixture_stop);
}
