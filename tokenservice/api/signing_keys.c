#include "config.h"

#include "tokenservice/api/signing_keys.h"

#include <stdio.h>
#include <string.h>

#include "lib/common/log.h"
#include "tokenservice/api/authority.h"
#include "tokenservice/api/decision.h"

#define REVOKED "key-revoked"

const char *
key_purpose_name(enum mint_key_purpose purpose)
{
    static const char *const NAMES[] = { [MINT_KEY_TOKEN] = "token",
                                         [MINT_KEY_HOST_CA] = "host-ca",
                                         [MINT_KEY_EK_CA] = "ek-ca",
                                         [MINT_KEY_RECEIPT] = "receipt",
                                         [MINT_KEY_BOUND] = "bound",
                                         [MINT_KEY_AUDIT] = "audit" };

    return NAMES[purpose];
}

const char *
key_state_name(enum mint_key_state state)
{
    static const char *const NAMES[] = { [MINT_KEY_NEXT] = "next",
                                         [MINT_KEY_ACTIVE] = "active",
                                         [MINT_KEY_RETIRING] = "retiring" };

    return NAMES[state];
}

/* By the database's name of each: the active key that was recorded last. */
static int
record_active(struct service *s, const struct api_call *call, const char *what, const char *meta, const char *kid,
              struct error *err)
{
    char recorded[STORE_META_MAX + 1] = "";
    struct decision d = { .what = what, .seen = kid, .expected = recorded };

    if (store_meta_get(s->store, meta, recorded, err) < 0 && err->code != ERROR_MISSING)
        return -1;
    if (strcmp(recorded, kid) == 0)
        return 0;
    if (recorded[0]) {
        if (decision_add(s, call, &d, err) < 0)
            return -1;
        log_notice("event=%s kid=%s before=%s", what, kid, recorded);
    }
    return store_meta_put(s->store, meta, kid, err);
}

int
signing_keys_took(struct service *s, const struct api_call *call, const char *what, const struct mint_keys *keys,
                  struct error *err)
{
    CLEANUP(store_abandon) struct store *txn = NULL;

    if (authority_look(s, call, keys, err) < 0)
        return -1;
    strcpy(s->info.jwks, keys->jwks);
    strcpy(s->info.kid, keys->kid);
    strcpy(s->info.bound_jwks, keys->bound_jwks);
    strcpy(s->info.bound_kid, keys->bound_kid);
    if (strcmp(s->recorded_kid, keys->kid) == 0 && strcmp(s->recorded_bound_kid, keys->bound_kid) == 0)
        return 0;
    if (store_begin(s->store, &txn, err) < 0 || record_active(s, call, what, "token_kid", keys->kid, err) < 0 ||
        (keys->bound_kid[0] && record_active(s, call, what, "bound_kid", keys->bound_kid, err) < 0) ||
        store_commit(txn, err) < 0)
        return -1;
    strcpy(s->recorded_kid, keys->kid);
    strcpy(s->recorded_bound_kid, keys->bound_kid);
    return 0;
}

void
signing_keys_tell(const struct service *s, struct api_call *call)
{
    if (s->tokens_since_ms != 0 && call->now_ms - s->tokens_since_ms < TOLD_MS)
        snprintf(call->reply->headers, sizeof call->reply->headers, HTTP_TOKENS_SINCE ": %lld\r\n",
                 (long long)s->tokens_since_ms);
}

static struct api_call
by_itself(struct service *s)
{
    return (struct api_call){ .now_ms = s->clock_ms(), .who = "service" };
}

int
signing_keys_look(struct service *s, struct error *err)
{
    struct api_call call = by_itself(s);
    struct mint_keys keys;

    return mint_keys(s->mint, &keys, err) < 0 ? -1 : signing_keys_took(s, &call, "key-rotated", &keys, err);
}

bool
signing_keys_are(const struct mint_key *key)
{
    return key->purpose == MINT_KEY_TOKEN || key->purpose == MINT_KEY_BOUND;
}

static bool
is_hit(const struct mint_key *key, const char *kid)
{
    return signing_keys_are(key) && (kid[0] == '\0' || strcmp(key->kid, kid) == 0);
}

int
signing_keys_revoke(struct service *s, const struct api_call *call, const struct mint_keys *keys, const char *kid,
                    struct mint_keys *ret, struct error *err)
{
    CLEANUP(store_abandon) struct store *txn = NULL;
    size_t n = 0;

    if (store_begin(s->store, &txn, err) < 0)
        return -1;
    for (size_t i = 0; i < keys->n; i++) {
        struct decision d = { .what = REVOKED, .seen = keys->keys[i].kid };

        if (!is_hit(&keys->keys[i], kid))
            continue;
        if (decision_add(s, call, &d, err) < 0)
            return -1;
        n++;
    }
    if (n == 0)
        return error_problem(err, ERROR_MISSING, "not-found", "no key that signs tokens has this name");
    if (store_commit(txn, err) < 0 || mint_keys_revoke(s->mint, kid, ret, err) < 0)
        return -1;
    s->tokens_since_ms = call->now_ms;
    log_warning("event=key-revoked keys=%zu kid=%s", n, ret->kid);
    return signing_keys_took(s, call, "key-replaced", ret, err);
}

int
signing_keys_start(struct service *s, struct error *err)
{
    struct api_call call = by_itself(s);
    struct mint_keys keys, after;

    if (mint_keys(s->mint, &keys, err) < 0)
        return -1;
    for (size_t i = 0; i < keys.n; i++) {
        bool revoked = false;

        if (signing_keys_are(&keys.keys[i]) &&
            store_audit_seen(s->store, REVOKED, keys.keys[i].kid, &revoked, err) < 0)
            return -1;
        if (!revoked)
            continue;
        log_warning("event=alarm the key %s was revoked, and was in the signer's folder", keys.keys[i].kid);
        if (signing_keys_revoke(s, &call, &keys, keys.keys[i].kid, &after, err) < 0)
            return -1;
    }
    return signing_keys_look(s, err);
}
