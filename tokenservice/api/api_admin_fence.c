/*
 * Operators: a host is dead, and its VMs are for others (docs/PROTOCOL-lease.md, 2, FENCE).
 *
 * A page of VMs in one transaction, so that hosts that wait for a lease do not wait for all of them;
 * each page may be asked for again.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/log.h"
#include "tokenservice/api/api_body.h"
#include "tokenservice/api/decision.h"
#include "tokenservice/api/placing.h"
#include "tokenservice/api/pools.h"
#include "tokenservice/api/recovery.h"
#include "tokenservice/api/renewing.h"

enum { FENCE_PAGE = 128 };

struct fence {
    struct service *service;
    struct api_call *call;
    struct store_host host;
    const char *to; /* the one host that its VMs are for; NULL: those of its pool, or any */
    char pool[NAME_POOL_MAX + 1];
    bool dry_run;
    struct vm_uuid after, uuids[FENCE_PAGE];
    bool has_after;
    size_t n_uuids;
    int64_t vms, live, candidates, placed, new_vtpms;
};

static int
take_uuid(void *context, const struct store_vm *vm, struct error *err)
{
    struct fence *f = context;

    (void)err;
    f->uuids[f->n_uuids++] = vm->uuid;
    return 0;
}

/*
 * Nobody else claims it: then it can be kept for one host, who must be awake, so that it has told of all its ends.  That
 * one, or the first of its pool that gets it, may come with a new TPM where the state died with the host
 * (docs/DECISIONS/020, 021); any host at all may not.
 */
static int
settle_heir(struct fence *f, struct vm_account *a, const struct lease_now *now, struct error *err)
{
    struct lease_record *lease = &a->stored.lease;
    struct error why;

    if (lease->st != LEASE_MOVE || lease->hol[0] || lease->n_seen > 0)
        return 0;
    if (f->to && lease_place(lease, f->to, false, now, err) < 0)
        return -1;
    f->placed += f->to != NULL;
    if ((!f->to && !lease->pool[0]) || renewing_check(a, &why) < 0) /* it needs none, or may have none */
        return 0;
    f->new_vtpms++;
    return renewing_give(f->service, f->call, a, f->to ? f->to : "", err);
}

static int
record(struct fence *f, const struct vm_account *a, const struct lease_record *before, struct error *err)
{
    const struct lease_record *after = &a->stored.lease;
    char seen[AUDIT_TEXT_MAX], expected[AUDIT_TEXT_MAX];
    struct decision d = { .uuid = &a->id.uuid, .what = "fenced", .seen = seen, .expected = expected };
    bool held = strcmp(before->hol, f->host.name) == 0;

    snprintf(seen, sizeof seen, "%s %s, epoch %llu", f->host.name,
             !held                     ? "candidate"
             : before->st == LEASE_FREE ? "reserved"
                                        : lease_state_name(before->st),
             (unsigned long long)before->ep);
    snprintf(expected, sizeof expected, "%s%s", !after->hol[0] && after->pool[0] ? "a host of the pool " : "",
             after->hol[0]    ? after->hol
             : after->pool[0] ? after->pool
                              : "any host");
    return decision_add(f->service, f->call, &d, err);
}

static int
fence_vm(struct fence *f, const struct vm_uuid *uuid, struct error *err)
{
    struct lease_record before;
    struct vm_account a;
    struct lease_now now;
    struct error why = { 0 };
    char pool[NAME_POOL_MAX + 1];
    bool held, candidate;

    if (vm_account_load(f->service, uuid, &a, &why) < 0) {
        if (why.code == ERROR_DENIED) /* forged: it proves nothing on any host */
            return 0;
        *err = why;
        return -1;
    }
    now = vm_account_now(f->service, &a, f->call->now_ms);
    before = a.stored.lease;
    held = strcmp(before.hol, f->host.name) == 0;
    candidate = !held && lease_seen_of(&before, f->host.name) >= SEEN_INC;
    if (pools_of_vm(f->service, &before, pool, err) < 0 ||
        lease_fence(&a.stored.lease, f->host.name, pool, &now, err) < 0)
        return -1;
    f->vms += held;
    f->live += held && lease_seconds_left(&before, &now) > 0;
    f->candidates += candidate;
    if (f->dry_run || memcmp(&before, &a.stored.lease, sizeof before) == 0)
        return 0;
    if (strcmp(a.id.renewal.host, f->host.name) == 0)
        renewing_end(&a);
    if (settle_heir(f, &a, &now, err) < 0 || vm_account_save(f->service, &a, err) < 0)
        return -1;
    return held || candidate ? record(f, &a, &before, err) : 0;
}

