#include "config.h"

#include "tokenservice/mint/signer_claims.h"

#include <stdio.h>
#include <string.h>

#include "lib/common/encode.h"
#include "lib/crypto/random.h"
#include "lib/wire/token.h"
#include "lib/wire/transcript.h"

enum { JTI_LEN = 16, FACTORS_ALL = FACTOR_HOST | FACTOR_VTPM | FACTOR_SECRET };

/* DESIGN 4: no token below the floor, and no factor that the row does not know. */
static int
check_factors(const struct identity_row *row, uint8_t factors, struct error *err)
{
    if ((factors & ~FACTORS_ALL) != 0)
        return error_set(err, ERROR_INPUT, "unknown factors");
    if (!(factors & FACTOR_HOST) || (factors & row->floor) != row->floor)
        return error_set(err, ERROR_DENIED, "factors %u are below the floor %u",
                         factors, row->floor);
    if ((factors & FACTOR_VTPM) && (!row->has_ak || !row->has_ek))
        return error_set(err, ERROR_DENIED, "factor vtpm, and the row has no AK");
    if ((factors & FACTOR_SECRET) && !row->has_cur)
        return error_set(err, ERROR_DENIED, "factor secret, and the row has no secret");
    return 0;
}

static int
check_request(const struct identity_row *row, const struct mint_token_request *request,
              struct error *err)
{
    if (row->state != ROW_OK)
        return error_set(err, ERROR_DENIED, "the identity is %s",
                         identity_row_state_name(row->state));
    if (row->host[0] == '\0' || row->epoch == 0)
        return error_set(err, ERROR_DENIED, "the identity has no grant of the lease");
    if (!name_is_audience(request->audience))
        return error_set(err, ERROR_INPUT, "audience");
    if ((request->flags & ~MINT_FLAGS_ALL) != 0)
        return error_set(err, ERROR_INPUT, "unknown flags");
    if ((request->flags & MINT_BOUND) && (!request->has_cnf || strlen(request->audience) > NAME_BOUND_MAX))
        return error_set(err, ERROR_DENIED, "a bound token names the key of its owner, and a short audience");
    if ((request->flags & (MINT_FRESH_VTPM | MINT_FRESH_SECRET)) &&
        row->done_run.epoch != row->epoch)
        return error_set(err, ERROR_DENIED, "fresh, and the row says of no step in this epoch");
    return check_factors(row, request->factors, err);
}

static const char *
acr_of(uint8_t factors)
{
    switch (factors & (FACTOR_VTPM | FACTOR_SECRET)) {
    case 0:
        return "urn:virtid:acr:host";
    case FACTOR_VTPM:
        return "urn:virtid:acr:host+vtpm";
    case FACTOR_SECRET:
        return "urn:virtid:acr:host+secret";
    default:
        return "urn:virtid:acr:host+vtpm+secret";
    }
}

static json_t *
factor_list(uint8_t factors)
{
    json_t *list = json_pack("[s]", "host");

    if (list && (factors & FACTOR_VTPM))
        json_array_append_new(list, json_string("vtpm"));
    if (list && (factors & FACTOR_SECRET))
        json_array_append_new(list, json_string("secret"));
    return list;
}

/* The claim "virtid". */
static json_t *
own_claims(const struct identity_row *row, const struct mint_token_request *request)
{
    uint8_t flags = request->flags, factors = request->factors;
    json_t *c = json_pack("{s:o, s:I, s:I}", "factors", factor_list(factors), "gen",
                          (json_int_t)row->gen, "epoch", (json_int_t)row->epoch);

    if (!c)
        return NULL;
    if (factors & FACTOR_VTPM)
        json_object_set_new(c, "vtpm",
                            json_pack("{s:b, s:s}", "fresh",
                                      (flags & MINT_FRESH_VTPM) != 0, "ek",
                                      row->ek_origin == ROW_EK_CA ? "ca" : "host"));
    if (factors & FACTOR_SECRET)
        json_object_set_new(
            c, "secret", json_pack("{s:b}", "fresh", (flags & MINT_FRESH_SECRET) != 0));
    if ((flags & MINT_CLAIM_NAME) && row->name[0])
        json_object_set_new(c, "name", json_string(row->name));
    if (flags & MINT_CLAIM_HOST)
        json_object_set_new(c, "host", json_string(row->host));
    if (flags & MINT_CLAIM_LABELS) /* the row's decoder has seen that it is an object of
                                      strings */
        json_object_set_new(c, "labels",
                            json_loads(row->labels, JSON_REJECT_DUPLICATES, NULL));
    return c;
}

/* `cnf`, RFC 7800; thumbprint as in RFC 9449, 6.1. */
static int
add_cnf(json_t *claims, const struct mint_token_request *request)
{
    char jkt[B64URL_LEN(KEY_THUMBPRINT_LEN) + 1];

    if (!request->has_cnf)
        return 0;
    b64url_encode(request->cnf, sizeof request->cnf, jkt);
    return json_object_set_new(claims, "cnf", json_pack("{s:s}", "jkt", jkt));
}

int
signer_claims(const struct mint_info *info, const struct identity_row *row,
              const struct mint_token_request *request, json_t **ret, struct error *err)
{
    CLEANUP(json_decref) json_t *claims = NULL;
    char sub[NAME_TRUST_DOMAIN_MAX + 64], uuid[VM_UUID_TEXT],
        jti_text[B64URL_LEN(JTI_LEN) + 1], iss[NAME_ISSUER_MAX + sizeof TOKEN_BOUND_PATH],
        aud[NAME_AUDIENCE_MAX + sizeof TOKEN_BOUND_AUDIENCE];
    bool bound = (request->flags & MINT_BOUND) != 0;
    json_int_t now = (json_int_t)request->now;
    uint8_t jti[JTI_LEN];

    if (check_request(row, request, err) < 0 || random_bytes(jti, sizeof jti, err) < 0)
        return -1;
    b64url_encode(jti, sizeof jti, jti_text);
    vm_uuid_print(&row->uuid, uuid);
    (void)snprintf(iss, sizeof iss, "%s%s", info->issuer, bound ? TOKEN_BOUND_PATH : "");
    (void)snprintf(aud, sizeof aud, "%s%s", bound ? TOKEN_BOUND_AUDIENCE : "", request->audience);
    (void)snprintf(sub, sizeof sub, "spiffe://%s/vm/%s", info->trust_domain, uuid);
    claims =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:s, s:o}", "iss", iss,
                  "sub", sub, "aud", aud, "exp", now + TOKEN_LIFE_SECONDS,
                  "iat", now, "nbf", now, "jti", jti_text, "acr",
                  acr_of(request->factors), "virtid", own_claims(row, request));
    if (!claims || add_cnf(claims, request) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory for the claims");
    *ret = STEAL(claims);
    return 0;
}
