/*
 * refresher.h - the thread that proves: keeps tokens fresh and hands them out
 */
#pragma once

#include <stdint.h>

#include "guestagent/prover.h"
#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/common/secret.h"

struct refresher;

struct refresher_options {
    /* One proof, blocking; prover_token() but in tests. */
    int (*prove)(void *context, const char *audience, struct proof_token *ret,
                 struct error *err);
    /* The outcome in a word and a sentence, for the host. May be NULL. */
    void (*tell)(void *context, const char *word, const char *text);
    void *context;
};

/* Starts the thread. */
int refresher_new(const struct refresher_options *options, struct refresher **ret,
                  struct error *err);
/* Whoever waits for a token is told so; no proof is begun any more. */
void refresher_stop(struct refresher *refresher);
/* Waits for a proof that is under way. */
void refresher_free(struct refresher *refresher);
DEFINE_CLEANUP(struct refresher *, refresher_free);

/* Keep tokens for these audiences, and those asked for lately, from now on.  ERROR_INPUT: bad name, or too many. */
int refresher_prefetch(struct refresher *refresher, const char *const *audiences, size_t n, struct error *err);
/* A HELLO was accepted: try again at once. */
void refresher_greeted(struct refresher *refresher, uint64_t epoch, int64_t utc_offset_ms);
/* The host says that the tokens at hand are of a key that was revoked: get others.  Heard once in STALE_EVERY_MS. */
void refresher_stale(struct refresher *refresher);
/*
 * A valid token, from the cache or by a proof: a copy, not NUL-terminated, and the seconds it still
 * lives.  Fails at once with the last reason while the next attempt is still to come, but
 * waits out what a daemon that is restarted takes (token_cache_why_not).
 */
int refresher_token(struct refresher *refresher, const char *audience, int64_t deadline_ms,
                    struct secret **ret, int64_t *ret_expires_in, struct error *err);

/* What there is now, without a proof. */
struct refresher_token_now {
    struct secret *text; /* a copy, yours; NULL: no valid one */
    uint64_t number;     /* another one has another */
    int64_t left_ms;
};
int refresher_peek(struct refresher *refresher, const char *audience, struct refresher_token_now *ret,
                   struct error *err);
/* Waits until something has changed since *seen (0 at first), at most `ms`; *seen is then up to date. */
void refresher_wait(struct refresher *refresher, uint64_t *seen, int64_t ms);
/* Ends the waits. */
void refresher_wake(struct refresher *refresher);

struct refresher_status {
    unsigned valid, wanted;
    struct error failure; /* of the last attempt; code NONE: it went well */
    uint64_t proofs;
};
void refresher_status(struct refresher *refresher, struct refresher_status *ret);
