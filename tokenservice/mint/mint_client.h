/*
 * mint_client.h - tokend's side of the signer: ask for a certificate, a MAC, a token, a receipt
 *
 * One SOCK_SEQPACKET descriptor to virtid-signer; one request and one answer at a time, each within
 * 5 s.  After silence, a closed socket or an answer out of shape the connection is of no use any more:
 * that call and all later ones are ERROR_SYSTEM, and tokend ends.  A refusal by the signer is
 * ERROR_DENIED, ERROR_INPUT or ERROR_MISSING and changes nothing.
 * One thread at a time (tokend: its worker).  The messages: mint_msg.h, docs/PROTOCOL-signer.md.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/crypto/credential_protect.h"
#include "lib/crypto/key.h"
#include "lib/wire/vm_uuid.h"
#include "tokenservice/mint/identity_row.h"
#include "tokenservice/mint/mint_msg.h"

struct mint;

/* `take_fd`: connected socket to the signer; closed on failure too. */
int mint_new(int take_fd, struct mint **ret_mint, struct error *err);
void mint_free(struct mint *mint);
DEFINE_CLEANUP(struct mint *, mint_free);

/* For a watcher: readable outside a call means that the signer is gone. */
int mint_fd(const struct mint *mint);

/* Names, CA certificates, JWKS, bundle: all that the service may show.  Fixed for the signer's life, but for
 * JWKS and kids, of which mint_keys() tells, and the CAs and the bundle, of whose change it tells. */
int mint_ask_info(struct mint *mint, struct mint_info *ret_info, struct error *err);

/*
 * Certificates, DER appended to `into`; serial, lifetime and extensions are the signer's choice.
 * server: the names are those of the signer's configuration.  host: NAME alone, the signer makes the
 * SPIFFE ID.  ek: SAN and CN from `uuid`.  There is no other kind.
 */
int mint_certify_server(struct mint *mint, const uint8_t point[static KEY_POINT_LEN],
                        struct buf *into, struct error *err);
int mint_certify_host_tls(struct mint *mint, const char *host,
                          const uint8_t point[static KEY_POINT_LEN], struct buf *into,
                          struct error *err);
int mint_certify_host_proof(struct mint *mint, const char *host,
                            const uint8_t point[static KEY_POINT_LEN], struct buf *into,
                            struct error *err);
int mint_certify_ek(struct mint *mint, const struct vm_uuid *uuid,
                    const struct credential_ek *ek, struct buf *into, struct error *err);

/*
 * Encode `row` (appended to `into`: exactly the bytes to store) and have it MACed.
 * ERROR_INPUT: the row breaks a grammar.
 */
int mint_row_seal(struct mint *mint, const struct identity_row *row, struct buf *into,
                  uint8_t ret_mac[static ROW_MAC_LEN], struct error *err);
/* Check the MAC of stored bytes. ERROR_DENIED, problem "row-forged": not made by this signer. */
int mint_row_check(struct mint *mint, const uint8_t *row, size_t len,
                   const uint8_t mac[static ROW_MAC_LEN], struct error *err);
/* Check, then decode. */
int mint_row_open(struct mint *mint, const uint8_t *row, size_t len,
                  const uint8_t mac[static ROW_MAC_LEN], struct identity_row *ret_row,
                  struct error *err);

/*
 * A token of 300 s for the VM of this row, compact JWS appended to `into`, its claims composed by the
 * signer from the row (sub, gen, epoch, host, name, labels, EK origin) and the request (audience,
 * factors, freshness, cnf).  ERROR_DENIED: the MAC ("row-forged"), the row's state is not ok,
 * factors below its floor, no grant yet, or `now` more than 60 s from the signer's clock.
 */
int mint_token(struct mint *mint, const uint8_t *row, size_t row_len,
               const uint8_t mac[static ROW_MAC_LEN], const struct mint_token_request *request,
               struct buf *into, struct error *err);

/*
 * F("virtid-receipt-1", record) || signature(64), appended to `into`; record is 1..MINT_RECORD_MAX bytes.
 * Checked with the receipt key's point (mint_info.receipt_point) over the F() part.
 */
int mint_receipt(struct mint *mint, const void *record, size_t len, struct buf *into,
                 struct error *err);

/*
 * The subkey of `hour` (seconds since 1970 / 3600) for nonces or activations:
 * HKDF(master, F("virtid-subkey-nonce-1" or "virtid-subkey-activate-1", issuer, hour(8))).
 * ERROR_DENIED: more than one hour from the signer's clock.  Keep it at most for that hour and the next.
 */
int mint_subkey(struct mint *mint, enum mint_purpose purpose, uint64_t hour,
                uint8_t ret_key[static MINT_SUBKEY_LEN], struct error *err);

/*
 * The keys as they are now; whatever was due is done before.  rotate: the next key
 * of MINT_KEY_TOKEN or MINT_KEY_BOUND signs from now on;
 * ERROR_BUSY "key-young": it was not published long enough.  revoke: the key `kid`, or all that sign tokens if
 * "", is gone, and another signs; ERROR_MISSING: no such key.
 */
int mint_keys(struct mint *mint, struct mint_keys *ret, struct error *err);
int mint_keys_rotate(struct mint *mint, enum mint_key_purpose purpose, struct mint_keys *ret, struct error *err);
int mint_keys_revoke(struct mint *mint, const char *kid, struct mint_keys *ret, struct error *err);

/*
 * CAs.  publish: a next one is there, in the newest bundle.  turn: the next one, which is `kid`, issues from now on;
 * ERROR_MISSING: there is none of this name.  Both may be said again.  Ask for mint_info then.
 */
int mint_ca_publish(struct mint *mint, struct error *err);
int mint_ca_turn(struct mint *mint, const char *kid, struct error *err);
/* What whoever holds the bundle `serial` takes next, appended to `into`: at last the newest. */
int mint_bundle(struct mint *mint, uint64_t serial, struct buf *into, struct error *err);

/*
 * The newest record of the audit, signed.  `new_line`: it goes on from an older one, since the database was restored.
 * ERROR_DENIED "audit-broken": in this line another record of that number was signed, or a later one.
 */
int mint_head(struct mint *mint, bool new_line, int64_t id, const uint8_t hash[static AUDIT_HASH],
              struct audit_head *ret, struct error *err);
/* The key that signs them, and line, id (0: none was signed) and hash of the newest. */
int mint_signed(struct mint *mint, uint8_t ret_point[static KEY_POINT_LEN], struct audit_head *ret, struct error *err);
