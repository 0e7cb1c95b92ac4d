/*
 * lease_record.h - which host may run a VM: the record, and the operations that change
 * it
 *
 * docs/PROTOCOL-lease.md, 2 to 4; names and answers are those of the model
 * (tests/model/lease.pml, svc_*), with which tests/unit/lease_model_test compares every
 * step. Values in, values out: no clock, no store, no I/O.  The caller reads the record
 * in the transaction that writes it back (CHECKS C3, C25).
 *
 * Not here: who a host is (store), which proof is good (attest), sequence numbers and
 * asking the source (api_report.c).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/error.h"
#include "lib/wire/fields.h"
#include "lib/wire/lease_msg.h"
#include "lib/wire/names.h"
#include "lib/wire/vm_uuid.h"

enum {
    LEASE_LIFE_MS = 60000, /* four renewals of 15 s */
    LEASE_SEEN_MAX = 8,    /* hosts besides the holder that are remembered */
    LEASE_SEEN_TEXT_MAX = LEASE_SEEN_MAX * (NAME_HOST_MAX + 24), /* "host=2:18446744073709551615 " */
};

enum lease_state { LEASE_FREE, LEASE_RUNS, LEASE_MOVE };
/* What the source of a MOVE has said: MIG it was migrated, DBT nobody knows whether it
 * moved. */
enum lease_out { LEASE_OUT_NO, LEASE_OUT_MIG, LEASE_OUT_DBT };
/* The last word of a host that is not the holder; INC and above may have the VM. */
enum lease_seen { SEEN_NONE, SEEN_CPY, SEEN_INC, SEEN_RES, SEEN_ROF, SEEN_PER };

struct lease_seen_host {
    char host[NAME_HOST_MAX + 1];
    enum lease_seen seen;
    uint64_t ce; /* MOVE: the epoch in which this candidate signs; 0 none */
};

struct lease_record {
    enum lease_state st;
    char hol[NAME_HOST_MAX + 1]; /* "": ANY */
    char pool[NAME_POOL_MAX + 1]; /* ANY: of the hosts of this pool alone; "": of any host */
    uint64_t ep;
    uint64_t nx; /* MOVE: newest `ce` given, the number of the hand-over */
    enum lease_out out;
    bool placed;        /* an operator named `hol` */
    uint64_t ver;       /* rises with every durable change; epochs come from it */
    int64_t renewed_ms; /* of the holder; no durable change */
    size_t n_seen;
    struct lease_seen_host seen[LEASE_SEEN_MAX];
};

/* The moment of a decision: the service's clock, when it started (its downtime counts
 * against nobody), grace. */
struct lease_now {
    int64_t now_ms, since_ms;
    bool grace;
    bool host_only; /* the VM's floor has no factor of the guest: the hosts' words decide */
    bool outside;   /* the host that speaks is not of the pool that the VM is for */
};

struct lease_word {
    enum lease_answer answer;
    uint64_t e; /* with OK and CANDIDATE */
};

/* A VM nobody has claimed yet: the first that asks gets it. */
void lease_new(struct lease_record *r);

/* True when a RUNS holder has been silent for LEASE_LIFE_MS. */
bool lease_lapsed(const struct lease_record *r, const struct lease_now *now);
int64_t lease_seconds_left(const struct lease_record *r, const struct lease_now *now);

/* `host` is about to start or write the VM. OK: RUNS(host, new epoch); CANDIDATE: the
 * host where it was last resumed starts it again. */
void lease_acquire(struct lease_record *r, const char *host,
                   const struct lease_now *now, struct lease_word *ret);

/* Before a hand-over to `host`: must its source be asked for a report? */
bool lease_handover_asks(const struct lease_record *r, const char *host, const struct lease_now *now);
/*
 * An incoming migration begins on `host`; `answered`: the source has reported since, or
 * need not be asked.  CANDIDATE with the epoch to sign in, once it runs there;
 * NOT_MIGRATING: no job leaves; UNKNOWN: nobody could say; FOREIGN: it is for another pool.
 */
void lease_handover(struct lease_record *r, const char *host, bool answered,
                    const struct lease_now *now, struct lease_word *ret);

struct lease_view_word {
    enum lease_view view;
    bool k;
    uint64_t e, kk; /* kk: the newest `nx` the host had heard */
};
/* One view of `host`: a present state or the end of a run. */
void lease_report(struct lease_record *r, const char *host,
                  const struct lease_view_word *word, const struct lease_now *now,
                  struct lease_word *ret);

/* Does `host` hold the live lease in epoch `e`? */
bool lease_held(const struct lease_record *r, const char *host, uint64_t e,
                const struct lease_now *now);
/* The host whose signature counts in a proof of epoch `e`: the holder, or a candidate; NULL: none. */
const char *lease_prover(const struct lease_record *r, uint64_t e, const struct lease_now *now);
/* A complete proof with the signature of lease_prover() is accepted: a candidate becomes the holder. */
void lease_proved(struct lease_record *r, uint64_t e, const struct lease_now *now);

/*
 * An operator names the host.  ERROR_DENIED "foreign": another host's lease is live and
 * `force` is false; ERROR_BUSY "grace".
 */
int lease_place(struct lease_record *r, const char *host, bool force,
                const struct lease_now *now, struct error *err);

/*
 * An operator says that `host` is dead: what it holds or is reserved for it is open to any other host
 * of `pool`, "": to any at all (MOVE of ANY, in doubt: a host that had received it unreported can still
 * prove it), and it is no candidate of a hand-over any more.  ERROR_BUSY "grace".
 */
int lease_fence(struct lease_record *r, const char *host, const char *pool, const struct lease_now *now,
                struct error *err);

/* The identity has ended: nobody has the VM, and nobody comes into question. Not in grace. */
void lease_retire(struct lease_record *r, const struct lease_now *now);

/* The service's grace is over: candidates of a MOVE sign in new epochs, in the old order. */
void lease_rejoin(struct lease_record *r, const struct lease_now *now);

enum lease_seen lease_seen_of(const struct lease_record *r, const char *host);
/* The epoch that this host signs in as a candidate, or 0. */
uint64_t lease_epoch_of(const struct lease_record *r, const char *host);
const char *lease_state_name(enum lease_state st); /* "free", "runs", "move" */
const char *lease_out_name(enum lease_out out);    /* "no", "migrated", "doubt" */
const char *
lease_seen_name(enum lease_seen seen); /* "copy", "incoming", "resumed", ... */

/* "host=1 host2=3:17…" with the candidate's epoch, and back. ERROR_INPUT: not such text. */
void lease_seen_print(const struct lease_record *r,
                      char ret[static LEASE_SEEN_TEXT_MAX + 1]);
int lease_seen_parse(const char *text, struct lease_record *r, struct error *err);

/* uuid, st, hol ("@POOL": ANY of a pool), ep, nx, out, placed, ver, seen: the fields of a receipt, and back.
 * ERROR_INPUT: no record. */
void lease_receipt(const struct lease_record *r, const struct vm_uuid *uuid,
                   struct buf *into);
int lease_receipt_take(struct fields *fields, struct vm_uuid *ret_uuid, struct lease_record *ret, struct error *err);
