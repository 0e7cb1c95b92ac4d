#include "config.h"

#include "tokenservice/api/route.h"

#include <stdio.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/error_map.h"
#include "lib/common/json.h"
#include "lib/common/log.h"
#include "lib/wire/problem.h"
#include "tokenservice/api/api.h"
#include "tokenservice/api/caller.h"
#include "tokenservice/api/grace_end.h"
#include "tokenservice/api/served_name.h"

enum { BUSY_SECONDS = 2 };

static const struct route TABLE[] = {
    { "GET", "/.well-known/openid-configuration", ON_PUBLIC, WHO_ANYONE,
      api_discovery },
    { "GET", "/.well-known/jwks.json", ON_PUBLIC, WHO_ANYONE, api_jwks },
    { "GET", "/bound/.well-known/openid-configuration", ON_PUBLIC, WHO_ANYONE, api_bound_discovery },
    { "GET", "/bound/.well-known/jwks.json", ON_PUBLIC, WHO_ANYONE, api_bound_jwks },
    { "GET", "/.well-known/virtid-ca.pem", ON_PUBLIC, WHO_ANYONE, api_ca },
    { "GET", "/healthz", ON_PUBLIC, WHO_ANYONE, api_health },
    { "GET", "/readyz", ON_PUBLIC, WHO_ANYONE, api_ready },

    { "POST", "/v1/challenge", ON_GUESTS, WHO_ANYONE, api_challenge },
    { "POST", "/v1/token", ON_GUESTS, WHO_ANYONE, api_token },

    { "POST", "/v1/join", ON_HOSTS, WHO_ANYONE, api_join },
    { "POST", "/v1/host/renew", ON_HOSTS, WHO_HOST, api_renew },
    { "POST", "/v1/host/report", ON_HOSTS, WHO_HOST, api_report },
    { "POST", "/v1/host/receipts", ON_HOSTS, WHO_HOST, api_receipts },
    { "POST", "/v1/host/certificates", ON_HOSTS, WHO_ANYONE, api_certificates },
    { "GET", "/v1/host/pull", ON_HOSTS, WHO_HOST, api_pull },
    { "POST", "/v1/host/ek-cert", ON_HOSTS, WHO_HOST, api_ek_cert },
    { "POST", "/v1/host/account", ON_HOSTS, WHO_HOST, api_account },
    { "GET", "/v1/host/bundle", ON_HOSTS, WHO_HOST, api_bundle },
    { "GET", "/v1/host/vm", ON_HOSTS, WHO_HOST, api_vm },

    { "GET", "/v1/admin/status", ON_ADMIN, WHO_ADMIN, api_admin_status },
    { "POST", "/v1/admin/hosts", ON_ADMIN, WHO_ADMIN, api_admin_hosts_add },
    { "GET", "/v1/admin/hosts", ON_ADMIN, WHO_ADMIN, api_admin_hosts },
    { "POST", "/v1/admin/hosts/*/approve", ON_ADMIN, WHO_ADMIN,
      api_admin_host_approve },
    { "POST", "/v1/admin/hosts/*/fence", ON_ADMIN, WHO_ADMIN, api_admin_host_fence },
    { "DELETE", "/v1/admin/hosts/*", ON_ADMIN, WHO_ADMIN, api_admin_host_remove },
    { "GET", "/v1/admin/vms", ON_ADMIN, WHO_ADMIN, api_admin_vms },
    { "GET", "/v1/admin/vms/*", ON_ADMIN, WHO_ADMIN, api_admin_vm },
    { "POST", "/v1/admin/vms/*/place", ON_ADMIN, WHO_ADMIN, api_admin_vm_place },
    { "POST", "/v1/admin/vms/*/accept", ON_ADMIN, WHO_ADMIN, api_admin_vm_accept },
    { "POST", "/v1/admin/vms/*/lock", ON_ADMIN, WHO_ADMIN, api_admin_vm_lock },
    { "POST", "/v1/admin/vms/*/unlock", ON_ADMIN, WHO_ADMIN, api_admin_vm_unlock },
    { "POST", "/v1/admin/vms/*/retire", ON_ADMIN, WHO_ADMIN, api_admin_vm_retire },
    { "PATCH", "/v1/admin/vms/*", ON_ADMIN, WHO_ADMIN, api_admin_vm_set },
    { "GET", "/v1/admin/audiences", ON_ADMIN, WHO_ADMIN, api_admin_audiences },
    { "POST", "/v1/admin/audiences", ON_ADMIN, WHO_ADMIN, api_admin_audience_put },
    { "POST", "/v1/admin/audiences/remove", ON_ADMIN, WHO_ADMIN,
      api_admin_audience_remove },
    { "GET", "/v1/admin/pools", ON_ADMIN, WHO_ADMIN, api_admin_pools },
    { "POST", "/v1/admin/pools", ON_ADMIN, WHO_ADMIN, api_admin_pool_set },
    { "POST", "/v1/admin/pools/remove", ON_ADMIN, WHO_ADMIN, api_admin_pool_remove },
    { "GET", "/v1/admin/keys", ON_ADMIN, WHO_ADMIN, api_admin_keys },
    { "POST", "/v1/admin/keys/rotate", ON_ADMIN, WHO_ADMIN, api_admin_keys_rotate },
    { "POST", "/v1/admin/keys/revoke", ON_ADMIN, WHO_ADMIN, api_admin_keys_revoke },
    { "GET", "/v1/admin/ca", ON_ADMIN, WHO_ADMIN, api_admin_ca },
    { "POST", "/v1/admin/ca/rotate", ON_ADMIN, WHO_ADMIN, api_admin_ca_rotate },
    { "GET", "/v1/admin/recovery", ON_ADMIN, WHO_ADMIN, api_admin_recovery },
    { "POST", "/v1/admin/recovery/finish", ON_ADMIN, WHO_ADMIN, api_admin_recovery_finish },
    { "GET", "/v1/admin/audit", ON_ADMIN, WHO_ADMIN, api_admin_audit },
    { "GET", "/v1/admin/audit/head", ON_ADMIN, WHO_ADMIN, api_admin_audit_head },
    { "GET", "/v1/admin/top", ON_ADMIN, WHO_ADMIN, api_admin_top },

    { "GET", "/metrics", ON_METRICS, WHO_ANYONE, api_metrics },
    { NULL, NULL, 0, WHO_ADMIN, NULL },
};

