/*
 * copied.h - a VM that comes with a copy of another one's vTPM state, under a UUID of its own
 *
 * It enrolls without that factor, and an operator is told whose TPM it is and how it gets one of its own
 * (renewing.h).  The original is as it was: nothing of it is read but its name.
 */
#pragma once

#include "tokenservice/api/vm_account.h"
#include "tokenservice/attest/proof_check.h"

/*
 * Has another VM the EK that `p` shows?  Into *into, for the judge.  Asked for every proof, of known and unknown VMs
 * alike: nobody's signature was looked at yet (CHECKS C26).
 */
int copied_look(struct service *service, const struct prove *p, struct proof_account *into, struct error *err);

/* The account leaves `pending` so: into its row, to be saved, and into the audit. */
int copied_take(struct service *service, struct api_call *call, struct vm_account *account,
                const struct vm_uuid *owner, struct error *err);

/* The step of `virtid why`, while it has no TPM of its own. */
int copied_step(struct service *service, const struct vm_account *account, json_t *steps, struct error *err);
