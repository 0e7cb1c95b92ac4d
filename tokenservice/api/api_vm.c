/*
 * What the service knows of a VM, for the host that holds it or for which it is
 * reserved.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <string.h>

#include "tokenservice/api/api_body.h"
#include "tokenservice/api/vm_account.h"

int
api_vm(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(store_abandon) struct store *txn = NULL;
    char text[VM_UUID_TEXT];
    struct vm_account a;
    struct error why = { 0 };
    struct vm_uuid uuid;
    json_t *answer = NULL;

    if (http_query(call->request->message, "uuid", text, VM_UUID_TEXT - 1, err) < 0 ||
        vm_uuid_parse(text, &uuid, err) < 0)
        return error_problem(err, ERROR_INPUT, "bad-request", "?uuid=UUID");
    if (store_begin(s->store, &txn, err) < 0)
        return -1;
    /* Another host's VM and one that does not exist look alike. */
    if (vm_account_load(s, &uuid, &a, &why) < 0 && why.code != ERROR_MISSING) {
        *err = why;
        return -1;
    }
    if (why.code == ERROR_MISSING || strcmp(a.stored.lease.hol, call->host.name) != 0)
        return error_problem(err, ERROR_MISSING, "not-found",
                             "no VM of this host has this UUID");
    if (vm_account_show_all(s, &a, call->now_ms, &answer, err) < 0)
        return -1;
    return api_body_answer(call, 200, answer, err);
}
