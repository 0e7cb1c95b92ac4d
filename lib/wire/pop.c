#include "config.h"

#include "lib/wire/pop.h"

#include <ctype.h>
#include <string.h>

#include "lib/common/encode.h"
#include "lib/crypto/hash.h"
#include "lib/wire/transcript.h"

static int
message(const struct pop *pop, const struct pop_place *place, struct buf *into, struct error *err)
{
    uint8_t token_hash[SHA256_LEN];

    if (hash_sha256(pop->token, strlen(pop->token), token_hash, err) < 0)
        return -1;
    return transcript_pop_message(token_hash, place->verifier, place->nonce, place->exporter, into, err);
}

int
pop_sign(struct pop *pop, const struct key *key, const struct pop_place *place, struct error *err)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(TRANSCRIPT_MAX);

    key_point(key, pop->point);
    if (message(pop, place, &bytes, err) < 0)
        return -1;
    return key_sign(key, bytes.data, bytes.len, pop->signature, err);
}

int
pop_check(const struct pop *pop, const uint8_t *thumbprint, const struct pop_place *place, struct error *err)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(TRANSCRIPT_MAX);
    CLEANUP(key_free) struct key *key = NULL;
    uint8_t seen[KEY_THUMBPRINT_LEN];

    if (!thumbprint)
        return error_set(err, ERROR_DENIED, "the token names no key");
    if (key_thumbprint(pop->point, seen, err) < 0)
        return -1;
    /* memcmp: both are public */
    if (memcmp(seen, thumbprint, sizeof seen) != 0)
        return error_set(err, ERROR_DENIED, "the key shown is not the token's");
    if (key_from_point(pop->point, &key, err) < 0 || message(pop, place, &bytes, err) < 0)
        return -1;
    if (key_verify(key, bytes.data, bytes.len, pop->signature, err) < 0)
        return err->code == ERROR_DENIED
                   ? error_set(err, ERROR_DENIED, "the signature was not made for this connection; it may be a relay")
                   : -1;
    return 0;
}

static void
add_bytes(struct buf *into, const uint8_t *bytes, size_t len)
{
    char text[B64URL_LEN(KEY_POINT_LEN) + 1];

    b64url_encode(bytes, len, text);
    buf_add_u8(into, '~');
    buf_add_text(into, text);
}

int
pop_print(const struct pop *pop, struct buf *into, struct error *err)
{
    buf_add_text(into, pop->token);
    add_bytes(into, pop->point, sizeof pop->point);
    add_bytes(into, pop->signature, sizeof pop->signature);
    return buf_ok(into) ? 0 : error_set(err, buf_error_code(into), "no room for a proof");
}

/* Exactly `len` bytes between two marks. */
static int
read_bytes(const char *text, size_t text_len, uint8_t *ret, size_t len, struct error *err)
{
    size_t n = 0;

    if (b64url_decode(text, text_len, ret, len, &n, err) < 0)
        return -1;
    return n == len ? 0 : error_set(err, ERROR_INPUT, "a part of %zu bytes, not %zu", n, len);
}

int
pop_parse(const char *text, size_t len, struct pop *ret, struct error *err)
{
    const char *end = text + len, *first, *second;

    first = len == 0 || len > POP_TEXT_MAX ? NULL : memchr(text, '~', len);
    second = first ? memchr(first + 1, '~', (size_t)(end - first - 1)) : NULL;
    if (!second || first == text || first - text > TOKEN_TEXT_MAX || memchr(text, '\0', (size_t)(first - text)))
        return error_set(err, ERROR_INPUT, "a proof is TOKEN~KEY~SIGNATURE");
    memset(ret, 0, sizeof *ret);
    memcpy(ret->token, text, (size_t)(first - text));
    if (read_bytes(first + 1, (size_t)(second - first - 1), ret->point, sizeof ret->point, err) < 0 ||
        read_bytes(second + 1, (size_t)(end - second - 1), ret->signature, sizeof ret->signature, err) < 0)
        return error_wrap(err, "proof");
    return 0;
}

int
pop_read_hex(const char *what, const char *text, uint8_t ret[static 32], struct error *err)
{
    char small[HEX_LEN(32) + 1] = "";
    size_t n = 0;

    for (size_t i = 0; i < HEX_LEN(32) && text[i]; i++)
        small[i] = (char)tolower((unsigned char)text[i]);
    if (strlen(text) != HEX_LEN(32) || hex_decode(small, HEX_LEN(32), ret, 32, &n, err) < 0)
        return error_set(err, ERROR_INPUT, "%s is 64 hexadecimal digits", what);
    return 0;
}
