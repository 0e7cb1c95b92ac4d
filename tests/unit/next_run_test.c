/*
 * libvirt begins another run, and what was before it has not been told: by a daemon that was killed and has not looked
 * yet, by events that are late, by a migration that was let in and never came.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plugin/arriving.h"
#include "plugin/hookd.h"
#include "plugin/lease.h"
#include "plugin/missed.h"
#include "plugin/reconcile.h"
#include "plugin/starting.h"
#include "plugin/stopping.h"
#include "plugin/vms.h"
#include "tests/unit/hook_double.h"

/* Only what this call is answered is counted. */
static void
call_hook(struct hostd_rig *rig, const char *op)
{
    hook_answers = (struct hook_answers){ 0 };
    hook_double_call(rig, op);
}

/* What the journal of a daemon has that was killed while the VM arrived. */
static void
arrived_to_nobody(struct hostd_rig *rig, uint64_t epoch)
{
    struct vm_record *r = &rig->vm->record;

    strcpy(r->run, RUN_STARTING);
    r->e = r->run_e = epoch;
    r->run_k = true;
}

static struct watch_report *
found(void)
{
    struct watch_report *report = calloc(1, sizeof *report);

    report->kind = WATCH_FOUND;
    return report;
}

static bool
is_marked(const struct hostd_rig *rig)
{
    return missed_look(rig->dir, &rig->vm->record.uuid).any;
}

/* ---- before the first look ---- */

static void
a_start_says_first_that_the_run_of_the_journal_is_over(void **state)
{
    struct hostd_rig *rig = *state;

    arrived_to_nobody(rig, 9);
    hostd_rig_mark(rig, "stopped 1\nrelease 1\n");
    call_hook(rig, "prepare");
    hostd_rig_assert_end(rig, 0, VIEW_GV, 9); /* it came in, and may have been resumed */
    assert_int_equal(rig->vm->record.n_ends, 1);
    assert_true(hook_answers.go == 1 && rig->vm->record.e == 0 && !rig->vm->record.run_k);
    assert_string_equal(rig->vm->record.run, RUN_STARTING);
    assert_false(is_marked(rig));
}

static void
a_start_says_first_what_a_mark_tells_of(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_mark(rig, "prepare 1\nstarted 1\nstopped 2\nrelease 2\n");
    call_hook(rig, "prepare");
    hostd_rig_assert_end(rig, 0, VIEW_GU, 0);
    rig->vm->record.e = 9;
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, true, 5));
    assert_int_equal(rig->vm->record.e, 9); /* that mark was of another run */
    assert_int_equal(rig->vm->record.n_ends, 1);
}

static void
a_known_run_and_a_missed_one_are_two_ends(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    rig->vm->active = rig->vm->run_confirmed = false;
    hostd_rig_mark(rig, "stopped 1\nrelease 1\nmigrate 2\nprepare 2\nstarted 2\nstopped 3\nrelease 3\n");
    call_hook(rig, "prepare");
    hostd_rig_assert_end(rig, 0, VIEW_GU, 7);
    hostd_rig_assert_end(rig, 1, VIEW_GV, 0);
}

static void
a_missed_run_ends_before_the_one_that_is_shown(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_mark(rig, "migrate 1\nprepare 1\nstopped 2\nrelease 2\nprepare 3\nstarted 3\n");
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, true, 5));
    hostd_rig_assert_end(rig, 0, VIEW_GV, 0);
    assert_int_equal(rig->vm->record.n_ends, 1);
    assert_true(rig->vm->active && !rig->vm->record.run_k);
}

/* Libvirt's word is of the last run; that it moved on holds for those before. */
static void
migrated_is_the_only_word_of_all_of_them(void **state)
{
    struct hostd_rig *rig = *state;
    struct watch_report *report = hostd_rig_seen(rig, false, 0);

    hostd_rig_running(rig, 7);
    hostd_rig_mark(rig, "stopped 1\nrelease 1\nprepare 2\nstarted 2\nstopped 3\nrelease 3\n");
    report->left_migrated = true;
    reconcile_take(&rig->hostd, report);
    hostd_rig_assert_end(rig, 0, VIEW_GM, 7);
    assert_int_equal(rig->vm->record.n_ends, 1);
}

