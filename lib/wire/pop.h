/*
 * pop.h - a bound token with its proof: whoever shows it holds the key that it names, here and now
 *
 * As text, in one line:  TOKEN~POINT~SIGNATURE
 * the token as JWS compact; base64url of the cnf key's point (65 bytes, uncompressed P-256) and of its signature
 * (64, r||s) over transcript_pop_message() with the token's hash, the verifier's name and nonce, and 32 bytes of the
 * TLS exporter POP_EXPORTER of the connection.  No JWT has a "~".  docs/PROTOCOL-bound.md.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/error.h"
#include "lib/crypto/key.h"
#include "lib/wire/token.h"

/* RFC 8446, 7.5; no context. */
#define POP_EXPORTER "EXPORTER-virtid-pop"

enum {
    POP_NONCE_LEN = 32,
    POP_EXPORTER_LEN = 32,
    POP_TEXT_MAX = TOKEN_TEXT_MAX + 1 + 87 + 1 + 86,
};

struct pop {
    char token[TOKEN_TEXT_MAX + 1];
    uint8_t point[KEY_POINT_LEN];
    uint8_t signature[KEY_SIGNATURE_LEN];
};

/* What a proof is of, besides the token: whose question, which one, over which connection. */
struct pop_place {
    const char *verifier; /* 1..255 characters */
    const uint8_t *nonce, *exporter; /* 32 bytes each */
};

/* Fill point and signature for the token that is there already. */
int pop_sign(struct pop *pop, const struct key *key, const struct pop_place *place, struct error *err);

/*
 * `thumbprint` is the token's cnf.jkt (RFC 7638), out of a token that was verified; NULL: it has none.
 * ERROR_DENIED: another key, or not signed by it over this token at this place.
 */
int pop_check(const struct pop *pop, const uint8_t *thumbprint, const struct pop_place *place, struct error *err);

int pop_print(const struct pop *pop, struct buf *into, struct error *err);
/* One spelling: what pop_print() wrote.  The token's own form is not looked at.  ERROR_INPUT: no such text. */
int pop_parse(const char *text, size_t len, struct pop *ret, struct error *err);

/* 32 bytes out of 64 hexadecimal digits, small or capital: `what` is for the message.  ERROR_INPUT: other text. */
int pop_read_hex(const char *what, const char *text, uint8_t ret[static 32], struct error *err);
