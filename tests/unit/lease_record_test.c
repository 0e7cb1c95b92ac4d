#include "config.h"

#include "tokenservice/lease/lease_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define T0 1700000000000

static struct lease_now
at(int64_t ms)
{
    return (struct lease_now){.now_ms = T0 + ms, .since_ms = T0};
}

/* A record in one of the states of the tables, ep 5, held or left by "a". */
static struct lease_record
record(enum lease_state st, const char *hol, enum lease_out out)
{
    struct lease_record r;

    lease_new(&r);
    r.st = st;
    strcpy(r.hol, hol);
    r.out = out;
    r.ep = r.ver = 5;
    r.nx = st == LEASE_MOVE ? 5 : 0;
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
acquire(struct lease_record *r, const char *host, int64_t ms)
{
    struct lease_now now = at(ms);
    struct lease_word word;

    lease_acquire(r, host, &now, &word);
    return word;
}

/* docs/PROTOCOL-lease.md, 3 and 4, row by row. */
struct row {
    enum lease_state st;
    const char *hol;
    enum lease_out out;
    const char *who;
    enum lease_view view;
    bool k;
    uint64_t e;
    /* becomes */
    enum lease_state st2;
    const char *hol2;
    enum lease_out out2;
    enum lease_seen seen2; /* of `who` */
    enum lease_answer answer;
    bool grant;
};

#define F LEASE_FREE
#define R LEASE_RUNS
#define M LEASE_MOVE
#define NO LEASE_OUT_NO
#define MIG LEASE_OUT_MIG
#define DBT LEASE_OUT_DBT

static const struct row ROWS[] = {
    /* the holder, RUNS */
    {R, "a", NO, "a", VIEW_RUN, false, 5, R, "a", NO, 0, LEASE_OK, false},
    {R, "a", NO, "a", VIEW_RUN, true, 5, R, "a", NO, 0, LEASE_OK, false},
    {R, "a", NO, "a", VIEW_RUN, false, 4, R, "a", NO, 0, LEASE_OK, true},
    {R, "a", NO, "a", VIEW_RUN, false, 0, R, "a", NO, 0, LEASE_OK, true},
    {R, "a", NO, "a", VIEW_JOB, false, 5, M, "a", NO, 0, LEASE_OK, false},
    {R, "a", NO, "a", VIEW_JOB, false, 4, M, "a", NO, 0, LEASE_OK, true},
    {R, "a", NO, "a", VIEW_INC, false, 0, R, "a", NO, 0, LEASE_ACK, false},
    {R, "a", NO, "a", VIEW_OUT, false, 5, M, "a", DBT, 0, LEASE_ACK, false},
    {R, "a", NO, "a", VIEW_GO, false, 5, F, "a", NO, 0, LEASE_ACK, false},
    {R, "a", NO, "a", VIEW_GR, false, 5, F, "a", NO, 0, LEASE_ACK, false},
    {R, "a", NO, "a", VIEW_GM, false, 5, M, "a", MIG, 0, LEASE_ACK, false},
    {R, "a", NO, "a", VIEW_GU, false, 5, M, "a", DBT, 0, LEASE_ACK, false},
    {R, "a", NO, "a", VIEW_GV, false, 5, M, "a", DBT, 0, LEASE_ACK, false},
    {R, "a", NO, "a", VIEW_GI, false, 5, R, "a", NO, 0, LEASE_ACK, false},
    {R, "a", NO, "a", VIEW_OFF, false, 0, M, "a", DBT, 0, LEASE_ACK, false},
    /* the host it is reserved for, FREE */
    {F, "a", NO, "a", VIEW_RUN, false, 0, R, "a", NO, 0, LEASE_OK, true},
    {F, "a", NO, "a", VIEW_RUN, true, 0, F, "a", NO, SEEN_RES, LEASE_FOREIGN, false},
    {F, "a", NO, "a", VIEW_INC, false, 0, F, "a", NO, SEEN_INC, LEASE_FOREIGN, false},
    {F, "a", NO, "a", VIEW_OFF, false, 0, F, "a", NO, 0, LEASE_ACK, false},
    {F, "a", NO, "a", VIEW_GO, false, 5, F, "a", NO, 0, LEASE_ACK, false},
    {F, "a", NO, "a", VIEW_GU, false, 5, M, "a", DBT, 0, LEASE_ACK, false},
    {F, "a", NO, "a", VIEW_GM, false, 5, M, "a", MIG, 0, LEASE_ACK, false},
    /* nobody's */
    {F, "", NO, "a", VIEW_RUN, false, 0, R, "a", NO, 0, LEASE_OK, true},
    {F, "", NO, "a", VIEW_OFF, false, 0, F, "", NO, 0, LEASE_ACK, false},
    {F, "", NO, "a", VIEW_GO, false, 0, F, "a", NO, 0, LEASE_ACK, false},
    {F, "", NO, "a", VIEW_GU, false, 0, M, "a", DBT, 0, LEASE_ACK, false},
    {F, "", NO, "a", VIEW_GI, false, 0, F, "", NO, 0, LEASE_ACK, false},
    {F, "", NO, "a", VIEW_JOB, false, 0, M, "a", NO, 0, LEASE_OK, true},
    {F, "a", NO, "a", VIEW_JOB, false, 0, M, "a", NO, 0, LEASE_OK, true},
    /* the source, which still has it */
    {M, "a", NO, "a", VIEW_JOB, false, 5, M, "a", NO, 0, LEASE_OK, false},
    {M, "a", NO, "a", VIEW_RUN, false, 5, M, "a", NO, 0, LEASE_OK, false}, /* older than the hand-over */
    {M, "a", NO, "a", VIEW_RUN, true, 4, M, "a", MIG, SEEN_CPY, LEASE_MOVING, false},
    {M, "a", NO, "a", VIEW_INC, false, 0, M, "a", NO, 0, LEASE_ACK, false},
    {M, "a", NO, "a", VIEW_GI, false, 0, M, "a", NO, 0, LEASE_ACK, false},
    {M, "a", NO, "a", VIEW_GO, false, 5, F, "a", NO, 0, LEASE_ACK, false},
    {M, "a", NO, "a", VIEW_GR, false, 5, F, "a", NO, 0, LEASE_ACK, false},
    {M, "a", NO, "a", VIEW_GM, false, 5, M, "a", MIG, 0, LEASE_ACK, false},
    {M, "a", NO, "a", VIEW_OUT, false, 5, M, "a", DBT, 0, LEASE_ACK, false},
    {M, "a", NO, "a", VIEW_GU, false, 5, M, "a", DBT, 0, LEASE_ACK, false},
    {M, "a", NO, "a", VIEW_OFF, false, 0, M, "a", DBT, 0, LEASE_ACK, false},
    /* the source, in doubt */
    {M, "a", DBT, "a", VIEW_RUN, false, 0, R, "a", NO, 0, LEASE_OK, true},
    {M, "a", DBT, "a", VIEW_RUN, true, 5, M, "a", DBT, SEEN_RES, LEASE_CANDIDATE, false},
    {M, "a", DBT, "a", VIEW_JOB, false, 0, M, "a", NO, 0, LEASE_OK, true},
    {M, "a", DBT, "a", VIEW_OFF, false, 0, M, "a", DBT, 0, LEASE_ACK, false},
    {M, "a", MIG, "a", VIEW_RUN, false, 0, M, "a", MIG, SEEN_CPY, LEASE_MOVING, false},
    {M, "", DBT, "a", VIEW_RUN, false, 0, R, "a", NO, 0, LEASE_OK, true},
    /* everybody else */
    {R, "a", NO, "b", VIEW_RUN, false, 0, R, "a", NO, SEEN_CPY, LEASE_FOREIGN, false},
    {R, "a", NO, "b", VIEW_RUN, true, 0, R, "a", NO, SEEN_RES, LEASE_FOREIGN, false},
    {R, "a", NO, "b", VIEW_RUN, true, 4, R, "a", NO, SEEN_CPY, LEASE_FOREIGN, false},
    {R, "a", NO, "b", VIEW_INC, false, 0, R, "a", NO, SEEN_INC, LEASE_FOREIGN, false},
    {R, "a", NO, "b", VIEW_OUT, false, 0, R, "a", NO, SEEN_CPY, LEASE_FOREIGN, false},
    {R, "a", NO, "b", VIEW_OFF, false, 0, R, "a", NO, 0, LEASE_ACK, false},
    {R, "a", NO, "b", VIEW_GO, false, 5, R, "a", NO, 0, LEASE_ACK, false},
    {R, "a", NO, "b", VIEW_GU, false, 5, R, "a", NO, 0, LEASE_ACK, false},
    {R, "a", NO, "b", VIEW_GI, false, 5, R, "a", NO, 0, LEASE_ACK, false},
    {R, "a", NO, "b", VIEW_GM, false, 5, R, "a", NO, 0, LEASE_ACK, false},
    {R, "a", NO, "b", VIEW_GR, false, 4, R, "a", NO, 0, LEASE_ACK, false},
    {R, "a", NO, "b", VIEW_GR, false, 0, R, "a", NO, SEEN_ROF, LEASE_ACK, false},
    {R, "a", NO, "b", VIEW_GV, false, 0, R, "a", NO, SEEN_PER, LEASE_ACK, false},
    {R, "a", NO, "b", VIEW_GV, false, 4, R, "a", NO, 0, LEASE_ACK, false},
    {F, "a", NO, "b", VIEW_RUN, false, 0, F, "a", NO, SEEN_CPY, LEASE_FOREIGN, false},
    {F, "a", NO, "b", VIEW_GO, false, 5, F, "a", NO, 0, LEASE_ACK, false},
    {M, "a", MIG, "b", VIEW_RUN, true, 0, M, "a", MIG, SEEN_RES, LEASE_CANDIDATE, false},
    {M, "a", NO, "b", VIEW_INC, false, 0, M, "a", NO, SEEN_INC, LEASE_CANDIDATE, false},
    {M, "a", DBT, "b", VIEW_RUN, false, 0, M, "a", DBT, SEEN_CPY, LEASE_MOVING, false},
};

static void
check_row(size_t i, const struct row *row)
{
    struct lease_record r = record(row->st, row->hol, row->out);
    struct lease_word word = say(&r, row->who, row->view, row->k, row->e);

    if (r.st != row->st2 || strcmp(r.hol, row->hol2) != 0 || r.out != row->out2 ||
        lease_seen_of(&r, row->who) != row->seen2 || word.answer != row->answer ||
        (r.ep > 5) != row->grant || (row->answer == LEASE_OK) != (word.e == r.ep) ||
        (row->answer == LEASE_CANDIDATE) != (word.e > r.ep))
        fail_msg("row %zu: %s says %s: %s %s out %d seen %d answer %s", i, row->who,
                 lease_view_name(row->view), lease_state_name(r.st), r.hol, (int)r.out,
                 (int)lease_seen_of(&r, row->who), lease_answer_name(word.answer));
}

static void
every_view_in_every_state_becomes_what_the_table_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++)
        check_row(i, &ROWS[i]);
}

