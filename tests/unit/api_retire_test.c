/*
 * An operator ends an identity, and may begin a new one under its UUID; nobody and nothing else does.
 */
#include "config.h"

#include "tests/unit/api_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/wire/token.h"

static struct answer answer;

static int
about(const struct sim_vm *vm, const char *method, const char *tail, json_t *take_body)
{
    char path[100];

    snprintf(path, sizeof path, "/v1/admin/vms/%s%s", vm->text, tail);
    return api_admin(method, path, take_body);
}

static void
must_be_shown(const struct sim_vm *vm, const char *text, bool wanted)
{
    assert_int_equal(about(vm, "GET", "", NULL), 200);
    buf_add_u8(&the_api.body, 0);
    if ((strstr((const char *)the_api.body.data, text) != NULL) != wanted)
        fail_msg("%s in %s", text, (const char *)the_api.body.data);
}

static void
a_retired_vm_gets_no_token_and_no_lease_from_then_on(void **state)
{
    struct sim_word arrives = { .view = VIEW_INC, .op = LEASE_OP_HANDOVER };
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_host_clear) struct sim_host b;
    CLEANUP(sim_vm_clear) struct sim_vm vm;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_host_new(&b, "b.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &a);
    assert_int_equal(about(&vm, "POST", "/retire", json_object()), 200);
    assert_int_equal(sim_vm_token(&vm, &a, &answer), 403);
    assert_int_equal(sim_host_say(&a, &vm.uuid, VIEW_RUN, vm.epoch, false).answer, LEASE_RETIRED);
    assert_int_equal(sim_host_say(&a, &vm.uuid, VIEW_RUN, 0, true).answer, LEASE_RETIRED);
    assert_int_equal(sim_host_say(&b, &vm.uuid, VIEW_RUN, 0, true).answer, LEASE_RETIRED);
    assert_int_equal(sim_host_say_all(&b, &vm.uuid, &arrives).answer, LEASE_RETIRED);
    assert_int_equal(sim_vm_account(&vm, &a), 409); /* it holds no lease */
    assert_int_equal(about(&vm, "PATCH", "", json_pack("{s:s}", "owner", "me")), 403);
    assert_string_equal(the_api.problem, "retired");
    must_be_shown(&vm, "\"state\":\"retired\"", true);
    must_be_shown(&vm, "--reincarnate", true);
    must_be_shown(&vm, "\"lease\":\"free\"", true);
    api_restart();
    assert_int_equal(sim_vm_token(&vm, &a, &answer), 403);
    assert_int_equal(sim_host_say(&a, &vm.uuid, VIEW_RUN, 0, true).answer, LEASE_RETIRED);
}

static void
it_is_recorded_once(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    int64_t records;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &a);
    records = api_audit_count();
    assert_int_equal(about(&vm, "POST", "/retire", json_object()), 200);
    assert_int_equal(about(&vm, "POST", "/retire", json_object()), 200);
    assert_int_equal(api_audit_count(), records + 1);
    assert_int_equal(api_admin("POST", "/v1/admin/vms/nobody/retire", json_object()), 404);
}

static void
what_its_host_has_to_say_is_acknowledged_and_changes_nothing(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    struct lease_result result;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &a);
    assert_int_equal(about(&vm, "POST", "/retire", json_object()), 200);
    result = sim_host_say(&a, &vm.uuid, VIEW_GO, vm.epoch, false);
    assert_int_equal(result.answer, LEASE_RETIRED);
    assert_true(result.acked_seq > 0);
    must_be_shown(&vm, "\"host\":\"\"", true);
}

static void
in_grace_it_ends_too(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_vm_clear) struct sim_vm vm;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &a);
    sim_host_say(&a, &vm.uuid, VIEW_RUN, vm.epoch, false);
    api_restart();
    assert_int_equal(about(&vm, "POST", "/retire", json_object()), 200);
    assert_int_equal(sim_vm_token(&vm, &a, &answer), 403);
    assert_int_equal(sim_host_say(&a, &vm.uuid, VIEW_RUN, vm.epoch, false).answer, LEASE_RETIRED);
    assert_int_equal(sim_host_say(&a, &vm.uuid, VIEW_RUN, vm.epoch, false).answer, LEASE_RETIRED);
    must_be_shown(&vm, "\"lease\":\"free\"", true); /* what grace had left is gone with the next word */
}

