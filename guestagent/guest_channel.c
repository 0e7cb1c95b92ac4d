#include "config.h"

#include "guestagent/guest_channel.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "guestagent/guest_channel_state.h"
#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "lib/wire/fields.h"

enum {
    WHO_EVERY_MS = 1000,
    REOPEN_MS = 1000,
    QUIET_MS = 500, /* the host's end of the port is closed: no event says when it opens */
};

void
guest_channel_wake(struct guest_channel *c)
{
    uint64_t one = 1;

    (void)!write(c->wake, &one, sizeof one);
}

/* What was under way is over. */
static void
fail_requests(struct guest_channel *c, const char *why)
{
    struct error failure = { 0 };

    error_problem(&failure, ERROR_BUSY, "no-channel", "%s", why);
    splice_reset(&c->splice);
    if (c->ask == WANT_SEND || c->ask == WANT_ANSWER) {
        c->ask = WANT_FAILED;
        c->failure = failure;
    }
    if (c->open == WANT_SEND || c->open == WANT_ANSWER) {
        c->open = WANT_FAILED;
        c->failure = failure;
    }
}

static void
go_down(struct guest_channel *c, const char *why)
{
    c->up = false;
    fail_requests(c, why);
    pthread_cond_broadcast(&c->changed);
}

static void
close_port(struct guest_channel *c, const char *why, int64_t now)
{
    channel_port_close(&c->port);
    frame_reader_clear(&c->reader);
    buf_clear(&c->out.bytes);
    c->reopen_at_ms = now + REOPEN_MS;
    error_problem(&c->port_error, ERROR_BUSY, "no-channel", "%s", why);
    go_down(c, why);
}

static void
open_port(struct guest_channel *c, int64_t now)
{
    if (channel_port_open(c->options.where, &c->port, &c->port_error) < 0) {
        c->reopen_at_ms = now + REOPEN_MS;
        return;
    }
    error_problem(&c->port_error, ERROR_BUSY, "no-channel",
                  "the host's side does not answer on " CHANNEL_PORT_NAME
                  " (is virtid-hostd running, is this domain enabled?)");
    c->who_at_ms = now;
    c->quiet_until_ms = 0;
}

static void
send_ready(struct guest_channel *c, uint64_t serial)
{
    CLEANUP(buf_clear) struct buf payload = BUF(64);

    fields_add_u8(&payload, CHANNEL_VERSION);
    fields_add_u64(&payload, serial);
    if (buf_ok(&payload))
        (void)channel_out_frame(&c->out, FRAME_READY, payload.data, payload.len);
}

static void
take_hello(struct guest_channel *c, const struct frame *frame, int64_t now)
{
    struct hello *hello = calloc(1, sizeof *hello);
    struct error err = { 0 };
    uint64_t serial = 0;

    if (!hello)
        return;
    if (hello_decode(frame->payload, frame->len, hello, &err) < 0 ||
        hello->session != frame->session || hello->session == 0) {
        log_warning("a HELLO that is none was dropped: going on");
    } else if (c->options.on_hello(c->options.context, hello, &serial, &err) < 0) {
        log_error(&err, "HELLO of the host's side is not answered");
        c->port_error = err;
    } else {
        fail_requests(c, "the host's side greeted anew");
        c->greeting.count++;
        c->greeting.session = hello->session;
        c->greeting.epoch = hello->epoch;
        c->greeting.uuid = hello->uuid;
        memcpy(c->greeting.issuer, hello->issuer, sizeof hello->issuer);
        c->greeting.utc_offset_ms = (int64_t)hello->utc_ms - now;
        c->out.session = hello->session;
        c->up = c->greeted_now = true;
        c->greet_again = false;
        send_ready(c, serial);
        pthread_cond_broadcast(&c->changed);
    }
    free(hello);
}

static int
read_signature(const struct guest_channel *c, const struct frame *frame,
               struct host_signature *ret, struct error *err)
{
    struct fields f = { frame->payload, frame->len };
    struct fields asked = { c->ask_payload, c->ask_len };
    uint8_t h[32], mine[32];

    if (fields_take_exact(&f, h, sizeof h, err) < 0 ||
        fields_take_u64(&f, &ret->epoch, err) < 0 ||
        fields_take_text(&f, 1, NAME_HOST_MAX, ret->host, err) < 0 ||
        fields_take_exact(&f, ret->signature, sizeof ret->signature, err) < 0 ||
        fields_end(&f, err) < 0 || fields_take_exact(&asked, mine, sizeof mine, err) < 0)
        return -1;
    if (memcmp(h, mine, sizeof h) != 0) /* public values: plain comparison */
        return error_set(err, ERROR_INPUT, "SIG over another hash");
    return 0;
}

