#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/encode.h"
#include "lib/wire/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char issuer[] = "https://id.example:8443";

/* A key that everyone knows, and the set that holds it. */
static struct key *key;
static struct jwks *jwks;

static void
set_up(void)
{
    static const uint8_t scalar[KEY_PRIVATE_LEN] = { 1, 2, 3 };
    CLEANUP(json_decref) json_t *set = NULL;
    CLEANUP(buf_clear) struct buf text = BUF(1024);
    uint8_t point[KEY_POINT_LEN];
    struct error err;
    int failed = key_from_private(scalar, &key, &err);

    assert(!failed);
    key_point(key, point);
    set = json_pack("{s:[o]}", "keys", jwk_of_point(point, &err));
    failed = json_print(set, &text, &err) < 0 ||
             jwks_parse((char *)text.data, text.len, &jwks, &err) < 0;
    assert(!failed);
}

static void
verify(const char *text, size_t len)
{
    CLEANUP(token_clear) struct token t = { 0 };
    struct error err = { 0 };

    if (token_verify(text, len, jwks, issuer, "shop", 1800000000, &t, &err) == 0)
        assert(t.claims && strcmp(t.iss, issuer) == 0 && strcmp(t.aud, "shop") == 0);
    else
        assert(err.code == ERROR_DENIED && strncmp(err.problem, "token-", 6) == 0);
}

/* The input as claims under a good signature: so the reader of claims is reached, too. */
static void
verify_signed(const uint8_t *data, size_t size)
{
    CLEANUP(json_decref) json_t *claims = NULL;
    CLEANUP(buf_clear) struct buf text = BUF(TOKEN_TEXT_MAX);
    struct error err;

    if (json_parse((const char *)data, size, &claims, &err) == 0 &&
        token_sign(claims, key, &text, &err) == 0)
        verify((const char *)text.data, text.len);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!key)
        set_up();
    verify((const char *)data, size);
    verify_signed(data, size);
    return 0;
}
