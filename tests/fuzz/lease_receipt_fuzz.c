#include "config.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tokenservice/lease/lease_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* What is taken for a record is written as one that is taken for the same. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    CLEANUP(buf_clear) struct buf again = BUF(4096);
    struct fields f = { bytes, len };
    struct lease_record first, second;
    struct vm_uuid uuid, same;
    struct error err = { 0 };

    if (lease_receipt_take(&f, &uuid, &first, &err) < 0)
        return 0;
    lease_receipt(&first, &uuid, &again);
    assert(buf_ok(&again));
    f = (struct fields){ again.data, again.len };
    assert(lease_receipt_take(&f, &same, &second, &err) == 0 && f.left == 0);
    assert(memcmp(&first, &second, sizeof first) == 0 && vm_uuid_equal(&uuid, &same));
    return 0;
}
