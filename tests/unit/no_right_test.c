/*
 * A guest that another host has: it is said, and the root half is asked only on the service's definite word of a fence.
 */
#include "config.h"

#include "plugin/no_right.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <event2/event.h>

#include "plugin/priv_client.h"
#include "plugin/vms.h"
#include "tests/unit/hostd_fixture.h"

/* In their places: what the service says to the question, and what the root half does. */
void __wrap_enroll_thread_submit(struct enroll_thread *thread, struct enroll_job *take_job);
int __wrap_priv_client_ask(const char *socket, const struct priv_request *request, int fd, int64_t deadline_ms,
                           struct priv_answer *ret, int *ret_fds, size_t n_fds, struct error *err);

static struct {
    int asked, stops; /* how often the service, the root half */
    uint64_t epoch;   /* of the last question */
    struct error says;
    const char *does; /* NULL: it is away */
    struct vm_uuid uuid;
    char name[NAME_DOMAIN_MAX + 1];
} world;

void
__wrap_enroll_thread_submit(struct enroll_thread *thread, struct enroll_job *take_job)
{
    (void)thread;
    world.asked++;
    world.epoch = take_job->epoch;
    take_job->failed = world.says.code == ERROR_NONE ? 0 : -1;
    take_job->error = world.says;
    take_job->done(take_job);
}

int
__wrap_priv_client_ask(const char *socket, const struct priv_request *request, int fd, int64_t deadline_ms,
                       struct priv_answer *ret, int *ret_fds, size_t n_fds, struct error *err)
{
    (void)socket;
    (void)fd;
    (void)deadline_ms;
    (void)ret_fds;
    (void)n_fds;
    world.stops += request->op == PRIV_STOP_GUEST;
    world.uuid = request->uuid;
    memcpy(world.name, request->name, sizeof world.name);
    if (!world.does)
        return error_set(err, ERROR_BUSY, "virtid-privd does not answer");
    *ret = (struct priv_answer){ .error.code = ERROR_NONE };
    strcpy(ret->result, world.does);
    return 0;
}

static struct host_identity identity;

/* It runs here in epoch 7, and host-b is said to have it. */
static struct vm *
taken(void **state)
{
    struct hostd_rig *rig = *state;

    memset(&world, 0, sizeof world);
    strcpy(identity.name, "host-a");
    rig->hostd.identity = &identity;
    hostd_rig_running(rig, 7);
    strcpy(rig->vm->domain.name, "web1");
    strcpy(rig->vm->holder, "host-b");
    rig->vm->answer = LEASE_FOREIGN;
    return rig->vm;
}

/* The answer to a report, and all that comes of it. */
static void
report(struct vm *vm)
{
    no_right_consider(vm, VIEW_RUN);
    for (int i = 0; i < 3 && vm->fence_asked; i++)
        event_base_loop(vm->hostd->base, EVLOOP_ONCE);
    assert_false(vm->fence_asked);
}

static void
said(const char *problem)
{
    world.says = (struct error){ .code = ERROR_NONE };
    if (problem)
        error_problem(&world.says, ERROR_DENIED, problem, "it says so");
}

static void
on_the_definite_word_of_a_fence_the_root_half_is_asked_once(void **state)
{
    struct vm *vm = taken(state);

    said("fenced");
    world.does = "paused";
    report(vm);
    assert_int_equal(world.epoch, 7);
    assert_int_equal(world.stops, 1);
    assert_memory_equal(&world.uuid, &vm->record.uuid, sizeof world.uuid);
    assert_string_equal(world.name, "web1");
    assert_string_equal(vm->fence_done, "paused");
    report(vm); /* what an operator lets go on goes on */
    assert_int_equal(world.stops, 1);
}

static void
while_nothing_is_done_it_is_asked_with_each_report(void **state)
{
    struct vm *vm = taken(state);

    said("fenced");
    report(vm); /* the root half is away */
    assert_string_equal(vm->fence_done, "");
    world.does = "report";
    report(vm);
    assert_string_equal(vm->fence_done, "report");
    world.does = "destroyed";
    report(vm);
    assert_string_equal(vm->fence_done, "destroyed");
    assert_int_equal(world.stops, 3);
}

static void
no_other_word_and_no_silence_is_a_reason(void **state)
{
    static const char *const words[] = { NULL, "not-found", "grace", "foreign", "rate-limited", "internal", "recovery" };
    struct vm *vm = taken(state);

    world.does = "destroyed";
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        said(words[i]);
        report(vm);
    }
    world.says = (struct error){ .code = ERROR_BUSY, .text = "no answer" };
    report(vm);
    assert_int_equal(world.asked, 8);
    assert_int_equal(world.stops, 0);
    assert_string_equal(vm->fence_done, "");
}

static void
what_is_no_run_of_a_lease_is_not_even_asked_about(void **state)
{
    struct vm *vm = taken(state);

    said("fenced");
    world.does = "destroyed";
    vm->record.e = 0; /* started while the service was away */
    report(vm);
    vm->record.e = 7;
    vm->answer = LEASE_MOVING; /* nobody has it */
    report(vm);
    vm->answer = LEASE_RETIRED;
    report(vm);
    vm->answer = LEASE_GRACE;
    report(vm);
    vm->answer = LEASE_OK;
    report(vm);
    vm->answer = LEASE_FOREIGN;
    vm->record.mode = MODE_OBSERVE; /* it is left alone */
    report(vm);
    vm->record.mode = MODE_OF_HOST;
    vm->record.managed = false; /* it was disabled */
    report(vm);
    assert_int_equal(world.asked, 0);
    assert_int_equal(world.stops, 0);
}

static void
an_answer_about_a_run_that_has_ended_stops_nothing(void **state)
{
    struct vm *vm = taken(state);

    said("fenced");
    world.does = "destroyed";
    no_right_consider(vm, VIEW_RUN);
    vm->generation++; /* it ended, and another began */
    event_base_loop(vm->hostd->base, EVLOOP_ONCE);
    assert_int_equal(world.asked, 1);
    assert_int_equal(world.stops, 0);
    assert_false(vm->fence_asked);
}

#define RIGHT_TEST(name) cmocka_unit_test_setup_teardown(name, hostd_rig_make, hostd_rig_end)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        RIGHT_TEST(on_the_definite_word_of_a_fence_the_root_half_is_asked_once),
        RIGHT_TEST(while_nothing_is_done_it_is_asked_with_each_report),
        RIGHT_TEST(no_other_word_and_no_silence_is_a_reason),
        RIGHT_TEST(what_is_no_run_of_a_lease_is_not_even_asked_about),
        RIGHT_TEST(an_answer_about_a_run_that_has_ended_stops_nothing),
    };

    return cmocka_run_group_tests_name("no_right", tests, NULL, NULL);
}