static void
a_mark_stays_until_its_run_is_in_the_journal(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_mark(rig, "prepare 1\nstarted 1\nstopped 2\nrelease 2\n");
    rig->hostd.journal_failed = true;
    call_hook(rig, "prepare");
    assert_true(is_marked(rig) && hook_answers.go == 0);
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, false, 0));
    assert_true(is_marked(rig));
}

/* Between `prepare` and QEMU: libvirt shows nothing, and its end will be told. */
static void
a_missed_run_that_is_not_shown_yet_is_no_end(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_mark(rig, "migrate 1\nprepare 1\n");
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, false, 0));
    assert_true(rig->vm->record.n_ends == 0 && vm_is_incoming(rig->vm) && !is_marked(rig));
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, true, 5));
    assert_true(rig->vm->record.n_ends == 0 && rig->vm->record.run_k && rig->vm->record.run_resumed);
}

/* The mark is older than our start, the hook's `started` newer, and a look from between the two comes last. */
static void
what_the_hook_said_of_a_missed_run_is_not_of_the_one_before(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    rig->vm->active = rig->vm->run_confirmed = false;
    hostd_rig_mark(rig, "stopped 1\nrelease 1\nprepare 2\n");
    rig->vm->came_up = true; /* hook `started` */
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, false, 0));
    hostd_rig_assert_end(rig, 0, VIEW_GU, 7);
    stopping_hook(rig->vm); /* libvirt's words of its begin, switch-over and end are still to come */
    call_hook(rig, "prepare");
    hostd_rig_assert_end(rig, 1, VIEW_GU, 0);
}

static void
the_end_of_a_missed_run_takes_its_mark(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_mark(rig, "prepare 1\nstarted 1\n");
    stopping_hook(rig->vm);
    hostd_rig_assert_end(rig, 0, VIEW_GU, 0);
    assert_false(is_marked(rig));
}

/* Let in before we were killed, it arrived and ended, and was started again; libvirt tells us of the last first. */
static void
what_was_let_in_may_have_come_before_a_missed_start(void **state)
{
    struct hostd_rig *rig = *state;
    struct watch_report *seen = hostd_rig_seen(rig, true, 5);

    hostd_rig_running(rig, 7);
    strcpy(rig->vm->record.run, RUN_STARTING);
    rig->vm->record.run_k = rig->vm->incoming = true;
    rig->vm->record.run_resumed = rig->vm->active = rig->vm->run_confirmed = false;
    hostd_rig_mark(rig, "stopped 1\nrelease 1\nprepare 2\n");
    hook_double_event(rig, WATCH_STARTED);
    assert_int_equal(rig->vm->record.n_ends, 0);
    seen->began_here = true;
    reconcile_take(&rig->hostd, seen);
    hostd_rig_assert_end(rig, 0, VIEW_GV, 7);
    assert_true(rig->vm->record.e == 0 && !rig->vm->record.run_k);
}

/* ---- a migration that a mark announces ---- */

static void
what_a_mark_announces_goes_on_with_prepare(void **state)
{
    struct hostd_rig *rig = *state;

    rig->vm->record.run_k = true; /* one was let in before, and never came */
    rig->vm->record.e = 9;
    arriving_loaded(rig->vm);
    hostd_rig_mark(rig, "migrate 1\n");
    call_hook(rig, "prepare");
    hostd_rig_assert_end(rig, 0, VIEW_GI, 9);
    assert_true(hook_answers.go == 1 && rig->vm->record.e == 0 && vm_is_incoming(rig->vm) && rig->vm->record.run_k);
}

static void
a_look_in_between_forgets_no_announcement(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_mark(rig, "migrate 1\n");
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, false, 0));
    assert_int_equal(rig->vm->record.n_ends, 0); /* it is no run yet */
    call_hook(rig, "prepare");
    assert_true(vm_is_incoming(rig->vm) && rig->vm->record.run_k);
}

/* The hook has refused it, so this is a start's. */
static void
a_strict_one_that_only_a_mark_announces_is_none(void **state)
{
    struct hostd_rig *rig = *state;

    rig->vm->record.mode = MODE_STRICT;
    hostd_rig_mark(rig, "migrate 1\n");
    call_hook(rig, "prepare");
    assert_true(hook_answers.no == 1 && hook_answers.go == 0 && !vm_is_incoming(rig->vm)); /* no service, no lease */
    assert_string_equal(rig->vm->record.run, "");
}

