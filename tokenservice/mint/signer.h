/*
 * signer.h - one packet in, one packet out: what the signer does with its keys
 *
 * No clock here: time is an argument; signer_tick() (signer_turn.h) comes before.  docs/PROTOCOL-signer.md.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "tokenservice/mint/signer_keys.h"

enum { SIGNER_SKEW_SECONDS = 60 }; /* between tokend's clock and ours */

/*
 * Answer the request `bytes`: `into` (empty, BUF(MINT_PACKET_MAX)) is an answer in every case, a
 * refusal at least.  `now` is our own time, seconds since 1970.
 */
void signer_answer(struct signer_keys *keys, const uint8_t *bytes, size_t len,
                   int64_t now, struct buf *into);

/* Use every key and algorithm once, so that nothing is loaded later, behind the system call filter. */
int signer_warm_up(const struct signer_keys *keys, int64_t now, struct error *err);
