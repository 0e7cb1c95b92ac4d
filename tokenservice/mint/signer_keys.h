/*
 * signer_keys.h - every private thing of a trust domain, loaded once
 *
 * In the key folder (0700; files 0600, of the user who runs the signer): token-keys (key_file.h), ca-keys
 * (ca_file.h), receipt.pem audit.pem (P-256, all distinct), audit-head (head_file.h), nonce.key activate.key row.key
 * (32 bytes each), ca.pem (the certificates of the host CAs, as they were at the last start), signer.conf (names;
 * written last by signer_init).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/common/secret.h"
#include "lib/crypto/key.h"
#include "tokenservice/mint/ca_file.h"
#include "tokenservice/mint/head_file.h"
#include "tokenservice/mint/key_file.h"
#include "tokenservice/mint/mint_msg.h"

#define SIGNER_FILE_TOKENS "token-keys"
#define SIGNER_FILE_TOKEN "token.pem" /* of earlier versions: the one key that signed tokens */
#define SIGNER_FILE_CAS "ca-keys"
#define SIGNER_FILE_RECEIPT "receipt.pem"
#define SIGNER_FILE_AUDIT "audit.pem"
#define SIGNER_FILE_HEAD "audit-head"
#define SIGNER_FILE_NONCE "nonce.key"
#define SIGNER_FILE_ACTIVATE "activate.key"
#define SIGNER_FILE_ROW "row.key"
#define SIGNER_FILE_CA_CERT "ca.pem"
/* Of earlier versions, which had one pair of CAs: */
#define SIGNER_FILE_HOST_CA "host-ca.pem"
#define SIGNER_FILE_EK_CA "ek-ca.pem"
#define SIGNER_FILE_EK_CA_CERT "ek-ca.crt"
#define SIGNER_FILE_BUNDLE "bundle"
#define SIGNER_FILE_CONF "signer.conf"
#define SIGNER_FILE_UNFINISHED "unfinished" /* there as long as init is at work, or was cut */

enum { SIGNER_MASTER_LEN = 32, SIGNER_PEM_MAX = 4096 };

struct signer_keys {
    struct key *signs[KEY_RINGS]; /* the active one of each ring; NULL: no bound one could be made yet */
    struct key *host_ca, *ek_ca; /* the CAs that issue */
    struct key *receipt, *audit;
    struct head_file head; /* of the audit (signer_heads.h) */
    struct secret *nonce, *activate, *row;
    struct mint_info info; /* all that may be shown */

    /* signer_turn.h: */
    struct key_rings rings;
    struct slot_file file;
    struct ca_set cas;
    struct slot_file cas_file;
    bool vouched; /* the newest bundle is by the CA that issues: looked at once */
    int64_t interval; /* seconds that a key signs */
    bool ticked;
    int64_t wall, passed; /* at the last tick */
    bool unsaved, cas_unsaved; /* the rings' times, those of the CAs, are not those on disk */
    struct error trouble; /* why the last change was not made; code NONE: it was */
};

/* A new P-256 key, durable in the file NAME of the folder, 0600; an older one is replaced. */
int signer_key_make(int dir, const char *name, struct key **ret, struct error *err);

/*
 * Read the folder.  What an earlier version lacked, the audit's key and head, is made; its token key becomes the active
 * one of a ring, its CAs the first generation.  ERROR_DENIED: a file or the folder is open to others than its owner;
 * two keys are the same.  ERROR_MISSING: no trust domain there yet.
 */
int signer_keys_load(const char *key_dir, struct signer_keys **ret, struct error *err);
void signer_keys_free(struct signer_keys *keys);
DEFINE_CLEANUP(struct signer_keys *, signer_keys_free);

/* `rings` are those that count: signing keys, JWKS and kids are by them.  On failure nothing has changed. */
int signer_keys_take(struct signer_keys *keys, const struct key_rings *rings, struct error *err);
/* The same with the CAs: keys, certificates and bundle are by `cas`. */
int signer_keys_take_cas(struct signer_keys *keys, const struct ca_set *cas, struct error *err);
struct ca_names signer_keys_names(const struct signer_keys *keys);
