#include "config.h"

#include "plugin/channel/splice.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>

#include "lib/wire/frame.h"
#include "plugin/channel/host_channel.h"

enum {
    CONNECT_SECONDS = 5,
    LIFE_SECONDS = 60,
};

struct splice {
    struct splice_owner owner;
    struct bufferevent *service;
    struct event *life;
    size_t window;      /* bytes we may still give the guest */
    size_t unwritten;   /* bytes of the guest not yet consumed by the service */
    size_t to_guest, from_guest;
    bool finishing, closed;
};

static void
close_with(struct splice *s, const char *reason)
{
    if (s->closed)
        return;
    s->closed = true;
    bufferevent_disable(s->service, EV_READ | EV_WRITE);
    s->owner.closed(s->owner.context, reason);
}

/* Pass on what the guest's window lets through, in pieces of a frame. */
static void
pump(struct splice *s)
{
    struct evbuffer *in = bufferevent_get_input(s->service);

    while (!s->closed && s->window > 0 && evbuffer_get_length(in) > 0) {
        uint8_t piece[4096];
        size_t max = s->window < sizeof piece ? s->window : sizeof piece;
        int n = evbuffer_remove(in, piece, max);

        if (n <= 0)
            return;
        s->window -= (size_t)n;
        s->to_guest += (size_t)n;
        if (s->to_guest > HOST_CHANNEL_SPLICE_MAX) {
            close_with(s, "too many bytes");
            return;
        }
        s->owner.data(s->owner.context, piece, (size_t)n);
    }
}

static void
on_read(struct bufferevent *b, void *context)
{
    (void)b;
    pump(context);
}

/* Something left for the service: the guest may send as much again. */
static void
on_written(struct bufferevent *b, void *context)
{
    struct splice *s = context;
    size_t left = evbuffer_get_length(bufferevent_get_output(b));
    size_t consumed = s->unwritten > left ? s->unwritten - left : 0;

    if (s->closed)
        return;
    if (consumed > 0) {
        s->unwritten -= consumed;
        s->owner.consumed(s->owner.context, (uint32_t)consumed);
    }
    if (s->finishing && left == 0)
        close_with(s, "done");
}

static void
on_end_of_life(int fd, short what, void *context)
{
    (void)fd;
    (void)what;
    close_with(context, "open for too long");
}

static void
on_event(struct bufferevent *b, short what, void *context)
{
    struct splice *s = context;
    int yes = 1;

    if (what & BEV_EVENT_CONNECTED) {
        (void)setsockopt(bufferevent_getfd(b), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        s->owner.opened(s->owner.context);
        return;
    }
    if (what & BEV_EVENT_EOF) {
        s->window = HOST_CHANNEL_SPLICE_MAX; /* what came before the end still goes out, bounded by the input's limit */
        pump(s);
        close_with(s, "closed by the service");
    } else if (what & BEV_EVENT_TIMEOUT) {
        close_with(s, "no answer from the service");
    } else {
        close_with(s, "the service is not reachable");
    }
}

int
splice_open(struct event_base *base, const struct sockaddr *to, socklen_t to_len,
            const struct splice_owner *owner, struct splice **ret, struct error *err)
{
    struct timeval life = { .tv_sec = LIFE_SECONDS }, connecting = { .tv_sec = CONNECT_SECONDS };
    CLEANUP(splice_free) struct splice *s = calloc(1, sizeof *s);

    if (!s)
        return error_sys(err, ENOMEM, "splice");
    s->owner = *owner;
    s->window = HOST_CHANNEL_WINDOW;
    s->service = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    s->life = evtimer_new(base, on_end_of_life, s);
    if (!s->service || !s->life || evtimer_add(s->life, &life) < 0)
        return error_sys(err, ENOMEM, "splice");
    bufferevent_setcb(s->service, on_read, on_written, on_event, s);
    bufferevent_setwatermark(s->service, EV_READ, 0, HOST_CHANNEL_WINDOW);
    bufferevent_setwatermark(s->service, EV_WRITE, HOST_CHANNEL_WINDOW, 0);
    bufferevent_set_timeouts(s->service, NULL, &connecting);
    if (bufferevent_enable(s->service, EV_READ | EV_WRITE) < 0 ||
        bufferevent_socket_connect(s->service, (struct sockaddr *)(uintptr_t)to, (int)to_len) < 0)
        return error_sys(err, errno, "connect to the guest listener");
    *ret = STEAL(s);
    return 0;
}

void
splice_free(struct splice *s)
{
    if (!s)
        return;
    if (s->life)
        event_free(s->life);
    if (s->service)
        bufferevent_free(s->service);
    free(s);
}

int
splice_write(struct splice *s, const void *bytes, size_t len, struct error *err)
{
    if (s->closed)
        return 0;
    s->unwritten += len;
    s->from_guest += len;
    if (s->unwritten > HOST_CHANNEL_WINDOW)
        return error_set(err, ERROR_DENIED, "more than the window");
    if (s->from_guest > HOST_CHANNEL_SPLICE_MAX)
        return error_set(err, ERROR_DENIED, "too many bytes");
    if (bufferevent_write(s->service, bytes, len) < 0)
        return error_sys(err, ENOMEM, "splice");
    return 0;
}

void
splice_finish(struct splice *s)
{
    s->finishing = true;
    if (evbuffer_get_length(bufferevent_get_output(s->service)) == 0)
        close_with(s, "done");
}

int
splice_acked(struct splice *s, uint32_t len, struct error *err)
{
    if (s->closed)
        return 0;
    if (len > HOST_CHANNEL_WINDOW - s->window)
        return error_set(err, ERROR_INPUT, "more acknowledged than was sent");
    s->window += len;
    pump(s);
    return 0;
}
