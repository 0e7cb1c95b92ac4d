#include "config.h"

#include "plugin/arriving.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "plugin/lease.h"
#include "plugin/reconcile.h"
#include "plugin/vms.h"
#include "tests/unit/hostd_fixture.h"

/* What libvirt shows of a migration out of here. */
static void
look(struct hostd_rig *rig, bool paused, bool leaving)
{
    struct watch_report *report = hostd_rig_seen(rig, true, 4);

    report->paused = paused;
    report->job_known = true;
    report->leaving = leaving;
    reconcile_take(&rig->hostd, report);
}

static void
tell(struct hostd_rig *rig, enum watch_event event)
{
    struct watch_report *report = calloc(1, sizeof *report);

    report->kind = WATCH_EVENT;
    report->event = event;
    report->uuid = rig->vm->record.uuid;
    reconcile_take(&rig->hostd, report);
}

static void
incoming(struct hostd_rig *rig, uint64_t epoch)
{
    hostd_rig_running(rig, epoch);
    rig->vm->record.run_k = true;
    rig->vm->record.run_resumed = false;
}

static void
a_job_that_begins_or_ends_is_news(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    look(rig, false, true);
    assert_true(rig->vm->leaving && rig->vm->dirty);
    rig->vm->dirty = false;
    look(rig, false, true);
    assert_false(rig->vm->dirty);
    look(rig, false, false);
    assert_true(!rig->vm->leaving && rig->vm->dirty);
    assert_int_equal(rig->vm->record.e, 7);
    assert_int_equal(rig->vm->record.n_ends, 0);
}

static void
a_paused_rest_behind_the_switch_over_has_no_right(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    rig->vm->record.run_switched = true;
    look(rig, true, true); /* the job is still there */
    assert_int_equal(rig->vm->record.n_ends, 0);
    look(rig, true, false);
    hostd_rig_assert_end(rig, 0, VIEW_OUT, 7);
    assert_int_equal(rig->vm->record.e, 0);
    assert_true(rig->vm->record.run_left && rig->vm->active && !rig->vm->record.run_k);
    look(rig, true, false);
    assert_int_equal(rig->vm->record.n_ends, 1); /* once */
}

static void
a_pause_of_its_user_is_none(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    look(rig, true, false);
    assert_int_equal(rig->vm->record.n_ends, 0);
    assert_int_equal(rig->vm->record.e, 7);
}

static void
memory_that_arrived_makes_it_a_run_that_came_in(void **state)
{
    struct hostd_rig *rig = *state;

    incoming(rig, 9);
    assert_true(vm_is_incoming(rig->vm));
    tell(rig, WATCH_RESUMED_MIGRATED);
    assert_false(vm_is_incoming(rig->vm));
    assert_true(rig->vm->record.run_k && rig->vm->record.run_resumed && rig->vm->dirty);
    assert_int_equal(rig->vm->record.e, 9);
}

static void
an_arrival_that_nobody_watched_is_seen_by_the_next_look(void **state)
{
    struct hostd_rig *rig = *state;

    incoming(rig, 9);
    look(rig, true, false);
    assert_true(vm_is_incoming(rig->vm));
    look(rig, false, false);
    assert_false(vm_is_incoming(rig->vm));
}

/* libvirt says "Resumed Migrated" there, too. */
static void
a_source_that_goes_on_is_the_run_it_was(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    tell(rig, WATCH_RESUMED_MIGRATED);
    assert_false(rig->vm->record.run_k);
    assert_int_equal(rig->vm->record.e, 7);
}

static void
one_that_was_announced_and_did_not_come_gives_its_epoch_back(void **state)
{
    struct hostd_rig *rig = *state;

    rig->vm->incoming = true;
    rig->vm->record.e = 9;
    rig->vm->memory_ms = clock_monotonic_ms() - 20000;
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, false, -1));
    hostd_rig_assert_end(rig, 0, VIEW_GI, 9);
    assert_int_equal(rig->vm->record.e, 0);
    assert_false(vm_is_incoming(rig->vm));
}

int
main(void)
{
#define ARRIVING_TEST(name) cmocka_unit_test_setup_teardown(name, hostd_rig_make, hostd_rig_end)
    const struct CMUnitTest tests[] = {
        ARRIVING_TEST(a_job_that_begins_or_ends_is_news),
        ARRIVING_TEST(a_paused_rest_behind_the_switch_over_has_no_right),
        ARRIVING_TEST(a_pause_of_its_user_is_none),
        ARRIVING_TEST(memory_that_arrived_makes_it_a_run_that_came_in),
        ARRIVING_TEST(an_arrival_that_nobody_watched_is_seen_by_the_next_look),
        ARRIVING_TEST(a_source_that_goes_on_is_the_run_it_was),
        ARRIVING_TEST(one_that_was_announced_and_did_not_come_gives_its_epoch_back),
    };

    return cmocka_run_group_tests_name("arriving", tests, NULL, NULL);
}
