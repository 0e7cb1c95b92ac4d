/*
 * The service's steps (tokenservice/attest/ratchet.c) beside those of the checked model, in random histories of the
 * model's own world: crashes with lost writes, power losses, lost answers, doubled and repeated requests, moves,
 * TPM2_Clear, copies put back, a copy elsewhere with a host's signature, an operator who accepts what was refused.
 *
 * After each proof both say the same and have the same row; no proof of an older state changes anything once the
 * original has had a later token (R2, R4, R8); none that was made before an operator's word (R7); and whatever
 * happened, the genuine VM has its token in its next boot (R1), where a word whose epoch has ended is said again.  The
 * guest here follows G0 to G6 as the model's does.  VIRTID_SEQUENCES=N: how many histories, of up to ACTIONS events.
 */
#include "config.h"

#include "tokenservice/attest/ratchet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/crypto/hash.h"
#include "tests/model/ratchet_model.h"

enum { NOW = 5000, ACTIONS = 200, XS_MAX = 1024, NM = 3, JUNK = 0, SEQUENCES = 400, ROUNDS_MAX = 60 };
enum pc { OFF, START, GEN, FSY, SYNC, SEND, WAIT, DONE, DEAD };

/* A request under way: what it shows, and the model's ghosts. */
struct request {
    struct model_msg m;
    bool on, dl, nw, live, hs, old, used;
    bool gone; /* the disk or TPM that made it was written over since */
    int md, mt, sd, st;
    int ep, ga; /* made in this epoch, after so many words */
};

static struct world {
    struct model_mode mode;
    bool has_operator; /* in half of the worlds: the others are not softened by it */
    struct model_row y;
    struct ratchet r;
    uint8_t x[XS_MAX][32]; /* what the model's numbers are */
    int kid, xid;
    /* two disks and two TPMs: attached, and what was copied */
    int vcur[2], vnew[2], dcur[2], dnew[2], dst[2], X[2], hX[2], tst[2];
    int ad, at, gd, gt;
    bool cpd, cpt;
    bool lost; /* the newest accepted proof was of a state that is nowhere any more */
    enum pc pc;
    int R, fresh, bsd, bst, LT, ep, word;
    struct request net[NM];
    struct model_answer reply; /* under way to the agent; REFUSED with a = 1 is none */
    bool has_reply;
    uint64_t seed;
    char trace[ACTIONS * 12];
} w;

static struct { size_t answers[MODEL_TOKEN + 1], refused_copies, granted; } total; /* of all histories */

static unsigned
pick(unsigned n)
{
    w.seed ^= w.seed << 13;
    w.seed ^= w.seed >> 7;
    w.seed ^= w.seed << 17;
    return (unsigned)(w.seed >> 33) % n;
}

static void
note(const char *what)
{
    size_t len = strlen(w.trace);

    snprintf(w.trace + len, sizeof w.trace - len, " %s", what);
}

/* ---- ours beside the model's ---- */

static void
key_bytes(int k, uint8_t ret[65])
{
    memset(ret, 0, 65);
    memcpy(ret, &k, sizeof k);
}

static struct ratchet_shown
shown_of(const struct model_msg *m, int ep)
{
    struct ratchet_shown s = { .has_cur = m->k1 != 0, .has_new = m->k2 != 0, .has_x = !w.mode.noidx,
                               .fresh = m->fr, .run = { .epoch = 1000u + (unsigned)ep, .reset_count = (uint32_t)m->rn } };

    key_bytes(m->k1, s.cur);
    key_bytes(m->k2, s.new_);
    memcpy(s.x, w.x[m->x], sizeof s.x);
    return s;
}

static void
compare_row(void)
{
    const struct ratchet *r = &w.r;
    uint8_t cur[65], next[65];

    key_bytes(w.y.cur, cur);
    key_bytes(w.y.nxt, next);
    if (memcmp(r->cur, cur, 65) != 0 || r->has_next != (w.y.nxt != 0) ||
        (r->has_next && memcmp(r->next, next, 65) != 0))
        fail_msg("keys differ:%s", w.trace);
    if (!w.mode.noidx && (memcmp(r->xcur, w.x[w.y.xcur], 32) != 0 || r->has_xnext != (w.y.xnx != 0) ||
                          (r->has_xnext && memcmp(r->xnext, w.x[w.y.xnx], 32) != 0)))
        fail_msg("index differs:%s", w.trace);
    if ((int)r->pend_run.reset_count != w.y.prun || (int)r->done_run.reset_count != w.y.done)
        fail_msg("runs differ:%s", w.trace);
    if (r->grant.given != (w.y.gk != 0))
        fail_msg("grants differ:%s", w.trace);
}

