/*
 * Hand-over of a lease, as in the charts of docs/PROTOCOL-lease.md, 5.
 */
#include "config.h"

#include "tokenservice/lease/lease_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define T0 1700000000000

static struct lease_now
at(int64_t ms)
{
    return (struct lease_now){.now_ms = T0 + ms, .since_ms = T0};
}

static struct lease_record
nobodys(void)
{
    struct lease_record r;

    lease_new(&r);
    return r;
}

/* RUNS("a", 5) */
static struct lease_record
held_by_a(void)
{
    struct lease_record r = nobodys();

    r.st = LEASE_RUNS;
    strcpy(r.hol, "a");
    r.ep = r.ver = 5;
    r.renewed_ms = T0;
    return r;
}

static struct lease_word
say(struct lease_record *r, const char *host, enum lease_view view, bool k, uint64_t e)
{
    struct lease_view_word w = {.view = view, .k = k, .e = e};
    struct lease_now now = at(1000);
    struct lease_word word;

    lease_report(r, host, &w, &now, &word);
    return word;
}

static struct lease_word
handover(struct lease_record *r, const char *host, bool answered)
{
    struct lease_now now = at(1000);
    struct lease_word word;

    lease_handover(r, host, answered, &now, &word);
    return word;
}

static void
prove(struct lease_record *r, uint64_t e)
{
    struct lease_now now = at(2000);

    lease_proved(r, e, &now);
}

static const char *
prover(const struct lease_record *r, uint64_t e)
{
    struct lease_now now = at(2000);
    const char *host = lease_prover(r, e, &now);

    return host ? host : "-";
}

/* "a" says that a job leaves, "b" is the destination: its epoch. */
static uint64_t
migrating(struct lease_record *r)
{
    struct lease_word word;

    *r = held_by_a();
    say(r, "a", VIEW_JOB, false, 5);
    word = handover(r, "b", true);
    assert_int_equal(word.answer, LEASE_CANDIDATE);
    assert_true(word.e > 5);
    return word.e;
}

static void
the_guests_proof_gives_it_to_the_destination(void **state)
{
    struct lease_record r;
    uint64_t e = migrating(&r);

    (void)state;
    assert_string_equal(prover(&r, 5), "a"); /* until then the source's signatures count */
    assert_string_equal(prover(&r, e), "b");
    prove(&r, 5);
    assert_int_equal(r.st, LEASE_MOVE);
    say(&r, "a", VIEW_GM, false, 5);
    assert_string_equal(prover(&r, 5), "-");
    assert_int_equal(say(&r, "b", VIEW_RUN, true, e).e, e);
    assert_int_equal(r.st, LEASE_MOVE); /* a host's word alone moves nothing */
    prove(&r, e);
    assert_int_equal(r.st, LEASE_RUNS);
    assert_string_equal(r.hol, "b");
    assert_true(r.ep == e);
    assert_string_equal(prover(&r, e), "b");
    assert_int_equal(say(&r, "a", VIEW_RUN, false, 5).answer, LEASE_FOREIGN);
}

static void
a_failed_one_gives_the_source_a_new_epoch(void **state)
{
    struct lease_record r;
    uint64_t e = migrating(&r);
    struct lease_view_word back = {.view = VIEW_RUN, .e = 5, .kk = e};
    struct lease_now now = at(3000);
    struct lease_word word;

    (void)state;
    say(&r, "b", VIEW_GI, false, e);
    assert_string_equal(prover(&r, e), "-");
    assert_int_equal(say(&r, "a", VIEW_RUN, false, 5).e, 5); /* made before it heard of it */
    assert_int_equal(r.st, LEASE_MOVE);
    lease_report(&r, "a", &back, &now, &word);
    assert_int_equal(word.answer, LEASE_OK);
    assert_true(word.e > e);
    assert_int_equal(r.st, LEASE_RUNS);
    assert_string_equal(prover(&r, e), "-");
}

