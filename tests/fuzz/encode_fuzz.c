#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/encode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One value, one spelling: what decodes encodes to exactly the input. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *bytes = malloc(size + 1);
    char *text = malloc(2 * size + 8);
    struct error err;
    size_t len;

    assert(bytes && text);
    if (b64url_decode((const char *)data, size, bytes, size, &len, &err) == 0) {
        b64url_encode(bytes, len, text);
        assert(strlen(text) == size && memcmp(text, data, size) == 0);
    }
    if (hex_decode((const char *)data, size, bytes, size, &len, &err) == 0) {
        hex_encode(bytes, len, text);
        assert(strlen(text) == size && memcmp(text, data, size) == 0);
    }
    b64_encode(data, size, text);
    assert(strlen(text) == (size + 2) / 3 * 4);
    free(bytes);
    free(text);
    return 0;
}