static void
a_change_and_nothing_else_raises_the_version(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        const struct row *row = &ROWS[i];
        struct lease_record r = record(row->st, row->hol, row->out);
        bool changes = row->grant || row->st != row->st2 || strcmp(row->hol, row->hol2) != 0 ||
                       row->out != row->out2 || row->seen2 != SEEN_NONE;

        say(&r, row->who, row->view, row->k, row->e);
        if ((r.ver > 5) != changes)
            fail_msg("row %zu: version %llu", i, (unsigned long long)r.ver);
    }
}

static void
acquire_gives_it_to_the_holder_the_reserved_and_the_first(void **state)
{
    struct lease_record r = record(F, "", NO);

    (void)state;
    assert_int_equal(acquire(&r, "a", 0).answer, LEASE_OK);
    assert_string_equal(r.hol, "a");
    assert_int_equal(acquire(&r, "a", 1).answer, LEASE_OK); /* again: a new epoch */
    assert_int_equal(acquire(&r, "b", 2).answer, LEASE_FOREIGN);
    say(&r, "a", VIEW_GO, false, r.ep);
    assert_int_equal(acquire(&r, "b", 3).answer, LEASE_FOREIGN); /* reserved */
    assert_int_equal(acquire(&r, "a", 4).answer, LEASE_OK);
}

