#include "config.h"

#include "plugin/hookd.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "lib/common/log.h"

enum {
    MESSAGE_MAX = HOOK_XML_MAX + HOOK_HEAD_MAX + 16,
    MESSAGE_SECONDS = 5, /* to arrive whole */
    CALLS_MAX = 256,     /* 20 autostart domains at boot are three calls each */
};

struct hook_call {
    struct hookd *hookd;
    struct bufferevent *peer;
    pid_t pid;
    struct event *repeat;
    unsigned seconds;
    bool asked, gone; /* gone: the hook hung up while somebody works on its question */
    struct hook_call *next;
};

struct hookd {
    struct event_base *base;
    struct hookd_owner owner;
    struct evconnlistener *listener;
    struct hook_call *calls;
    unsigned n_calls;
};

static void
call_free(struct hook_call *call)
{
    struct hook_call **at = &call->hookd->calls;

    while (*at != call)
        at = &(*at)->next;
    *at = call->next;
    call->hookd->n_calls--;
    if (call->repeat)
        event_free(call->repeat);
    bufferevent_free(call->peer);
    free(call);
}

static void
say(struct hook_call *call, enum hook_verdict verdict, const char *text)
{
    CLEANUP(buf_clear) struct buf line = BUF(HOOK_REASON_MAX + 16);

    if (call->gone)
        return;
    /* Straight to the socket: an answer is small, and the hook is waiting. */
    if (hook_answer_encode(verdict, text, &line) == 0)
        (void)!send(bufferevent_getfd(call->peer), line.data, line.len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void
hook_call_answer(struct hook_call *call, enum hook_verdict verdict, const char *reason)
{
    say(call, verdict, reason);
    call_free(call);
}

pid_t
hook_call_peer(const struct hook_call *call)
{
    return call->pid;
}

static void
say_wait(struct hook_call *call)
{
    char text[16];

    snprintf(text, sizeof text, "%u", call->seconds);
    say(call, HOOK_WAIT, text);
}

static void
on_repeat(int fd, short what, void *context)
{
    (void)fd;
    (void)what;
    say_wait(context);
}

void
hook_call_wait(struct hook_call *call, unsigned seconds)
{
    struct timeval every = { .tv_usec = HOOK_WAIT_EVERY_MS * 1000 };

    call->seconds = seconds;
    say_wait(call);
    if (!call->repeat)
        call->repeat = event_new(call->hookd->base, -1, EV_PERSIST, on_repeat, call);
    if (call->repeat)
        event_add(call->repeat, &every);
}

static void
take_message(struct hook_call *call, const struct hook_msg *msg)
{
    bool waits = hook_op_waits(msg->op);

    call->asked = true;
    bufferevent_set_timeouts(call->peer, NULL, NULL);
    call->hookd->owner.message(call->hookd->owner.context, call, msg);
    if (!waits)
        call_free(call);
}

static void
on_bytes(struct bufferevent *peer, void *context)
{
    struct hook_call *call = context;
    struct evbuffer *in = bufferevent_get_input(peer);
    size_t len = evbuffer_get_length(in);
    struct hook_msg msg;
    struct error err;
    bool done;

    if (call->asked) {
        evbuffer_drain(in, len);
        return;
    }
    if (len > MESSAGE_MAX || len == 0) {
        call_free(call);
        return;
    }
    if (hook_msg_decode(evbuffer_pullup(in, -1), len, &msg, &done, &err) < 0) {
        log_error(&err, "a hook's message is not understood; its start goes on");
        call_free(call);
    } else if (done) {
        take_message(call, &msg);
    }
}

static void
on_event(struct bufferevent *peer, short what, void *context)
{
    struct hook_call *call = context;

    (void)what;
    if (!call->asked) {
        call_free(call);
        return;
    }
    bufferevent_disable(peer, EV_READ | EV_WRITE);
    call->gone = true;
}

static bool
may_ask(int fd, pid_t *ret_pid)
{
    struct error err;
    gid_t gid;
    uid_t uid;

    return unix_peer(fd, ret_pid, &uid, &gid, &err) == 0 && (uid == 0 || uid == geteuid());
}

static void
on_connection(struct evconnlistener *listener, int take_fd, struct sockaddr *from, int len,
              void *context)
{
    struct timeval whole = { .tv_sec = MESSAGE_SECONDS };
    CLEANUP(fd_close) int fd = take_fd;
    struct hookd *hookd = context;
    struct hook_call *call;
    pid_t pid;

    (void)listener;
    (void)from;
    (void)len;
    if (!may_ask(fd, &pid) || hookd->n_calls >= CALLS_MAX)
        return;
    call = calloc(1, sizeof *call);
    if (!call)
        return;
    call->hookd = hookd;
    call->pid = pid;
    call->peer = bufferevent_socket_new(hookd->base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (!call->peer) {
        free(call);
        return;
    }
    (void)fd_steal(&fd);
    call->next = hookd->calls;
    hookd->calls = call;
    hookd->n_calls++;
    bufferevent_setcb(call->peer, on_bytes, NULL, on_event, call);
    bufferevent_setwatermark(call->peer, EV_READ, 0, MESSAGE_MAX + 1);
    bufferevent_set_timeouts(call->peer, &whole, NULL);
    bufferevent_enable(call->peer, EV_READ);
}

int
hookd_new(struct event_base *base, const char *path, const struct hookd_owner *owner,
          struct hookd **ret, struct error *err)
{
    CLEANUP(hookd_free) struct hookd *hookd = calloc(1, sizeof *hookd);
    CLEANUP(fd_close) int fd = -1;

    if (!hookd)
        return error_sys(err, ENOMEM, "hook socket");
    hookd->base = base;
    hookd->owner = *owner;
    if (unix_listen(path, SOCK_STREAM, 0600, &fd, err) < 0)
        return error_wrap(err, "hook socket");
    evutil_make_socket_nonblocking(fd);
    hookd->listener = evconnlistener_new(base, on_connection, hookd, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC,
                                         0, fd);
    if (!hookd->listener)
        return error_sys(err, ENOMEM, "hook socket");
    (void)fd_steal(&fd);
    *ret = STEAL(hookd);
    return 0;
}

unsigned
hookd_drain(struct hookd *hookd)
{
    if (hookd->listener)
        evconnlistener_free(hookd->listener);
    hookd->listener = NULL;
    return hookd->n_calls;
}

void
hookd_free(struct hookd *hookd)
{
    if (!hookd)
        return;
    while (hookd->calls)
        call_free(hookd->calls);
    if (hookd->listener)
        evconnlistener_free(hookd->listener);
    free(hookd);
}
