/*
 * token_bucket.h - so many a second, a few more after a pause
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct token_bucket {
    int64_t per_second, burst;
    int64_t thousandths; /* of a token */
    int64_t at_ms;
};

#define TOKEN_BUCKET(rate, most, now) \
    ((struct token_bucket){ .per_second = (rate), .burst = (most), .thousandths = (most) * 1000, .at_ms = (now) })

/* Is there one? `now` is monotonic milliseconds. */
bool token_bucket_peek(struct token_bucket *b, int64_t now);
/* Take one, if there is one. */
bool token_bucket_take(struct token_bucket *b, int64_t now);
/* So many have been used; what is missing comes back first. */
void token_bucket_spend(struct token_bucket *b, int64_t n);