static void
a_lapsed_lease_is_nobody_elses(void **state)
{
    struct lease_record r = record(R, "a", NO);
    struct lease_now late = at(LEASE_LIFE_MS), early = at(LEASE_LIFE_MS - 1);

    (void)state;
    assert_false(lease_lapsed(&r, &early));
    assert_true(lease_held(&r, "a", 5, &early));
    assert_true(lease_lapsed(&r, &late));
    assert_false(lease_held(&r, "a", 5, &late));
    assert_int_equal(lease_seconds_left(&r, &late), 0);
    assert_int_equal(acquire(&r, "b", 10 * LEASE_LIFE_MS).answer, LEASE_FOREIGN);
    assert_int_equal(acquire(&r, "a", 10 * LEASE_LIFE_MS).answer, LEASE_OK);
}

static void
the_services_own_downtime_counts_against_nobody(void **state)
{
    struct lease_record r = record(R, "a", NO);
    struct lease_now now = {.now_ms = T0 + 3600000, .since_ms = T0 + 3600000 - 1000};

    (void)state;
    assert_false(lease_lapsed(&r, &now));
    assert_int_equal(lease_seconds_left(&r, &now), 59);
}

static void
a_proof_counts_for_the_holder_in_its_epoch_alone(void **state)
{
    struct lease_record r = record(R, "a", NO);
    struct lease_now now = at(0);

    (void)state;
    assert_true(lease_held(&r, "a", 5, &now));
    assert_false(lease_held(&r, "a", 4, &now));
    assert_false(lease_held(&r, "a", 6, &now));
    assert_false(lease_held(&r, "a", 0, &now));
    assert_false(lease_held(&r, "b", 5, &now));
    r.st = LEASE_FREE;
    assert_false(lease_held(&r, "a", 5, &now));
    r = record(M, "a", DBT);
    assert_false(lease_held(&r, "a", 5, &now));
    r = record(F, "", NO);
    r.ep = 0;
    assert_false(lease_held(&r, "", 0, &now));
}

