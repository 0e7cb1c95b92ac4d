#include "config.h"

#include "guestagent/agent_socket.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "guestagent/agent_requests.h"
#include "guestagent/peer.h"
#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/json.h"
#include "lib/common/log.h"
#include "lib/wire/http_message.h"

enum {
    CONNECTIONS_MAX = 16,
    CONNECTIONS_OF_ONE_MAX = 4, /* of one user that is not the agent's own */
    REQUEST_MS = 5000,
    CREDENTIAL_MS = 60000, /* a unit may start before the first proof */
    BODY_MAX = 2048,
};

struct agent_socket {
    struct agent_socket_options options;
    int listener;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct connection {
        struct agent_socket *socket;
        int fd; /* -1: free */
        struct peer peer;
    } connections[CONNECTIONS_MAX];
    bool ends;
};

/* Until the whole request is here, or its time is over. */
static int
read_request(int fd, struct buf *bytes, struct http_message *m, struct error *err)
{
    int64_t deadline = clock_monotonic_ms() + REQUEST_MS;

    for (;;) {
        bool done = false;
        uint8_t chunk[1024];
        ssize_t n;

        if (bytes->len > 0 &&
            http_parse(bytes->data, bytes->len, true, BODY_MAX, m, &done, err) < 0)
            return -1;
        if (done)
            return 0;
        if (clock_monotonic_ms() >= deadline)
            return error_set(err, ERROR_BUSY, "the request took too long");
        n = recv(fd, chunk, sizeof chunk, 0); /* SO_RCVTIMEO bounds each */
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_sys(err, errno, "request");
        if (n == 0)
            return error_set(err, ERROR_MISSING, "closed");
        buf_add(bytes, chunk, (size_t)n);
        if (!buf_ok(bytes))
            return error_set(err, buf_error_code(bytes), "request too long");
    }
}

static bool
is_ending(struct agent_socket *s)
{
    bool ends;

    pthread_mutex_lock(&s->lock);
    ends = s->ends;
    pthread_mutex_unlock(&s->lock);
    return ends;
}

/*
 * systemd asks for a credential: its name is the audience's file's, the answer is the token and nothing else.  There
 * is no way to say no but to close without a byte; before that, what may pass is waited for.
 */
static int
answer_credential(struct agent_socket *s, const struct peer *peer, int fd, struct error *err)
{
    CLEANUP(secret_free) struct secret *token = NULL;
    int64_t deadline = clock_monotonic_ms() + CREDENTIAL_MS, ignored;
    char audience[NAME_AUDIENCE_MAX + 1];

    if (token_file_audience(peer->credential, audience) < 0)
        return error_set(err, ERROR_INPUT, "credential %s is no audience's name", peer->credential);
    if (rulebook_allow(s->options.rules, peer, audience, err) < 0)
        return -1;
    for (;;) {
        struct error why = { 0 };

        if (refresher_token(s->options.refresher, audience, deadline, &token, &ignored, &why) == 0)
            return fd_write_all(fd, token->bytes, token->len, err);
        *err = why;
        if (why.code == ERROR_INPUT || clock_monotonic_ms() >= deadline || is_ending(s))
            return error_wrap(err, "credential for %s", audience);
        (void)poll(NULL, 0, 500);
    }
}

/* A refusal of the request, not of the connection. */
static void
answer_request(struct agent_socket *s, const struct peer *peer, int fd, struct reply *reply)
{
    CLEANUP(mem_free) struct http_message *m = calloc(1, sizeof *m);
    CLEANUP(buf_clear) struct buf bytes = BUF(HTTP_HEAD_MAX + BODY_MAX);
    struct error failure = { 0 };

    if (!m)
        return;
    if (read_request(fd, &bytes, m, &failure) < 0 ||
        agent_answer(&s->options, peer, m, (const char *)bytes.data + m->head_len, reply, &failure) < 0)
        agent_refuse(reply, &failure);
}

