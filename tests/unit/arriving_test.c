#include "config.h"

#include "plugin/arriving.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "plugin/hookd.h"
#include "plugin/lease.h"
#include "plugin/reconcile.h"
#include "plugin/starting.h"
#include "plugin/stopping.h"
#include "plugin/vms.h"
#include "tests/unit/hook_double.h"

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
one_that_is_moved_while_it_is_off_is_there_when_it_is_defined(void **state)
{
    struct hostd_rig *rig = *state;

    rig->vm->incoming = true;
    rig->vm->memory_ms = clock_monotonic_ms();
    hook_double_event(rig, WATCH_DEFINED);
    assert_false(vm_is_incoming(rig->vm)); /* the next `prepare` is a start's */
    assert_false(vm_memory_comes(rig->vm));
}

/* The definition of one that comes running is made when it is here. */
static void
a_definition_ends_no_arrival_that_was_prepared(void **state)
{
    struct hostd_rig *rig = *state;

    rig->vm->incoming = true;
    rig->vm->memory_ms = clock_monotonic_ms();
    strcpy(rig->vm->record.run, RUN_STARTING);
    rig->vm->record.run_k = true;
    hook_double_event(rig, WATCH_DEFINED);
    assert_true(vm_is_incoming(rig->vm));
    assert_true(vm_memory_comes(rig->vm));
}

static void
incoming(struct hostd_rig *rig, uint64_t epoch)
{
    hostd_rig_running(rig, epoch);
    rig->vm->record.run_k = true;
    rig->vm->record.run_resumed = false;
}

/* A migration that failed is tried again at once: the end of the first run belongs before the second one. */
static void
an_end_that_is_still_awaited_does_not_end_the_next_arrival(void **state)
{
    struct hostd_rig *rig = *state;

    incoming(rig, 9);
    stopping_hook(rig->vm);
    hook_answers.go = 0;
    hook_double_call(rig, "migrate");
    hostd_rig_assert_end(rig, 0, VIEW_GV, 9);
    hook_double_call(rig, "prepare");
    assert_int_equal(hook_answers.go, 2);
    assert_string_equal(rig->vm->record.run, RUN_STARTING);
    assert_true(rig->vm->record.run_k && vm_is_incoming(rig->vm));
    assert_int_equal(rig->vm->record.n_ends, 1);
}

/* A daemon that has just started, and the first look told no job yet. */
static void
a_paused_rest_that_is_destroyed_before_its_job_is_looked_at_is_doubt(void **state)
{
    struct hostd_rig *rig = *state;
    struct watch_report *report = hostd_rig_seen(rig, true, 4);

    hostd_rig_running(rig, 7);
    report->paused = report->stopped_to_move = true;
    reconcile_take(&rig->hostd, report);
    hook_double_event(rig, WATCH_STOPPED_OTHER);
    hostd_rig_assert_end(rig, 0, VIEW_GU, 7);
}

/* What can not be journalled is not said: the hook goes by its own rule, and its mark tells the next daemon. */
static void
no_hook_is_answered_after_a_failed_write(void **state)
{
    struct hostd_rig *rig = *state;

    rig->hostd.journal_failed = true;
    hook_answers.go = 0;
    hook_double_call(rig, "migrate");
    hook_double_call(rig, "prepare");
    rig->vm->incoming = false;
    hook_double_call(rig, "prepare"); /* a start's */
    assert_int_equal(hook_answers.go, 0);
    assert_null(rig->vm->start);
}

/* libvirt goes on with `prepare`, and does not say again that it is no start. */
static void
one_that_was_let_in_is_known_to_the_next_daemon(void **state)
{
    struct hostd_rig *rig = *state;

    hook_double_call(rig, "migrate");
    assert_true(rig->vm->is_saved && rig->vm->saved.run_k);
    rig->vm->incoming = false; /* killed */
    arriving_loaded(rig->vm);
    assert_true(vm_is_incoming(rig->vm) && vm_memory_comes(rig->vm));
    hook_double_call(rig, "prepare");
    assert_string_equal(rig->vm->record.run, RUN_STARTING);
    assert_true(rig->vm->record.run_k && !rig->vm->record.run_resumed);
}

/* libvirt gave it up and said nothing: the epoch that it was let in with is nobody's when the next one begins. */
static void
a_migration_that_begins_ends_the_one_that_never_came(void **state)
{
    struct hostd_rig *rig = *state;

    hook_double_call(rig, "migrate");
    rig->vm->record.e = 9;
    hook_double_call(rig, "migrate");
    hostd_rig_assert_end(rig, 0, VIEW_GI, 9);
    assert_int_equal(rig->vm->record.e, 0);
    assert_true(vm_is_incoming(rig->vm) && rig->vm->saved.run_k);
    hook_double_call(rig, "prepare");
    assert_string_equal(rig->vm->record.run, RUN_STARTING);
    assert_int_equal(rig->vm->record.n_ends, 1);
}