static void
compare_answer(const struct model_answer *a, const struct ratchet_answer *ours)
{
    static const enum answer_type TYPES[] = { [MODEL_RESOLVE] = ANSWER_RESOLVE, [MODEL_EXTEND] = ANSWER_EXTEND,
                                              [MODEL_TOKEN] = ANSWER_TOKEN };
    uint8_t key[65], kid[32];
    struct error err;

    if (ours->type != TYPES[a->ty])
        fail_msg("answer %d, the model says %d:%s", (int)ours->type, (int)a->ty, w.trace);
    if (a->ty == MODEL_EXTEND) {
        if (memcmp(ours->from, w.x[a->a], 32) != 0)
            fail_msg("from differs:%s", w.trace);
        return;
    }
    key_bytes(a->a, key);
    assert_int_equal(hash_sha256(key, sizeof key, kid, &err), 0);
    if (!ours->has_kid || memcmp(kid, ours->kid, 32) != 0)
        fail_msg("kid differs:%s", w.trace);
}

static struct model_answer
service(const struct model_msg *m, int ep)
{
    struct ratchet_shown s = shown_of(m, ep);
    unsigned halves = (w.mode.nosec ? 0 : RATCHET_KEY) | (w.mode.noidx ? 0 : RATCHET_INDEX);
    unsigned behind = (w.mode.nosec || ratchet_key_fits(&w.r, &s) ? 0u : RATCHET_KEY) |
                      (w.mode.noidx || ratchet_index_fits(&w.r, &s) ? 0u : RATCHET_INDEX);
    struct proof_shown shown;
    bool fits;
    int had = w.y.xnx;
    struct model_answer a = model_service(&w.y, &w.mode, m, w.xid + 1);
    struct ratchet_answer ours;
    uint8_t random[32];
    struct error err;

    assert_int_equal(grant_shown(&s, &shown, &err), 0);
    fits = !behind || grant_fits(&w.r.grant, &shown, s.run.epoch, NOW);
    total.answers[a.ty]++;
    total.granted += behind && fits;
    if (fits != (a.ty != MODEL_REFUSED))
        fail_msg("C4 differs:%s", w.trace);
    if (!fits)
        return a;
    if (behind)
        ratchet_accept(&w.r, behind, &s);
    for (size_t i = 0; i < sizeof random; i++)
        random[i] = (uint8_t)pick(256);
    assert_int_equal(ratchet_step(&w.r, halves, &s, random, &ours, &err), 0);
    if (w.y.xnx == w.xid + 1 && w.y.xnx != had) { /* a step began */
        assert_true(++w.xid < XS_MAX);
        memcpy(w.x[w.xid], w.r.xnext, 32);
    }
    compare_answer(&a, &ours);
    compare_row();
    return a;
}

/* ---- the model's world ---- */

static void
ramgone(void)
{
    w.fresh = 0;
    w.has_reply = false;
    for (int i = 0; i < NM; i++)
        w.net[i].live = w.net[i].nw = false;
}

static void
newrun(void)
{
    w.R++;
    w.bsd = w.dst[w.ad];
    w.bst = w.tst[w.at];
    if (w.dst[w.ad] >= w.LT)
        w.dst[w.ad] = w.R;
    if (w.tst[w.at] >= w.LT)
        w.tst[w.at] = w.R;
}

static void
fsy(void)
{
    w.dcur[w.ad] = w.vcur[w.ad];
    w.dnew[w.ad] = w.vnew[w.ad];
}

static void
copyall(void)
{
    int a = w.ad, t = w.at;

    w.cpd = w.cpt = true;
    w.vcur[1 - a] = w.dcur[1 - a] = w.vcur[a];
    w.vnew[1 - a] = w.dnew[1 - a] = w.vnew[a];
    w.dst[1 - a] = w.dst[a];
    w.X[1 - t] = w.hX[1 - t] = w.X[t];
    w.tst[1 - t] = w.tst[t];
    for (int i = 0; i < NM; i++)
        w.net[i].gone |= w.net[i].md == 1 - a || w.net[i].mt == 1 - t;
}

