#include "config.h"

#include <pthread.h>
#include <signal.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include <openssl/ssl.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/tls.h"

/* A CA, a server "id.example" and a host's client; a second CA with the same names. */
struct party {
    struct key *ca_key, *server_key, *client_key;
    struct buf ca, server, client;
};

static struct party ours, theirs;
static int64_t now;

static void
compose(enum x509_kind kind, const char *name, const struct key *subject, const struct party *p,
        struct buf *into, int64_t at)
{
    CLEANUP(buf_clear) struct buf spki = BUF(256);
    static uint8_t serial[16] = { 1 };
    uint8_t point[KEY_POINT_LEN];
    struct error err;
    bool is_ca = kind == X509_CA_HOST;
    struct x509_request request = { .kind = kind, .name = name, .serial = serial, .now = at };

    serial[15]++;
    key_point(subject, point);
    assert_int_equal(x509_spki_of_point(point, &spki, &err), 0);
    request.spki = spki.data;
    request.spki_len = spki.len;
    *into = BUF(X509_DER_MAX);
    assert_int_equal(x509_compose(&request, p->ca_key, is_ca ? NULL : p->ca.data,
                                  is_ca ? 0 : p->ca.len, into, &err), 0);
}

static void
make_party(struct party *p)
{
    struct error err;

    assert_int_equal(key_generate(&p->ca_key, &err), 0);
    assert_int_equal(key_generate(&p->server_key, &err), 0);
    assert_int_equal(key_generate(&p->client_key, &err), 0);
    compose(X509_CA_HOST, "virtid test", p->ca_key, p, &p->ca, now);
    compose(X509_SERVER, "id.example,127.0.0.1", p->server_key, p, &p->server, now);
    compose(X509_HOST_TLS, "spiffe://example.test/host/h1", p->client_key, p, &p->client, now);
}

static void
free_party(struct party *p)
{
    key_free(p->ca_key);
    key_free(p->server_key);
    key_free(p->client_key);
    buf_clear(&p->ca);
    buf_clear(&p->server);
    buf_clear(&p->client);
}

static int
set_up(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN); /* as process_harden() does */
    now = clock_realtime_ms() / 1000;
    make_party(&ours);
    make_party(&theirs);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    free_party(&ours);
    free_party(&theirs);
    return 0;
}

struct end {
    struct ssl_ctx_st *ctx;
    int fd;
    int result;
    struct error err;
    uint8_t exporter[TLS_EXPORTER_LEN];
    uint8_t peer[X509_DER_MAX];
    size_t peer_len;
    bool resumable;
};

/* The server's end: handshake, one byte in, the same byte back. */
static void *
serve(void *arg)
{
    struct end *end = arg;
    CLEANUP(tls_free) struct tls *tls = NULL;
    int64_t deadline = clock_monotonic_ms() + 30000;
    struct error ignored;
    uint8_t byte;
    size_t n;

    end->result = tls_accept(end->ctx, end->fd, deadline, &tls, &end->err);
    if (end->result < 0)
        return NULL;
    if (tls_peer_cert(tls_ssl(tls), end->peer, &end->peer_len, &ignored) < 0)
        end->peer_len = 0;
    end->result = tls_exporter(tls_ssl(tls), "EXPORTER-virtid-proof", end->exporter, &end->err);
    if (end->result == 0)
        end->result = tls_read(tls, &byte, 1, &n, deadline, &end->err);
    if (end->result == 0 && n == 1)
        end->result = tls_write(tls, &byte, 1, deadline, &end->err);
    return NULL;
}

