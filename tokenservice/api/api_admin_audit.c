/*
 * Operators: what was decided, and the service's own state.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <stdlib.h>
#include <string.h>

#include "lib/common/encode.h"
#include "tokenservice/api/api_body.h"

enum { AUDIT_PAGE = 50, AUDIT_PAGE_MAX = 64 /* all of them fit into one answer */ };

static int
add_record(void *context, const struct audit_record *r, struct error *err)
{
    return audit_record_append(context, r, err);
}

/* An absent parameter leaves "". */
static int
read_parameter(const struct api_call *call, const char *name, char *ret, size_t max,
               struct error *err)
{
    struct error why = { 0 };

    ret[0] = '\0';
    if (http_query(call->request->message, name, ret, max, &why) == 0 ||
        why.code == ERROR_MISSING)
        return 0;
    *err = why;
    return api_body_refuse(err);
}

/* An absent number leaves *ret as it is. */
static int
read_number(const struct api_call *call, const char *name, int64_t min, int64_t *ret, struct error *err)
{
    char text[20], *end;
    long long number;

    if (read_parameter(call, name, text, sizeof text - 1, err) < 0)
        return -1;
    if (!text[0])
        return 0;
    number = strtoll(text, &end, 10);
    if (*end || number < min)
        return error_problem(err, ERROR_INPUT, "bad-request", "%s is a number of at least %lld", name, (long long)min);
    *ret = number;
    return 0;
}

/* With `after` oldest first, from there on: who follows asks again with the last id that it got. */
int
api_admin_audit(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *o = json_object();
    char text[VM_UUID_TEXT], who[AUDIT_WHO_MAX + 1], what[AUDIT_WORD_MAX + 1];
    struct store_audit_query query = { .who = who, .what = what, .after = -1 };
    json_t *records = json_array();
    int64_t limit = AUDIT_PAGE;
    struct vm_uuid uuid;

    if (json_object_set_new(o, "audit", records) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (read_parameter(call, "uuid", text, sizeof text - 1, err) < 0 ||
        read_parameter(call, "who", who, sizeof who - 1, err) < 0 ||
        read_parameter(call, "what", what, sizeof what - 1, err) < 0 ||
        read_number(call, "limit", 1, &limit, err) < 0 || read_number(call, "after", 0, &query.after, err) < 0 ||
        (text[0] && vm_uuid_parse(text, &uuid, err) < 0))
        return api_body_refuse(err);
    query.uuid = text[0] ? &uuid : NULL;
    query.oldest_first = query.after >= 0;
    query.limit = (size_t)(limit < AUDIT_PAGE_MAX ? limit : AUDIT_PAGE_MAX);
    if (store_audit_list(s->store, &query, add_record, records, err) < 0)
        return -1;
    return api_body_answer(call, 200, STEAL(o), err);
}

/* Whoever keeps a copy elsewhere keeps this key beside it. */
int
api_admin_audit_head(struct service *s, struct api_call *call, struct error *err)
{
    char key[B64URL_LEN(KEY_POINT_LEN) + 1], hash[HEX_LEN(AUDIT_HASH) + 1];
    uint8_t point[KEY_POINT_LEN];
    struct audit_head head;

    if (mint_signed(s->mint, point, &head, err) < 0)
        return -1;
    b64url_encode(point, sizeof point, key);
    hex_encode(head.hash, sizeof head.hash, hash);
    return api_body_answer(call, 200,
                           json_pack("{s:s,s:I,s:I,s:s}", "key", key, "line", (json_int_t)head.line, "record",
                                     (json_int_t)head.id, "hash", hash),
                           err);
}

static int
count_host(void *context, const struct store_host *host, struct error *err)
{
    (void)err;
    *(int64_t *)context += host->state == HOST_JOINED;
    return 0;
}

int
api_admin_status(struct service *s, struct api_call *call, struct error *err)
{
    int64_t hosts = 0, vms = 0, records = 0;

    if (store_host_list(s->store, count_host, &hosts, err) < 0 ||
        store_vm_count(s->store, &vms, err) < 0 ||
        store_audit_count(s->store, &records, err) < 0)
        return -1;
    return api_body_answer(
        call, 200,
        json_pack("{s:s,s:s,s:s,s:b,s:b,s:b,s:s,s:I,s:I,s:I,s:I}", "trust_domain",
                  s->info.trust_domain, "issuer", s->info.issuer, "kid", s->info.kid,
                  "test", s->info.test, "grace",
                  service_in_grace(s, call->now_ms, NULL), "recovery", s->recovery, "enrol",
                  s->enrol_placed ? "placed" : "open", "hosts", (json_int_t)hosts,
                  "vms", (json_int_t)vms, "audit", (json_int_t)records, "bundle_serial",
                  (json_int_t)s->info.bundle_serial),
        err);
}