static void
an_unwatched_end_is_doubt_and_only_the_same_host_goes_on(void **state)
{
    struct lease_record r = record(R, "a", NO);

    (void)state;
    say(&r, "a", VIEW_GU, false, 5);
    assert_int_equal(acquire(&r, "b", 0).answer, LEASE_MOVING);
    assert_int_equal(acquire(&r, "a", 0).answer, LEASE_OK);
}

static void
a_host_that_may_have_received_it_stops_the_sources_restart(void **state)
{
    struct lease_record r = record(R, "a", NO);

    (void)state;
    say(&r, "a", VIEW_GU, false, 5);
    say(&r, "b", VIEW_RUN, true, 0);
    assert_int_equal(acquire(&r, "a", 0).answer, LEASE_MOVING);
    assert_int_equal(say(&r, "a", VIEW_RUN, false, 0).answer, LEASE_MOVING);
}

static void
in_grace_only_what_the_record_says_is_renewed(void **state)
{
    struct lease_now grace = {.now_ms = T0 + 1000, .since_ms = T0, .grace = true};
    struct lease_view_word run = {.view = VIEW_RUN, .e = 5}, go = {.view = VIEW_GO, .e = 5};
    struct lease_record r = record(R, "a", NO), before = r;
    struct lease_word word;
    struct error err;

    (void)state;
    lease_report(&r, "a", &run, &grace, &word);
    assert_int_equal(word.answer, LEASE_OK);
    assert_int_equal(r.renewed_ms, grace.now_ms);
    r.renewed_ms = before.renewed_ms;
    lease_report(&r, "a", &go, &grace, &word);
    assert_int_equal(word.answer, LEASE_GRACE);
    lease_report(&r, "b", &run, &grace, &word);
    assert_int_equal(word.answer, LEASE_GRACE);
    lease_acquire(&r, "a", &grace, &word);
    assert_int_equal(word.answer, LEASE_GRACE);
    assert_int_equal(lease_place(&r, "b", true, &grace, &err), -1);
    assert_string_equal(err.problem, "grace");
    assert_memory_equal(&r, &before, sizeof r);
}

static void
an_operator_names_the_host_but_not_over_a_live_lease(void **state)
{
    struct lease_record r = record(R, "a", NO);
    struct lease_now now = at(0), late = at(LEASE_LIFE_MS);
    struct error err;

    (void)state;
    assert_int_equal(lease_place(&r, "b", false, &now, &err), -1);
    assert_string_equal(err.problem, "foreign");
    assert_int_equal(lease_place(&r, "b", false, &late, &err), 0);
    assert_int_equal(r.st, LEASE_FREE);
    assert_true(r.placed);
    assert_int_equal(acquire(&r, "a", LEASE_LIFE_MS).answer, LEASE_FOREIGN);
    assert_int_equal(acquire(&r, "b", LEASE_LIFE_MS).answer, LEASE_OK);
    assert_false(r.placed);
    r = record(R, "a", NO);
    assert_int_equal(lease_place(&r, "b", true, &now, &err), 0);
    assert_int_equal(say(&r, "b", VIEW_RUN, true, 0).answer, LEASE_OK); /* came in, but placed */
}

