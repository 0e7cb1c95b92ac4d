#include "config.h"

#include <assert.h>
#include <string.h>

#include "lib/wire/pop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever is read has one spelling; what a token says of itself is read from anything. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pop pop;
    CLEANUP(buf_clear) struct buf again = BUF(POP_TEXT_MAX);
    char iss[NAME_ISSUER_MAX + 1], aud[NAME_AUDIENCE_MAX + 1];
    struct error err;

    if (pop_parse((const char *)data, size, &pop, &err) == 0) {
        assert(pop_print(&pop, &again, &err) == 0);
        assert(again.len == size && memcmp(again.data, data, size) == 0);
        if (token_peek(pop.token, strlen(pop.token), iss, aud, &err) == 0)
            assert(iss[0] && strlen(iss) < sizeof iss && aud[0] && strlen(aud) < sizeof aud);
    }
    return 0;
}
