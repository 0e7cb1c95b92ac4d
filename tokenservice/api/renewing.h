/*
 * renewing.h - a VM whose TPM was lost comes with a new one, on the host that an operator named
 *
 * docs/PROTOCOL-proof.md, 4, A new vTPM.  The right is one host's, for an hour, for the first EK that it registers.
 * What the VM had before goes on proving it until a proof with the new TPM is accepted; whichever is accepted first
 * ends the right.  It ends, too, when another host gets the lease or is named, and when the identity is not `ok` any
 * more (vm_account_save()).
 */
#pragma once

#include "tokenservice/api/vm_account.h"
#include "tokenservice/attest/proof_check.h"

enum { RENEWING_LIFE_MS = 3600 * 1000 };

/* May a word of an operator give it a new TPM?  ERROR_DENIED "conflict", "locked" or "retired": why not. */
int renewing_check(const struct vm_account *account, struct error *err);

/* The right, in place of one of before, for `host` alone, "": for the first of its pool that gets the lease. To be saved;
 * the audit's record of it is made here. */
int renewing_give(struct service *service, struct api_call *call, struct vm_account *account, const char *host,
                  struct error *err);
/* The caller's host got the lease of a VM that was for its pool: a right that was nobody's yet is its own. */
int renewing_bind(struct service *service, struct api_call *call, struct vm_account *account, struct error *err);
void renewing_end(struct vm_account *account);
bool renewing_is_open(const struct vm_account *account, int64_t now_ms);

/* What a host says that it has made. */
struct renewing_claim {
    const uint8_t *ek_digest, *x, *cur; /* cur NULL: it has made no secret */
    enum row_ek_origin ek_origin;
};

/*
 * The caller's host, which holds the lease, registers it.  Repeats are harmless.  ERROR_DENIED "ek-changed": it has
 * no right to, or has registered another; "secret-changed": another secret, or one in place of a key that is no TPM's.
 */
int renewing_register(struct service *service, struct api_call *call, struct vm_account *account,
                      const struct renewing_claim *claim, struct error *err);

/*
 * Is `p`, signed by `prover`, a proof with the new TPM?  Then *into, filled from `account`, becomes what the judge is
 * to hold it against.
 */
bool renewing_judges(const struct vm_account *account, const struct prove *p, const char *prover, int64_t now_ms,
                     struct proof_account *into);

/* Such a proof is accepted: the VM has that TPM, and the next generation.  renewing_end() follows. */
void renewing_take(struct vm_account *account, const struct prove *p, const struct proof_result *result);
/* The audit's record of it; `old_ek`: digest of the one before. */
int renewing_record(struct service *service, struct api_call *call, const struct vm_account *account,
                    const uint8_t old_ek[static ROW_EK_DIGEST_LEN], struct error *err);
