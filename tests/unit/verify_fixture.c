#include "config.h"

#include "tests/unit/verify_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "lib/common/encode.h"
#include "lib/wire/token.h"

static void
must(int done)
{
    if (!done)
        abort();
}

void
fixture_kid(const struct key *key, char ret[static 44])
{
    uint8_t point[KEY_POINT_LEN], thumbprint[KEY_THUMBPRINT_LEN];
    struct error err;

    key_point(key, point);
    must(key_thumbprint(point, thumbprint, &err) == 0);
    b64url_encode(thumbprint, sizeof thumbprint, ret);
}

void
fixture_jwks(const struct key *key, struct buf *into)
{
    CLEANUP(json_decref) json_t *set = NULL;
    uint8_t point[KEY_POINT_LEN];
    struct error err;

    key_point(key, point);
    set = json_pack("{s:[o]}", "keys", jwk_of_point(point, &err));
    must(set && json_print(set, into, &err) == 0 && buf_text(into));
}

json_t *
fixture_claims(const char *audience, int64_t now, const struct key *cnf)
{
    json_t *claims = json_pack(
        "{s:s,s:s,s:s,s:I,s:I,s:I,s:s,s:s,s:{s:[s,s],s:i,s:I,s:s}}", "iss", FIXTURE_ISSUER, "sub",
        "spiffe://example.test/vm/" FIXTURE_UUID, "aud", audience, "exp", (json_int_t)now + 300,
        "iat", (json_int_t)now, "nbf", (json_int_t)now, "jti", "AAAAAAAAAAAAAAAAAAAAAA", "acr",
        "urn:virtid:acr:host+vtpm", "virtid", "factors", "host", "vtpm", "gen", 3, "epoch",
        (json_int_t)1790000000123, "name", "web1");
    char jkt[44];

    must(claims != NULL);
    if (cnf) {
        fixture_kid(cnf, jkt);
        must(json_object_set_new(claims, "cnf", json_pack("{s:s}", "jkt", jkt)) == 0);
    }
    return claims;
}

static void
add_part(struct buf *into, const void *bytes, size_t len)
{
    char *text = malloc(B64URL_LEN(len) + 1);

    must(text != NULL);
    b64url_encode(bytes, len, text);
    buf_add_text(into, text);
    free(text);
}

void
fixture_sign(const char *header, const char *claims, const struct key *key, struct buf *into)
{
    uint8_t signature[KEY_SIGNATURE_LEN];
    struct error err;

    add_part(into, header, strlen(header));
    buf_add_u8(into, '.');
    add_part(into, claims, strlen(claims));
    must(key_sign(key, into->data, into->len, signature, &err) == 0);
    buf_add_u8(into, '.');
    add_part(into, signature, sizeof signature);
    must(buf_text(into) != NULL);
}
