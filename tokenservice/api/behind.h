/*
 * behind.h - what did it show? Of a proof that is `disk-behind` or `tpm-behind`, for the operator
 *
 * The VM's row keeps the newest such state of its epoch, so that an operator can accept exactly that
 * (accepting.h).  Each completed step is in the audit with the thumbprints of its key and its content of the
 * index (event "stepped"): what is put back is one of them, or none of this VM's.
 */
#pragma once

#include "tokenservice/api/route.h"
#include "tokenservice/api/vm_account.h"
#include "tokenservice/attest/proof_check.h"

enum { BEHIND_AGO_MAX = 32 };

/* "2 steps ago" or "unknown" */
void behind_print_ago(uint32_t ago, char ret[static BEHIND_AGO_MAX]);

/*
 * If the refusal `result` is one of these, adds which step that was to result->seen and keeps what was shown in
 * the account, stored if it is news.  To be committed by the caller.
 */
int behind_note(struct service *service, const struct prove *p, int64_t now_ms, struct vm_account *account,
                struct proof_result *result, struct error *err);

/* A step of the halves `stepped` is completed: which state that is, so that it is found again when a copy is put back. */
int behind_record_step(struct service *service, struct api_call *call, const struct vm_account *account,
                       unsigned stepped, struct error *err);
