/*
 * Operators: what a restored database lacked, who has not been heard since, and that it is in order now.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <string.h>

#include "lib/common/log.h"
#include "tokenservice/api/api_body.h"
#include "tokenservice/api/decision.h"
#include "tokenservice/api/recovery.h"

struct silent_hosts {
    struct service *service;
    json_t *hosts;
};

/* What such a host has seen since the backup was made nobody can tell but itself. */
static int
add_silent(void *context, const struct store_host *host, struct error *err)
{
    struct silent_hosts *h = context;
    int64_t vms;

    if (host->state != HOST_JOINED || host->seen_ms >= h->service->recovery_since_ms)
        return 0;
    if (store_host_vms(h->service->store, host->name, &vms, err) < 0)
        return -1;
    return json_array_append_new(h->hosts, json_pack("{s:s,s:I,s:I}", "name", host->name, "last_seen",
                                                     (json_int_t)host->seen_ms, "vms", (json_int_t)vms)) < 0
               ? error_set(err, ERROR_SYSTEM, "no memory")
               : 0;
}

static int
count(struct service *s, json_t *into, const char *name, const char *what, struct error *err)
{
    int64_t n;

    if (store_audit_count_of(s->store, what, s->recovery_since_ms, &n, err) < 0)
        return -1;
    return json_object_set_new(into, name, json_integer(n)) < 0 ? error_set(err, ERROR_SYSTEM, "no memory") : 0;
}

static int
show(struct service *s, struct api_call *call, json_t **ret, struct error *err)
{
    CLEANUP(json_decref) json_t *o = json_pack("{s:b}", "recovery", s->recovery);
    struct silent_hosts silent = { .service = s };

    if (!o)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (s->recovery) {
        silent.hosts = json_array();
        if (json_object_set_new(o, "since", json_integer(s->recovery_since_ms)) < 0 ||
            json_object_set_new(o, "newest_record", json_integer(s->restored_ms)) < 0 ||
            json_object_set_new(o, "grace", json_boolean(service_in_grace(s, call->now_ms, NULL))) < 0 ||
            json_object_set_new(o, "silent_hosts", silent.hosts) < 0)
            return error_set(err, ERROR_SYSTEM, "no memory");
        if (count(s, o, "receipts_taken", "receipt-taken", err) < 0 ||
            count(s, o, "receipts_refused", "receipt-refused", err) < 0 ||
            count(s, o, "certificates_taken", "certificate-taken", err) < 0 ||
            count(s, o, "hosts_unknown", "host-unknown", err) < 0 ||
            store_host_list(s->store, add_silent, &silent, err) < 0)
            return -1;
    }
    *ret = STEAL(o);
    return 0;
}

int
api_admin_recovery(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(store_abandon) struct store *txn = NULL;
    json_t *answer = NULL;

    if (store_begin(s->store, &txn, err) < 0 || show(s, call, &answer, err) < 0)
        return -1;
    return api_body_answer(call, 200, answer, err);
}

int
api_admin_recovery_finish(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *body = NULL;
    CLEANUP(store_abandon) struct store *txn = NULL;
    struct decision d = { .what = "recovery-finished" };

    if (api_body_read(call, "", &body, err) < 0 || service_check_clock(s, call->now_ms, err) < 0)
        return -1;
    if (!s->recovery)
        return error_problem(err, ERROR_DENIED, "conflict", "the service does not work with a restored database");
    if (service_in_grace(s, call->now_ms, NULL))
        return error_problem(err, ERROR_BUSY, "grace", "the service waits for its hosts to report; try again");
    if (store_begin(s->store, &txn, err) < 0 || recovery_end(s, err) < 0 || decision_add(s, call, &d, err) < 0 ||
        store_commit(txn, err) < 0)
        return -1;
    recovery_ended(s, call->now_ms);
    log_notice("event=recovery-finished");
    return api_body_answer(call, 200, json_pack("{s:b}", "recovery", false), err);
}
