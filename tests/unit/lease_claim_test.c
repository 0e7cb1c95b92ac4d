/*
 * Reports and the question for a start's lease are under way at the same time: a run begins with one epoch, the one
 * that the service gave last.
 */
#include "config.h"

#include "plugin/lease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/hostd_fixture.h"

enum { MOST = 4 };

static struct enroll_job *sent[MOST];
static size_t n_sent;
static enum lease_outcome claimed;

void __wrap_enroll_thread_submit(struct enroll_thread *thread, struct enroll_job *take_job);
void __wrap_mailbox_post(struct mailbox *mailbox, mailbox_letter *letter, void *context);

void
__wrap_enroll_thread_submit(struct enroll_thread *thread, struct enroll_job *take_job)
{
    (void)thread;
    assert_true(n_sent < MOST);
    sent[n_sent++] = take_job;
}

void
__wrap_mailbox_post(struct mailbox *mailbox, mailbox_letter *letter, void *context)
{
    (void)mailbox;
    letter(context);
}

static void
note_outcome(struct vm *vm, enum lease_outcome outcome, const char *why)
{
    (void)vm;
    (void)why;
    claimed = outcome;
}

/* The service says of the VM in this request that it holds the lease in epoch `e`. */
static void
answer(struct enroll_job *job, uint64_t e)
{
    job->n_results = 1;
    job->results[0] = (struct lease_result){ .uuid = job->report.vms[0].uuid, .answer = LEASE_OK, .e = e,
                                             .acked_seq = job->report.seq };
    job->done(job);
}

static int
join(void **state)
{
    static struct host_identity identity = { .name = "host1", .not_after = INT64_MAX };
    struct hostd_rig *rig;

    if (hostd_rig_make(state) < 0)
        return -1;
    rig = *state;
    rig->hostd.identity = &identity;
    rig->hostd.enroll = (struct enroll_thread *)rig; /* never looked into */
    hostd_rig_running(rig, 0);
    n_sent = 0;
    claimed = LEASE_NOBODY;
    return 0;
}

static int
leave(void **state)
{
    struct hostd_rig *rig = *state;

    rig->hostd.enroll = NULL;
    return hostd_rig_end(state);
}

static void
report(struct hostd_rig *rig)
{
    lease_report_soon(rig->vm);
    lease_report_now(&rig->hostd);
}

static void
what_a_report_was_given_before_a_start_asked_is_not_the_starts(void **state)
{
    struct hostd_rig *rig = *state;

    report(rig);
    lease_claim(rig->vm, note_outcome);
    assert_int_equal(n_sent, 2);
    answer(sent[0], 10);
    assert_int_equal(rig->vm->record.e, 0);
    answer(sent[1], 11);
    assert_int_equal(rig->vm->record.e, 11);
    assert_int_equal(claimed, LEASE_GOT);
}

static void
while_a_start_asks_no_report_asks_for_another(void **state)
{
    struct hostd_rig *rig = *state;

    report(rig);
    lease_claim(rig->vm, note_outcome);
    answer(sent[0], 10);
    report(rig); /* news, while the question is out */
    assert_int_equal(n_sent, 2);
    answer(sent[1], 11);
    lease_report_now(&rig->hostd); /* they were kept */
    assert_int_equal(n_sent, 3);
    assert_int_equal(sent[2]->report.vms[0].e, 11);
    answer(sent[2], 11);
}

static void
an_answer_that_was_overtaken_takes_no_epoch_back(void **state)
{
    struct hostd_rig *rig = *state;

    lease_claim(rig->vm, note_outcome);
    rig->vm->pull = 1;
    lease_answer_pull(rig->vm); /* the service's question waits for nothing */
    assert_int_equal(n_sent, 2);
    answer(sent[1], 11);
    answer(sent[0], 10);
    assert_int_equal(rig->vm->record.e, 11);
    assert_int_equal(claimed, LEASE_GOT);
}

static void
a_start_whose_question_was_lost_gets_its_epoch_by_the_next_report(void **state)
{
    struct hostd_rig *rig = *state;

    lease_claim(rig->vm, note_outcome);
    sent[0]->failed = error_problem(&sent[0]->error, ERROR_BUSY, "unavailable", "not now");
    sent[0]->done(sent[0]);
    assert_int_equal(rig->vm->record.e, 0);
    report(rig);
    answer(sent[1], 12);
    assert_int_equal(rig->vm->record.e, 12);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_a_report_was_given_before_a_start_asked_is_not_the_starts, join, leave),
        cmocka_unit_test_setup_teardown(while_a_start_asks_no_report_asks_for_another, join, leave),
        cmocka_unit_test_setup_teardown(an_answer_that_was_overtaken_takes_no_epoch_back, join, leave),
        cmocka_unit_test_setup_teardown(a_start_whose_question_was_lost_gets_its_epoch_by_the_next_report, join, leave),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
