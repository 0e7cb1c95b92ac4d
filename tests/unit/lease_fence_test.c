/*
 * A host is dead: FENCE, and what others may do then (docs/PROTOCOL-lease.md, 2); RETIRE.
 */
#include "config.h"

#include "tokenservice/lease/lease_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct lease_now NOW = { .now_ms = 1700000001000, .since_ms = 1700000000000 };
static struct error err;

static struct lease_record
record(enum lease_state st, const char *hol, enum lease_out out, const char *seen)
{
    struct lease_record r;

    lease_new(&r);
    r.st = st;
    strcpy(r.hol, hol);
    r.out = out;
    r.ep = r.ver = 5;
    r.nx = st == LEASE_MOVE ? 5 : 0;
    r.renewed_ms = NOW.now_ms;
    assert_int_equal(lease_seen_parse(seen, &r, &err), 0);
    return r;
}

static enum lease_answer
acquire(struct lease_record *r, const char *host)
{
    struct lease_word word;

    lease_acquire(r, host, &NOW, &word);
    return word.answer;
}

static enum lease_answer
runs(struct lease_record *r, const char *host, bool k, uint64_t e)
{
    struct lease_view_word w = { .view = VIEW_RUN, .k = k, .e = e };
    struct lease_word word;

    lease_report(r, host, &w, &NOW, &word);
    return word.answer;
}

static void
what_it_held_is_open_to_one_other(void **state)
{
    struct lease_record r = record(LEASE_RUNS, "a", LEASE_OUT_NO, "");

    (void)state;
    assert_int_equal(acquire(&r, "b"), LEASE_FOREIGN);
    assert_int_equal(lease_fence(&r, "a", "", &NOW, &err), 0);
    assert_int_equal(r.st, LEASE_MOVE);
    assert_string_equal(r.hol, "");
    assert_int_equal(r.out, LEASE_OUT_DBT);
    assert_true(r.ver > 5);
    assert_false(lease_held(&r, "a", 5, &NOW));
    assert_int_equal(acquire(&r, "b"), LEASE_OK);
    assert_string_equal(r.hol, "b");
    assert_true(r.ep > 5);
    assert_int_equal(acquire(&r, "c"), LEASE_FOREIGN);
}

static void
the_host_that_comes_back_must_not_go_on(void **state)
{
    struct lease_record r = record(LEASE_RUNS, "a", LEASE_OUT_NO, "");

    (void)state;
    lease_fence(&r, "a", "", &NOW, &err);
    acquire(&r, "b");
    assert_int_equal(runs(&r, "a", false, 5), LEASE_FOREIGN);
    assert_int_equal(lease_seen_of(&r, "a"), SEEN_CPY);
    assert_string_equal(r.hol, "b");
    assert_int_equal(acquire(&r, "a"), LEASE_FOREIGN);
}

static void
one_that_was_fenced_by_mistake_keeps_what_nobody_took(void **state)
{
    struct lease_record r = record(LEASE_RUNS, "a", LEASE_OUT_NO, "");

    (void)state;
    lease_fence(&r, "a", "", &NOW, &err);
    assert_int_equal(runs(&r, "a", false, 5), LEASE_OK);
    assert_string_equal(r.hol, "a");
    assert_true(r.ep > 5);
}

static void
what_was_reserved_for_it_is_open_too(void **state)
{
    struct lease_record r = record(LEASE_FREE, "a", LEASE_OUT_NO, "");

    (void)state;
    r.placed = true;
    lease_fence(&r, "a", "", &NOW, &err);
    assert_false(r.placed);
    assert_int_equal(acquire(&r, "b"), LEASE_OK);
}

