#include "config.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tokenservice/mint/identity_row.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* Whatever decodes, encodes to the same bytes: one row, one MAC. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    CLEANUP(buf_clear) struct buf again = BUF(ROW_MAX);
    static struct identity_row row;
    struct error err = { 0 };

    if (identity_row_decode(bytes, len, &row, &err) < 0)
        return 0;
    assert(identity_row_encode(&row, &again, &err) == 0);
    assert(again.len == len && memcmp(again.data, bytes, len) == 0);
    return 0;
}
