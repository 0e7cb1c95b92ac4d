/*
 * Pools: operators list hosts that stand in for one another; a fenced host's VMs start there, and migrations stay there.
 */
#include "config.h"

#include "tests/unit/sim_lost_tpm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Hosts a and b are the pool, c is not; the VM is a's. */
static int
set_pool(const char *name, const char *one, const char *other)
{
    json_t *hosts = json_array();

    json_array_append_new(hosts, json_string(one));
    if (other)
        json_array_append_new(hosts, json_string(other));
    return api_admin("POST", "/v1/admin/pools", json_pack("{s:s,s:o}", "name", name, "hosts", hosts));
}

static int
remove_pool(const char *name)
{
    return api_admin("POST", "/v1/admin/pools/remove", json_pack("{s:s}", "name", name));
}

static void
pooled(struct sim_lost *g)
{
    sim_lost_new(g);
    assert_int_equal(set_pool("rack1", "a.example", "b.example"), 200);
}

static int
fence_a(json_t *take_body)
{
    return api_admin("POST", "/v1/admin/hosts/a.example/fence", take_body ? take_body : json_object());
}

static bool
shows(const char *path, const char *text)
{
    assert_int_equal(api_admin("GET", path, NULL), 200);
    return sim_lost_answer_has(text);
}

static bool
vm_shows(const struct sim_vm *vm, const char *text)
{
    char path[80];

    snprintf(path, sizeof path, "/v1/admin/vms/%s", vm->text);
    return shows(path, text);
}

static enum lease_answer
tries(struct sim_host *h, const struct sim_vm *vm)
{
    return sim_host_say(h, &vm->uuid, VIEW_RUN, 0, true).answer;
}

/* ---- the lists ---- */

static void
a_pool_is_the_list_that_was_said_last(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;
    int64_t records;

    (void)state;
    pooled(&g);
    assert_true(sim_lost_answer_has("\"added\":[\"a.example\",\"b.example\"],\"removed\":[]"));
    assert_true(shows("/v1/admin/pools", "\"name\":\"rack1\",\"hosts\":[\"a.example\",\"b.example\"],\"waiting\":0"));
    assert_true(shows("/v1/admin/hosts", "\"pool\":\"rack1\""));
    assert_true(vm_shows(&g.s.vm, "\"pool\":\"rack1\""));
    assert_int_equal(set_pool("rack1", "c.example", "b.example"), 200);
    assert_true(sim_lost_answer_has("\"added\":[\"c.example\"],\"removed\":[\"a.example\"]"));
    assert_true(sim_lost_audit_has("\"what\":\"pool-joined\""));
    assert_true(sim_lost_audit_has("\"what\":\"pool-left\""));
    records = api_audit_count();
    assert_int_equal(set_pool("rack1", "b.example", "c.example"), 200); /* nothing changes, nothing is recorded */
    assert_int_equal(api_audit_count(), records);
    api_restart();
    assert_true(shows("/v1/admin/pools", "\"hosts\":[\"b.example\",\"c.example\"]"));
    assert_int_equal(remove_pool("rack1"), 200);
    assert_true(shows("/v1/admin/pools", "\"pools\":[]"));
    assert_int_equal(remove_pool("rack1"), 404);
}

static void
what_is_refused_changes_nothing(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;
    int64_t records;

    (void)state;
    pooled(&g);
    records = api_audit_count();
    assert_int_equal(set_pool("rack1", "c.example", "nobody.example"), 404);
    assert_int_equal(set_pool("rack2", "c.example", "a.example"), 409);
    assert_string_equal(the_api.problem, "conflict");
    assert_true(sim_lost_answer_has("virtid pool set rack1"));
    assert_int_equal(set_pool("Rack 1", "c.example", NULL), 400);
    assert_int_equal(set_pool("rack1", "C!", NULL), 400);
    assert_int_equal(api_admin("POST", "/v1/admin/pools", json_pack("{s:s,s:[]}", "name", "rack1", "hosts")), 400);
    assert_int_equal(api_admin("POST", "/v1/admin/pools", json_pack("{s:s,s:[i]}", "name", "rack1", "hosts", 1)), 400);
    assert_int_equal(api_audit_count(), records);
    assert_true(shows("/v1/admin/pools", "{\"pools\":[{\"name\":\"rack1\",\"hosts\":[\"a.example\",\"b.example\"]"));
}

