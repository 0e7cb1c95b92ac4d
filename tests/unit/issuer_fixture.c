#include "config.h"

#include "tests/unit/issuer_fixture.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <unistd.h>
#include <cmocka.h>
#include <event2/event.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/json.h"
#include "lib/http/http_server.h"
#include "lib/wire/token.h"
#include "tests/unit/verify_fixture.h"

struct issuer_fixture the_issuer;

static struct {
    struct event_base *base;
    struct http_server *server;
    struct ssl_ctx_st *tls;
    pthread_t thread;
    int quit[2];
    char folder[40];
} the;

static json_t *
public_key(const struct key *key)
{
    uint8_t point[KEY_POINT_LEN];
    struct error err;

    key_point(key, point);
    return jwk_of_point(point, &err);
}

static void
both_keys(struct buf *into)
{
    CLEANUP(json_decref) json_t *set =
        json_pack("{s:[o,o]}", "keys", public_key(the_issuer.key), public_key(the_issuer.second));
    struct error err;

    (void)json_print(set, into, &err);
}

static void
answer(void *context, const struct http_request *request, struct http_reply *reply)
{
    (void)context;
    reply->status = the_issuer.away ? 503 : 200;
    if (strcmp(request->message->path, "/.well-known/openid-configuration") == 0) {
        the_issuer.fetched++;
        buf_printf(&reply->body, "{\"issuer\":\"%s\",\"jwks_uri\":\"%s/keys\"}", the_issuer.url, the_issuer.url);
        return;
    }
    snprintf(reply->headers, sizeof reply->headers, "Cache-Control: %s\r\n", the_issuer.cache_control);
    if (the_issuer.second && the_issuer.fetched % 2 == 0)
        both_keys(&reply->body);
    else
        fixture_jwks(the_issuer.key, &reply->body);
}

static void
quit(evutil_socket_t fd, short what, void *base)
{
    (void)fd;
    (void)what;
    event_base_loopbreak(base);
}

static void *
run(void *arg)
{
    struct event *on_quit = event_new(the.base, the.quit[0], EV_READ, quit, the.base);

    event_add(on_quit, NULL);
    event_base_dispatch(the.base);
    http_server_free(the.server);
    event_free(on_quit);
    event_base_free(the.base);
    return arg;
}

static void
compose(enum x509_kind kind, const char *name, const struct key *subject, const struct key *ca_key,
        const struct buf *ca, struct buf *into)
{
    CLEANUP(buf_clear) struct buf spki = BUF(256);
    static const uint8_t serial[16] = { 1 };
    uint8_t point[KEY_POINT_LEN];
    struct error err;
    struct x509_request request = { .kind = kind, .name = name, .serial = serial,
                                    .now = clock_realtime_ms() / 1000 };

    key_point(subject, point);
    assert_int_equal(x509_spki_of_point(point, &spki, &err), 0);
    request.spki = spki.data;
    request.spki_len = spki.len;
    assert_int_equal(x509_compose(&request, ca_key, ca ? ca->data : NULL, ca ? ca->len : 0, into,
                                  &err), 0);
}

static void
make_tls(void)
{
    CLEANUP(key_free) struct key *ca_key = NULL, *key = NULL;
    CLEANUP(buf_clear) struct buf ca = BUF(4096), cert = BUF(4096), pem = BUF(8192);
    struct tls_identity identity;
    struct error err;

    assert_int_equal(key_generate(&ca_key, &err), 0);
    assert_int_equal(key_generate(&key, &err), 0);
    compose(X509_CA_HOST, "test", ca_key, ca_key, NULL, &ca);
    compose(X509_SERVER, "127.0.0.1", key, ca_key, &ca, &cert);
    identity = (struct tls_identity){ key, cert.data, cert.len, NULL, 0 };
    assert_int_equal(tls_server_new(&identity, NULL, 0, NULL, &the.tls, &err), 0);
    assert_int_equal(x509_to_pem(ca.data, ca.len, &pem, &err), 0);
    strcpy(the.folder, "/tmp/virtid-keys.XXXXXX");
    assert_non_null(mkdtemp(the.folder));
    snprintf(the_issuer.ca_file, sizeof the_issuer.ca_file, "%s/ca.pem", the.folder);
    assert_int_equal(file_replace(the_issuer.ca_file, pem.data, pem.len, 0600, &err), 0);
}

int
issuer_fixture_set_up(void **state)
{
    struct http_listener listener = { .body_max = 1024, .handler = answer };
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    struct error err;

    (void)state;
    make_tls();
    assert_int_equal(key_generate(&the_issuer.key, &err), 0);
    assert_int_equal(pipe(the.quit), 0);
    the.base = event_base_new();
    assert_int_equal(http_server_new(the.base, &the.server, &err), 0);
    assert_int_equal(http_tcp_listen("127.0.0.1:0", &listener.fd, &err), 0);
    assert_int_equal(getsockname(listener.fd, (struct sockaddr *)&at, &len), 0);
    snprintf(the_issuer.url, sizeof the_issuer.url, "https://127.0.0.1:%u", ntohs(at.sin_port));
    listener.tls = the.tls;
    assert_int_equal(http_server_listen(the.server, &listener, &err), 0);
    return pthread_create(&the.thread, NULL, run, NULL);
}

int
issuer_fixture_tear_down(void **state)
{
    (void)state;
    close(the.quit[1]);
    pthread_join(the.thread, NULL);
    close(the.quit[0]);
    tls_ctx_free(the.tls);
    key_free(the_issuer.key);
    key_free(the_issuer.second);
    (void)unlink(the_issuer.ca_file);
    return rmdir(the.folder);
}
