/*
 * A host is dead: an operator fences it, and its VMs start and prove themselves on another.  Placement asks
 * the host first.
 */
#include "config.h"

#include "tests/unit/api_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static struct answer answer;

/* Hosts "a", where the VM runs and has proved itself, "b" and "c". */
struct stage {
    struct sim_host a, b, c;
    struct sim_vm vm;
};

static void
stage_new(struct stage *s)
{
    sim_host_new(&s->a, "a.example");
    sim_host_new(&s->b, "b.example");
    sim_host_new(&s->c, "c.example");
    sim_vm_enrolled(&s->vm, 1, SIM_SECRET | SIM_TPM, &s->a);
}

static void
stage_clear(struct stage *s)
{
    sim_vm_clear(&s->vm);
    sim_host_clear(&s->a);
    sim_host_clear(&s->b);
    sim_host_clear(&s->c);
}

static int
fence(const char *host, json_t *take_body)
{
    char path[120];

    snprintf(path, sizeof path, "/v1/admin/hosts/%s/fence", host);
    return api_admin("POST", path, take_body ? take_body : json_object());
}

static int64_t
counted(const char *name)
{
    CLEANUP(json_decref) json_t *o = api_answer();

    return json_integer_value(json_object_get(o, name));
}

static bool
answer_has(const char *text)
{
    buf_add_u8(&the_api.body, 0);
    return strstr((const char *)the_api.body.data, text) != NULL;
}

static bool
audit_has(const char *text)
{
    assert_int_equal(api_admin("GET", "/v1/admin/audit?limit=30", NULL), 200);
    return answer_has(text);
}

/* What `virtid host list` is told of a.example. */
static bool
list_has(const char *text)
{
    assert_int_equal(api_admin("GET", "/v1/admin/hosts", NULL), 200);
    return answer_has(text);
}

static void
its_vm_starts_on_another_host_and_proves_itself_there(void **state)
{
    struct lease_result result;
    struct stage s;

    (void)state;
    stage_new(&s);
    assert_int_equal(sim_host_say(&s.b, &s.vm.uuid, VIEW_RUN, 0, true).answer, LEASE_FOREIGN);
    assert_int_equal(fence("a.example", NULL), 200);
    assert_int_equal(counted("vms"), 1);
    assert_int_equal(counted("live"), 1);
    assert_true(audit_has("\"what\":\"fenced\""));
    assert_int_equal(sim_vm_token(&s.vm, &s.a, &answer), 403); /* at once */
    result = sim_host_say(&s.b, &s.vm.uuid, VIEW_RUN, 0, true);
    assert_int_equal(result.answer, LEASE_OK);
    assert_true(result.e > s.vm.epoch);
    assert_int_equal(sim_host_say(&s.c, &s.vm.uuid, VIEW_RUN, 0, true).answer, LEASE_FOREIGN);
    s.vm.epoch = result.e;
    assert_int_equal(sim_vm_token(&s.vm, &s.b, &answer), 200);
    sim_vm_check_token(&s.vm, &answer, "virtid-connect", 3);
    assert_int_equal(sim_vm_token(&s.vm, &s.c, &answer), 403);
    stage_clear(&s);
}

static void
without_a_fence_a_host_that_claims_gets_nothing_ever(void **state)
{
    struct stage s;

    (void)state;
    stage_new(&s);
    the_api.skew_ms = 3600 * 1000; /* lapsed for long */
    assert_int_equal(sim_host_say(&s.b, &s.vm.uuid, VIEW_RUN, 0, true).answer, LEASE_FOREIGN);
    assert_int_equal(sim_host_say(&s.b, &s.vm.uuid, VIEW_RUN, 0, false).answer, LEASE_FOREIGN);
    stage_clear(&s);
}

