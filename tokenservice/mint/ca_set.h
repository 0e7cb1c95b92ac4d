/*
 * ca_set.h - the CAs of a trust domain: which next, which now, which did; and the bundle that says so
 *
 * A generation is a pair, the host CA and the EK CA.  It is published (next), issues (active), and then its private
 * keys are gone (retiring): its host CA is trusted until the last certificate that it made has ended, its EK CA goes
 * on saying of EK certificates that they are ours.  The bundle of a generation that becomes active is the last
 * thing that the one before signs: it is a link, by which a guest that was off takes one step.  The newest bundle is
 * always by the CA that it names, since whoever holds none takes no other.  No I/O, no clock: `now` is seconds since
 * 1970.  docs/DECISIONS/030.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/error.h"
#include "lib/crypto/key.h"
#include "tokenservice/mint/mint_msg.h"

enum {
    CA_SET_BYTES_MAX = 32000,      /* encoded */
    CA_RETIRE_SECONDS = 25 * 3600, /* a host's certificate lives for 24 hours */
};

/* What certificates and bundles say of the trust domain. */
struct ca_names {
    const char *trust_domain, *issuer, *guests;
};

struct ca_pair {
    enum mint_key_state state;
    uint8_t host_scalar[KEY_PRIVATE_LEN], ek_scalar[KEY_PRIVATE_LEN]; /* retiring: zeros */
    int64_t made, since;     /* since: it is in this state */
    struct mint_ca host, ek; /* certificates; host.len 0: trusted no more */
    char kid[MINT_KID_MAX + 1]; /* RFC 7638 thumbprint of the host CA's key, base64url: the name of the pair */
};

/* Exactly one is active, one at most next, those that retire the oldest first. */
struct ca_set {
    size_t n;
    struct ca_pair of[MINT_CAS_MAX];
    uint64_t links; /* that were signed: one less than generations that became active */
    uint64_t serial;
    uint8_t bundle[BUNDLE_MAX]; /* the newest, signed */
    size_t bundle_len;
};

const struct ca_pair *ca_set_find(const struct ca_set *set, enum mint_key_state state); /* or NULL */
/* RFC 7638 thumbprint of a certificate's key, base64url. */
int ca_kid(const struct mint_ca *cert, char ret[static MINT_KID_MAX + 1], struct error *err);

/* A first generation, and the bundle with serial 1. */
int ca_set_begin(const struct ca_names *names, int64_t now, struct ca_set *ret, struct error *err);
/*
 * That of an earlier version, which had one: its keys, certificates and signed bundle.  ERROR_INPUT: they do not
 * belong together.
 */
int ca_set_adopt(const struct key *host, const struct key *ek, const struct mint_ca *host_cert,
                 const struct mint_ca *ek_cert, const struct buf *bundle, struct ca_set *ret, struct error *err);
/* A next generation, and the bundle with both, signed by the active one.  One that is there stays.  ERROR_BUSY: the
 * oldest would have to go, and certificates by it are in use still. */
int ca_set_publish(struct ca_set *set, const struct ca_names *names, int64_t now, struct error *err);
/*
 * The next one, which is named `kid`, issues; the one before signs that, which is the link, and its private keys are
 * gone; the newest bundle says the same by the new one.  One that issues already: nothing happens, and `into_link`
 * stays empty.  ERROR_MISSING: no next one has this name.
 */
int ca_set_turn(struct ca_set *set, const struct ca_names *names, const char *kid, int64_t now, struct buf *into_link,
                struct error *err);
/* An earlier version let the link be the newest: the CA that issues signs the same once more. */
int ca_set_vouch(struct ca_set *set, const struct ca_names *names, int64_t now, struct error *err);
/* What no certificate can be of any more is trusted no more; did anything change? */
bool ca_set_drop(struct ca_set *set, int64_t now);
/* The clock was set by so many seconds: each pair is in its state as long as it was. */
void ca_set_shift(struct ca_set *set, int64_t seconds);
/* When the next thing happens to this pair by itself; 0: nothing. */
int64_t ca_set_step_at(const struct ca_pair *pair);

/* The bytes hold private keys. */
int ca_set_encode(const struct ca_set *set, uint64_t seq, struct buf *into, struct error *err);
/* ERROR_INPUT: no set that was written here, or keys and certificates that do not belong together. */
int ca_set_decode(const uint8_t *bytes, size_t len, struct ca_set *ret, struct error *err);

/* The certificates of the host CAs that servers' certificates are by, or will be: PEM, appended to `into`. */
int ca_set_pem(const struct ca_set *set, struct buf *into, struct error *err);
