#include "config.h"

#include "lib/http/http_server.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/listener.h>

#include "lib/common/fdio.h"
#include "lib/common/json.h"
#include "lib/http/http_connection.h"

enum {
    BACKLOG = 512,
    PAUSE_MS = 100, /* out of descriptors: let some connections end */
};

int
http_server_new(struct event_base *base, struct http_server **ret, struct error *err)
{
    CLEANUP(http_server_free) struct http_server *server = calloc(1, sizeof *server);

    if (!server)
        return error_sys(err, ENOMEM, "server");
    (void)signal(SIGPIPE, SIG_IGN); /* a peer that closes early is no reason to die */
    server->base = base;
    server->deadline = (struct http_deadlines){ .handshake_ms = 5000,
                                                .head_ms = 5000,
                                                .body_ms = 5000,
                                                .write_ms = 20000,
                                                .idle_ms = 60000 };
    if (http_worker_new(base, &server->worker, err) < 0)
        return -1;
    *ret = STEAL(server);
    return 0;
}

static void
listening_free(struct http_listening *on)
{
    if (on->accepting)
        evconnlistener_free(on->accepting); /* with its descriptor */
    else
        fd_close(on->option.fd);
    if (on->pause)
        event_free(on->pause);
    http_limit_free(on->limit);
    free(on);
}

void
http_server_free(struct http_server *server)
{
    if (!server)
        return;
    server->drained = NULL;
    for (struct http_listening *on = server->listening; on; on = on->next) {
        if (on->accepting)
            evconnlistener_disable(on->accepting);
    }
    http_worker_free(server->worker);
    while (server->connections)
        http_connection_free(server->connections);
    while (server->listening) {
        struct http_listening *on = server->listening;

        server->listening = on->next;
        listening_free(on);
    }
    if (server->bound)
        event_free(server->bound);
    free(server);
}

static void
on_accept(struct evconnlistener *accepting, evutil_socket_t fd,
          struct sockaddr *address, int len, void *arg)
{
    (void)accepting;
    (void)len;
    http_connection_open(arg, fd, address);
}

/* Without the pause the loop would spin: the connection is still there to be accepted.
 */
static void
on_accept_error(struct evconnlistener *accepting, void *arg)
{
    struct http_listening *on = arg;
    struct timeval after = { .tv_usec = PAUSE_MS * 1000 };

    evconnlistener_disable(accepting);
    event_add(on->pause, &after);
}

static void
on_pause_over(evutil_socket_t fd, short what, void *arg)
{
    struct http_listening *on = arg;

    (void)fd;
    (void)what;
    evconnlistener_enable(on->accepting);
}

int
http_server_listen(struct http_server *server, const struct http_listener *listener,
                   struct error *err)
{
    struct http_listening *on = calloc(1, sizeof *on);

    if (!on) {
        fd_close(listener->fd);
        return error_sys(err, ENOMEM, "listener");
    }
    on->server = server;
    on->option = *listener;
    if (on->option.body_max > HTTP_BODY_MAX)
        on->option.body_max = HTTP_BODY_MAX;
    if (on->option.reply_max == 0)
        on->option.reply_max = JSON_TEXT_MAX;
    if (http_limit_new(listener->per_address_max,
                       listener->requests_per_second_per_address, &on->limit,
                       err) < 0) {
        listening_free(on);
        return -1;
    }
    on->pause = event_new(server->base, -1, 0, on_pause_over, on);
    if (on->pause && evutil_make_socket_nonblocking(on->option.fd) == 0)
        on->accepting = evconnlistener_new(
            server->base, on_accept, on, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC,
            0 /* listens already */, on->option.fd);
    if (!on->accepting) {
        listening_free(on);
        return error_set(err, ERROR_SYSTEM, "listener: no event");
    }
    evconnlistener_set_error_cb(on->accepting, on_accept_error);
    on->next = server->listening;
    server->listening = on;
    return 0;
}

/* Who is connected already, but was not yet let in, has come before the end. */
static void
accept_last(struct http_listening *on)
{
    struct sockaddr_storage address;

    for (int i = 0; i < BACKLOG; i++) {
        socklen_t len = sizeof address;
        int fd = accept4(on->option.fd, (struct sockaddr *)&address, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0)
            return;
        http_connection_open(on, fd, (struct sockaddr *)&address);
    }
}

static void
stop_listening(struct http_listening *on)
{
    if (!on->accepting)
        return;
    accept_last(on);
    event_del(on->pause);
    evconnlistener_free(on->accepting); /* with its descriptor */
    on->accepting = NULL;
    on->option.fd = -1;
}

static void
say_drained(struct http_server *server)
{
    void (*drained)(void *) = server->drained;

    server->drained = NULL;
    if (drained)
        drained(server->drained_context);
}

void
http_server_look_drained(struct http_server *server)
{
    if (server->draining && !server->connections)
        say_drained(server);
}

static void
on_bound(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    say_drained(arg);
}

void
http_server_drain(struct http_server *server, unsigned bound_ms, void (*drained)(void *context), void *context)
{
    struct timeval bound = { .tv_sec = bound_ms / 1000, .tv_usec = bound_ms % 1000 * 1000 };

    for (struct http_listening *on = server->listening; on; on = on->next)
        stop_listening(on);
    server->draining = true;
    http_worker_drain(server->worker);
    http_connections_drain(server);
    server->drained = drained;
    server->drained_context = context;
    server->bound = event_new(server->base, -1, 0, on_bound, server);
    if (!server->bound || event_add(server->bound, &bound) < 0)
        say_drained(server);
    http_server_look_drained(server);
}

