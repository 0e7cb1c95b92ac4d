/* What hosts say: docs/PROTOCOL-lease.md, 3. */
#include "config.h"

#include "tokenservice/lease/lease_record.h"

#include <string.h>

#include "tokenservice/lease/lease_change.h"

static bool
is_on(enum lease_view v)
{
    return v == VIEW_RUN || v == VIEW_JOB;
}

/* The holder, or the host it is reserved for, says that it runs. */
static void
holder_runs(struct lease_record *r, const char *host, const struct lease_view_word *w,
            const struct lease_now *now, struct lease_word *ret)
{
    if (r->st == LEASE_FREE && w->k && !r->placed) {
        record_set_seen(r, host, SEEN_RES);
        ret->answer = LEASE_FOREIGN;
        return;
    }
    if (r->st == LEASE_FREE || w->e != r->ep)
        record_grant(r, host, now, ret);
    else
        record_renew(r, now, ret);
    if (w->view == VIEW_JOB)
        record_move(r, LEASE_OUT_NO, now);
}

/* FREE or RUNS. */
static void
report_of_holder(struct lease_record *r, const char *host,
                 const struct lease_view_word *w, const struct lease_now *now,
                 struct lease_word *ret)
{
    switch (w->view) {
    case VIEW_JOB:
    case VIEW_RUN:
        holder_runs(r, host, w, now, ret);
        return;
    case VIEW_INC:
        if (r->st == LEASE_FREE) {
            record_set_seen(r, host, SEEN_INC);
            ret->answer = LEASE_FOREIGN;
        }
        return; /* RUNS: an old message, its end would have come first */
    case VIEW_GO:
    case VIEW_GR:
        r->st = LEASE_FREE;
        record_set_seen(r, host, SEEN_NONE);
        return;
    case VIEW_GI:
        record_set_seen(r, host, SEEN_NONE);
        return;
    case VIEW_GM:
        record_move(r, LEASE_OUT_MIG, now);
        break;
    case VIEW_OFF:
        if (r->st == LEASE_FREE) {
            record_set_seen(r, host, SEEN_NONE);
            return;
        }
        record_move(r, LEASE_OUT_DBT, now);
        break;
    case VIEW_OUT:
    case VIEW_GU:
    case VIEW_GV:
        record_move(r, LEASE_OUT_DBT, now);
        break;
    }
    record_settle(r, now);
}

/* The source of a MOVE still had it.  False: what it says is the word of one that is out. */
static bool
report_of_source(struct lease_record *r, const char *host, const struct lease_view_word *w,
                 const struct lease_now *now, struct lease_word *ret)
{
    switch (w->view) {
    case VIEW_JOB:
    case VIEW_RUN:
        if (w->k && w->e != r->ep) { /* not the run that left: it came back */
            r->out = LEASE_OUT_MIG;
            return false;
        }
        if (w->view == VIEW_RUN && w->kk == r->nx) {
            record_back(r, host, now, ret);
            return true;
        }
        if (w->view == VIEW_JOB && w->e != r->ep) {
            r->ep = record_next_ver(r, now);
            record_join_all(r, now);
        }
        record_renew(r, now, ret); /* made before it heard of this hand-over: it will repeat */
        return true;
    case VIEW_INC:
    case VIEW_GI:
        return true;
    case VIEW_GO: /* watched, and before the switch-over */
    case VIEW_GR:
        r->st = LEASE_FREE;
        r->nx = 0;
        record_forget_epochs(r);
        return true;
    case VIEW_GM:
        r->out = LEASE_OUT_MIG;
        break;
    case VIEW_OFF:
    case VIEW_OUT:
    case VIEW_GU:
    case VIEW_GV:
        r->out = LEASE_OUT_DBT;
        break;
    }
    record_settle(r, now);
    return true;
}

/* What the word of a host that is not the holder makes of its last one. */
static enum lease_seen
next_seen(const struct lease_record *r, const char *host,
          const struct lease_view_word *w, bool *ret_stays)
{
    enum lease_seen s = lease_seen_of(r, host);
    bool old = w->e != 0 && w->e < r->ep;

    *ret_stays = false;
    switch (w->view) {
    case VIEW_INC:
        return s == SEEN_CPY ? s : SEEN_INC;
    case VIEW_RUN:
    case VIEW_JOB:
        if (w->k)
            return s == SEEN_INC                         ? SEEN_RES
                   : old || (s == SEEN_CPY && w->e != 0) ? SEEN_CPY
                                                         : SEEN_RES;
        if (s >= SEEN_ROF) {
            *ret_stays = !record_may_restart(r, host);
            return *ret_stays ? s : SEEN_RES;
        }
        return s == SEEN_RES ? s : SEEN_CPY;
    case VIEW_GI:
    case VIEW_GM:
        return SEEN_NONE;
    case VIEW_GR:
        if (s == SEEN_CPY || (old && s != SEEN_RES && s != SEEN_INC && s != SEEN_ROF))
            return SEEN_NONE;
        return SEEN_ROF;
    case VIEW_GV:
        return old && s < SEEN_INC ? SEEN_NONE : SEEN_PER;
    case VIEW_OUT:
        return SEEN_CPY; /* a leftover that is resumed has no right */
    case VIEW_GU:
        return s >= SEEN_RES ? SEEN_PER : SEEN_NONE;
    case VIEW_GO:
    case VIEW_OFF:
        return s == SEEN_RES || s == SEEN_ROF ? SEEN_ROF
               : s == SEEN_PER                ? s
                                              : SEEN_NONE;
    }
    return s;
}

