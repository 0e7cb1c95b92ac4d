#include "config.h"

#include "guestagent/guest_channel.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "guestagent/guest_channel_state.h"
#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/wire/fields.h"

enum {
    SIGN_MS = 2000,
    SYNC_MS = 5000,
    ASK_ATTEMPTS = 3,
    OPEN_WAIT_MS = SPLICE_OPEN_MS + SPLICE_CLOSE_MS + 1000,
};

/* False: `deadline_ms` (clock_monotonic_ms) has passed. */
static bool
wait_changed(struct guest_channel *c, int64_t deadline_ms)
{
    int64_t left = deadline_ms - clock_monotonic_ms();
    struct timespec until;

    if (left <= 0)
        return false;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += left / 1000;
    until.tv_nsec += (left % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_cond_timedwait(&c->changed, &c->lock, &until);
    return true;
}

int
guest_channel_wait(struct guest_channel *c, int64_t deadline_ms, struct greeting *ret,
                   struct error *err)
{
    int outcome = 0;

    pthread_mutex_lock(&c->lock);
    while (!c->up && !c->stop && wait_changed(c, deadline_ms))
        ;
    if (c->up)
        *ret = c->greeting;
    else {
        *err = c->port_error;
        outcome = -1;
    }
    pthread_mutex_unlock(&c->lock);
    return outcome;
}

/* Ask, three times if need be.  Called and left with the lock held. */
static int
ask(struct guest_channel *c, enum frame_type type, const struct buf *payload, int64_t each_ms,
    struct error *err)
{
    int outcome;

    c->ask_type = type;
    c->ask_len = payload->len;
    if (payload->len > 0)
        memcpy(c->ask_payload, payload->data, payload->len);
    if (c->stop)
        return error_set(err, ERROR_BUSY, "the agent ends");
    for (int attempt = 0; attempt < ASK_ATTEMPTS; attempt++) {
        int64_t deadline = clock_monotonic_ms() + each_ms;

        c->ask = WANT_SEND;
        guest_channel_wake(c);
        while (c->ask != WANT_DONE && c->ask != WANT_FAILED && wait_changed(c, deadline))
            ;
        if (c->ask == WANT_DONE || c->ask == WANT_FAILED)
            break;
    }
    if (c->ask == WANT_FAILED)
        *err = c->failure;
    else if (c->ask != WANT_DONE) {
        c->greet_again = true;
        c->who_at_ms = 0;
        guest_channel_wake(c);
        error_problem(err, ERROR_BUSY, "no-channel", "the host's side did not answer %d times",
                      ASK_ATTEMPTS);
    }
    outcome = c->ask == WANT_DONE ? 0 : -1;
    c->ask = WANT_NOTHING;
    return outcome;
}

int
guest_channel_sign(struct guest_channel *c, const uint8_t h[static 32],
                   struct host_signature *ret, struct error *err)
{
    CLEANUP(buf_clear) struct buf payload = BUF(64);
    int outcome;

    fields_add(&payload, h, 32);
    if (!buf_ok(&payload))
        return error_sys(err, ENOMEM, "SIGN");
    pthread_mutex_lock(&c->lock);
    outcome = ask(c, FRAME_SIGN, &payload, SIGN_MS, err);
    if (outcome == 0)
        *ret = c->signature;
    pthread_mutex_unlock(&c->lock);
    return outcome < 0 ? error_wrap(err, "the host's signature") : 0;
}

int
guest_channel_sync(struct guest_channel *c, struct error *err)
{
    struct buf nothing = BUF(1);
    int outcome;

    pthread_mutex_lock(&c->lock);
    outcome = ask(c, FRAME_SYNC, &nothing, SYNC_MS, err);
    pthread_mutex_unlock(&c->lock);
    return outcome < 0 ? error_wrap(err, "making the vTPM durable") : 0;
}

int
guest_channel_open(struct guest_channel *c, int *ret_fd, struct error *err)
{
    int64_t deadline = clock_monotonic_ms() + OPEN_WAIT_MS;
    int outcome = -1;

    pthread_mutex_lock(&c->lock);
    c->open = c->stop ? WANT_FAILED : WANT_SEND;
    guest_channel_wake(c);
    while (c->open != WANT_DONE && c->open != WANT_FAILED && wait_changed(c, deadline))
        ;
    if (c->open == WANT_DONE) {
        *ret_fd = fd_steal(&c->open_fd);
        outcome = 0;
    } else if (c->open == WANT_FAILED) {
        *err = c->failure;
    } else {
        error_problem(err, ERROR_BUSY, "no-channel", "the host's side opens no connection");
    }
    c->open = WANT_NOTHING;
    pthread_mutex_unlock(&c->lock);
    return outcome;
}

void
guest_channel_status(struct guest_channel *c, const char *word, const char *text)
{
    char plain[301];
    size_t n = 0;

    /* Printable ASCII only, as every text in a frame. */
    for (; text[n] && n < sizeof plain - 1; n++)
        plain[n] = text[n] >= 0x20 && text[n] <= 0x7e ? text[n] : '?';
    plain[n] = '\0';
    pthread_mutex_lock(&c->lock);
    buf_clear(&c->status);
    fields_add_text(&c->status, word);
    fields_add_text(&c->status, plain);
    if (!buf_ok(&c->status))
        buf_clear(&c->status);
    pthread_mutex_unlock(&c->lock);
    guest_channel_wake(c);
}
