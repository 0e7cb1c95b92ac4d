#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "plugin/lease.h"
#include "plugin/missed.h"
#include "plugin/modes.h"
#include "plugin/reconcile.h"
#include "plugin/stopping.h"
#include "plugin/vms.h"
#include "tests/unit/hostd_fixture.h"

static void
a_power_off_inside_is_a_clean_end(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    stopping_event(rig->vm, WATCH_STOPPED_SHUTDOWN);
    hostd_rig_assert_end(rig, 0, VIEW_GO, 7);
    assert_true(rig->vm->record.clean);
    assert_int_equal(rig->vm->record.e, 0);
    assert_string_equal(rig->vm->record.run, "");
}

static void
hook_and_event_are_one_end(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    stopping_hook(rig->vm);
    stopping_hook(rig->vm);
    stopping_event(rig->vm, WATCH_STOPPED_OTHER);
    stopping_hook(rig->vm);
    stopping_event(rig->vm, WATCH_STOPPED_OTHER);
    assert_int_equal(rig->vm->record.n_ends, 1);
    hostd_rig_assert_end(rig, 0, VIEW_GO, 7);
    assert_false(rig->vm->record.clean);
}

static void
moved_away_is_said_by_the_event_alone(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    stopping_hook(rig->vm);
    stopping_event(rig->vm, WATCH_STOPPED_MIGRATED);
    hostd_rig_assert_end(rig, 0, VIEW_GM, 7);
}

static void
an_end_after_the_switch_over_is_doubt(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    rig->vm->record.run_switched = true;
    stopping_hook(rig->vm);
    stopping_settle(rig->vm);
    hostd_rig_assert_end(rig, 0, VIEW_GU, 7);
}

/* The hook says the same of one that was moved, and what libvirt says of that may still be on its way. */
static void
an_end_whose_reason_is_not_heard_is_doubt(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    stopping_hook(rig->vm);
    stopping_settle(rig->vm);
    hostd_rig_assert_end(rig, 0, VIEW_GU, 7);
    hostd_rig_running(rig, 8);
    rig->vm->record.run_k = true;
    rig->vm->record.run_resumed = false; /* as far as we know */
    stopping_hook(rig->vm);
    stopping_settle(rig->vm);
    hostd_rig_assert_end(rig, 1, VIEW_GV, 8);
}

/* A daemon that has just started: it may have been moved, and what was left of it destroyed. */
static void
an_end_before_the_first_look_is_doubt(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    rig->vm->active = rig->vm->run_confirmed = false;
    stopping_hook(rig->vm);
    stopping_event(rig->vm, WATCH_STOPPED_SHUTDOWN);
    hostd_rig_assert_end(rig, 0, VIEW_GU, 7);
    hostd_rig_running(rig, 8);
    rig->vm->active = rig->vm->run_confirmed = false;
    stopping_hook(rig->vm);
    stopping_event(rig->vm, WATCH_STOPPED_MIGRATED);
    hostd_rig_assert_end(rig, 1, VIEW_GM, 8);
}

/* Nor does libvirt say why. */
static void
a_start_that_does_not_come_up_is_no_doubt(void **state)
{
    struct hostd_rig *rig = *state;

    strcpy(rig->vm->record.run, RUN_STARTING);
    rig->vm->record.e = 9;
    rig->vm->unstarted = true; /* as prepare leaves it */
    stopping_hook(rig->vm);
    stopping_settle(rig->vm);
    hostd_rig_assert_end(rig, 0, VIEW_GO, 9);
    strcpy(rig->vm->record.run, RUN_STARTING);
    rig->vm->record.e = 10;
    rig->vm->unstarted = rig->vm->came_up = true; /* `started`, and no event of it yet */
    stopping_hook(rig->vm);
    stopping_settle(rig->vm);
    hostd_rig_assert_end(rig, 1, VIEW_GU, 10);
}

static void
an_incoming_run_that_never_resumed_is_no_end_of_the_vm(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 0);
    rig->vm->record.run_k = true;
    rig->vm->record.run_resumed = false;
    stopping_event(rig->vm, WATCH_STOPPED_OTHER);
    hostd_rig_assert_end(rig, 0, VIEW_GI, 0);
}

