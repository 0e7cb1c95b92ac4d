#include "config.h"

#include "tests/unit/api_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/crypto/random.h"
#include "lib/crypto/x509.h"

/* A certificate that this service's CA, or another's, could have made. */
struct made {
    uint8_t bytes[2048];
    size_t len;
};

static void
make(struct made *ret, const struct key *ca_key, const uint8_t *ca, size_t ca_len,
     enum x509_kind kind, const char *name, int64_t now)
{
    CLEANUP(key_free) struct key *key = NULL;
    CLEANUP(buf_clear) struct buf spki = BUF(256);
    CLEANUP(buf_clear) struct buf der = BUF(2048);
    struct x509_request request = { .kind = kind, .name = name, .now = now };
    uint8_t point[65], serial[16];
    struct error err = { 0 };

    assert_int_equal(key_generate(&key, &err), 0);
    key_point(key, point);
    assert_int_equal(x509_spki_of_point(point, &spki, &err), 0);
    assert_int_equal(random_bytes(serial, sizeof serial, &err), 0);
    serial[0] = (uint8_t)((serial[0] & 0x7f) | 1);
    request.spki = spki.data;
    request.spki_len = spki.len;
    request.serial = serial;
    if (x509_compose(&request, ca_key, ca, ca_len, &der, &err) < 0)
        fail_msg("%s", err.text);
    memcpy(ret->bytes, der.data, der.len);
    ret->len = der.len;
}

static struct key *
service_ca_key(void)
{
    struct key *key = NULL;
    struct error err = { 0 };

    if (key_from_private(ca_set_find(&the_mint.keys->cas, MINT_KEY_ACTIVE)->host_scalar, &key, &err) < 0)
        fail_msg("%s", err.text);
    return key;
}

static void
make_foreign(struct made *ret)
{
    CLEANUP(key_free) struct key *ca_key = NULL;
    CLEANUP(buf_clear) struct buf spki = BUF(256);
    CLEANUP(buf_clear) struct buf ca = BUF(2048);
    uint8_t point[65], serial[16] = { 1 };
    int64_t now = clock_realtime_ms() / 1000;
    struct x509_request request = {
        .kind = X509_CA_HOST, .name = "example.test", .serial = serial, .now = now
    };
    struct error err = { 0 };

    assert_int_equal(key_generate(&ca_key, &err), 0);
    key_point(ca_key, point);
    assert_int_equal(x509_spki_of_point(point, &spki, &err), 0);
    request.spki = spki.data;
    request.spki_len = spki.len;
    if (x509_compose(&request, ca_key, NULL, 0, &ca, &err) < 0)
        fail_msg("%s", err.text);
    make(ret, ca_key, ca.data, ca.len, X509_HOST_TLS,
         "spiffe://example.test/host/a.example", now);
}

enum credential {
    NO_CERTIFICATE,
    WRONG_CA,
    EXPIRED,
    NEVER_ISSUED, /* by our CA, but not one that the service knows */
    ADMIN_ROLE,
    PROOF_ROLE,
    SERVER_ROLE,
    RETIRED,
    REMOVED,
    CREDENTIALS,
};

static void
make_all(struct made *c)
{
    CLEANUP(key_free) struct key *ca_key = service_ca_key();
    const uint8_t *ca = the_mint.info.host_ca;
    size_t len = the_mint.info.host_ca_len;
    static const char HOST[] = "spiffe://example.test/host/a.example";
    int64_t now = clock_realtime_ms() / 1000;

    c[NO_CERTIFICATE].len = 0;
    make_foreign(&c[WRONG_CA]);
    make(&c[EXPIRED], ca_key, ca, len, X509_HOST_TLS, HOST, now - 3 * 24 * 3600);
    make(&c[NEVER_ISSUED], ca_key, ca, len, X509_HOST_TLS, HOST, now);
    make(&c[ADMIN_ROLE], ca_key, ca, len, X509_ADMIN,
         "spiffe://example.test/admin/root", now);
    make(&c[PROOF_ROLE], ca_key, ca, len, X509_HOST_PROOF, HOST, now);
    make(&c[SERVER_ROLE], ca_key, ca, len, X509_SERVER, "localhost", now);
}

