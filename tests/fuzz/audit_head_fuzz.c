#include "config.h"

#include <assert.h>
#include <string.h>

#include "lib/wire/audit_head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy's line: its record, and the head in it, which has one spelling. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(json_decref) json_t *o = NULL;
    struct audit_record r, again = { 0 };
    struct audit_head head;
    struct error err;

    json_begin();
    if (json_parse((const char *)data, size, &o, &err) < 0 || audit_record_read(o, &r, &err) < 0 ||
        audit_head_read(&r, &head, &err) < 0)
        return 0;
    audit_head_put(&head, &again);
    assert(strcmp(again.seen, r.seen) == 0 && strcmp(again.expected, r.expected) == 0);
    return 0;
}