static void
an_end_that_nobody_watched_is_doubt(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    stopping_unwatched(rig->vm, false);
    hostd_rig_assert_end(rig, 0, VIEW_GU, 7);
    hostd_rig_running(rig, 8);
    rig->vm->record.run_k = true;
    stopping_unwatched(rig->vm, false);
    hostd_rig_assert_end(rig, 1, VIEW_GV, 8);
}

static void
nothing_is_signed_while_an_end_is_unreported(void **state)
{
    struct hostd_rig *rig = *state;
    const char *reason;

    hostd_rig_running(rig, 7);
    rig->vm->lease_until_ms = 1000;
    assert_int_equal(vm_may_sign(rig->vm, 999, &reason), 7);
    assert_int_equal(vm_may_sign(rig->vm, 1000, &reason), 0);
    assert_string_equal(reason, "lease-lapsed");
    lease_end(rig->vm, VIEW_GO);
    hostd_rig_running(rig, 8);
    rig->vm->lease_until_ms = 1000;
    assert_int_equal(vm_may_sign(rig->vm, 999, &reason), 0);
    assert_string_equal(reason, "end-unreported");
}

static void
a_hundred_loose_runs_fit_into_the_queue(void **state)
{
    struct hostd_rig *rig = *state;

    for (int i = 0; i < 100; i++) {
        hostd_rig_running(rig, i % 3 ? 0 : 100 + (uint64_t)i);
        stopping_event(rig->vm, WATCH_STOPPED_OTHER);
    }
    assert_true(rig->vm->record.n_ends <= LEASE_ENDS_MAX);
    assert_int_equal(rig->vm->record.ends[LEASE_ENDS_MAX - 1].view, VIEW_GU);
}

/* A revert ends a run and begins one; a sweep that was under way shows the new one before the old one's end is told. */
static void
the_end_of_the_run_before_is_not_that_of_the_one_that_is_shown(void **state)
{
    struct hostd_rig *rig = *state;

    strcpy(rig->vm->record.run, RUN_STARTING);
    rig->vm->record.e = 9;
    rig->vm->unstarted = true; /* as prepare leaves it */
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, true, 5));
    stopping_event(rig->vm, WATCH_STOPPED_OTHER);
    assert_int_equal(rig->vm->record.e, 9);
    assert_int_equal(rig->vm->record.n_ends, 0);
    assert_true(rig->vm->active);
    /* One that does not come up is told by the hook, too. */
    stopping_hook(rig->vm);
    stopping_event(rig->vm, WATCH_STOPPED_OTHER);
    hostd_rig_assert_end(rig, 0, VIEW_GO, 9);
}

static void
a_start_that_was_allowed_keeps_its_epoch(void **state)
{
    struct hostd_rig *rig = *state;

    strcpy(rig->vm->record.run, RUN_STARTING);
    rig->vm->record.e = 9;
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, true, 5));
    assert_int_equal(rig->vm->record.e, 9);
    assert_int_equal(rig->vm->record.n_ends, 0);
    assert_true(rig->vm->record.ran && rig->vm->active);
    assert_int_equal(strncmp(rig->vm->record.run, "5@", 2), 0);
}

static void
another_run_than_the_one_we_knew_has_no_epoch(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    rig->vm->run_confirmed = false; /* we were away */
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, true, 6));
    hostd_rig_assert_end(rig, 0, VIEW_GU, 7);
    assert_int_equal(rig->vm->record.e, 0);
    assert_true(rig->vm->active);
}

static void
a_run_that_the_hook_noted_is_not_the_one_we_allowed(void **state)
{
    struct hostd_rig *rig = *state;

    strcpy(rig->vm->record.run, RUN_STARTING);
    rig->vm->record.e = 9;
    hostd_rig_mark(rig, "prepare 1760000000\nstart 1760000000\n");
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, true, 5));
    hostd_rig_assert_end(rig, 0, VIEW_GU, 9);
    assert_int_equal(rig->vm->record.e, 0);
    assert_false(missed_look(rig->dir, &rig->vm->record.uuid).any);
}

static void
between_prepare_and_qemu_a_sweep_ends_nothing(void **state)
{
    struct hostd_rig *rig = *state;

    strcpy(rig->vm->record.run, RUN_STARTING);
    rig->vm->record.e = 9;
    rig->vm->starting_since_ms = clock_monotonic_ms();
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, false, -1));
    assert_int_equal(rig->vm->record.n_ends, 0);
    assert_int_equal(rig->vm->record.e, 9);
}

