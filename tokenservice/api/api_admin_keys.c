/*
 * Operators: which keys there are, and that another one is to sign.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <string.h>

#include "tokenservice/api/api_body.h"
#include "tokenservice/api/signing_keys.h"

static const char *
next_step(const struct mint_key *key)
{
    if (key->purpose == MINT_KEY_HOST_CA && key->state != MINT_KEY_ACTIVE)
        return key->state == MINT_KEY_NEXT ? "active" : "dropped";
    if (!key->step)
        return NULL;
    if (!signing_keys_are(key))
        return "ends";
    return key->state == MINT_KEY_NEXT ? "active" : key->state == MINT_KEY_ACTIVE ? "retiring" : "destroyed";
}

static int
answer_keys(struct api_call *call, const struct mint_keys *keys, struct error *err)
{
    CLEANUP(json_decref) json_t *list = json_array();

    for (size_t i = 0; i < keys->n; i++) {
        const struct mint_key *k = &keys->keys[i];
        json_t *o = json_pack("{s:s,s:s,s:s,s:I,s:I}", "kid", k->kid, "purpose",
                              key_purpose_name(k->purpose), "state", key_state_name(k->state), "made", (json_int_t)k->made * 1000, "since",
                              (json_int_t)k->since * 1000);

        if (o && next_step(k) &&
            (json_object_set_new(o, "next", json_string(next_step(k))) < 0 ||
             (k->step != 0 && json_object_set_new(o, "next_at", json_integer((json_int_t)k->step * 1000)) < 0))) {
            json_decref(o);
            o = NULL;
        }
        if (!o || json_array_append_new(list, o) < 0)
            return error_set(err, ERROR_SYSTEM, "no memory");
    }
    return api_body_answer(call, 200,
                           json_pack("{s:s,s:s,s:i,s:O}", "kid", keys->kid, "bound_kid", keys->bound_kid, "max_age", JWKS_MAX_AGE_S, "keys", list), err);
}

int
api_admin_keys(struct service *s, struct api_call *call, struct error *err)
{
    struct mint_keys keys;

    if (signing_keys_look(s, err) < 0 || mint_keys(s->mint, &keys, err) < 0)
        return -1;
    return answer_keys(call, &keys, err);
}

int
api_admin_keys_rotate(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *body = NULL;
    struct mint_keys keys;
    bool bound = false;

    if (api_body_read(call, "bound", &body, err) < 0 || json_get_bool(body, "bound", true, &bound, err) < 0)
        return api_body_refuse(err);
    if (mint_keys_rotate(s->mint, bound ? MINT_KEY_BOUND : MINT_KEY_TOKEN, &keys, err) < 0 ||
        signing_keys_took(s, call, "key-rotated", &keys, err) < 0)
        return -1;
    return answer_keys(call, &keys, err);
}

int
api_admin_keys_revoke(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *body = NULL;
    struct mint_keys keys, after;
    const char *kid = NULL;
    bool all = false;

    if (api_body_read(call, "kid all", &body, err) < 0 ||
        json_get_string(body, "kid", true, MINT_KID_MAX, &kid, err) < 0 ||
        json_get_bool(body, "all", true, &all, err) < 0)
        return api_body_refuse(err);
    if (all == (kid != NULL) || (kid && kid[0] == '\0'))
        return error_problem(err, ERROR_INPUT, "bad-request", "a kid, or all");
    if (mint_keys(s->mint, &keys, err) < 0 ||
        signing_keys_revoke(s, call, &keys, all ? "" : kid, &after, err) < 0)
        return -1;
    return answer_keys(call, &after, err);
}
