#include "config.h"

#include "guestagent/token_cache.h"

#include <stdio.h>
#include <string.h>

#include "lib/wire/connect_msg.h"
#include "lib/wire/http_message.h"

int64_t
refresh_point(int64_t answered_ms, int64_t life_seconds, uint32_t random)
{
    int64_t life = life_seconds * 1000;

    return answered_ms + life / 2 + (life / 4) * (int64_t)(random % 1000) / 1000;
}

int64_t
backoff_delay(unsigned failures, uint32_t random)
{
    int64_t whole = BACKOFF_FIRST_MS;

    for (unsigned i = 1; i < failures && whole < BACKOFF_LAST_MS; i++)
        whole *= 2;
    if (whole > BACKOFF_LAST_MS)
        whole = BACKOFF_LAST_MS;
    return whole / 2 + (whole / 2) * (int64_t)(random % 1001) / 1000;
}

static void
forget(struct cached_token *t)
{
    secret_free(t->text);
    *t = (struct cached_token){ 0 };
}

void
token_cache_clear(struct token_cache *cache)
{
    for (size_t i = 0; i < TOKEN_CACHE_MAX; i++)
        forget(&cache->tokens[i]);
}

static bool
is_unproved(const struct token_cache *cache)
{
    return cache->epoch != 0 && cache->epoch != cache->proved_epoch;
}

static bool
is_asked_for(const struct cached_token *t, int64_t now)
{
    return t->prefetched || now < t->wanted_until_ms;
}

/* Nobody asks for it, and it proves the run that was not proved yet: every VM may have that token. */
static bool
is_for_run(const struct token_cache *cache, const struct cached_token *t, int64_t now)
{
    return is_unproved(cache) && strcmp(t->audience, CONNECT_AUDIENCE) == 0 && !is_asked_for(t, now);
}

static bool
is_wanted(const struct token_cache *cache, const struct cached_token *t, int64_t now)
{
    return is_asked_for(t, now) || is_for_run(cache, t, now);
}

struct cached_token *
token_cache_entry(struct token_cache *cache, const char *audience, int64_t now)
{
    struct cached_token *free_one = NULL;

    for (size_t i = 0; i < TOKEN_CACHE_MAX; i++) {
        struct cached_token *t = &cache->tokens[i];

        if (t->audience[0] && strcmp(t->audience, audience) == 0)
            return t;
        if (!free_one && (!t->audience[0] || !is_wanted(cache, t, now)))
            free_one = t;
    }
    if (!free_one)
        return NULL;
    forget(free_one);
    snprintf(free_one->audience, sizeof free_one->audience, "%s", audience);
    return free_one;
}

int64_t
token_cache_left(const struct token_cache *cache, const struct cached_token *t, int64_t now)
{
    int64_t by_clock = t->expires_ms - now, by_host = t->expires_utc_ms - cache->utc_offset_ms - now;
    int64_t left = by_clock < by_host ? by_clock : by_host;

    return t->text && left > 0 ? left : 0;
}

bool
token_cache_valid(const struct token_cache *cache, const struct cached_token *t, int64_t now)
{
    return token_cache_left(cache, t, now) > 0;
}

static bool
is_of_another_epoch(const struct token_cache *cache, const struct cached_token *t)
{
    return cache->epoch != 0 && t->epoch != cache->epoch;
}

void
token_cache_put(struct token_cache *cache, struct cached_token *t, struct proof_token *take_token,
                uint32_t random)
{
    secret_free(t->text);
    t->text = STEAL(take_token->text);
    t->number = ++cache->put;
    t->epoch = cache->proved_epoch = take_token->epoch;
    t->expires_ms = take_token->asked_ms + take_token->expires_in * 1000;
    t->expires_utc_ms = take_token->asked_utc_ms + take_token->expires_in * 1000;
    t->refresh_at_ms = is_of_another_epoch(cache, t)
                           ? 0
                           : refresh_point(take_token->answered_ms, take_token->expires_in, random);
    t->failures = 0;
    t->retry_at_ms = t->failing_since_ms = 0;
}

void
token_cache_succeed(struct token_cache *cache)
{
    cache->failures = 0;
    cache->retry_at_ms = cache->failing_since_ms = 0;
}

