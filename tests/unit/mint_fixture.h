/*
 * mint_fixture.h - a trust domain in a temporary folder, its signer in a thread, a client of it
 */
#pragma once

#include "lib/crypto/credential_protect.h"
#include "tokenservice/mint/mint_client.h"
#include "tokenservice/mint/signer_init.h"
#include "tokenservice/mint/signer_keys.h"

struct mint_fixture {
    char key_dir[64];
    struct signer_keys *keys;
    struct mint *client;
    struct mint_info info;
    int64_t now;
    struct error err; /* of the call last made */
    uint8_t asked[MINT_PACKET_MAX]; /* what the signer's thread was asked last */
    size_t asked_len;
};
extern struct mint_fixture the_mint;

/* Group set-up and tear-down of cmocka. */
int mint_fixture_start(void **state);
int mint_fixture_stop(void **state);
/* The signer's thread and its client alone, of the keys in the_mint.key_dir: a process that is to
 * fork has none, and its child its own. */
int mint_fixture_connect(void);
void mint_fixture_disconnect(void);

struct signer_init mint_fixture_domain(const char *dir);
struct identity_row mint_fixture_row(void);
struct mint_token_request mint_fixture_request(void);
void mint_fixture_seal(const struct identity_row *row, struct buf *into,
                       uint8_t mac[static ROW_MAC_LEN]);
/* The status of the answer to raw bytes. */
enum error_code mint_fixture_ask(const void *bytes, size_t len);
/* An RSA modulus and a point on P-384, as a TPM would have them. */
void mint_fixture_eks(struct credential_ek *rsa, struct credential_ek *p384);