static void
metadata_that_vanishes_changes_nothing_for_an_enrolled_vm(void **state)
{
    struct hostd_rig *rig = *state;

    rig->vm->record.steps[STEP_ACCOUNT].state = STEP_DONE;
    hostd_rig_running(rig, 7);
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, true, 4)); /* its XML has no marker */
    assert_true(rig->vm->record.managed);
    assert_int_equal(rig->vm->record.e, 7);
}

static void
a_domain_without_marker_is_not_ours(void **state)
{
    struct hostd_rig *rig = *state;

    rig->vm->record.managed = false;
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, true, 4));
    assert_false(rig->vm->active || rig->vm->record.managed);
}

static struct watch_report *
started(const struct hostd_rig *rig)
{
    struct watch_report *report = calloc(1, sizeof *report);

    report->kind = WATCH_EVENT;
    report->event = WATCH_STARTED;
    report->uuid = rig->vm->record.uuid;
    return report;
}

static void
a_start_without_a_call_of_the_hook_is_noticed(void **state)
{
    struct hostd_rig *rig = *state;

    reconcile_take(&rig->hostd, started(rig));
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, true, 5));
    assert_string_equal(rig->hostd.hook.silent, "web1");
}

static void
it_is_noticed_once_in_whatever_order_libvirt_tells(void **state)
{
    struct hostd_rig *rig = *state;

    reconcile_take(&rig->hostd, hostd_rig_seen(rig, true, 5)); /* looked at for another reason, before the event */
    assert_string_equal(rig->hostd.hook.silent, "");
    reconcile_take(&rig->hostd, started(rig));
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, true, 5));
    assert_string_equal(rig->hostd.hook.silent, "web1");
    rig->hostd.hook.silent[0] = '\0'; /* libvirt has called since, for another domain */
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, true, 5));
    assert_string_equal(rig->hostd.hook.silent, "");
}

static void
a_start_that_the_hook_asked_for_is_no_alarm(void **state)
{
    struct hostd_rig *rig = *state;

    rig->vm->hook_seen = true;
    reconcile_take(&rig->hostd, started(rig));
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, true, 5));
    assert_string_equal(rig->hostd.hook.silent, "");
}

static void
a_run_from_before_our_time_is_no_alarm(void **state)
{
    struct hostd_rig *rig = *state;

    reconcile_take(&rig->hostd, hostd_rig_seen(rig, true, 5));
    assert_string_equal(rig->hostd.hook.silent, "");
}

static struct watch_report *
undefined(const struct hostd_rig *rig)
{
    struct watch_report *gone = calloc(1, sizeof *gone);

    gone->kind = WATCH_GONE;
    gone->uuid = rig->vm->record.uuid;
    return gone;
}

static void
provisioned(struct hostd_rig *rig)
{
    for (int i = 0; i < STEP_COUNT; i++)
        rig->vm->record.steps[i].state = STEP_DONE;
    rig->vm->record.ek_len = 5;
    rig->vm->record.has_x0 = rig->vm->record.has_point = true;
    strcpy(rig->vm->record.account, "pending");
}

static void
what_was_made_for_a_vm_that_never_started_goes_with_it(void **state)
{
    struct hostd_rig *rig = *state;

    provisioned(rig);
    reconcile_take(&rig->hostd, undefined(rig));
    assert_int_equal(rig->vm->record.ek_len, 0);
    assert_false(rig->vm->record.has_x0 || rig->vm->record.has_point);
    for (int i = STEP_VTPM; i < STEP_COUNT; i++)
        assert_int_equal(rig->vm->record.steps[i].state, STEP_OPEN);
    assert_true(rig->vm->record.managed);
    assert_memory_equal(&rig->vm->saved, &rig->vm->record, sizeof rig->vm->saved);
}

static void
what_a_vm_has_once_started_stays_when_it_is_undefined(void **state)
{
    struct hostd_rig *rig = *state;

    for (int i = 0; i < 3; i++) {
        struct start *start = (struct start *)rig;

        provisioned(rig);
        rig->vm->record.ran = i == 0;
        strcpy(rig->vm->record.account, i == 1 ? "ok" : "pending");
        rig->vm->start = i == 2 ? start : NULL; /* transient, not shown yet */
        reconcile_take(&rig->hostd, undefined(rig));
        rig->vm->start = NULL;
        assert_int_equal(rig->vm->record.ek_len, 5);
        assert_true(rig->vm->record.has_point && vm_is_enrolled(rig->vm));
    }
}

