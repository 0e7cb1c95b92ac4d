/*
 * Pools: a host that is not of the VM's takes nothing by its own word (docs/DECISIONS/021).
 */
#include "config.h"

#include "tokenservice/lease/lease_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct lease_now OF_IT = { .now_ms = 1700000001000, .since_ms = 1700000000000 };
static const struct lease_now OUTSIDE = { .now_ms = 1700000001000, .since_ms = 1700000000000, .outside = true };
static const struct lease_now HOST_ONLY = { .now_ms = 1700000001000, .since_ms = 1700000000000, .outside = true,
                                            .host_only = true };
static struct error err;

static struct lease_record
held_by_a(enum lease_state st, const char *seen)
{
    struct lease_record r;

    lease_new(&r);
    r.st = st;
    strcpy(r.hol, "a");
    r.ep = r.ver = 5;
    r.nx = st == LEASE_MOVE ? 5 : 0;
    r.renewed_ms = OF_IT.now_ms;
    assert_int_equal(lease_seen_parse(seen, &r, &err), 0);
    return r;
}

static struct lease_record
fenced(const char *seen)
{
    struct lease_record r = held_by_a(LEASE_RUNS, seen);

    assert_int_equal(lease_fence(&r, "a", "rack1", &OF_IT, &err), 0);
    assert_string_equal(r.hol, "");
    assert_string_equal(r.pool, "rack1");
    return r;
}

static enum lease_answer
starts(struct lease_record *r, const char *host, const struct lease_now *now)
{
    struct lease_word word;

    lease_acquire(r, host, now, &word);
    return word.answer;
}

static enum lease_answer
says(struct lease_record *r, const char *host, enum lease_view view, bool k, const struct lease_now *now)
{
    struct lease_view_word w = { .view = view, .k = k };
    struct lease_word word;

    lease_report(r, host, &w, now, &word);
    return word.answer;
}

static void
a_fenced_one_is_for_its_pool_alone(void **state)
{
    struct lease_record r = fenced(""), before = r;

    (void)state;
    assert_int_equal(starts(&r, "x", &OUTSIDE), LEASE_MOVING);
    assert_memory_equal(&r, &before, sizeof r);
    assert_int_equal(starts(&r, "b", &OF_IT), LEASE_OK);
    assert_string_equal(r.hol, "b");
    assert_string_equal(r.pool, "");
}

static void
one_that_was_started_outside_gets_nothing_either(void **state)
{
    struct lease_record r = fenced("");

    (void)state;
    assert_int_equal(says(&r, "x", VIEW_RUN, false, &OUTSIDE), LEASE_MOVING);
    assert_int_equal(lease_seen_of(&r, "x"), SEEN_CPY);
    assert_string_equal(r.pool, "rack1");
    assert_int_equal(starts(&r, "b", &OF_IT), LEASE_MOVING); /* it may run there: an operator decides */
    assert_int_equal(says(&r, "x", VIEW_GO, false, &OUTSIDE), LEASE_ACK);
    assert_int_equal(starts(&r, "b", &OF_IT), LEASE_OK);
}

static void
an_operators_word_goes_beyond_the_pool(void **state)
{
    struct lease_record r = fenced("");

    (void)state;
    assert_int_equal(lease_place(&r, "x", false, &OF_IT, &err), 0);
    assert_string_equal(r.pool, "");
    assert_int_equal(starts(&r, "x", &OF_IT), LEASE_OK); /* what is reserved for it is of its own pool */
}

