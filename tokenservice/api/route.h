/*
 * route.h - one table of all endpoints: where, how, and who may
 *
 * Everything that a listener answers goes through route_answer(): it finds the route,
 * finds out who asks (again at every request, from the store: CHECKS C7, C10, C13),
 * calls the endpoint and turns its error into a problem.  What is not in the table is
 * not answered.
 */
#pragma once

#include <stdbool.h>

#include "lib/http/http_server.h"
#include "tokenservice/api/service_state.h"

enum route_listener { ON_PUBLIC = 1, ON_GUESTS, ON_HOSTS, ON_ADMIN, ON_METRICS };
const char *route_listener_name(enum route_listener listener); /* "public", ... */
enum route_who {
    WHO_ANYONE,
    WHO_HOST /* joined, by its live certificate */,
    WHO_ADMIN /* by its uid */
};

/* One request on its way through an endpoint. */
struct api_call {
    const struct http_request *request;
    struct http_reply *reply;
    int64_t now_ms;
    char who[AUDIT_WHO_MAX + 1]; /* for the audit */
    struct store_host host;      /* WHO_HOST: as it was when the request came */
    char arg[256];               /* the part of the path that the route leaves open */
};

/* Fills call->reply; ERROR_x becomes a problem.  No state has changed when it fails. */
typedef int api_handler(struct service *service, struct api_call *call,
                        struct error *err);

struct route {
    const char *method, *path; /* "*" stands for one part of the path */
    enum route_listener listener;
    enum route_who who;
    api_handler *handler;
};

/* Ends with a NULL method. */
const struct route *route_table(void);

/* ERROR_MISSING "not-found"; ERROR_DENIED "method-not-allowed". */
int route_find(enum route_listener listener, const char *method, const char *path,
               char ret_arg[static 256], const struct route **ret, struct error *err);

/* The context of http_handler. */
struct route_context {
    struct service *service;
    enum route_listener listener;
    void (*broken)(
        const struct error *err); /* store or signer is gone: does not return */
};
http_handler route_answer;
