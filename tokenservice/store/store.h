/*
 * store.h - what the token service remembers, in transactions
 *
 * A decision is: store_begin(), find, decide, put, audit, store_commit(), and only then
 * an answer (CHECKS C3, C5, C23).  Leaving by `return` before the commit undoes all of
 * it:
 *
 *     CLEANUP(store_abandon) struct store *txn = NULL;
 *     if (store_begin(store, &txn, err) < 0) ...
 *
 * Every failure is an error, none a default.  After an error of the disk store_failed()
 * is true and nothing may be answered any more: the program ends.  One thread at a
 * time. Not here: what an identity row says (mint/identity_row.h) and whether its MAC
 * is good (the signer).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/wire/audit_record.h"
#include "lib/wire/lease_msg.h"
#include "lib/wire/proof_msg.h"
#include "lib/wire/vm_uuid.h"
#include "tokenservice/lease/lease_record.h"
#include "tokenservice/mint/identity_row.h"

#define STORE_FILE "tokend.db" /* in the state folder */

struct store;

/* Opens or makes the file (mode 0600) and brings its schema up to date. */
int store_open(const char *path, struct store **ret_store, struct error *err);
/* A copy of what was committed, while others read and write `path`; `to` is a file that is not there yet. */
int store_copy(const char *path, const char *to, struct error *err);
void store_close(struct store *store);
DEFINE_CLEANUP(struct store *, store_close);
bool store_failed(const struct store *store);

int store_begin(struct store *store, struct store **ret_txn, struct error *err);
int store_commit(struct store *txn, struct error *err);
void store_abandon(struct store *txn);
DEFINE_CLEANUP(struct store *, store_abandon);

/* ERROR_MISSING: there is none. */
enum { STORE_META_MAX = 255 };
int store_meta_get(struct store *store, const char *name,
                   char ret[static STORE_META_MAX + 1], struct error *err);
int store_meta_put(struct store *store, const char *name, const char *value,
                   struct error *err);

/* ---- hosts ---- */

enum host_state {
    HOST_INVITED = 1,
    HOST_PENDING,
    HOST_JOINED,
    HOST_REMOVED,
    HOST_LOCKED
};

enum { HOST_FINGERPRINT_TEXT = 33 };

struct store_host {
    char name[NAME_HOST_MAX + 1];
    enum host_state state;
    bool automatic, simulated;
    uint8_t code_sha256[32]; /* of the join code's token */
    int64_t code_ends_ms;
    bool has_keys;
    uint8_t tls[65], proof[65]; /* of the pair that redeemed the code */
    int64_t made_ms, joined_ms, seen_ms;
    char boot[VM_UUID_TEXT];
    char fingerprint[HOST_FINGERPRINT_TEXT]; /* of that pair; "" before */
};
const char *store_host_state_name(enum host_state state);
int store_host_find(struct store *store, const char *name, struct store_host *ret,
                    struct error *err);
int store_host_put(struct store *store, const struct store_host *host,
                   struct error *err);
/* In the order of names; `each` returns -1 to stop with its error. */
typedef int store_host_each(void *context, const struct store_host *host,
                            struct error *err);
int store_host_list(struct store *store, store_host_each *each, void *context,
                    struct error *err);

/* How many VMs it holds or are reserved for it. */
int store_host_vms(struct store *store, const char *name, int64_t *ret,
                   struct error *err);

/* How many of these have not proved themselves. */
int store_host_pending(struct store *store, const char *name, int64_t *ret,
                       struct error *err);

enum cert_state { CERT_NEXT = 1, CERT_CURRENT, CERT_RETIRED };
enum {
    STORE_CERT_MAX = 2048,
    STORE_CERTS_NEXT_MAX = 4,
    STORE_CERTS_MAX = 100, /* of one host; each ends after a day, and lives for half of it */
};

