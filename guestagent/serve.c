#include "config.h"

#include "guestagent/serve.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guestagent/agent_client.h"
#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "lib/crypto/tls.h"
#include "lib/wire/connect_msg.h"

enum { CONNECTIONS_MAX = 32 };

struct server {
    const char *agent_socket;
    int listener;
    struct ssl_ctx_st *ctx;
    char address[128];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned connections;
};

struct connection {
    struct server *server;
    int fd;
};

static int
read_ask(struct tls *tls, int64_t deadline, struct connect_ask *ret, struct error *err)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(CONNECT_MSG_MAX + 2);

    for (;;) {
        uint8_t chunk[512];
        bool done = false;
        size_t n = 0;

        if (bytes.len > 0 && connect_ask_decode(bytes.data, bytes.len, ret, &done, err) < 0)
            return -1;
        if (done)
            return 0;
        if (tls_read(tls, chunk, sizeof chunk, &n, deadline, err) < 0)
            return -1;
        if (n == 0)
            return error_set(err, ERROR_INPUT, "closed before it asked");
        buf_add(&bytes, chunk, n);
        if (!buf_ok(&bytes))
            return error_set(err, buf_error_code(&bytes), "asked with too many bytes");
    }
}

static int
ask_agent(const struct server *s, const struct connect_ask *ask,
          const uint8_t exporter[TLS_EXPORTER_LEN], json_t **ret, struct error *err)
{
    CLEANUP(json_decref) json_t *o = json_pack("{s:s}", "verifier", ask->verifier);
    CLEANUP(buf_clear) struct buf body = BUF(2048);

    if (!o || json_set_bytes(o, "nonce", ask->nonce, sizeof ask->nonce) < 0 ||
        json_set_bytes(o, "exporter", exporter, TLS_EXPORTER_LEN) < 0)
        return error_sys(err, ENOMEM, "request to the agent");
    if (json_print(o, &body, err) < 0)
        return -1;
    return agent_client_ask(s->agent_socket, "/v1/pop", &body, ret, err);
}

static int
read_proof(const json_t *o, struct connect_answer *ret, struct error *err)
{
    const char *token = NULL;
    size_t point, signature;

    if (json_get_string(o, "token", false, TOKEN_TEXT_MAX, &token, err) < 0 ||
        json_get_bytes(o, "cnf", false, ret->pop.point, sizeof ret->pop.point, &point, err) < 0 ||
        json_get_bytes(o, "signature", false, ret->pop.signature, sizeof ret->pop.signature,
                       &signature, err) < 0)
        return -1;
    if (point != sizeof ret->pop.point || signature != sizeof ret->pop.signature)
        return error_set(err, ERROR_SYSTEM, "the agent's answer has wrong lengths");
    memcpy(ret->pop.token, token, strlen(token) + 1);
    return 0;
}

/* The stranger learns a name of the reason, not its details. */
static void
refuse(struct connect_answer *answer, const struct error *failure)
{
    answer->refused = true;
    snprintf(answer->reason, sizeof answer->reason, "no token now (%s)",
             failure->problem[0] ? failure->problem : "unavailable");
}

static int
converse(const struct server *s, struct tls *tls, int64_t deadline, struct error *err)
{
    CLEANUP(json_decref) json_t *o = NULL;
    CLEANUP(mem_free) struct connect_answer *answer = calloc(1, sizeof *answer);
    CLEANUP(buf_clear) struct buf bytes = BUF(CONNECT_MSG_MAX + 2);
    struct connect_ask ask = { 0 };
    uint8_t exporter[TLS_EXPORTER_LEN];
    struct error failure = { 0 };

    if (!answer)
        return error_sys(err, ENOMEM, "answer");
    if (read_ask(tls, deadline, &ask, err) < 0 ||
        tls_exporter(tls_ssl(tls), CONNECT_EXPORTER, exporter, err) < 0)
        return -1;
    if (ask_agent(s, &ask, exporter, &o, &failure) < 0 ||
        read_proof(o, answer, &failure) < 0) {
        log_error(&failure, "event=connect-refused");
        refuse(answer, &failure);
    }
    if (connect_answer_encode(answer, &bytes, err) < 0)
        return -1;
    return tls_write(tls, bytes.data, bytes.len, deadline, err);
}

