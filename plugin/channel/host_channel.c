#include "config.h"

#include "plugin/channel/host_channel.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/crypto/random.h"
#include "lib/wire/fields.h"
#include "lib/wire/transcript.h"
#include "plugin/channel/splice.h"
#include "plugin/channel/token_bucket.h"

enum {
    OUTPUT_MAX = 4 * HOST_CHANNEL_WINDOW, /* above it the guest is not heard until it reads */
    FRAMES_PER_SECOND = 200,
    FRAMES_BURST = 400,
    BYTES_PER_SECOND = 1 << 20, /* bytes that make no frame cost time as well; a proof takes 20 KiB */
    BYTES_BURST = 2 << 20,
};

struct host_channel {
    struct event_base *base;
    struct vm_uuid uuid;
    struct host_channel_owner owner;
    struct bufferevent *guest;
    struct event *ready_timer, *resume_timer;
    struct frame_reader reader;
    uint64_t session;
    struct splice *splice;
    bool splice_ended;                     /* free it when we are out of its callback */
    uint64_t behind_serial;                /* of an older bundle, that the owner was told of */
    int64_t behind_ms;
    uint64_t sync_session;                 /* that asked and waits for the owner's answer, or 0 */
    struct token_bucket signs, syncs, opens, statuses, greetings, frames, bytes;
    struct host_channel_status status;
};

const char *
host_channel_state_name(enum host_channel_state state)
{
    static const char *const names[] = {
        [HOST_CHANNEL_WAITING] = "waiting",
        [HOST_CHANNEL_READY] = "ready",
        [HOST_CHANNEL_SILENT] = "silent",
        [HOST_CHANNEL_GONE] = "gone",
    };

    return names[state];
}

static void
changed(struct host_channel *c)
{
    if (c->owner.changed)
        c->owner.changed(c->owner.context);
}

static void
send_frame(struct host_channel *c, enum frame_type type, const void *payload, size_t len)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(FRAME_HEADER_LEN + FRAME_PAYLOAD_MAX);

    if (c->status.state == HOST_CHANNEL_GONE)
        return;
    frame_encode(type, c->session, payload, len, &bytes);
    if (!buf_ok(&bytes) || bufferevent_write(c->guest, bytes.data, bytes.len) < 0)
        return; /* the agent repeats what it needs */
    if (evbuffer_get_length(bufferevent_get_output(c->guest)) > OUTPUT_MAX)
        bufferevent_disable(c->guest, EV_READ);
}

static void
send_no(struct host_channel *c, enum frame_type refused, const char *reason)
{
    CLEANUP(buf_clear) struct buf payload = BUF(256);

    fields_add_u8(&payload, (uint8_t)refused);
    fields_add_text(&payload, reason);
    snprintf(c->status.refusal, sizeof c->status.refusal, "%s", reason);
    c->status.refusals++;
    send_frame(c, FRAME_NO, payload.data, payload.len);
}

static void
send_close(struct host_channel *c, const char *reason)
{
    CLEANUP(buf_clear) struct buf payload = BUF(256);

    fields_add_text(&payload, reason);
    send_frame(c, FRAME_CLOSE, payload.data, payload.len);
}

static void
end_splice(struct host_channel *c)
{
    splice_free(c->splice);
    c->splice = NULL;
    c->splice_ended = false;
}

static int
fill_hello(struct host_channel *c, const uint8_t *bundle, size_t bundle_len, struct hello *h, struct error *err)
{
    const struct host_channel_identity *id = c->owner.identity(c->owner.context);
    const char *reason = "";

    if (random_bytes(&c->session, sizeof c->session, err) < 0)
        return -1;
    c->session |= 1; /* 0 is WHO's */
    h->version = CHANNEL_VERSION;
    h->session = c->session;
    h->uuid = c->uuid;
    h->epoch = c->owner.may_sign(c->owner.context, &reason);
    h->utc_ms = (uint64_t)(clock_realtime_ms() + (id ? id->clock_ahead_ms : 0));
    if (!id || strlen(id->issuer) >= sizeof h->issuer || bundle_len > sizeof h->bundle)
        return error_set(err, ERROR_MISSING, "this host has not joined");
    memcpy(h->issuer, id->issuer, strlen(id->issuer) + 1);
    if (bundle_len > 0)
        memcpy(h->bundle, bundle, bundle_len);
    h->bundle_len = bundle_len;
    return 0;
}

