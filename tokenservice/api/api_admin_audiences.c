/*
 * Operators: for whom tokens may be made, and what they tell.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <string.h>

#include "lib/common/log.h"
#include "lib/wire/connect_msg.h"
#include "tokenservice/api/api_body.h"
#include "tokenservice/api/decision.h"

static const struct {
    const char *name;
    uint8_t claim;
} CLAIMS[] = {
    { "name", MINT_CLAIM_NAME },
    { "host", MINT_CLAIM_HOST },
    { "labels", MINT_CLAIM_LABELS },
};

static int
read_claims(const json_t *names, uint8_t *ret, struct error *err)
{
    *ret = 0;
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        uint8_t claim = 0;

        for (size_t k = 0; name && k < sizeof CLAIMS / sizeof CLAIMS[0]; k++) {
            if (strcmp(CLAIMS[k].name, name) == 0)
                claim = CLAIMS[k].claim;
        }
        if (!claim)
            return error_problem(err, ERROR_INPUT, "bad-request",
                                 "a claim is name, host or labels");
        *ret |= claim;
    }
    return 0;
}

static int
add_audience(void *context, const struct store_audience *a, struct error *err)
{
    json_t *claims = json_array();
    json_t *o = json_pack("{s:s,s:b,s:b,s:o}", "name", a->name, "all", a->everyone,
                          "bound", (a->claims & MINT_BOUND) != 0, "claims", claims);

    for (size_t k = 0; o && k < sizeof CLAIMS / sizeof CLAIMS[0]; k++) {
        if (a->claims & CLAIMS[k].claim)
            json_array_append_new(claims, json_string(CLAIMS[k].name));
    }
    if (!o || json_array_append_new(context, o) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    return 0;
}

int
api_admin_audiences(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *o = json_object();
    json_t *list = json_array();

    if (json_object_set_new(o, "audiences", list) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (store_audience_list(s->store, add_audience, list, err) < 0)
        return -1;
    return api_body_answer(call, 200, STEAL(o), err);
}

/* The built-in one is what virtid-verify --connect relies on. */
static int
check_name(const char *name, struct error *err)
{
    if (!name_is_audience(name))
        return error_problem(
            err, ERROR_INPUT, "bad-request",
            "an audience is 1 to 255 printable characters without space");
    if (strcmp(name, CONNECT_AUDIENCE) == 0)
        return error_problem(err, ERROR_DENIED, "conflict",
                             "the audience " CONNECT_AUDIENCE " is built in");
    return 0;
}

static int
finish(struct service *s, struct api_call *call, struct store *txn, const char *what,
       const char *name, struct error *err)
{
    struct decision d = { .what = what, .seen = name };

    if (decision_add(s, call, &d, err) < 0 || store_commit(txn, err) < 0)
        return -1;
    log_notice("event=%s audience=%s", what, name);
    return api_body_answer(call, 200, json_pack("{s:s}", "name", name), err);
}

int
api_admin_audience_put(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *body = NULL;
    CLEANUP(store_abandon) struct store *txn = NULL;
    struct store_audience a = { .everyone = false };
    const json_t *claims = NULL;
    bool bound = false;
    const char *name;

    if (api_body_read(call, "name all bound claims", &body, err) < 0 ||
        json_get_string(body, "name", false, NAME_AUDIENCE_MAX, &name, err) < 0 ||
        json_get_bool(body, "all", true, &a.everyone, err) < 0 ||
        json_get_bool(body, "bound", true, &bound, err) < 0 ||
        json_get_array(body, "claims", true, 3, &claims, err) < 0)
        return api_body_refuse(err);
    if (check_name(name, err) < 0 || read_claims(claims, &a.claims, err) < 0)
        return -1;
    if (bound && strlen(name) > NAME_BOUND_MAX)
        return error_problem(err, ERROR_INPUT, "bad-request", "a bound audience has at most %d characters",
                             NAME_BOUND_MAX);
    if (bound)
        a.claims |= MINT_BOUND;
    memcpy(a.name, name, strlen(name));
    if (store_begin(s->store, &txn, err) < 0 ||
        store_audience_put(s->store, &a, err) < 0)
        return -1;
    return finish(s, call, txn, "audience-declared", name, err);
}

int
api_admin_audience_remove(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *body = NULL;
    CLEANUP(store_abandon) struct store *txn = NULL;
    const char *name;

    if (api_body_read(call, "name", &body, err) < 0 ||
        json_get_string(body, "name", false, NAME_AUDIENCE_MAX, &name, err) < 0)
        return api_body_refuse(err);
    if (check_name(name, err) < 0 || store_begin(s->store, &txn, err) < 0)
        return -1;
    if (store_audience_remove(s->store, name, err) < 0)
        return err->code == ERROR_MISSING
                   ? error_problem(err, ERROR_MISSING, "not-found", "no such audience")
                   : -1;
    return finish(s, call, txn, "audience-removed", name, err);
}
