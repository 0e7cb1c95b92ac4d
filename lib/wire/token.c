#include "config.h"

#include "lib/wire/token.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/common/encode.h"

enum { HEADER_MAX = 512, CLAIMS_MAX = 3072, KID_MAX = 63 };

struct jwk {
    char kid[KID_MAX + 1];
    struct key *key;
};

struct jwks {
    size_t n;
    struct jwk keys[JWKS_KEYS_MAX];
};

void
jwks_free(struct jwks *jwks)
{
    if (!jwks)
        return;
    for (size_t i = 0; i < jwks->n; i++)
        key_free(jwks->keys[i].key);
    free(jwks);
}

size_t
jwks_count(const struct jwks *jwks)
{
    return jwks->n;
}

static const struct jwk *
find_key(const struct jwks *jwks, const char *kid)
{
    for (size_t i = 0; i < jwks->n; i++) {
        if (strcmp(jwks->keys[i].kid, kid) == 0)
            return &jwks->keys[i];
    }
    return NULL;
}

static bool
says(const json_t *object, const char *name, const char *value)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text && strcmp(text, value) == 0;
}

/* RFC 7517, 5: a key of a kind that we do not take is passed over. */
static bool
is_ours(const json_t *jwk)
{
    return says(jwk, "kty", "EC") && says(jwk, "crv", "P-256") &&
           (!json_object_get(jwk, "use") || says(jwk, "use", "sig")) &&
           (!json_object_get(jwk, "alg") || says(jwk, "alg", "ES256"));
}

static int
take_key(struct jwks *jwks, const json_t *jwk, struct error *err)
{
    uint8_t point[KEY_POINT_LEN] = { 4 };
    size_t x_len, y_len;
    const char *kid;

    if (json_object_get(jwk, "d") || json_object_get(jwk, "k"))
        return error_set(err, ERROR_INPUT,
                         "key set with a private key: it must be withdrawn");
    if (!is_ours(jwk))
        return 0;
    if (json_get_string(jwk, "kid", false, KID_MAX, &kid, err) < 0 ||
        json_get_bytes(jwk, "x", false, point + 1, 32, &x_len, err) < 0 ||
        json_get_bytes(jwk, "y", false, point + 33, 32, &y_len, err) < 0)
        return -1;
    if (x_len != 32 || y_len != 32)
        return error_set(err, ERROR_INPUT, "a coordinate of %zu bytes",
                         x_len != 32 ? x_len : y_len);
    if (kid[0] == '\0' || find_key(jwks, kid))
        return error_set(err, ERROR_INPUT, "an empty or repeated kid");
    if (key_from_point(point, &jwks->keys[jwks->n].key, err) < 0)
        return -1;
    snprintf(jwks->keys[jwks->n].kid, sizeof jwks->keys[0].kid, "%s", kid);
    jwks->n++;
    return 0;
}

int
jwks_parse(const char *text, size_t len, struct jwks **ret, struct error *err)
{
    CLEANUP(json_decref) json_t *set = NULL;
    CLEANUP(jwks_free) struct jwks *jwks = calloc(1, sizeof *jwks);
    const json_t *keys;
    size_t i;
    json_t *jwk;

    if (!jwks)
        return error_sys(err, ENOMEM, "key set");
    if (json_parse(text, len, &set, err) < 0 ||
        json_get_array(set, "keys", false, JWKS_KEYS_MAX, &keys, err) < 0)
        return error_wrap(err, "key set");
    json_array_foreach(keys, i, jwk)
    {
        if (!json_is_object(jwk))
            return error_set(err, ERROR_INPUT, "key set: key %zu is no object", i);
        if (take_key(jwks, jwk, err) < 0)
            return error_wrap(err, "key set: key %zu", i);
    }
    if (jwks->n == 0)
        return error_set(err, ERROR_INPUT, "key set: no P-256 signature key in it");
    *ret = STEAL(jwks);
    return 0;
}

json_t *
jwk_of_point(const uint8_t point[static KEY_POINT_LEN], struct error *err)
{
    uint8_t thumbprint[KEY_THUMBPRINT_LEN];
    json_t *jwk;

    if (key_thumbprint(point, thumbprint, err) < 0)
        return NULL;
    jwk = json_pack("{s:s,s:s,s:s,s:s}", "kty", "EC", "crv", "P-256", "use", "sig",
                    "alg", "ES256");
    if (!jwk || json_set_bytes(jwk, "x", point + 1, 32) < 0 ||
        json_set_bytes(jwk, "y", point + 33, 32) < 0 ||
        json_set_bytes(jwk, "kid", thumbprint, sizeof thumbprint) < 0) {
        json_decref(jwk);
        error_sys(err, ENOMEM, "public key as JSON");
        return NULL;
    }
    return jwk;
}