static void
a_lapsed_lease_is_for_the_successor_that_an_operator_names(void **state)
{
    struct stage s;

    (void)state;
    stage_new(&s);
    assert_int_equal(sim_host_placed(&s.b, &s.vm.uuid, json_object()), 409); /* it is live */
    the_api.skew_ms = LEASE_LIFE_MS + 1000;
    assert_int_equal(sim_host_placed(&s.b, &s.vm.uuid, json_object()), 200);
    assert_int_equal(sim_host_say(&s.c, &s.vm.uuid, VIEW_RUN, 0, true).answer, LEASE_FOREIGN);
    assert_int_equal(sim_host_say(&s.a, &s.vm.uuid, VIEW_RUN, s.vm.epoch, false).answer, LEASE_FOREIGN);
    assert_int_equal(sim_host_say(&s.b, &s.vm.uuid, VIEW_RUN, 0, true).answer, LEASE_OK);
    stage_clear(&s);
}

static void
the_host_that_was_not_dead_must_not_go_on_and_is_an_alarm(void **state)
{
    struct lease_result result;
    struct stage s;

    (void)state;
    stage_new(&s);
    sim_host_say(&s.a, &s.vm.uuid, VIEW_RUN, s.vm.epoch, false);
    fence("a.example", NULL);
    assert_true(list_has("\"fenced\":"));
    assert_true(list_has("\"fenced_alive\":false"));
    sim_host_say(&s.b, &s.vm.uuid, VIEW_RUN, 0, true);
    result = sim_host_say(&s.a, &s.vm.uuid, VIEW_RUN, s.vm.epoch, false);
    assert_int_equal(result.answer, LEASE_FOREIGN);
    assert_string_equal(result.holder, "b.example");
    assert_true(list_has("\"fenced_alive\":true"));
    assert_true(audit_has("\"what\":\"host-not-dead\""));
    stage_clear(&s);
}

/* What a.example is told of its run of epoch `e`. */
static int
asks_of_run(struct stage *s, uint64_t e)
{
    char path[120];

    snprintf(path, sizeof path, "/v1/host/vm?uuid=%s&epoch=%llu", s->vm.text, (unsigned long long)e);
    return sim_host_ask(&s->a, "GET", path, NULL);
}

static void
that_another_took_it_after_a_fence_is_said_to_the_fenced_one_alone(void **state)
{
    struct lease_result result;
    char path[120];
    struct stage s;

    (void)state;
    stage_new(&s);
    assert_int_equal(asks_of_run(&s, s.vm.epoch), 200); /* it has it */
    the_api.skew_ms = 5;
    fence("a.example", NULL);
    assert_int_equal(asks_of_run(&s, s.vm.epoch), 404); /* nobody took it */
    the_api.skew_ms = 10;
    sim_host_say(&s.b, &s.vm.uuid, VIEW_RUN, 0, true);
    assert_int_equal(asks_of_run(&s, s.vm.epoch), 409);
    assert_string_equal(the_api.problem, "fenced");
    assert_int_equal(asks_of_run(&s, 0), 404);                         /* a run without a lease */
    assert_int_equal(asks_of_run(&s, s.vm.epoch + 3600 * 1000), 404); /* one that began since */
    snprintf(path, sizeof path, "/v1/host/vm?uuid=%s&epoch=%llu", s.vm.text, (unsigned long long)s.vm.epoch);
    assert_int_equal(sim_host_ask(&s.c, "GET", path, NULL), 404); /* it was not fenced */
    snprintf(path, sizeof path, "/v1/host/vm?uuid=%s&epoch=-1", s.vm.text);
    assert_int_equal(sim_host_ask(&s.a, "GET", path, NULL), 400);
    assert_int_equal(sim_host_placed(&s.a, &s.vm.uuid, json_pack("{s:b}", "force", 1)), 200);
    result = sim_host_say(&s.a, &s.vm.uuid, VIEW_RUN, s.vm.epoch, false);
    assert_int_equal(result.answer, LEASE_OK); /* an operator gave it back */
    assert_int_equal(asks_of_run(&s, s.vm.epoch), 200);
    stage_clear(&s);
}