/* ---- a migration that was let in and never came ---- */

static void
a_start_in_its_place_has_no_right_to_its_epoch(void **state)
{
    struct hostd_rig *rig = *state;
    struct watch_report *report = hostd_rig_seen(rig, true, 5);

    call_hook(rig, "migrate");
    rig->vm->record.e = 9;
    call_hook(rig, "prepare"); /* a start's: libvirt does not say so */
    assert_true(hook_answers.go == 1 && vm_is_incoming(rig->vm));
    report->began_here = true;
    reconcile_take(&rig->hostd, report);
    hostd_rig_assert_end(rig, 0, VIEW_GI, 9);
    assert_true(rig->vm->record.e == 0 && !rig->vm->record.run_k && !vm_is_incoming(rig->vm));
    assert_true(rig->vm->active && strncmp(rig->vm->record.run, "5@", 2) == 0);
}

/* It may be paused, so that no look shows how it began. */
static void
libvirts_word_of_a_start_is_enough(void **state)
{
    struct hostd_rig *rig = *state;

    call_hook(rig, "migrate");
    rig->vm->record.e = 9;
    call_hook(rig, "prepare");
    hook_double_event(rig, WATCH_STARTED);
    hostd_rig_assert_end(rig, 0, VIEW_GI, 9);
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, true, 5));
    assert_true(rig->vm->record.e == 0 && !rig->vm->record.run_k && !vm_is_incoming(rig->vm));
    assert_int_equal(rig->vm->record.n_ends, 1);
}

static void
nor_has_one_that_only_a_mark_tells_of(void **state)
{
    struct hostd_rig *rig = *state;
    struct watch_report *report = hostd_rig_seen(rig, true, 5);

    rig->vm->record.run_k = true; /* let in by the daemon of before */
    rig->vm->record.e = 9;
    arriving_loaded(rig->vm);
    hostd_rig_mark(rig, "prepare 1\nstarted 1\n");
    report->began_here = true;
    reconcile_take(&rig->hostd, report);
    assert_true(rig->vm->record.e == 0 && !rig->vm->record.run_k && !vm_is_incoming(rig->vm));
}

static void
what_runs_and_has_not_begun_here_has_arrived(void **state)
{
    struct hostd_rig *rig = *state;

    call_hook(rig, "migrate");
    rig->vm->record.e = 9;
    call_hook(rig, "prepare");
    reconcile_take(&rig->hostd, hostd_rig_seen(rig, true, 5));
    assert_true(rig->vm->record.e == 9 && rig->vm->record.run_k && rig->vm->record.run_resumed);
}

static void
a_restore_in_its_place_is_a_start(void **state)
{
    struct hostd_rig *rig = *state;

    call_hook(rig, "migrate");
    rig->vm->record.e = 9;
    call_hook(rig, "restore");
    hostd_rig_assert_end(rig, 0, VIEW_GI, 9);
    assert_true(!vm_is_incoming(rig->vm) && vm_memory_comes(rig->vm));
    call_hook(rig, "prepare");
    assert_false(rig->vm->record.run_k);
}

/* libvirt asks the hook before it sees that: else a copy that was started here would become a candidate. */
static void
none_is_let_in_where_it_runs(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    call_hook(rig, "migrate");
    assert_true(hook_answers.no == 1 && hook_answers.go == 0);
    rig->vm->active = false; /* by the journal: nobody has looked yet */
    call_hook(rig, "migrate");
    assert_true(hook_answers.no == 1 && !vm_is_incoming(rig->vm));
    assert_true(rig->vm->record.e == 7 && rig->vm->record.n_ends == 0);
    hostd_rig_mark(rig, "stopped 1\nrelease 1\n");
    call_hook(rig, "migrate");
    hostd_rig_assert_end(rig, 0, VIEW_GU, 7);
    assert_true(hook_answers.go == 1 && vm_is_incoming(rig->vm));
}

/* ---- events that are late ---- */

static void
end_the_first_of_two(struct hostd_rig *rig)
{
    call_hook(rig, "migrate");
    call_hook(rig, "prepare");
    rig->vm->came_up = true; /* hook `started` */
    stopping_hook(rig->vm);
    call_hook(rig, "migrate");
    rig->vm->record.e = 9;
    hostd_rig_assert_end(rig, 0, VIEW_GV, 0);
}