struct store_cert {
    uint8_t sha256[32]; /* of tls_cert */
    char host[NAME_HOST_MAX + 1];
    enum cert_state state;
    uint8_t tls_cert[STORE_CERT_MAX], proof_cert[STORE_CERT_MAX];
    size_t tls_cert_len, proof_cert_len;
    uint8_t proof[65];
    int64_t made_ms, ends_ms;
    int64_t changed_ms; /* when it came into this state */
};
int store_cert_find(struct store *store, const uint8_t sha256[static 32],
                    struct store_cert *ret, struct error *err);
/* The host's certificate in this state, the newest if there are several. */
int store_cert_of(struct store *store, const char *host, enum cert_state state,
                  struct store_cert *ret, struct error *err);
/* ERROR_BUSY "rate-limited": the host has STORE_CERTS_MAX that have not ended. */
int store_cert_add(struct store *store, const struct store_cert *cert,
                   struct error *err);
/* `sha256` becomes current, every other one of the host retired. */
int store_cert_use(struct store *store, const char *host,
                   const uint8_t sha256[static 32], int64_t now_ms, struct error *err);
/* Forget those that ended before `ms`, and all but the newest STORE_CERTS_NEXT_MAX next
 * ones of `host`. */
int store_cert_tidy(struct store *store, const char *host, int64_t ms,
                    struct error *err);
int store_cert_drop_all(struct store *store, const char *host, struct error *err);

/* ---- VMs ---- */

struct store_vm {
    struct vm_uuid uuid;
    uint8_t row[ROW_MAX]; /* identity_row, exactly as MACed */
    size_t row_len;
    uint8_t mac[ROW_MAC_LEN];
    uint64_t row_ver; /* rises with every change of the row; clock in ms */
    uint8_t ek[EK_PUBLIC_MAX]; /* TPMT_PUBLIC; its digest is in the row */
    size_t ek_len;
    bool has_ek_issued;
    uint8_t ek_issued[32]; /* digest of the EK we last made a certificate for */
    struct lease_record lease;
    bool has_mark, mark_vtpm;
    uint8_t mark_nonce[NONCE_LEN];
    uint32_t mark_reset, mark_restart;
    uint64_t mark_clock;
    int64_t mark_ms;
    uint8_t mark_factors;
    int64_t made_ms;
};
int store_vm_find(struct store *store, const struct vm_uuid *uuid, struct store_vm *ret,
                  struct error *err);
/* ERROR_MISSING; ERROR_INPUT: several have this name. */
int store_vm_find_name(struct store *store, const char *name, struct store_vm *ret,
                       struct error *err);
/* `identity` is what vm->row says; its name, state, EK and secret become the indexes.
 */
int store_vm_put(struct store *store, const struct store_vm *vm,
                 const struct identity_row *identity, struct error *err);
typedef int store_vm_each(void *context, const struct store_vm *vm, struct error *err);
/* In the order of UUIDs, behind `after` (NULL: from the first). */
int store_vm_list(struct store *store, const struct vm_uuid *after, size_t limit,
                  store_vm_each *each, void *context, struct error *err);
/* As above, of those in state MOVE. */
int store_vm_list_moves(struct store *store, const struct vm_uuid *after, size_t limit,
                        store_vm_each *each, void *context, struct error *err);
/* Of those that are off, never proved and not placed by an operator: reserved for `host`,
 * longest unheard first. */
int store_vm_list_idle(struct store *store, const char *host, size_t limit,
                       store_vm_each *each, void *context, struct error *err);
/* As above, of those that `host` holds, that are reserved for it, or that it has spoken of otherwise. */
int store_vm_list_of_host(struct store *store, const char *host, const struct vm_uuid *after, size_t limit,
                          store_vm_each *each, void *context, struct error *err);
