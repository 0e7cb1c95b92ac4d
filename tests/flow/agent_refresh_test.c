/*
 * agent_refresh_test.c - one proof after the other: a service and a host that come, go and are late
 */
#include "config.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/flow/agent_rig.h"

static struct rig rig;

static int
with_tpm(void **state)
{
    rig_new(&rig, true);
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
a_service_that_is_away_is_waited_for(void **state)
{
    struct rig *r = *state;

    r->wish.service_away = true;
    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 0, NULL, 0), 5);
    assert_true(rig_wait_status(r, "unavailable", 60));
    assert_true(rig_wait(r, &r->opens, 3, 60));
    r->wish.service_away = false;
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
}

static void
a_service_that_hangs_up_is_asked_again(void **state)
{
    struct rig *r = *state;

    r->wish.hang_up = true;
    rig_start_agent(r);
    assert_int_not_equal(rig_token(r, "db", 0, NULL, 0), 0);
    r->wish.hang_up = false;
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
}

static void
a_host_that_does_not_sign_gives_no_token(void **state)
{
    struct rig *r = *state;

    r->wish.no_signature = true;
    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 1, NULL, 0), 3);
    assert_int_equal(r->proofs, 0);
    r->wish.no_signature = false;
    r->wish.deaf_to_sign = true;
    assert_int_not_equal(rig_token(r, "db2", 1, NULL, 0), 0);
    r->wish.deaf_to_sign = false;
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
}

static void
a_stale_proof_is_repeated_with_a_fresh_nonce(void **state)
{
    struct rig *r = *state;

    r->wish.stale = 2;
    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 0, NULL, 0), 0);
    assert_int_equal(r->wish.stale, 0);
    assert_int_equal(r->tokens, 1);
}

/*
 * A short life, and a service whose clock runs: its nonces are good in the second half of five minutes.  The
 * refresh comes before three quarters of the life: a proof may take the last quarter, also on a busy machine.
 */
static void
a_later_proof_is_one_round_trip(void **state)
{
    struct rig *r = *state;
    unsigned challenges;

    r->wish.life = 24;
    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
    challenges = r->challenges;
    r->wish.ahead = 155;
    assert_true(rig_wait(r, &r->tokens, 2, 60));
    assert_int_equal(r->challenges, challenges);
    r->wish.ahead = 310;
    assert_true(rig_wait(r, &r->tokens, 3, 60));
    assert_int_equal(r->challenges, challenges);
    rig_stop_agent(r);
}

static void
a_nonce_of_the_last_token_that_is_stale_falls_back_to_a_challenge(void **state)
{
    struct rig *r = *state;
    unsigned challenges, proofs;

    r->wish.life = 16;
    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
    challenges = r->challenges;
    proofs = r->proofs;
    assert_true(rig_wait(r, &r->tokens, 2, 60));
    assert_int_equal(r->challenges, challenges + 1);
    assert_int_equal(r->proofs, proofs + 2);
    assert_false(rig_log_has(r, "event=proof-failed")); /* no failure, no pause */
}

#define WITH(name) cmocka_unit_test_setup_teardown(name, with_tpm, tear_down)
#define WITHOUT(name) cmocka_unit_test_setup_teardown(name, without_tpm, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        WITHOUT(a_service_that_is_away_is_waited_for),
        WITHOUT(a_service_that_hangs_up_is_asked_again),
        WITHOUT(a_host_that_does_not_sign_gives_no_token),
        WITHOUT(a_stale_proof_is_repeated_with_a_fresh_nonce),
        WITHOUT(a_later_proof_is_one_round_trip),
        WITH(a_later_proof_is_one_round_trip),
        WITHOUT(a_nonce_of_the_last_token_that_is_stale_falls_back_to_a_challenge),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("agent_refresh", tests, NULL, NULL);
}