static void
late_words_of_a_run_do_not_end_the_migration_that_is_announced(void **state)
{
    struct hostd_rig *rig = *state;

    end_the_first_of_two(rig);
    hook_double_event(rig, WATCH_STARTED_MIGRATED);
    hook_double_event(rig, WATCH_STOPPED_OTHER);
    call_hook(rig, "prepare");
    assert_true(vm_is_incoming(rig->vm) && rig->vm->record.e == 9);
    assert_int_equal(rig->vm->record.n_ends, 1);
}

static void
late_words_of_a_run_do_not_end_the_one_that_begins(void **state)
{
    struct hostd_rig *rig = *state;

    end_the_first_of_two(rig);
    call_hook(rig, "prepare");
    hook_double_event(rig, WATCH_STARTED_MIGRATED);
    hook_double_event(rig, WATCH_STOPPED_OTHER);
    assert_true(vm_is_incoming(rig->vm) && rig->vm->record.e == 9);
    hook_double_event(rig, WATCH_STARTED_MIGRATED); /* its own */
    hook_double_event(rig, WATCH_STOPPED_OTHER);
    hostd_rig_assert_end(rig, 1, VIEW_GI, 9);
}

static void
late_words_of_an_arrival_are_not_of_the_next(void **state)
{
    struct hostd_rig *rig = *state;

    end_the_first_of_two(rig);
    hook_double_event(rig, WATCH_RESUMED_MIGRATED);
    assert_true(vm_is_incoming(rig->vm));
    call_hook(rig, "prepare");
    hook_double_event(rig, WATCH_RESUMED_MIGRATED);
    hook_double_event(rig, WATCH_SUSPENDED_MIGRATED);
    assert_true(vm_is_incoming(rig->vm) && !rig->vm->record.run_switched);
    hook_double_event(rig, WATCH_STARTED_MIGRATED); /* the first one's */
    hook_double_event(rig, WATCH_STARTED_MIGRATED); /* its own */
    hook_double_event(rig, WATCH_RESUMED_MIGRATED);
    assert_true(!vm_is_incoming(rig->vm) && rig->vm->record.run_resumed);
}

/* Its own end is awaited already: the hook has told it, and libvirt's word says that it was moved. */
static void
a_late_end_of_a_run_is_not_that_of_the_next(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    stopping_hook(rig->vm);
    call_hook(rig, "prepare");
    hostd_rig_assert_end(rig, 0, VIEW_GU, 7);
    rig->vm->record.e = 9;
    rig->vm->came_up = true; /* hook `started` */
    stopping_hook(rig->vm);
    hook_double_event(rig, WATCH_STOPPED_OTHER);
    assert_int_equal(rig->vm->record.n_ends, 1);
    hook_double_event(rig, WATCH_STARTED);
    hook_double_event(rig, WATCH_STOPPED_MIGRATED);
    hostd_rig_assert_end(rig, 1, VIEW_GM, 9);
}

/* libvirtd starts its domains before it lets anybody in: the hook tells us of a run, and libvirt's word is for nobody. */
static void
a_run_that_began_before_libvirt_was_found_has_an_end(void **state)
{
    struct hostd_rig *rig = *state;

    for (unsigned n = 0; n < 2; n++) {
        call_hook(rig, "prepare");
        rig->vm->record.e = 7 + n;
        rig->vm->came_up = true; /* hook `started` */
        if (n == 0)
            reconcile_take(&rig->hostd, found());
        else
            hook_double_event(rig, WATCH_STARTED);
        reconcile_take(&rig->hostd, hostd_rig_seen(rig, true, 4 + (int)n));
        stopping_hook(rig->vm);
        hook_double_event(rig, WATCH_STOPPED_SHUTDOWN);
        hostd_rig_assert_end(rig, n, VIEW_GO, 7 + n);
    }
}

/* ---- looks that are late ---- */

