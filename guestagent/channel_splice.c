#include "config.h"

#include "guestagent/channel_splice.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "lib/wire/fields.h"

enum { ACK_EVERY = 16384, CHUNK = 16384 };

bool
channel_out_frame(struct channel_out *out, enum frame_type type, const void *payload,
                  size_t len)
{
    if (out->bytes.max - out->bytes.len < FRAME_HEADER_LEN + len)
        return false;
    frame_encode(type, out->session, payload, len, &out->bytes);
    return buf_ok(&out->bytes);
}

void
splice_init(struct splice *s)
{
    *s = (struct splice){ .fd = -1, .in = BUF(SPLICE_WINDOW) };
}

static void
drop_socket(struct splice *s)
{
    fd_close(s->fd);
    s->fd = -1;
    buf_clear(&s->in);
    s->in_flight = s->unacknowledged = s->sent = s->received = 0;
    s->host_closed = false;
}

void
splice_reset(struct splice *s)
{
    drop_socket(s);
    s->state = SPLICE_NONE;
}

int
splice_open(struct splice *s, struct channel_out *out, int64_t now_ms, struct error *err)
{
    if (s->state != SPLICE_NONE)
        return error_set(err, ERROR_BUSY, "the last connection is not closed yet");
    if (!channel_out_frame(out, FRAME_OPEN, NULL, 0))
        return error_set(err, ERROR_BUSY, "the channel is full");
    s->reason[0] = '\0';
    s->state = SPLICE_OPENING;
    s->deadline_ms = now_ms + SPLICE_OPEN_MS;
    return 0;
}

static void
send_close(struct channel_out *out, const char *reason)
{
    CLEANUP(buf_clear) struct buf payload = BUF(512);

    fields_add_text(&payload, reason);
    if (buf_ok(&payload))
        (void)channel_out_frame(out, FRAME_CLOSE, payload.data, payload.len);
}

/* We end it; the host's CLOSE is still to come unless it came already. */
static void
end(struct splice *s, struct channel_out *out, const char *reason, int64_t now_ms)
{
    bool both = s->host_closed;

    if (s->reason[0] == '\0')
        snprintf(s->reason, sizeof s->reason, "%s", reason);
    send_close(out, reason);
    drop_socket(s);
    s->state = both ? SPLICE_NONE : SPLICE_CLOSING;
    s->deadline_ms = now_ms + SPLICE_CLOSE_MS;
}

static void
take_open(struct splice *s, struct channel_out *out, int64_t now_ms, int *ret_fd)
{
    int pair[2];

    if (s->state != SPLICE_OPENING)
        return;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        end(s, out, "no socket", now_ms);
        return;
    }
    (void)fcntl(pair[0], F_SETFL, O_NONBLOCK);
    s->fd = pair[0];
    s->state = SPLICE_OPEN;
    s->deadline_ms = now_ms + SPLICE_MS_MAX;
    *ret_fd = pair[1];
}

static void
take_close(struct splice *s, const struct frame *frame)
{
    struct fields f = { frame->payload, frame->len };
    struct error ignored = { 0 };

    if (s->state == SPLICE_OPENING || s->state == SPLICE_OPEN) {
        if (fields_take_text(&f, 0, sizeof s->reason - 1, s->reason, &ignored) < 0)
            snprintf(s->reason, sizeof s->reason, "closed by the host");
    }
    if (s->state == SPLICE_OPEN)
        s->host_closed = true; /* what came before is passed on first: splice_run */
    else
        splice_reset(s);
}

static void
take_data(struct splice *s, const struct frame *frame, struct channel_out *out, int64_t now_ms)
{
    if (s->state != SPLICE_OPEN || s->host_closed)
        return;
    s->received += frame->len;
    if (frame->len > s->in.max - s->in.len || s->received > SPLICE_BYTES_MAX) {
        end(s, out, "more than this connection may carry", now_ms);
        return;
    }
    buf_add(&s->in, frame->payload, frame->len);
    if (!buf_ok(&s->in))
        end(s, out, "no memory", now_ms);
}

