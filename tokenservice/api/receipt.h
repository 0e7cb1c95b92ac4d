/*
 * receipt.h - what a host keeps of a VM for us, signed: its lease, and the account of a VM that it has
 *
 * docs/PROTOCOL-lease.md, Receipts: F("virtid-receipt-1", F(record, row_ver, row, mac, EK)) || signature.  Only the
 * host that has the VM, or had it last, gets the account: a row holds what the next step of its TPM needs.
 *
 * Not here: what becomes of one that is newer than the database (recovery.h).
 */
#pragma once

#include "tokenservice/api/vm_account.h"

struct receipt {
    struct vm_uuid uuid;
    struct lease_record lease;
    uint64_t row_ver; /* 0: without account, and nothing below is set */
    uint8_t row[ROW_MAX], mac[ROW_MAC_LEN];
    size_t row_len;
    struct identity_row id;
    uint8_t ek[EK_PUBLIC_MAX];
    size_t ek_len;
};

/* May this host keep the account: does it hold the lease, or was it the last that did?  A candidate only says so. */
bool receipt_has_account(const struct vm_account *account, const char *host);

/* Appends a receipt of `account`, as it is stored now. */
int receipt_make(struct service *service, const struct vm_account *account, bool with_account, struct buf *into,
                 struct error *err);

/* ERROR_DENIED "refused": this service has not made it.  ERROR_SYSTEM: could not look. */
int receipt_open(struct service *service, const uint8_t *bytes, size_t len, struct receipt *ret, struct error *err);
