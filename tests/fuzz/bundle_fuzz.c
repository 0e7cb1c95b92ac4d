#include "config.h"

#include <assert.h>
#include <string.h>

#include "lib/wire/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Under the one before it: only a newer one, of the same issuer, signed by a CA of that. */
static void
follow(const uint8_t *data, size_t size, struct bundle held)
{
    static struct bundle b;
    struct error err;

    assert(bundle_accept(&held, data, size, &b, &err) < 0);
    held.serial--;
    assert(bundle_accept(&held, data, size, &b, &err) == 0);
    memcpy(held.ca_next, held.ca_now, held.ca_now_len);
    held.ca_next_len = held.ca_now_len;
    held.ca_now[held.ca_now_len / 2] ^= 1;
    (void)bundle_accept(&held, data, size, &b, &err); /* by its next CA */
    held.ca_next_len = 0;
    held.ca_now_len = 1;
    assert(bundle_accept(&held, data, size, &b, &err) < 0);
    held.issuer[0]++;
    assert(bundle_accept(&held, data, size, &b, &err) < 0);
}

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
    if (bundle_accept(NULL, data, size, &accepted, &err) == 0)
        follow(data, size, accepted);
    return 0;
}