void
host_channel_offer(struct host_channel *c, const uint8_t *bundle, size_t len)
{
    struct timeval wait = { .tv_sec = HOST_CHANNEL_READY_MS / 1000 };
    CLEANUP(buf_clear) struct buf payload = BUF(FRAME_PAYLOAD_MAX);
    struct hello h = { 0 };
    struct error err;

    if (c->status.state == HOST_CHANNEL_GONE)
        return;
    end_splice(c); /* it belonged to the session before */
    c->status.state = HOST_CHANNEL_WAITING;
    evtimer_add(c->ready_timer, &wait);
    if (fill_hello(c, bundle, len, &h, &err) < 0 || hello_encode(&h, &payload, &err) < 0)
        return; /* the owner says HELLO again when it has what is missing */
    send_frame(c, FRAME_HELLO, payload.data, payload.len);
}

void
host_channel_hello(struct host_channel *c)
{
    const struct host_channel_identity *id = c->owner.identity(c->owner.context);

    host_channel_offer(c, id ? id->bundle : NULL, id ? id->bundle_len : 0);
}

void
host_channel_stale(struct host_channel *c)
{
    if (c->status.state == HOST_CHANNEL_READY)
        send_frame(c, FRAME_STALE, NULL, 0);
}

/* ---- what the guest says ---- */

/* One that it holds stays the same for a minute, or it was not for want of offering. */
void
host_channel_look(struct host_channel *c)
{
    const struct host_channel_identity *id = c->owner.identity(c->owner.context);
    uint64_t serial = c->status.bundle_serial;
    int64_t now = clock_monotonic_ms();

    if (c->status.state != HOST_CHANNEL_READY || !c->owner.behind || !id || serial == 0 || serial >= id->bundle_serial ||
        (serial <= c->behind_serial && now < c->behind_ms + HOST_CHANNEL_BEHIND_MS))
        return;
    c->behind_serial = serial;
    c->behind_ms = now;
    c->owner.behind(c->owner.context, serial);
}

static void
take_ready(struct host_channel *c, struct fields f)
{
    uint8_t version;
    uint64_t serial;
    struct error err;

    if (fields_take_u8(&f, &version, &err) < 0 || fields_take_u64(&f, &serial, &err) < 0 ||
        fields_end(&f, &err) < 0 || version != CHANNEL_VERSION)
        return;
    evtimer_del(c->ready_timer);
    c->status.state = HOST_CHANNEL_READY;
    c->status.bundle_serial = serial;
    host_channel_look(c);
    changed(c);
}

static int
sign(struct host_channel *c, const uint8_t h[static 32], uint64_t epoch, struct error *err)
{
    const struct host_channel_identity *id = c->owner.identity(c->owner.context);
    CLEANUP(buf_clear) struct buf message = BUF(TRANSCRIPT_MAX);
    CLEANUP(buf_clear) struct buf payload = BUF(512);
    uint8_t signature[KEY_SIGNATURE_LEN];

    if (!id)
        return error_set(err, ERROR_MISSING, "this host has not joined");
    if (transcript_host_message(id->issuer, id->host, &c->uuid, epoch, h, &message, err) < 0 ||
        key_sign(id->proof_key, message.data, message.len, signature, err) < 0)
        return -1;
    fields_add(&payload, h, 32);
    fields_add_u64(&payload, epoch);
    fields_add_text(&payload, id->host);
    fields_add(&payload, signature, sizeof signature);
    c->status.signatures++;
    c->status.signed_ms = clock_realtime_ms();
    send_frame(c, FRAME_SIG, payload.data, payload.len);
    return 0;
}