static void *
run_connection(void *context)
{
    struct connection *c = context;
    struct server *s = c->server;
    int64_t deadline = clock_monotonic_ms() + CONNECT_DEADLINE_MS;
    struct tls *tls = NULL;
    struct error err = { 0 };

    if (tls_accept(s->ctx, c->fd, deadline, &tls, &err) < 0 ||
        converse(s, tls, deadline, &err) < 0)
        log_debug("connection ended: %s", err.text);
    tls_free(tls);
    free(c);
    pthread_mutex_lock(&s->lock);
    s->connections--;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void
start_connection(struct server *s, int fd)
{
    struct connection *c = calloc(1, sizeof *c);
    pthread_attr_t attr;
    pthread_t thread;
    bool started = false;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_mutex_lock(&s->lock);
    if (c && s->connections < CONNECTIONS_MAX) {
        *c = (struct connection){ s, fd };
        started = pthread_create(&thread, &attr, run_connection, c) == 0;
        s->connections += started;
    }
    pthread_mutex_unlock(&s->lock);
    pthread_attr_destroy(&attr);
    if (started)
        return;
    free(c);
    close(fd);
}

/* HOST and PORT out of "HOST:PORT" or "[HOST]:PORT". */
static int
split(const char *address, char *ret_host, size_t size, const char **ret_port,
      struct error *err)
{
    const char *colon = strrchr(address, ':');
    size_t len = colon ? (size_t)(colon - address) : 0;

    if (!colon || len >= size || colon[1] == '\0')
        return error_set(err, ERROR_INPUT, "\"%.100s\" is no ADDRESS:PORT", address);
    if (len >= 2 && address[0] == '[' && address[len - 1] == ']') {
        address++;
        len -= 2;
    }
    memcpy(ret_host, address, len);
    ret_host[len] = '\0';
    *ret_port = colon + 1;
    return 0;
}

static int
bind_first(const struct addrinfo *found, int *ret_fd)
{
    int yes = 1;

    for (; found; found = found->ai_next) {
        CLEANUP(fd_close) int fd =
            socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0)
            continue;
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        if (bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, 64) == 0) {
            *ret_fd = fd_steal(&fd);
            return 0;
        }
    }
    return -1;
}

static int
listen_at(const char *address, int *ret_fd, struct error *err)
{
    struct addrinfo want = { .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV };
    struct addrinfo *found = NULL;
    char host[256];
    const char *port;
    int failed, bound;

    if (split(address, host, sizeof host, &port, err) < 0)
        return -1;
    failed = getaddrinfo(host[0] ? host : NULL, port, &want, &found);
    if (failed)
        return error_set(err, ERROR_INPUT, "address %s: %s", address, gai_strerror(failed));
    bound = bind_first(found, ret_fd);
    freeaddrinfo(found);
    return bound < 0 ? error_sys(err, errno, "listen on %s", address) : 0;
}

static void
name_address(struct server *s)
{
    struct sockaddr_storage at;
    socklen_t len = sizeof at;
    char host[64], port[16];

    if (getsockname(s->listener, (struct sockaddr *)&at, &len) == 0 &&
        getnameinfo((struct sockaddr *)&at, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        snprintf(s->address, sizeof s->address, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host,
                 port);
}

int
server_new(const char *address, const char *agent_socket, struct server **ret,
           struct error *err)
{
    CLEANUP(server_free) struct server *s = calloc(1, sizeof *s);

    if (!s)
        return error_sys(err, ENOMEM, "server");
    s->agent_socket = agent_socket;
    s->listener = -1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    if (listen_at(address, &s->listener, err) < 0 ||
        tls_server_throwaway_new(&s->ctx, err) < 0)
        return -1;
    name_address(s);
    *ret = STEAL(s);
    return 0;
}

const char *
server_address(const struct server *s)
{
    return s->address;
}

int
server_run(struct server *s, int stop_fd, struct error *err)
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
            start_connection(s, fd);
        else if (errno == EMFILE || errno == ENFILE)
            (void)poll(NULL, 0, 100); /* wait for some to end */
    }
}

void
server_free(struct server *s)
{
    if (!s)
        return;
    fd_close(s->listener);
    pthread_mutex_lock(&s->lock);
    while (s->connections > 0)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    tls_ctx_free(s->ctx);
    free(s);
}