static void
a_host_that_is_removed_leaves_its_pool(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    pooled(&g);
    assert_int_equal(api_admin("DELETE", "/v1/admin/hosts/b.example", NULL), 200);
    assert_true(shows("/v1/admin/pools", "\"hosts\":[\"a.example\"]"));
    assert_int_equal(set_pool("rack1", "a.example", "b.example"), 409); /* it is not joined */
    assert_string_equal(the_api.problem, "conflict");
}

/* ---- a fence ---- */

static void
a_fenced_hosts_vm_starts_in_its_pool_alone(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    pooled(&g);
    assert_int_equal(fence_a(NULL), 200);
    assert_true(sim_lost_answer_has("\"pool\":\"rack1\""));
    assert_true(sim_lost_audit_has("a host of the pool rack1"));
    assert_int_equal(tries(&g.c, &g.s.vm), LEASE_MOVING);
    assert_true(sim_lost_audit_has("\"problem\":\"not-placed\""));
    assert_int_equal(sim_host_say(&g.c, &g.s.vm.uuid, VIEW_RUN, 0, false).answer, LEASE_MOVING);
    sim_host_say(&g.c, &g.s.vm.uuid, VIEW_OFF, 0, false);
    api_restart();
    sim_host_say(&g.b, &(struct vm_uuid){ { 9 } }, VIEW_OFF, 0, false);
    the_api.skew_ms = 61 * 1000; /* the grace */
    assert_int_equal(tries(&g.c, &g.s.vm), LEASE_MOVING);
    assert_true(vm_shows(&g.s.vm, "a host of the pool rack1 may start it"));
    assert_true(shows("/v1/admin/pools", "\"waiting\":1"));
    sim_lost_begin(&g.s, &g.b);
    assert_true(shows("/v1/admin/pools", "\"waiting\":0"));
    assert_int_equal(tries(&g.c, &g.s.vm), LEASE_FOREIGN);
}

static void
without_a_pool_it_is_for_any_host_as_ever(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    sim_lost_new(&g);
    assert_int_equal(set_pool("rack2", "b.example", NULL), 200); /* another's pool keeps nobody in */
    assert_int_equal(fence_a(NULL), 200);
    assert_false(sim_lost_audit_has("\"what\":\"new-vtpm\""));
    sim_lost_begin(&g.s, &g.c);
}

/* The dead host is taken out of the lists, or they are gone: that opens its VMs to nobody. */
static void
a_change_of_the_lists_opens_it_to_nobody_else(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    pooled(&g);
    assert_int_equal(fence_a(NULL), 200);
    assert_int_equal(api_admin("DELETE", "/v1/admin/hosts/a.example", NULL), 200);
    assert_int_equal(tries(&g.c, &g.s.vm), LEASE_MOVING);
    assert_int_equal(remove_pool("rack1"), 200);
    assert_true(sim_lost_answer_has("\"waiting\":1"));
    assert_int_equal(tries(&g.c, &g.s.vm), LEASE_MOVING);
    assert_int_equal(tries(&g.b, &g.s.vm), LEASE_MOVING);
    assert_int_equal(set_pool("rack1", "c.example", NULL), 200); /* whom it lists now may */
    sim_lost_begin(&g.s, &g.c);
}

static void
an_operator_names_any_host(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    pooled(&g);
    sim_host_say(&g.c, &(struct vm_uuid){ { 9 } }, VIEW_OFF, 0, false);
    assert_int_equal(fence_a(json_pack("{s:s}", "to", "c.example")), 200);
    assert_int_equal(tries(&g.b, &g.s.vm), LEASE_FOREIGN);
    sim_lost_begin(&g.s, &g.c);
    assert_false(vm_shows(&g.s.vm, "\"pool\"")); /* it is c's now, which is in none */
}

/* ---- a new vTPM ---- */

static void
the_first_of_its_pool_may_bring_a_new_vtpm(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    pooled(&g);
    sim_lost_happens(&g);
    assert_int_equal(fence_a(NULL), 200);
    assert_true(sim_lost_answer_has("\"new_vtpms\":1"));
    assert_true(vm_shows(&g.s.vm, "none registered by the first host of its pool yet"));
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 409); /* it has not got the lease */
    sim_lost_begin(&g.s, &g.b);
    assert_true(vm_shows(&g.s.vm, "none registered by b.example yet"));
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 200);
    sim_lost_proves(&g, &g.b);
    assert_int_equal(sim_lost_gen(&g.s.vm), 1);
}