static void
settle(int k)
{
    if (k == w.vnew[w.ad] && k != 0)
        w.vcur[w.ad] = w.vnew[w.ad];
    w.vnew[w.ad] = 0;
    w.fresh = 0;
}

static struct request
proof_of(int d, int t)
{
    return (struct request){ .m = { w.vcur[d], w.vnew[d], w.X[t], w.R, w.fresh != 0 && w.fresh == w.vnew[d] },
                             .on = true, .hs = true, .md = d, .mt = t, .sd = w.bsd, .st = w.bst, .ep = w.ep, .ga = w.word };
}

static void
deliver(struct request *q)
{
    struct model_answer a;
    bool stands = q->m.rn == w.LT || ((w.mode.nosec || q->sd >= w.LT) && (w.mode.noidx || q->st >= w.LT));

    q->dl = true;
    if (!q->hs || q->old) /* C1, C3 */
        return;
    a = service(&q->m, q->ep);
    if (a.ty != MODEL_REFUSED) {
        if (q->used || !stands)
            fail_msg("R%s:%s", q->used ? "6" : "2", w.trace);
        if (q->ga != w.word)
            fail_msg("R7:%s", w.trace);
        q->used = true;
        w.gd = q->md;
        w.gt = q->mt;
        w.lost = q->gone;
        for (struct request *r = w.net; r <= q; r++) /* those that were sent before */
            r->old = true;
    }
    if (a.ty == MODEL_TOKEN)
        w.LT = q->m.rn;
    if (q->live && q->nw) {
        w.reply = a;
        w.has_reply = true;
    }
}

static void
send_proof(void)
{
    int at = 0;

    if (w.net[NM - 1].on) { /* the oldest is forgotten */
        memmove(&w.net[0], &w.net[1], (NM - 1) * sizeof w.net[0]);
        memset(&w.net[NM - 1], 0, sizeof w.net[0]);
    }
    while (w.net[at].on)
        at++;
    for (int i = 0; i < NM; i++)
        w.net[i].nw = false;
    w.has_reply = false;
    w.net[at] = proof_of(w.ad, w.at);
    w.net[at].nw = w.net[at].live = true;
    w.pc = WAIT;
}

static bool
newest_under_way(void)
{
    bool any = false;

    for (int i = 0; i < NM; i++)
        any |= w.net[i].on && !w.net[i].dl && w.net[i].nw;
    return any;
}

static void
take_reply(void)
{
    struct model_answer a = w.reply;

    w.has_reply = false;
    switch (a.ty) {
    case MODEL_REFUSED:
        w.pc = DEAD;
        break;
    case MODEL_RESOLVE:
        if (a.a != w.vcur[w.ad] && a.a != w.vnew[w.ad]) {
            w.pc = DEAD;
            break;
        }
        settle(a.a);
        fsy();
        w.pc = GEN;
        break;
    case MODEL_EXTEND:
        if (w.X[w.at] == a.a)
            w.X[w.at] = a.b;
        w.pc = SYNC;
        break;
    case MODEL_TOKEN:
        settle(a.a);
        w.pc = DONE;
        break;
    }
}

/* One step of the guest. */
static void
agent(void)
{
    switch (w.pc) {
    case OFF:
        ramgone();
        newrun();
        w.pc = START;
        break;
    case START:
        fsy();
        w.pc = !w.mode.nosec && w.vnew[w.ad] == 0 ? GEN : SYNC;
        break;
    case GEN:
        w.vnew[w.ad] = w.fresh = ++w.kid;
        w.pc = FSY;
        break;
    case FSY:
        fsy();
        w.pc = SYNC;
        break;
    case SYNC:
        w.hX[w.at] = w.X[w.at];
        w.pc = SEND;
        break;
    case SEND:
    case DONE: /* a later proof */
        send_proof();
        break;
    case WAIT:
        if (w.has_reply)
            take_reply();
        else if (!newest_under_way())
            w.pc = SEND; /* time-out: a fresh proof */
        break;
    case DEAD:
        break;
    }
}

static void
off(bool lost, bool power)
{
    if (lost) {
        w.vcur[w.ad] = w.dcur[w.ad];
        w.vnew[w.ad] = w.dnew[w.ad];
    } else {
        fsy();
    }
    if (power)
        w.X[w.at] = w.hX[w.at];
    w.hX[w.at] = w.X[w.at];
    ramgone();
    w.pc = OFF;
}

