/*
 * enroll.h - what a host tells the token service, one blocking request each
 *
 * docs/PROTOCOL-service.md, host listener.  One `struct enroll` per thread:
 * it keeps one connection.  A service that does not answer is ERROR_BUSY; a
 * refusal carries its problem name.
 *
 * Not here: when to ask (enroll_thread.h and the daemon), what it means.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/common/json.h"
#include "lib/wire/lease_msg.h"
#include "plugin/enroll/host_identity.h"

enum { ENROLL_EK_PUBLIC_MAX = 512, ENROLL_CERT_MAX = 2048, ENROLL_STATE_MAX = 31, ENROLL_PULL_MS = 35000 };

/*
 * Redeem a join code ("virtid1,HOST:PORT,CA-SHA256,TOKEN", one line) as host `name` (NULL: ask for none other than
 * what the code was made for is not possible, so a name is required).  Keys are made in `state_dir`.
 * While an operator has to approve, `waiting` is called once with the fingerprint to compare; asks again every
 * second until `deadline_ms` (clock_monotonic_ms): ERROR_BUSY.
 */
int enroll_join(const char *state_dir, const char *name, const char *code, bool simulated,
                int64_t deadline_ms, void (*waiting)(void *context, const char *fingerprint),
                void *context, struct error *err);

struct enroll;

/* `identity` is borrowed for the life of the enroll. */
int enroll_new(const struct host_identity *identity, struct enroll **ret, struct error *err);
/* For requests that wait: they end when `cancel` becomes true. */
int enroll_new_waiting(const struct host_identity *identity, const atomic_bool *cancel, struct enroll **ret,
                       struct error *err);
void enroll_free(struct enroll *enroll);
DEFINE_CLEANUP(struct enroll *, enroll_free);

/* The lease report; at most `max` results come back. */
int enroll_report(struct enroll *enroll, const struct lease_report *report, long timeout_ms,
                  struct lease_result *ret, size_t max, size_t *ret_n, struct error *err);

/*
 * What the service wants to hear of now, above `after`; waits for it up to ENROLL_PULL_MS. ret->pull 0: nothing.
 * Ends within a second when *cancel of enroll_new_waiting() becomes true.
 */
int enroll_pull(struct enroll *enroll, uint64_t after, struct lease_pull *ret, struct error *err);

/*
 * By how much the service's clock is ahead of ours (negative: behind), as its last answer to a report
 * said; good to a second.  false: not known.
 */
bool enroll_clock(const struct enroll *enroll, int64_t *ret_ahead_ms);

/* When a key that signs tokens was revoked, as the last answer to a report said; 0: not lately. */
int64_t enroll_tokens_since(const struct enroll *enroll);

/* An EK certificate for this VM; the caller holds its lease in `epoch`. */
int enroll_ek_cert(struct enroll *enroll, const struct vm_uuid *uuid, uint64_t epoch,
                   const uint8_t *ek, size_t ek_len, uint8_t ret_der[static ENROLL_CERT_MAX],
                   size_t *ret_len, struct error *err);

struct enroll_account {
    struct vm_uuid uuid;
    uint64_t epoch;
    const char *name;
    uint8_t ek[ENROLL_EK_PUBLIC_MAX]; /* TPMT_PUBLIC */
    size_t ek_len;                    /* 0: none known */
    bool has_x0, has_secret;
    bool transient;                   /* its disk forgets at each end: no disk ratchet */
    uint8_t x0[32];
    uint8_t secret[65];               /* public point */
};
/* Open or complete the account. ret_state: "pending", "ok", ... Repeats are harmless. */
int enroll_account(struct enroll *enroll, const struct enroll_account *account,
                   char ret_state[static ENROLL_STATE_MAX + 1], struct error *err);

/* Serial of the newest trust bundle, as the last answer to a report said; 0: an older service. */
uint64_t enroll_bundle_serial(const struct enroll *enroll);

/*
 * The trust bundle, signed, that whoever holds the one with serial `after` takes next: the newest, or a step towards
 * it.
 */
int enroll_bundle(struct enroll *enroll, uint64_t after, uint8_t ret[static BUNDLE_MAX], size_t *ret_len,
                  struct error *err);

enum { ENROLL_RECEIPTS_MAX = 16, ENROLL_RECEIPTS_ROOM = 11000 /* bytes of all of them: a request is HTTP_BODY_MAX */ };

struct enroll_receipts {
    size_t n;
    struct {
        uint8_t bytes[RECEIPT_MAX];
        size_t len;
        bool refused; /* the service has not made it, or can not use it */
    } of[ENROLL_RECEIPTS_MAX];
};
/* What it signed before, for a service whose database is older; says of each whether it was refused. */
int enroll_show_receipts(struct enroll *enroll, struct enroll_receipts *receipts, struct error *err);

/* Both of this host's certificates: the service answered "certificate-unknown". */
int enroll_show_certificates(struct enroll *enroll, struct error *err);

/* What the service knows of a VM (an object for `virtid why`). */
int enroll_vm(struct enroll *enroll, const struct vm_uuid *uuid, uint64_t epoch, json_t **ret, struct error *err);

/* New keys and certificates into `state_dir`; load the identity again afterwards. */
int enroll_renew(struct enroll *enroll, const char *state_dir, struct error *err);
