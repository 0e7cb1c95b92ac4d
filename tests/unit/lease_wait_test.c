/*
 * A host that the service asks to wait does wait, not all hosts alike, and not so long that its leases lapse.
 */
#include "config.h"

#include "plugin/lease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/hostd_fixture.h"

static int64_t now_ms = 1000000;
static struct enroll_job *sent;

int64_t __wrap_clock_monotonic_ms(void);
void __wrap_enroll_thread_submit(struct enroll_thread *thread, struct enroll_job *take_job);
void __wrap_mailbox_post(struct mailbox *mailbox, mailbox_letter *letter, void *context);

int64_t
__wrap_clock_monotonic_ms(void)
{
    return now_ms;
}

void
__wrap_enroll_thread_submit(struct enroll_thread *thread, struct enroll_job *take_job)
{
    (void)thread;
    assert_null(sent);
    sent = take_job;
}

void
__wrap_mailbox_post(struct mailbox *mailbox, mailbox_letter *letter, void *context)
{
    (void)mailbox;
    letter(context);
}

/* A report that is refused, with this Retry-After; when is the next one due? */
static int64_t
wait_after(struct hostd *hostd, const char *problem, unsigned retry_s)
{
    struct enroll_job *job;

    hostd->next_report_ms = 0;
    lease_tick(hostd, now_ms);
    job = sent;
    sent = NULL;
    assert_non_null(job);
    job->failed = error_problem(&job->error, ERROR_BUSY, problem, "not now");
    job->error.retry_s = retry_s;
    job->done(job);
    lease_tick(hostd, hostd->next_report_ms - 1);
    assert_null(sent);
    return hostd->next_report_ms - now_ms;
}

static void
a_host_waits_as_long_as_it_is_asked_to_but_not_until_a_lease_lapses(void **state)
{
    static const struct {
        unsigned retry_s;
        int64_t least, most;
    } rows[] = { { 0, 3000, 3750 }, { 2, 3000, 3750 }, { 10, 10000, 12500 }, { 15, 15000, 18750 }, { 300, 15000, 18750 } };
    struct hostd_rig *rig = *state;
    struct host_identity identity = { .name = "host1", .not_after = INT64_MAX };

    rig->hostd.identity = &identity;
    rig->hostd.enroll = (struct enroll_thread *)rig; /* never looked into */
    hostd_rig_running(rig, 7);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t shortest = INT64_MAX, longest = 0;

        for (int n = 0; n < 100; n++) {
            int64_t wait = wait_after(&rig->hostd, "rate-limited", rows[i].retry_s);

            assert_in_range(wait, rows[i].least, rows[i].most);
            shortest = wait < shortest ? wait : shortest;
            longest = wait > longest ? wait : longest;
            now_ms++;
        }
        assert_true(longest - shortest > (rows[i].most - rows[i].least) / 2); /* spread, not once more all alike */
    }
    assert_true(rig->hostd.service_up); /* it is there, and has had enough of us */
    (void)wait_after(&rig->hostd, "unavailable", 10);
    assert_false(rig->hostd.service_up);
    rig->hostd.enroll = NULL;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_host_waits_as_long_as_it_is_asked_to_but_not_until_a_lease_lapses, hostd_rig_make,
                                        hostd_rig_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
