/* PROVE, from any guest: what decodes encodes to the same proof. */
#include "config.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/wire/proof_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prove *p = calloc(1, sizeof *p), *again = calloc(1, sizeof *again);
    struct buf body = BUF(2 * PROVE_BODY_MAX);
    struct error err = { 0 };

    if (p && again && prove_decode((const char *)data, size, p, &err) == 0 &&
        prove_encode(p, &body, &err) == 0 &&
        (prove_decode((const char *)body.data, body.len, again, &err) < 0 ||
         memcmp(p, again, sizeof *p) != 0))
        abort();
    buf_clear(&body);
    free(again);
    free(p);
    return 0;
}
