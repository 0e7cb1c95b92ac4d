/*
 * service_routes_alloc_test.c - the token service without memory, at each allocation in turn: every request that it knows
 *
 * Here are those of one line; service_alloc_test has those that decide, and is named for them in ELSEWHERE.  A request
 * that is in neither fails the last test.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/faults/starved.h"

static const char *const ELSEWHERE[] = {
    "/.well-known/jwks.json",      "/v1/challenge",          "/v1/token",
    "/v1/join",                    "/v1/host/report",        "/v1/host/account",
    "/v1/host/bundle",             "/v1/admin/hosts/*/fence", "/v1/admin/vms/*/accept",
    "/v1/admin/vms/*/retire",      "/v1/admin/audit",        "/v1/admin/top",
    "/metrics",
    /* Its answer is the host's next certificate, with which alone it may go on (unit/api_join_test, faults/keys_faults_test). */
    "/v1/host/renew",
};

/* Before each try, what makes it do the same again: as an operator, and whatever is answered. */
struct request {
    const char *name;
    enum route_listener on;
    const char *method, *pattern, *rest, *body; /* `rest` stands for the "*" of `pattern`, or behind it; "@" is the VM */
    int wanted;
    const char *before_method, *before, *before_body;
};

static const struct request REQUESTS[] = {
    { "discovery", ON_PUBLIC, "GET", "/.well-known/openid-configuration", "", NULL, 200, NULL, NULL, NULL },
    { "bound discovery", ON_PUBLIC, "GET", "/bound/.well-known/openid-configuration", "", NULL, 200, NULL, NULL, NULL },
    { "bound keys", ON_PUBLIC, "GET", "/bound/.well-known/jwks.json", "", NULL, 200, NULL, NULL, NULL },
    { "CA", ON_PUBLIC, "GET", "/.well-known/virtid-ca.pem", "", NULL, 200, NULL, NULL, NULL },
    { "health", ON_PUBLIC, "GET", "/healthz", "", NULL, 200, NULL, NULL, NULL },
    { "ready", ON_PUBLIC, "GET", "/readyz", "", NULL, 200, NULL, NULL, NULL },
    { "receipts", ON_HOSTS, "POST", "/v1/host/receipts", "", "{\"receipts\":[\"AAAA\"]}", 200, NULL, NULL, NULL },
    { "certificates", ON_HOSTS, "POST", "/v1/host/certificates", "", "{\"proof_cert\":\"AAAA\"}", 403, NULL, NULL, NULL },
    { "pull", ON_HOSTS, "GET", "/v1/host/pull", "?after=x", NULL, 400, NULL, NULL, NULL },
    { "EK certificate", ON_HOSTS, "POST", "/v1/host/ek-cert", "", "{\"uuid\":\"x\"}", 400, NULL, NULL, NULL },
    { "a host's VM", ON_HOSTS, "GET", "/v1/host/vm", "?uuid=@", NULL, 200, NULL, NULL, NULL },
    { "status", ON_ADMIN, "GET", "/v1/admin/status", "", NULL, 200, NULL, NULL, NULL },
    { "invite", ON_ADMIN, "POST", "/v1/admin/hosts", "", "{\"name\":\"c.example\",\"auto\":true}", 201, "DELETE",
      "/v1/admin/hosts/c.example", NULL },
    { "hosts", ON_ADMIN, "GET", "/v1/admin/hosts", "", NULL, 200, NULL, NULL, NULL },
    { "approve", ON_ADMIN, "POST", "/v1/admin/hosts/*/approve", "c.example", "{}", 409, "POST", "/v1/admin/hosts",
      "{\"name\":\"c.example\",\"auto\":true}" },
    { "remove a host", ON_ADMIN, "DELETE", "/v1/admin/hosts/*", "c.example", NULL, 200, "POST", "/v1/admin/hosts",
      "{\"name\":\"c.example\",\"auto\":true}" },
    { "VMs", ON_ADMIN, "GET", "/v1/admin/vms", "", NULL, 200, NULL, NULL, NULL },
    { "VM", ON_ADMIN, "GET", "/v1/admin/vms/*", "@", NULL, 200, NULL, NULL, NULL },
    { "settings", ON_ADMIN, "PATCH", "/v1/admin/vms/*", "@", "{\"owner\":\"team\"}", 200, NULL, NULL, NULL },
    { "place", ON_ADMIN, "POST", "/v1/admin/vms/*/place", "@", "{\"host\":\"nobody.example\"}", 404, NULL, NULL, NULL },
    { "lock", ON_ADMIN, "POST", "/v1/admin/vms/*/lock", "@", "{}", 200, "POST", "unlock", "{}" },
    { "unlock", ON_ADMIN, "POST", "/v1/admin/vms/*/unlock", "@", "{}", 200, "POST", "lock", "{}" },
    { "audiences", ON_ADMIN, "GET", "/v1/admin/audiences", "", NULL, 200, NULL, NULL, NULL },
    { "audience", ON_ADMIN, "POST", "/v1/admin/audiences", "", "{\"name\":\"shop\",\"all\":true,\"claims\":[]}", 200, NULL, NULL,
      NULL },
    { "remove an audience", ON_ADMIN, "POST", "/v1/admin/audiences/remove", "", "{\"name\":\"bank\"}", 200, "POST",
      "/v1/admin/audiences", "{\"name\":\"bank\",\"all\":true,\"claims\":[]}" },
    { "pools", ON_ADMIN, "GET", "/v1/admin/pools", "", NULL, 200, NULL, NULL, NULL },
    { "pool", ON_ADMIN, "POST", "/v1/admin/pools", "", "{\"name\":\"east\",\"hosts\":[\"a.example\"]}", 200, "POST",
      "/v1/admin/pools/remove", "{\"name\":\"east\"}" },
    { "remove a pool", ON_ADMIN, "POST", "/v1/admin/pools/remove", "", "{\"name\":\"east\"}", 200, "POST", "/v1/admin/pools",
      "{\"name\":\"east\",\"hosts\":[\"a.example\"]}" },
    { "keys", ON_ADMIN, "GET", "/v1/admin/keys", "", NULL, 200, NULL, NULL, NULL },
    { "rotate", ON_ADMIN, "POST", "/v1/admin/keys/rotate", "", "{\"bound\":1}", 400, NULL, NULL, NULL },
    { "revoke", ON_ADMIN, "POST", "/v1/admin/keys/revoke", "", "{\"kid\":\"none\"}", 404, NULL, NULL, NULL },
    { "CAs", ON_ADMIN, "GET", "/v1/admin/ca", "", NULL, 200, NULL, NULL, NULL },
    { "rotate the CA", ON_ADMIN, "POST", "/v1/admin/ca/rotate", "", "{\"force\":1}", 400, NULL, NULL, NULL },
    { "head", ON_ADMIN, "GET", "/v1/admin/audit/head", "", NULL, 200, NULL, NULL, NULL },
    { "recovery", ON_ADMIN, "GET", "/v1/admin/recovery", "", NULL, 200, NULL, NULL, NULL },
    { "finish", ON_ADMIN, "POST", "/v1/admin/recovery/finish", "", "{}", 409, NULL, NULL, NULL },
};

