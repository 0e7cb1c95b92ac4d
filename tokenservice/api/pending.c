#include "config.h"

#include "tokenservice/api/pending.h"

#include <string.h>

#include "lib/common/log.h"
#include "tokenservice/api/decision.h"
#include "tokenservice/api/vm_account.h"

enum { LOOK_AT_MAX = 16 }; /* that operators have made settings for, at most */

struct idlest {
    struct service *service;
    struct vm_account account;
    bool found;
};

/* What an operator has set is not the host's to lose. */
static int
look_at(void *context, const struct store_vm *vm, struct error *err)
{
    struct idlest *i = context;
    struct error why = { 0 };

    if (i->found)
        return 0;
    if (vm_account_open(i->service, vm, &i->account, &why) < 0) {
        if (why.code == ERROR_DENIED)
            return 0; /* forged: evidence */
        *err = why;
        return -1;
    }
    i->found = i->account.id.state == ROW_PENDING && !i->account.id.owner[0] &&
               !i->account.id.audiences[0] && strcmp(i->account.id.labels, "{}") == 0;
    return 0;
}

static int
drop(struct service *s, struct api_call *call, const struct vm_account *a,
     struct error *err)
{
    struct decision d = {
        .what = "account-dropped",
        .uuid = &a->id.uuid,
        .why = "its host has too many VMs that never proved themselves"
    };
    char uuid[VM_UUID_TEXT];

    if (store_vm_drop(s->store, &a->id.uuid, err) < 0 ||
        decision_add(s, call, &d, err) < 0)
        return -1;
    vm_uuid_print(&a->id.uuid, uuid);
    log_notice("event=account-dropped uuid=%s host=%s", uuid, call->host.name);
    return 0;
}

static int
refuse(struct service *s, struct api_call *call, struct error *err)
{
    struct decision d = { .what = "lease-refused",
                          .problem = "pending-limit",
                          .seen = call->host.name };
    bool is_new;

    if (decision_add_seldom(s, call, &d, &is_new, err) < 0)
        return -1;
    if (is_new)
        log_warning("event=alarm host=%s it claims more than %d VMs that never proved "
                    "themselves",
                    call->host.name, PENDING_PER_HOST_MAX);
    return 0;
}

int
pending_make_room(struct service *s, struct api_call *call, bool *ret_has_room,
                  struct error *err)
{
    struct idlest i = { .service = s };
    int64_t n;

    *ret_has_room = true;
    if (store_host_pending(s->store, call->host.name, &n, err) < 0)
        return -1;
    if (n < PENDING_PER_HOST_MAX)
        return 0;
    if (store_vm_list_idle(s->store, call->host.name, LOOK_AT_MAX, look_at, &i, err) <
        0)
        return -1;
    if (i.found)
        return drop(s, call, &i.account, err);
    *ret_has_room = false;
    return refuse(s, call, err);
}
