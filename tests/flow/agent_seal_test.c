/*
 * A disk that becomes a template: sealed, its copies are machines of their own; not sealed, they are too, but say
 * whose secret they found.
 */
#include "config.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/common/process.h"
#include "tests/flow/agent_rig.h"

enum { CLONES = 3 };

static struct rig template, clones[CLONES];
static int n_clones;

static int
set_up(void **state)
{
    (void)state;
    rig_new(&template, true);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    while (n_clones > 0)
        rig_free(&clones[--n_clones]);
    rig_free(&template);
    return 0;
}

static int
seal(char *ret, size_t size)
{
    const char *const words[] = { "seal", NULL };

    return rig_run(&template, words, ret, size);
}

/* What `cp` of a disk brings along: the agent's folder, with all rights. */
static void
copy_disk(const struct rig *to)
{
    char from[128], into[128];
    const char *const argv[] = { "/bin/cp", "-a", from, into, NULL };
    struct process_spawn spawn = PROCESS_SPAWN(argv);
    struct error err = { 0 };
    pid_t pid;

    snprintf(from, sizeof from, "%s/state/.", template.folder);
    snprintf(into, sizeof into, "%s/state/", to->folder);
    assert_int_equal(process_start(&spawn, &pid, &err), 0);
    assert_int_equal(process_wait(pid, clock_monotonic_ms() + 20000, &err), 0);
}

/* Freed by tear_down(). */
static struct rig *
new_clone(void)
{
    struct rig *c = &clones[n_clones];

    rig_new(c, true);
    n_clones++;
    copy_disk(c);
    return c;
}

static void
prove_and_stop(struct rig *r)
{
    char token[200];

    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 30, token, sizeof token), 0);
    assert_string_equal(token, "token-1.db.factors-7.fresh");
    rig_stop_agent(r);
}

static void
a_running_agent_is_not_sealed(void **state)
{
    char text[2000];

    (void)state;
    rig_start_agent(&template);
    assert_int_equal(rig_token(&template, "db", 30, NULL, 0), 0);
    assert_int_equal(seal(text, sizeof text), 5);
    assert_string_equal(text, "");
    assert_true(rig_log_has(&template, "systemctl stop virtid-agent"));
    assert_true(rig_has(&template, "state/slots/cur") && rig_has(&template, "state/bundle"));
    assert_int_equal(rig_token(&template, "other", 30, NULL, 0), 0);
    rig_stop_agent(&template);
}

static void
seal_says_what_it_did_and_may_be_repeated(void **state)
{
    char text[2000];

    (void)state;
    assert_int_equal(seal(text, sizeof text), 0); /* where no agent ever ran */
    assert_non_null(strstr(text, "sealed already"));
    rig_start_agent(&template);
    assert_int_equal(rig_token(&template, "db", 30, NULL, 0), 0);
    rig_kill_agent(&template);
    assert_true(rig_has(&template, "run/agent.sock"));
    assert_int_equal(seal(text, sizeof text), 0);
    assert_non_null(strstr(text, "/state/slots/cur\n"));
    assert_non_null(strstr(text, "/state/bundle\n"));
    assert_non_null(strstr(text, "/run/agent.sock\n"));
    assert_non_null(strstr(text, "\nsealed: "));
    assert_false(rig_has(&template, "state/slots/cur") || rig_has(&template, "state/bundle") ||
                 rig_has(&template, "run/agent.sock"));
    assert_int_equal(seal(text, sizeof text), 0);
    assert_string_equal(text, "sealed already: there was nothing to remove\n");
}

static void
clones_of_a_sealed_template_are_machines_of_their_own(void **state)
{
    char text[2000];

    (void)state;
    prove_and_stop(&template);
    assert_int_equal(seal(text, sizeof text), 0);
    for (int i = 0; i < CLONES; i++) {
        struct rig *c = new_clone();

        prove_and_stop(c);
        assert_true(rig_log_has(c, "event=bundle-first") && rig_log_has(c, "event=secret-made"));
        assert_false(rig_log_has(c, "event=slots-foreign"));
        assert_memory_not_equal(c->account.ratchet.cur, template.account.ratchet.cur, sizeof c->account.ratchet.cur);
        for (int j = 0; j < i; j++)
            assert_memory_not_equal(c->account.ratchet.cur, clones[j].account.ratchet.cur, sizeof c->account.ratchet.cur);
    }
}

static void
a_clone_of_a_disk_that_was_not_sealed_enrols_as_new_and_says_so(void **state)
{
    struct rig *c;

    (void)state;
    prove_and_stop(&template);
    c = new_clone();
    rig_install_bundle(c); /* each rig is a service of its own */
    prove_and_stop(c);
    assert_true(rig_log_has(c, "event=slots-foreign"));
    assert_memory_not_equal(c->account.ratchet.cur, template.account.ratchet.cur, sizeof c->account.ratchet.cur);
    assert_false(rig_has(c, "state/slots/cur.other"));
    rig_start_agent(&template); /* the original notices nothing */
    assert_int_equal(rig_token(&template, "db", 30, NULL, 0), 0);
    rig_stop_agent(&template);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(a_running_agent_is_not_sealed),
        TEST(seal_says_what_it_did_and_may_be_repeated),
        TEST(clones_of_a_sealed_template_are_machines_of_their_own),
        TEST(a_clone_of_a_disk_that_was_not_sealed_enrols_as_new_and_says_so),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("agent_seal", tests, NULL, NULL);
}