static void
answer(struct agent_socket *s, const struct peer *peer, int fd)
{
    CLEANUP(buf_clear) struct buf out = BUF(JSON_TEXT_MAX + 1024);
    struct reply reply = { 200, "application/json", BUF(JSON_TEXT_MAX) };
    struct error failure = { 0 }, ignored = { 0 };

    if (peer->credential[0]) {
        if (answer_credential(s, peer, fd, &failure) < 0)
            log_error(&failure, "event=credential-refused");
        return;
    }
    if (rulebook_allow(s->options.rules, peer, NULL, &failure) == 0) {
        answer_request(s, peer, fd, &reply);
    } else {
        log_warning("event=peer-refused %s: going on", failure.text);
        agent_refuse(&reply, &failure);
    }
    http_print_response(&out, reply.status, reply.type, "Cache-Control: no-store\r\n", false,
                        reply.body.data, reply.body.len);
    if (buf_ok(&out) && reply.body.len > 0)
        (void)fd_write_all(fd, out.data, out.len, &ignored);
    buf_clear(&reply.body);
    /* So that an answer is not lost when the request was never read. */
    (void)shutdown(fd, SHUT_WR);
}

static void *
run_connection(void *context)
{
    struct connection *c = context;
    struct agent_socket *s = c->socket;

    answer(s, &c->peer, c->fd);
    pthread_mutex_lock(&s->lock);
    peer_clear(&c->peer);
    close(c->fd);
    c->fd = -1;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* With the lock held: a free place for one more, or NULL: one user can not take all. */
static struct connection *
find_place(struct agent_socket *s, const struct peer *peer)
{
    struct connection *place = NULL;
    unsigned of_one = 0;

    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *c = &s->connections[i];

        if (c->fd < 0)
            place = c;
        else
            of_one += !c->peer.owner && c->peer.uid == peer->uid;
    }
    return peer->owner || of_one < CONNECTIONS_OF_ONE_MAX ? place : NULL;
}

/* -1: too many at once; a client tries again. */
static int
start_connection(struct agent_socket *s, int fd, const struct peer *peer)
{
    struct connection *c;
    pthread_attr_t attr;
    pthread_t thread;
    int failed = -1;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_mutex_lock(&s->lock);
    c = find_place(s, peer);
    if (c) {
        *c = (struct connection){ s, fd, *peer };
        failed = pthread_create(&thread, &attr, run_connection, c);
        if (failed)
            c->fd = -1;
    }
    pthread_mutex_unlock(&s->lock);
    pthread_attr_destroy(&attr);
    return failed ? -1 : 0;
}

/* Who it is is looked at at once: later the process may be gone. */
static void
welcome(struct agent_socket *s, int fd)
{
    struct timeval limit = { REQUEST_MS / 1000, 0 };
    struct error failure = { 0 };
    struct peer peer = { 0 };

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (peer_look(fd, &peer, &failure) == 0 && start_connection(s, fd, &peer) == 0)
        return;
    if (failure.code != ERROR_NONE)
        log_warning("event=peer-refused %s: going on", failure.text);
    peer_clear(&peer);
    close(fd);
}

int
agent_socket_new(const struct agent_socket_options *options, struct agent_socket **ret,
                 struct error *err)
{
    struct agent_socket *s = calloc(1, sizeof *s);

    if (!s)
        return error_sys(err, ENOMEM, "agent socket");
    s->options = *options;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        s->connections[i].fd = -1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    /* Everybody may connect and is told why not: the peer check decides. */
    if (unix_listen(options->path, SOCK_STREAM, 0666, &s->listener, err) < 0) {
        s->listener = -1;
        agent_socket_free(s);
        return -1;
    }
    *ret = s;
    return 0;
}

int
agent_socket_run(struct agent_socket *s, int stop_fd, struct error *err)
{
    for (;;) {
        struct pollfd p[2] = { { .fd = s->listener, .events = POLLIN },
                               { .fd = stop_fd, .events = POLLIN } };
        int fd;

        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return error_sys(err, errno, "poll");
        if (p[1].revents)
            return 0;
        if (!(p[0].revents & POLLIN))
            continue;
        fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            welcome(s, fd);
        else if (errno != EINTR && errno != EAGAIN && errno != ECONNABORTED)
            (void)poll(NULL, 0, 100); /* out of descriptors: wait for some */
    }
}

/* With the lock held. */
static bool
has_connections(const struct agent_socket *s)
{
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        if (s->connections[i].fd >= 0)
            return true;
    }
    return false;
}

void
agent_socket_free(struct agent_socket *s)
{
    if (!s)
        return;
    if (s->listener >= 0)
        (void)unlink(s->options.path);
    fd_close(s->listener);
    pthread_mutex_lock(&s->lock);
    s->ends = true;
    while (has_connections(s))
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
