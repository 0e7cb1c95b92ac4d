/*
 * join_message.h - the code that joins a host, and what its two new keys sign
 *
 * Code: virtid1,HOST:PORT,<CA SHA-256 base64url>,<token base64url>.
 * Signed by both keys: F("virtid-join-1", name, token, tls point, proof point), or
 * F("virtid-renew-1", name, points).  docs/PROTOCOL-service.md.
 */
#pragma once

#include "lib/common/error.h"
#include "lib/common/json.h"
#include "lib/crypto/key.h"
#include "plugin/enroll/host_identity.h"

#define JOIN_LABEL_JOIN "virtid-join-1"
#define JOIN_LABEL_RENEW "virtid-renew-1"

enum { JOIN_TOKEN_LEN = 32, JOIN_CODE_MAX = 512 };

struct join_code {
    char service[HOST_ADDRESS_MAX + 1]; /* HOST:PORT */
    uint8_t ca_sha256[32];
    uint8_t token[JOIN_TOKEN_LEN];
};
/* One line, white space at its ends ignored. ERROR_INPUT otherwise; the message never repeats the token. */
int join_code_parse(const char *text, struct join_code *ret, struct error *err);

/* Put "tls", "proof", "sig_tls", "sig_proof" into `body`. `token` is NULL for a renewal. */
int join_message_sign(const char *label, const char *name, const uint8_t *token,
                      const struct key *tls, const struct key *proof, json_t *body,
                      struct error *err);

/* What operator and host compare: hex of the first 16 bytes of SHA-256 over the signed bytes. */
int join_fingerprint(const char *name, const uint8_t token[static JOIN_TOKEN_LEN],
                     const struct key *tls, const struct key *proof, char ret[static 33],
                     struct error *err);