void
http_server_deadlines(struct http_server *server,
                      const struct http_deadlines *deadlines)
{
    server->deadline = *deadlines;
}

void
http_server_retls(struct http_server *server, struct ssl_ctx_st *old,
                  struct ssl_ctx_st *new_)
{
    for (struct http_listening *on = server->listening; on; on = on->next) {
        if (on->option.tls && on->option.tls == old)
            on->option.tls = new_;
    }
}

struct posted_job {
    struct http_job job;
    void (*run)(void *context);
    void *context;
};

static void
posted_run(struct http_job *job)
{
    struct posted_job *posted = (struct posted_job *)(void *)job;

    posted->run(posted->context);
}

static void
posted_free(struct http_job *job)
{
    free((struct posted_job *)(void *)job);
}

int
http_server_post(struct http_server *server, void (*job)(void *), void *context,
                 struct error *err)
{
    struct posted_job *posted = calloc(1, sizeof *posted);

    if (!posted)
        return error_sys(err, ENOMEM, "job");
    posted->job = (struct http_job){ .run = posted_run,
                                     .done = posted_free,
                                     .drop = posted_free,
                                     .urgent = true };
    posted->run = job;
    posted->context = context;
    if (http_worker_add(server->worker, &posted->job))
        return 0;
    free(posted);
    return error_set(err, ERROR_BUSY, "the worker's queue is full");
}

void
http_server_wake(struct http_server *server, const char *key)
{
    http_worker_wake(server->worker, key);
}

/* "ADDRESS:PORT" or "[ADDRESS]:PORT" into its two parts. */
static int
split_address(const char *address, char ret_host[static 64], char ret_port[static 8],
              struct error *err)
{
    const char *colon = strrchr(address, ':');
    size_t len = colon ? (size_t)(colon - address) : 0;

    if (len >= 2 && address[0] == '[' && address[len - 1] == ']') {
        address++;
        len -= 2;
    }
    if (!colon || len == 0 || len >= 64 || strlen(colon + 1) == 0 ||
        strlen(colon + 1) >= 8)
        return error_set(err, ERROR_INPUT, "\"%s\" is not ADDRESS:PORT", address);
    memcpy(ret_host, address, len);
    ret_host[len] = '\0';
    strcpy(ret_port, colon + 1);
    return 0;
}

static int
read_address(const char *address, struct addrinfo **ret, struct error *err)
{
    struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                              .ai_socktype = SOCK_STREAM };
    char host[64], port[8];
    int rc;

    if (split_address(address, host, port, err) < 0)
        return -1;
    rc = getaddrinfo(host, port, &hints, ret);
    if (rc != 0)
        return error_set(err, ERROR_INPUT, "listen address \"%s\": %s", address,
                         gai_strerror(rc));
    return 0;
}

static bool
is_wildcard(const struct addrinfo *found)
{
    struct sockaddr_in6 any;
    struct sockaddr_in four;

    if (found->ai_family == AF_INET) {
        memcpy(&four, found->ai_addr, sizeof four);
        return four.sin_addr.s_addr == htonl(INADDR_ANY);
    }
    memcpy(&any, found->ai_addr, sizeof any);
    memcpy(&four.sin_addr, &any.sin6_addr.s6_addr[12], sizeof four.sin_addr);
    return IN6_IS_ADDR_UNSPECIFIED(&any.sin6_addr) ||
           (IN6_IS_ADDR_V4MAPPED(&any.sin6_addr) && four.sin_addr.s_addr == htonl(INADDR_ANY));
}

int
http_metrics_check(const char *address, struct error *err)
{
    struct addrinfo *found;
    bool every;

    if (read_address(address, &found, err) < 0)
        return error_wrap(err, "metrics");
    every = is_wildcard(found);
    freeaddrinfo(found);
    if (!every)
        return 0;
    return error_set(err, ERROR_INPUT,
                     "metrics: \"%s\" is every address of this machine, also those that guests reach: name one, "
                     "as 127.0.0.1:PORT",
                     address);
}

int
http_metrics_listen(const char *address, int *ret_fd, struct error *err)
{
    if (http_metrics_check(address, err) < 0)
        return -1;
    return http_tcp_listen(address, ret_fd, err) < 0 ? error_wrap(err, "metrics") : 0;
}

int
http_address_check(const char *address, struct error *err)
{
    struct addrinfo *found;

    if (read_address(address, &found, err) < 0)
        return -1;
    freeaddrinfo(found);
    return 0;
}

int
http_tcp_listen(const char *address, int *ret_fd, struct error *err)
{
    CLEANUP(fd_close) int fd = -1;
    struct addrinfo *found;
    int rc = 0, yes = 1;

    if (read_address(address, &found, err) < 0)
        return -1;
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0 ||
        bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
        rc = error_sys(err, errno, "listen on %s", address);
    freeaddrinfo(found);
    if (rc < 0)
        return -1;
    *ret_fd = fd_steal(&fd);
    return 0;
}
