#include "config.h"

#include <assert.h>
#include <string.h>

#include "lib/wire/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct bundle b, accepted;
    CLEANUP(buf_clear) struct buf again = BUF(BUNDLE_MAX);
    struct error err;

    if (bundle_decode(data, size, &b, &err) == 0) {
        assert(bundle_message(&b, &again, &err) == 0);
        assert(again.len + 64 == size && memcmp(again.data, data, again.len) == 0);
    }
    (void)bundle_accept(NULL, data, size, &accepted, &err);
    return 0;
}
