/*
 * vm_account.h - one VM, read once in a transaction: its row, opened and believed, and
 * its lease
 *
 * What is in the row is true only after the signer has checked its MAC; the EK beside
 * it only if its digest is the row's (CHECKS C3, C35).
 */
#pragma once

#include "tokenservice/api/route.h"
#include "tokenservice/attest/ratchet.h"

struct vm_account {
    struct store_vm stored;
    struct identity_row id;
    bool stored_already;
    bool yields; /* what is changed now is no word against a receipt that is newer than what it was changed from */
};

/* ERROR_MISSING: there is none.  ERROR_DENIED "row-forged": somebody else wrote in the
 * database. */
int vm_account_load(struct service *service, const struct vm_uuid *uuid,
                    struct vm_account *ret, struct error *err);
/* The one with this UUID or name. ERROR_MISSING "not-found"; ERROR_INPUT: the name is
 * of several. */
int vm_account_find(struct service *service, const char *uuid_or_name,
                    struct vm_account *ret, struct error *err);
/* Open and check what was read already (lists). */
int vm_account_open(struct service *service, const struct store_vm *stored,
                    struct vm_account *ret, struct error *err);
/* Pending, with nothing but its UUID, claimed by nobody. */
void vm_account_new(const struct vm_uuid *uuid, int64_t now_ms, struct vm_account *ret);

/* The ratchets as the judge wants them, and back. */
void vm_account_ratchet(const struct identity_row *row, struct ratchet *ret);
void vm_account_take_ratchet(struct identity_row *row, const struct ratchet *ratchet);

/* What a host said of a VM that has not proved itself yet is void. */
void vm_account_forget_claim(struct vm_account *account);

/* Puts the lease's newest grant into the row, has it MACed, and stores all of it. */
int vm_account_save(struct service *service, struct vm_account *account,
                    struct error *err);

/* The moment, as the lease's operations on this account want it. */
struct lease_now vm_account_now(struct service *service, const struct vm_account *account, int64_t now_ms);

/* ERROR_DENIED "foreign", "claimed" or "stale-epoch": `host` does not hold the lease in
 * this epoch, now. */
int vm_account_check_holder(struct service *service, const struct vm_account *account,
                            const char *host, uint64_t epoch, int64_t now_ms,
                            struct error *err);

/* {"uuid","name","state","host","lease",...} for operators and the VM's own host. */
json_t *vm_account_show(struct service *service, const struct vm_account *account,
                        int64_t now_ms);
/* The same of what was read for a list, into the array; a row that somebody forged is shown as such, not left out. */
int vm_account_list(struct service *service, const struct store_vm *stored, int64_t now_ms, json_t *into,
                    struct error *err);
/* As above with all settings and the steps of `virtid why`. */
int vm_account_show_all(struct service *service, const struct vm_account *account,
                        int64_t now_ms, json_t **ret, struct error *err);
