/*
 * http_server.h - HTTPS (or HTTP over a Unix socket) on libevent, for small JSON requests
 *
 * One loop thread does all I/O; a handler runs on the worker thread (tokend: one, so
 * that decisions are one after the other; DESIGN: no database or signing on the loop thread).
 * Deadlines: TLS handshake, head and body 5 s each, idle 60 s (CHECKS C20).  Limits per listener and per
 * address, shed with 503 and Retry-After.  Parsing: lib/wire/http_message.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/common/buf.h"
#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/crypto/tls.h"
#include "lib/wire/http_message.h"

enum { PARK_KEY_MAX = 79 };

struct event_base;
struct http_server;

struct http_request {
    const struct http_message *message;
    const uint8_t *body;
    size_t body_len;
    const char *peer;                /* address text, or "unix" */
    /* of the connection: */
    uint8_t exporter[TLS_EXPORTER_LEN]; /* EXPORTER-virtid-proof; zero without TLS */
    const uint8_t *client_cert;      /* verified DER leaf, or NULL */
    size_t client_cert_len;
    uid_t uid;                       /* SO_PEERCRED of a Unix peer; (uid_t)-1 else */
    gid_t gid;
    int64_t came_ms;                 /* clock_monotonic_ms() when it was whole */
    bool again;                      /* it was parked: the handler has seen it before */
    bool draining;                   /* the server is about to end: what can be answered now is not parked */
};

struct http_reply {
    int status;                      /* 0 until set: answered as 500 */
    const char *content_type;        /* static text; NULL: application/json */
    char headers[512];               /* whole lines with CRLF */
    struct buf body;                 /* BUF(the listener's reply_max) */
    unsigned park_ms;                /* with status 0: call me again after so long, */
    char park_key[PARK_KEY_MAX + 1]; /* or when http_server_wake() says this */
};

/* Runs on the worker thread. Fill the reply, or have the request parked. */
typedef void http_handler(void *context, const struct http_request *request,
                          struct http_reply *reply);

struct http_listener {
    int fd;                          /* listening; taken, and made non-blocking */
    struct ssl_ctx_st *tls;          /* NULL: plain (Unix sockets, http_metrics_listen()); borrowed for ever unless replaced */
    size_t body_max;                 /* <= HTTP_BODY_MAX */
    size_t reply_max;                /* of an answer's body; 0: JSON_TEXT_MAX */
    unsigned connections_max, per_address_max, requests_per_second_per_address; /* 0: no limit */
    bool urgent;                     /* its requests wait in a queue of their own, and are taken first */
    http_handler *handler;
    void *context;
};

/* How long a peer may take; what http_server_new() sets is in the comments. */
struct http_deadlines {
    unsigned handshake_ms; /* 5 s */
    unsigned head_ms;      /* 5 s, from the first byte; the first request: from the handshake */
    unsigned body_ms;      /* 5 s, from the end of the head */
    unsigned write_ms;     /* 20 s, for the whole answer */
    unsigned idle_ms;      /* 60 s, between two requests */
};

/* `base` runs in the caller's loop. The worker thread is started here; SIGPIPE is ignored from here on. */
int http_server_new(struct event_base *base, struct http_server **ret, struct error *err);
/* Stops accepting, waits for the worker, closes all. */
void http_server_free(struct http_server *server);
DEFINE_CLEANUP(struct http_server *, http_server_free);
/*
 * The way out: nobody new is let in, connections are closed behind the answer that they wait for, requests that are
 * parked are given to their handlers once more.  An open connection without a request has a quarter of a second for one
 * that is on its way.  `drained` is called once, on the loop: when no connection is left, or after `bound_ms`.
 */
void http_server_drain(struct http_server *server, unsigned bound_ms, void (*drained)(void *context), void *context);
int http_server_listen(struct http_server *server, const struct http_listener *listener,
                       struct error *err);
/* For connections from here on (tests). */
void http_server_deadlines(struct http_server *server, const struct http_deadlines *deadlines);
/* New connections of all TLS listeners whose context is `old` use `new_` (certificate renewal). */
void http_server_retls(struct http_server *server, struct ssl_ctx_st *old, struct ssl_ctx_st *new_);
/*
 * Run `job` on the worker thread, between requests (timers of the service).  From any thread.
 * ERROR_BUSY: too much is waiting.  A job that has not begun when the server is freed is dropped.
 */
int http_server_post(struct http_server *server, void (*job)(void *), void *context,
                     struct error *err);

/* Call the handlers of the requests that were parked with this key again. From any thread. */
void http_server_wake(struct http_server *server, const char *key);

/* Is it one that http_tcp_listen() takes?  ERROR_INPUT. */
int http_address_check(const char *address, struct error *err);
/* TCP listener "ADDRESS:PORT" or "[ADDRESS]:PORT" ("127.0.0.1:0": any free port); non-blocking. */
int http_tcp_listen(const char *address, int *ret_fd, struct error *err);
/*
 * The same for plain HTTP without authentication: of one address of this machine, not of all of them, among which
 * are those that guests reach. ERROR_INPUT.
 */
int http_metrics_check(const char *address, struct error *err);
int http_metrics_listen(const char *address, int *ret_fd, struct error *err);