/* Only the later of two writes arrived. */
static void
crash_in_order_lost(void)
{
    int cur = w.dcur[w.ad];

    if (w.vcur[w.ad] == cur || w.vnew[w.ad] == 0)
        return;
    off(false, false);
    w.vcur[w.ad] = w.dcur[w.ad] = cur;
}

/* Every host's signature of before is worthless, and a grant of before. */
static void
end_epoch(void)
{
    for (int i = 0; i < NM; i++)
        w.net[i].hs = false;
    w.ep++;
    w.r.grant = (struct grant){ .given = false };
    w.y.gk = w.y.gn = w.y.gx = 0;
}

static void
another_epoch(void)
{
    end_epoch();
    if (pick(2))
        w.has_reply = false; /* or it came along and is read */
    newrun();
    if (w.has_reply && w.pc == WAIT)
        take_reply();
    ramgone();
    w.pc = START;
}

/* What was refused was seen, and the operator says yes: the VM runs on, in a new epoch. */
static void
accept_refused(void)
{
    struct request seen = proof_of(w.ad, w.at);
    struct ratchet_shown s = shown_of(&seen.m, w.ep);
    struct error err;

    end_epoch();
    w.y.gk = seen.m.k1;
    w.y.gn = seen.m.k2;
    w.y.gx = seen.m.x;
    w.r.grant = (struct grant){ .given = true, .epoch = 1000u + (unsigned)w.ep, .ends_ms = NOW + 1 };
    assert_int_equal(grant_shown(&s, &w.r.grant.shown, &err), 0);
    w.word++;
    w.gd = w.ad;
    w.gt = w.at;
    w.dst[w.ad] = w.tst[w.at] = w.LT;
    /* Until the step that follows, a copy of the same state is as good. */
    if (w.vcur[1 - w.ad] == w.vcur[w.ad] || w.vnew[1 - w.ad] == w.vcur[w.ad])
        w.dst[1 - w.ad] = w.LT;
    if (w.X[1 - w.at] == w.X[w.at])
        w.tst[1 - w.at] = w.LT;
    newrun();
    ramgone();
    w.pc = START;
}

/* A copy of an older state, wherever it runs, with a host's signature of now. */
static void
copy_elsewhere(void)
{
    struct ratchet before = w.r;
    bool d_old = w.dst[1 - w.ad] < w.LT, t_old = w.tst[1 - w.at] < w.LT;

    if (!w.cpd || !w.cpt || (w.mode.nosec ? !t_old : w.mode.noidx ? !d_old : !d_old || !t_old))
        return;
    for (int variant = 0; variant < 3; variant++) {
        struct request q = proof_of(variant == 1 ? w.ad : 1 - w.ad, variant == 2 ? w.at : 1 - w.at);

        if ((variant == 1 && w.mode.noidx) || (variant == 2 && w.mode.nosec))
            continue;
        if (service(&q.m, w.ep).ty != MODEL_REFUSED || memcmp(&before, &w.r, sizeof before) != 0)
            fail_msg("R8: a copy of before changes something:%s", w.trace);
        total.refused_copies++;
    }
}

