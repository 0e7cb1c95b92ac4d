/* What hosts and operators ask for: docs/PROTOCOL-lease.md, 2. */
#include "config.h"

#include "tokenservice/lease/lease_record.h"

#include <string.h>

#include "tokenservice/lease/lease_change.h"

/* ---- a start, a hand-over ---- */

static void
apply_acquire(struct lease_record *r, const char *host, const struct lease_now *now,
              struct lease_word *ret)
{
    enum lease_seen s = lease_seen_of(r, host);

    if (s == SEEN_INC || s == SEEN_CPY)
        record_set_seen(r, host, SEEN_NONE);
    if ((r->st == LEASE_FREE && (record_is_holder(r, host) || record_is_open(r, now))) ||
        (r->st == LEASE_RUNS && record_is_holder(r, host))) {
        record_grant(r, host, now, ret);
        return;
    }
    if (r->st != LEASE_MOVE) { /* lapsed or not */
        ret->answer = LEASE_FOREIGN;
        return;
    }
    if (record_is_holder(r, host) && r->out == LEASE_OUT_NO)
        r->out = LEASE_OUT_DBT;
    if (r->out == LEASE_OUT_DBT && record_candidates(r, host) == 0 &&
        (record_is_holder(r, host) || (record_is_open(r, now) && record_is_sole(r, host)))) {
        record_grant(r, host, now, ret);
        return;
    }
    ret->answer = LEASE_MOVING;
    if (!record_may_restart(r, host))
        return;
    record_set_seen(r, host, SEEN_RES);
    *ret = (struct lease_word){ .answer = LEASE_CANDIDATE, .e = record_join(r, host, now) };
    record_settle(r, now);
}

void
lease_acquire(struct lease_record *r, const char *host, const struct lease_now *now,
              struct lease_word *ret)
{
    struct lease_record before = *r;

    *ret = (struct lease_word){ .answer = LEASE_GRACE };
    if (now->grace)
        return;
    apply_acquire(r, host, now, ret);
    record_note_change(r, &before, now);
}

bool
lease_handover_asks(const struct lease_record *r, const char *host, const struct lease_now *now)
{
    return !now->outside && !record_is_any(r) && !record_is_holder(r, host) && !(r->st == LEASE_MOVE && r->out != LEASE_OUT_NO);
}

static void
apply_handover(struct lease_record *r, const char *host, bool answered, const struct lease_now *now,
               struct lease_word *ret)
{
    const struct lease_view_word incoming = { .view = VIEW_INC };

    if (r->st == LEASE_MOVE && record_is_holder(r, host) && r->out == LEASE_OUT_NO)
        r->out = LEASE_OUT_DBT;
    if (now->outside) {
        ret->answer = LEASE_FOREIGN;
        return;
    }
    ret->answer = LEASE_UNKNOWN;
    /* Nobody to ask, and nothing to lose; reserved for that very host it may come while it is off, too. */
    if (r->st == LEASE_FREE && (record_is_any(r) || record_is_holder(r, host)))
        return;
    if (r->st != LEASE_MOVE && answered) {
        ret->answer = LEASE_NOT_MIGRATING;
        return;
    }
    record_set_seen(r, host, SEEN_NONE); /* a new run, whatever was before */
    record_hear_other(r, host, &incoming, now, ret);
    record_settle(r, now);
    if (r->st != LEASE_MOVE)
        *ret = (struct lease_word){ .answer = LEASE_UNKNOWN };
}

void
lease_handover(struct lease_record *r, const char *host, bool answered,
               const struct lease_now *now, struct lease_word *ret)
{
    struct lease_record before = *r;

    *ret = (struct lease_word){ .answer = LEASE_GRACE };
    if (now->grace)
        return;
    apply_handover(r, host, answered, now, ret);
    record_note_change(r, &before, now);
}

/* ---- proofs ---- */