static const struct request *asked;

static json_t *
body_of(const char *text)
{
    json_t *body = NULL;
    struct error err;

    if (text && json_parse(text, strlen(text), &body, &err) < 0)
        fail_msg("%s", err.text);
    return body;
}

static void
print_target(const char *pattern, const char *rest, char ret[static 200])
{
    const char *star = strchr(pattern, '*'), *at = strchr(rest, '@');
    char who[160];

    snprintf(who, sizeof who, "%.*s%s", at ? (int)(at - rest) : 100, rest, at ? vm.text : "");
    snprintf(ret, 200, "%.*s%s%s", star ? (int)(star - pattern) : 100, pattern, who, star ? star + 1 : "");
}

static void
prepare(void)
{
    char target[200];

    if (!asked->before)
        return;
    starved_begin();
    snprintf(target, sizeof target, "/v1/admin/vms/%s/%s", vm.text, asked->before);
    (void)api_admin(asked->before_method, asked->before[0] == '/' ? asked->before : target, body_of(asked->before_body));
}

static int
work(void)
{
    char target[200];

    prepare();
    print_target(asked->pattern, asked->rest, target);
    return starved_ask(asked->on, asked->method, target, body_of(asked->body), asked->wanted);
}

static void
every_request_is_answered_whole_or_refused_for_a_lack_of_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof REQUESTS / sizeof REQUESTS[0]; i++) {
        struct alloc_case c = { .name = REQUESTS[i].name, .work = work, .check = starved_goes_on };

        asked = &REQUESTS[i];
        starved_run(&c, 1);
    }
}

static bool
is_tried(const struct route *route)
{
    for (size_t i = 0; i < sizeof ELSEWHERE / sizeof ELSEWHERE[0]; i++) {
        if (strcmp(route->path, ELSEWHERE[i]) == 0)
            return true;
    }
    for (size_t i = 0; i < sizeof REQUESTS / sizeof REQUESTS[0]; i++) {
        if (strcmp(route->method, REQUESTS[i].method) == 0 && strcmp(route->path, REQUESTS[i].pattern) == 0)
            return true;
    }
    return false;
}

static void
no_request_is_left_out(void **state)
{
    (void)state;
    for (const struct route *route = route_table(); route->method; route++) {
        if (!is_tried(route))
            fail_msg("%s %s is tried nowhere without memory", route->method, route->path);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_is_answered_whole_or_refused_for_a_lack_of_memory),
        cmocka_unit_test(no_request_is_left_out),
    };

    return cmocka_run_group_tests_name("service_routes_alloc", tests, starved_set_up, starved_tear_down);
}