/* Seen by `virtid host list` until it speaks in another boot. */
static int
mark_host(struct fence *f, struct error *err)
{
    struct store_fence mark = { .ms = f->call->now_ms };
    struct decision d = { .what = "host-fenced", .seen = f->host.name, .expected = f->to };

    memcpy(mark.boot, f->host.boot, sizeof mark.boot);
    return store_fence_put(f->service->store, f->host.name, &mark, err) < 0 ||
                   decision_add(f->service, f->call, &d, err) < 0
               ? -1
               : 0;
}

static int
fence_page(struct fence *f, struct error *err)
{
    const struct vm_uuid *after = f->has_after ? &f->after : NULL;

    if (store_vm_list_of_host(f->service->store, f->host.name, after, FENCE_PAGE, take_uuid, f, err) < 0)
        return -1;
    for (size_t i = 0; i < f->n_uuids; i++) {
        if (fence_vm(f, &f->uuids[i], err) < 0)
            return -1;
    }
    return f->dry_run || f->has_after ? 0 : mark_host(f, err);
}

static int
check_grace(struct fence *f, struct error *err)
{
    if (service_check_clock(f->service, f->call->now_ms, err) < 0 || recovery_check(f->service, err) < 0)
        return -1;
    if (service_in_grace(f->service, f->call->now_ms, NULL))
        return error_problem(err, ERROR_BUSY, "grace", "the service waits for its hosts to report; try again");
    return 0;
}

static int
check_target(struct fence *f, struct error *err)
{
    int64_t silent_s;
    struct store_host to;

    if (!f->to)
        return 0;
    if (strcmp(f->to, f->host.name) == 0)
        return error_problem(err, ERROR_DENIED, "conflict", "its VMs can not be for the host that is fenced");
    if (placing_check_host(f->service, f->to, &to, err) < 0)
        return -1;
    silent_s = (f->call->now_ms - to.seen_ms) / 1000;
    if (silent_s * 1000 >= LEASE_LIFE_MS)
        return error_problem(err, ERROR_BUSY, "host-silent",
                             "%s has not been heard for %lld s, and may have to tell of earlier runs", f->to,
                             (long long)silent_s);
    return 0;
}

static int
read_wish(struct fence *f, json_t **ret_body, struct error *err)
{
    const char *after = NULL;

    if (api_body_read(f->call, "to after dry_run", ret_body, err) < 0 ||
        json_get_string(*ret_body, "to", true, NAME_HOST_MAX, &f->to, err) < 0 ||
        json_get_string(*ret_body, "after", true, VM_UUID_TEXT - 1, &after, err) < 0 ||
        json_get_bool(*ret_body, "dry_run", true, &f->dry_run, err) < 0 ||
        (after && vm_uuid_parse(after, &f->after, err) < 0))
        return api_body_refuse(err);
    f->has_after = after != NULL;
    return 0;
}

static json_t *
show(const struct fence *f)
{
    json_t *o = json_pack("{s:s,s:I,s:I,s:I,s:I,s:I}", "name", f->host.name, "vms", (json_int_t)f->vms, "live",
                          (json_int_t)f->live, "candidates", (json_int_t)f->candidates, "placed",
                          (json_int_t)f->placed, "new_vtpms", (json_int_t)f->new_vtpms);
    char last[VM_UUID_TEXT];

    if (o && f->pool[0])
        json_object_set_new(o, "pool", json_string(f->pool));
    if (o && f->host.seen_ms)
        json_object_set_new(o, "last_seen", json_integer(f->host.seen_ms));
    if (o && f->n_uuids == FENCE_PAGE) {
        vm_uuid_print(&f->uuids[FENCE_PAGE - 1], last);
        json_object_set_new(o, "next", json_string(last));
    }
    return o;
}

int
api_admin_host_fence(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(mem_free) struct fence *f = calloc(1, sizeof *f);
    CLEANUP(json_decref) json_t *body = NULL;
    CLEANUP(store_abandon) struct store *txn = NULL;

    if (!f)
        return error_set(err, ERROR_SYSTEM, "no memory");
    f->service = s;
    f->call = call;
    if (read_wish(f, &body, err) < 0 || check_grace(f, err) < 0 || store_begin(s->store, &txn, err) < 0)
        return -1;
    if (store_host_find(s->store, call->arg, &f->host, err) < 0)
        return err->code == ERROR_MISSING
                   ? error_problem(err, ERROR_MISSING, "not-found", "no host \"%.63s\"", call->arg)
                   : -1;
    if (check_target(f, err) < 0 || store_pool_of(s->store, f->host.name, f->pool, err) < 0 ||
        fence_page(f, err) < 0 || (!f->dry_run && store_commit(txn, err) < 0))
        return -1;
    if (!f->dry_run)
        log_notice("event=host-fenced host=%s vms=%lld candidates=%lld placed=%lld", f->host.name,
                   (long long)f->vms, (long long)f->candidates, (long long)f->placed);
    return api_body_answer(call, 200, show(f), err);
}