static void
without_a_fence_no_host_is_told_so(void **state)
{
    struct stage s;

    (void)state;
    stage_new(&s);
    assert_int_equal(sim_host_placed(&s.b, &s.vm.uuid, json_pack("{s:b}", "force", 1)), 200);
    sim_host_say(&s.b, &s.vm.uuid, VIEW_RUN, 0, true);
    assert_int_equal(asks_of_run(&s, s.vm.epoch), 404);
    fence("a.example", NULL); /* behind it: what it had then is not that */
    assert_int_equal(asks_of_run(&s, s.vm.epoch), 404);
    stage_clear(&s);
}

static void
a_host_that_was_booted_anew_is_a_host_like_others(void **state)
{
    struct sim_word end = { .view = VIEW_GU, .boot = "11111111-2222-4333-8444-555555555555" };
    struct stage s;

    (void)state;
    stage_new(&s);
    sim_host_say(&s.a, &s.vm.uuid, VIEW_RUN, s.vm.epoch, false);
    fence("a.example", NULL);
    sim_host_say(&s.b, &s.vm.uuid, VIEW_RUN, 0, true);
    end.e = s.vm.epoch;
    sim_host_say_all(&s.a, &s.vm.uuid, &end); /* what it had to say changes nothing */
    assert_false(list_has("\"fenced\":"));
    assert_true(audit_has("\"what\":\"host-back\""));
    assert_int_equal(sim_host_say(&s.a, &s.vm.uuid, VIEW_RUN, 0, true).answer, LEASE_FOREIGN);
    stage_clear(&s);
}

static void
it_can_be_for_one_host_alone(void **state)
{
    struct stage s;

    (void)state;
    stage_new(&s);
    assert_int_equal(fence("a.example", json_pack("{s:s}", "to", "a.example")), 409);
    assert_int_equal(fence("a.example", json_pack("{s:s}", "to", "nobody.example")), 404);
    assert_int_equal(fence("a.example", json_pack("{s:s}", "to", "b.example")), 503); /* it has never reported */
    assert_string_equal(the_api.problem, "host-silent");
    sim_host_say(&s.b, &(struct vm_uuid){ { 9 } }, VIEW_OFF, 0, false);
    assert_int_equal(fence("a.example", json_pack("{s:s}", "to", "b.example")), 200);
    assert_int_equal(counted("placed"), 1);
    assert_int_equal(sim_host_say(&s.c, &s.vm.uuid, VIEW_RUN, 0, true).answer, LEASE_FOREIGN);
    assert_int_equal(sim_host_say(&s.b, &s.vm.uuid, VIEW_RUN, 0, true).answer, LEASE_OK);
    stage_clear(&s);
}

static void
it_can_be_looked_at_before(void **state)
{
    int64_t records;
    struct stage s;

    (void)state;
    stage_new(&s);
    records = api_audit_count();
    assert_int_equal(fence("a.example", json_pack("{s:b}", "dry_run", 1)), 200);
    assert_int_equal(counted("vms"), 1);
    assert_int_equal(api_audit_count(), records);
    assert_int_equal(sim_vm_token(&s.vm, &s.a, &answer), 200);
    assert_false(list_has("\"fenced\":"));
    assert_int_equal(fence("nobody.example", NULL), 404);
    stage_clear(&s);
}

static void
a_host_with_many_is_fenced_page_by_page(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_host_clear) struct sim_host b;
    char after[VM_UUID_TEXT] = "";
    int64_t all = 0;
    int pages = 0;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_host_new(&b, "b.example");
    for (uint8_t i = 0; i < 130; i++)
        assert_int_equal(sim_host_say(&a, &(struct vm_uuid){ { 1, i } }, VIEW_RUN, 0, true).answer, LEASE_OK);
    do {
        CLEANUP(json_decref) json_t *o = NULL;
        const char *next;

        assert_int_equal(fence("a.example", after[0] ? json_pack("{s:s}", "after", after) : NULL), 200);
        o = api_answer();
        all += json_integer_value(json_object_get(o, "vms"));
        next = json_string_value(json_object_get(o, "next"));
        snprintf(after, sizeof after, "%s", next ? next : "");
        pages++;
    } while (after[0]);
    assert_int_equal(all, 130);
    assert_int_equal(pages, 2);
    for (uint8_t i = 0; i < 130; i += 43)
        assert_int_equal(sim_host_say(&b, &(struct vm_uuid){ { 1, i } }, VIEW_RUN, 0, true).answer, LEASE_OK);
    assert_int_equal(fence("a.example", NULL), 200); /* again: what is not its is not touched */
    assert_int_equal(counted("vms"), 0);
    assert_int_equal(sim_host_say(&a, &(struct vm_uuid){ { 1, 0 } }, VIEW_RUN, 0, true).answer, LEASE_FOREIGN);
}

