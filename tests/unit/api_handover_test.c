/*
 * A live migration as the service sees it: the destination asks, the source is asked, the guest decides.
 */
#include "config.h"

#include "tests/unit/api_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tokenservice/api/grace_end.h"

static struct answer answer;
static char woken[4][PARK_KEY_MAX + 1];
static size_t n_woken;

static void
note_wake(void *context, const char *key)
{
    (void)context;
    if (n_woken < 4)
        strcpy(woken[n_woken++], key);
}

/* Hosts "a", where the VM runs and has proved itself, and "b". */
struct stage {
    struct sim_host a, b;
    struct sim_vm vm;
};

static void
stage_new(struct stage *s, int has)
{
    sim_host_new(&s->a, "a.example");
    sim_host_new(&s->b, "b.example");
    sim_vm_enrolled(&s->vm, 1, has, &s->a);
    the_api.service.wake = note_wake;
    n_woken = 0;
}

static void
stage_clear(struct stage *s)
{
    sim_vm_clear(&s->vm);
    sim_host_clear(&s->a);
    sim_host_clear(&s->b);
}

static uint64_t
pulled(struct sim_host *h, const struct vm_uuid *uuid)
{
    struct lease_pull pull;
    struct error err;

    assert_int_equal(sim_host_ask(h, "GET", "/v1/host/pull?after=0", NULL), 200);
    assert_int_equal(lease_pull_decode((const char *)the_api.body.data, the_api.body.len, &pull, &err), 0);
    assert_int_equal(pull.n, 1);
    assert_true(vm_uuid_equal(&pull.uuids[0], uuid));
    return pull.pull;
}

static struct lease_result
hands_over(struct sim_host *h, const struct sim_vm *vm, bool again)
{
    struct sim_word word = { .view = VIEW_INC, .op = LEASE_OP_HANDOVER, .same_seq = again };
    struct lease_result result;

    the_api.again = again;
    result = sim_host_say_all(h, &vm->uuid, &word);
    the_api.again = false;
    return result;
}

/* The whole of it up to the source's word: the epoch of "b". */
static uint64_t
becomes_candidate(struct stage *s)
{
    struct sim_word job = { .view = VIEW_JOB, .e = s->vm.epoch };
    struct lease_result result;

    hands_over(&s->b, &s->vm, false);
    assert_true(the_api.park_ms > 0);
    job.pull = pulled(&s->a, &s->vm.uuid);
    assert_int_equal(sim_host_say_all(&s->a, &s->vm.uuid, &job).answer, LEASE_OK);
    result = hands_over(&s->b, &s->vm, true);
    assert_int_equal(the_api.park_ms, 0);
    assert_int_equal(result.answer, LEASE_CANDIDATE);
    assert_true(result.e > s->vm.epoch);
    return result.e;
}

/* "on A until t, on B since t" */
static void
check_trail(const struct sim_vm *vm, const char *from, const char *to)
{
    CLEANUP(json_decref) json_t *all = NULL;
    const json_t *trail, *first, *second;
    char path[80];

    snprintf(path, sizeof path, "/v1/admin/vms/%s", vm->text);
    assert_int_equal(api_admin("GET", path, NULL), 200);
    all = api_answer();
    trail = json_object_get(all, "trail");
    assert_int_equal(json_array_size(trail), 2);
    first = json_array_get(trail, 0);
    second = json_array_get(trail, 1);
    assert_string_equal(json_string_value(json_object_get(first, "host")), from);
    assert_string_equal(json_string_value(json_object_get(first, "end")), "moved");
    assert_string_equal(json_string_value(json_object_get(second, "host")), to);
    assert_true(json_equal(json_object_get(first, "until"), json_object_get(second, "since")));
    assert_null(json_object_get(second, "until"));
}

static void
the_guest_proves_itself_at_the_destination_and_that_holds_the_lease(void **state)
{
    struct sim_word gone = { .view = VIEW_GM };
    struct stage s;
    uint64_t before, e;

    (void)state;
    stage_new(&s, SIM_SECRET | SIM_TPM);
    before = s.vm.epoch;
    e = becomes_candidate(&s);
    assert_int_equal(n_woken, 2);
    assert_string_equal(woken[0], "pull a.example");
    assert_string_equal(woken[1], "handover b.example");
    assert_int_equal(sim_vm_token(&s.vm, &s.a, &answer), 200); /* the source's signatures still count */
    gone.e = before;
    sim_host_say_all(&s.a, &s.vm.uuid, &gone);
    assert_int_equal(sim_vm_token(&s.vm, &s.a, &answer), 403);
    s.vm.epoch = e;
    assert_int_equal(sim_vm_token(&s.vm, &s.a, &answer), 403); /* not by another host */
    assert_int_equal(sim_vm_token(&s.vm, &s.b, &answer), 200);
    sim_vm_check_token(&s.vm, &answer, "virtid-connect", 3);
    assert_int_equal(sim_host_say(&s.b, &s.vm.uuid, VIEW_RUN, e, false).answer, LEASE_OK);
    assert_int_equal(sim_host_say(&s.a, &s.vm.uuid, VIEW_RUN, before, true).answer, LEASE_FOREIGN);
    assert_int_equal(api_admin("GET", "/v1/admin/audit?limit=20", NULL), 200);
    buf_add_u8(&the_api.body, 0);
    assert_non_null(strstr((const char *)the_api.body.data, "from a.example to b.example"));
    check_trail(&s.vm, "a.example", "b.example");
    stage_clear(&s);
}