static void
take_answer(struct guest_channel *c, const struct frame *frame)
{
    struct error err = { 0 };

    if (c->ask != WANT_ANSWER)
        return;
    if (frame->type == FRAME_NO) {
        struct fields f = { frame->payload, frame->len };
        char reason[301];
        uint8_t type;

        if (fields_take_u8(&f, &type, &err) < 0 || type != c->ask_type ||
            fields_take_text(&f, 0, sizeof reason - 1, reason, &err) < 0)
            return;
        if (type == FRAME_SYNC) /* "no-sync" is all that a host of before there were ratchets says */
            error_problem(&c->failure, ERROR_BUSY, strcmp(reason, "no-sync") == 0 ? "no-sync" : "sync-failed",
                          "the host does not make the vTPM durable: %s", reason);
        else
            error_problem(&c->failure, ERROR_DENIED, "refused", "the host says: %s", reason);
        c->ask = WANT_FAILED;
    } else if (frame->type == FRAME_SIG && c->ask_type == FRAME_SIGN) {
        if (read_signature(c, frame, &c->signature, &err) < 0)
            return; /* an answer to an older question */
        c->ask = WANT_DONE;
    } else if (frame->type == FRAME_SYNCED && c->ask_type == FRAME_SYNC) {
        c->ask = WANT_DONE;
    }
    pthread_cond_broadcast(&c->changed);
}

static void
take_frame(struct guest_channel *c, const struct frame *frame, int64_t now)
{
    int fd = -1;

    if (frame->type == FRAME_HELLO) {
        take_hello(c, frame, now);
        return;
    }
    if (!c->up || frame->session != c->greeting.session)
        return;
    if (frame->type == FRAME_STALE) {
        c->stale_now = true;
        return;
    }
    if (frame->type == FRAME_SIG || frame->type == FRAME_NO || frame->type == FRAME_SYNCED) {
        take_answer(c, frame);
        return;
    }
    splice_take(&c->splice, frame, &c->out, now, &fd);
    if (fd < 0)
        return;
    if (c->open == WANT_ANSWER) {
        c->open = WANT_DONE;
        c->open_fd = fd;
        pthread_cond_broadcast(&c->changed);
    } else {
        fd_close(fd); /* nobody waits for it any more; splice_run sees the end */
    }
}

static void
read_port(struct guest_channel *c, int64_t now)
{
    uint8_t chunk[FRAME_PAYLOAD_MAX];
    struct frame frame;
    ssize_t n;

    n = read(c->port.fd, chunk, sizeof chunk);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n > 0) {
        /* There is room: what is left over is less than one frame. */
        frame_feed(&c->reader, chunk, (size_t)n);
        while (frame_next(&c->reader, &frame))
            take_frame(c, &frame, now);
    } else if (n < 0 || c->port.is_socket) {
        close_port(c, "the port went away", now);
    } else {
        /* What the other end did not finish it never will: the next byte begins a frame. */
        frame_reader_clear(&c->reader);
        c->quiet_until_ms = now + QUIET_MS;
        go_down(c, "nobody listens on the host's side");
    }
}

static void
write_port(struct guest_channel *c, int64_t now)
{
    while (c->out.bytes.len > 0) {
        ssize_t n = write(c->port.fd, c->out.bytes.data, c->out.bytes.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            close_port(c, "the port went away", now);
            return;
        }
        buf_drop(&c->out.bytes, (size_t)n);
    }
}

static void
send_wanted(struct guest_channel *c, int64_t now)
{
    struct error err = { 0 };

    if (c->ask == WANT_SEND &&
        channel_out_frame(&c->out, c->ask_type, c->ask_payload, c->ask_len))
        c->ask = WANT_ANSWER;
    if (c->status.len > 0 &&
        channel_out_frame(&c->out, FRAME_STATUS, c->status.data, c->status.len))
        buf_clear(&c->status);
    if (c->open == WANT_SEND && splice_open(&c->splice, &c->out, now, &err) == 0)
        c->open = WANT_ANSWER;
    else if (c->open == WANT_ANSWER && c->splice.state != SPLICE_OPENING) {
        error_problem(&c->failure, ERROR_BUSY, "unavailable",
                      "the host reaches no token service: %s", c->splice.reason);
        c->open = WANT_FAILED;
        pthread_cond_broadcast(&c->changed);
    }
}

