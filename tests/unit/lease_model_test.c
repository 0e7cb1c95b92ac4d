/*
 * The service's half of the checked model, tests/model/lease.pml, run beside lease_record.c: the same
 * random words of three hosts to both, and after each the same record and the same answer.
 *
 * The functions svc_* are taken from the model's own text (lease_model.h is cut out of it when this is
 * built). VIRTID_SEQUENCES=N: how many sequences, each of up to 40 words.
 */
#include "config.h"

#include "tokenservice/lease/lease_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NH = 3, WORDS = 40, EPOCHS_MAX = 512 };

/* The model's variables that its svc_* functions use; truth to `amb` are its ghosts. */
static struct {
    int st, hol, ep, nx, out, seen[NH], ce[NH], placed, lapd, clk, grace, an, ane;
    int truth, why, vm[NH], copy[NH], amb;
    int laste;
} now;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#define Y now.
#include "tests/model/lease_model.h"
#undef Y
#pragma GCC diagnostic pop

/* Ours, and which of our epochs is which of the model's. */
struct pair {
    struct lease_record r;
    uint64_t epoch[EPOCHS_MAX];
    uint64_t seed;
    size_t answers[LEASE_NOT_MIGRATING + 1];
    size_t states[3];
    size_t fenced[2]; /* [1]: and open to any host by then */
    char trace[WORDS * 64];
};

static const char *const HOSTS[NH] = { "a", "b", "c" };
static const struct lease_now AT = { .now_ms = 1700000000000, .since_ms = 1700000000000 };

static unsigned
pick(struct pair *p, unsigned n)
{
    p->seed ^= p->seed << 13;
    p->seed ^= p->seed >> 7;
    p->seed ^= p->seed << 17;
    return (unsigned)(p->seed >> 33) % n;
}

/* Is `ours` what we call the model's `theirs`?  Learned when it is new, and then it must be higher
 * than all before. */
static bool
same_epoch(struct pair *p, int theirs, uint64_t ours)
{
    assert_true(theirs >= 0 && theirs < EPOCHS_MAX);
    if (theirs == 0 || ours == 0)
        return theirs == 0 && ours == 0;
    if (p->epoch[theirs] != 0)
        return p->epoch[theirs] == ours;
    for (int i = 1; i < EPOCHS_MAX; i++) {
        if (p->epoch[i] != 0 && (i < theirs) != (p->epoch[i] < ours))
            return false;
    }
    p->epoch[theirs] = ours;
    return true;
}

static enum lease_answer
answer_of_model(void)
{
    static const enum lease_answer OURS[] = {
        [A_ACK] = LEASE_ACK,         [A_OK] = LEASE_OK,       [A_CAND] = LEASE_CANDIDATE,
        [A_FOREIGN] = LEASE_FOREIGN, [A_MOVING] = LEASE_MOVING, [A_GRACE] = LEASE_GRACE,
        [A_UNKNOWN] = LEASE_UNKNOWN, [A_NOTMIG] = LEASE_NOT_MIGRATING,
    };

    return OURS[now.an];
}

static const char *
first_difference(struct pair *p)
{
    const struct lease_record *r = &p->r;

    if ((int)r->st != now.st)
        return "st";
    if (strcmp(r->hol, now.hol < NH ? HOSTS[now.hol] : "") != 0)
        return "hol";
    if (r->st == LEASE_MOVE && (int)r->out != now.out)
        return "out";
    if (r->placed != (now.placed != 0))
        return "placed";
    for (int h = 0; h < NH; h++) {
        if ((int)lease_seen_of(r, HOSTS[h]) != now.seen[h])
            return "seen";
    }
    if (!same_epoch(p, now.ep, r->ep))
        return "ep";
    for (size_t i = 0; i < r->n_seen && r->st == LEASE_MOVE; i++) {
        if (r->seen[i].seen >= SEEN_INC && !same_epoch(p, now.ce[r->seen[i].host[0] - 'a'], r->seen[i].ce))
            return "ce";
    }
    return r->st == LEASE_MOVE && !same_epoch(p, now.nx, r->nx) ? "nx" : NULL;
}

static void
compare(struct pair *p, const struct lease_word *word)
{
    const char *what = NULL;

    if (word && word->answer != answer_of_model())
        what = "answer";
    else if (word && !same_epoch(p, now.ane, word->e))
        what = "e of the answer";
    else
        what = first_difference(p);
    if (what)
        fail_msg("%s differs after:%s\nmodel: st %d hol %d ep %d nx %d out %d seen %d %d %d ce %d %d %d answer %d %d; "
                 "ours: %s hol \"%s\" out %d seen %d %d %d answer %s",
                 what, p->trace, now.st, now.hol, now.ep, now.nx, now.out, now.seen[0], now.seen[1], now.seen[2],
                 now.ce[0], now.ce[1], now.ce[2], now.an, now.ane, lease_state_name(p->r.st), p->r.hol,
                 (int)p->r.out, (int)lease_seen_of(&p->r, "a"), (int)lease_seen_of(&p->r, "b"),
                 (int)lease_seen_of(&p->r, "c"), word ? lease_answer_name(word->answer) : "-");
    if (word)
        p->answers[word->answer]++;
    p->states[p->r.st]++;
}

static void
note(struct pair *p, const char *what, int h, int a, int b, int c)
{
    size_t len = strlen(p->trace);

    snprintf(p->trace + len, sizeof p->trace - len, " %s(%s %d %d %d)", what, HOSTS[h], a, b, c);
}

