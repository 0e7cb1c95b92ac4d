/*
 * next_nonce.h - the nonce that came with the last token, for the next proof: one round trip instead of two
 *
 * It is good once, for the same VM, epoch and AK, in the second half of the token's life; only the newest one
 * counts, because a proof's nonce must be younger than that of the last accepted proof.  Where it does not do, a
 * challenge does.  Plain data, no clock: times are clock_monotonic_ms().
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/wire/proof_msg.h"

struct next_nonce {
    bool there;
    uint8_t nonce[NONCE_LEN];
    struct vm_uuid uuid;
    uint64_t epoch;
    bool has_ak;
    uint8_t ak[AK_PUBLIC_LEN];
    int64_t from_ms, until_ms;
};

/*
 * The service took `proof`, asked for at `asked_ms`, and answered at `answered_ms` with `nonce` and a token of
 * `life_seconds`: the nonce is at least as old as the answer, and at most as old as the question.
 */
void next_nonce_keep(struct next_nonce *n, const struct prove *proof, const uint8_t nonce[static NONCE_LEN],
                     int64_t asked_ms, int64_t answered_ms, int64_t life_seconds);
/* True: it fits `proof` now, and is in ret.  Forgotten if it was taken, or never will fit again. */
bool next_nonce_take(struct next_nonce *n, const struct prove *proof, int64_t now_ms,
                     uint8_t ret[static NONCE_LEN]);
void next_nonce_forget(struct next_nonce *n);
