#include "config.h"

#include "tokenservice/lease/lease_record.h"

#include <string.h>

#include "tokenservice/lease/lease_change.h"

void
lease_new(struct lease_record *r)
{
    memset(r, 0, sizeof *r);
    r->st = LEASE_FREE;
}

/* Does the holder's word still count? */
static bool
holds(const struct lease_record *r)
{
    return r->st == LEASE_RUNS || (r->st == LEASE_MOVE && r->out == LEASE_OUT_NO);
}

static int64_t
age_ms(const struct lease_record *r, const struct lease_now *now)
{
    int64_t from = r->renewed_ms > now->since_ms ? r->renewed_ms : now->since_ms;

    /* A clock that went back makes the lease younger, never older than it can be. */
    return now->now_ms > from ? now->now_ms - from : 0;
}

bool
lease_lapsed(const struct lease_record *r, const struct lease_now *now)
{
    return holds(r) && age_ms(r, now) >= LEASE_LIFE_MS;
}

int64_t
lease_seconds_left(const struct lease_record *r, const struct lease_now *now)
{
    int64_t left = holds(r) ? LEASE_LIFE_MS - age_ms(r, now) : 0;

    return left > 0 ? (left + 999) / 1000 : 0;
}

uint64_t
record_next_ver(struct lease_record *r, const struct lease_now *now)
{
    uint64_t clock = now->now_ms > 0 ? (uint64_t)now->now_ms : 0;
    uint64_t last = r->ver > r->ep ? r->ver : r->ep;

    r->ver = clock > last ? clock : last + 1;
    return r->ver;
}

bool
record_is_any(const struct lease_record *r)
{
    return r->hol[0] == '\0';
}

bool
record_is_open(const struct lease_record *r, const struct lease_now *now)
{
    return record_is_any(r) && !now->outside;
}

bool
record_is_holder(const struct lease_record *r, const char *host)
{
    return strcmp(r->hol, host) == 0;
}

void
record_set_holder(struct lease_record *r, const char *host)
{
    memset(r->hol, 0, sizeof r->hol);
    memset(r->pool, 0, sizeof r->pool);
    memcpy(r->hol, host, strnlen(host, NAME_HOST_MAX));
}

void
record_open_to(struct lease_record *r, const char *pool)
{
    record_set_holder(r, "");
    memcpy(r->pool, pool, strnlen(pool, NAME_POOL_MAX));
}

/* ---- the words of other hosts ---- */

static size_t
find_seen(const struct lease_record *r, const char *host)
{
    size_t i = 0;

    while (i < r->n_seen && strcmp(r->seen[i].host, host) != 0)
        i++;
    return i;
}

enum lease_seen
lease_seen_of(const struct lease_record *r, const char *host)
{
    size_t i = find_seen(r, host);

    return i < r->n_seen ? r->seen[i].seen : SEEN_NONE;
}

static void
remove_seen(struct lease_record *r, size_t i)
{
    r->n_seen--;
    memmove(&r->seen[i], &r->seen[i + 1], (r->n_seen - i) * sizeof r->seen[0]);
    memset(&r->seen[r->n_seen], 0, sizeof r->seen[0]);
}

/* A mere copy makes room for one that may have the VM; full of candidates, one more changes no answer. */
static bool
make_room(struct lease_record *r, enum lease_seen seen)
{
    for (size_t i = 0; r->n_seen == LEASE_SEEN_MAX && seen >= SEEN_INC && i < r->n_seen; i++) {
        if (r->seen[i].seen == SEEN_CPY)
            remove_seen(r, i);
    }
    return r->n_seen < LEASE_SEEN_MAX;
}

/* In the order of their names. */
static size_t
insert_seen(struct lease_record *r, const char *host)
{
    size_t i = 0;

    while (i < r->n_seen && strcmp(r->seen[i].host, host) < 0)
        i++;
    memmove(&r->seen[i + 1], &r->seen[i], (r->n_seen - i) * sizeof r->seen[0]);
    memset(&r->seen[i], 0, sizeof r->seen[i]);
    memcpy(r->seen[i].host, host, strnlen(host, NAME_HOST_MAX));
    r->n_seen++;
    return i;
}

void
record_set_seen(struct lease_record *r, const char *host, enum lease_seen seen)
{
    size_t i = find_seen(r, host);
    bool listed = i < r->n_seen;

    if (seen == SEEN_NONE) {
        if (listed)
            remove_seen(r, i);
        return;
    }
    if (!listed) {
        if (!make_room(r, seen))
            return;
        i = insert_seen(r, host);
    }
    r->seen[i].seen = seen;
}

void
record_clear_seen(struct lease_record *r)
{
    memset(r->seen, 0, sizeof r->seen);
    r->n_seen = 0;
}

size_t
record_candidates(const struct lease_record *r, const char *host)
{
    size_t n = 0;

    for (size_t i = 0; i < r->n_seen; i++)
        n += r->seen[i].seen >= SEEN_INC && strcmp(r->seen[i].host, host) != 0;
    return n;
}

