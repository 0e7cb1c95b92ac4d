/*
 * Operators: what was decided, and the service's own state.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <stdlib.h>
#include <string.h>

#include "tokenservice/api/api_body.h"
#include "tokenservice/api/decision.h"

enum { AUDIT_PAGE = 50, AUDIT_PAGE_MAX = 64 /* all of them fit into one answer */ };

static int
add_record(void *context, const struct store_audit *r, struct error *err)
{
    return json_array_append_new(context, decision_show(r)) < 0 ? error_set(err, ERROR_SYSTEM, "no memory") : 0;
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

int
api_admin_audit(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *o = json_object();
    char text[VM_UUID_TEXT], number[8];
    json_t *records = json_array();
    unsigned long limit = AUDIT_PAGE;
    struct vm_uuid uuid;

    if (json_object_set_new(o, "audit", records) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (read_parameter(call, "uuid", text, sizeof text - 1, err) < 0 ||
        read_parameter(call, "limit", number, sizeof number - 1, err) < 0 ||
        (text[0] && vm_uuid_parse(text, &uuid, err) < 0))
        return api_body_refuse(err);
    if (number[0]) {
        char *end;

        limit = strtoul(number, &end, 10);
        if (*end || limit < 1)
            return error_problem(err, ERROR_INPUT, "bad-request",
                                 "limit is a number above 0");
    }
    if (store_audit_list(s->store, text[0] ? &uuid : NULL,
                         limit < AUDIT_PAGE_MAX ? limit : AUDIT_PAGE_MAX, add_record,
                         records, err) < 0)
        return -1;
    return api_body_answer(call, 200, STEAL(o), err);
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
