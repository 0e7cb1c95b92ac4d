/*
 * The two ratchets, whole: the real agent with a real swtpm, a host that makes it durable, and the service's own
 * steps.  Killed between any two of them: agent_step_kill_test.c.
 */
#include "config.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/flow/agent_rig.h"

enum { BOTH = RATCHET_KEY | RATCHET_INDEX };

static struct rig rig;

static int
with_tpm(void **state)
{
    rig_new(&rig, true);
    rig_keep_tpm(&rig, "durable"); /* as it was made */
    *state = &rig;
    return 0;
}

static int
without_tpm(void **state)
{
    rig_new(&rig, false);
    *state = &rig;
    return 0;
}

static int
tear_down(void **state)
{
    rig_free(*state);
    return 0;
}

static void
a_first_boot_takes_two_proofs_and_its_token_is_fresh(void **state)
{
    struct rig *r = *state;

    rig_start_agent(r);
    assert_true(rig_fresh_token(r, "db"));
    assert_int_equal(r->accepted, 2);
    assert_int_equal(r->extends, 1);
    assert_int_equal(r->syncs, 2);
    assert_int_equal(r->steps, 1);
    assert_int_equal(r->stepped, BOTH);
    assert_int_equal(r->resolves, 0);
    assert_false(rig_has(r, "state/slots/new"));
    assert_true(rig_fresh_token(r, "other")); /* later: one proof */
    assert_int_equal(r->accepted, 3);
    assert_int_equal(r->syncs, 2);
    assert_int_equal(r->steps, 1);
    rig_stop_agent(r);
}

static void
without_a_tpm_one_proof_steps_the_key(void **state)
{
    struct rig *r = *state;

    rig_start_agent(r);
    assert_true(rig_fresh_token(r, "db"));
    assert_int_equal(r->accepted, 1);
    assert_int_equal(r->steps, 1);
    assert_int_equal(r->syncs, 0);
    assert_int_equal(r->stepped, RATCHET_KEY);
    assert_false(rig_has(r, "state/slots/new"));
}

static void
an_agent_that_restarts_in_a_run_that_has_stepped_steps_no_more(void **state)
{
    struct rig *r = *state;

    rig_start_agent(r);
    assert_true(rig_fresh_token(r, "db"));
    rig_stop_agent(r);
    rig_start_agent(r);
    assert_true(rig_fresh_token(r, "db"));
    assert_int_equal(r->accepted, 3);
    assert_int_equal(r->steps, 1);
    assert_false(rig_has(r, "state/slots/new"));
}

static void
a_new_epoch_steps_both_in_the_running_agent_and_cached_tokens_are_served_meanwhile(void **state)
{
    struct rig *r = *state;
    char first[300], token[300];
    unsigned syncs;

    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, first, sizeof first), 0);
    syncs = r->syncs;
    r->wish.refuse_sync = 1000; /* the step stands still */
    rig_new_epoch(r);
    assert_true(rig_wait(r, &r->syncs, syncs + 1, 60));
    assert_int_equal(rig_token(r, "db", 0, token, sizeof token), 0);
    assert_string_equal(token, first);
    r->wish.refuse_sync = 0;
    assert_true(rig_wait(r, &r->steps, 2, 60));
    assert_true(rig_wait(r, &r->tokens, 2, 60));
    assert_int_equal(r->resolves, 0);
    assert_int_equal(r->activations, 1);
    rig_stop_agent(r);
}

static void
a_new_greeting_in_the_same_epoch_is_no_new_run(void **state)
{
    struct rig *r = *state;

    rig_start_agent(r);
    assert_true(rig_fresh_token(r, "db"));
    rig_cut(r);
    assert_true(rig_fresh_token(r, "other"));
    assert_int_equal(r->steps, 1);
    assert_int_equal(r->syncs, 2);
}