static void
take_sign(struct host_channel *c, struct fields f)
{
    const char *reason = "no-lease";
    uint8_t h[32];
    struct error err;
    uint64_t epoch;

    if (fields_take_exact(&f, h, sizeof h, &err) < 0 || fields_end(&f, &err) < 0)
        return;
    if (!token_bucket_take(&c->signs, clock_monotonic_ms())) {
        send_no(c, FRAME_SIGN, "rate");
        return;
    }
    epoch = c->owner.may_sign(c->owner.context, &reason);
    if (epoch == 0)
        send_no(c, FRAME_SIGN, reason);
    else if (sign(c, h, epoch, &err) < 0)
        send_no(c, FRAME_SIGN, "error");
}

/* What the guest asks again while it waits is answered with the first. */
static void
take_sync(struct host_channel *c)
{
    if (c->sync_session == c->session)
        return;
    if (!token_bucket_take(&c->syncs, clock_monotonic_ms())) {
        send_no(c, FRAME_SYNC, "rate");
        return;
    }
    c->sync_session = c->session;
    c->owner.sync(c->owner.context, c->session);
}

void
host_channel_synced(struct host_channel *c, uint64_t session, const char *problem)
{
    /* Asked in a session, or over a channel, that is over: what changed since then is not in it. */
    if (session != c->sync_session)
        return;
    c->sync_session = 0;
    if (session != c->session || c->status.state != HOST_CHANNEL_READY)
        return;
    if (problem)
        send_no(c, FRAME_SYNC, problem);
    else
        send_frame(c, FRAME_SYNCED, NULL, 0);
}

static void
splice_opened(void *context)
{
    send_frame(context, FRAME_OPEN, NULL, 0);
}

static void
splice_data(void *context, const void *bytes, size_t len)
{
    send_frame(context, FRAME_DATA, bytes, len);
}

static void
splice_consumed(void *context, uint32_t len)
{
    CLEANUP(buf_clear) struct buf payload = BUF(16);

    fields_add_u32(&payload, len);
    send_frame(context, FRAME_ACK, payload.data, payload.len);
}

static void
splice_closed(void *context, const char *reason)
{
    struct timeval at_once = { 0 };
    struct host_channel *c = context;

    c->splice_ended = true;
    send_close(c, reason);
    evtimer_add(c->resume_timer, &at_once); /* frees it, outside its own callback */
}

/* Each side says CLOSE once per connection; without one there is nothing to say. */
static void
break_splice(struct host_channel *c, const char *reason)
{
    bool open = c->splice && !c->splice_ended;

    end_splice(c);
    if (open)
        send_close(c, reason);
}

static void
take_open(struct host_channel *c)
{
    const struct host_channel_identity *id = c->owner.identity(c->owner.context);
    struct splice_owner owner = { c, splice_opened, splice_data, splice_consumed, splice_closed };
    struct error err;

    break_splice(c, "another one was opened"); /* one connection per VM */
    if (!token_bucket_take(&c->opens, clock_monotonic_ms())) {
        send_close(c, "rate");
        return;
    }
    if (!id || id->service_len == 0) {
        send_close(c, "the service's name does not resolve");
        return;
    }
    c->status.opens++;
    if (splice_open(c->base, (const struct sockaddr *)&id->service, id->service_len, &owner,
                    &c->splice, &err) < 0)
        send_close(c, "the service is not reachable");
}

static void
take_data(struct host_channel *c, const struct frame *frame)
{
    struct error err;

    if (c->splice && splice_write(c->splice, frame->payload, frame->len, &err) < 0)
        break_splice(c, err.text);
}

static void
take_ack(struct host_channel *c, struct fields f)
{
    uint32_t len;
    struct error err;

    if (fields_take_u32(&f, &len, &err) < 0 || fields_end(&f, &err) < 0 || !c->splice)
        return;
    if (splice_acked(c->splice, len, &err) < 0)
        break_splice(c, err.text);
}

