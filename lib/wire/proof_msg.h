/*
 * proof_msg.h - PROVE and its answers, as JSON bodies of at most 8 KiB
 *
 * PROVE (guest -> POST /v1/token):
 *   {"v":1,"uuid":"..","epoch":n,"nonce":b64,"factors":n,"audience":"..",
 *    "host":"NAME","hostsig":b64(64),
 *    "ak":b64(88)?,"ek":b64(TPMT_PUBLIC)?,"ek_cert":b64(DER)?,"cnf":b64(65)?,
 *    "cur":b64(65)?,"cur_sig":b64(64)?,"new":b64(65)?,"new_sig":b64(64)?,"fresh":bool,
 *    "x":b64(32)?,"quote":b64(TPMS_ATTEST)?,"quote_sig":b64(64)?,
 *    "certify":b64(TPMS_ATTEST)?,"certify_sig":b64(64)?,"activation":b64(32)?}
 * "cnf" is the public key itself; field 11 of the transcript is its RFC 7638 thumbprint.
 * "ek" is the whole TPMT_PUBLIC; field 9 of the transcript is its SHA-256.
 *
 * Answers:
 *   {"type":"TOKEN","token":"..","kid":b64(32)?,"nonce":b64(40),"expires_in":seconds}
 *   {"type":"RESOLVE","kid":b64(32)}          kid: SHA-256 of the public point
 *   {"type":"EXTEND","v":b64,"from":b64,"to":b64}
 *   {"type":"ACTIVATE","id_object":b64,"seed":b64}
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/json.h"
#include "lib/wire/names.h"
#include "lib/wire/transcript.h"

enum { PROVE_BODY_MAX = 8192, EK_PUBLIC_MAX = 512, EK_CERT_MAX = 2048, ATTEST_MAX = 512, TOKEN_MAX = 4096 };

struct prove {
    struct vm_uuid uuid;
    uint64_t epoch;
    uint8_t nonce[NONCE_LEN];
    uint8_t factors;
    char audience[NAME_AUDIENCE_MAX + 1];
    char host[NAME_HOST_MAX + 1];
    uint8_t hostsig[64];
    bool has_ak, has_cnf, has_cur, has_new, has_x, has_activation, fresh;
    uint8_t ak[AK_PUBLIC_LEN];
    uint8_t ek[EK_PUBLIC_MAX];
    size_t ek_len;
    uint8_t ek_cert[EK_CERT_MAX];
    size_t ek_cert_len;
    uint8_t cnf[65];
    uint8_t cur[65], cur_sig[64], new_[65], new_sig[64];
    uint8_t x[32];
    uint8_t quote[ATTEST_MAX], quote_sig[64], certify[ATTEST_MAX], certify_sig[64];
    size_t quote_len, certify_len;
    uint8_t activation[32];
};

/* A key comes with its signature, an AK with quote and, with x, certify: else ERROR_INPUT. */
int prove_decode(const char *body, size_t len, struct prove *ret, struct error *err);
int prove_encode(const struct prove *p, struct buf *into, struct error *err);

/* The transcript this PROVE claims; issuer and exporter are the caller's own. */
int prove_transcript(const struct prove *p, const char *issuer,
                     const uint8_t exporter[static 32], struct transcript *ret,
                     struct error *err);

enum answer_type { ANSWER_TOKEN, ANSWER_RESOLVE, ANSWER_EXTEND, ANSWER_ACTIVATE };

struct answer {
    enum answer_type type;
    char token[TOKEN_MAX + 1];
    bool has_kid;
    uint8_t kid[32];
    uint8_t nonce[NONCE_LEN];
    int64_t expires_in;
    uint8_t v[32], from[32], to[32];
    uint8_t id_object[256], seed[512];
    size_t id_object_len, seed_len;
};
int answer_decode(const char *body, size_t len, struct answer *ret, struct error *err);
int answer_encode(const struct answer *a, struct buf *into, struct error *err);