static int
add_part(struct buf *into, const void *bytes, size_t len)
{
    uint8_t *to = buf_room(into, B64URL_LEN(len));

    if (!to)
        return -1;
    b64url_encode(bytes, len, (char *)to); /* buf_room leaves a byte for the NUL */
    buf_grew(into, B64URL_LEN(len));
    return 0;
}

int
token_sign(const json_t *claims, const struct key *key, struct buf *into,
           struct error *err)
{
    CLEANUP(buf_clear) struct buf body = BUF(CLAIMS_MAX), text = BUF(TOKEN_TEXT_MAX);
    uint8_t point[KEY_POINT_LEN], thumbprint[KEY_THUMBPRINT_LEN];
    uint8_t signature[KEY_SIGNATURE_LEN];
    char kid[B64URL_LEN(KEY_THUMBPRINT_LEN) + 1], header[HEADER_MAX];
    int len;

    key_point(key, point);
    if (key_thumbprint(point, thumbprint, err) < 0 ||
        json_print(claims, &body, err) < 0)
        return error_wrap(err, "token");
    b64url_encode(thumbprint, sizeof thumbprint, kid);
    len = snprintf(header, sizeof header,
                   "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"JWT\"}", kid);
    add_part(&text, header, (size_t)len);
    buf_add_u8(&text, '.');
    add_part(&text, body.data, body.len);
    if (!buf_ok(&text))
        return error_set(err, buf_error_code(&text), "token longer than %d bytes",
                         TOKEN_TEXT_MAX);
    if (key_sign(key, text.data, text.len, signature, err) < 0)
        return error_wrap(err, "token");
    buf_add_u8(&text, '.');
    add_part(&text, signature, sizeof signature);
    if (buf_ok(&text))
        buf_add(into, text.data, text.len);
    if (!buf_ok(&text) || !buf_ok(into))
        return error_set(err, buf_error_code(&text), "token longer than %d bytes",
                         TOKEN_TEXT_MAX);
    return 0;
}

static int
refuse(struct error *err, const char *problem, const char *why)
{
    return error_problem(err, ERROR_DENIED, problem, "%s", why);
}

/* The three parts of header.claims.signature, borrowed. */
struct parts {
    const char *header, *claims, *signature;
    size_t header_len, claims_len, signature_len;
};

static int
split(const char *text, size_t len, struct parts *ret, struct error *err)
{
    const char *first, *second, *end = text + len;

    if (len == 0 || len > TOKEN_TEXT_MAX)
        return error_problem(err, ERROR_DENIED, "token-malformed",
                             "a token of %zu bytes", len);
    first = memchr(text, '.', len);
    second = first ? memchr(first + 1, '.', (size_t)(end - first - 1)) : NULL;
    if (!second || memchr(second + 1, '.', (size_t)(end - second - 1)))
        return refuse(err, "token-malformed", "a token has three parts");
    *ret = (struct parts){ text,
                           first + 1,
                           second + 1,
                           (size_t)(first - text),
                           (size_t)(second - first - 1),
                           (size_t)(end - second - 1) };
    return 0;
}

static int
decode_object(const char *text, size_t len, size_t max, json_t **ret, struct error *err)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(max);
    uint8_t *to = buf_room(&bytes, max);
    size_t n;

    if (!to)
        return error_sys(err, ENOMEM, "token");
    if (b64url_decode(text, len, to, max, &n, err) < 0 ||
        json_parse((const char *)to, n, ret, err) < 0) {
        struct error seen = *err;

        return error_problem(err, ERROR_DENIED, "token-malformed", "%s", seen.text);
    }
    return 0;
}

/* Exactly alg, kid, typ: `crit`, `b64`, `jku`, `jwk`, `x5u`, `zip` and the rest are
 * unknown members. */
static int
check_header(const struct parts *p, const struct jwks *jwks, const struct jwk **ret,
             struct error *err)
{
    CLEANUP(json_decref) json_t *header = NULL;
    struct error seen;
    const char *kid;

