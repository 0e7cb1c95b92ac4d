#include "config.h"

#include "tokenservice/api/decision.h"

#include <string.h>

#include "lib/common/log.h"

/* Text that came from outside may be anything: printable ASCII is kept, the rest
 * becomes '?'. */
static void
copy_text(char *ret, size_t max, const char *text)
{
    size_t len = text ? strnlen(text, max) : 0;

    for (size_t i = 0; i < len; i++)
        ret[i] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
    ret[len] = '\0';
}

/*
 * What operators say is also in the log, which is kept elsewhere: when the database is lost, with what it said
 * since the newest backup, `virtid recovery show --audit` reads it there.
 */
static void
log_operator(const struct audit_record *r)
{
    char uuid[VM_UUID_TEXT + 6] = "";

    if (strncmp(r->who, "admin ", 6) != 0)
        return;
    if (r->has_uuid) {
        memcpy(uuid, " uuid=", 6);
        vm_uuid_print(&r->uuid, uuid + 6);
    }
    log_notice("event=audit time=%lld who=\"%s\" what=%s%s why=\"%s\" seen=\"%s\" expected=\"%s\"", (long long)r->ms,
               r->who, r->what, uuid, r->why, r->seen, r->expected);
}

int
decision_add(struct service *s, const struct api_call *call, const struct decision *d,
             struct error *err)
{
    struct audit_record record = { .ms = call->now_ms };

    copy_text(record.who, AUDIT_WHO_MAX, call->who[0] ? call->who : "guest");
    copy_text(record.what, AUDIT_WORD_MAX, d->what);
    copy_text(record.problem, AUDIT_WORD_MAX, d->problem);
    copy_text(record.why, AUDIT_TEXT_MAX, d->why);
    copy_text(record.seen, AUDIT_TEXT_MAX, d->seen);
    copy_text(record.expected, AUDIT_TEXT_MAX, d->expected);
    record.has_uuid = d->uuid != NULL;
    if (d->uuid)
        record.uuid = *d->uuid;
    if (record.ms > s->newest_ms)
        s->newest_ms = record.ms;
    if (call->host.name[0])
        rate_spend(s->rates, RATE_HOST_RECORD, call->host.name, strlen(call->host.name),
                   call->now_ms);
    log_operator(&record);
    return store_audit_add(s->store, &record, err);
}

int
decision_allowed(struct service *s, const struct api_call *call, struct error *err)
{
    if (service_check_clock(s, call->now_ms, err) < 0)
        return -1;
    return rate_check(s->rates, RATE_HOST_RECORD, call->host.name,
                      strlen(call->host.name), call->now_ms, err);
}

int
decision_add_seldom(struct service *s, const struct api_call *call,
                    const struct decision *d, bool *ret_new, struct error *err)
{
    bool had = false;

    if (store_audit_since(s->store, d->uuid, call->who, d->what,
                          d->problem ? d->problem : "",
                          call->now_ms - DECISION_EVERY_MS, &had, err) < 0)
        return -1;
    *ret_new = !had;
    return had ? 0 : decision_add(s, call, d, err);
}