/* Then `prepare` is a start's again, for the next daemon, too. */
static void
one_that_was_let_in_and_did_not_come_is_forgotten(void **state)
{
    struct hostd_rig *rig = *state;

    hook_double_call(rig, "migrate");
    hook_double_event(rig, WATCH_DEFINED);
    assert_false(rig->vm->saved.run_k);
    hook_double_call(rig, "migrate");
    rig->vm->record.e = 9;
    stopping_hook(rig->vm);
    hostd_rig_assert_end(rig, 0, VIEW_GI, 9);
    assert_int_equal(rig->vm->record.e, 0);
    assert_false(rig->vm->saved.run_k);
    arriving_loaded(rig->vm);
    assert_false(vm_is_incoming(rig->vm));
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

/* Somebody let it go on, and the service gave it the lease again. */
static void
a_rest_that_got_the_lease_again_may_be_paused(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    rig->vm->record.run_switched = true;
    look(rig, true, false);
    look(rig, false, false);
    vm_begin_epoch(rig->vm, 9);
    look(rig, true, false);
    assert_int_equal(rig->vm->record.n_ends, 1);
    assert_int_equal(rig->vm->record.e, 9);
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
    hook_double_event(rig, WATCH_RESUMED_MIGRATED);
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
    hook_double_event(rig, WATCH_RESUMED_MIGRATED);
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

/* Its end is the end of the VM then, and its user may pause it. */
static void
a_switch_over_that_was_taken_back_is_none(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    rig->vm->record.run_switched = true;
    hook_double_event(rig, WATCH_RESUMED_MIGRATED);
    look(rig, true, false);
    assert_int_equal(rig->vm->record.n_ends, 0);
    hook_double_event(rig, WATCH_STOPPED_OTHER);
    hostd_rig_assert_end(rig, 0, VIEW_GO, 7);
}

/* Its journal knows the hand-over, and not whether there is a job: its word must not end that. */
static void
a_daemon_that_has_just_started_ends_no_hand_over(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    rig->vm->record.kn = 12;
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, true, 4)); /* the sweep looks at no job */
    assert_int_equal(vm_hand_over_judged(rig->vm), 0);
    look(rig, false, true);
    assert_int_equal(vm_hand_over_judged(rig->vm), 12);
    assert_true(rig->vm->leaving && rig->vm->dirty);
}

static void
once_it_has_looked_it_says_that_the_job_is_over(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    rig->vm->record.kn = 12;
    look(rig, false, false);
    assert_int_equal(vm_hand_over_judged(rig->vm), 12);
    assert_true(!rig->vm->leaving && rig->vm->dirty);
    rig->vm->record.kn = 15; /* the service told of another */
    assert_int_equal(vm_hand_over_judged(rig->vm), 0);
}

/* The switch-over came and went while nobody watched; libvirt remembers why it is paused. */
static void
a_paused_rest_that_only_libvirt_knows_has_no_right(void **state)
{
    struct hostd_rig *rig = *state;
    struct watch_report *report;

    hostd_rig_running(rig, 7);
    report = hostd_rig_seen(rig, true, 4);
    report->paused = report->stopped_to_move = report->job_known = true;
    reconcile_take(&rig->hostd, report);
    hostd_rig_assert_end(rig, 0, VIEW_OUT, 7);
    assert_int_equal(rig->vm->record.e, 0);
    assert_true(rig->vm->record.run_left);
}

/* One that waits for its memory is paused for the same reason. */
static void
what_waits_for_its_memory_is_no_paused_rest(void **state)
{
    struct hostd_rig *rig = *state;
    struct watch_report *report;

    incoming(rig, 9);
    report = hostd_rig_seen(rig, true, 4);
    report->paused = report->stopped_to_move = report->job_known = true;
    reconcile_take(&rig->hostd, report);
    assert_int_equal(rig->vm->record.n_ends, 0);
    assert_true(vm_is_incoming(rig->vm) && rig->vm->record.e == 9);
}

/* So is one that is being restored, until it goes on. */
static void
what_is_being_restored_is_no_paused_rest(void **state)
{
    struct hostd_rig *rig = *state;
    struct watch_report *report;

    hostd_rig_running(rig, 7);
    rig->vm->memory_ms = clock_monotonic_ms(); /* the hook's `restore` */
    report = hostd_rig_seen(rig, true, 4);
    report->paused = report->stopped_to_move = report->job_known = true;
    reconcile_take(&rig->hostd, report);
    assert_int_equal(rig->vm->record.n_ends, 0);
    assert_int_equal(rig->vm->record.e, 7);
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, true, 4));
    report = hostd_rig_seen(rig, true, 4); /* it goes on, and is moved away soon after */
    report->paused = report->stopped_to_move = report->job_known = true;
    reconcile_take(&rig->hostd, report);
    hostd_rig_assert_end(rig, 0, VIEW_OUT, 7);
}

