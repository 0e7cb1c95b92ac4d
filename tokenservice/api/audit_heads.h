/*
 * audit_heads.h - the audit's newest record is signed by the signer, again and again, and that is a record too
 *
 * Every HEAD_EVERY_MS or HEAD_RECORDS records, when there is something new; not in grace.  At the start the database is
 * held against the newest head that was signed: a database that lacks its record is an older one and is recovered
 * (recovery.h), one that has another record in its place was changed, and the service does not start.
 * docs/DECISIONS/032.
 */
#pragma once

#include "tokenservice/api/service_state.h"

enum { HEAD_EVERY_MS = 60000, HEAD_RECORDS = 500 };

/* What the database has of the newest signed head. */
enum audit_found { AUDIT_AS_SIGNED, AUDIT_OLDER, AUDIT_OTHER };

/*
 * Before anything is added at the start; OLDER begins the recovery of a restored database.  ERROR_DENIED "audit-broken":
 * the database is empty, and no operator said that it was lost.
 */
int audit_heads_compare(struct service *service, enum audit_found *ret, struct error *err);
/*
 * Behind recovery_start().  In recovery a new line begins, once for each, and with each word of an operator's.
 * ERROR_DENIED "audit-broken": the audit is another than was signed, and no operator said that the database was restored.
 */
int audit_heads_start(struct service *service, enum audit_found found, struct error *err);
/* Every few seconds.  What can not be signed is in the log, once, and tried again each minute. */
void audit_heads_look(struct service *service);
