/*
 * accepting.h - an operator's word that a refused state of a VM is the right one, on its way to the VM
 *
 * docs/PROTOCOL-proof.md, 5, Accept.  The grant is given for exactly what was seen; it begins when the VM's host
 * next says that it runs there: then the lease is granted to that host in a new epoch, as to a run that has none,
 * so that every proof of before is dead.  It is good in that epoch alone.
 */
#pragma once

#include "tokenservice/api/vm_account.h"

/* For what account->id.seen has.  To be saved, committed, and followed by accepting_tell(). */
void accepting_give(struct vm_account *account, int64_t now_ms);
/* The VM's host reports at once, if it can be asked. */
void accepting_tell(struct service *service, const struct vm_account *account);

/* Does a report of `host` that it runs in epoch `e` begin the grant? */
bool accepting_waits_for(const struct vm_account *account, const char *host, uint64_t e, const struct lease_now *now);
/* The lease has a new epoch: the grant's. */
void accepting_begin(struct vm_account *account);
/* Is it the report of the run that began the grant, which has not heard so?  Its epoch is the record's. */
bool accepting_has_begun(const struct vm_account *account, const char *host, uint64_t e);

/* A proof was let in by it: the audit's record. */
int accepting_record(struct service *service, struct api_call *call, const struct vm_account *account,
                     struct error *err);

/*
 * `restore=auto`: the service gives it by itself, for the disk alone, once a day.  *ret_given: saved, to be
 * committed, and followed by accepting_tell().
 */
int accepting_by_itself(struct service *service, struct api_call *call, struct vm_account *account,
                        bool *ret_given, struct error *err);
