/*
 * The steps of the two ratchets, cut between any two of them: the real agent with a real swtpm is killed, its guest
 * dies, its host loses its power.
 */
#include "config.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/flow/agent_rig.h"

enum { EVENTS_MAX = 12, BOTH = RATCHET_KEY | RATCHET_INDEX };

static struct rig rig;

/* What is left after the agent was killed at its n-th event; false: it has fewer. */
static bool
kill_at(struct rig *r, int n)
{
    rig_configure(r, "audiences = db\n"); /* it proves itself unasked */
    r->wish.kill_agent_at = n;
    rig_start_agent(r);
    while (r->wish.kill_agent_at > 0 && !rig_wait(r, &r->tokens, 1, 1))
        ;
    if (r->wish.kill_agent_at > 0)
        return false;
    rig_kill_agent(r); /* reaps it */
    return true;
}

typedef void aftermath(struct rig *r);

/* Each moment, each with a VM of its own. */
static void
after_a_kill_at_each_event(aftermath *then)
{
    int n = 1;

    for (;; n++) {
        struct rig *r = &rig;

        rig_new(r, true);
        rig_keep_tpm(r, "durable"); /* as it was made */
        if (!kill_at(r, n)) {
            rig_free(r);
            break;
        }
        then(r);
        rig_start_agent(r);
        assert_true(rig_fresh_token(r, "db"));
        assert_true(r->steps >= 1);
        assert_int_equal(r->stepped, BOTH);
        assert_false(rig_has(r, "state/slots/new"));
        assert_false(r->account.ratchet.has_next || r->account.ratchet.has_xnext);
        rig_free(r);
        assert_true(n < EVENTS_MAX);
    }
    assert_true(n > 6); /* SYNC, SIGN, PROVE, ACTIVATE's PROVE, SYNC, SIGN, PROVE */
}

static void
same_run(struct rig *r)
{
    (void)r;
}

static void
an_agent_killed_between_any_two_steps_goes_on(void **state)
{
    (void)state;
    after_a_kill_at_each_event(same_run);
}

static void
a_guest_that_dies_between_any_two_steps_proves_itself_in_its_next_run(void **state)
{
    (void)state;
    after_a_kill_at_each_event(rig_new_epoch);
}

/* What swtpm wrote since the last SYNC is gone. */
static void
a_host_that_loses_its_power_between_any_two_steps_locks_nobody_out(void **state)
{
    (void)state;
    after_a_kill_at_each_event(rig_power_loss);
}

/* `agent_step_kill_test 'a_host_*'`: those only. */
int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_agent_killed_between_any_two_steps_goes_on),
        cmocka_unit_test(a_guest_that_dies_between_any_two_steps_proves_itself_in_its_next_run),
        cmocka_unit_test(a_host_that_loses_its_power_between_any_two_steps_locks_nobody_out),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("agent_step_kill", tests, NULL, NULL);
}
