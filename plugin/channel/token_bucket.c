#include "config.h"

#include "plugin/channel/token_bucket.h"

bool
token_bucket_peek(struct token_bucket *b, int64_t now)
{
    int64_t passed = now - b->at_ms;

    if (passed > 0) {
        int64_t full = b->burst * 1000;

        /* A day without a question must not overflow, and gives no more than a full bucket. */
        b->thousandths = passed >= full ? full : b->thousandths + passed * b->per_second;
        if (b->thousandths > full)
            b->thousandths = full;
        b->at_ms = now;
    }
    return b->thousandths >= 1000;
}

bool
token_bucket_take(struct token_bucket *b, int64_t now)
{
    if (!token_bucket_peek(b, now))
        return false;
    b->thousandths -= 1000;
    return true;
}

void
token_bucket_spend(struct token_bucket *b, int64_t n)
{
    b->thousandths -= n * 1000;
}
