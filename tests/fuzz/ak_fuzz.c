/*
 * ak_fuzz.c - an AK's public area, as a guest sends it
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "lib/crypto/hash.h"
#include "lib/tpm/tpm_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    uint8_t point[65], name[TPM_NAME_LEN], hash[32];
    struct error err;

    if (tpm_ak_check(bytes, len, point, name, &err) < 0)
        return 0;
    /* What was taken is our template around this point, and the name is its own. */
    if (len != TPM_AK_PUBLIC_LEN || memcmp(bytes + 22, point + 1, 32) != 0 ||
        memcmp(bytes + 56, point + 33, 32) != 0 || hash_sha256(bytes, len, hash, &err) < 0 ||
        memcmp(name + 2, hash, 32) != 0)
        abort();
    return 0;
}
