/*
 * recovery.h - the database is an older one: what hosts can show that it lacks is taken over, and until an operator
 * has looked, nobody is enrolled and nothing is placed
 *
 * DESIGN 5, "Service lost"; docs/RECOVERY.md.  It begins with the first receipt or host certificate that is ours and
 * newer than the database (that is what a restored backup looks like), with a database that lacks what the signer has
 * signed of its audit (audit_heads.h), or with the option --recovery; it is in the database until it is finished.
 *
 * Not here: the receipts themselves (receipt.h), leases while hosts are waited for (grace, service_state.h).
 */
#pragma once

#include "lib/crypto/x509.h"
#include "tokenservice/api/receipt.h"

/* At the start of the service: is there one, or does the option begin one? */
int recovery_start(struct service *service, struct error *err);

/* ERROR_BUSY "recovery": what would enrol or place a VM waits. */
int recovery_check(const struct service *service, struct error *err);

enum recovery_taken { RECOVERY_KNOWN, RECOVERY_TAKEN, RECOVERY_REFUSED };

/*
 * Lease and account, each where the receipt has the newer one; within the caller's transaction.
 * REFUSED: its keys are another VM's by now (recorded), or it is of a VM that is not known and has no account in it.
 */
int recovery_take(struct service *service, struct api_call *call, const struct receipt *receipt,
                  enum recovery_taken *ret, struct error *err);

/* `what` shows that the database lacks something: now it is one that is recovered. Within a transaction. */
int recovery_begin(struct service *service, struct api_call *call, const char *what, struct error *err);

/* Was this certificate made after the last thing that the database knows? */
bool recovery_is_later(const struct service *service, const struct x509_info *cert);

/* An operator has looked: everything goes on. Within a transaction; after its commit, recovery_ended(). */
int recovery_end(struct service *service, struct error *err);
void recovery_ended(struct service *service, int64_t now_ms);