    if (decode_object(p->header, p->header_len, HEADER_MAX, &header, err) < 0)
        return error_wrap(err, "header");
    if (!says(header, "alg", "ES256"))
        return refuse(err, "token-algorithm", "the token's algorithm is not ES256");
    if (json_only(header, "alg kid typ", &seen) < 0)
        return error_problem(err, ERROR_DENIED, "token-malformed", "header: %s",
                             seen.text);
    if (!says(header, "typ", "JWT"))
        return refuse(err, "token-malformed", "header: typ is not JWT");
    if (json_get_string(header, "kid", false, KID_MAX, &kid, &seen) < 0)
        return error_problem(err, ERROR_DENIED, "token-malformed", "header: %s",
                             seen.text);
    *ret = find_key(jwks, kid);
    if (!*ret)
        return refuse(err, "token-key", "the token's key is not one of the issuer's");
    return 0;
}

static int
check_signature(const struct parts *p, const struct jwk *jwk, struct error *err)
{
    uint8_t signature[KEY_SIGNATURE_LEN];
    size_t len, covered = p->header_len + 1 + p->claims_len;
    struct error seen;

    if (b64url_decode(p->signature, p->signature_len, signature, sizeof signature, &len,
                      &seen) < 0 ||
        len != sizeof signature)
        return refuse(err, "token-malformed", "signature: not 64 bytes in base64url");
    if (key_verify(jwk->key, p->header, covered, signature, &seen) < 0) {
        if (seen.code != ERROR_DENIED) {
            *err = seen;
            return -1;
        }
        return error_problem(err, ERROR_DENIED, "token-signature", "%s", seen.text);
    }
    return 0;
}

static int
copy_text(const json_t *claims, const char *name, char *ret, size_t size,
          struct error *err)
{
    const char *text;

    if (json_get_string(claims, name, false, size - 1, &text, err) < 0)
        return -1;
    if (text[0] == '\0')
        return error_set(err, ERROR_INPUT, "member \"%s\" is empty", name);
    snprintf(ret, size, "%s", text);
    return 0;
}

/* One string, or an array of one string (RFC 7519, 4.1.3). */
static int
read_audience(const json_t *claims, char ret[static NAME_AUDIENCE_MAX + 1], struct error *err)
{
    const json_t *aud = json_object_get(claims, "aud");

    if (json_is_array(aud) && json_array_size(aud) == 1)
        aud = json_array_get(aud, 0);
    if (!json_is_string(aud) || json_string_length(aud) > NAME_AUDIENCE_MAX ||
        strlen(json_string_value(aud)) != json_string_length(aud) ||
        json_string_length(aud) == 0)
        return error_set(err, ERROR_INPUT, "member \"aud\" is not one string");
    memcpy(ret, json_string_value(aud), json_string_length(aud) + 1);
    return 0;
}

static int
read_confirmation(const json_t *claims, struct token *ret, struct error *err)
{
    const json_t *cnf = NULL;
    size_t len = 0;

    if (json_get_object(claims, "cnf", true, &cnf, err) < 0)
        return -1;
    if (!cnf)
        return 0;
    if (json_get_bytes(cnf, "jkt", false, ret->jkt, sizeof ret->jkt, &len, err) < 0)
        return error_wrap(err, "cnf");
    if (len != sizeof ret->jkt)
        return error_set(err, ERROR_INPUT, "cnf: jkt of %zu bytes", len);
    ret->has_jkt = true;
    return 0;
}

static int
read_virtid(const json_t *claims, struct token *ret, struct error *err)
{
    const json_t *ours = NULL;
    const char *name = "";
    int64_t epoch = 0;

    if (json_get_object(claims, "virtid", true, &ours, err) < 0)
        return -1;
    if (!ours)
        return 0;
    if (json_get_string(ours, "name", true, sizeof ret->name - 1, &name, err) < 0 ||
        json_get_int(ours, "gen", true, 0, INT64_MAX, &ret->gen, err) < 0 ||
        json_get_int(ours, "epoch", true, 0, INT64_MAX, &epoch, err) < 0)
        return error_wrap(err, "virtid");
    ret->epoch = (uint64_t)epoch;
    snprintf(ret->name, sizeof ret->name, "%s", name);
    return 0;
}

/* spiffe://TRUST-DOMAIN/vm/UUID */
static void
read_subject(struct token *ret)
{
    static const char scheme[] = "spiffe://";
    const char *td = ret->sub + sizeof scheme - 1, *slash;
    char domain[NAME_TRUST_DOMAIN_MAX + 1];
    struct error ignored;

    if (strncmp(ret->sub, scheme, sizeof scheme - 1) != 0 ||
        !(slash = strchr(td, '/')) || (size_t)(slash - td) >= sizeof domain ||
        strncmp(slash, "/vm/", 4) != 0)
        return;
    memcpy(domain, td, (size_t)(slash - td));
    domain[slash - td] = '\0';
    ret->has_uuid = name_is_trust_domain(domain) &&
                    vm_uuid_parse(slash + 4, &ret->uuid, &ignored) == 0;
}

