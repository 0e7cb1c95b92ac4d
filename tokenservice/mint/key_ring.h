/*
 * key_ring.h - the keys that sign tokens of one kind: which next, which now, which did; values in, values out
 *
 * A key is published (next), signs (active), stays published until its last token has ended (retiring),
 * and is gone.  No I/O and no clock: `now` is seconds since 1970.  Whoever calls makes a change durable
 * before it counts.  docs/PROTOCOL-signer.md, "Keys that sign tokens".
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/error.h"
#include "lib/crypto/key.h"
#include "tokenservice/mint/mint_msg.h"

/* Bearer tokens and bound ones have issuers of their own, and so each a ring. */
enum key_ring_kind { RING_TOKEN, RING_BOUND, KEY_RINGS };

enum {
    KEY_RING_MAX = 8,          /* CHECKS C24: of a published key set */
    KEY_PUBLISH_SECONDS = 3900, /* before its first use: verifiers keep a set for an hour at most; and a margin */
    KEY_RETIRE_SECONDS = 420,  /* after its last use: a token's life, the requester's skew, the verifier's */
    KEY_ROTATE_DAYS = 30,      /* unless it is configured */
    KEY_ROTATE_DAYS_MAX = 365,
    KEY_RING_BYTES_MAX = 1024, /* both, encoded */
};

struct ring_key {
    enum mint_key_state state;
    uint8_t scalar[KEY_PRIVATE_LEN];
    char kid[MINT_KID_MAX + 1]; /* RFC 7638 thumbprint, base64url */
    int64_t made, since;        /* since: it is in this state */
};

/* Exactly one is active, one at most next; or there is none at all yet. */
struct key_ring {
    size_t n;
    struct ring_key keys[KEY_RING_MAX];
};

/* All that are in one file: a change of one is a change of that. */
struct key_rings {
    struct key_ring of[KEY_RINGS];
};

enum mint_key_purpose key_ring_purpose(enum key_ring_kind kind);

/* A ring of this one key, active since `now`. */
int key_ring_begin(const struct key *key, int64_t now, struct key_ring *ret, struct error *err);
const struct ring_key *key_ring_find(const struct key_ring *ring, enum mint_key_state state); /* or NULL */

/* What is to be done now; one after the other, until nothing is. */
enum ring_move { RING_STAYS, RING_BEGINS, RING_DROPS, RING_ROTATES, RING_PUBLISHES };
enum ring_move key_ring_due(const struct key_ring *ring, int64_t interval, int64_t now);
/* When the next thing happens to this key; 0: nothing by itself. */
int64_t key_ring_step_at(const struct key_ring *ring, const struct ring_key *key, int64_t interval);

/* Retiring keys whose last token has ended are gone. */
void key_ring_drop(struct key_ring *ring, int64_t now);
/* `key` is next.  ERROR_BUSY: there is one, or no room. */
int key_ring_publish(struct key_ring *ring, const struct key *key, int64_t now, struct error *err);
/* The next key signs.  ERROR_BUSY "key-young": not published for KEY_PUBLISH_SECONDS yet. */
int key_ring_rotate(struct key_ring *ring, int64_t now, struct error *err);
/*
 * The key named is gone at once, all of them if `kid` is "".  If it was the active one, `fresh` is active
 * now, published or not.  ERROR_MISSING: there is no such key.
 */
int key_ring_revoke(struct key_ring *ring, const char *kid, const struct key *fresh, int64_t now, struct error *err);

/* The clock was set, and went `seconds` further than time did: ages stay what they were. */
void key_ring_shift(struct key_ring *ring, int64_t seconds);
/* What is said to be of the future is of now: a clock that was wrong ages no key. */
void key_ring_clamp(struct key_ring *ring, int64_t now);
/* A next key that nobody may have seen: published now. */
void key_ring_republish(struct key_ring *ring, int64_t now);

/* The bytes hold private keys. */
int key_rings_encode(const struct key_rings *rings, uint64_t seq, struct buf *into, struct error *err);
/* Earlier versions had bearer tokens alone: no bound key is there.  ERROR_INPUT: no rings that were written here. */
int key_rings_decode(const uint8_t *bytes, size_t len, struct key_rings *ret, uint64_t *ret_seq, struct error *err);
