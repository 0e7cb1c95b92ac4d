/*
 * http_connection.h - one connection of the server, from accept to close; inside of lib/http only
 *
 * TLS handshake, then requests one after the other: head, body, worker, answer.  While the
 * worker has a request nothing more is read, so a peer that pipelines waits for itself.
 * Each state has a deadline (struct http_deadlines).  All on the loop thread.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <sys/socket.h>

#include "lib/http/http_limit.h"
#include "lib/http/http_server.h"
#include "lib/http/http_worker.h"

struct evconnlistener;
struct event;
struct http_connection;

struct http_listening {
    struct http_server *server;
    struct http_listener option;
    struct evconnlistener *accepting;
    struct event *pause; /* after running out of descriptors */
    struct http_limit *limit;
    unsigned n_connections;
    struct http_listening *next;
};

struct http_server {
    struct event_base *base;
    struct http_worker *worker;
    struct http_deadlines deadline;
    struct http_listening *listening;
    struct http_connection *connections;
    struct http_message scratch; /* the request being parsed; copied for the worker */
    atomic_bool draining;        /* the worker reads it, too */
    void (*drained)(void *);     /* once; NULL behind that */
    void *drained_context;
    struct event *bound;
};

/* Of http_server.c: it drains, and the last connection is gone? */
void http_server_look_drained(struct http_server *server);

/* Takes `fd`; closes it when there is no room. */
void http_connection_open(struct http_listening *on, int take_fd,
                          const struct sockaddr *address);
/* The connections that have no request: no more than one that may be on its way. */
void http_connections_drain(struct http_server *server);
/* Not while the worker has a request of it. */
void http_connection_free(struct http_connection *c);
