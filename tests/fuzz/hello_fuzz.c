/* HELLO, and the bundle in it. */
#include "config.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/wire/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hello *h = calloc(1, sizeof *h);
    struct bundle *b = calloc(1, sizeof *b);
    struct buf again = BUF(FRAME_PAYLOAD_MAX);
    struct error err = { 0 };

    if (h && b && hello_decode(data, size, h, &err) == 0) {
        /* One value, one spelling. */
        if (hello_encode(h, &again, &err) < 0 || again.len != size ||
            memcmp(again.data, data, size) != 0)
            abort();
        (void)bundle_accept(NULL, h->bundle, h->bundle_len, b, &err);
    }
    buf_clear(&again);
    free(b);
    free(h);
    return 0;
}
