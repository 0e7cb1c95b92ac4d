#include "config.h"

#include "tokenservice/api/rate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/crypto/hash.h"
#include "lib/crypto/random.h"

/* 8192 hosts and VMs at a time; the one longest silent makes room, and has its full
 * measure back by then. */
enum { KEY_LEN = 16, SEED_LEN = 16, WHO_MAX = 64, WAYS = 8, SETS = 1024 };

static const struct {
    int64_t per_second, burst;
} RULES[] = {
    [RATE_HOST_REQUEST] = { 50, 500 },
    [RATE_HOST_RECORD] = { 5, 2000 },
    [RATE_VM_PROOF] = { 1, 200 },
};

struct bucket {
    bool used;
    uint8_t key[KEY_LEN];
    int64_t thousandths; /* below 0: spent beforehand */
    int64_t at_ms;
};

struct rates {
    uint8_t seed[SEED_LEN]; /* nobody outside knows who shares a set with whom */
    struct bucket buckets[SETS][WAYS];
};

int
rates_new(struct rates **ret, struct error *err)
{
    CLEANUP(rates_free) struct rates *rates = calloc(1, sizeof *rates);

    if (!rates)
        return error_sys(err, ENOMEM, "rates");
    if (random_bytes(rates->seed, sizeof rates->seed, err) < 0)
        return -1;
    *ret = STEAL(rates);
    return 0;
}

void
rates_free(struct rates *rates)
{
    free(rates);
}

static void
key_of(const struct rates *rates, enum rate_kind kind, const void *who, size_t len,
       uint8_t ret[static SHA256_LEN])
{
    uint8_t bytes[SEED_LEN + 1 + WHO_MAX];
    struct error ignored;

    if (len > WHO_MAX)
        len = WHO_MAX;
    memset(ret, 0, SHA256_LEN);
    memcpy(bytes, rates->seed, SEED_LEN);
    bytes[SEED_LEN] = (uint8_t)kind;
    memcpy(bytes + SEED_LEN + 1, who, len);
    (void)hash_sha256(bytes, SEED_LEN + 1 + len, ret,
                      &ignored); /* fails: one for all */
}

static struct bucket *
find(struct rates *rates, enum rate_kind kind, const void *who, size_t len,
     int64_t now_ms)
{
    uint8_t key[SHA256_LEN];
    struct bucket *set, *oldest;

    key_of(rates, kind, who, len, key);
    set = oldest = rates->buckets[((unsigned)key[30] << 8 | key[31]) % SETS];
    for (unsigned i = 0; i < WAYS; i++) {
        if (set[i].used && memcmp(set[i].key, key, KEY_LEN) == 0)
            return &set[i];
        if (!set[i].used || (oldest->used && set[i].at_ms < oldest->at_ms))
            oldest = &set[i];
    }
    *oldest = (struct bucket){ .used = true,
                               .thousandths = RULES[kind].burst * 1000,
                               .at_ms = now_ms };
    memcpy(oldest->key, key, KEY_LEN);
    return oldest;
}

/* What has come back since; a clock that went back gives nothing. */
static struct bucket *
refilled(struct rates *rates, enum rate_kind kind, const void *who, size_t len,
         int64_t now_ms)
{
    struct bucket *b = find(rates, kind, who, len, now_ms);
    int64_t full = RULES[kind].burst * 1000, passed = now_ms - b->at_ms;

    b->at_ms = now_ms;
    if (passed <= 0)
        return b;
    if (passed >= (full - b->thousandths) / RULES[kind].per_second)
        b->thousandths = full;
    else
        b->thousandths += passed * RULES[kind].per_second;
    return b;
}

static int
check(const struct bucket *b, enum rate_kind kind, struct error *err)
{
    int64_t missing = 1000 - b->thousandths, rate = RULES[kind].per_second * 1000;

    if (missing <= 0)
        return 0;
    error_problem(err, ERROR_BUSY, "rate-limited",
                  "more than %lld a second, after %lld at once",
                  (long long)RULES[kind].per_second, (long long)RULES[kind].burst);
    err->retry_s = (unsigned)((missing + rate - 1) / rate);
    return -1;
}

int
rate_check(struct rates *rates, enum rate_kind kind, const void *who, size_t len,
           int64_t now_ms, struct error *err)
{
    return check(refilled(rates, kind, who, len, now_ms), kind, err);
}

int
rate_take(struct rates *rates, enum rate_kind kind, const void *who, size_t len,
          int64_t now_ms, struct error *err)
{
    struct bucket *b = refilled(rates, kind, who, len, now_ms);

    if (check(b, kind, err) < 0)
        return -1;
    b->thousandths -= 1000;
    return 0;
}

void
rate_spend(struct rates *rates, enum rate_kind kind, const void *who, size_t len,
           int64_t now_ms)
{
    struct bucket *b = refilled(rates, kind, who, len, now_ms);

    /* A report of 32 VMs is judged as one: no more than a measure is owed. */
    if (b->thousandths > -RULES[kind].burst * 1000)
        b->thousandths -= 1000;
}