/* Everything that is due now, but reading. */
static void
run_due(struct guest_channel *c, int64_t now)
{
    if (c->port.fd < 0) {
        if (now >= c->reopen_at_ms)
            open_port(c, now);
        if (c->port.fd < 0)
            return;
    }
    if (c->up && !c->greet_again) {
        splice_run(&c->splice, &c->out, now);
        send_wanted(c, now);
    }
    if ((!c->up || c->greet_again) && now >= c->who_at_ms && now >= c->quiet_until_ms) {
        uint64_t session = c->out.session;

        c->out.session = 0;
        (void)channel_out_frame(&c->out, FRAME_WHO, NULL, 0);
        c->out.session = session;
        c->who_at_ms = now + WHO_EVERY_MS;
    }
    if (now >= c->quiet_until_ms)
        write_port(c, now);
}

static int
next_timeout(const struct guest_channel *c, int64_t now)
{
    int64_t at = now + 60000;

    if (c->port.fd < 0)
        at = c->reopen_at_ms;
    else if (now < c->quiet_until_ms)
        at = c->quiet_until_ms;
    else if (!c->up || c->greet_again)
        at = c->who_at_ms;
    if (c->splice.state != SPLICE_NONE && c->splice.deadline_ms < at)
        at = c->splice.deadline_ms;
    return at <= now ? 0 : (int)(at - now);
}

static void
wait_for_events(struct guest_channel *c, struct pollfd p[3], int64_t now)
{
    short splice = splice_events(&c->splice, &c->out);
    bool quiet = now < c->quiet_until_ms;
    int timeout = next_timeout(c, now);

    p[0] = (struct pollfd){ .fd = c->wake, .events = POLLIN };
    p[1] = (struct pollfd){ .fd = quiet ? -1 : c->port.fd, .events = POLLIN };
    if (c->out.bytes.len > 0)
        p[1].events |= POLLOUT;
    /* Without anything to look for even a hang-up would only make us spin. */
    p[2] = (struct pollfd){ .fd = splice ? c->splice.fd : -1, .events = splice };
    pthread_mutex_unlock(&c->lock);
    (void)poll(p, 3, timeout);
    pthread_mutex_lock(&c->lock);
}

static void *
run(void *context)
{
    struct guest_channel *c = context;

    pthread_mutex_lock(&c->lock);
    while (!c->stop) {
        struct pollfd p[3];
        int64_t now = clock_monotonic_ms();
        uint64_t drain;

        run_due(c, now);
        wait_for_events(c, p, now);
        now = clock_monotonic_ms();
        if (p[0].revents)
            (void)!read(c->wake, &drain, sizeof drain);
        if (p[1].revents && c->port.fd >= 0)
            read_port(c, now);
        if (c->greeted_now) {
            c->greeted_now = false;
            pthread_mutex_unlock(&c->lock);
            c->options.on_greeted(c->options.context);
            pthread_mutex_lock(&c->lock);
        }
        if (c->stale_now && c->options.on_stale) {
            pthread_mutex_unlock(&c->lock);
            c->options.on_stale(c->options.context);
            pthread_mutex_lock(&c->lock);
        }
        c->stale_now = false;
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

int
guest_channel_new(const struct guest_channel_options *options, struct guest_channel **ret,
                  struct error *err)
{
    struct guest_channel *c = calloc(1, sizeof *c);
    pthread_condattr_t attr;
    int failed;

    if (!c)
        return error_sys(err, ENOMEM, "channel");
    c->options = *options;
    c->port.fd = c->open_fd = -1;
    c->reader = (struct frame_reader)FRAME_READER();
    c->out.bytes = BUF(SPLICE_OUT_MAX);
    c->status = BUF(512);
    splice_init(&c->splice);
    error_problem(&c->port_error, ERROR_BUSY, "no-channel", "the port is not open yet");
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->changed, &attr);
    pthread_condattr_destroy(&attr);
    c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->wake < 0) {
        failed = errno;
        guest_channel_free(c);
        return error_sys(err, failed, "channel");
    }
    *ret = c;
    return 0;
}

int
guest_channel_start(struct guest_channel *c, struct error *err)
{
    int failed = pthread_create(&c->thread, NULL, run, c);

    if (failed)
        return error_sys(err, failed, "channel's thread");
    c->started = true;
    return 0;
}

void
guest_channel_stop(struct guest_channel *c)
{
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_mutex_unlock(&c->lock);
    if (c->started) {
        guest_channel_wake(c);
        pthread_join(c->thread, NULL);
        c->started = false;
    }
    pthread_mutex_lock(&c->lock);
    go_down(c, "the agent ends");
    pthread_mutex_unlock(&c->lock);
}

void
guest_channel_free(struct guest_channel *c)
{
    if (!c)
        return;
    guest_channel_stop(c);
    channel_port_close(&c->port);
    frame_reader_clear(&c->reader);
    buf_clear(&c->out.bytes);
    buf_clear(&c->status);
    fd_close(c->open_fd);
    fd_close(c->wake);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c);
}
