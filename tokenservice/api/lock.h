/*
 * lock.h - an operator withholds a VM's identity for a while
 *
 * A locked VM gets no token, no right and no new place by migration; its lease, its keys and its ratchets stay as they
 * are, and so does its machine (docs/DECISIONS/025).  Only an operator locks, and ends it.
 */
#pragma once

#include "tokenservice/api/vm_account.h"

/* ERROR_DENIED "retired" or "locked": not `ok`, nor `pending`. What nobody may be given while it is so. */
int lock_check(const struct vm_account *account, struct error *err);

/* The newest word that locked it, 0: there is none here. */
int lock_since(struct service *service, const struct vm_uuid *uuid, int64_t *ret_ms, struct error *err);

/*
 * `before` was the account here, and *account is what a receipt made of it, as of `receipt_ver`: a lock that was said later
 * than that stays. To be saved by the caller.
 */
int lock_keep(struct service *service, const struct identity_row *before, uint64_t receipt_ver, struct vm_account *account,
              struct error *err);

/* For operators alone: since when, by whom and why, as members and in the step `account` of `virtid why`. */
int lock_show(struct service *service, const struct vm_account *account, json_t *answer, struct error *err);
