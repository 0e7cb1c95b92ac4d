#include "config.h"

#include "tokenservice/api/accepting.h"

#include <stdio.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/log.h"
#include "tokenservice/api/decision.h"
#include "tokenservice/api/pulls.h"

enum { BY_ITSELF_EVERY_MS = 24 * 3600 * 1000 };

void
accepting_give(struct vm_account *a, int64_t now_ms)
{
    a->id.grant = (struct row_grant){ .given = true, .ends_ms = now_ms + GRANT_LIFE_MS, .shown = a->id.seen.shown };
}

void
accepting_tell(struct service *s, const struct vm_account *a)
{
    char asker[NAME_HOST_MAX + 1], uuid[VM_UUID_TEXT];
    bool is_new = false;

    vm_uuid_print(&a->id.uuid, uuid);
    snprintf(asker, sizeof asker, "accept:%s", uuid); /* nobody waits for it: its renewal would do */
    /* An earlier question that has ended is in its place: the second call asks anew. */
    if (pulls_ask(s->pulls, a->stored.lease.hol, &a->id.uuid, asker, clock_monotonic_ms(), &is_new) != PULL_ASKED)
        (void)pulls_ask(s->pulls, a->stored.lease.hol, &a->id.uuid, asker, clock_monotonic_ms(), &is_new);
    if (is_new)
        service_wake(s, "pull", a->stored.lease.hol);
}

bool
accepting_waits_for(const struct vm_account *a, const char *host, uint64_t e, const struct lease_now *now)
{
    const struct lease_record *lease = &a->stored.lease;
    const struct row_grant *grant = &a->id.grant;

    return !now->grace && grant->given && grant->epoch == 0 && now->now_ms < grant->ends_ms &&
           lease->st == LEASE_RUNS && strcmp(lease->hol, host) == 0 && e == lease->ep && a->id.epoch == lease->ep;
}

void
accepting_begin(struct vm_account *a)
{
    if (a->stored.lease.st != LEASE_RUNS || a->stored.lease.ep <= a->id.epoch)
        return;
    a->id.grant.from = a->id.epoch;
    a->id.grant.epoch = a->stored.lease.ep;
}

bool
accepting_has_begun(const struct vm_account *a, const char *host, uint64_t e)
{
    const struct lease_record *lease = &a->stored.lease;
    const struct row_grant *grant = &a->id.grant;

    return grant->given && grant->epoch != 0 && grant->epoch == lease->ep && e == grant->from &&
           lease->st != LEASE_FREE && lease->out == LEASE_OUT_NO && strcmp(lease->hol, host) == 0;
}

int
accepting_record(struct service *s, struct api_call *call, const struct vm_account *a, struct error *err)
{
    struct decision d = { .uuid = &a->id.uuid, .what = "accepted" };
    char seen[40], uuid[VM_UUID_TEXT];

    snprintf(seen, sizeof seen, "gen %llu", (unsigned long long)a->id.gen);
    d.seen = seen;
    vm_uuid_print(&a->id.uuid, uuid);
    log_notice("event=accepted uuid=%s gen=%llu", uuid, (unsigned long long)a->id.gen);
    return decision_add(s, call, &d, err);
}

static bool
may_by_itself(const struct vm_account *a, int64_t now_ms)
{
    const struct identity_row *id = &a->id;

    return (id->ratchet & ROW_RATCHET_AUTO) && id->seen.has && id->seen.behind == RATCHET_KEY && !id->grant.given &&
           a->stored.lease.st == LEASE_RUNS &&
           (id->restored_ms == 0 || now_ms - id->restored_ms >= BY_ITSELF_EVERY_MS);
}

int
accepting_by_itself(struct service *s, struct api_call *call, struct vm_account *a, bool *ret_given,
                    struct error *err)
{
    struct decision d = { .what = "restored", .uuid = &a->id.uuid };
    char uuid[VM_UUID_TEXT];

    *ret_given = false;
    if (!may_by_itself(a, call->now_ms))
        return 0;
    accepting_give(a, call->now_ms);
    a->id.restored_ms = call->now_ms;
    if (vm_account_save(s, a, err) < 0 || decision_add(s, call, &d, err) < 0)
        return -1;
    vm_uuid_print(&a->id.uuid, uuid);
    log_notice("event=restored uuid=%s", uuid);
    *ret_given = true;
    return 0;
}
