#include "config.h"

#include "tokenservice/api/placing.h"

#include <stdio.h>
#include <string.h>

#include "lib/common/clock.h"

int
placing_check_host(struct service *s, const char *name, struct store_host *ret, struct error *err)
{
    if (store_host_find(s->store, name, ret, err) < 0)
        return err->code == ERROR_MISSING
                   ? error_problem(err, ERROR_MISSING, "not-found", "no host \"%.63s\"", name)
                   : -1;
    if (ret->state != HOST_JOINED)
        return error_problem(err, ERROR_DENIED, "conflict", "host %s is %s, not joined", name,
                             store_host_state_name(ret->state));
    return 0;
}

/* Nobody waits for a host that never said a word of this VM: it may not even know it yet. */
static int
judge_silence(struct service *s, const struct vm_account *a, const char *host, enum placing_state *ret,
              struct error *err)
{
    struct store_seq seq;

    if (store_seq_get(s->store, &a->id.uuid, host, &seq, err) < 0)
        return -1;
    *ret = seq.boot[0] ? PLACING_SILENT : PLACING_READY;
    return 0;
}

int
placing_ask(struct service *s, struct api_call *call, const struct vm_account *a, const char *host,
            enum placing_state *ret, struct error *err)
{
    char asker[NAME_HOST_MAX + 1], uuid[VM_UUID_TEXT];
    bool is_new = false;
    enum pull_state asked;

    *ret = PLACING_READY;
    if (!a->stored_already)
        return 0;
    vm_uuid_print(&a->id.uuid, uuid);
    snprintf(asker, sizeof asker, "place:%s", uuid); /* no host has such a name */
    asked = pulls_ask(s->pulls, host, &a->id.uuid, asker, clock_monotonic_ms(), &is_new);
    if (is_new)
        service_wake(s, "pull", host);
    if (asked == PULL_ANSWERED)
        return 0;
    if (asked == PULL_SILENT)
        return judge_silence(s, a, host, ret, err);
    call->reply->park_ms = PULL_MS;
    snprintf(call->reply->park_key, sizeof call->reply->park_key, "handover %s", asker);
    *ret = PLACING_ASKED;
    return 0;
}