const struct route *
route_table(void)
{
    return TABLE;
}

const char *
route_listener_name(enum route_listener listener)
{
    static const char *const NAMES[] = { [ON_PUBLIC] = "public",
                                         [ON_GUESTS] = "guests",
                                         [ON_HOSTS] = "hosts",
                                         [ON_ADMIN] = "admin",
                                         [ON_METRICS] = "metrics" };

    return NAMES[listener];
}

/* Does `path` fit, and what stands in the place of its "*"? */
static bool
path_fits(const char *pattern, const char *path, char ret_arg[static 256])
{
    ret_arg[0] = '\0';
    for (; *pattern; pattern++) {
        size_t len = strcspn(path, "/");

        if (*pattern != '*') {
            if (*path++ != *pattern)
                return false;
            continue;
        }
        if (len == 0 || len > 255)
            return false;
        memcpy(ret_arg, path, len);
        ret_arg[len] = '\0';
        path += len;
    }
    return *path == '\0';
}

int
route_find(enum route_listener listener, const char *method, const char *path,
           char ret_arg[static 256], const struct route **ret, struct error *err)
{
    bool known = false;

    for (const struct route *r = TABLE; r->method; r++) {
        if (r->listener != listener || !path_fits(r->path, path, ret_arg))
            continue;
        if (strcmp(r->method, method) == 0) {
            *ret = r;
            return 0;
        }
        known = true;
    }
    if (known)
        return error_problem(err, ERROR_DENIED, "method-not-allowed",
                             "%s is not taken here", method);
    return error_problem(err, ERROR_MISSING, "not-found", "there is no such endpoint");
}

/* The issuer's own path, if it has one, stands before /.well-known/. */
static const char *
without_issuer_path(const struct service *service, const char *path)
{
    const char *own = strchr(service->info.issuer + strlen("https://"), '/');
    size_t len = own ? strlen(own) : 0;

    if (len > 0 && strncmp(path, own, len) == 0 && path[len] == '/')
        return path + len;
    return path;
}

static int
call_endpoint(const struct route_context *context, struct api_call *call,
              struct error *err)
{
    struct service *service = context->service;
    const char *path = call->request->message->path;
    const struct route *route;

