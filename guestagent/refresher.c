#include "config.h"

#include "guestagent/refresher.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "guestagent/token_cache.h"
#include "lib/common/clock.h"
#include "lib/common/log.h"
#include "lib/crypto/random.h"

enum { LOOK_AGAIN_MS = 60000 };

struct refresher {
    struct refresher_options options;
    pthread_t thread;
    bool started, stop;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* CLOCK_MONOTONIC */
    struct token_cache cache;
    struct error last;
    uint64_t proofs, changes;
};

static uint32_t
dice(void)
{
    struct error ignored;
    uint32_t n = 0;

    (void)random_bytes(&n, sizeof n, &ignored); /* only jitter: zero is harmless */
    return n;
}

static void
wait_changed(struct refresher *r, int64_t ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_cond_timedwait(&r->changed, &r->lock, &until);
}

/* With the lock held: whoever waits looks again. */
static void
say_changed(struct refresher *r)
{
    r->changes++;
    pthread_cond_broadcast(&r->changed);
}

static void
tell(struct refresher *r, const char *word, const char *text)
{
    if (r->options.tell)
        r->options.tell(r->options.context, word, text);
}

static void
report(struct refresher *r, const char *audience, const struct error *failure)
{
    char word[32];

    if (failure->code == ERROR_NONE) {
        tell(r, "token", audience);
        return;
    }
    memcpy(word, failure->problem[0] ? failure->problem : "failed",
           failure->problem[0] ? sizeof failure->problem : sizeof "failed");
    tell(r, word, failure->text);
}

/* One proof without the lock; the entry is found anew afterwards. */
static void
refresh(struct refresher *r, const char *audience)
{
    struct proof_token token = { 0 };
    struct error failure = { 0 };
    struct cached_token *t;
    int64_t now, stale_before = r->cache.stale_ms;
    bool changed;

    pthread_mutex_unlock(&r->lock);
    if (r->options.prove(r->options.context, audience, &token, &failure) == 0)
        failure = (struct error){ 0 };
    report(r, audience, &failure);
    pthread_mutex_lock(&r->lock);
    now = clock_monotonic_ms();
    t = token_cache_entry(&r->cache, audience, now);
    changed = strcmp(r->last.text, failure.text) != 0;
    r->last = failure;
    if (failure.code == ERROR_NONE) {
        r->proofs++;
        token_cache_succeed(&r->cache);
        log_notice("event=token audience=%s expires_in=%lld epoch=%llu", audience,
                   (long long)token.expires_in, (unsigned long long)token.epoch);
        if (t)
            token_cache_put(&r->cache, t, &token, dice());
        if (t && r->cache.stale_ms != stale_before) /* said meanwhile: which key it is of nobody knows */
            t->refresh_at_ms = 0;
    } else {
        if (changed) /* the same trouble every few seconds is one line, not a thousand */
            log_error(&failure, "event=proof-failed audience=%s", audience);
        if (t)
            token_cache_fail(&r->cache, t, &failure, now, dice());
    }
    secret_free(token.text);
    say_changed(r);
}

