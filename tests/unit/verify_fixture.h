/*
 * verify_fixture.h - an issuer in memory: a key, its key set, and tokens as wanted
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/json.h"
#include "lib/crypto/key.h"

#define FIXTURE_ISSUER "https://id.example:8443"
#define FIXTURE_UUID "6f1b0a3e-58c1-4a0e-9d4e-0a1b2c3d4e5f"

/* {"keys":[...]} of one key. */
void fixture_jwks(const struct key *key, struct buf *into);

/* Claims of a good token for `audience`, issued at `now`; `cnf` NULL: no key. */
json_t *fixture_claims(const char *audience, int64_t now, const struct key *cnf);

/* header.claims signed by `key`, whatever the two texts are. */
void fixture_sign(const char *header, const char *claims, const struct key *key,
                  struct buf *into);

/* The kid of a key. */
void fixture_kid(const struct key *key, char ret[static 44]);