static void
event(void)
{
    unsigned what = pick(100);

    if (what < 8 && w.pc == DEAD && w.has_operator) {
        note("accept"), accept_refused();
    } else if (what < 12 && w.pc == START && w.y.gk != 0) {
        note("off"), off(false, false);
    } else if (what < 8 && w.pc == DONE && w.has_operator && !w.cpd) {
        note("backup"), copyall();
    } else if (what < 40 && w.pc == OFF && w.has_operator && w.cpd && w.cpt) { /* or no one had to say a word */
        note("put-back");
        w.ad = what & 1 ? 1 - w.ad : w.ad;
        w.at = what & 2 ? 1 - w.at : w.at;
    } else if (what < 52) {
        agent();
    } else if (what < 84) {
        struct request *q = &w.net[pick(NM)];

        if (q->on && (!q->dl || pick(8) == 0)) /* or once more */
            note("deliver"), deliver(q);
    } else if (what == 84) {
        note("lost-reply"), w.has_reply = false;
    } else if (what == 85) {
        note("lost-request"), w.net[pick(NM)].dl = true;
    } else if (what == 86 && w.pc == WAIT) {
        note("twice"), send_proof();
    } else if (what == 87 && w.pc != OFF) {
        note("off"), off(false, false);
    } else if (what == 88 && w.pc != OFF) {
        note("crash"), off(true, false);
    } else if (what == 89 && w.pc != OFF) {
        note("power"), off(true, true);
    } else if (what == 90 && w.pc != OFF) {
        note("half-crash"), crash_in_order_lost();
    } else if (what == 91 && w.pc != OFF) {
        note("restart"), ramgone(), w.pc = START;
    } else if (what == 92 && w.pc != OFF) {
        note("move");
        if (w.ad == w.gd && w.at == w.gt) /* what was put back keeps the genuine one in the other's place */
            copyall();
        another_epoch();
    } else if (what == 93 && w.pc != OFF) {
        note("epoch"), another_epoch();
    } else if (what == 94 && w.pc != OFF) {
        note("clear"), newrun(), w.fresh = 0;
    } else if (what == 95 && w.ad == w.gd && w.at == w.gt) {
        note("copy"), copyall();
    } else if (what == 96 && w.pc == OFF && w.cpd) {
        note("disk-swap"), w.ad = 1 - w.ad;
    } else if (what == 97 && w.pc == OFF && w.cpt) {
        note("tpm-swap"), w.at = 1 - w.at;
    } else {
        note("copy-elsewhere"), copy_elsewhere();
    }
}

static void
new_world(uint64_t seed)
{
    memset(&w, 0, sizeof w);
    w.seed = seed * 0x9e3779b97f4a7c15u + 88172645463325252u;
    w.mode = (struct model_mode){ .noidx = seed % 4 == 1, .nosec = seed % 4 == 2 };
    w.has_operator = seed % 8 >= 4;
    w.y = (struct model_row){ .cur = 1, .xcur = 1 };
    w.kid = w.xid = w.X[0] = w.hX[0] = w.vcur[0] = w.dcur[0] = 1;
    memset(w.x[JUNK], 0xff, 32);
    memset(w.x[1], 0x11, 32);
    w.r.on = w.r.has_cur = true;
    w.r.has_x = !w.mode.noidx;
    key_bytes(1, w.r.cur);
    memcpy(w.r.xcur, w.x[1], 32);
}

/* R1: the genuine disk and TPM, booted once more, nothing going wrong.  Where they are nowhere any more, somebody has
 * put another state in their place, and says so. */
static void
boot_and_prove(void)
{
    int words = 1;

    if (w.pc != OFF)
        off(false, false);
    w.ad = w.gd;
    w.at = w.gt;
    memset(w.net, 0, sizeof w.net);
    for (int round = 0; w.pc != DONE; round++) {
        if (w.pc == DEAD && (w.word > 0 || w.lost) && words-- > 0)
            accept_refused();
        if (w.pc == DEAD || round > ROUNDS_MAX)
            fail_msg("R1: no token:%s", w.trace);
        agent();
        for (int i = 0; i < NM; i++) {
            if (w.net[i].on && !w.net[i].dl)
                deliver(&w.net[i]);
        }
    }
    if (w.LT != w.R)
        fail_msg("R1: the token is not of this run:%s", w.trace);
}

static void
the_service_steps_as_the_model_does(void **state)
{
    const char *text = getenv("VIRTID_SEQUENCES");
    unsigned long n = text ? strtoul(text, NULL, 10) : SEQUENCES;

    (void)state;
    for (unsigned long i = 1; i <= n; i++) {
        new_world(i);
        for (unsigned at = 0; at < ACTIONS; at++)
            event();
        boot_and_prove();
    }
    print_message("# %lu histories: %zu tokens, %zu EXTEND, %zu RESOLVE, %zu refused, %zu of them copies, %zu granted\n",
                  n, total.answers[MODEL_TOKEN], total.answers[MODEL_EXTEND], total.answers[MODEL_RESOLVE],
                  total.answers[MODEL_REFUSED], total.refused_copies, total.granted);
    /* A test that saw nothing happen says nothing. */
    for (int a = 0; a <= MODEL_TOKEN; a++)
        assert_true(total.answers[a] > n / 10);
    assert_true(total.refused_copies > 0 && total.granted > n / 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_service_steps_as_the_model_does) };

    return cmocka_run_group_tests_name("ratchet_model", tests, NULL, NULL);
}
