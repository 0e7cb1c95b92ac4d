#include "config.h"

#include "tokenservice/api/grace_end.h"

#include "lib/common/log.h"
#include "tokenservice/api/vm_account.h"

enum { PAGE = 64 };

struct page {
    struct vm_uuid uuids[PAGE];
    size_t n;
};

static int
take_uuid(void *context, const struct store_vm *vm, struct error *err)
{
    struct page *p = context;

    (void)err;
    p->uuids[p->n++] = vm->uuid;
    return 0;
}

static int
rejoin(struct service *s, const struct vm_uuid *uuid, int64_t now_ms, struct error *err)
{
    struct vm_account a;
    struct lease_now now;
    struct error why = { 0 };

    if (vm_account_load(s, uuid, &a, &why) < 0) {
        if (why.code == ERROR_DENIED) /* forged: nobody proves anything with it */
            return 0;
        *err = why;
        return -1;
    }
    now = vm_account_now(s, &a, now_ms);
    lease_rejoin(&a.stored.lease, &now);
    return vm_account_save(s, &a, err);
}

static int
rejoin_all(struct service *s, int64_t now_ms, struct error *err)
{
    CLEANUP(store_abandon) struct store *txn = NULL;
    struct vm_uuid after;
    struct page page;
    size_t all = 0;

    if (store_begin(s->store, &txn, err) < 0)
        return -1;
    do {
        page.n = 0;
        if (store_vm_list_moves(s->store, all ? &after : NULL, PAGE, take_uuid, &page, err) < 0)
            return -1;
        for (size_t i = 0; i < page.n; i++) {
            if (rejoin(s, &page.uuids[i], now_ms, err) < 0)
                return -1;
        }
        if (page.n > 0)
            after = page.uuids[page.n - 1];
        all += page.n;
    } while (page.n == PAGE);
    if (store_commit(txn, err) < 0)
        return -1;
    if (all > 0)
        log_notice("event=rejoined moves=%zu", all);
    return 0;
}

int
grace_end(struct service *s, int64_t now_ms, struct error *err)
{
    if (!s->was_grace || service_in_grace(s, now_ms, NULL))
        return 0;
    if (rejoin_all(s, now_ms, err) < 0)
        return -1;
    s->was_grace = false;
    return 0;
}