static void
copy_hostile(char *ret, size_t size, const uint8_t *text, size_t len)
{
    size_t at = 0;

    for (size_t i = 0; i < len && at + 1 < size; i++)
        ret[at++] = text[i] >= 0x20 && text[i] < 0x7f ? (char)text[i] : '?';
    ret[at] = '\0';
}

static void
take_status(struct host_channel *c, struct fields f)
{
    const uint8_t *word, *text;
    size_t word_len, text_len;
    struct error err;

    if (!token_bucket_take(&c->statuses, clock_monotonic_ms()))
        return;
    if (fields_take(&f, 0, 4096, &word, &word_len, &err) < 0 ||
        fields_take(&f, 0, 4096, &text, &text_len, &err) < 0 || fields_end(&f, &err) < 0)
        return;
    copy_hostile(c->status.word, sizeof c->status.word, word, word_len);
    copy_hostile(c->status.text, sizeof c->status.text, text, text_len);
    if (strcmp(c->status.word, "token") == 0)
        c->status.token_ms = clock_realtime_ms();
    changed(c);
}

static void
take_frame(struct host_channel *c, const struct frame *frame)
{
    struct fields f = { frame->payload, frame->len };

    if (frame->type == FRAME_WHO) {
        /* The agent repeats it every second; what is too much is not answered. */
        if (frame->session == 0 && token_bucket_take(&c->greetings, clock_monotonic_ms()))
            host_channel_hello(c);
        return;
    }
    if (frame->session != c->session ||
        (c->status.state != HOST_CHANNEL_READY && frame->type != FRAME_READY))
        return;
    switch (frame->type) {
    case FRAME_READY:
        take_ready(c, f);
        break;
    case FRAME_SIGN:
        take_sign(c, f);
        break;
    case FRAME_SYNC:
        take_sync(c);
        break;
    case FRAME_OPEN:
        take_open(c);
        break;
    case FRAME_DATA:
        take_data(c, frame);
        break;
    case FRAME_ACK:
        take_ack(c, f);
        break;
    case FRAME_CLOSE:
        if (c->splice)
            splice_finish(c->splice);
        break;
    case FRAME_STATUS:
        take_status(c, f);
        break;
    case FRAME_WHO:
    case FRAME_HELLO:
    case FRAME_SIG:
    case FRAME_NO:
    case FRAME_SYNCED:
    case FRAME_STALE:
        break; /* not for a guest to say */
    }
}

/* ---- bytes ---- */

/* Too many frames or bytes: this guest waits, the loop goes on with the others. */
static void
pause_reading(struct host_channel *c)
{
    struct timeval soon = { .tv_usec = 100000 };

    bufferevent_disable(c->guest, EV_READ);
    evtimer_add(c->resume_timer, &soon);
}

static void
on_guest_bytes(struct bufferevent *b, void *context)
{
    struct host_channel *c = context;
    struct evbuffer *in = bufferevent_get_input(b);
    uint8_t piece[4096];
    struct frame frame;

    for (;;) {
        size_t room;
        int n;

        while (c->status.state != HOST_CHANNEL_GONE && token_bucket_peek(&c->frames, clock_monotonic_ms())) {
            if (!frame_next(&c->reader, &frame))
                break;
            (void)token_bucket_take(&c->frames, clock_monotonic_ms());
            take_frame(c, &frame);
        }
        if (!token_bucket_peek(&c->frames, clock_monotonic_ms()) ||
            !token_bucket_peek(&c->bytes, clock_monotonic_ms())) {
            pause_reading(c);
            return;
        }
        room = frame_room(&c->reader);
        n = room ? evbuffer_remove(in, piece, room < sizeof piece ? room : sizeof piece) : 0;
        if (n <= 0)
            return;
        token_bucket_spend(&c->bytes, n);
        frame_feed(&c->reader, piece, (size_t)n);
    }
}

static void
resume_reading(struct host_channel *c)
{
    if (c->splice_ended)
        end_splice(c);
    if (evbuffer_get_length(bufferevent_get_output(c->guest)) > OUTPUT_MAX / 2)
        return; /* on_guest_drained comes */
    bufferevent_enable(c->guest, EV_READ);
    on_guest_bytes(c->guest, c);
}

