#include "config.h"

#include <assert.h>

#include "lib/wire/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(jwks_free) struct jwks *jwks = NULL;
    struct error err;

    if (jwks_parse((const char *)data, size, &jwks, &err) == 0)
        assert(jwks_count(jwks) >= 1 && jwks_count(jwks) <= JWKS_KEYS_MAX);
    return 0;
}
