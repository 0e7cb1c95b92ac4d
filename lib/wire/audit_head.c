#include "config.h"

#include "lib/wire/audit_head.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/common/encode.h"
#include "lib/wire/fields.h"

enum { MESSAGE_MAX = 128, HASH_TEXT = HEX_LEN(AUDIT_HASH) + 1, SIGNATURE_TEXT = B64URL_LEN(KEY_SIGNATURE_LEN) + 1 };

static void
add_message(const struct audit_head *head, struct buf *into)
{
    fields_add_text(into, "virtid-audit-head-1");
    fields_add_u64(into, head->line);
    fields_add_u64(into, (uint64_t)head->id);
    fields_add(into, head->hash, sizeof head->hash);
    fields_add_u64(into, (uint64_t)head->ms);
}

int
audit_head_sign(struct audit_head *head, const struct key *key, struct error *err)
{
    CLEANUP(buf_clear) struct buf message = BUF(MESSAGE_MAX);

    add_message(head, &message);
    if (!buf_ok(&message))
        return error_set(err, ERROR_SYSTEM, "no memory");
    return key_sign(key, message.data, message.len, head->signature, err);
}

int
audit_head_check(const struct audit_head *head, const struct key *key, struct error *err)
{
    CLEANUP(buf_clear) struct buf message = BUF(MESSAGE_MAX);

    add_message(head, &message);
    if (!buf_ok(&message))
        return error_set(err, ERROR_SYSTEM, "no memory");
    return key_verify(key, message.data, message.len, head->signature, err);
}

bool
audit_head_is(const struct audit_record *record)
{
    return strcmp(record->what, AUDIT_HEAD_WHAT) == 0;
}

void
audit_head_put(const struct audit_head *head, struct audit_record *record)
{
    char hash[HASH_TEXT], signature[SIGNATURE_TEXT];

    hex_encode(head->hash, sizeof head->hash, hash);
    b64url_encode(head->signature, sizeof head->signature, signature);
    strcpy(record->what, AUDIT_HEAD_WHAT);
    snprintf(record->seen, sizeof record->seen, "%" PRIu64 " %" PRId64 " %" PRId64 " %s", head->line, head->id, head->ms,
             hash);
    snprintf(record->expected, sizeof record->expected, "%s", signature);
}

int
audit_head_read(const struct audit_record *record, struct audit_head *ret, struct error *err)
{
    struct audit_head head = { 0 };
    struct audit_record again = { 0 };
    char hash[HASH_TEXT];
    size_t len = 0;

    if (!audit_head_is(record) || record->has_uuid || record->problem[0] ||
        sscanf(record->seen, "%20" SCNu64 " %19" SCNd64 " %19" SCNd64 " %64s", &head.line, &head.id, &head.ms, hash) != 4 ||
        head.id < 1 || head.ms < 0 || hex_decode(hash, strlen(hash), head.hash, sizeof head.hash, &len, err) < 0 ||
        b64url_decode(record->expected, strlen(record->expected), head.signature, sizeof head.signature, &len, err) < 0 ||
        len != sizeof head.signature)
        return error_set(err, ERROR_INPUT, "record %lld is no signed head", (long long)record->id);
    audit_head_put(&head, &again);
    if (strcmp(again.seen, record->seen) != 0 || strcmp(again.expected, record->expected) != 0)
        return error_set(err, ERROR_INPUT, "record %lld is no signed head", (long long)record->id);
    *ret = head;
    return 0;
}