static void
its_keys_are_nobody_elses_and_its_name_is_free(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    CLEANUP(sim_vm_clear) struct sim_vm copy;
    CLEANUP(sim_vm_clear) struct sim_vm next;
    struct key *own;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &a);
    assert_int_equal(about(&vm, "POST", "/retire", json_object()), 200);
    sim_vm_new(&copy, 2, SIM_SECRET);
    own = copy.secret;
    copy.secret = vm.secret;
    copy.epoch = sim_host_say(&a, &copy.uuid, VIEW_RUN, 0, true).e;
    assert_int_equal(sim_vm_account(&copy, &a), 409);
    assert_string_equal(the_api.problem, "secret-known");
    copy.secret = own;
    sim_vm_enrolled(&next, 3, SIM_SECRET, &a); /* also "web1" */
    assert_int_equal(api_admin("GET", "/v1/admin/vms/web1", NULL), 200);
    buf_add_u8(&the_api.body, 0);
    assert_non_null(strstr((const char *)the_api.body.data, next.text));
}

static void
a_new_one_begins_under_its_uuid_when_an_operator_says_so(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    struct lease_result result;
    uint64_t epoch;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET | SIM_TPM, &a);
    assert_int_equal(about(&vm, "PATCH", "", json_pack("{s:s,s:[s]}", "owner", "me", "audiences", "shop")), 200);
    epoch = vm.epoch;
    assert_int_equal(sim_host_placed(&a, &vm.uuid, json_pack("{s:b,s:b}", "force", 1, "reincarnate", 1)), 409);
    assert_string_equal(the_api.problem, "conflict");
    assert_int_equal(about(&vm, "POST", "/retire", json_object()), 200);
    assert_int_equal(sim_host_placed(&a, &vm.uuid, json_object()), 403);
    assert_string_equal(the_api.problem, "retired");
    assert_int_equal(sim_host_placed(&a, &vm.uuid, json_pack("{s:b}", "reincarnate", 1)), 200);
    must_be_shown(&vm, "\"state\":\"pending\"", true);
    must_be_shown(&vm, "shop", false); /* rights of the one that ended */
    must_be_shown(&vm, "\"owner\":\"me\"", false);
    result = sim_host_say(&a, &vm.uuid, VIEW_RUN, 0, true);
    assert_int_equal(result.answer, LEASE_OK);
    assert_true(result.e > epoch);
    assert_int_equal(sim_vm_token(&vm, &a, &answer), 403); /* in the epoch of the old one */
    vm.epoch = result.e;
    vm.has_activation = false;
    assert_int_equal(sim_vm_token(&vm, &a, &answer), 200);
    sim_vm_check_token(&vm, &answer, "virtid-connect", 3);
    must_be_shown(&vm, "\"gen\":1", true);
    must_be_shown(&vm, "\"state\":\"ok\"", true);
}

static void
nothing_is_retired_by_absence(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_vm_clear) struct sim_vm vm;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &a);
    sim_host_say(&a, &vm.uuid, VIEW_GO, vm.epoch, false);
    sim_host_say(&a, &vm.uuid, VIEW_OFF, 0, false);
    the_api.skew_ms = INT64_C(300) * 86400 * 1000;
    assert_int_equal(api_admin("DELETE", "/v1/admin/hosts/a.example", NULL), 200);
    must_be_shown(&vm, "\"state\":\"ok\"", true);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(a_retired_vm_gets_no_token_and_no_lease_from_then_on),
        API_TEST(it_is_recorded_once),
        API_TEST(what_its_host_has_to_say_is_acknowledged_and_changes_nothing),
        API_TEST(in_grace_it_ends_too),
        API_TEST(its_keys_are_nobody_elses_and_its_name_is_free),
        API_TEST(a_new_one_begins_under_its_uuid_when_an_operator_says_so),
        API_TEST(nothing_is_retired_by_absence),
    };

    return cmocka_run_group_tests_name("api_retire", tests, api_fixture_start, api_fixture_stop);
}
