/*
 * token.h - the identity token: JWS compact, ES256, and the keys that check it
 *
 * Header exactly {"alg":"ES256","kid":"..","typ":"JWT"}.  The algorithm comes from the key, never from
 * the message.  CHECKS C16; RFC 7515, 7517, 7519, 7638, 8725; SPIFFE JWT-SVID.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/json.h"
#include "lib/crypto/key.h"
#include "lib/wire/names.h"
#include "lib/wire/vm_uuid.h"

enum { TOKEN_TEXT_MAX = 4096, JWKS_KEYS_MAX = 8, TOKEN_SKEW_SECONDS = 60, TOKEN_LIFE_SECONDS = 300, TOKEN_LIFE_MAX = 600 };

/*
 * A bound token counts only with a proof of its cnf key (pop.h).  Its issuer is ISSUER/bound, with keys of its
 * own, and its audience pop:NAME: no verifier of bearer tokens takes it, even one that looks at the keys alone.
 */
#define TOKEN_BOUND_PATH "/bound"
#define TOKEN_BOUND_AUDIENCE "pop:"

/* Public keys of an issuer: {"keys":[{"kty":"EC","crv":"P-256","x","y","kid","use":"sig","alg":"ES256"}]} */
struct jwks;
int jwks_parse(const char *text, size_t len, struct jwks **ret, struct error *err);
void jwks_free(struct jwks *jwks);
DEFINE_CLEANUP(struct jwks *, jwks_free);
size_t jwks_count(const struct jwks *jwks);
/* One JWK object (without d) for a point; kid = base64url thumbprint. */
json_t *jwk_of_point(const uint8_t point[static KEY_POINT_LEN], struct error *err);

/* Header and signature around `claims`. */
int token_sign(const json_t *claims, const struct key *key, struct buf *into,
               struct error *err);

struct token {
    json_t *claims;              /* verified bytes only */
    char sub[512], iss[NAME_ISSUER_MAX + 1], aud[NAME_AUDIENCE_MAX + 1], jti[64];
    char kid[64];
    int64_t exp, iat, nbf;
    bool has_jkt;
    uint8_t jkt[32];             /* cnf.jkt */
    bool has_uuid;
    struct vm_uuid uuid;         /* of sub spiffe://TD/vm/UUID */
    char name[256];              /* claim "name" of virtid, or "" */
    int64_t gen;
    uint64_t epoch;
};
/*
 * Check everything: shape, header, key, signature, times, iss == issuer, aud has exactly audience.
 * ERROR_DENIED with problem: token-malformed, token-algorithm, token-key, token-signature,
 * token-expired, token-not-yet, token-issuer, token-audience, token-claims.
 */
int token_verify(const char *text, size_t len, const struct jwks *jwks, const char *issuer,
                 const char *audience, int64_t now, struct token *ret, struct error *err);
void token_clear(struct token *t);

/*
 * What a token says of itself, unverified: issuer and audience.  For messages, and by its owner; it decides nothing
 * about a stranger.  ERROR_DENIED "token-malformed" or ERROR_INPUT: it has none.
 */
int token_peek(const char *text, size_t len, char ret_iss[static NAME_ISSUER_MAX + 1],
               char ret_aud[static NAME_AUDIENCE_MAX + 1], struct error *err);
#define token_clear_at token_clear