/* Both ends over a socketpair; 0 if the client got its byte back. Consumes the contexts. */
static int
talk(struct ssl_ctx_st *server_ctx, struct ssl_ctx_st *client_ctx, const char *host,
     struct end *server, struct end *client)
{
    CLEANUP(tls_free) struct tls *tls = NULL;
    int64_t deadline = clock_monotonic_ms() + 30000;
    pthread_t thread;
    int pair[2];
    uint8_t byte = 0x5a;
    size_t n = 0;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    *server = (struct end){ .ctx = server_ctx, .fd = pair[0] };
    *client = (struct end){ .ctx = client_ctx, .fd = pair[1] };
    assert_int_equal(pthread_create(&thread, NULL, serve, server), 0);
    client->result = tls_connect(client_ctx, pair[1], host, deadline, &tls, &client->err);
    if (client->result == 0) {
        assert_int_equal(tls_exporter(tls_ssl(tls), "EXPORTER-virtid-proof", client->exporter,
                                      &client->err), 0);
        client->result = tls_write(tls, &byte, 1, deadline, &client->err);
    }
    if (client->result == 0)
        client->result = tls_read(tls, &byte, 1, &n, deadline, &client->err);
    if (tls)
        client->resumable = SSL_SESSION_is_resumable(SSL_get_session(tls_ssl(tls))) != 0;
    tls_free(STEAL(tls));
    pthread_join(thread, NULL);
    tls_ctx_free(server_ctx);
    tls_ctx_free(client_ctx);
    return client->result == 0 && n == 1 && server->result == 0 ? 0 : -1;
}

static struct ssl_ctx_st *
server_of(const struct party *p, const struct buf *cert, bool ask_for_client)
{
    struct tls_identity identity = { p->server_key, cert->data, cert->len, p->ca.data, p->ca.len };
    struct x509_der ca = { p->ca.data, p->ca.len };
    struct ssl_ctx_st *ctx;
    struct error err;

    assert_int_equal(tls_server_new(&identity, &ca, ask_for_client, "virtid-lease-1", &ctx, &err),
                     0);
    return ctx;
}

static struct ssl_ctx_st *
client_of(const struct party *trusted, const struct party *self)
{
    struct tls_identity identity = { 0 };
    struct x509_der ca = { trusted->ca.data, trusted->ca.len };
    struct ssl_ctx_st *ctx;
    struct error err;

    if (self) {
        identity.key = self->client_key;
        identity.cert_der = self->client.data;
        identity.cert_len = self->client.len;
    }
    assert_int_equal(tls_client_new(&ca, 1, self ? &identity : NULL, &ctx, &err), 0);
    return ctx;
}

static void
both_ends_of_a_connection_export_the_same(void **state)
{
    struct end s, c;
    uint8_t first[TLS_EXPORTER_LEN];

    (void)state;
    assert_int_equal(talk(server_of(&ours, &ours.server, true), client_of(&ours, &ours),
                          "id.example", &s, &c), 0);
    assert_memory_equal(s.exporter, c.exporter, sizeof s.exporter);
    assert_int_equal(s.peer_len, ours.client.len);
    assert_memory_equal(s.peer, ours.client.data, s.peer_len);
    memcpy(first, s.exporter, sizeof first);
    assert_int_equal(talk(server_of(&ours, &ours.server, true), client_of(&ours, NULL),
                          "127.0.0.1", &s, &c), 0);
    assert_memory_not_equal(s.exporter, first, sizeof first);
    assert_int_equal(s.peer_len, 0); /* a client certificate is asked for, not required */
}

static void
server_of_another_ca_or_name_is_refused(void **state)
{
    struct end s, c;

    (void)state;
    assert_int_equal(talk(server_of(&theirs, &theirs.server, false), client_of(&ours, NULL),
                          "id.example", &s, &c), -1);
    assert_int_equal(c.err.code, ERROR_DENIED);
    assert_int_equal(talk(server_of(&ours, &ours.server, false), client_of(&ours, NULL),
                          "other.example", &s, &c), -1);
    assert_int_equal(c.err.code, ERROR_DENIED);
    assert_int_equal(talk(server_of(&ours, &ours.server, false), client_of(&ours, NULL),
                          "127.0.0.2", &s, &c), -1);
    assert_int_equal(c.err.code, ERROR_DENIED);
    assert_int_equal(talk(server_of(&ours, &ours.server, false), client_of(&ours, NULL), NULL,
                          &s, &c), -1);
}

