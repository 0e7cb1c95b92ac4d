/*
 * attest_fuzz.c - quote and certify, as a guest sends them; the first 32 bytes are the hash asked for
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "lib/tpm/tpm_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct tpm_attest a;
    struct error err;

    if (len < 32)
        return 0;
    if (tpm_quote_read(bytes + 32, len - 32, bytes, &a, &err) == 0 &&
        (len != 32 + 145 || memcmp(a.extra, bytes, 32) != 0))
        abort();
    if (tpm_certify_read(bytes + 32, len - 32, bytes, &a, &err) == 0 &&
        (len != 32 + 173 || memcmp(a.extra, bytes, 32) != 0))
        abort();
    return 0;
}