static void
on_resume(int fd, short what, void *context)
{
    (void)fd;
    (void)what;
    resume_reading(context);
}

static void
on_guest_drained(struct bufferevent *b, void *context)
{
    struct host_channel *c = context;

    (void)b;
    if (!evtimer_pending(c->resume_timer, NULL) && !(bufferevent_get_enabled(c->guest) & EV_READ))
        resume_reading(c);
}

static void
on_guest_event(struct bufferevent *b, short what, void *context)
{
    struct host_channel *c = context;

    (void)b;
    if (!(what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)))
        return;
    end_splice(c);
    evtimer_del(c->ready_timer);
    bufferevent_disable(c->guest, EV_READ | EV_WRITE);
    c->status.state = HOST_CHANNEL_GONE;
    changed(c);
}

static void
on_ready_timeout(int fd, short what, void *context)
{
    struct host_channel *c = context;

    (void)fd;
    (void)what;
    if (c->status.state != HOST_CHANNEL_WAITING)
        return;
    c->status.state = HOST_CHANNEL_SILENT;
    changed(c);
}

int
host_channel_new(struct event_base *base, const struct vm_uuid *uuid, int take_fd,
                 const struct host_channel_owner *owner, struct host_channel **ret,
                 struct error *err)
{
    CLEANUP(fd_close) int fd = take_fd;
    CLEANUP(host_channel_free) struct host_channel *c = calloc(1, sizeof *c);
    int64_t now = clock_monotonic_ms();

    if (!c)
        return error_sys(err, ENOMEM, "channel");
    c->base = base;
    c->uuid = *uuid;
    c->owner = *owner;
    c->reader = (struct frame_reader)FRAME_READER();
    c->signs = TOKEN_BUCKET(HOST_CHANNEL_SIGNS_PER_SECOND, HOST_CHANNEL_SIGNS_PER_SECOND, now);
    c->syncs = TOKEN_BUCKET(HOST_CHANNEL_SYNCS_PER_SECOND, HOST_CHANNEL_BURST, now);
    c->opens = TOKEN_BUCKET(HOST_CHANNEL_OPENS_PER_SECOND, HOST_CHANNEL_BURST, now);
    c->statuses = TOKEN_BUCKET(1, HOST_CHANNEL_BURST, now);
    c->greetings = TOKEN_BUCKET(1, HOST_CHANNEL_BURST, now);
    c->frames = TOKEN_BUCKET(FRAMES_PER_SECOND, FRAMES_BURST, now);
    c->bytes = TOKEN_BUCKET(BYTES_PER_SECOND, BYTES_BURST, now);
    c->ready_timer = evtimer_new(base, on_ready_timeout, c);
    c->resume_timer = evtimer_new(base, on_resume, c);
    if (evutil_make_socket_nonblocking(fd) < 0)
        return error_sys(err, errno, "channel");
    c->guest = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    if (!c->guest || !c->ready_timer || !c->resume_timer)
        return error_sys(err, ENOMEM, "channel");
    (void)fd_steal(&fd);
    bufferevent_setcb(c->guest, on_guest_bytes, on_guest_drained, on_guest_event, c);
    bufferevent_setwatermark(c->guest, EV_READ, 0, HOST_CHANNEL_WINDOW);
    bufferevent_enable(c->guest, EV_READ | EV_WRITE);
    host_channel_hello(c);
    *ret = STEAL(c);
    return 0;
}

void
host_channel_free(struct host_channel *c)
{
    if (!c)
        return;
    splice_free(c->splice);
    if (c->ready_timer)
        event_free(c->ready_timer);
    if (c->resume_timer)
        event_free(c->resume_timer);
    if (c->guest)
        bufferevent_free(c->guest);
    frame_reader_clear(&c->reader);
    free(c);
}

void
host_channel_status(const struct host_channel *c, struct host_channel_status *ret)
{
    *ret = c->status;
}