bool
record_is_sole(const struct lease_record *r, const char *host)
{
    return r->n_seen == (size_t)(lease_seen_of(r, host) != SEEN_NONE);
}

bool
record_may_restart(const struct lease_record *r, const char *host)
{
    enum lease_seen s = lease_seen_of(r, host);

    return r->out == LEASE_OUT_MIG && (s == SEEN_RES || s == SEEN_ROF) &&
           record_candidates(r, host) == 0;
}

/* ---- transitions ---- */

void
record_join_at(struct lease_record *r, size_t i, const struct lease_now *now)
{
    r->nx = r->seen[i].ce = record_next_ver(r, now);
}

void
record_join_all(struct lease_record *r, const struct lease_now *now)
{
    for (size_t i = 0; i < r->n_seen; i++) {
        if (r->seen[i].seen >= SEEN_INC)
            record_join_at(r, i, now);
    }
}

uint64_t
record_join(struct lease_record *r, const char *host, const struct lease_now *now)
{
    size_t i = find_seen(r, host);

    if (i == r->n_seen)
        return 0;
    record_join_at(r, i, now);
    return r->seen[i].ce;
}

uint64_t
lease_epoch_of(const struct lease_record *r, const char *host)
{
    size_t i = find_seen(r, host);

    return i < r->n_seen ? r->seen[i].ce : 0;
}

void
record_forget_epochs(struct lease_record *r)
{
    for (size_t i = 0; i < r->n_seen; i++)
        r->seen[i].ce = 0;
}

void
record_commit(struct lease_record *r, const char *host, uint64_t e, const struct lease_now *now)
{
    r->st = LEASE_RUNS;
    record_set_holder(r, host);
    r->ep = e;
    r->nx = 0;
    r->out = LEASE_OUT_NO;
    r->placed = false;
    r->renewed_ms = now->now_ms;
    record_set_seen(r, host, SEEN_NONE);
    for (size_t i = r->n_seen; i-- > 0;) {
        struct lease_seen_host *s = &r->seen[i];

        if (s->ce == 0 || s->ce >= e || s->seen < SEEN_RES)
            continue;
        if (s->seen == SEEN_RES)
            s->seen = SEEN_CPY;
        else
            record_set_seen(r, s->host, SEEN_NONE);
    }
    record_forget_epochs(r);
}

void
record_grant(struct lease_record *r, const char *host, const struct lease_now *now, struct lease_word *ret)
{
    record_commit(r, host, record_next_ver(r, now), now);
    *ret = (struct lease_word){ .answer = LEASE_OK, .e = r->ep };
}

void
record_renew(struct lease_record *r, const struct lease_now *now, struct lease_word *ret)
{
    r->renewed_ms = now->now_ms;
    *ret = (struct lease_word){ .answer = LEASE_OK, .e = r->ep };
}

void
record_move(struct lease_record *r, enum lease_out out, const struct lease_now *now)
{
    r->st = LEASE_MOVE;
    r->nx = 0;
    r->out = out;
    r->placed = false;
    record_join_all(r, now);
    if (r->nx == 0)
        r->nx = record_next_ver(r, now);
}

void
record_back(struct lease_record *r, const char *host, const struct lease_now *now, struct lease_word *ret)
{
    record_grant(r, host, now, ret);
    for (size_t i = r->n_seen; i-- > 0;) {
        if (r->seen[i].seen >= SEEN_ROF)
            record_set_seen(r, r->seen[i].host, SEEN_NONE);
        else
            r->seen[i].seen = SEEN_CPY;
    }
}

void
record_settle(struct lease_record *r, const struct lease_now *now)
{
    char host[sizeof r->hol];
    const struct lease_seen_host *only = NULL;
    size_t resumed = 0, others = 0;
    bool runs;

    if (!now->host_only || r->st != LEASE_MOVE || r->out == LEASE_OUT_NO)
        return;
    for (size_t i = 0; i < r->n_seen; i++) {
        if (r->seen[i].seen == SEEN_RES || r->seen[i].seen == SEEN_ROF) {
            only = &r->seen[i];
            resumed++;
        } else if (r->seen[i].seen >= SEEN_INC) {
            others++;
        }
    }
    if (resumed != 1 || others > 0)
        return;
    runs = only->seen == SEEN_RES;
    memcpy(host, only->host, sizeof host);
    record_commit(r, host, only->ce, now);
    if (!runs)
        r->st = LEASE_FREE;
}

void
record_note_change(struct lease_record *r, const struct lease_record *before,
            const struct lease_now *now)
{
    bool same = r->st == before->st && strcmp(r->hol, before->hol) == 0 &&
                strcmp(r->pool, before->pool) == 0 && r->nx == before->nx &&
                r->out == before->out && r->placed == before->placed &&
                r->n_seen == before->n_seen;

    for (size_t i = 0; same && i < r->n_seen; i++)
        same = r->seen[i].seen == before->seen[i].seen && r->seen[i].ce == before->seen[i].ce &&
               strcmp(r->seen[i].host, before->seen[i].host) == 0;
    if (!same && r->ver == before->ver)
        record_next_ver(r, now);
}
