#include "config.h"

#include <assert.h>

#include "lib/wire/fields.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is taken never lies outside, and written again is the input. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(buf_clear) struct buf again = BUF(1 << 18);
    struct fields f = { data, size };
    const uint8_t *bytes;
    char text[65];
    struct error err;
    size_t len;

    while (f.left > 0) {
        struct fields ahead = f;

        (void)fields_take_text(&ahead, 1, 64, text, &err);
        if (fields_take(&f, 0, FIELD_MAX, &bytes, &len, &err) < 0)
            break;
        assert(bytes >= data && bytes + len <= data + size);
        fields_add(&again, bytes, len);
    }
    if (f.left == 0 && buf_ok(&again))
        assert(again.len == size);
    return 0;
}
