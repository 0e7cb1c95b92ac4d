#include "config.h"

#include "tokenservice/api/signing_keys.h"

#include <stdio.h>
#include <string.h>

#include "lib/common/log.h"
#include "tokenservice/api/decision.h"

#define META_KID "token_kid" /* the active key that was recorded last */
#define REVOKED "key-revoked"

int
signing_keys_took(struct service *s, const struct api_call *call, const char *what, const struct mint_keys *keys,
                  struct error *err)
{
    CLEANUP(store_abandon) struct store *txn = NULL;
    char recorded[STORE_META_MAX + 1] = "";
    struct decision d = { .what = what, .seen = keys->kid, .expected = recorded };

    strcpy(s->info.jwks, keys->jwks);
    strcpy(s->info.kid, keys->kid);
    if (strcmp(s->recorded_kid, keys->kid) == 0)
        return 0;
    if (store_begin(s->store, &txn, err) < 0)
        return -1;
    if (store_meta_get(s->store, META_KID, recorded, err) < 0 && err->code != ERROR_MISSING)
        return -1;
    if (recorded[0] && strcmp(recorded, keys->kid) != 0) {
        if (decision_add(s, call, &d, err) < 0)
            return -1;
        log_notice("event=%s kid=%s before=%s", what, keys->kid, recorded);
    }
    if (store_meta_put(s->store, META_KID, keys->kid, err) < 0 || store_commit(txn, err) < 0)
        return -1;
    strcpy(s->recorded_kid, keys->kid);
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

static bool
is_hit(const struct mint_key *key, const char *kid)
{
    return key->purpose == MINT_KEY_TOKEN && (kid[0] == '\0' || strcmp(key->kid, kid) == 0);
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

        if (keys.keys[i].purpose == MINT_KEY_TOKEN &&
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
