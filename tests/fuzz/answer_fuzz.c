/* What a token service answers, seen from the guest. */
#include "config.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "lib/wire/proof_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct answer *a = calloc(1, sizeof *a);
    struct buf body = BUF(2 * TOKEN_MAX);
    struct error err = { 0 };

    if (a && answer_decode((const char *)data, size, a, &err) == 0 &&
        answer_encode(a, &body, &err) < 0)
        abort();
    buf_clear(&body);
    free(a);
    return 0;
}
