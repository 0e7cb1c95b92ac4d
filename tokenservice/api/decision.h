/*
 * decision.h - one record per decision: to the audit, in the decision's own transaction
 */
#pragma once

#include "tokenservice/api/route.h"

enum {
    DECISION_EVERY_MS = 3600000
}; /* repeated refusals: one record per VM, kind and hour */

struct decision {
    const char *what; /* "token", "refused", "enrolled", "lease", "joined", ... */
    const struct vm_uuid *uuid;        /* or NULL */
    const char *problem;               /* or NULL: it was done */
    const char *why, *seen, *expected; /* or NULL; made printable and cut */
};

/* Call within the transaction that makes the change. */
int decision_add(struct service *service, const struct api_call *call,
                 const struct decision *decision, struct error *err);

/*
 * One line of the log, event=audit and the record as it is shown elsewhere (lib/wire/audit_record.h), once it is durable: the
 * log, kept elsewhere, is a copy of the audit, and says what operators said when the database is lost.
 */
void decision_tell(const struct audit_record *record);

/* Asked before a host's change. ERROR_BUSY "rate-limited": it has made too many; "clock":
 * service_check_clock(). */
int decision_allowed(struct service *service, const struct api_call *call,
                     struct error *err);

/* As decision_add(), but nothing if this VM (without one: this caller) had such a record
 * within the hour; *ret_new says which. */
int decision_add_seldom(struct service *service, const struct api_call *call,
                        const struct decision *decision, bool *ret_new,
                        struct error *err);
