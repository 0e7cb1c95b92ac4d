#include "config.h"

#include <assert.h>
#include <string.h>

#include "lib/common/encode.h"
#include "lib/wire/pop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Nobody finds a signature over this place by chance. */
static void
check(const struct pop *pop)
{
    static const uint8_t bytes[POP_NONCE_LEN];
    const struct pop_place place = { "shop", bytes, bytes };
    uint8_t thumbprint[KEY_THUMBPRINT_LEN];
    struct error err;

    assert(pop_check(pop, NULL, &place, &err) < 0 && err.code == ERROR_DENIED);
    assert(pop_check(pop, bytes, &place, &err) < 0);
    if (key_thumbprint(pop->point, thumbprint, &err) == 0)
        assert(pop_check(pop, thumbprint, &place, &err) < 0);
}

static void
read_hex(const uint8_t *data, size_t size)
{
    char text[HEX_LEN(POP_NONCE_LEN) + 2] = "";
    uint8_t bytes[POP_NONCE_LEN];
    struct error err;

    memcpy(text, data, size < sizeof text - 1 ? size : sizeof text - 1);
    if (pop_read_hex("nonce", text, bytes, &err) == 0)
        assert(strlen(text) == HEX_LEN(POP_NONCE_LEN));
}

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
        check(&pop);
    }
    read_hex(data, size);
    return 0;
}