static void
without_a_job_there_is_no_hand_over(void **state)
{
    struct lease_record r = held_by_a();
    struct lease_now now = at(0);

    (void)state;
    assert_true(lease_handover_asks(&r, "b", &now));
    assert_int_equal(handover(&r, "b", true).answer, LEASE_NOT_MIGRATING);
    assert_int_equal(lease_seen_of(&r, "b"), SEEN_NONE);
    assert_int_equal(handover(&r, "b", false).answer, LEASE_UNKNOWN);
    assert_int_equal(lease_seen_of(&r, "b"), SEEN_INC);
    assert_false(lease_handover_asks(&r, "a", &now));
    assert_true(lease_held(&r, "a", 5, &now));
    /* Off, and reserved for the one that it comes to: an offline migration. */
    assert_int_equal(say(&r, "a", VIEW_GO, false, 5).answer, LEASE_ACK);
    assert_int_equal(handover(&r, "b", true).answer, LEASE_NOT_MIGRATING);
    assert_int_equal(handover(&r, "a", true).answer, LEASE_UNKNOWN);
    assert_int_equal(r.st, LEASE_FREE);
    r = nobodys();
    assert_false(lease_handover_asks(&r, "b", &now));
    assert_int_equal(handover(&r, "b", true).answer, LEASE_UNKNOWN);
}

static void
of_several_candidates_the_one_with_the_proof_has_it(void **state)
{
    struct lease_record r;
    uint64_t e = migrating(&r), later = handover(&r, "c", true).e;

    (void)state;
    assert_true(later > e);
    say(&r, "b", VIEW_RUN, true, e);
    say(&r, "c", VIEW_RUN, true, later);
    say(&r, "a", VIEW_GM, false, 5);
    prove(&r, later);
    assert_string_equal(r.hol, "c");
    assert_int_equal(lease_seen_of(&r, "b"), SEEN_CPY); /* it joined before c did */
}

static void
with_no_factor_of_the_guest_the_only_resumed_one_has_it(void **state)
{
    struct lease_now now = at(1000);
    struct lease_record r;
    uint64_t e = migrating(&r);
    struct lease_view_word run = {.view = VIEW_RUN, .k = true, .e = e}, gone = {.view = VIEW_GM, .e = 5};
    struct lease_word word;

    (void)state;
    now.host_only = true;
    lease_report(&r, "b", &run, &now, &word);
    assert_int_equal(r.st, LEASE_MOVE); /* the source still has it */
    lease_report(&r, "a", &gone, &now, &word);
    assert_int_equal(r.st, LEASE_RUNS);
    assert_string_equal(r.hol, "b");
    assert_true(r.ep == e);
    lease_report(&r, "b", &run, &now, &word);
    assert_int_equal(word.answer, LEASE_OK);
}

static void
after_grace_the_candidates_have_new_epochs_in_the_old_order(void **state)
{
    struct lease_now now = at(5000);
    struct lease_record r;
    uint64_t b = migrating(&r), c = handover(&r, "c", true).e;

    (void)state;
    lease_rejoin(&r, &now);
    assert_true(lease_epoch_of(&r, "b") > c && lease_epoch_of(&r, "b") < lease_epoch_of(&r, "c"));
    assert_string_equal(prover(&r, b), "-");
    now.grace = true;
    assert_null(lease_prover(&r, lease_epoch_of(&r, "b"), &now));
    assert_string_equal(lease_prover(&r, 5, &now), "a");
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(the_guests_proof_gives_it_to_the_destination),
        cmocka_unit_test(a_failed_one_gives_the_source_a_new_epoch),
        cmocka_unit_test(without_a_job_there_is_no_hand_over),
        cmocka_unit_test(of_several_candidates_the_one_with_the_proof_has_it),
        cmocka_unit_test(with_no_factor_of_the_guest_the_only_resumed_one_has_it),
        cmocka_unit_test(after_grace_the_candidates_have_new_epochs_in_the_old_order),
    };

    return cmocka_run_group_tests_name("lease_handover", t, NULL, NULL);
}
