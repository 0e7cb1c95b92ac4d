/*
 * host_saw.h - what a host saw of a state that was put back, for the audit and `virtid why`
 *
 * Evidence and no more: neither a lease nor a proof is judged by it, and a host that says nothing, or lies, changes
 * nothing but what is shown beside `disk-behind` and `tpm-behind`.
 */
#pragma once

#include "tokenservice/api/route.h"
#include "tokenservice/api/vm_account.h"

#define HOST_SAW "host-saw" /* kind of its audit records */

/*
 * A report says that of this VM: into the audit, once, if the host is one of the lease's.  Told again it is
 * nothing new, by its number, which is acknowledged in *seq as an end's is; `heard` is seq->ended of before the
 * report.  To be committed by the caller, who stores *seq.
 */
int host_saw_take(struct service *service, struct api_call *call, const struct lease_report_vm *vm,
                  const struct lease_record *lease, uint64_t heard, struct store_seq *seq, struct error *err);

/* "epoch N": what stands in `why` of the record, the lease's then. */
enum { HOST_SAW_EPOCH_MAX = 32 };
void host_saw_print_epoch(uint64_t epoch, char ret[static HOST_SAW_EPOCH_MAX]);

/* The step of `virtid why` for a record of this kind. */
void host_saw_step(const struct audit_record *record, json_t *steps);
