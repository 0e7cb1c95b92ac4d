/*
 * signing_keys.h - which keys sign tokens: the signer turns them, the service publishes and records it
 */
#pragma once

#include "tokenservice/api/route.h"
#include "tokenservice/api/service_state.h"

enum { TOLD_MS = 10 * 60 * 1000 }; /* after that no token of before lives */
enum { JWKS_MAX_AGE_S = 300 }; /* Cache-Control of what verifiers fetch; less than KEY_PUBLISH_SECONDS */

const char *key_purpose_name(enum mint_key_purpose purpose); /* "token", "host-ca", "ek-ca", "receipt", "bound", "audit" */
const char *key_state_name(enum mint_key_state state);       /* "next", "active", "retiring" */

/*
 * At the start: a key that was revoked, and is there again or still (a folder that was restored, a revocation
 * that was cut), is revoked again.
 */
int signing_keys_start(struct service *service, struct error *err);
/* Does this key sign tokens, bearer or bound ones?  Those turn and can be revoked. */
bool signing_keys_are(const struct mint_key *key);
/* Every few seconds: lets the signer do what is due, publishes it, and records another active key. */
int signing_keys_look(struct service *service, struct error *err);
/*
 * These are the keys now.  Another active one than recorded is recorded as `what` of `call`, and commits.
 */
int signing_keys_took(struct service *service, const struct api_call *call, const char *what,
                      const struct mint_keys *keys, struct error *err);
/*
 * In an answer to a report, for ten minutes after a revocation: hosts tell their guests' agents, which get new
 * tokens at once.  A header, which older hosts do not read.
 */
void signing_keys_tell(const struct service *service, struct api_call *call);
/* Recorded first, then done: what is cut between is done at the next start.  `kid`: of a key that signs tokens. */
int signing_keys_revoke(struct service *service, const struct api_call *call, const struct mint_keys *keys,
                        const char *kid, struct mint_keys *ret, struct error *err);
