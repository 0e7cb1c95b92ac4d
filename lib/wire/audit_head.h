/*
 * audit_head.h - a head of the audit that the signer has signed, and the record in which it stands
 *
 * The signer's key is not on hand to whoever can write the database: records that were changed and hashed anew do
 * not fit the heads that were signed over them (docs/PROTOCOL-signer.md, HEAD; docs/WATCHING.md).  A head stands in
 * the audit as the record behind the one that it is of, so it goes wherever the records go.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/common/error.h"
#include "lib/crypto/key.h"
#include "lib/wire/audit_record.h"

/* What the record is called; nothing else is. */
#define AUDIT_HEAD_WHAT "head"

struct audit_head {
    uint64_t line; /* when the line that it is of began, in seconds since 1970: a restored database begins a new one */
    int64_t id;
    uint8_t hash[AUDIT_HASH]; /* of record `id` */
    int64_t ms;               /* by the signer's clock */
    uint8_t signature[KEY_SIGNATURE_LEN];
};

/* The signature is of F("virtid-audit-head-1", line, id, hash, ms). */
int audit_head_sign(struct audit_head *head, const struct key *key, struct error *err);
/* ERROR_DENIED: it was not signed with this key. */
int audit_head_check(const struct audit_head *head, const struct key *key, struct error *err);

bool audit_head_is(const struct audit_record *record);
/* Fills what, seen ("LINE ID MS HASH") and expected (the signature); the rest is the caller's. */
void audit_head_put(const struct audit_head *head, struct audit_record *record);
/* Back from such a record; one head has one spelling.  ERROR_INPUT: it is none. */
int audit_head_read(const struct audit_record *record, struct audit_head *ret, struct error *err);