static void
take(struct made *ret, const struct sim_host *h)
{
    memcpy(ret->bytes, h->cert, h->cert_len);
    ret->len = h->cert_len;
}

static void
print_target(const struct route *route, char ret[static 300])
{
    const char *star = strchr(route->path, '*');

    if (star)
        snprintf(ret, 300, "%.*sx%s", (int)(star - route->path), route->path, star + 1);
    else
        snprintf(ret, 300, "%s", route->path);
}

static void
every_host_route_refuses_every_wrong_credential(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host renewed;
    CLEANUP(sim_host_clear) struct sim_host removed;
    static struct made c[CREDENTIALS];
    char target[300];
    unsigned n = 0;

    (void)state;
    make_all(c);
    sim_host_new(&renewed, "a.example");
    take(&c[RETIRED], &renewed);
    assert_int_equal(sim_host_renew(&renewed), 200);
    assert_int_equal(sim_host_ask(&renewed, "GET", "/v1/host/bundle", NULL), 200);
    sim_host_new(&removed, "b.example");
    take(&c[REMOVED], &removed);
    assert_int_equal(api_admin("DELETE", "/v1/admin/hosts/b.example", NULL), 200);

    for (const struct route *route = route_table(); route->method; route++) {
        if (route->who != WHO_HOST)
            continue;
        print_target(route, target);
        for (int k = 0; k < CREDENTIALS; k++, n++) {
            int status = api_ask_raw(route->listener, route->method, target, "{}", 2,
                                     c[k].len ? c[k].bytes : NULL, c[k].len);

            if (status != (k == NO_CERTIFICATE ? 401 : 403))
                fail_msg("%s %s with credential %d: %d", route->method, target, k,
                         status);
        }
    }
    assert_true(n >= 6 * CREDENTIALS);
}

static void
every_admin_route_refuses_everybody_but_administrators(void **state)
{
    static const uid_t WRONG[] = { 1, 1000, 65534, (uid_t)-1 };
    CLEANUP(sim_host_clear) struct sim_host h;
    char target[300];

    (void)state;
    sim_host_new(&h, "a.example");
    for (const struct route *route = route_table(); route->method; route++) {
        if (route->who != WHO_ADMIN)
            continue;
        print_target(route, target);
        for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
            the_api.uid = WRONG[i];
            /* A host's certificate is no administrator. */
            if (api_ask_raw(ON_ADMIN, route->method, target, "{}", 2, h.cert,
                            h.cert_len) != 403)
                fail_msg("%s %s as uid %ld: %d", route->method, target, (long)WRONG[i],
                         the_api.status);
            assert_string_equal(the_api.problem, "not-admin");
        }
    }
    the_api.uid = the_api.service.own_uid;
    assert_int_equal(api_admin("GET", "/v1/admin/status", NULL), 200);
}

static void
no_route_answers_on_another_listener(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    char target[300];

    (void)state;
    sim_host_new(&h, "a.example");
    for (const struct route *route = route_table(); route->method; route++) {
        print_target(route, target);
        for (int on = ON_PUBLIC; on <= ON_ADMIN; on++) {
            if (on == (int)route->listener)
                continue;
            if (api_ask_raw((enum route_listener)on, route->method, target, "{}", 2,
                            h.cert, h.cert_len) != 404)
                fail_msg("%s %s on listener %d: %d", route->method, target, on,
                         the_api.status);
        }
    }
}

static int
ask_as(enum route_listener on, const char *host)
{
    static const char *const TARGETS[] = { [ON_PUBLIC] = "/healthz",
                                           [ON_HOSTS] = "/v1/join",
                                           [ON_GUESTS] = "/v1/challenge",
                                           [ON_ADMIN] = "/v1/admin/status" };
    bool get = on == ON_PUBLIC || on == ON_ADMIN;

    the_api.host_header = host;
    return api_ask_raw(on, get ? "GET" : "POST", TARGETS[on], "{}", get ? 0 : 2, NULL,
                       0);
}

