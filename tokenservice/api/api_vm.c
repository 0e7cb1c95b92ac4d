/*
 * What the service knows of a VM, for the host that holds it or for which it is
 * reserved; and for one that was fenced, that another has taken it.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <stdlib.h>
#include <string.h>

#include "tokenservice/api/api_body.h"
#include "tokenservice/api/vm_account.h"

/*
 * Did the caller's run of epoch `e` begin before its host was fenced, and another host get the VM behind that?  Epochs
 * are moments of the service's clock; where that went back nothing is said.
 */
static int
was_taken(struct service *s, const struct api_call *call, const struct lease_record *lease, uint64_t e, bool *ret,
          struct error *err)
{
    struct store_fence fence;
    uint64_t fenced;

    if (store_fence_get(s->store, call->host.name, &fence, err) < 0)
        return -1;
    fenced = fence.ms > 0 ? (uint64_t)fence.ms : 0;
    *ret = e > 0 && e < fenced && lease->ep > fenced && lease->hol[0] && strcmp(lease->hol, call->host.name) != 0;
    return 0;
}

/* ?epoch=, of the run that the caller has; 0: it has said none. */
static int
read_epoch(const struct api_call *call, uint64_t *ret, struct error *err)
{
    struct error why = { 0 };
    char text[24];

    *ret = 0;
    if (http_query(call->request->message, "epoch", text, sizeof text - 1, &why) < 0) {
        if (why.code == ERROR_MISSING)
            return 0;
        return error_problem(err, ERROR_INPUT, "bad-request", "?epoch=NUMBER");
    }
    if (text[0] == '\0' || text[strspn(text, "0123456789")] != '\0')
        return error_problem(err, ERROR_INPUT, "bad-request", "?epoch=NUMBER");
    *ret = strtoull(text, NULL, 10);
    return 0;
}

/* Another host's VM and one that does not exist look alike, but for a host that had it when it was fenced. */
static int
refuse_stranger(struct service *s, struct api_call *call, const struct vm_account *a, uint64_t e, struct error *err)
{
    bool taken = false;

    if (a && !service_in_grace(s, call->now_ms, NULL) && was_taken(s, call, &a->stored.lease, e, &taken, err) < 0)
        return -1;
    if (taken)
        return error_problem(err, ERROR_DENIED, "fenced", "%s was fenced, and %s has the VM since",
                             call->host.name, a->stored.lease.hol);
    return error_problem(err, ERROR_MISSING, "not-found", "no VM of this host has this UUID");
}

int
api_vm(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(store_abandon) struct store *txn = NULL;
    char text[VM_UUID_TEXT];
    struct vm_account a;
    struct error why = { 0 };
    struct vm_uuid uuid;
    json_t *answer = NULL;
    uint64_t e;

    if (http_query(call->request->message, "uuid", text, VM_UUID_TEXT - 1, err) < 0 ||
        vm_uuid_parse(text, &uuid, err) < 0)
        return error_problem(err, ERROR_INPUT, "bad-request", "?uuid=UUID");
    if (read_epoch(call, &e, err) < 0 || store_begin(s->store, &txn, err) < 0)
        return -1;
    if (vm_account_load(s, &uuid, &a, &why) < 0 && why.code != ERROR_MISSING) {
        *err = why;
        return -1;
    }
    if (why.code == ERROR_MISSING || strcmp(a.stored.lease.hol, call->host.name) != 0)
        return refuse_stranger(s, call, why.code == ERROR_MISSING ? NULL : &a, e, err);
    if (vm_account_show_all(s, &a, call->now_ms, &answer, err) < 0)
        return -1;
    return api_body_answer(call, 200, answer, err);
}
