#include "config.h"

#include <assert.h>
#include <string.h>

#include "lib/wire/priv_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is taken has one spelling: it encodes to the same bytes. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(buf_clear) struct buf again = BUF(PRIV_PACKET_MAX);
    struct priv_request r;
    struct error err;

    if (priv_request_decode(data, size, &r, &err) < 0)
        return 0;
    assert(priv_request_encode(&r, &again, &err) == 0);
    assert(again.len == size && memcmp(again.data, data, size) == 0);
    return 0;
}