static void
no_proof_leaves_before_the_host_has_synced(void **state)
{
    struct rig *r = *state;

    r->wish.refuse_sync = 1;
    rig_start_agent(r);
    (void)rig_token(r, "db", 0, NULL, 0);
    assert_true(rig_wait(r, &r->syncs, 1, 60));
    assert_true(rig_wait_status(r, "sync-failed", 60) || r->syncs > 1);
    assert_true(rig_fresh_token(r, "db"));
    assert_true(r->syncs >= 3);
    assert_int_equal(r->accepted, 2);
}

static void
a_lost_answer_is_asked_for_again(void **state)
{
    struct rig *r = *state;

    rig_start_agent(r);
    assert_true(rig_fresh_token(r, "db"));
    for (unsigned i = 0; i < 2; i++) { /* EXTEND's, then TOKEN's */
        unsigned steps = r->steps, proofs = r->proofs;

        rig_new_epoch(r);
        if (i > 0)
            assert_true(rig_wait(r, &r->proofs, proofs + 1, 60));
        r->wish.lose_answer = true;
        assert_true(rig_wait(r, &r->steps, steps + 1, 60));
        assert_true(rig_fresh_token(r, i ? "b" : "a"));
    }
    assert_int_equal(r->steps, 3);
    assert_false(rig_has(r, "state/slots/new"));
}

static void
start_in_another_run(struct rig *r)
{
    rig_stop_agent(r);
    rig_new_epoch(r);
    rig_start_agent(r);
}

/* `keep` and `put_back`: one half of the VM's state. */
static void
refused_when_put_back(struct rig *r, void (*keep)(struct rig *r, const char *name),
                      void (*put_back)(struct rig *r, const char *name), const char *word)
{
    struct ratchet before;

    rig_start_agent(r);
    assert_true(rig_fresh_token(r, "db"));
    keep(r, "old");
    start_in_another_run(r);
    assert_true(rig_fresh_token(r, "db"));
    rig_stop_agent(r);
    keep(r, "genuine");
    before = r->account.ratchet;
    put_back(r, "old");
    rig_new_epoch(r);
    rig_start_agent(r);
    assert_int_not_equal(rig_token(r, "db", 2, NULL, 0), 0);
    assert_true(rig_wait_status(r, word, 60));
    assert_memory_equal(&before, &r->account.ratchet, sizeof before);
    rig_stop_agent(r);
    put_back(r, "genuine");
    rig_start_agent(r);
    assert_true(rig_fresh_token(r, "db"));
}

static void
a_disk_that_was_put_back_is_refused_and_changes_nothing(void **state)
{
    refused_when_put_back(*state, rig_keep_slots, rig_put_back_slots, "disk-behind");
}

static void
a_tpm_that_was_put_back_is_refused_and_changes_nothing(void **state)
{
    refused_when_put_back(*state, rig_keep_tpm, rig_put_back_tpm, "tpm-behind");
}

/* Its slots are as they were refused: what it shows in the new epoch is what was seen. */
static void
accepted_when_put_back(struct rig *r, bool tpm)
{
    struct ratchet before;

    rig_start_agent(r);
    assert_true(rig_fresh_token(r, "db"));
    rig_keep_slots(r, "old");
    if (tpm)
        rig_keep_tpm(r, "old");
    start_in_another_run(r);
    assert_true(rig_fresh_token(r, "db"));
    rig_stop_agent(r);
    rig_keep_slots(r, "other");
    rig_put_back_slots(r, "old");
    if (tpm)
        rig_put_back_tpm(r, "old");
    rig_new_epoch(r);
    rig_start_agent(r);
    assert_int_not_equal(rig_token(r, "db", 2, NULL, 0), 0);
    assert_true(rig_wait_status(r, "disk-behind", 60));
    before = r->account.ratchet;
    rig_new_epoch(r); /* no word was spoken */
    assert_int_not_equal(rig_token(r, "db", 2, NULL, 0), 0);
    assert_memory_equal(&before, &r->account.ratchet, sizeof before);
    assert_int_equal(r->steps, 2);
    rig_accept(r); /* the agent runs on */
    assert_true(rig_wait(r, &r->steps, 3, 60));
    assert_true(rig_fresh_token(r, "db"));
    assert_int_equal(r->granted, 1);
    assert_int_equal(r->stepped, BOTH);
    rig_stop_agent(r);
    rig_put_back_slots(r, "other"); /* what was right before */
    rig_new_epoch(r);
    rig_start_agent(r);
    assert_int_not_equal(rig_token(r, "db", 2, NULL, 0), 0);
    assert_true(rig_wait_status(r, "disk-behind", 60));
    assert_int_equal(r->granted, 1);
}

