/*
 * What everybody may see: discovery, the keys that verify tokens, health.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <stdio.h>
#include <string.h>

#include "lib/common/encode.h"
#include "lib/crypto/hash.h"
#include "lib/wire/token.h"
#include "tokenservice/api/api_body.h"
#include "tokenservice/api/signing_keys.h"

/* A static document with its ETag: 304 for who has it. */
static int
answer_static(struct api_call *call, struct error *err)
{
    struct buf *body = &call->reply->body;
    const char *had = http_header(call->request->message, "if-none-match");
    uint8_t digest[SHA256_LEN];
    char hex[HEX_LEN(16) + 1], tag[HEX_LEN(16) + 3];

    if (!buf_ok(body) || hash_sha256(body->data, body->len, digest, err) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory for an answer");
    hex_encode(digest, 16, hex);
    snprintf(tag, sizeof tag, "\"%s\"", hex);
    snprintf(call->reply->headers, sizeof call->reply->headers,
             "ETag: %s\r\nCache-Control: public, max-age=%d\r\n", tag, JWKS_MAX_AGE_S);
    call->reply->status = 200;
    if (had && strcmp(had, tag) == 0) {
        call->reply->status = 304;
        buf_clear(body);
    }
    return 0;
}

static int
answer_discovery(const struct service *s, const char *path, struct api_call *call, struct error *err)
{
    char issuer[NAME_ISSUER_MAX + 40], uri[NAME_ISSUER_MAX + 80];

    snprintf(issuer, sizeof issuer, "%s%s", s->info.issuer, path);
    snprintf(uri, sizeof uri, "%s/.well-known/jwks.json", issuer);
    if (api_body_answer(call, 200,
                        json_pack("{s:s,s:s,s:[s],s:[s],s:[s]}", "issuer", issuer, "jwks_uri", uri,
                                  "id_token_signing_alg_values_supported", "ES256",
                                  "subject_types_supported", "public",
                                  "response_types_supported", "id_token"),
                        err) < 0)
        return -1;
    return answer_static(call, err);
}

int
api_discovery(struct service *s, struct api_call *call, struct error *err)
{
    return answer_discovery(s, "", call, err);
}

int
api_bound_discovery(struct service *s, struct api_call *call, struct error *err)
{
    return answer_discovery(s, TOKEN_BOUND_PATH, call, err);
}

int
api_jwks(struct service *s, struct api_call *call, struct error *err)
{
    buf_add_text(&call->reply->body, s->info.jwks);
    return answer_static(call, err);
}

int
api_bound_jwks(struct service *s, struct api_call *call, struct error *err)
{
    buf_add_text(&call->reply->body, s->info.bound_jwks);
    return answer_static(call, err);
}

int
api_health(struct service *s, struct api_call *call, struct error *err)
{
    (void)s;
    return api_body_answer(call, 200, json_pack("{s:s}", "status", "ok"), err);
}

int
api_ready(struct service *s, struct api_call *call, struct error *err)
{
    if (service_health(s, err) < 0 || service_check_clock(s, call->now_ms, err) < 0 || reserve_check(s, err) < 0)
        return -1;
    if (call->request->draining)
        return error_problem(err, ERROR_BUSY, "unavailable", "it ends");
    if (service_in_grace(s, call->now_ms, NULL))
        return error_problem(err, ERROR_BUSY, "grace",
                             "waiting for the hosts' reports");
    return api_health(s, call, err);
}
