#include "config.h"

#include "guestagent/next_nonce.h"

#include <string.h>

void
next_nonce_forget(struct next_nonce *n)
{
    *n = (struct next_nonce){ 0 };
}

void
next_nonce_keep(struct next_nonce *n, const struct prove *proof, const uint8_t nonce[static NONCE_LEN],
                int64_t asked_ms, int64_t answered_ms, int64_t life_seconds)
{
    next_nonce_forget(n);
    n->there = true;
    memcpy(n->nonce, nonce, sizeof n->nonce);
    n->uuid = proof->uuid;
    n->epoch = proof->epoch;
    n->has_ak = proof->has_ak;
    memcpy(n->ak, proof->ak, sizeof n->ak);
    n->from_ms = answered_ms + life_seconds * 500;
    n->until_ms = asked_ms + life_seconds * 1000;
}

/* Another epoch or AK is another run: what came before it does not come back. */
static bool
is_of(const struct next_nonce *n, const struct prove *proof)
{
    return n->epoch == proof->epoch && vm_uuid_equal(&n->uuid, &proof->uuid) &&
           n->has_ak == proof->has_ak &&
           (!n->has_ak || memcmp(n->ak, proof->ak, sizeof n->ak) == 0); /* public */
}

bool
next_nonce_take(struct next_nonce *n, const struct prove *proof, int64_t now_ms,
                uint8_t ret[static NONCE_LEN])
{
    bool fits = n->there && is_of(n, proof) && now_ms < n->until_ms;

    if (fits && now_ms < n->from_ms)
        return false; /* too early: perhaps the proof after this one */
    if (fits)
        memcpy(ret, n->nonce, sizeof n->nonce);
    next_nonce_forget(n);
    return fits;
}