static int
read_claims(const json_t *claims, struct token *ret, struct error *err)
{
    const int64_t last = INT64_C(253402300799); /* the year 9999 */

    if (copy_text(claims, "iss", ret->iss, sizeof ret->iss, err) < 0 ||
        copy_text(claims, "sub", ret->sub, sizeof ret->sub, err) < 0 ||
        copy_text(claims, "jti", ret->jti, sizeof ret->jti, err) < 0 ||
        read_audience(claims, ret->aud, err) < 0 ||
        json_get_int(claims, "exp", false, 1, last, &ret->exp, err) < 0 ||
        json_get_int(claims, "iat", false, 1, last, &ret->iat, err) < 0 ||
        json_get_int(claims, "nbf", false, 1, last, &ret->nbf, err) < 0 ||
        read_confirmation(claims, ret, err) < 0 || read_virtid(claims, ret, err) < 0)
        return -1;
    read_subject(ret);
    return 0;
}

static int
check_times(const struct token *t, int64_t now, struct error *err)
{
    if (t->exp <= t->iat || t->exp <= t->nbf || t->exp - t->iat > TOKEN_LIFE_MAX)
        return error_problem(err, ERROR_DENIED, "token-claims",
                             "a life from %lld to %lld, issued at %lld",
                             (long long)t->nbf, (long long)t->exp, (long long)t->iat);
    if (now >= t->exp + TOKEN_SKEW_SECONDS)
        return error_problem(err, ERROR_DENIED, "token-expired", "expired %lld s ago",
                             (long long)(now - t->exp));
    if (now < t->nbf - TOKEN_SKEW_SECONDS || now < t->iat - TOKEN_SKEW_SECONDS)
        return error_problem(err, ERROR_DENIED, "token-not-yet", "valid in %lld s",
                             (long long)((t->nbf > t->iat ? t->nbf : t->iat) - now));
    return 0;
}

int
token_verify(const char *text, size_t len, const struct jwks *jwks, const char *issuer,
             const char *audience, int64_t now, struct token *ret, struct error *err)
{
    CLEANUP(json_decref) json_t *claims = NULL;
    CLEANUP(mem_free) struct token *t = calloc(1, sizeof *t);
    const struct jwk *jwk;
    struct parts p = { 0 };
    struct error seen;

    if (!t)
        return error_sys(err, ENOMEM, "token");
    if (split(text, len, &p, err) < 0 || check_header(&p, jwks, &jwk, err) < 0 ||
        check_signature(&p, jwk, err) < 0 ||
        decode_object(p.claims, p.claims_len, CLAIMS_MAX, &claims, err) < 0)
        return -1;
    if (read_claims(claims, t, &seen) < 0)
        return error_problem(err, ERROR_DENIED, "token-claims", "%s", seen.text);
    if (strcmp(t->iss, issuer) != 0)
        return error_problem(err, ERROR_DENIED, "token-issuer",
                             "issued by \"%.100s\", not by \"%.100s\"", t->iss, issuer);
    if (strcmp(t->aud, audience) != 0)
        return error_problem(err, ERROR_DENIED, "token-audience",
                             "made for \"%.100s\", not for \"%.100s\"", t->aud,
                             audience);
    if (check_times(t, now, err) < 0)
        return -1;
    snprintf(t->kid, sizeof t->kid, "%s", jwk->kid);
    t->claims = STEAL(claims);
    *ret = *t;
    return 0;
}

int
token_peek(const char *text, size_t len, char ret_iss[static NAME_ISSUER_MAX + 1],
           char ret_aud[static NAME_AUDIENCE_MAX + 1], struct error *err)
{
    CLEANUP(json_decref) json_t *claims = NULL;
    struct parts p = { 0 };

    if (split(text, len, &p, err) < 0 || decode_object(p.claims, p.claims_len, CLAIMS_MAX, &claims, err) < 0)
        return -1;
    return copy_text(claims, "iss", ret_iss, NAME_ISSUER_MAX + 1, err) < 0 ? -1 : read_audience(claims, ret_aud, err);
}

void
token_clear(struct token *t)
{
    json_decref(t->claims);
    memset(t, 0, sizeof *t);
}