/* The certificate is for localhost, 127.0.0.1 and id.example.test. */
static void
a_request_that_names_another_server_is_misdirected(void **state)
{
    static const char *const GOOD[] = {
        "id.example.test",      "ID.Example.test.",      "localhost",
        "127.0.0.1",            "localhost:9999",        "127.0.0.1:9999",
        "id.example.test:9999", "[127.0.0.1]:9999",
    };
    static const char *const BAD[] = {
        "example.test",     "id.example.test.evil.test", "xid.example.test",
        "id.example.test:", "id.example.test:x",         "127.0.0.2",
        "[::1]",            "localhost:999999",          "[localhost",
        "localhost:1:1",    "[localhost]9999",           ":9999",
        "localhost..",
    };

    (void)state;
    for (int on = ON_PUBLIC; on <= ON_HOSTS; on++) {
        for (size_t i = 0; i < sizeof GOOD / sizeof GOOD[0]; i++) {
            if (ask_as((enum route_listener)on, GOOD[i]) == 421)
                fail_msg("%s on %d is misdirected", GOOD[i], on);
        }
        for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
            if (ask_as((enum route_listener)on, BAD[i]) != 421)
                fail_msg("%s on %d: %d", BAD[i], on, the_api.status);
            assert_string_equal(the_api.problem, "misdirected");
        }
    }
    /* Who reaches the admin socket is known by the socket. */
    assert_int_equal(ask_as(ON_ADMIN, "whoever"), 200);
}

static void
another_method_is_405_and_an_unknown_path_404(void **state)
{
    (void)state;
    assert_int_equal(api_ask_raw(ON_PUBLIC, "POST", "/healthz", "{}", 2, NULL, 0), 405);
    assert_int_equal(api_ask_raw(ON_GUESTS, "GET", "/v1/token", NULL, 0, NULL, 0), 405);
    assert_int_equal(api_ask_raw(ON_GUESTS, "GET", "/v1/tokens", NULL, 0, NULL, 0),
                     404);
    assert_int_equal(api_ask_raw(ON_PUBLIC, "GET", "/", NULL, 0, NULL, 0), 404);
    assert_int_equal(api_admin("GET", "/v1/admin/vms/", NULL), 404);
    assert_int_equal(api_admin("GET", "/v1/admin/vms/a/b", NULL), 404);
}

static void
every_body_is_bounded_and_strict(void **state)
{
    static const char *const BAD[] = { "",  "[]",   "{\"x\":1}",
                                       "{", "null", "{\"uuid\":1}" };
    CLEANUP(sim_host_clear) struct sim_host h;
    char target[300];

    (void)state;
    sim_host_new(&h, "a.example");
    for (const struct route *route = route_table(); route->method; route++) {
        if (strcmp(route->method, "POST") != 0 && strcmp(route->method, "PATCH") != 0)
            continue;
        print_target(route, target);
        for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
            if (api_ask_raw(route->listener, route->method, target, BAD[i],
                            strlen(BAD[i]), h.cert, h.cert_len) != 400)
                fail_msg("%s %s %s: %d", route->method, target, BAD[i], the_api.status);
        }
    }
}

static void
strangers_and_guests_are_told_no_detail(void **state)
{
    CLEANUP(json_decref) json_t *guest = NULL;
    CLEANUP(json_decref) json_t *admin = NULL;

    (void)state;
    assert_int_equal(api_ask_raw(ON_GUESTS, "POST", "/v1/token", "{}", 2, NULL, 0),
                     400);
    guest = api_answer();
    assert_null(json_object_get(guest, "detail"));
    assert_int_equal(api_admin("GET", "/v1/admin/vms/nobody", NULL), 404);
    admin = api_answer();
    assert_non_null(json_object_get(admin, "detail"));
}