static void
the_second_of_its_pool_may_not(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    sim_lost_new(&g);
    assert_int_equal(api_admin("POST", "/v1/admin/pools",
                               json_pack("{s:s,s:[s,s,s]}", "name", "all", "hosts", "a.example", "b.example", "c.example")),
                     200);
    sim_lost_happens(&g);
    assert_int_equal(fence_a(NULL), 200);
    sim_lost_begin(&g.s, &g.b);
    assert_int_equal(sim_host_placed(&g.c, &g.s.vm.uuid, json_pack("{s:b}", "force", 1)), 200);
    sim_lost_begin(&g.s, &g.c);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.c), 409);
    assert_string_equal(the_api.problem, "ek-changed");
}

static void
the_one_that_was_fenced_and_is_there_may_not(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    pooled(&g);
    sim_lost_happens(&g);
    assert_int_equal(fence_a(NULL), 200);
    sim_lost_begin(&g.s, &g.a); /* what nobody took */
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.a), 409);
    assert_string_equal(the_api.problem, "ek-changed");
    assert_false(vm_shows(&g.s.vm, "new vtpm"));
}

static void
it_ends_an_hour_after_the_fence(void **state)
{
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    pooled(&g);
    sim_lost_happens(&g);
    assert_int_equal(fence_a(NULL), 200);
    the_api.skew_ms = 3600 * 1000 + 1000;
    sim_lost_begin(&g.s, &g.b);
    assert_int_equal(sim_lost_tell(&g.s.vm, &g.b), 409);
}

/* ---- migrations ---- */

static void
a_migration_out_of_the_pool_is_refused_at_once(void **state)
{
    struct sim_word comes = { .view = VIEW_INC, .op = LEASE_OP_HANDOVER };
    CLEANUP(sim_lost_clear) struct sim_lost g;
    struct lease_result result;

    (void)state;
    pooled(&g);
    result = sim_host_say_all(&g.c, &g.s.vm.uuid, &comes);
    assert_int_equal(result.answer, LEASE_FOREIGN);
    assert_string_equal(result.holder, "a.example");
    assert_int_equal(the_api.park_ms, 0); /* the source is not asked */
    assert_true(sim_lost_audit_has("\"problem\":\"not-placed\""));
    sim_host_say_all(&g.b, &g.s.vm.uuid, &comes);
    assert_in_range(the_api.park_ms, 1, PULL_MS); /* within it, it is */
}

static void
one_that_is_off_goes_where_it_was_placed(void **state)
{
    struct sim_word comes = { .view = VIEW_INC, .op = LEASE_OP_HANDOVER };
    CLEANUP(sim_lost_clear) struct sim_lost g;

    (void)state;
    pooled(&g);
    sim_host_say(&g.a, &g.s.vm.uuid, VIEW_GO, g.s.vm.epoch, false);
    assert_int_equal(sim_host_say_all(&g.c, &g.s.vm.uuid, &comes).answer, LEASE_FOREIGN);
    assert_int_equal(sim_host_placed(&g.c, &g.s.vm.uuid, json_object()), 200);
    assert_int_equal(sim_host_say_all(&g.c, &g.s.vm.uuid, &comes).answer, LEASE_UNKNOWN);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(a_pool_is_the_list_that_was_said_last),
        API_TEST(what_is_refused_changes_nothing),
        API_TEST(a_host_that_is_removed_leaves_its_pool),
        API_TEST(a_fenced_hosts_vm_starts_in_its_pool_alone),
        API_TEST(without_a_pool_it_is_for_any_host_as_ever),
        API_TEST(a_change_of_the_lists_opens_it_to_nobody_else),
        API_TEST(an_operator_names_any_host),
        API_TEST(the_first_of_its_pool_may_bring_a_new_vtpm),
        API_TEST(the_second_of_its_pool_may_not),
        API_TEST(the_one_that_was_fenced_and_is_there_may_not),
        API_TEST(it_ends_an_hour_after_the_fence),
        API_TEST(a_migration_out_of_the_pool_is_refused_at_once),
        API_TEST(one_that_is_off_goes_where_it_was_placed),
    };

    return cmocka_run_group_tests_name("api_pool", tests, api_fixture_start, api_fixture_stop);
}