static void
what_arrived_without_an_epoch_asks_again_for_a_minute(void **state)
{
    struct hostd_rig *rig = *state;
    int64_t now;

    incoming(rig, 0);
    now = clock_monotonic_ms();
    assert_false(vm_waits_for_source(rig->vm, now));
    hook_double_event(rig, WATCH_RESUMED_MIGRATED);
    assert_true(vm_waits_for_source(rig->vm, now + 30000));
    assert_false(vm_waits_for_source(rig->vm, now + 90000));
    vm_begin_epoch(rig->vm, 9);
    assert_false(vm_waits_for_source(rig->vm, now + 30000));
}

/* Where libvirt does not call its hook. */
static void
one_that_no_hook_announced_is_known_by_its_job(void **state)
{
    struct hostd_rig *rig = *state;
    struct watch_report *report = hostd_rig_seen(rig, true, 4);

    report->paused = report->stopped_to_move = true;
    reconcile_take(&rig->hostd, report);
    assert_false(vm_is_incoming(rig->vm));
    report = hostd_rig_seen(rig, true, 4);
    report->paused = report->stopped_to_move = report->job_known = report->arriving = true;
    reconcile_take(&rig->hostd, report);
    assert_true(vm_is_incoming(rig->vm));
    assert_int_equal(rig->vm->record.n_ends, 0);
    hook_double_event(rig, WATCH_RESUMED_MIGRATED);
    assert_true(!vm_is_incoming(rig->vm) && rig->vm->record.run_k);
}

/* As the hook leaves it when no daemon answers. */
static void
one_that_was_announced_to_nobody_has_not_arrived_while_it_is_paused(void **state)
{
    struct hostd_rig *rig = *state;
    struct watch_report *report = hostd_rig_seen(rig, true, 4);

    hostd_rig_mark(rig, "migrate 1\nprepare 2\nstart 3\n");
    report->paused = report->stopped_to_move = true;
    reconcile_take(&rig->hostd, report);
    assert_true(vm_is_incoming(rig->vm) && rig->vm->record.run_k);
    hook_double_event(rig, WATCH_RESUMED_MIGRATED);
    assert_true(!vm_is_incoming(rig->vm) && rig->vm->record.run_k);
}

int
main(void)
{
#define ARRIVING_TEST(name) cmocka_unit_test_setup_teardown(name, hostd_rig_make, hostd_rig_end)
    const struct CMUnitTest tests[] = {
        ARRIVING_TEST(one_that_is_moved_while_it_is_off_is_there_when_it_is_defined),
        ARRIVING_TEST(a_definition_ends_no_arrival_that_was_prepared),
        ARRIVING_TEST(an_end_that_is_still_awaited_does_not_end_the_next_arrival),
        ARRIVING_TEST(one_that_was_let_in_is_known_to_the_next_daemon),
        ARRIVING_TEST(a_migration_that_begins_ends_the_one_that_never_came),
        ARRIVING_TEST(one_that_was_let_in_and_did_not_come_is_forgotten),
        ARRIVING_TEST(no_hook_is_answered_after_a_failed_write),
        ARRIVING_TEST(a_paused_rest_that_is_destroyed_before_its_job_is_looked_at_is_doubt),
        ARRIVING_TEST(a_job_that_begins_or_ends_is_news),
        ARRIVING_TEST(a_paused_rest_behind_the_switch_over_has_no_right),
        ARRIVING_TEST(a_pause_of_its_user_is_none),
        ARRIVING_TEST(memory_that_arrived_makes_it_a_run_that_came_in),
        ARRIVING_TEST(an_arrival_that_nobody_watched_is_seen_by_the_next_look),
        ARRIVING_TEST(a_source_that_goes_on_is_the_run_it_was),
        ARRIVING_TEST(one_that_was_announced_and_did_not_come_gives_its_epoch_back),
        ARRIVING_TEST(a_switch_over_that_was_taken_back_is_none),
        ARRIVING_TEST(a_rest_that_got_the_lease_again_may_be_paused),
        ARRIVING_TEST(what_arrived_without_an_epoch_asks_again_for_a_minute),
        ARRIVING_TEST(one_that_no_hook_announced_is_known_by_its_job),
        ARRIVING_TEST(a_daemon_that_has_just_started_ends_no_hand_over),
        ARRIVING_TEST(once_it_has_looked_it_says_that_the_job_is_over),
        ARRIVING_TEST(a_paused_rest_that_only_libvirt_knows_has_no_right),
        ARRIVING_TEST(what_waits_for_its_memory_is_no_paused_rest),
        ARRIVING_TEST(what_is_being_restored_is_no_paused_rest),
        ARRIVING_TEST(one_that_was_announced_to_nobody_has_not_arrived_while_it_is_paused),
    };

    return cmocka_run_group_tests_name("arriving", tests, NULL, NULL);
}
