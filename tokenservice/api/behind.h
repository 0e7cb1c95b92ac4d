/*
 * behind.h - which step was that? Of a proof that is `disk-behind` or `tpm-behind`, for the operator
 *
 * Each completed step is in the audit with the thumbprints of its key and its content of the index (event
 * "stepped"): what is put back is one of them, or none of this VM's.
 */
#pragma once

#include "tokenservice/api/service_state.h"
#include "tokenservice/attest/proof_check.h"

/* Adds ", N steps ago" or ", unknown" to result->seen, if the refusal is one of these. */
int behind_describe(struct service *service, const struct prove *p, struct proof_result *result,
                    struct error *err);
