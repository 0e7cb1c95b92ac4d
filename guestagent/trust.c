#include "config.h"

#include "guestagent/trust.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "lib/common/fdio.h"
#include "lib/common/log.h"

enum { BUNDLE_FILE_MAX = BUNDLE_MAX + 64 };

struct trust {
    pthread_mutex_t lock;
    char path[512];
    bool has_bundle, has_uuid;
    struct bundle bundle;
    struct vm_uuid uuid;
};

/* The bundle's own file: it was checked when it was taken; damage shows in its encoding. */
static int
read_bundle(struct trust *t, struct error *err)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(BUNDLE_FILE_MAX);

    if (file_read(t->path, &bytes, err) < 0)
        return -1;
    return bundle_decode(bytes.data, bytes.len, &t->bundle, err);
}

int
trust_open(const char *state_dir, struct trust **ret, struct error *err)
{
    CLEANUP(trust_free) struct trust *t = calloc(1, sizeof *t);
    struct error failure = { 0 };
    char aside[600];

    if (!t)
        return error_sys(err, ENOMEM, "trust");
    pthread_mutex_init(&t->lock, NULL);
    if ((size_t)snprintf(t->path, sizeof t->path, "%s/bundle", state_dir) >= sizeof t->path)
        return error_set(err, ERROR_INPUT, "state_dir is too long");
    if (read_bundle(t, &failure) == 0) {
        t->has_bundle = true;
    } else if (failure.code == ERROR_INPUT) {
        snprintf(aside, sizeof aside, "%s.bad", t->path);
        if (rename(t->path, aside) < 0)
            return error_sys(err, errno, "set %s aside", t->path);
        log_error(&failure, "the trust bundle is damaged and was set aside as %s: "
                            "waiting for the host's", aside);
    } else if (failure.code != ERROR_MISSING) {
        *err = failure;
        return -1;
    }
    *ret = STEAL(t);
    return 0;
}

void
trust_free(struct trust *t)
{
    if (!t)
        return;
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* Take the offered bundle if it may be taken; whatever happens, what is held stays usable. */
static void
consider(struct trust *t, const struct hello *hello)
{
    struct bundle next;
    struct error err = { 0 };

    if (hello->bundle_len == 0)
        return;
    if (bundle_decode(hello->bundle, hello->bundle_len, &next, &err) < 0) {
        log_error(&err, "the host offers a bundle that is none: going on with ours");
        return;
    }
    if (t->has_bundle && next.serial <= t->bundle.serial)
        return; /* the one we hold, or an older one: the host will learn our serial by READY */
    if (bundle_accept(t->has_bundle ? &t->bundle : NULL, hello->bundle, hello->bundle_len,
                      &next, &err) < 0) {
        log_error(&err, "event=bundle-refused a bundle is not signed under the one held");
        return;
    }
    if (strcmp(next.issuer, hello->issuer) != 0) {
        log_warning("event=bundle-refused the bundle is of another issuer: going on");
        return;
    }
    if (file_replace(t->path, hello->bundle, hello->bundle_len, 0644, &err) < 0) {
        log_error(&err, "the new bundle can not be kept: going on without it");
        return;
    }
    if (t->has_bundle)
        log_notice("event=bundle-taken serial=%llu", (unsigned long long)next.serial);
    else
        log_notice("event=bundle-first serial=%llu issuer=%s on trust in the host",
                   (unsigned long long)next.serial, next.issuer);
    t->bundle = next;
    t->has_bundle = true;
}

static int
judge(struct trust *t, const struct hello *hello, uint64_t *ret_serial, struct error *err)
{
    if (t->has_uuid && !vm_uuid_equal(&t->uuid, &hello->uuid))
        return error_problem(err, ERROR_DENIED, "uuid-changed",
                             "the host's side names another UUID than before");
    if (t->has_bundle && strcmp(t->bundle.issuer, hello->issuer) != 0)
        return error_problem(err, ERROR_DENIED, "issuer-changed",
                             "the host's side names issuer %s, the bundle here is of %s "
                             "(a wanted change: remove %s and restart virtid-agent)",
                             hello->issuer, t->bundle.issuer, t->path);
    consider(t, hello);
    if (!t->has_bundle)
        return error_problem(err, ERROR_DENIED, "bundle-missing",
                             "no trust bundle here, and none came that may be taken");
    t->uuid = hello->uuid;
    t->has_uuid = true;
    *ret_serial = t->bundle.serial;
    return 0;
}

int
trust_offer(struct trust *t, const struct hello *hello, uint64_t *ret_serial,
            struct error *err)
{
    int outcome;

    pthread_mutex_lock(&t->lock);
    outcome = judge(t, hello, ret_serial, err);
    pthread_mutex_unlock(&t->lock);
    return outcome;
}

int
trust_bundle(struct trust *t, struct bundle *ret, struct error *err)
{
    int outcome = 0;

    pthread_mutex_lock(&t->lock);
    if (t->has_bundle)
        *ret = t->bundle;
    else
        outcome = error_problem(err, ERROR_MISSING, "bundle-missing", "no trust bundle yet");
    pthread_mutex_unlock(&t->lock);
    return outcome;
}