static void
client_of_another_ca_is_refused(void **state)
{
    struct end s, c;

    (void)state;
    assert_int_equal(talk(server_of(&ours, &ours.server, true), client_of(&ours, &theirs),
                          "id.example", &s, &c), -1);
    assert_int_equal(s.err.code, ERROR_DENIED);
}

/* A server's certificate does not pass as a client's, nor the other way round. */
static void
certificate_of_another_purpose_is_refused(void **state)
{
    struct party mixed = ours;
    struct end s, c;
    struct tls_identity identity = { ours.client_key, ours.client.data, ours.client.len, NULL, 0 };
    struct ssl_ctx_st *server;
    struct error err;

    (void)state;
    mixed.client = ours.server;
    mixed.client_key = ours.server_key;
    assert_int_equal(talk(server_of(&ours, &ours.server, true), client_of(&ours, &mixed),
                          "id.example", &s, &c), -1);
    assert_int_equal(tls_server_new(&identity, NULL, 0, NULL, &server, &err), 0);
    assert_int_equal(talk(server, client_of(&ours, NULL), "h1", &s, &c), -1);
    assert_int_equal(c.err.code, ERROR_DENIED);
}

static void
expired_server_is_refused_unless_the_time_is_another(void **state)
{
    CLEANUP(buf_clear) struct buf old = { 0 };
    struct ssl_ctx_st *client;
    struct end s, c;

    (void)state;
    compose(X509_SERVER, "id.example", ours.server_key, &ours, &old, now - 8 * 86400);
    assert_int_equal(talk(server_of(&ours, &old, false), client_of(&ours, NULL), "id.example",
                          &s, &c), -1);
    assert_int_equal(c.err.code, ERROR_DENIED);
    client = client_of(&ours, NULL);
    tls_ctx_now(client, now + 8 * 86400);
    assert_int_equal(talk(server_of(&ours, &ours.server, false), client, "id.example", &s, &c),
                     -1);
    client = client_of(&ours, NULL);
    tls_ctx_now(client, now + 6 * 86400);
    assert_int_equal(talk(server_of(&ours, &ours.server, false), client, "id.example", &s, &c),
                     0);
}

static void
why_a_handshake_failed_has_a_name(void **state)
{
    CLEANUP(buf_clear) struct buf old = { 0 }, early = { 0 };
    struct end s, c;

    (void)state;
    compose(X509_SERVER, "id.example", ours.server_key, &ours, &old, now - 8 * 86400);
    assert_int_equal(talk(server_of(&ours, &old, false), client_of(&ours, NULL), "id.example", &s, &c), -1);
    assert_string_equal(c.err.problem, "server-expired");
    compose(X509_SERVER, "id.example", ours.server_key, &ours, &early, now + 3600);
    assert_int_equal(talk(server_of(&ours, &early, false), client_of(&ours, NULL), "id.example", &s, &c), -1);
    assert_string_equal(c.err.problem, "server-not-yet");
    assert_int_equal(talk(server_of(&ours, &ours.server, false), client_of(&theirs, NULL), "id.example", &s, &c), -1);
    assert_string_equal(c.err.problem, "server-untrusted");
    assert_int_equal(talk(server_of(&ours, &ours.server, false), client_of(&ours, NULL), "other.example", &s, &c), -1);
    assert_string_equal(c.err.problem, "");
    /* The other side's words about our certificate, as OpenSSL and libcurl give them. */
    assert_string_equal(tls_failure(0, "sslv3 alert certificate expired, errno 0"), "client-expired");
    assert_string_equal(tls_failure(0, "tlsv1 alert unknown ca"), "client-untrusted");
    assert_string_equal(tls_failure(0, "sslv3 alert bad certificate"), "client-not-yet");
    assert_string_equal(tls_failure(0, "tlsv1 alert internal error"), "");
}

