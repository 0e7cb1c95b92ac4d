#include "config.h"

#include <assert.h>
#include <string.h>

#include "lib/wire/inject_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(buf_clear) struct buf again = BUF(INJECT_PACKET_MAX);
    struct inject_msg m;
    struct error err;

    if (inject_msg_decode(data, size, &m, &err) < 0)
        return 0;
    assert(inject_msg_encode(&m, &again, &err) == 0);
    assert(again.len == size && memcmp(again.data, data, size) == 0);
    return 0;
}
