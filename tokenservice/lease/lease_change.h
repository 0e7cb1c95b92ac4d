/*
 * lease_change.h - the single changes of a lease's record; inside of tokenservice/lease only
 *
 * Their names are the model's: join, commit, grant, back, move, settle.  lease_report.c and
 * lease_grant.c are the tables that call them.
 */
#pragma once

#include "tokenservice/lease/lease_record.h"

/* Epochs and versions come from one counter: above the last, and not below the clock. */
uint64_t record_next_ver(struct lease_record *r, const struct lease_now *now);
/* Steps `ver` if anything differs from `before` that a receipt would show. */
void record_note_change(struct lease_record *r, const struct lease_record *before,
                        const struct lease_now *now);

bool record_is_any(const struct lease_record *r);
/* Is it ANY, and may the host that speaks be the one? */
bool record_is_open(const struct lease_record *r, const struct lease_now *now);
bool record_is_holder(const struct lease_record *r, const char *host);
void record_set_holder(struct lease_record *r, const char *host);
void record_open_to(struct lease_record *r, const char *pool); /* ANY of the hosts of `pool`, "": of all */

void record_set_seen(struct lease_record *r, const char *host, enum lease_seen seen);
void record_clear_seen(struct lease_record *r);
/* Candidates other than `host`. */
size_t record_candidates(const struct lease_record *r, const char *host);
/* Nobody but `host` claims it. */
bool record_is_sole(const struct lease_record *r, const char *host);
/* May `host`, where the VM was last resumed, start it again?  Only if nobody else comes into question. */
bool record_may_restart(const struct lease_record *r, const char *host);

/* A candidate, by its place in `seen` or by name, gets an epoch to sign in; 0: there was no room for it. */
void record_join_at(struct lease_record *r, size_t i, const struct lease_now *now);
uint64_t record_join(struct lease_record *r, const char *host, const struct lease_now *now);
void record_join_all(struct lease_record *r, const struct lease_now *now);
void record_forget_epochs(struct lease_record *r);

/* RUNS(host, e).  A candidate that joined before `host` did is out. */
void record_commit(struct lease_record *r, const char *host, uint64_t e, const struct lease_now *now);
/* The same in a new epoch, and that is the answer. */
void record_grant(struct lease_record *r, const char *host, const struct lease_now *now,
                  struct lease_word *ret);
void record_renew(struct lease_record *r, const struct lease_now *now, struct lease_word *ret);
/* The source keeps it: a new run, since other hosts hold a copy of the memory; what came in elsewhere
 * is refused from now on. */
void record_back(struct lease_record *r, const char *host, const struct lease_now *now,
                 struct lease_word *ret);
void record_move(struct lease_record *r, enum lease_out out, const struct lease_now *now);
/* No factor of the guest in the floor and the source is out: the only resumed candidate has it. */
void record_settle(struct lease_record *r, const struct lease_now *now);
/* The last word of a host that is not the holder. */
void record_hear_other(struct lease_record *r, const char *host, const struct lease_view_word *w,
                       const struct lease_now *now, struct lease_word *ret);