/* Is this a run that was not known as a candidate's before? */
static bool
joins(enum lease_seen before, enum lease_seen s)
{
    if (s == SEEN_INC || s == SEEN_RES)
        return before != SEEN_INC && before != SEEN_RES;
    return s >= SEEN_ROF && before < SEEN_INC;
}

void
record_hear_other(struct lease_record *r, const char *host,
                const struct lease_view_word *w, const struct lease_now *now, struct lease_word *ret)
{
    enum lease_answer no = r->st == LEASE_MOVE ? LEASE_MOVING : LEASE_FOREIGN;
    enum lease_seen before = lease_seen_of(r, host), s;
    bool stays;

    s = next_seen(r, host, w, &stays);
    /* A guest's proof can take a VM out of its pool; where there is none, no host's word does. */
    if (now->outside && now->host_only && s >= SEEN_INC)
        s = is_on(w->view) || w->view == VIEW_INC ? SEEN_CPY : SEEN_NONE;
    if (stays) {
        ret->answer = no;
        return;
    }
    record_set_seen(r, host, s);
    if (r->st == LEASE_MOVE && joins(before, s))
        (void)record_join(r, host, now);
    if (s == SEEN_CPY)
        ret->answer = no;
    else if (s == SEEN_INC || s == SEEN_RES)
        *ret = r->st == LEASE_MOVE && lease_epoch_of(r, host) != 0
                   ? (struct lease_word){ .answer = LEASE_CANDIDATE, .e = lease_epoch_of(r, host) }
                   : (struct lease_word){ .answer = no };
}

static void
apply_report(struct lease_record *r, const char *host, const struct lease_view_word *w,
             const struct lease_now *now, struct lease_word *ret)
{
    bool on = is_on(w->view);

    if (r->st == LEASE_FREE && record_is_open(r, now) && on) {
        record_grant(r, host, now, ret);
        if (w->view == VIEW_JOB)
            record_move(r, LEASE_OUT_NO, now);
        return;
    }
    /* The end of a first run that nobody heard of. */
    if (r->st == LEASE_FREE && record_is_any(r) &&
        (w->view == VIEW_OUT || (w->view >= VIEW_GO && w->view != VIEW_GI)))
        record_set_holder(r, host);
    if (r->st != LEASE_MOVE && record_is_holder(r, host)) {
        report_of_holder(r, host, w, now, ret);
        return;
    }
    if (r->st == LEASE_MOVE && record_is_holder(r, host) && r->out == LEASE_OUT_NO &&
        report_of_source(r, host, w, now, ret))
        return;
    if (r->st == LEASE_MOVE && (record_is_holder(r, host) || record_is_open(r, now)) && on && !w->k &&
        r->out == LEASE_OUT_DBT && record_candidates(r, host) == 0 &&
        !(record_is_any(r) && lease_seen_of(r, host) == SEEN_CPY)) {
        record_grant(r, host, now, ret);
        if (w->view == VIEW_JOB)
            record_move(r, LEASE_OUT_NO, now);
        return;
    }
    record_hear_other(r, host, w, now, ret);
    record_settle(r, now);
    if (r->st == LEASE_RUNS && record_is_holder(r, host))
        *ret = (struct lease_word){ .answer = LEASE_OK, .e = r->ep };
}

/* In grace nothing durable changes; there are renewals of what the record says. */
static void
answer_in_grace(struct lease_record *r, const char *host, const struct lease_view_word *w,
                const struct lease_now *now, struct lease_word *ret)
{
    bool has = r->st == LEASE_RUNS || (r->st == LEASE_MOVE && r->out == LEASE_OUT_NO);

    if (is_on(w->view) && has && record_is_holder(r, host) && w->e == r->ep)
        record_renew(r, now, ret);
    else
        ret->answer = LEASE_GRACE;
}

void
lease_report(struct lease_record *r, const char *host,
             const struct lease_view_word *word, const struct lease_now *now,
             struct lease_word *ret)
{
    struct lease_record before = *r;

    *ret = (struct lease_word){ .answer = LEASE_ACK };
    if (now->grace) {
        answer_in_grace(r, host, word, now, ret);
        return;
    }
    apply_report(r, host, word, now, ret);
    record_note_change(r, &before, now);
}