static void
what_is_made_while_the_vm_is_undefined_goes_when_it_is_made(void **state)
{
    struct hostd_rig *rig = *state;

    rig->vm->provision = (struct provision *)rig;
    provisioned(rig);
    reconcile_take(&rig->hostd, undefined(rig));
    assert_true(vm_is_enrolled(rig->vm));
    rig->vm->provision = NULL;
    reconcile_provisioned(rig->vm);
    assert_int_equal(rig->vm->record.ek_len, 0);
    assert_false(vm_is_enrolled(rig->vm));
    provisioned(rig);
    reconcile_provisioned(rig->vm);
    assert_true(vm_is_enrolled(rig->vm));
}

static void
a_vm_that_is_undefined_and_comes_back_is_the_same(void **state)
{
    struct hostd_rig *rig = *state;

    provisioned(rig);
    rig->vm->record.ran = true;
    reconcile_take(&rig->hostd, undefined(rig));
    assert_true(rig->vm->record.managed && vm_is_enrolled(rig->vm));
    assert_string_equal(vm_state_word(rig->vm), "absent");
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, false, -1));
    assert_string_equal(vm_state_word(rig->vm), "off");
    assert_int_equal(rig->vm->record.n_ends, 0);
}

static void
xml_that_can_not_be_read_ends_no_run(void **state)
{
    struct hostd_rig *rig = *state;
    struct watch_report *report = hostd_rig_seen(rig, true, 4);
    struct watch_report *begins = calloc(1, sizeof *begins), *ends = calloc(1, sizeof *ends);

    hostd_rig_running(rig, 7);
    free(report->xml);
    report->xml = strdup("<domain><name>web1");
    begins->kind = WATCH_SWEEP_BEGINS;
    ends->kind = WATCH_SWEEP_ENDS;
    reconcile_take(&rig->hostd, begins);
    reconcile_take(&rig->hostd, report);
    reconcile_take(&rig->hostd, ends);
    assert_true(rig->vm->active);
    assert_int_equal(rig->vm->record.e, 7);
    assert_int_equal(rig->vm->record.n_ends, 0);
}

static void
a_run_too_short_to_be_seen_is_a_run(void **state)
{
    struct hostd_rig *rig = *state;

    strcpy(rig->vm->record.run, RUN_STARTING);
    rig->vm->record.clean = true;
    reconcile_take(&rig->hostd, started(rig));
    stopping_event(rig->vm, WATCH_STOPPED_OTHER);
    assert_true(rig->vm->record.ran);
    assert_false(rig->vm->record.clean);
}

static void
an_offline_migration_leaves_nothing_behind(void **state)
{
    struct hostd_rig *rig = *state;

    rig->vm->incoming = true;
    rig->vm->memory_ms = clock_monotonic_ms() - 5000;
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, false, -1));
    assert_true(rig->vm->incoming); /* prepare may follow yet */
    rig->vm->memory_ms = clock_monotonic_ms() - 20000;
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, false, -1));
    assert_false(rig->vm->incoming);
    assert_true(vm_memory_comes(rig->vm)); /* and still no disk is written for a while */
    rig->vm->memory_ms = clock_monotonic_ms() - 601 * 1000;
    assert_false(vm_memory_comes(rig->vm));
}

static void
what_is_in_the_journal_is_not_written_again(void **state)
{
    struct hostd_rig *rig = *state;
    char path[100];

    vm_save(rig->vm);
    snprintf(path, sizeof path, "%s/vms/6ba7b810-9dad-11d1-80b4-00c04fd430c8.json", rig->dir);
    assert_int_equal(unlink(path), 0);
    vm_save(rig->vm);
    assert_int_equal(access(path, F_OK), -1);
    rig->vm->record.e = 5;
    vm_save(rig->vm);
    assert_int_equal(access(path, F_OK), 0);
}

static bool
strict_file_is_there(const struct hostd_rig *rig)
{
    char path[100];

    snprintf(path, sizeof path, "%s/6ba7b810-9dad-11d1-80b4-00c04fd430c8", rig->dir);
    return access(path, F_OK) == 0;
}