/* Its own CA dated it: a server whose clock has gone back does not turn its hosts away. */
static void
a_client_whose_time_is_to_come_is_taken_and_one_whose_time_is_over_is_not(void **state)
{
    CLEANUP(buf_clear) struct buf cert = { 0 };
    struct party moved = ours;
    struct end s, c;

    (void)state;
    compose(X509_HOST_TLS, "spiffe://example.test/host/h1", ours.client_key, &ours, &cert, now + 3600);
    moved.client = cert;
    assert_int_equal(talk(server_of(&ours, &ours.server, true), client_of(&ours, &moved), "id.example", &s, &c), 0);
    assert_int_equal(s.peer_len, cert.len);
    buf_clear(&cert);
    compose(X509_HOST_TLS, "spiffe://example.test/host/h1", ours.client_key, &ours, &cert, now - 2 * 86400);
    moved.client = cert;
    assert_int_equal(talk(server_of(&ours, &ours.server, true), client_of(&ours, &moved), "id.example", &s, &c), -1);
    assert_int_equal(s.result, -1); /* the client may see no more than the end of it */
    assert_non_null(strstr(s.err.text, "expired"));
}

static struct ssl_ctx_st *
pinned_to(const struct party *p)
{
    uint8_t pin[SHA256_LEN];
    struct ssl_ctx_st *ctx;
    struct error err;

    assert_int_equal(hash_sha256(p->ca.data, p->ca.len, pin, &err), 0);
    assert_int_equal(tls_client_pinned_new(pin, &ctx, &err), 0);
    return ctx;
}

static void
pinned_ca_is_the_only_one_trusted(void **state)
{
    struct tls_identity bare = { ours.server_key, ours.server.data, ours.server.len, NULL, 0 };
    struct tls_identity forged = { theirs.server_key, theirs.server.data, theirs.server.len,
                                   ours.ca.data, ours.ca.len };
    struct ssl_ctx_st *server;
    struct end s, c;
    struct error err;

    (void)state;
    assert_int_equal(talk(server_of(&ours, &ours.server, false), pinned_to(&ours), "id.example",
                          &s, &c), 0);
    assert_int_equal(talk(server_of(&ours, &ours.server, false), pinned_to(&ours), "x.example",
                          &s, &c), -1);
    assert_int_equal(talk(server_of(&theirs, &theirs.server, false), pinned_to(&ours),
                          "id.example", &s, &c), -1);
    assert_int_equal(c.err.code, ERROR_DENIED);
    /* without the CA in the chain there is nothing to compare */
    assert_int_equal(tls_server_new(&bare, NULL, 0, NULL, &server, &err), 0);
    assert_int_equal(talk(server, pinned_to(&ours), "id.example", &s, &c), -1);
    /* the pinned CA shown behind a leaf that it did not sign */
    assert_int_equal(tls_server_new(&forged, NULL, 0, NULL, &server, &err), 0);
    assert_int_equal(talk(server, pinned_to(&ours), "id.example", &s, &c), -1);
    assert_int_equal(c.err.code, ERROR_DENIED);
}

static void
throwaway_server_is_taken_by_a_blind_client_alone(void **state)
{
    struct ssl_ctx_st *server, *client;
    struct end s, c;
    struct error err;

    (void)state;
    assert_int_equal(tls_server_throwaway_new(&server, &err), 0);
    assert_int_equal(tls_client_blind_new(&client, &err), 0);
    assert_int_equal(talk(server, client, NULL, &s, &c), 0);
    assert_memory_equal(s.exporter, c.exporter, sizeof s.exporter);
    assert_int_equal(tls_server_throwaway_new(&server, &err), 0);
    assert_int_equal(talk(server, client_of(&ours, NULL), "virtid-connect", &s, &c), -1);
}

static void
only_tls_1_3_is_spoken(void **state)
{
    struct ssl_ctx_st *server, *client;
    struct end s, c;

    (void)state;
    client = client_of(&ours, NULL);
    assert_int_equal(SSL_CTX_set_min_proto_version(client, TLS1_2_VERSION), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(client, TLS1_2_VERSION), 1);
    assert_int_equal(talk(server_of(&ours, &ours.server, false), client, "id.example", &s, &c),
                     -1);
    server = server_of(&ours, &ours.server, false);
    assert_int_equal(SSL_CTX_set_min_proto_version(server, TLS1_2_VERSION), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(server, TLS1_2_VERSION), 1);
    assert_int_equal(talk(server, client_of(&ours, NULL), "id.example", &s, &c), -1);
    assert_int_equal(talk(server_of(&ours, &ours.server, false), client_of(&ours, NULL),
                          "id.example", &s, &c), 0);
}