static void
keys_and_discovery_are_static_documents_with_an_etag(void **state)
{
    CLEANUP(json_decref) json_t *discovery = NULL;

    (void)state;
    assert_int_equal(
        api_ask_raw(ON_PUBLIC, "GET", "/.well-known/jwks.json", NULL, 0, NULL, 0), 200);
    assert_memory_equal(the_api.body.data, the_mint.info.jwks, the_api.body.len);
    assert_int_equal(api_ask_raw(ON_PUBLIC, "GET", "/.well-known/openid-configuration",
                                 NULL, 0, NULL, 0),
                     200);
    discovery = api_answer();
    assert_string_equal(json_string_value(json_object_get(discovery, "issuer")),
                        the_mint.info.issuer);
}

static void
the_bound_issuer_has_documents_of_its_own(void **state)
{
    CLEANUP(json_decref) json_t *discovery = NULL;
    char expected[NAME_ISSUER_MAX + 60];

    (void)state;
    assert_int_equal(api_ask_raw(ON_PUBLIC, "GET", "/bound/.well-known/jwks.json", NULL, 0, NULL, 0), 200);
    assert_non_null(strstr(buf_text(&the_api.body), the_api.service.info.bound_kid));
    assert_null(strstr(buf_text(&the_api.body), the_api.service.info.kid));
    assert_non_null(strstr(the_api.headers, "ETag: "));
    assert_int_equal(api_ask_raw(ON_PUBLIC, "GET", "/bound/.well-known/openid-configuration", NULL, 0, NULL, 0), 200);
    discovery = api_answer();
    snprintf(expected, sizeof expected, "%s/bound", the_mint.info.issuer);
    assert_string_equal(json_string_value(json_object_get(discovery, "issuer")), expected);
    snprintf(expected, sizeof expected, "%s/bound/.well-known/jwks.json", the_mint.info.issuer);
    assert_string_equal(json_string_value(json_object_get(discovery, "jwks_uri")), expected);
}

static void
the_audit_tells_who_did_what_and_its_chain_holds(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    CLEANUP(json_decref) json_t *o = NULL;
    int64_t newest;
    struct error err = { 0 };
    json_t *first;
    char path[80];

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    snprintf(path, sizeof path, "/v1/admin/audit?uuid=%s&limit=1", vm.text);
    assert_int_equal(api_admin("GET", path, NULL), 200);
    o = api_answer();
    assert_int_equal(json_array_size(json_object_get(o, "audit")), 1);
    first = json_array_get(json_object_get(o, "audit"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "what")), "token");
    assert_string_equal(json_string_value(json_object_get(first, "uuid")), vm.text);
    assert_int_equal(store_audit_check(the_api.service.store, &newest, &err), 0);
}

static void
lists_show_hosts_vms_and_steps(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    CLEANUP(json_decref) json_t *list = NULL;
    CLEANUP(json_decref) json_t *one = NULL;
    json_t *first;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    assert_int_equal(api_admin("GET", "/v1/admin/vms", NULL), 200);
    list = api_answer();
    first = json_array_get(json_object_get(list, "vms"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "state")), "ok");
    assert_string_equal(json_string_value(json_object_get(first, "lease")), "runs");
    assert_int_equal(api_admin("GET", "/v1/admin/vms/web1", NULL), 200);
    one = api_answer();
    assert_true(json_array_size(json_object_get(one, "steps")) >= 3);
    assert_int_equal(json_array_size(json_object_get(one, "floor")), 2);
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        API_TEST(every_host_route_refuses_every_wrong_credential),
        API_TEST(every_admin_route_refuses_everybody_but_administrators),
        API_TEST(no_route_answers_on_another_listener),
        API_TEST(a_request_that_names_another_server_is_misdirected),
        API_TEST(another_method_is_405_and_an_unknown_path_404),
        API_TEST(every_body_is_bounded_and_strict),
        API_TEST(strangers_and_guests_are_told_no_detail),
        API_TEST(keys_and_discovery_are_static_documents_with_an_etag),
        API_TEST(the_bound_issuer_has_documents_of_its_own),
        API_TEST(the_audit_tells_who_did_what_and_its_chain_holds),
        API_TEST(lists_show_hosts_vms_and_steps),
    };
    return cmocka_run_group_tests_name("route", t, api_fixture_start, api_fixture_stop);
}