static void
epochs_rise_even_when_the_clock_goes_back(void **state)
{
    struct lease_record r = record(F, "a", NO);
    uint64_t last;

    (void)state;
    assert_int_equal(acquire(&r, "a", 1000).answer, LEASE_OK);
    last = r.ep;
    assert_true(last >= (uint64_t)T0 + 1000);
    assert_int_equal(acquire(&r, "a", -3600000).answer, LEASE_OK);
    assert_true(r.ep == last + 1);
    assert_int_equal(acquire(&r, "a", 5000).answer, LEASE_OK);
    assert_true(r.ep == (uint64_t)T0 + 5000);
}

static void
hosts_seen_come_back_from_their_text(void **state)
{
    char text[LEASE_SEEN_TEXT_MAX + 1], again[LEASE_SEEN_TEXT_MAX + 1];
    struct lease_record r = record(R, "a", NO), back;
    struct error err;
    char name[NAME_HOST_MAX + 1];

    (void)state;
    for (int i = 0; i < LEASE_SEEN_MAX + 2; i++) { /* two more than fit */
        memset(name, 'h', sizeof name - 1);
        name[sizeof name - 1] = '\0';
        name[0] = (char)('b' + i);
        say(&r, name, VIEW_RUN, false, 0);
    }
    assert_int_equal(r.n_seen, LEASE_SEEN_MAX);
    for (size_t i = 0; i < r.n_seen; i += 2)
        r.seen[i].ce = UINT64_MAX - i; /* the longest */
    lease_new(&back);
    lease_seen_print(&r, text);
    assert_int_equal(lease_seen_parse(text, &back, &err), 0);
    lease_seen_print(&back, again);
    assert_string_equal(text, again);
    assert_int_equal(lease_seen_parse("b=6", &back, &err), -1);
    assert_int_equal(lease_seen_parse("b", &back, &err), -1);
    assert_int_equal(lease_seen_parse("B=1", &back, &err), -1);
    assert_int_equal(lease_seen_parse("=1", &back, &err), -1);
    assert_int_equal(lease_seen_parse("b=1:", &back, &err), -1);
    assert_int_equal(lease_seen_parse("b=1:x", &back, &err), -1);
    assert_int_equal(lease_seen_parse("b=1:7x", &back, &err), -1);
    assert_int_equal(lease_seen_parse("b=1:7  c=1", &back, &err), -1);
    assert_int_equal(lease_seen_parse("b=1:7 c=1", &back, &err), 0);
    assert_true(lease_epoch_of(&back, "b") == 7 && back.n_seen == 2);
}

static void
a_candidate_takes_the_place_of_a_mere_copy(void **state)
{
    struct lease_record r = record(R, "a", NO);
    char name[3] = "x0";

    (void)state;
    for (int i = 0; i < LEASE_SEEN_MAX; i++) {
        name[1] = (char)('0' + i);
        say(&r, name, VIEW_RUN, false, 0);
    }
    say(&r, "b", VIEW_RUN, true, 0);
    assert_int_equal(lease_seen_of(&r, "b"), SEEN_RES);
}

/* ---- whatever is said in whatever order ---- */

static uint32_t
next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (uint32_t)(*seed >> 32);
}

struct history {
    uint64_t seed;
    struct lease_record r;
    struct lease_now now;
    uint64_t highest;
};

