/*
 * service_state.h - what every endpoint works with: the store, the signer, the clock,
 * grace
 *
 * All of it belongs to the worker thread, which answers one request after the other.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/http/http_server.h"
#include "tokenservice/lease/lease_record.h"
#include "tokenservice/api/counts.h"
#include "tokenservice/api/pulls.h"
#include "tokenservice/api/rate.h"
#include "tokenservice/api/reserve.h"
#include "tokenservice/mint/mint_client.h"
#include "tokenservice/store/store.h"

enum {
    GRACE_MS = 60000, /* one lease: whoever is alive has reported by then */
    GRACE_HOSTS_MAX = 1000,
    CLOCK_BACK_MS = 60000, /* a step that is no news; less than any life we give */
    SERVICE_SUBKEYS_MAX = 4,
    ADVERTISED_MAX = 255,
};

/* Subkeys of one hour, asked of the signer once. */
struct service_subkeys {
    bool known;
    uint64_t hour;
    uint8_t nonce[MINT_SUBKEY_LEN], activate[MINT_SUBKEY_LEN];
};

struct held; /* authority.c */

struct service {
    struct store *store;
    struct mint *mint;
    struct mint_info info; /* its jwks and kid: as the signer said last (signing_keys.h) */
    int64_t tokens_since_ms; /* tokens made before may be of a key that was revoked; 0: none was lately */
    char recorded_kid[MINT_KID_MAX + 1], recorded_bound_kid[MINT_KID_MAX + 1]; /* the active keys in the audit */
    uint64_t recorded_cas; /* the signer's number of the change of CAs that was recorded last; 0: none was */
    struct held *held;     /* which bundle each host said that it holds */
    size_t n_held;
    bool enrol_placed; /* a VM never seen waits for an operator */
    char hosts_advertised[ADVERTISED_MAX + 1]; /* in join codes */
    uid_t own_uid;
    bool has_admin_group;
    gid_t admin_group;
    int64_t (*clock_ms)(void); /* UTC */
    bool accept_clock;         /* it is right, whatever the audit says: once, at the start */
    int64_t newest_ms;         /* latest time in the audit */
    bool clock_behind;         /* was, when it was looked at last */

    bool begin_recovery; /* an operator's word that the database was restored: once, at the start */
    bool recovery;       /* it was, and nobody has said yet that it is in order (recovery.h) */
    int64_t recovery_since_ms;
    int64_t restored_ms; /* the database knows nothing that was made later than this */

    struct audit_head head;  /* the newest of the audit that was signed; id 0: none was */
    int64_t head_covered;   /* up to this record there is nothing to sign: its own is the last */
    int64_t head_at_ms;     /* when this process signed it last, or could not; 0: it has not */
    bool head_trouble;      /* the last one was not signed, which the log has */

    struct counts counts;
    struct reserve reserve;     /* of the audit; its size is set before the start, with state_dir */
    const char *state_dir;      /* whose disk is looked at; NULL: none is */
    int64_t process_started_ms;
    int64_t server_cert_ends;   /* UTC, seconds; 0: not known */

    int64_t started_ms;
    bool grace;
    bool was_grace;   /* what comes at its end is still to be done: grace_end() */
    size_t n_awaited; /* hosts that must report before grace ends */
    char (*awaited)[NAME_HOST_MAX + 1];

    struct rates *rates;
    struct pulls *pulls;
    void (*wake)(void *context, const char *key); /* requests parked with this key; NULL: there are none */
    void (*recertify)(void *context); /* another CA issues: the listeners need another certificate; or NULL */
    void *wake_context;               /* of both */
    struct service_subkeys subkeys[SERVICE_SUBKEYS_MAX];
    /* A row of no VM: opened for a UUID that nobody knows, so that the answer takes as
     * long (CHECKS C26). */
    uint8_t nobody_row[ROW_MAX], nobody_mac[ROW_MAC_LEN];
    size_t nobody_len;
};

/* Asks the signer for its info, puts in the built-in audience, begins the grace period.
 */
int service_start(struct service *service, struct error *err);
/* Every few seconds, between requests: keys turn, the audit is signed, its reserve is kept. */
int service_look(struct service *service, struct error *err);
void service_clear(struct service *service);

/* The subkeys of `hour`, borrowed. */
int service_subkeys(struct service *service, uint64_t hour,
                    const struct service_subkeys **ret, struct error *err);

/* Is it still the grace period?  `host`, if not NULL, has just reported. */
bool service_in_grace(struct service *service, int64_t now_ms, const char *host);

/* How many VMs and leases there are; the service's own downtime is counted against no lease. */
int service_totals(struct service *service, int64_t now_ms, struct store_totals *ret, struct error *err);

/*
 * ERROR_BUSY "clock": the clock is more than CLOCK_BACK_MS behind the newest audit record.
 * Then nothing is granted: dates would be wrong, and what was refused for its age would be
 * young again.  It goes on by itself when the clock is right.
 */
int service_check_clock(struct service *service, int64_t now_ms, struct error *err);

/* Have the requests of this host that are parked for a pull ("pull") or for its answer ("handover")
 * looked at again. */
void service_wake(struct service *service, const char *what, const char *host);

/* Can it go on?  ERROR_SYSTEM: the store or the signer is gone, the program must end.
 */
int service_health(struct service *service, struct error *err);