static void
groups_but_x25519_and_p256_are_refused(void **state)
{
    struct ssl_ctx_st *client = client_of(&ours, NULL);
    struct end s, c;

    (void)state;
    assert_int_equal(SSL_CTX_set1_groups_list(client, "P-384:X448"), 1);
    assert_int_equal(talk(server_of(&ours, &ours.server, false), client, "id.example", &s, &c),
                     -1);
}

/* Not even for a client that would like to. */
static void
nothing_is_there_to_resume(void **state)
{
    struct ssl_ctx_st *client = client_of(&ours, &ours);
    struct end s, c;

    (void)state;
    (void)SSL_CTX_clear_options(client, SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(client, SSL_SESS_CACHE_CLIENT);
    assert_int_equal(talk(server_of(&ours, &ours.server, true), client, "id.example", &s, &c), 0);
    assert_false(c.resumable);
}

static void
silent_peer_is_given_up_at_the_deadline(void **state)
{
    CLEANUP(tls_ctx_free) struct ssl_ctx_st *ctx = client_of(&ours, NULL);
    struct tls *tls = NULL;
    struct error err;
    int pair[2];
    int64_t begin = clock_monotonic_ms();

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(tls_connect(ctx, pair[0], "id.example", begin + 100, &tls, &err), -1);
    assert_int_equal(err.code, ERROR_BUSY);
    assert_true(clock_monotonic_ms() - begin >= 100);
    close(pair[1]);
}

static void
peer_that_goes_away_is_an_error_not_an_end(void **state)
{
    CLEANUP(tls_ctx_free) struct ssl_ctx_st *ctx = client_of(&ours, NULL);
    struct tls *tls = NULL;
    struct error err;
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    close(pair[1]);
    assert_int_equal(tls_connect(ctx, pair[0], "id.example", clock_monotonic_ms() + 1000, &tls,
                                 &err), -1);
    assert_int_equal(err.code, ERROR_BUSY);
}

static void
key_that_is_not_the_certificates_is_refused(void **state)
{
    struct tls_identity identity = { ours.client_key, ours.server.data, ours.server.len, NULL, 0 };
    struct ssl_ctx_st *ctx = NULL;
    struct error err;

    (void)state;
    assert_int_equal(tls_server_new(&identity, NULL, 0, NULL, &ctx, &err), -1);
    assert_null(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ends_of_a_connection_export_the_same),
        cmocka_unit_test(server_of_another_ca_or_name_is_refused),
        cmocka_unit_test(client_of_another_ca_is_refused),
        cmocka_unit_test(certificate_of_another_purpose_is_refused),
        cmocka_unit_test(expired_server_is_refused_unless_the_time_is_another),
        cmocka_unit_test(why_a_handshake_failed_has_a_name),
        cmocka_unit_test(a_client_whose_time_is_to_come_is_taken_and_one_whose_time_is_over_is_not),
        cmocka_unit_test(pinned_ca_is_the_only_one_trusted),
        cmocka_unit_test(throwaway_server_is_taken_by_a_blind_client_alone),
        cmocka_unit_test(only_tls_1_3_is_spoken),
        cmocka_unit_test(groups_but_x25519_and_p256_are_refused),
        cmocka_unit_test(nothing_is_there_to_resume),
        cmocka_unit_test(silent_peer_is_given_up_at_the_deadline),
        cmocka_unit_test(peer_that_goes_away_is_an_error_not_an_end),
        cmocka_unit_test(key_that_is_not_the_certificates_is_refused),
    };

    return cmocka_run_group_tests_name("tls", tests, set_up, tear_down);
}
