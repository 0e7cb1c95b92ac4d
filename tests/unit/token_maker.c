/*
 * token_maker FOLDER AUDIENCE: FOLDER/jwks.json and FOLDER/token by our own code, for the tests that show
 * them to other implementations.  The issuer is that of verify_fixture.h.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/wire/token.h"
#include "tests/unit/verify_fixture.h"

static int
write_file(const char *folder, const char *name, const struct buf *content, struct error *err)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    return file_replace(path, content->data, content->len, 0644, err);
}

int
main(int argc, char **argv)
{
    CLEANUP(key_free) struct key *key = NULL;
    CLEANUP(json_decref) json_t *claims = NULL;
    CLEANUP(buf_clear) struct buf jwks = BUF(1024), token = BUF(TOKEN_TEXT_MAX);
    struct error err;

    if (argc != 3)
        return 2;
    if (key_generate(&key, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    claims = fixture_claims(argv[2], clock_realtime_ms() / 1000, key);
    fixture_jwks(key, &jwks);
    if (token_sign(claims, key, &token, &err) < 0 ||
        write_file(argv[1], "jwks.json", &jwks, &err) < 0 ||
        write_file(argv[1], "token", &token, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    return 0;
}
