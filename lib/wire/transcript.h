/*
 * transcript.h - what one proof of a VM says: fields 1 to 15, and what is signed over them
 *
 * docs/PROTOCOL-proof.md, 2.  The service never parses a transcript: it rebuilds
 * it from the message, its own issuer and its own end of the connection (CHECKS C8).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/error.h"
#include "lib/wire/vm_uuid.h"

enum {
    TRANSCRIPT_MAX = 1024,
    NONCE_LEN = 40,
    AK_PUBLIC_LEN = 88, /* TPMT_PUBLIC of the AK, both coordinates 32 bytes */
    EK_DIGEST_LEN = 32,
    FACTOR_HOST = 1,
    FACTOR_VTPM = 2,
    FACTOR_SECRET = 4,
};

/* One run of a VM: within it the ratchets step once. Without a TPM both counters are 0. Epoch 0: no run. */
struct proof_run {
    uint64_t epoch;
    uint32_t reset_count, restart_count;
};

/* The state of both ratchets that a proof shows: its signed keys by SHA-256, the index as it is; absent is zero. */
struct proof_shown {
    bool has_cur, has_new, has_x;
    uint8_t cur[32], new_[32], x[32];
};

struct transcript {
    const char *issuer;
    struct vm_uuid uuid;
    uint64_t epoch;
    uint8_t nonce[NONCE_LEN];
    uint8_t exporter[32];
    uint8_t factors;
    bool has_ak, has_ek, has_cnf, has_cur, has_new, has_x;
    uint8_t ak[AK_PUBLIC_LEN];
    uint8_t ek_digest[EK_DIGEST_LEN];
    const char *audience;
    uint8_t cnf[32];
    uint8_t cur[65], new_[65];
    bool fresh;
    uint8_t x[32];
};

/* T and h = SHA-256(T). ERROR_INPUT: a string is empty or too long. */
int transcript_encode(const struct transcript *t, struct buf *into, struct error *err);
int transcript_hash(const struct transcript *t, uint8_t ret[static 32], struct error *err);

/* F("virtid-host-proof-1", issuer, host, uuid, epoch, h): what the host's proof key signs. */
int transcript_host_message(const char *issuer, const char *host, const struct vm_uuid *uuid,
                            uint64_t epoch, const uint8_t h[static 32], struct buf *into,
                            struct error *err);
/* F("virtid-secret-1", h): what `cur` and `new` sign. */
int transcript_secret_message(const uint8_t h[static 32], struct buf *into, struct error *err);

/* F("virtid-pop-1", token hash, verifier, nonce, exporter): what the cnf key signs for a relying party. */
int transcript_pop_message(const uint8_t token_sha256[static 32], const char *verifier,
                           const uint8_t nonce[static 32], const uint8_t exporter[static 32],
                           struct buf *into, struct error *err);