static void
in_grace_nobody_is_fenced(void **state)
{
    struct stage s;

    (void)state;
    stage_new(&s);
    sim_host_say(&s.a, &s.vm.uuid, VIEW_RUN, s.vm.epoch, false);
    api_restart();
    assert_int_equal(fence("a.example", NULL), 503);
    assert_string_equal(the_api.problem, "grace");
    stage_clear(&s);
}

/* ---- placement ---- */

/* It was on b, whose daemon went away; a has it by force, and gave it back. */
static uint64_t
was_on_b(struct stage *s)
{
    uint64_t e;

    assert_int_equal(sim_host_placed(&s->b, &s->vm.uuid, json_pack("{s:b}", "force", 1)), 200);
    e = sim_host_say(&s->b, &s->vm.uuid, VIEW_RUN, 0, true).e;
    assert_int_equal(sim_host_placed(&s->a, &s->vm.uuid, json_pack("{s:b}", "force", 1)), 200);
    s->vm.epoch = sim_host_say(&s->a, &s->vm.uuid, VIEW_RUN, 0, true).e;
    sim_host_say(&s->a, &s->vm.uuid, VIEW_GO, s->vm.epoch, false);
    return e;
}

static void
what_the_named_host_had_to_say_comes_before_the_placement(void **state)
{
    struct sim_word old = { .view = VIEW_GM };
    struct lease_pull pull;
    struct error err;
    struct stage s;
    char path[80];

    (void)state;
    stage_new(&s);
    old.e = was_on_b(&s);
    snprintf(path, sizeof path, "/v1/admin/vms/%s/place", s.vm.text);
    api_admin("POST", path, json_pack("{s:s}", "host", s.b.name));
    assert_in_range(the_api.park_ms, 1, PULL_MS);
    sim_host_ask(&s.b, "GET", "/v1/host/pull?after=0", NULL);
    assert_int_equal(lease_pull_decode((const char *)the_api.body.data, the_api.body.len, &pull, &err), 0);
    assert_int_equal(pull.n, 1);
    old.pull = pull.pull;
    sim_host_say_all(&s.b, &s.vm.uuid, &old); /* "it left here", of a run long past */
    assert_int_equal(api_admin("POST", path, json_pack("{s:s}", "host", s.b.name)), 200);
    assert_int_equal(sim_host_say(&s.b, &s.vm.uuid, VIEW_OFF, 0, false).answer, LEASE_ACK);
    assert_int_equal(sim_host_say(&s.b, &s.vm.uuid, VIEW_RUN, 0, true).answer, LEASE_OK);
    stage_clear(&s);
}

static void
a_host_that_does_not_answer_is_named_only_by_force(void **state)
{
    struct timespec second = { .tv_sec = PULL_MS / 1000, .tv_nsec = 100 * 1000 * 1000 };
    struct stage s;
    char path[80];

    (void)state;
    stage_new(&s);
    was_on_b(&s);
    snprintf(path, sizeof path, "/v1/admin/vms/%s/place", s.vm.text);
    api_admin("POST", path, json_pack("{s:s}", "host", s.b.name));
    nanosleep(&second, NULL);
    assert_int_equal(api_admin("POST", path, json_pack("{s:s}", "host", s.b.name)), 503);
    assert_string_equal(the_api.problem, "host-silent");
    api_admin("POST", path, json_pack("{s:s,s:b}", "host", s.b.name, "force", 1));
    nanosleep(&second, NULL);
    assert_int_equal(api_admin("POST", path, json_pack("{s:s,s:b}", "host", s.b.name, "force", 1)), 200);
    api_admin("POST", path, json_pack("{s:s}", "host", s.c.name)); /* never heard of this VM: nothing to tell */
    nanosleep(&second, NULL);
    assert_int_equal(api_admin("POST", path, json_pack("{s:s}", "host", s.c.name)), 200);
    stage_clear(&s);
}

