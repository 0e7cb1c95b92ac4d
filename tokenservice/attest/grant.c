#include "config.h"

#include "tokenservice/attest/grant.h"

#include <string.h>

#include "lib/crypto/hash.h"
#include "tokenservice/attest/ratchet.h"

int
grant_shown(const struct ratchet_shown *shown, struct proof_shown *ret, struct error *err)
{
    struct proof_shown s = { .has_cur = shown->has_cur, .has_new = shown->has_new, .has_x = shown->has_x };

    if ((s.has_cur && hash_sha256(shown->cur, sizeof shown->cur, s.cur, err) < 0) ||
        (s.has_new && hash_sha256(shown->new_, sizeof shown->new_, s.new_, err) < 0))
        return -1;
    if (s.has_x)
        memcpy(s.x, shown->x, sizeof s.x);
    *ret = s;
    return 0;
}

/* All of it is public. */
static bool
same(bool has_a, const uint8_t *a, bool has_b, const uint8_t *b)
{
    return has_a == has_b && (!has_a || memcmp(a, b, SHA256_LEN) == 0);
}

bool
grant_same(const struct proof_shown *a, const struct proof_shown *b)
{
    return same(a->has_cur, a->cur, b->has_cur, b->cur) && same(a->has_new, a->new_, b->has_new, b->new_) &&
           same(a->has_x, a->x, b->has_x, b->x);
}

bool
grant_fits(const struct grant *g, const struct proof_shown *shown, uint64_t epoch, int64_t now_ms)
{
    return g->given && g->epoch != 0 && g->epoch == epoch && now_ms < g->ends_ms &&
           grant_same(&g->shown, shown);
}