static void
a_late_look_at_a_run_is_not_one_at_the_next(void **state)
{
    struct hostd_rig *rig = *state;
    struct watch_report *late = hostd_rig_seen(rig, true, 4), *next = hostd_rig_seen(rig, true, 5);

    hostd_rig_running(rig, 7);
    stopping_hook(rig->vm);
    call_hook(rig, "prepare");
    rig->vm->record.e = 9;
    rig->vm->end_look = late->looks + 1; /* asked for when the first was over */
    reconcile_take(&rig->hostd, late);
    assert_string_equal(rig->vm->record.run, RUN_STARTING);
    assert_false(rig->vm->active);
    next->looks = rig->vm->end_look;
    reconcile_take(&rig->hostd, next);
    assert_true(rig->vm->active && rig->vm->record.e == 9);
    assert_int_equal(rig->vm->record.n_ends, 1);
}

static void
look_at_no_job(struct hostd_rig *rig, uint64_t looks)
{
    struct watch_report *report = hostd_rig_seen(rig, true, 4);

    report->job_known = true;
    report->looks = looks;
    reconcile_take(&rig->hostd, report);
}

/* That nothing leaves would end it, and make its destination a copy. */
static void
an_older_look_does_not_judge_a_newer_hand_over(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    rig->vm->record.kn = 8;
    rig->vm->look_asked = 3;
    look_at_no_job(rig, 2);
    assert_int_equal(vm_hand_over_judged(rig->vm), 0);
    look_at_no_job(rig, 3);
    assert_int_equal(vm_hand_over_judged(rig->vm), 8);
}

static void
an_older_look_does_not_answer_the_services_question(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    rig->vm->pull = 5;
    rig->vm->pull_look = 3;
    look_at_no_job(rig, 2);
    assert_int_equal(rig->vm->pull, 5);
    look_at_no_job(rig, 3);
    assert_int_equal(rig->vm->pull, 0);
}

int
main(void)
{
#define NEXT_RUN_TEST(name) cmocka_unit_test_setup_teardown(name, hostd_rig_make, hostd_rig_end)
    const struct CMUnitTest tests[] = {
        NEXT_RUN_TEST(a_start_says_first_that_the_run_of_the_journal_is_over),
        NEXT_RUN_TEST(a_start_says_first_what_a_mark_tells_of),
        NEXT_RUN_TEST(a_known_run_and_a_missed_one_are_two_ends),
        NEXT_RUN_TEST(a_missed_run_ends_before_the_one_that_is_shown),
        NEXT_RUN_TEST(migrated_is_the_only_word_of_all_of_them),
        NEXT_RUN_TEST(a_mark_stays_until_its_run_is_in_the_journal),
        NEXT_RUN_TEST(a_missed_run_that_is_not_shown_yet_is_no_end),
        NEXT_RUN_TEST(what_the_hook_said_of_a_missed_run_is_not_of_the_one_before),
        NEXT_RUN_TEST(the_end_of_a_missed_run_takes_its_mark),
        NEXT_RUN_TEST(what_was_let_in_may_have_come_before_a_missed_start),
        NEXT_RUN_TEST(what_a_mark_announces_goes_on_with_prepare),
        NEXT_RUN_TEST(a_look_in_between_forgets_no_announcement),
        NEXT_RUN_TEST(a_strict_one_that_only_a_mark_announces_is_none),
        NEXT_RUN_TEST(a_start_in_its_place_has_no_right_to_its_epoch),
        NEXT_RUN_TEST(libvirts_word_of_a_start_is_enough),
        NEXT_RUN_TEST(nor_has_one_that_only_a_mark_tells_of),
        NEXT_RUN_TEST(what_runs_and_has_not_begun_here_has_arrived),
        NEXT_RUN_TEST(a_restore_in_its_place_is_a_start),
        NEXT_RUN_TEST(none_is_let_in_where_it_runs),
        NEXT_RUN_TEST(late_words_of_a_run_do_not_end_the_migration_that_is_announced),
        NEXT_RUN_TEST(late_words_of_a_run_do_not_end_the_one_that_begins),
        NEXT_RUN_TEST(late_words_of_an_arrival_are_not_of_the_next),
        NEXT_RUN_TEST(a_late_end_of_a_run_is_not_that_of_the_next),
        NEXT_RUN_TEST(a_run_that_began_before_libvirt_was_found_has_an_end),
        NEXT_RUN_TEST(a_late_look_at_a_run_is_not_one_at_the_next),
        NEXT_RUN_TEST(an_older_look_does_not_judge_a_newer_hand_over),
        NEXT_RUN_TEST(an_older_look_does_not_answer_the_services_question),
    };

    return cmocka_run_group_tests_name("next_run", tests, NULL, NULL);
}