static void
a_migration_out_of_the_pool_is_refused_and_nobody_is_asked(void **state)
{
    struct lease_record r = held_by_a(LEASE_RUNS, ""), before = r;
    struct lease_word word;

    (void)state;
    assert_true(lease_handover_asks(&r, "b", &OF_IT));
    assert_false(lease_handover_asks(&r, "x", &OUTSIDE));
    lease_handover(&r, "x", true, &OUTSIDE, &word);
    assert_int_equal(word.answer, LEASE_FOREIGN);
    lease_handover(&r, "x", false, &OUTSIDE, &word);
    assert_int_equal(word.answer, LEASE_FOREIGN);
    assert_memory_equal(&r, &before, sizeof r);
    r = before = held_by_a(LEASE_MOVE, "b=2:7");
    lease_handover(&r, "x", true, &OUTSIDE, &word);
    assert_int_equal(word.answer, LEASE_FOREIGN);
    assert_memory_equal(&r, &before, sizeof r);
}

/* It went while the service was away: where the guest is is not a matter of lists. */
static void
a_guest_that_is_there_can_prove_it_all_the_same(void **state)
{
    struct lease_record r = held_by_a(LEASE_MOVE, "");
    uint64_t e;

    (void)state;
    r.out = LEASE_OUT_MIG;
    assert_int_equal(says(&r, "x", VIEW_RUN, true, &OUTSIDE), LEASE_CANDIDATE);
    e = lease_epoch_of(&r, "x");
    assert_string_equal(lease_prover(&r, e, &OF_IT), "x");
}

static void
where_no_guest_proves_it_a_hosts_word_is_not_enough(void **state)
{
    struct lease_record r = held_by_a(LEASE_MOVE, "");

    (void)state;
    r.out = LEASE_OUT_MIG;
    assert_int_equal(says(&r, "x", VIEW_INC, true, &HOST_ONLY), LEASE_MOVING);
    assert_int_equal(says(&r, "x", VIEW_RUN, true, &HOST_ONLY), LEASE_MOVING);
    assert_int_equal(lease_seen_of(&r, "x"), SEEN_CPY);
    assert_string_equal(r.hol, "a");
    assert_int_equal(says(&r, "x", VIEW_GR, true, &HOST_ONLY), LEASE_ACK);
    assert_int_equal(r.n_seen, 0);
}

static void
a_receipt_says_for_which_pool_it_is(void **state)
{
    CLEANUP(buf_clear) struct buf text = BUF(1024);
    struct lease_record r = fenced(""), back;
    struct vm_uuid uuid = { { 1 } }, found;
    struct fields f;

    (void)state;
    lease_receipt(&r, &uuid, &text);
    f = (struct fields){ text.data, text.len };
    assert_int_equal(lease_receipt_take(&f, &found, &back, &err), 0);
    assert_string_equal(back.hol, "");
    assert_string_equal(back.pool, "rack1");
    assert_int_equal(starts(&back, "x", &OUTSIDE), LEASE_MOVING);
}

static void
a_receipt_of_no_pool_that_can_be_is_refused(void **state)
{
    CLEANUP(buf_clear) struct buf text = BUF(1024);
    struct lease_record r = fenced("");
    struct vm_uuid uuid = { { 1 } }, found;
    struct fields f;

    (void)state;
    strcpy(r.pool, "Rack 1");
    lease_receipt(&r, &uuid, &text);
    f = (struct fields){ text.data, text.len };
    assert_int_equal(lease_receipt_take(&f, &found, &r, &err), -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fenced_one_is_for_its_pool_alone),
        cmocka_unit_test(one_that_was_started_outside_gets_nothing_either),
        cmocka_unit_test(an_operators_word_goes_beyond_the_pool),
        cmocka_unit_test(a_migration_out_of_the_pool_is_refused_and_nobody_is_asked),
        cmocka_unit_test(a_guest_that_is_there_can_prove_it_all_the_same),
        cmocka_unit_test(where_no_guest_proves_it_a_hosts_word_is_not_enough),
        cmocka_unit_test(a_receipt_says_for_which_pool_it_is),
        cmocka_unit_test(a_receipt_of_no_pool_that_can_be_is_refused),
    };

    return cmocka_run_group_tests_name("lease_pool", tests, NULL, NULL);
}