static void
a_disk_that_was_put_back_is_accepted_in_the_running_agent(void **state)
{
    accepted_when_put_back(*state, false);
}

static void
a_disk_and_a_tpm_that_were_put_back_are_accepted_in_the_running_agent(void **state)
{
    accepted_when_put_back(*state, true);
}

/* A v that leads elsewhere than the service says would end this VM: it is not taken. */
static void
a_step_that_does_not_lead_where_it_says_is_not_made(void **state)
{
    struct rig *r = *state;

    r->wish.wrong_from = true;
    rig_start_agent(r);
    (void)rig_token(r, "db", 0, NULL, 0);
    assert_true(rig_wait(r, &r->extends, 2, 60)); /* asked again, rightly */
    assert_true(rig_fresh_token(r, "db"));
    assert_int_equal(r->steps, 1);
}

static void
upon_an_older_host_a_vm_that_does_not_step_yet_goes_on(void **state)
{
    struct rig *r = *state;
    char token[300];

    r->wish.no_sync = true;
    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, token, sizeof token), 0);
    assert_string_equal(token, "token-1.db.factors-7");
    assert_true(rig_log_has(r, "event=no-step"));
    assert_false(r->account.ratchet.on || rig_has(r, "state/slots/new"));
    r->wish.no_sync = false; /* the host is updated */
    rig_new_epoch(r);
    assert_true(rig_wait(r, &r->steps, 1, 60));
    r->wish.no_sync = true; /* and the VM moves back to an old one */
    rig_new_epoch(r);
    assert_true(rig_wait_status(r, "no-sync", 60));
    r->wish.no_sync = false;
    rig_new_epoch(r);
    assert_true(rig_wait(r, &r->steps, 2, 60));
}

static void
with_an_older_service_it_goes_on_without_a_step(void **state)
{
    struct rig *r = *state;
    char token[300];

    r->wish.no_steps = true;
    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, token, sizeof token), 0);
    assert_string_equal(token, "token-1.db.factors-7");
    assert_false(rig_has(r, "state/slots/new"));
    r->wish.no_steps = false;
    rig_new_epoch(r);
    assert_true(rig_wait(r, &r->steps, 1, 60));
}

#define WITH(name) cmocka_unit_test_setup_teardown(name, with_tpm, tear_down)
#define WITHOUT(name) cmocka_unit_test_setup_teardown(name, without_tpm, tear_down)

/* `agent_step_test 'a_host_*'`: those only. */
int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        WITH(a_first_boot_takes_two_proofs_and_its_token_is_fresh),
        WITHOUT(without_a_tpm_one_proof_steps_the_key),
        WITH(an_agent_that_restarts_in_a_run_that_has_stepped_steps_no_more),
        WITH(a_new_epoch_steps_both_in_the_running_agent_and_cached_tokens_are_served_meanwhile),
        WITH(a_new_greeting_in_the_same_epoch_is_no_new_run),
        WITH(no_proof_leaves_before_the_host_has_synced),
        WITH(a_lost_answer_is_asked_for_again),
        WITH(a_disk_that_was_put_back_is_refused_and_changes_nothing),
        WITH(a_tpm_that_was_put_back_is_refused_and_changes_nothing),
        WITH(a_disk_that_was_put_back_is_accepted_in_the_running_agent),
        WITH(a_disk_and_a_tpm_that_were_put_back_are_accepted_in_the_running_agent),
        WITH(a_step_that_does_not_lead_where_it_says_is_not_made),
        WITH(upon_an_older_host_a_vm_that_does_not_step_yet_goes_on),
        WITH(with_an_older_service_it_goes_on_without_a_step),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("agent_step", tests, NULL, NULL);
}
