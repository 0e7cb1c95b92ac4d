/*
 * mint_msg.h - the packets between tokend and the signer
 *
 * SOCK_SEQPACKET, one F() (lib/wire/fields.h) per packet, at most MINT_PACKET_MAX bytes:
 *   request F(op(1), ...)              answer F(status(1), problem, text, ...)
 *   1 INFO     -                       trust domain, issuer, names, guests, host CA, EK CA, jwks, kid,
 *                                      bound jwks, bound kid, receipt point(65), test(1), bundle serial(8), bundle,
 *                                      CA change(8), n(1) and n host CAs of before, m(1) and m EK CAs of before
 *   2 CERTIFY  kind(1), name, public   certificate
 *   3 ROW_MAC  row                     mac(32)
 *   4 ROW_CHECK row, mac(32)           -
 *   5 TOKEN    row, mac(32), audience, flags(1), factors(1), cnf(0|32), now(8)    token
 *   6 RECEIPT  record                  F("virtid-receipt-1", record) || signature
 *   7 SUBKEY   purpose(1), hour(8)     key(32)
 *   8 KEYS     -                       keys: jwks, kid, bound jwks, bound kid, CA change(8), and for each key
 *                                      purpose(1), state(1), kid, made(8), since(8), step(8)
 *   9 ROTATE   purpose(1)              keys
 *  10 REVOKE   kid, or "" for all      keys
 *  11 CA_PUBLISH -                     -
 *  12 CA_TURN  kid                     -
 *  13 BUNDLE   serial(8)               the bundle that whoever holds that one takes next
 *  14 HEAD     new line(1), id(8), hash(32)    head: line(8), id(8), hash(32), ms(8), signature(64)
 *  15 SIGNED   -                       audit point(65), head; of the newest line, id and hash alone
 * status is an error_code, 0 = done; a refusal has no fields behind `text`.  Anything else, a trailing
 * byte included, is refused.  docs/PROTOCOL-signer.md.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/error.h"
#include "lib/crypto/key.h"
#include "lib/wire/audit_head.h"
#include "lib/wire/bundle.h"
#include "lib/wire/names.h"
#include "tokenservice/mint/identity_row.h"

enum {
    MINT_PACKET_MAX = 16384,
    MINT_NAMES_MAX = 1024,
    MINT_GUESTS_MAX = 255,
    MINT_CA_MAX = 2048,
    MINT_CERT_MAX = 8192,
    MINT_JWKS_MAX = 4096,
    MINT_TOKEN_MAX = 4096,
    MINT_PUBLIC_MAX = 256,
    MINT_RECORD_MAX = 8000,
    MINT_RECEIPT_MAX = 8192,
    MINT_SUBKEY_LEN = 32,
    MINT_PROBLEM_MAX = 31,
    MINT_TEXT_MAX = 399,
    MINT_KID_MAX = 43,   /* RFC 7638 thumbprint, base64url */
    MINT_CAS_MAX = 6,    /* generations of CAs: one next, one active, those before */
    MINT_KEYS_MAX = 32,  /* of all purposes */
};

/* What a receipt begins with: no other structure that a key of ours signs does. */
#define MINT_RECEIPT_LABEL "virtid-receipt-1"

enum mint_op { MINT_INFO = 1, MINT_CERTIFY, MINT_ROW_MAC, MINT_ROW_CHECK, MINT_TOKEN, MINT_RECEIPT, MINT_SUBKEY,
               MINT_KEYS, MINT_ROTATE, MINT_REVOKE, MINT_CA_PUBLISH, MINT_CA_TURN, MINT_BUNDLE, MINT_HEAD, MINT_SIGNED };

/* Administrators' and CA certificates have no number: they can not be asked for. */
enum mint_kind { MINT_KIND_SERVER = 1, MINT_KIND_HOST_TLS, MINT_KIND_HOST_PROOF, MINT_KIND_EK };

enum mint_purpose { MINT_PURPOSE_NONCE = 1, MINT_PURPOSE_ACTIVATE };

/* Claims that an audience may list, what is fresh, and that it is a bound token: of the bound issuer, with cnf. */
enum { MINT_CLAIM_NAME = 1, MINT_CLAIM_HOST = 2, MINT_CLAIM_LABELS = 4, MINT_FRESH_VTPM = 8, MINT_FRESH_SECRET = 16,
       MINT_BOUND = 32, MINT_FLAGS_ALL = 63 };

/* What a key of the signer is for, and where in its life it is. */
enum mint_key_purpose { MINT_KEY_TOKEN = 1, MINT_KEY_HOST_CA, MINT_KEY_EK_CA, MINT_KEY_RECEIPT,
                        MINT_KEY_BOUND, MINT_KEY_AUDIT };
enum mint_key_state { MINT_KEY_NEXT = 1, MINT_KEY_ACTIVE, MINT_KEY_RETIRING };

struct mint_key {
    enum mint_key_purpose purpose;
    enum mint_key_state state;
    char kid[MINT_KID_MAX + 1];
    int64_t made, since; /* seconds since 1970; since: in this state; 0: not known */
    int64_t step;        /* when the next thing happens to it: used, retired, gone, ended; 0: nothing by itself */
};