    if (context->listener != ON_ADMIN && context->listener != ON_METRICS &&
        !served_name(service, context->listener,
                     http_header(call->request->message, "host")))
        return error_problem(err, ERROR_DENIED, "misdirected",
                             "this listener has another name");
    /* Who only looks changes nothing. */
    if (context->listener != ON_PUBLIC && context->listener != ON_METRICS && grace_end(service, call->now_ms, err) < 0)
        return -1;
    if (context->listener == ON_PUBLIC)
        path = without_issuer_path(service, path);
    if (route_find(context->listener, call->request->message->method, path, call->arg,
                   &route, err) < 0)
        return -1;
    if (route->who == WHO_HOST &&
        (caller_host(service, call, err) < 0 ||
         (!call->request->again &&
          rate_take(service->rates, RATE_HOST_REQUEST, call->host.name,
                    strlen(call->host.name), call->now_ms, err) < 0)))
        return -1;
    if (route->who == WHO_ADMIN && caller_admin(service, call, err) < 0)
        return -1;
    return route->handler(service, call, err);
}

/*
 * Where a write found the disk full nothing was changed, and with the reserve there is room.  What operators say may have
 * been done in part outside of the database: they say it again.
 */
static int
call_with_reserve(const struct route_context *context, struct api_call *call, struct error *err)
{
    struct api_call again = *call;
    struct http_reply *reply = call->reply;

    reserve_watch(context->service);
    if (call_endpoint(context, call, err) == 0)
        return 0;
    if (strcmp(err->problem, "disk-full") != 0 || !reserve_release(context->service) || context->listener == ON_ADMIN)
        return -1;
    buf_clear(&reply->body);
    reply->headers[0] = '\0';
    reply->status = 0;
    reply->park_ms = 0;
    *call = again;
    return call_endpoint(context, call, err);
}

/* Operators are told why; hosts too, but not what failed inside of us; guests and
 * strangers only the name. */
static bool
may_know_why(enum route_listener listener, const struct api_call *call,
             const struct error *err)
{
    return listener == ON_ADMIN || (listener == ON_HOSTS && call->host.name[0] &&
                                    err->code != ERROR_SYSTEM);
}

static void
answer_problem(const struct route_context *context, struct api_call *call,
               const struct error *err)
{
    const struct problem *problem = err->problem[0] ? problem_find(err->problem) : NULL;
    struct http_reply *reply = call->reply;

    buf_clear(&reply->body);
    reply->headers[0] = '\0';
    reply->park_ms = 0;
    reply->content_type = "application/problem+json";
    reply->status = problem ? problem->status : error_http_status(err->code);
    if (problem_body(err,
                     may_know_why(context->listener, call, err) ? err->text : NULL,
                     &reply->body) < 0) {
        buf_clear(&reply->body);
        reply->status = 500;
    }
    if (reply->status == 503 || reply->status == 429)
        snprintf(reply->headers, sizeof reply->headers, "Retry-After: %u\r\n",
                 err->retry_s ? err->retry_s : BUSY_SECONDS);
}

/* One that waits for another is not counted by its length: it was made to wait. */
static void
count_answer(const struct route_context *context, const struct http_request *request, const struct http_reply *reply)
{
    if (reply->status != 0 && !request->again)
        histogram_take(&context->service->counts.took[context->listener], clock_monotonic_ms() - request->came_ms);
}

void
route_answer(void *arg, const struct http_request *request, struct http_reply *reply)
{
    const struct route_context *context = arg;
    struct service *service = context->service;
    struct api_call call = { .request = request, .reply = reply };
    struct error err = { 0 }, dead;

    json_begin();
    call.now_ms = service->clock_ms();
    if (call_with_reserve(context, &call, &err) == 0) {
        if (reply->status == 0 && reply->park_ms == 0)
            reply->status = 200;
        count_answer(context, request, reply);
        if (store_failed(service->store) && service_health(service, &dead) < 0)
            context->broken(&dead); /* what it could not undo is in the way of all that follow */
        return;
    }
    counts_refusal(&service->counts, context->listener, &err);
    if (err.code == ERROR_SYSTEM)
        log_error(&err, "%s %s", request->message->method, request->message->path);
    /* Nothing may be answered on a store that lost a write or without the signer. */
    if ((err.code == ERROR_SYSTEM || store_failed(service->store)) && service_health(service, &dead) < 0)
        context->broken(&dead);
    answer_problem(context, &call, &err);
    count_answer(context, request, reply);
}
