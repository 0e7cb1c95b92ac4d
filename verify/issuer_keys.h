/*
 * issuer_keys.h - the public keys of one issuer: given, or fetched and kept
 *
 * Thread-safe.  One thread fetches; the others go on with the keys held, or wait
 * for the first ones.  Not here: what a token is (lib/wire/token.h).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/wire/token.h"

enum {
    ISSUER_KEYS_AGE_MIN_S = 30,
    ISSUER_KEYS_AGE_MAX_S = 3600,
    ISSUER_KEYS_AGE_DEFAULT_S = 300,
    ISSUER_KEYS_STALE_S = 86400, /* so long after its end a set is still used, if the issuer does not answer */
    ISSUER_KEYS_AGAIN_S = 30, /* an unknown key, or an issuer that is away, is asked for this often */
};

struct issuer_keys;

/* One fetched set of keys; many threads may hold it. */
struct key_set;
const struct jwks *key_set_jwks(const struct key_set *set);
void key_set_release(struct key_set *set);
DEFINE_CLEANUP(struct key_set *, key_set_release);

/* Keys that never change. ERROR_INPUT: no key set. */
int issuer_keys_given(const char *text, size_t len, struct issuer_keys **ret, struct error *err);
/*
 * Keys of `issuer`, fetched when they are first asked for; `ca_file` NULL: the system's CAs.
 * ERROR_INPUT: no certificate in ca_file.
 */
int issuer_keys_fetched(const char *issuer, const char *ca_file, long timeout_ms,
                        struct issuer_keys **ret, struct error *err);
void issuer_keys_free(struct issuer_keys *keys);
DEFINE_CLEANUP(struct issuer_keys *, issuer_keys_free);

/*
 * The keys of now (`now_ms`: clock_monotonic_ms).  With `unknown` a token named a key that is not in
 * that set: ask again, if the last fetch is long enough ago.  ERROR_BUSY: none could be had, or those
 * held are too old.
 */
int issuer_keys_get(struct issuer_keys *keys, int64_t now_ms, const struct key_set *unknown,
                    struct key_set **ret, struct error *err);

/* True if `uri` is an https URL of the same scheme, host and port as the issuer. */
bool issuer_has_origin_of(const char *issuer, const char *uri);
