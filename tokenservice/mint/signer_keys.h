/*
 * signer_keys.h - every private thing of a trust domain, loaded once
 *
 * In the key folder (0700; files 0600, of the user who runs the signer): token.pem host-ca.pem ek-ca.pem
 * receipt.pem (P-256, distinct), nonce.key activate.key row.key (32 bytes each), ca.pem ek-ca.crt
 * (certificates), bundle (signed), signer.conf (names; written last by signer_init).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/common/secret.h"
#include "lib/crypto/key.h"
#include "tokenservice/mint/mint_msg.h"

#define SIGNER_FILE_TOKEN "token.pem"
#define SIGNER_FILE_HOST_CA "host-ca.pem"
#define SIGNER_FILE_EK_CA "ek-ca.pem"
#define SIGNER_FILE_RECEIPT "receipt.pem"
#define SIGNER_FILE_NONCE "nonce.key"
#define SIGNER_FILE_ACTIVATE "activate.key"
#define SIGNER_FILE_ROW "row.key"
#define SIGNER_FILE_CA_CERT "ca.pem"
#define SIGNER_FILE_EK_CA_CERT "ek-ca.crt"
#define SIGNER_FILE_BUNDLE "bundle"
#define SIGNER_FILE_CONF "signer.conf"
#define SIGNER_FILE_UNFINISHED "unfinished" /* there as long as init is at work, or was cut */

enum { SIGNER_MASTER_LEN = 32, SIGNER_PEM_MAX = 4096 };

struct signer_keys {
    struct key *token, *host_ca, *ek_ca, *receipt;
    struct secret *nonce, *activate, *row;
    struct mint_info info; /* all that may be shown */
};

/*
 * Read the folder.  ERROR_DENIED: a file or the folder is open to others than its owner; two keys
 * are the same.  ERROR_MISSING: no trust domain there yet.
 */
int signer_keys_load(const char *key_dir, struct signer_keys **ret, struct error *err);
void signer_keys_free(struct signer_keys *keys);
DEFINE_CLEANUP(struct signer_keys *, signer_keys_free);

/* {"keys":[...]} of the token key, and its kid. */
int signer_keys_jwks(const struct key *token, char ret_jwks[static MINT_JWKS_MAX + 1],
                     char ret_kid[static 64], struct error *err);