static void
a_strict_vm_has_a_file_for_the_hook_and_only_then(void **state)
{
    struct hostd_rig *rig = *state;

    modes_take(rig->vm, MODE_STRICT);
    assert_true(vm_is_strict(rig->vm) && strict_file_is_there(rig));
    modes_take(rig->vm, MODE_STRICT);
    assert_true(strict_file_is_there(rig));
    modes_take(rig->vm, MODE_OBSERVE);
    assert_false(vm_is_strict(rig->vm) || strict_file_is_there(rig));
    rig->hostd.settings.mode = MODE_STRICT;
    modes_take(rig->vm, MODE_OF_HOST);
    assert_true(vm_is_strict(rig->vm) && strict_file_is_there(rig));
    rig->vm->record.managed = false;
    modes_mark(rig->vm);
    assert_false(strict_file_is_there(rig));
}

static void
an_observed_run_has_no_end_to_tell(void **state)
{
    struct hostd_rig *rig = *state;

    rig->vm->record.mode = MODE_OBSERVE;
    hostd_rig_running(rig, 0);
    assert_false(vm_needs_lease(rig->vm));
    stopping_event(rig->vm, WATCH_STOPPED_OTHER);
    assert_int_equal(rig->vm->record.n_ends, 0);
    assert_string_equal(rig->vm->record.run, "");
}

static void
a_run_that_had_the_lease_tells_its_end_also_when_observed_since(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    modes_take(rig->vm, MODE_OBSERVE);
    assert_false(vm_is_observed(rig->vm));
    assert_true(vm_needs_lease(rig->vm));
    stopping_event(rig->vm, WATCH_STOPPED_OTHER);
    hostd_rig_assert_end(rig, 0, VIEW_GO, 7);
    assert_true(vm_is_observed(rig->vm));
}

#define IN_RIG(test) cmocka_unit_test_setup_teardown(test, hostd_rig_make, hostd_rig_end)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        IN_RIG(a_power_off_inside_is_a_clean_end),
        IN_RIG(hook_and_event_are_one_end),
        IN_RIG(moved_away_is_said_by_the_event_alone),
        IN_RIG(an_end_after_the_switch_over_is_doubt),
        IN_RIG(an_end_whose_reason_is_not_heard_is_doubt),
        IN_RIG(an_end_before_the_first_look_is_doubt),
        IN_RIG(a_start_that_does_not_come_up_is_no_doubt),
        IN_RIG(an_incoming_run_that_never_resumed_is_no_end_of_the_vm),
        IN_RIG(an_end_that_nobody_watched_is_doubt),
        IN_RIG(nothing_is_signed_while_an_end_is_unreported),
        IN_RIG(a_hundred_loose_runs_fit_into_the_queue),
        IN_RIG(the_end_of_the_run_before_is_not_that_of_the_one_that_is_shown),
        IN_RIG(a_start_that_was_allowed_keeps_its_epoch),
        IN_RIG(another_run_than_the_one_we_knew_has_no_epoch),
        IN_RIG(a_run_that_the_hook_noted_is_not_the_one_we_allowed),
        IN_RIG(between_prepare_and_qemu_a_sweep_ends_nothing),
        IN_RIG(metadata_that_vanishes_changes_nothing_for_an_enrolled_vm),
        IN_RIG(a_domain_without_marker_is_not_ours),
        IN_RIG(a_start_without_a_call_of_the_hook_is_noticed),
        IN_RIG(it_is_noticed_once_in_whatever_order_libvirt_tells),
        IN_RIG(a_start_that_the_hook_asked_for_is_no_alarm),
        IN_RIG(a_run_from_before_our_time_is_no_alarm),
        IN_RIG(what_was_made_for_a_vm_that_never_started_goes_with_it),
        IN_RIG(what_a_vm_has_once_started_stays_when_it_is_undefined),
        IN_RIG(what_is_made_while_the_vm_is_undefined_goes_when_it_is_made),
        IN_RIG(a_vm_that_is_undefined_and_comes_back_is_the_same),
        IN_RIG(xml_that_can_not_be_read_ends_no_run),
        IN_RIG(a_run_too_short_to_be_seen_is_a_run),
        IN_RIG(an_offline_migration_leaves_nothing_behind),
        IN_RIG(a_strict_vm_has_a_file_for_the_hook_and_only_then),
        IN_RIG(an_observed_run_has_no_end_to_tell),
        IN_RIG(a_run_that_had_the_lease_tells_its_end_also_when_observed_since),
        IN_RIG(what_is_in_the_journal_is_not_written_again),
    };

    return cmocka_run_group_tests_name("starting", tests, NULL, NULL);
}