/* One random word of one of three hosts; the invariants after it. */
static void
step(struct history *h)
{
    static const char *const HOSTS[] = {"a", "b", "c"};
    static const enum lease_view VIEWS[] = {VIEW_RUN, VIEW_JOB, VIEW_INC, VIEW_OUT,
                                            VIEW_OFF, VIEW_GO,  VIEW_GM,  VIEW_GU,
                                            VIEW_GI,  VIEW_GR,  VIEW_GV};
    const char *host = HOSTS[next_random(&h->seed) % 3];
    struct lease_view_word w = {.view = VIEWS[next_random(&h->seed) % 11],
                                .k = next_random(&h->seed) % 2,
                                .e = next_random(&h->seed) % 2 ? h->r.ep
                                                               : next_random(&h->seed) % 4};
    struct lease_record before = h->r;
    struct lease_word word = {.answer = LEASE_ACK};
    struct error err;
    bool was_others;

    h->now.now_ms += next_random(&h->seed) % 40000;
    h->now.grace = next_random(&h->seed) % 16 == 0;
    was_others = before.st == LEASE_RUNS && strcmp(before.hol, host) != 0;
    switch (next_random(&h->seed) % 32 ? next_random(&h->seed) % 5 : 5) {
    case 5: /* an operator: that host is dead */
        (void)lease_fence(&h->r, host, "", &h->now, &err);
        assert_false(!h->now.grace && h->r.st != LEASE_FREE && strcmp(h->r.hol, host) == 0);
        break;
    case 0:
        lease_acquire(&h->r, host, &h->now, &word);
        break;
    case 1:
        lease_handover(&h->r, host, next_random(&h->seed) % 2, &h->now, &word);
        break;
    default:
        lease_report(&h->r, host, &w, &h->now, &word);
    }

    /* Another's lease, live or lapsed, is taken by nobody: not by words. */
    if (was_others)
        assert_string_equal(h->r.hol, before.hol);
    /* A grant is a new epoch, above all before it. */
    if (h->r.ep != before.ep) {
        assert_true(h->r.ep > h->highest);
        assert_string_equal(h->r.hol, host);
        h->highest = h->r.ep;
    }
    assert_true(h->r.ver >= before.ver && h->r.ver >= h->r.ep && h->r.ver >= h->r.nx);
    if (h->r.st == LEASE_MOVE && h->r.nx > h->highest)
        h->highest = h->r.nx;
    if (strcmp(h->r.hol, before.hol) != 0 && h->r.st == LEASE_RUNS)
        assert_true(h->r.ep > before.ep);
    /* OK is said to the holder alone, with its epoch; to a candidate the epoch that is its alone. */
    if (word.answer == LEASE_OK) {
        assert_string_equal(h->r.hol, host);
        assert_true(h->r.st != LEASE_FREE && word.e == h->r.ep);
    } else if (word.answer == LEASE_CANDIDATE) {
        assert_true(h->r.st == LEASE_MOVE && word.e > h->r.ep && word.e == lease_epoch_of(&h->r, host));
        assert_string_equal(lease_prover(&h->r, word.e, &h->now), host);
    } else {
        assert_true(word.e == 0);
    }
    /* At most one host's proof is good. */
    assert_true(lease_held(&h->r, "a", h->r.ep, &h->now) +
                    lease_held(&h->r, "b", h->r.ep, &h->now) +
                    lease_held(&h->r, "c", h->r.ep, &h->now) <=
                1);
    if (h->now.grace)
        assert_true(h->r.ver == before.ver && h->r.st == before.st);
}

static void
no_sequence_of_words_breaks_the_invariants(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct history h = {.seed = seed * 0x9e3779b97f4a7c15u, .now = at(0)};

        lease_new(&h.r);
        for (int i = 0; i < 200; i++)
            step(&h);
    }
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(every_view_in_every_state_becomes_what_the_table_says),
        cmocka_unit_test(a_change_and_nothing_else_raises_the_version),
        cmocka_unit_test(acquire_gives_it_to_the_holder_the_reserved_and_the_first),
        cmocka_unit_test(a_lapsed_lease_is_nobody_elses),
        cmocka_unit_test(the_services_own_downtime_counts_against_nobody),
        cmocka_unit_test(a_proof_counts_for_the_holder_in_its_epoch_alone),
        cmocka_unit_test(an_unwatched_end_is_doubt_and_only_the_same_host_goes_on),
        cmocka_unit_test(a_host_that_may_have_received_it_stops_the_sources_restart),
        cmocka_unit_test(in_grace_only_what_the_record_says_is_renewed),
        cmocka_unit_test(an_operator_names_the_host_but_not_over_a_live_lease),
        cmocka_unit_test(epochs_rise_even_when_the_clock_goes_back),
        cmocka_unit_test(hosts_seen_come_back_from_their_text),
        cmocka_unit_test(a_candidate_takes_the_place_of_a_mere_copy),
        cmocka_unit_test(no_sequence_of_words_breaks_the_invariants),
    };
    return cmocka_run_group_tests_name("lease_record", t, NULL, NULL);
}