/* An epoch that host `h` may name: none, the holder's, its own, or any that ever was. */
static int
some_epoch(struct pair *p, int h)
{
    switch (pick(p, 4)) {
    case 0:
        return 0;
    case 1:
        return now.ep;
    case 2:
        return now.ce[h];
    default:
        return now.clk > 0 ? (int)pick(p, (unsigned)now.clk + 1) : 0;
    }
}

/* An epoch that no answer named (its candidate was out again in the same step) lies between its neighbours. */
static uint64_t
ours(const struct pair *p, int theirs)
{
    int known = theirs;

    while (known > 0 && p->epoch[known] == 0)
        known--;
    return p->epoch[known] + (uint64_t)(theirs - known);
}

static void
say_report(struct pair *p, int h)
{
    static const int VIEWS[] = { V_RUN, V_JOB, V_INC, V_OUT, V_OFF, V_GO, V_GM, V_GU, V_GI, V_GR, V_GV };
    int v = VIEWS[pick(p, pick(p, 2) ? 4 : 11)], k = (int)pick(p, 2), e = some_epoch(p, h);
    int kk = pick(p, 3) ? now.nx : some_epoch(p, h);
    struct lease_view_word w = { .view = (enum lease_view)v, .k = k != 0, .e = ours(p, e), .kk = ours(p, kk) };
    struct lease_word word;

    note(p, lease_view_name(w.view), h, k, e, kk);
    svc_report(h, v, k, e, kk);
    lease_report(&p->r, HOSTS[h], &w, &AT, &word);
    compare(p, &word);
}

static void
say_acquire(struct pair *p, int h)
{
    struct lease_word word;

    note(p, "acquire", h, 0, 0, 0);
    svc_acquire(h);
    lease_acquire(&p->r, HOSTS[h], &AT, &word);
    compare(p, &word);
}

/* do_handover() of the model without its own asking of the source. */
static void
say_handover(struct pair *p, int h)
{
    bool asks = now.hol < NH && now.hol != h && !(now.st == MOVE && now.out);
    bool answered = !asks || pick(p, 2);
    struct lease_word word;

    if (now.st == FREE && (now.hol == ANY || now.hol == h))
        return; /* docs/DECISIONS/011: unknown, where the model says not-migrating */
    note(p, "handover", h, answered, 0, 0);
    assert_int_equal(lease_handover_asks(&p->r, HOSTS[h], &AT), asks);
    if (now.st == MOVE && now.hol == h && !now.out)
        now.out = DBT;
    if (now.st != MOVE && answered) {
        ans(A_NOTMIG, 0);
    } else {
        now.seen[h] = 0;
        other(h, V_INC, 0, 0);
        settle();
        if (now.st != MOVE)
            ans(A_UNKNOWN, 0);
    }
    lease_handover(&p->r, HOSTS[h], answered, &AT, &word);
    compare(p, &word);
}

static void
say_proof(struct pair *p, int h)
{
    int e = some_epoch(p, h);
    const char *prover = lease_prover(&p->r, ours(p, e), &AT);
    bool accepted = prover && strcmp(prover, HOSTS[h]) == 0;

    note(p, "proof", h, e, 0, 0);
    assert_int_equal(svc_proof(h, e, 1), accepted);
    if (accepted)
        lease_proved(&p->r, ours(p, e), &AT);
    compare(p, NULL);
}

static void
say_place(struct pair *p, int h)
{
    struct error err;

    note(p, "place", h, 0, 0, 0);
    svc_place(h);
    assert_int_equal(lease_place(&p->r, HOSTS[h], true, &AT, &err), 0);
    compare(p, NULL);
}

static void
say_fence(struct pair *p, int h)
{
    struct error err;

    note(p, "fence", h, 0, 0, 0);
    svc_fence(h);
    assert_int_equal(lease_fence(&p->r, HOSTS[h], "", &AT, &err), 0);
    p->fenced[p->r.st == LEASE_MOVE && p->r.hol[0] == '\0']++;
    compare(p, NULL);
}

static void
say_something(struct pair *p)
{
    int h = (int)pick(p, NH);
    unsigned what = pick(p, 20);

    if (what < 11)
        say_report(p, h);
    else if (what < 14)
        say_acquire(p, h);
    else if (what < 17)
        say_handover(p, h);
    else if (what < 18 || pick(p, 4))
        say_proof(p, h);
    else if (pick(p, 3))
        say_fence(p, h);
    else
        say_place(p, h);
}

static void
begin(struct pair *p)
{
    memset(&now, 0, sizeof now);
    now.truth = NOBODY;
    now.hol = ANY;
    lease_new(&p->r);
    memset(p->epoch, 0, sizeof p->epoch);
    p->trace[0] = '\0';
}

static void
ours_does_what_the_model_does(void **state)
{
    const char *wanted = getenv("VIRTID_SEQUENCES");
    long n = wanted ? atol(wanted) : 20000;
    struct pair *p = calloc(1, sizeof *p);

    (void)state;
    assert_non_null(p);
    p->seed = 88172645463325252u;
    for (long i = 0; i < n; i++) {
        begin(p);
        for (int k = 0; k < WORDS; k++)
            say_something(p);
    }
    for (int s = 0; s < 3; s++)
        assert_true(p->states[s] > (size_t)n);
    for (int a = LEASE_ACK; a <= LEASE_NOT_MIGRATING; a++)
        assert_true(a == LEASE_GRACE || p->answers[a] > (size_t)n / 10);
    assert_true(p->fenced[0] > (size_t)n / 10 && p->fenced[1] > (size_t)n / 10);
    print_message("# %ld sequences of %d words, %zu of them in state move, %zu candidates\n", n, WORDS,
                  p->states[LEASE_MOVE], p->answers[LEASE_CANDIDATE]);
    free(p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ours_does_what_the_model_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