/* With what hosts have said of it. */
int store_vm_drop(struct store *store, const struct vm_uuid *uuid, struct error *err);
/* The nonces of proofs that were accepted later than that no longer count. */
int store_vm_marks_forget(struct store *store, int64_t since_ms, struct error *err);
int store_vm_count(struct store *store, int64_t *ret, struct error *err);
/* That hosts hold or are about to: of a hand-over first, then the one renewed longest ago. */
int store_vm_list_held(struct store *store, size_t limit, store_vm_each *each, void *context, struct error *err);
struct store_totals {
    int64_t leases[LEASE_MOVE + 1]; /* by state */
    int64_t lapsed;                 /* of those in RUNS: not renewed since the time that was asked about */
    int64_t pending, proved;        /* VMs that never proved themselves, and others */
};
/* How many VMs there are. Reads all of them: for who asks every few seconds. */
int store_totals(struct store *store, int64_t lapsed_ms, struct store_totals *ret, struct error *err);
/* Does another account that is not pending have it? */
int store_vm_ek_used(struct store *store, const uint8_t ek_sha256[static 32],
                     const struct vm_uuid *but, bool *ret, struct error *err);
/* And whose it is; *ret_owner is set if *ret is. */
int store_vm_ek_owner(struct store *store, const uint8_t ek_sha256[static 32], const struct vm_uuid *but,
                      struct vm_uuid *ret_owner, bool *ret, struct error *err);
/* As its secret, or as the one it is about to step to. */
int store_vm_cur_used(struct store *store, const uint8_t cur[static 65],
                      const struct vm_uuid *but, bool *ret, struct error *err);

int store_vm_name_used(struct store *store, const char *name, const struct vm_uuid *but,
                       bool *ret, struct error *err);

/* Zero if the host has said nothing of this VM. */
struct store_seq {
    char boot[VM_UUID_TEXT];
    uint64_t report, ended;
};
int store_seq_get(struct store *store, const struct vm_uuid *uuid, const char *host,
                  struct store_seq *ret, struct error *err);
int store_seq_put(struct store *store, const struct vm_uuid *uuid, const char *host,
                  const struct store_seq *seq, struct error *err);

/* ---- words between operators and hosts ---- */

/* MODE_OF_HOST: nobody has set one. The VM need not have an account yet. */
int store_mode_get(struct store *store, const struct vm_uuid *uuid,
                   enum lease_mode *ret, struct error *err);
int store_mode_put(struct store *store, const struct vm_uuid *uuid,
                   enum lease_mode mode, struct error *err);
/* "": it has said nothing. */
int store_hook_get(struct store *store, const char *host,
                   char ret[static LEASE_HOOK_MAX + 1], struct error *err);
int store_hook_put(struct store *store, const char *host, const char *word,
                   struct error *err);

/* That an operator said of a host: it is dead. ms 0: nobody has, or it came back. */
struct store_fence {
    int64_t ms;
    bool alive;              /* it has spoken since, in the same boot: it was not dead */
    char boot[VM_UUID_TEXT]; /* its boot then; "" if it had said nothing yet */
};
int store_fence_get(struct store *store, const char *host, struct store_fence *ret, struct error *err);
int store_fence_put(struct store *store, const char *host, const struct store_fence *fence, struct error *err);

/* ---- pools: hosts that stand in for one another ---- */

struct store_pool_host {
    char pool[NAME_POOL_MAX + 1], host[NAME_HOST_MAX + 1];
};
/* "": it is in none. */
int store_pool_of(struct store *store, const char *host, char ret[static NAME_POOL_MAX + 1],
                  struct error *err);
/* Out of the one where it was, and into `pool`; "": into none. */
int store_pool_put(struct store *store, const char *host, const char *pool, struct error *err);
typedef int store_pool_each(void *context, const struct store_pool_host *host, struct error *err);
/* The hosts of `pool`, NULL: of all; in the order of pools, then of hosts. */
int store_pool_list(struct store *store, const char *pool, store_pool_each *each, void *context,
                    struct error *err);
/* How many VMs wait for a host of it. */
int store_pool_vms(struct store *store, const char *pool, int64_t *ret, struct error *err);

/* ---- audiences ---- */

struct store_audience {
    char name[NAME_AUDIENCE_MAX + 1];
    bool everyone;  /* every VM may ask for it */
    uint8_t claims; /* MINT_CLAIM_*, and MINT_BOUND */
};
int store_audience_find(struct store *store, const char *name,
                        struct store_audience *ret, struct error *err);
