/*
 * retire.h - the end of an identity, and a new one under the same UUID
 *
 * A retired account stays as a tombstone: no lease, no token, its EK and secret are nobody else's, and
 * its UUID is claimed by nobody.  Nothing is retired by absence; only an operator does it, and undoes it
 * by placing the UUID with `reincarnate` (docs/DECISIONS/014).
 */
#pragma once

#include "tokenservice/api/vm_account.h"

/* ERROR_DENIED "retired": it is, and `reincarnate` was not said; "conflict": that was said of one that is not. */
int retire_check(const struct vm_account *account, bool reincarnate, struct error *err);

/* What a host says of a retired VM changes nothing but this: a lease that is left ends (not in grace). */
void retire_end_lease(struct vm_account *account, const struct lease_now *now);

/*
 * A pending account with nothing of the one before but its UUID and name, and the next generation.  To be
 * saved and committed by the caller; the audit's record of it is made here.
 */
int retire_undo(struct service *service, struct api_call *call, struct vm_account *account, struct error *err);