/* ---- where it was ---- */

static json_t *
trail_of(const struct sim_vm *vm, bool *ret_more)
{
    CLEANUP(json_decref) json_t *all = NULL;
    char path[80];

    snprintf(path, sizeof path, "/v1/admin/vms/%s", vm->text);
    assert_int_equal(api_admin("GET", path, NULL), 200);
    all = api_answer();
    *ret_more = json_is_true(json_object_get(all, "trail_more"));
    return json_incref(json_object_get(all, "trail"));
}

static void
the_trail_says_where_it_was_and_how_that_ended(void **state)
{
    CLEANUP(json_decref) json_t *trail = NULL;
    struct stage s;
    bool more;

    (void)state;
    stage_new(&s);
    sim_host_say(&s.a, &s.vm.uuid, VIEW_GO, s.vm.epoch, false); /* a stop and a start end no stay */
    sim_host_say(&s.a, &s.vm.uuid, VIEW_RUN, 0, true);
    fence("a.example", NULL);
    sim_host_say(&s.b, &s.vm.uuid, VIEW_RUN, 0, true);
    trail = trail_of(&s.vm, &more);
    assert_false(more);
    assert_int_equal(json_array_size(trail), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(trail, 0), "host")), "a.example");
    assert_string_equal(json_string_value(json_object_get(json_array_get(trail, 0), "end")), "fenced");
    assert_true(json_is_integer(json_object_get(json_array_get(trail, 0), "until")));
    assert_string_equal(json_string_value(json_object_get(json_array_get(trail, 1), "host")), "b.example");
    assert_null(json_object_get(json_array_get(trail, 1), "until"));
    stage_clear(&s);
}

static void
a_long_trail_is_cut_at_its_old_end(void **state)
{
    CLEANUP(json_decref) json_t *trail = NULL;
    struct stage s;
    bool more;

    (void)state;
    stage_new(&s);
    for (int i = 0; i < 40; i++) {
        struct sim_host *h = i % 2 ? &s.a : &s.b;

        assert_int_equal(sim_host_placed(h, &s.vm.uuid, json_pack("{s:b}", "force", 1)), 200);
        assert_int_equal(sim_host_say(h, &s.vm.uuid, VIEW_RUN, 0, true).answer, LEASE_OK);
    }
    trail = trail_of(&s.vm, &more);
    assert_true(more);
    assert_int_equal(json_array_size(trail), 32);
    assert_string_equal(json_string_value(json_object_get(json_array_get(trail, 31), "host")), "a.example");
    assert_string_equal(json_string_value(json_object_get(json_array_get(trail, 30), "end")), "placed");
    stage_clear(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(its_vm_starts_on_another_host_and_proves_itself_there),
        API_TEST(without_a_fence_a_host_that_claims_gets_nothing_ever),
        API_TEST(a_lapsed_lease_is_for_the_successor_that_an_operator_names),
        API_TEST(the_host_that_was_not_dead_must_not_go_on_and_is_an_alarm),
        API_TEST(that_another_took_it_after_a_fence_is_said_to_the_fenced_one_alone),
        API_TEST(without_a_fence_no_host_is_told_so),
        API_TEST(a_host_that_was_booted_anew_is_a_host_like_others),
        API_TEST(it_can_be_for_one_host_alone),
        API_TEST(it_can_be_looked_at_before),
        API_TEST(a_host_with_many_is_fenced_page_by_page),
        API_TEST(in_grace_nobody_is_fenced),
        API_TEST(what_the_named_host_had_to_say_comes_before_the_placement),
        API_TEST(a_host_that_does_not_answer_is_named_only_by_force),
        API_TEST(the_trail_says_where_it_was_and_how_that_ended),
        API_TEST(a_long_trail_is_cut_at_its_old_end),
    };

    return cmocka_run_group_tests_name("api_fence", tests, api_fixture_start, api_fixture_stop);
}