static void
a_host_that_had_received_it_unheard_can_still_prove_it(void **state)
{
    struct lease_record r = record(LEASE_RUNS, "a", LEASE_OUT_NO, "b=3");
    uint64_t e;

    (void)state;
    lease_fence(&r, "a", "", &NOW, &err);
    e = lease_epoch_of(&r, "b");
    assert_true(e > 5);
    assert_int_equal(acquire(&r, "c"), LEASE_MOVING); /* not over b's head */
    assert_string_equal(lease_prover(&r, e, &NOW), "b");
    lease_proved(&r, e, &NOW);
    assert_int_equal(r.st, LEASE_RUNS);
    assert_string_equal(r.hol, "b");
}

static void
a_source_in_the_middle_of_a_move_leaves_it_to_its_candidates(void **state)
{
    struct lease_record r = record(LEASE_MOVE, "a", LEASE_OUT_NO, "b=3:7");

    (void)state;
    lease_fence(&r, "a", "", &NOW, &err);
    assert_string_equal(r.hol, "");
    assert_int_equal(r.out, LEASE_OUT_DBT);
    assert_false(lease_held(&r, "a", 5, &NOW));
    assert_string_equal(lease_prover(&r, 7, &NOW), "b");
}

static void
a_candidate_that_is_dead_comes_into_question_no_more(void **state)
{
    struct lease_record r = record(LEASE_MOVE, "a", LEASE_OUT_NO, "b=3:7");

    (void)state;
    lease_fence(&r, "b", "", &NOW, &err);
    assert_null(lease_prover(&r, 7, &NOW));
    assert_true(lease_held(&r, "a", 5, &NOW)); /* the source has it still */
    r = record(LEASE_MOVE, "a", LEASE_OUT_MIG, "b=3:7");
    lease_fence(&r, "b", "", &NOW, &err);
    assert_string_equal(r.hol, ""); /* it left, and where it went is dead */
    assert_int_equal(acquire(&r, "a"), LEASE_OK);
}

static void
other_hosts_leases_are_not_touched(void **state)
{
    struct lease_record r = record(LEASE_RUNS, "b", LEASE_OUT_NO, ""), before = r;

    (void)state;
    lease_fence(&r, "a", "", &NOW, &err);
    assert_memory_equal(&r, &before, sizeof r);
}

static void
in_grace_nothing_is_fenced(void **state)
{
    struct lease_now grace = NOW;
    struct lease_record r = record(LEASE_RUNS, "a", LEASE_OUT_NO, ""), before = r;

    (void)state;
    grace.grace = true;
    assert_int_equal(lease_fence(&r, "a", "", &grace, &err), -1);
    assert_string_equal(err.problem, "grace");
    assert_memory_equal(&r, &before, sizeof r);
}

static void
a_retired_one_is_nobodys_and_keeps_its_epoch(void **state)
{
    struct lease_record r = record(LEASE_MOVE, "a", LEASE_OUT_MIG, "b=3:7");
    uint64_t ver;

    (void)state;
    lease_retire(&r, &NOW);
    assert_int_equal(r.st, LEASE_FREE);
    assert_string_equal(r.hol, "");
    assert_int_equal(r.n_seen, 0);
    assert_int_equal(r.ep, 5);
    assert_true(r.ver > 5);
    ver = r.ver;
    lease_retire(&r, &NOW);
    assert_int_equal(r.ver, ver);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_it_held_is_open_to_one_other),
        cmocka_unit_test(the_host_that_comes_back_must_not_go_on),
        cmocka_unit_test(one_that_was_fenced_by_mistake_keeps_what_nobody_took),
        cmocka_unit_test(what_was_reserved_for_it_is_open_too),
        cmocka_unit_test(a_host_that_had_received_it_unheard_can_still_prove_it),
        cmocka_unit_test(a_source_in_the_middle_of_a_move_leaves_it_to_its_candidates),
        cmocka_unit_test(a_candidate_that_is_dead_comes_into_question_no_more),
        cmocka_unit_test(other_hosts_leases_are_not_touched),
        cmocka_unit_test(in_grace_nothing_is_fenced),
        cmocka_unit_test(a_retired_one_is_nobodys_and_keeps_its_epoch),
    };

    return cmocka_run_group_tests_name("lease_fence", tests, NULL, NULL);
}