int store_audience_put(struct store *store, const struct store_audience *audience,
                       struct error *err);
int store_audience_remove(struct store *store, const char *name, struct error *err);
typedef int store_audience_each(void *context, const struct store_audience *audience,
                                struct error *err);
int store_audience_list(struct store *store, store_audience_each *each, void *context,
                        struct error *err);

/* ---- audit ---- */

/* Appends; id is given here, the chain goes on from the newest record. */
int store_audit_add(struct store *store, const struct audit_record *record,
                    struct error *err);
/* Is there a record of this VM (NULL: of none, by `who`), word and problem since `ms`? */
int store_audit_since(struct store *store, const struct vm_uuid *uuid, const char *who,
                      const char *what, const char *problem, int64_t ms, bool *ret,
                      struct error *err);
/* Is there a record of no VM, of this kind, that says this as `seen`? */
int store_audit_seen(struct store *store, const char *what, const char *seen, bool *ret, struct error *err);
typedef int store_audit_each(void *context, const struct audit_record *record,
                             struct error *err);
/* Which records; what is NULL or 0 leaves all. */
struct store_audit_query {
    const struct vm_uuid *uuid;
    const char *who, *what;
    bool oldest_first;
    int64_t after; /* only ids above this one; with `who` or `what` AUDIT_SCAN of them, or of the newest */
    size_t limit;  /* 0: none */
};
int store_audit_list(struct store *store, const struct store_audit_query *query,
                     store_audit_each *each, void *context, struct error *err);
/* Newest first, of one VM, of those that say where it may run. */
int store_audit_list_places(struct store *store, const struct vm_uuid *uuid, size_t limit,
                            store_audit_each *each, void *context, struct error *err);
/* The same, of the words that locked it. */
int store_audit_list_locks(struct store *store, const struct vm_uuid *uuid, size_t limit,
                           store_audit_each *each, void *context, struct error *err);
/* The same, of its completed steps. */
int store_audit_list_copies(struct store *store, const struct vm_uuid *uuid, size_t limit,
                            store_audit_each *each, void *context, struct error *err);
int store_audit_list_steps(struct store *store, const struct vm_uuid *uuid, size_t limit,
                           store_audit_each *each, void *context, struct error *err);
/* Of this kind, at `since_ms` or later. */
int store_audit_count_of(struct store *store, const char *what, int64_t since_ms, int64_t *ret, struct error *err);
/* Newest first, those of the newest 2000 that refuse. */
int store_audit_list_refusals(struct store *store, size_t limit, store_audit_each *each, void *context,
                              struct error *err);
int store_audit_count(struct store *store, int64_t *ret, struct error *err);
/* As above without reading them: ids are given one after the other. */
int store_audit_newest(struct store *store, int64_t *ret_id, struct error *err);
/* ERROR_DENIED "audit-broken": a record does not follow from the one before it.
 * *ret_newest_ms: the latest time in it, from AUDIT_CLOCK_ACCEPTED on if there is one. */
#define AUDIT_CLOCK_ACCEPTED "clock-accepted" /* an operator's word: the clock is right */
int store_audit_check(struct store *store, int64_t *ret_newest_ms, struct error *err);
/* Of the newest record; 0 and zeros: there is none. */
int store_audit_end(struct store *store, int64_t *ret_id, uint8_t ret_hash[static AUDIT_HASH], struct error *err);
/* From record *id, of this hash, on (0 and zeros: from the first): on success the two are the newest record's. */
int store_audit_follow(struct store *store, int64_t *id, uint8_t hash[static AUDIT_HASH], int64_t *ret_newest_ms,
                       struct error *err);
/* ERROR_MISSING: there is no such record. */
int store_audit_get(struct store *store, int64_t id, struct audit_record *ret, struct error *err);
/*
 * From now on `told` hears of each record once that is durable, in their order: before store_commit() comes back.  First of
 * those behind record `after`, for a process that was killed between the two.
 */
typedef void store_audit_told(const struct audit_record *record);
void store_audit_tell(struct store *store, int64_t after, store_audit_told *told);
