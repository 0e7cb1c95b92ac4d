/*
 * audit_record.h - one decision of the token service, as its audit keeps and shows it
 *
 * Each record's hash covers the one before it (docs/PROTOCOL-proof.md, label virtid-audit-1):
 * what was kept elsewhere shows whether the service's records were changed since.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/error.h"
#include "lib/common/json.h"
#include "lib/wire/vm_uuid.h"

enum { AUDIT_WORD_MAX = 32, AUDIT_WHO_MAX = 100, AUDIT_TEXT_MAX = 200, AUDIT_HASH = 32 };

/* A page by `who` or `what` alone looks at so many records: whoever asks must not hold up everybody else. */
enum { AUDIT_SCAN = 100000 };

struct audit_record {
    int64_t id, ms;
    char who[AUDIT_WHO_MAX + 1]; /* "host NAME", "guest", "admin UID" */
    char what[AUDIT_WORD_MAX + 1];
    bool has_uuid;
    struct vm_uuid uuid;
    char problem[AUDIT_WORD_MAX + 1]; /* "" if it was done */
    char why[AUDIT_TEXT_MAX + 1], seen[AUDIT_TEXT_MAX + 1],
        expected[AUDIT_TEXT_MAX + 1];
    uint8_t hash[AUDIT_HASH]; /* of a record that was read; what is appended gets its own */
};

/*
 * SHA-256 of F("virtid-audit-1", hash of the record before (32 zeros before the first), id, ms,
 * who, what, uuid, problem, why, seen, expected).
 */
int audit_record_hash(const uint8_t before[static AUDIT_HASH], const struct audit_record *r,
                      uint8_t ret[static AUDIT_HASH], struct error *err);

/* {"id","time","who","what","hash","uuid"?,"problem"?,"why"?,"seen"?,"expected"?}, at the end of an array. */
int audit_record_append(json_t *array, const struct audit_record *r, struct error *err);
/* The same as text, for a line of a log: without any memory but `into`'s. */
void audit_record_print(const struct audit_record *r, struct buf *into);
/* Such an object back. ERROR_INPUT: it is not exactly such an object. */
int audit_record_read(const json_t *object, struct audit_record *ret, struct error *err);
