/*
 * grant.h - a refused state of a VM's two ratchets, and an operator's word that it is the right one
 *
 * docs/PROTOCOL-proof.md, 5.  What a proof showed is kept by thumbprint; a grant names exactly that, in one epoch,
 * for a while.  Values in, values out, as ratchet.h, which has the grant in its row.
 *
 * Not here: who may give one (api/accepting.h), and what a proof under it does to the row (ratchet_accept()).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/common/error.h"
#include "lib/wire/transcript.h"

struct ratchet_shown;

enum { GRANT_LIFE_MS = 600000 };

/* All zero: there is none. */
struct grant {
    bool given;
    uint64_t epoch;  /* the only one it is good in; 0: its host has not been told of that epoch yet */
    int64_t ends_ms;
    struct proof_shown shown;
};

/* -1: crypto. */
int grant_shown(const struct ratchet_shown *shown, struct proof_shown *ret, struct error *err);
bool grant_same(const struct proof_shown *a, const struct proof_shown *b);

/* Does it let in a proof of `epoch` that shows `shown`, now? */
bool grant_fits(const struct grant *grant, const struct proof_shown *shown, uint64_t epoch, int64_t now_ms);