static void
take_ack(struct splice *s, const struct frame *frame, struct channel_out *out, int64_t now_ms)
{
    struct fields f = { frame->payload, frame->len };
    struct error ignored = { 0 };
    uint32_t n;

    if (s->state != SPLICE_OPEN)
        return;
    if (fields_take_u32(&f, &n, &ignored) < 0 || fields_end(&f, &ignored) < 0 ||
        n > s->in_flight) {
        end(s, out, "a bad ACK", now_ms);
        return;
    }
    s->in_flight -= n;
}

void
splice_take(struct splice *s, const struct frame *frame, struct channel_out *out,
            int64_t now_ms, int *ret_fd)
{
    if (frame->type == FRAME_OPEN)
        take_open(s, out, now_ms, ret_fd);
    else if (frame->type == FRAME_DATA)
        take_data(s, frame, out, now_ms);
    else if (frame->type == FRAME_CLOSE)
        take_close(s, frame);
    else if (frame->type == FRAME_ACK)
        take_ack(s, frame, out, now_ms);
}

/* How much of the agent's bytes fits now into the window and the port's queue. */
static size_t
may_send(const struct splice *s, const struct channel_out *out)
{
    size_t n = SPLICE_WINDOW - s->in_flight;

    /* One frame more than this stays free for SIGN, CLOSE and the like. */
    if (out->bytes.max - out->bytes.len < 2 * (FRAME_HEADER_LEN + FRAME_PAYLOAD_MAX))
        return 0;
    return n < CHUNK ? n : CHUNK;
}

short
splice_events(const struct splice *s, const struct channel_out *out)
{
    short events = 0;

    if (s->state != SPLICE_OPEN)
        return 0;
    if (s->in.len > 0)
        events |= POLLOUT;
    if (may_send(s, out) > 0)
        events |= POLLIN;
    return events;
}

static void
acknowledge(struct splice *s, struct channel_out *out)
{
    CLEANUP(buf_clear) struct buf payload = BUF(16);

    fields_add_u32(&payload, (uint32_t)s->unacknowledged);
    if (buf_ok(&payload) && channel_out_frame(out, FRAME_ACK, payload.data, payload.len))
        s->unacknowledged = 0;
}

/* -1: the agent's end is closed. */
static int
pass_on(struct splice *s, struct channel_out *out)
{
    while (s->in.len > 0) {
        ssize_t n = send(s->fd, s->in.data, s->in.len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        buf_drop(&s->in, (size_t)n);
        s->unacknowledged += (size_t)n;
    }
    if (s->unacknowledged >= ACK_EVERY || (s->unacknowledged > 0 && s->in.len == 0))
        acknowledge(s, out);
    return 0;
}

/* -1: the agent's end is closed, or has sent too much. */
static int
fetch(struct splice *s, struct channel_out *out)
{
    uint8_t chunk[CHUNK];
    size_t room;

    while ((room = may_send(s, out)) > 0) {
        ssize_t n = recv(s->fd, chunk, room, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        if (n == 0 || !channel_out_frame(out, FRAME_DATA, chunk, (size_t)n))
            return -1;
        s->in_flight += (size_t)n;
        s->sent += (size_t)n;
        if (s->sent > SPLICE_BYTES_MAX)
            return -1;
    }
    return 0;
}

void
splice_run(struct splice *s, struct channel_out *out, int64_t now_ms)
{
    if (s->state == SPLICE_OPEN) {
        bool gone = pass_on(s, out) < 0;

        if (!gone && !s->host_closed)
            gone = fetch(s, out) < 0;
        if (gone || (s->host_closed && s->in.len == 0))
            end(s, out, "done", now_ms);
        else if (now_ms >= s->deadline_ms)
            end(s, out, "took too long", now_ms);
    } else if (s->state == SPLICE_OPENING && now_ms >= s->deadline_ms) {
        end(s, out, "no answer", now_ms);
    } else if (s->state == SPLICE_CLOSING && now_ms >= s->deadline_ms) {
        s->state = SPLICE_NONE;
    }
}