bool
lease_held(const struct lease_record *r, const char *host, uint64_t e,
           const struct lease_now *now)
{
    bool has = r->st == LEASE_RUNS || (r->st == LEASE_MOVE && r->out == LEASE_OUT_NO);

    return e != 0 && has && record_is_holder(r, host) && e == r->ep && !lease_lapsed(r, now);
}

const char *
lease_prover(const struct lease_record *r, uint64_t e, const struct lease_now *now)
{
    if (lease_held(r, r->hol, e, now))
        return r->hol;
    for (size_t i = 0; e != 0 && r->st == LEASE_MOVE && !now->grace && i < r->n_seen; i++) {
        const struct lease_seen_host *s = &r->seen[i];

        if ((s->seen == SEEN_INC || s->seen == SEEN_RES) && s->ce == e)
            return s->host;
    }
    return NULL;
}

void
lease_proved(struct lease_record *r, uint64_t e, const struct lease_now *now)
{
    struct lease_record before = *r;
    const char *host = lease_prover(r, e, now);
    char name[sizeof r->hol];

    if (!host || host == r->hol)
        return;
    memcpy(name, host, sizeof name);
    record_commit(r, name, e, now);
    record_note_change(r, &before, now);
}

/* ---- the service's own ---- */

void
lease_rejoin(struct lease_record *r, const struct lease_now *now)
{
    size_t order[LEASE_SEEN_MAX], n = 0;

    for (size_t i = 0; r->st == LEASE_MOVE && i < r->n_seen; i++) {
        size_t at = n;

        if (r->seen[i].seen < SEEN_INC)
            continue;
        while (at > 0 && r->seen[order[at - 1]].ce > r->seen[i].ce) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
        n++;
    }
    for (size_t i = 0; i < n; i++)
        record_join_at(r, order[i], now);
}

static int
refuse_in_grace(struct error *err)
{
    return error_problem(err, ERROR_BUSY, "grace", "the service waits for its hosts to report; try again");
}

int
lease_place(struct lease_record *r, const char *host, bool force,
            const struct lease_now *now, struct error *err)
{
    if (now->grace)
        return refuse_in_grace(err);
    if (lease_seconds_left(r, now) > 0 && !force)
        return error_problem(
            err, ERROR_DENIED, "foreign",
            "%s holds the lease for %lld s more; --force takes it away", r->hol,
            (long long)lease_seconds_left(r, now));
    r->st = LEASE_FREE;
    record_set_holder(r, host);
    r->out = LEASE_OUT_NO;
    r->nx = 0;
    r->placed = true;
    record_clear_seen(r);
    record_next_ver(r, now);
    return 0;
}

static void
apply_fence(struct lease_record *r, const char *host, const char *pool, const struct lease_now *now)
{
    if (r->st != LEASE_MOVE) {
        if (record_is_holder(r, host)) {
            record_move(r, LEASE_OUT_DBT, now);
            record_open_to(r, pool);
        }
        record_set_seen(r, host, SEEN_NONE);
        return;
    }
    if (record_is_holder(r, host)) {
        record_open_to(r, pool);
        if (r->out == LEASE_OUT_NO)
            r->out = LEASE_OUT_DBT;
    }
    if (lease_seen_of(r, host) < SEEN_INC)
        return;
    record_set_seen(r, host, SEEN_NONE);
    if (r->out != LEASE_OUT_NO && record_candidates(r, "") == 0) {
        record_open_to(r, pool);
        r->out = LEASE_OUT_DBT;
    }
}

int
lease_fence(struct lease_record *r, const char *host, const char *pool, const struct lease_now *now,
            struct error *err)
{
    struct lease_record before = *r;

    if (now->grace)
        return refuse_in_grace(err);
    apply_fence(r, host, pool, now);
    record_note_change(r, &before, now);
    return 0;
}

void
lease_retire(struct lease_record *r, const struct lease_now *now)
{
    struct lease_record before = *r;

    r->st = LEASE_FREE;
    record_set_holder(r, "");
    r->out = LEASE_OUT_NO;
    r->nx = 0;
    r->placed = false;
    record_clear_seen(r);
    record_note_change(r, &before, now);
}
