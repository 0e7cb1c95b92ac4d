#include "config.h"

#include "tokenservice/attest/ratchet.h"

#include <string.h>

#include "lib/crypto/hash.h"

bool
proof_run_equal(const struct proof_run *a, const struct proof_run *b)
{
    return a->epoch == b->epoch && a->reset_count == b->reset_count &&
           a->restart_count == b->restart_count;
}

/* All compared values are public. */
static bool
shows_key(const struct ratchet_shown *s, const uint8_t key[65])
{
    return (s->has_cur && memcmp(s->cur, key, sizeof s->cur) == 0) ||
           (s->has_new && memcmp(s->new_, key, sizeof s->new_) == 0);
}

static bool
shows_x(const struct ratchet_shown *s, const uint8_t x[32])
{
    return s->has_x && memcmp(s->x, x, sizeof s->x) == 0;
}

bool
ratchet_key_fits(const struct ratchet *r, const struct ratchet_shown *s)
{
    return (r->has_cur && shows_key(s, r->cur)) || (r->has_next && shows_key(s, r->next));
}

bool
ratchet_index_fits(const struct ratchet *r, const struct ratchet_shown *s)
{
    return (r->has_x && shows_x(s, r->xcur)) || (r->has_xnext && shows_x(s, r->xnext));
}

static void
forget_next_key(struct ratchet *r)
{
    r->has_next = false;
    memset(r->next, 0, sizeof r->next);
}

static void
forget_next_x(struct ratchet *r)
{
    r->has_xnext = false;
    memset(r->xnext, 0, sizeof r->xnext);
    explicit_bzero(r->v, sizeof r->v);
}

/* S2: each half by itself, by what the proof shows.  A half that it does not show stays. */
static void
settle(struct ratchet *r, const struct ratchet_shown *s)
{
    if (r->has_next && ratchet_key_fits(r, s)) {
        if (shows_key(s, r->next))
            memcpy(r->cur, r->next, sizeof r->cur);
        forget_next_key(r);
    }
    if (r->has_xnext && ratchet_index_fits(r, s)) {
        if (shows_x(s, r->xnext))
            memcpy(r->xcur, r->xnext, sizeof r->xcur);
        forget_next_x(r);
    }
    r->pend_run = s->run;
}

void
ratchet_accept(struct ratchet *r, unsigned behind, const struct ratchet_shown *s)
{
    bool on = r->on;

    settle(r, s);
    if (behind & RATCHET_KEY) {
        memcpy(r->cur, s->cur, sizeof r->cur);
        forget_next_key(r);
    }
    if (behind & RATCHET_INDEX) {
        memcpy(r->xcur, s->x, sizeof r->xcur);
        forget_next_x(r);
    }
    if (!on)
        r->pend_run = (struct proof_run){ .epoch = 0 };
    r->done_run = (struct proof_run){ .epoch = 0 };
}

static bool
must_settle(const struct ratchet *r, unsigned halves, const struct ratchet_shown *s)
{
    if (!proof_run_equal(&r->pend_run, &s->run))
        return true;
    if (!(halves & RATCHET_KEY))
        return false;
    return !s->fresh || (r->has_next && !(s->has_new && memcmp(r->next, s->new_, sizeof r->next) == 0));
}

/* S6: only here the state of before is forgotten. */
static void
complete(struct ratchet *r, unsigned halves, const struct ratchet_shown *s, struct ratchet_answer *ret)
{
    if (halves & RATCHET_KEY) {
        memcpy(r->cur, r->next, sizeof r->cur);
        forget_next_key(r);
    }
    if (halves & RATCHET_INDEX) {
        memcpy(r->xcur, r->xnext, sizeof r->xcur);
        forget_next_x(r);
    }
    r->done_run = s->run;
    ret->stepped = halves;
    ret->completed = true;
}

/* xnext = SHA-256(xcur || v), as TPM2_NV_Extend makes it. */
static int
choose_v(struct ratchet *r, const uint8_t *random, struct error *err)
{
    uint8_t both[64];
    int rc;

    memcpy(r->v, random, sizeof r->v);
    memcpy(both, r->xcur, 32);
    memcpy(both + 32, r->v, 32);
    rc = hash_sha256(both, sizeof both, r->xnext, err);
    explicit_bzero(both, sizeof both);
    r->has_xnext = rc == 0;
    return rc;
}

/* S3 to S6. */
static int
advance(struct ratchet *r, unsigned halves, const struct ratchet_shown *s, const uint8_t *random,
        struct ratchet_answer *ret, struct error *err)
{
    ret->type = ANSWER_RESOLVE;
    if ((halves & RATCHET_KEY) && (!s->fresh || !s->has_new || !s->has_cur ||
                                   memcmp(s->cur, r->cur, sizeof r->cur) != 0))
        return 0; /* S3 */
    if ((halves & RATCHET_KEY) && !r->has_next) {
        memcpy(r->next, s->new_, sizeof r->next);
        r->has_next = true;
    }
    if ((halves & RATCHET_INDEX) && !r->has_xnext && choose_v(r, random, err) < 0) /* S4 */
        return -1;
    if (!(halves & RATCHET_INDEX) || shows_x(s, r->xnext)) {
        complete(r, halves, s, ret); /* S6 */
        ret->type = ANSWER_TOKEN;
    } else {
        memcpy(ret->from, r->xcur, sizeof ret->from); /* S4, S5: the same v again */
        ret->type = ANSWER_EXTEND;
    }
    return 0;
}

/*
 * `ratchet: off`, until an agent shows that it can step: S1 for every run, and S3.  A next key that is not
 * fresh is one such agent's that was killed: it is told to begin again.
 */
static void
go_on_without(const struct ratchet *r, unsigned halves, const struct ratchet_shown *s,
              struct ratchet_answer *ret)
{
    bool settled = !s->has_new && s->has_cur && memcmp(s->cur, r->cur, sizeof r->cur) == 0;

    ret->type = !(halves & RATCHET_KEY) || settled ? ANSWER_TOKEN : ANSWER_RESOLVE;
}

static int
step(struct ratchet *r, unsigned halves, const struct ratchet_shown *s, const uint8_t *random,
     struct ratchet_answer *ret, struct error *err)
{
    if (halves == 0 || (!r->on && !s->fresh)) {
        go_on_without(r, halves, s, ret);
        return 0;
    }
    r->on = true;
    if (proof_run_equal(&r->done_run, &s->run)) { /* S1 */
        ret->type = ANSWER_TOKEN;
        ret->stepped = halves;
        return 0;
    }
    if (must_settle(r, halves, s))
        settle(r, s);
    return advance(r, halves, s, random, ret, err);
}

int
ratchet_step(struct ratchet *r, unsigned halves, const struct ratchet_shown *s,
             const uint8_t random[static 32], struct ratchet_answer *ret, struct error *err)
{
    memset(ret, 0, sizeof *ret);
    r->grant = (struct grant){ .given = false };
    if (step(r, halves, s, random, ret, err) < 0)
        return -1;
    ret->has_kid = r->has_cur && (ret->type == ANSWER_RESOLVE || shows_key(s, r->cur));
    return ret->has_kid ? hash_sha256(r->cur, sizeof r->cur, ret->kid, err) : 0;
}