static void
a_destination_alone_can_not_take_it(void **state)
{
    struct sim_word run = { .view = VIEW_RUN, .k = true }, quiet = { .view = VIEW_RUN };
    struct stage s;

    (void)state;
    stage_new(&s, SIM_SECRET);
    hands_over(&s.b, &s.vm, false);
    quiet.e = s.vm.epoch;
    quiet.pull = pulled(&s.a, &s.vm.uuid);
    sim_host_say_all(&s.a, &s.vm.uuid, &quiet);
    assert_int_equal(hands_over(&s.b, &s.vm, true).answer, LEASE_NOT_MIGRATING);
    assert_int_equal(sim_host_say_all(&s.b, &s.vm.uuid, &run).answer, LEASE_FOREIGN);
    assert_int_equal(sim_vm_token(&s.vm, &s.b, &answer), 403);
    assert_int_equal(sim_vm_token(&s.vm, &s.a, &answer), 200);
    stage_clear(&s);
}

static void
a_source_that_is_silent_is_not_waited_for_longer_than_a_second(void **state)
{
    struct timespec second = { .tv_sec = PULL_MS / 1000, .tv_nsec = 100 * 1000 * 1000 };
    struct stage s;

    (void)state;
    stage_new(&s, SIM_SECRET);
    hands_over(&s.b, &s.vm, false);
    assert_in_range(the_api.park_ms, 1, PULL_MS);
    nanosleep(&second, NULL);
    assert_int_equal(hands_over(&s.b, &s.vm, true).answer, LEASE_UNKNOWN);
    assert_int_equal(sim_vm_token(&s.vm, &s.a, &answer), 200);
    stage_clear(&s);
}

static void
a_failed_migration_is_the_sources_again_in_a_new_epoch(void **state)
{
    struct sim_word back = { .view = VIEW_RUN }, never = { .view = VIEW_GI };
    struct lease_result result;
    struct stage s;
    uint64_t e;

    (void)state;
    stage_new(&s, SIM_SECRET);
    e = becomes_candidate(&s);
    never.e = e;
    sim_host_say_all(&s.b, &s.vm.uuid, &never);
    back.e = s.vm.epoch;
    back.kk = e;
    result = sim_host_say_all(&s.a, &s.vm.uuid, &back);
    assert_int_equal(result.answer, LEASE_OK);
    assert_true(result.e > e);
    assert_int_equal(sim_vm_token(&s.vm, &s.a, &answer), 403); /* in the old epoch */
    s.vm.epoch = result.e;
    assert_int_equal(sim_vm_token(&s.vm, &s.a, &answer), 200);
    stage_clear(&s);
}

static void
a_report_that_answers_no_pull_ends_no_waiting(void **state)
{
    struct sim_word run = { .view = VIEW_RUN };
    struct stage s;

    (void)state;
    stage_new(&s, SIM_SECRET);
    hands_over(&s.b, &s.vm, false);
    run.e = s.vm.epoch;
    sim_host_say_all(&s.a, &s.vm.uuid, &run); /* it was on its way */
    run.pull = 1;                             /* an earlier one */
    sim_host_say_all(&s.a, &s.vm.uuid, &run);
    hands_over(&s.b, &s.vm, true);
    assert_true(the_api.park_ms > 0);
    run.pull = pulled(&s.a, &s.vm.uuid);
    sim_host_say_all(&s.b, &s.vm.uuid, &(struct sim_word){ .view = VIEW_OFF, .pull = run.pull }); /* not its */
    hands_over(&s.b, &s.vm, false);
    assert_true(the_api.park_ms > 0);
    stage_clear(&s);
}

static void
nothing_wanted_is_a_parked_request_with_an_end(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_host_ask(&h, "GET", "/v1/host/pull?after=0", NULL);
    assert_in_range(the_api.park_ms, PULL_POLL_MS - 1000, PULL_POLL_MS);
    assert_int_equal(sim_host_ask(&h, "GET", "/v1/host/pull", NULL), 400);
    assert_int_equal(sim_host_ask(&h, "GET", "/v1/host/pull?after=-1", NULL), 400);
}

static void
after_a_restart_the_candidate_gets_a_new_epoch(void **state)
{
    struct sim_word inc = { .view = VIEW_INC }, job = { .view = VIEW_JOB };
    struct lease_result result;
    struct stage s;
    uint64_t e;

    (void)state;
    stage_new(&s, SIM_SECRET);
    e = becomes_candidate(&s);
    api_restart();
    job.e = s.vm.epoch;
    sim_host_say_all(&s.a, &s.vm.uuid, &job);
    inc.e = e;
    assert_int_equal(sim_host_say_all(&s.b, &s.vm.uuid, &inc).answer, LEASE_GRACE);
    result = sim_host_say_all(&s.b, &s.vm.uuid, &inc);
    assert_int_equal(result.answer, LEASE_CANDIDATE);
    assert_true(result.e > e);
    s.vm.epoch = e;
    assert_int_equal(sim_vm_token(&s.vm, &s.b, &answer), 403);
    s.vm.epoch = result.e;
    assert_int_equal(sim_vm_token(&s.vm, &s.b, &answer), 200);
    stage_clear(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(the_guest_proves_itself_at_the_destination_and_that_holds_the_lease),
        API_TEST(a_destination_alone_can_not_take_it),
        API_TEST(a_source_that_is_silent_is_not_waited_for_longer_than_a_second),
        API_TEST(a_failed_migration_is_the_sources_again_in_a_new_epoch),
        API_TEST(a_report_that_answers_no_pull_ends_no_waiting),
        API_TEST(nothing_wanted_is_a_parked_request_with_an_end),
        API_TEST(after_a_restart_the_candidate_gets_a_new_epoch),
    };

    return cmocka_run_group_tests_name("api_handover", tests, api_fixture_start, api_fixture_stop);
}