static bool
is_of_audience(const struct error *failure)
{
    return failure->code == ERROR_DENIED || failure->code == ERROR_INPUT ||
           failure->code == ERROR_MISSING;
}

/* A decision about this audience stays.  Silences do not, nor a refused proof: the host says that too, until it
 * has its lease again. */
static bool
may_pass(const struct error *failure)
{
    return !is_of_audience(failure) || strcmp(failure->problem, "refused") == 0;
}

void
token_cache_fail(struct token_cache *cache, struct cached_token *t, const struct error *failure,
                 int64_t now, uint32_t random)
{
    int64_t asked_for = http_retry_spread(failure->retry_s * INT64_C(1000), random), delay;

    if (is_of_audience(failure)) {
        if (t->failing_since_ms == 0)
            t->failing_since_ms = now;
        t->failures++;
        t->failure = *failure;
        delay = backoff_delay(t->failures, random);
        t->retry_at_ms = now + (delay > asked_for ? delay : asked_for);
    } else {
        if (cache->failing_since_ms == 0)
            cache->failing_since_ms = now;
        cache->failures++;
        cache->failure = *failure;
        delay = backoff_delay(cache->failures, random);
        cache->retry_at_ms = now + (delay > asked_for ? delay : asked_for);
    }
}

void
token_cache_greeted(struct token_cache *cache, uint64_t epoch, int64_t utc_offset_ms, int64_t now, uint32_t random)
{
    if (epoch != 0 && epoch != cache->epoch) {
        cache->epoch = epoch;
        cache->prove_run_ms = now + RUN_PROOF_MS + random % RUN_PROOF_MS; /* not all guests of a host at once */
    }
    cache->utc_offset_ms = utc_offset_ms;
    cache->failures = 0;
    cache->retry_at_ms = 0;
    for (size_t i = 0; i < TOKEN_CACHE_MAX; i++) {
        struct cached_token *t = &cache->tokens[i];

        t->failures = 0;
        t->retry_at_ms = 0;
        if (t->text && is_of_another_epoch(cache, t))
            t->refresh_at_ms = 0;
    }
}

bool
token_cache_stale(struct token_cache *cache, int64_t now)
{
    if (cache->stale_ms != 0 && now < cache->stale_ms + STALE_EVERY_MS)
        return false;
    cache->stale_ms = now;
    for (size_t i = 0; i < TOKEN_CACHE_MAX; i++)
        cache->tokens[i].refresh_at_ms = 0;
    return true;
}

struct cached_token *
token_cache_due(struct token_cache *cache, int64_t now, int64_t *ret_next)
{
    struct cached_token *first = NULL;
    int64_t at_first = INT64_MAX;

    if (is_unproved(cache))
        (void)token_cache_entry(cache, CONNECT_AUDIENCE, now);
    for (size_t i = 0; i < TOKEN_CACHE_MAX; i++) {
        struct cached_token *t = &cache->tokens[i];
        int64_t at;

        if (!t->audience[0])
            continue;
        if (!is_wanted(cache, t, now)) {
            if (!token_cache_valid(cache, t, now))
                forget(t);
            continue;
        }
        at = token_cache_valid(cache, t, now) ? t->refresh_at_ms : 0;
        if (at < t->retry_at_ms)
            at = t->retry_at_ms;
        if (at < cache->retry_at_ms)
            at = cache->retry_at_ms;
        if (is_for_run(cache, t, now) && at < cache->prove_run_ms)
            at = cache->prove_run_ms;
        if (at < at_first) {
            at_first = at;
            first = t;
        }
    }
    if (first && at_first <= now)
        return first;
    *ret_next = at_first;
    return NULL;
}

const struct error *
token_cache_why_not(const struct token_cache *cache, const struct cached_token *t, int64_t now, int64_t *ret_until)
{
    bool of_audience = t->failures > 0 && now < t->retry_at_ms;
    const struct error *failure = of_audience ? &t->failure : &cache->failure;
    int64_t patient_until = (of_audience ? t->failing_since_ms : cache->failing_since_ms) + PATIENCE_MS;

    *ret_until = INT64_MAX;
    if (!of_audience && (cache->failures == 0 || now >= cache->retry_at_ms))
        return NULL;
    if (!may_pass(failure) || now >= patient_until)
        return failure;
    *ret_until = patient_until;
    return NULL;
}