/* The keys as they are now; JWKS and kid are those of mint_info, which may be older. */
struct mint_keys {
    char jwks[MINT_JWKS_MAX + 1];
    char kid[MINT_KID_MAX + 1]; /* signs tokens */
    char bound_jwks[MINT_JWKS_MAX + 1];
    char bound_kid[MINT_KID_MAX + 1]; /* signs bound tokens; "" and an empty set: none does yet */
    uint64_t ca_change; /* another number than in mint_info: ask for that again */
    size_t n;
    struct mint_key keys[MINT_KEYS_MAX];
};

/* A CA's certificate, DER. */
struct mint_ca {
    uint8_t der[MINT_CA_MAX];
    size_t len;
};

struct mint_info {
    char trust_domain[NAME_TRUST_DOMAIN_MAX + 1];
    char issuer[NAME_ISSUER_MAX + 1];
    char names[MINT_NAMES_MAX + 1];    /* of the server certificate, separated by commas */
    char guests[MINT_GUESTS_MAX + 1];  /* guest listener in the bundle, HOST:PORT */
    uint8_t host_ca[MINT_CA_MAX], ek_ca[MINT_CA_MAX]; /* DER; those that issue */
    size_t host_ca_len, ek_ca_len;
    char jwks[MINT_JWKS_MAX + 1];
    char kid[MINT_KID_MAX + 1];
    char bound_jwks[MINT_JWKS_MAX + 1];
    char bound_kid[MINT_KID_MAX + 1];
    uint8_t receipt_point[KEY_POINT_LEN];
    bool test;                         /* a trust domain that takes simulated TPMs */
    uint64_t bundle_serial;
    uint8_t bundle[BUNDLE_MAX];        /* with its signature */
    size_t bundle_len;
    uint64_t ca_change;                /* rises with each change of the CAs */
    size_t n_host_before, n_ek_before; /* CAs that issue no more, and are trusted still */
    struct mint_ca host_before[MINT_CAS_MAX], ek_before[MINT_CAS_MAX];
};

struct mint_token_request {
    char audience[NAME_AUDIENCE_MAX + 1];
    uint8_t flags;                     /* MINT_CLAIM_*, MINT_FRESH_* */
    uint8_t factors;                   /* FACTOR_*; those that this proof showed */
    bool has_cnf;
    uint8_t cnf[KEY_THUMBPRINT_LEN];   /* RFC 7638 thumbprint */
    int64_t now;                       /* seconds since 1970 */
};

struct mint_request {
    enum mint_op op;
    enum mint_kind kind;
    char name[NAME_HOST_MAX + 1];      /* host name, or uuid text for an EK; "" for a server */
    uint8_t public_[MINT_PUBLIC_MAX];  /* 65 point of P-256, 96 x||y of P-384, 256 RSA modulus */
    size_t public_len;
    const uint8_t *row;                /* borrowed from the packet */
    size_t row_len;
    uint8_t mac[ROW_MAC_LEN];
    struct mint_token_request token;
    const uint8_t *record;             /* borrowed from the packet */
    size_t record_len;
    enum mint_purpose purpose;
    uint64_t hour;
    char kid[MINT_KID_MAX + 1];        /* to revoke; "": all that sign tokens; or of the CA that is to issue */
    uint64_t serial;                   /* of the bundle held */
    bool new_line;                     /* the audit goes on from an older record */
    int64_t head_id;
    uint8_t head_hash[AUDIT_HASH];
    enum mint_key_purpose key;         /* to rotate: MINT_KEY_TOKEN or MINT_KEY_BOUND */
};

/* ERROR_INPUT: a member breaks its bound. */
int mint_request_encode(const struct mint_request *r, struct buf *into, struct error *err);
/* `ret` borrows from `bytes`. ERROR_INPUT: no request. */
int mint_request_decode(const uint8_t *bytes, size_t len, struct mint_request *ret,
                        struct error *err);

/* A refusal, as the signer sends it. */
void mint_refusal_encode(const struct error *refusal, struct buf *into);
/* The head of an answer that is "done"; its fields are added behind with fields_add(). */
void mint_done_encode(struct buf *into);
/*
 * Read the head of an answer.  0: done, `ret_rest` and `ret_rest_len` are the fields behind it.
 * -1 with *ret_broken = false: the signer's refusal; with true: bytes out of shape, ERROR_SYSTEM.
 */
int mint_answer_decode(const uint8_t *bytes, size_t len, const uint8_t **ret_rest,
                       size_t *ret_rest_len, bool *ret_broken, struct error *err);

int mint_info_encode(const struct mint_info *info, struct buf *into, struct error *err);
int mint_info_decode(const uint8_t *rest, size_t len, struct mint_info *ret,
                     struct error *err);
int mint_head_encode(const struct audit_head *head, struct buf *into, struct error *err);
int mint_head_decode(const uint8_t *rest, size_t len, struct audit_head *ret, struct error *err);
int mint_keys_encode(const struct mint_keys *keys, struct buf *into, struct error *err);
int mint_keys_decode(const uint8_t *rest, size_t len, struct mint_keys *ret,
                     struct error *err);