static void *
run(void *context)
{
    struct refresher *r = context;

    pthread_mutex_lock(&r->lock);
    while (!r->stop) {
        int64_t now = clock_monotonic_ms(), next = INT64_MAX;
        const struct cached_token *due = token_cache_due(&r->cache, now, &next);
        char audience[NAME_AUDIENCE_MAX + 1];

        if (due) {
            memcpy(audience, due->audience, sizeof audience);
            refresh(r, audience);
        } else {
            wait_changed(r, next - now < LOOK_AGAIN_MS ? next - now : LOOK_AGAIN_MS);
        }
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

int
refresher_new(const struct refresher_options *options, struct refresher **ret,
              struct error *err)
{
    struct refresher *r = calloc(1, sizeof *r);
    pthread_condattr_t attr;
    int failed;

    if (!r)
        return error_sys(err, ENOMEM, "refresher");
    r->options = *options;
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->changed, &attr);
    pthread_condattr_destroy(&attr);
    failed = pthread_create(&r->thread, NULL, run, r);
    if (failed) {
        refresher_free(r);
        return error_sys(err, failed, "proof thread");
    }
    r->started = true;
    *ret = r;
    return 0;
}

void
refresher_stop(struct refresher *r)
{
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    say_changed(r);
    pthread_mutex_unlock(&r->lock);
}

void
refresher_free(struct refresher *r)
{
    if (!r)
        return;
    if (r->started) {
        refresher_stop(r);
        pthread_join(r->thread, NULL);
    }
    token_cache_clear(&r->cache);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static int
prefetch(struct refresher *r, const char *const *audiences, size_t n, struct error *err)
{
    for (size_t i = 0; i < TOKEN_CACHE_MAX; i++)
        r->cache.tokens[i].prefetched = false;
    for (size_t i = 0; i < n; i++) {
        struct cached_token *t = token_cache_entry(&r->cache, audiences[i], clock_monotonic_ms());

        if (!t)
            return error_set(err, ERROR_INPUT, "more than %d audiences", TOKEN_CACHE_MAX);
        t->prefetched = true;
    }
    return 0;
}

int
refresher_prefetch(struct refresher *r, const char *const *audiences, size_t n, struct error *err)
{
    int outcome;

    for (size_t i = 0; i < n; i++) {
        if (!name_is_audience(audiences[i]))
            return error_set(err, ERROR_INPUT, "\"%.100s\" is no audience", audiences[i]);
    }
    pthread_mutex_lock(&r->lock);
    outcome = prefetch(r, audiences, n, err);
    say_changed(r);
    pthread_mutex_unlock(&r->lock);
    return outcome;
}

void
refresher_greeted(struct refresher *r, uint64_t epoch, int64_t utc_offset_ms)
{
    pthread_mutex_lock(&r->lock);
    token_cache_greeted(&r->cache, epoch, utc_offset_ms, clock_monotonic_ms(), dice());
    say_changed(r);
    pthread_mutex_unlock(&r->lock);
}

void
refresher_stale(struct refresher *r)
{
    int64_t now = clock_monotonic_ms();

    pthread_mutex_lock(&r->lock);
    if (token_cache_stale(&r->cache, now)) {
        log_notice("event=tokens-stale a key was revoked: getting new ones");
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
}

static int
copy_token(const struct cached_token *t, int64_t now, struct secret **ret,
           int64_t *ret_expires_in, struct error *err)
{
    struct secret *copy;

    if (secret_new(t->text->len, &copy, err) < 0)
        return -1;
    memcpy(copy->bytes, t->text->bytes, copy->len);
    *ret = copy;
    *ret_expires_in = (t->expires_ms - now) / 1000;
    return 0;
}

/* With the lock held. */
static int
find_token(struct refresher *r, const char *audience, int64_t deadline_ms, struct secret **ret,
           int64_t *ret_expires_in, struct error *err)
{
    for (bool asked = false;;) {
        int64_t now = clock_monotonic_ms();
        struct cached_token *t = token_cache_entry(&r->cache, audience, now);
        const struct error *why;
        int64_t until;

        if (!t)
            return error_set(err, ERROR_BUSY, "tokens for %d audiences are kept already",
                             TOKEN_CACHE_MAX);
        t->wanted_until_ms = now + TOKEN_WANTED_MS;
        if (token_cache_valid(&r->cache, t, now))
            return copy_token(t, now, ret, ret_expires_in, err);
        why = token_cache_why_not(&r->cache, t, now, &until);
        if (why) {
            *err = *why;
            return -1;
        }
        if (r->stop)
            return error_problem(err, ERROR_BUSY, "unavailable", "the agent ends");
        if (now >= deadline_ms)
            return error_problem(err, ERROR_BUSY, "unavailable", "no token in time");
        if (!asked) /* once: waiters must not keep waking each other */
            pthread_cond_broadcast(&r->changed);
        asked = true;
        wait_changed(r, (until < deadline_ms ? until : deadline_ms) - now);
    }
}

int
refresher_token(struct refresher *r, const char *audience, int64_t deadline_ms,
                struct secret **ret, int64_t *ret_expires_in, struct error *err)
{
    int outcome;

    if (!name_is_audience(audience))
        return error_set(err, ERROR_INPUT, "not the name of an audience");
    pthread_mutex_lock(&r->lock);
    outcome = find_token(r, audience, deadline_ms, ret, ret_expires_in, err);
    pthread_mutex_unlock(&r->lock);
    return outcome;
}

int
refresher_peek(struct refresher *r, const char *audience, struct refresher_token_now *ret, struct error *err)
{
    struct refresher_token_now found = { 0 };
    int64_t now = clock_monotonic_ms(), ignored;
    int outcome = 0;

    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < TOKEN_CACHE_MAX; i++) {
        const struct cached_token *t = &r->cache.tokens[i];

        if (strcmp(t->audience, audience) != 0 || !token_cache_valid(&r->cache, t, now))
            continue;
        found.number = t->number;
        found.left_ms = token_cache_left(&r->cache, t, now);
        outcome = copy_token(t, now, &found.text, &ignored, err);
    }
    pthread_mutex_unlock(&r->lock);
    if (outcome == 0)
        *ret = found;
    return outcome;
}

void
refresher_wait(struct refresher *r, uint64_t *seen, int64_t ms)
{
    int64_t until = clock_monotonic_ms() + ms, now;

    pthread_mutex_lock(&r->lock);
    while (r->changes == *seen && (now = clock_monotonic_ms()) < until)
        wait_changed(r, until - now);
    *seen = r->changes;
    pthread_mutex_unlock(&r->lock);
}

void
refresher_wake(struct refresher *r)
{
    pthread_mutex_lock(&r->lock);
    say_changed(r);
    pthread_mutex_unlock(&r->lock);
}

void
refresher_status(struct refresher *r, struct refresher_status *ret)
{
    int64_t now = clock_monotonic_ms();

    memset(ret, 0, sizeof *ret);
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < TOKEN_CACHE_MAX; i++) {
        const struct cached_token *t = &r->cache.tokens[i];

        ret->wanted += t->audience[0] != '\0';
        ret->valid += token_cache_valid(&r->cache, t, now);
    }
    ret->failure = r->last;
    ret->proofs = r->proofs;
    pthread_mutex_unlock(&r->lock);
}
