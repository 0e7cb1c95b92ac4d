/* Frames of the channel, in pieces of the first byte's size. */
#include "config.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "lib/wire/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame_reader r = FRAME_READER();
    size_t piece = size > 0 ? 1 + data[0] * 64u : 1, n;
    volatile uint8_t sink = 0;
    struct frame f;

    for (size_t at = size > 0; at < size; at += n) {
        n = size - at < piece ? size - at : piece;
        if (n > frame_room(&r))
            abort(); /* the reader promises room after all frames are taken */
        frame_feed(&r, data + at, n);
        while (frame_next(&r, &f)) {
            if (f.len > FRAME_PAYLOAD_MAX || f.type < FRAME_WHO || f.type > FRAME_STALE)
                abort();
            for (size_t i = 0; i < f.len; i++)
                sink ^= f.payload[i];
        }
    }
    frame_reader_clear(&r);
    return 0;
}
