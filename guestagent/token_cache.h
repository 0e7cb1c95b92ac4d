/*
 * token_cache.h - the tokens at hand, one per audience, and when each is due again
 *
 * Plain data, no thread, no clock: `now` is clock_monotonic_ms().  A token ends by the monotonic clock or by the
 * host's UTC, whichever comes first: a guest that was paused or restored does not notice on its own clock.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guestagent/prover.h"
#include "lib/common/error.h"
#include "lib/common/secret.h"
#include "lib/wire/names.h"

enum {
    TOKEN_CACHE_MAX = 64,
    TOKEN_WANTED_MS = 15 * 60 * 1000, /* refreshed this long after it was last asked for */
    BACKOFF_FIRST_MS = 1000,
    STALE_EVERY_MS = 30000, /* a host that says so all the time costs no more than that */
    BACKOFF_LAST_MS = 300000,
    RUN_PROOF_MS = 10000, /* a run is proved once or twice so long after its greeting, if nobody asks before */
    PATIENCE_MS = 10000, /* a host daemon or service that is restarted is back by then */
};

struct cached_token {
    char audience[NAME_AUDIENCE_MAX + 1]; /* "": free */
    bool prefetched;
    struct secret *text; /* NULL: none yet */
    uint64_t number;     /* which of all that were put */
    int64_t expires_ms, expires_utc_ms, refresh_at_ms, wanted_until_ms;
    uint64_t epoch;
    unsigned failures;
    int64_t retry_at_ms, failing_since_ms; /* since: 0 after a success */
    struct error failure;
};

struct token_cache {
    struct cached_token tokens[TOKEN_CACHE_MAX];
    uint64_t epoch; /* the last greeting's; 0: none had one yet */
    uint64_t proved_epoch; /* the last token's */
    int64_t prove_run_ms;  /* when its run is proved, if nobody asks */
    uint64_t put;   /* tokens so far */
    int64_t utc_offset_ms;
    int64_t stale_ms; /* token_cache_stale() was heard then; 0: never */
    /* Of attempts that never reached a decision: no channel, no service, no TPM. */
    unsigned failures;
    int64_t retry_at_ms, failing_since_ms;
    struct error failure;
};

/* A point between half and three quarters of the life after the answer, chosen by `random`. */
int64_t refresh_point(int64_t answered_ms, int64_t life_seconds, uint32_t random);
/* 1 s … 5 min, doubling with each of `failures` (1, 2, …), then between half of it and all of it. */
int64_t backoff_delay(unsigned failures, uint32_t random);

/* Wipes all. */
void token_cache_clear(struct token_cache *cache);
/* The entry of `audience`; it is made if there is room for it, else NULL. */
struct cached_token *token_cache_entry(struct token_cache *cache, const char *audience,
                                       int64_t now);
/* Milliseconds that it still lives by both clocks; 0: it is none. */
int64_t token_cache_left(const struct token_cache *cache, const struct cached_token *t, int64_t now);
bool token_cache_valid(const struct token_cache *cache, const struct cached_token *t,
                       int64_t now);
/* Takes the text.  A token of another epoch than the last greeting's, which came during the proof, is due at once. */
void token_cache_put(struct token_cache *cache, struct cached_token *t, struct proof_token *take_token,
                     uint32_t random);
/* A proof was accepted: whatever kept all of them waiting is over. */
void token_cache_succeed(struct token_cache *cache);
/* Remember a failure: ERROR_DENIED, _INPUT and _MISSING of this audience, others of all; not tried again before
 * failure->retry_s have passed. */
void token_cache_fail(struct token_cache *cache, struct cached_token *t,
                      const struct error *failure, int64_t now, uint32_t random);
/* A new greeting: what failed is tried again at once, tokens of another epoch are refreshed, and if nobody wants one
 * that of CONNECT_AUDIENCE is got a little later, once: each run is proved, also where no workload asks. Epoch 0 is a
 * host that has just begun to ask for the lease: no new run. */
void token_cache_greeted(struct token_cache *cache, uint64_t epoch, int64_t utc_offset_ms, int64_t now, uint32_t random);
/* The tokens at hand are of a key that was revoked: due at once, and served until there are others, since a verifier may
 * not know yet.  False: said again too soon. */
bool token_cache_stale(struct token_cache *cache, int64_t now);
/*
 * The entry that is to be refreshed now, or NULL and *ret_next: when to look again (INT64_MAX: when something
 * changes).  Forgets tokens nobody wants any more.
 */
struct cached_token *token_cache_due(struct token_cache *cache, int64_t now,
                                     int64_t *ret_next);
/*
 * Why there is no token now, if it is no use to wait: else NULL and *ret_until: how long to wait at most before
 * asking again.  What may be a daemon that is being restarted is waited for, PATIENCE_MS after its first failure.
 */
const struct error *token_cache_why_not(const struct token_cache *cache, const struct cached_token *t,
                                        int64_t now, int64_t *ret_until);
