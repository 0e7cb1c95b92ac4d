#include "config.h"

#include "tokenservice/api/decision.h"

#include <string.h>

#include "lib/common/log.h"
#include "lib/wire/audit_record.h"

enum { RECORD_TEXT_MAX = 1900 /* each character of a text twice, and less than a line of the log */ };

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

void
decision_tell(const struct audit_record *record)
{
    CLEANUP(buf_clear) struct buf text = BUF(RECORD_TEXT_MAX);

    audit_record_print(record, &text);
    log_notice("event=audit %s", buf_ok(&text) && buf_text(&text) ? buf_text(&text) : "");
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
