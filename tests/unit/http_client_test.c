/*
 * Client and server over real TLS: whom each trusts, what each refuses.
 */
#include "config.h"

#include "lib/http/http_client.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/ssl.h>

#include "lib/common/clock.h"
#include "lib/common/encode.h"
#include "lib/common/json.h"
#include "lib/crypto/hash.h"
#include "lib/wire/http_message.h"
#include "tests/unit/http_fixture.h"

static struct fixture *the;
static const struct fixture_pki *pki;
static struct error err;

static int
start(void **state)
{
    (void)state;
    the = fixture_start();
    pki = fixture_pki(the);
    return 0;
}

static int
stop(void **state)
{
    (void)state;
    fixture_stop(the);
    return 0;
}

static const char *
url_of(const char *path)
{
    static char url[128];

    snprintf(url, sizeof url, "https://127.0.0.1:%u%s", fixture_port(the), path);
    return url;
}

static struct http_client *
client_with(const struct buf *ca, const struct buf *cert)
{
    struct tls_identity identity = { .key = pki->client_key };
    struct x509_der trusted = { ca->data, ca->len };
    struct http_client_options options = { .cas = &trusted,
                                           .n_cas = 1,
                                           .timeout_ms = 30000 };
    struct http_client *client;

    if (cert) {
        identity.cert_der = cert->data;
        identity.cert_len = cert->len;
        options.identity = &identity;
    }
    memset(&err, 0, sizeof err);
    assert_int_equal(http_client_new(&options, &client, &err), 0);
    return client;
}

static int
get(struct http_client *client, const char *url, struct buf *into)
{
    int status = 0;

    memset(&err, 0, sizeof err);
    into->len = 0;
    if (http_client_send(client, "GET", url, NULL, NULL, 0, &status, into, &err) < 0)
        return -1;
    return status;
}

static void
a_host_is_known_by_its_certificate(void **state)
{
    CLEANUP(http_client_free)
    struct http_client *client = client_with(&pki->ca, &pki->client);
    CLEANUP(buf_clear) struct buf body = BUF(4096);

    (void)state;
    assert_int_equal(get(client, url_of("/cert"), &body), 200);
    assert_string_equal(buf_text(&body), "spiffe://example.test/host/one");
}

static void
without_a_certificate_the_handler_sees_none(void **state)
{
    CLEANUP(http_client_free) struct http_client *client = client_with(&pki->ca, NULL);
    CLEANUP(buf_clear) struct buf body = BUF(4096);

    (void)state;
    assert_int_equal(get(client, url_of("/cert"), &body), 200);
    assert_string_equal(buf_text(&body), "none");
}

static void
a_client_of_another_ca_is_refused(void **state)
{
    CLEANUP(http_client_free)
    struct http_client *client = client_with(&pki->ca, &pki->stranger);
    CLEANUP(buf_clear) struct buf body = BUF(4096);
    unsigned served = fixture_served(the);

    (void)state;
    assert_int_equal(get(client, url_of("/cert"), &body), -1);
    assert_int_equal(fixture_served(the), served);
}

static void
a_server_of_another_ca_is_refused(void **state)
{
    CLEANUP(http_client_free)
    struct http_client *client = client_with(&pki->other_ca, NULL);
    CLEANUP(buf_clear) struct buf body = BUF(4096);

    (void)state;
    assert_int_equal(get(client, url_of("/cert"), &body), -1);
    assert_int_equal(err.code, ERROR_DENIED);
}

/* 127.0.0.2 reaches nobody here; "localhost.example" resolves nowhere: so by another
 * right name. */
static void
a_server_under_another_name_is_refused(void **state)
{
    CLEANUP(http_client_free) struct http_client *client = client_with(&pki->ca, NULL);
    CLEANUP(buf_clear) struct buf body = BUF(4096);
    char url[128];

    (void)state;
    snprintf(url, sizeof url, "https://[::ffff:127.0.0.1]:%u/cert", fixture_port(the));
    assert_int_equal(get(client, url, &body), -1);
    assert_int_equal(err.code, ERROR_DENIED);
}

static struct http_client *
pinned_client(const struct buf *ca)
{
    uint8_t pin[SHA256_LEN];
    struct http_client_options options = { .pin_ca_sha256 = pin, .timeout_ms = 30000 };
    struct http_client *client;

    memset(&err, 0, sizeof err);
    assert_int_equal(hash_sha256(ca->data, ca->len, pin, &err), 0);
    assert_int_equal(http_client_new(&options, &client, &err), 0);
    return client;
}

static void
a_joiner_trusts_the_ca_of_its_code_alone(void **state)
{
    CLEANUP(http_client_free)
    struct http_client *right = pinned_client(&pki->ca),
                       *wrong = pinned_client(&pki->other_ca);
    CLEANUP(buf_clear) struct buf body = BUF(4096);

    (void)state;
    assert_int_equal(get(right, url_of("/cert"), &body), 200);
    assert_int_equal(get(wrong, url_of("/cert"), &body), -1);
    assert_int_equal(err.code, ERROR_DENIED);
}

/* The server's leaf is in the chain too: its fingerprint makes no CA of it. */
static void
a_leaf_is_no_ca_for_a_joiner(void **state)
{
    CLEANUP(http_client_free) struct http_client *client = pinned_client(&pki->server);
    CLEANUP(buf_clear) struct buf body = BUF(4096);

    (void)state;
    assert_int_equal(get(client, url_of("/cert"), &body), -1);
}

static SSL *
handshake(SSL_CTX *ctx, int *ret_fd)
{
    SSL *ssl = SSL_new(ctx);

    *ret_fd = fixture_connect_tcp(the);
    assert_true(ssl && SSL_set_fd(ssl, *ret_fd) == 1);
    return ssl;
}

static void
tls_1_2_is_refused(void **state)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl;
    int fd;

    (void)state;
    SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
    ssl = handshake(ctx, &fd);
    assert_int_not_equal(SSL_connect(ssl), 1);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(fd);
}

/* Does a client that names this server in its hello get a handshake? */
static bool
handshake_for(const char *name)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    bool done;
    SSL *ssl;
    int fd;

    ssl = handshake(ctx, &fd);
    if (name)
        assert_int_equal(SSL_set_tlsext_host_name(ssl, name), 1);
    done = SSL_connect(ssl) == 1;
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(fd);
    return done;
}

static void
a_hello_for_another_server_gets_no_handshake(void **state)
{
    (void)state;
    assert_true(handshake_for("localhost"));
    assert_true(handshake_for("LocalHost"));
    assert_true(handshake_for(NULL)); /* to an address no name is sent */
    assert_false(handshake_for("other.example"));
    assert_false(handshake_for("localhost.other.example"));
}

static unsigned tickets;

static int
note_ticket(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    (void)session;
    tickets++;
    return 0;
}

/* By hand, so that tickets, ALPN and the exporter can be seen. */
static void
ask_by_hand(SSL *ssl, char *ret, size_t room)
{
    static const char text[] =
        "GET /exporter HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    size_t at = 0;

    assert_int_equal(SSL_connect(ssl), 1);
    assert_int_equal(SSL_write(ssl, text, sizeof text - 1), sizeof text - 1);
    for (int n; (n = SSL_read(ssl, ret + at, (int)(room - at - 1))) > 0;)
        at += (size_t)n;
    assert_int_equal(SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN,
                     SSL_RECEIVED_SHUTDOWN);
    ret[at] = '\0';
}

static void
no_ticket_is_given_and_the_alpn_is_ours(void **state)
{
    static const unsigned char offered[] = "\x08http/1.1\x0evirtid-lease-1";
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    const unsigned char *chosen;
    char answer[4096];
    unsigned len;
    SSL *ssl;
    int fd;

    (void)state;
    SSL_CTX_set_session_cache_mode(ctx,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, note_ticket);
    SSL_CTX_set_alpn_protos(ctx, offered, sizeof offered - 1);
    ssl = handshake(ctx, &fd);
    ask_by_hand(ssl, answer, sizeof answer);
    SSL_get0_alpn_selected(ssl, &chosen, &len);
    assert_int_equal(len, 14);
    assert_memory_equal(chosen, "virtid-lease-1", len);
    assert_int_equal(tickets, 0);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(fd);
}

static void
both_ends_export_the_same_secret(void **state)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    char answer[4096], hex[HEX_LEN(TLS_EXPORTER_LEN) + 1];
    uint8_t mine[TLS_EXPORTER_LEN];
    SSL *ssl;
    int fd;

    (void)state;
    ssl = handshake(ctx, &fd);
    ask_by_hand(ssl, answer, sizeof answer);
    assert_int_equal(tls_exporter(ssl, "EXPORTER-virtid-proof", mine, &err), 0);
    hex_encode(mine, sizeof mine, hex);
    assert_non_null(strstr(answer, hex));
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(fd);
}

static void
one_address_gets_its_share_of_connections(void **state)
{
    char answer[64];
    int fds[FIXTURE_PER_ADDRESS + 1];
    int64_t begin;

    (void)state;
    for (int i = 0; i <= FIXTURE_PER_ADDRESS; i++)
        fds[i] = fixture_connect_tcp(the);
    /* The last is closed at once, long before any deadline. */
    begin = clock_monotonic_ms();
    fixture_read_end(fds[FIXTURE_PER_ADDRESS], answer, sizeof answer);
    assert_true(clock_monotonic_ms() - begin < FIXTURE_DEADLINE_MS);
    for (int i = 0; i <= FIXTURE_PER_ADDRESS; i++) {
        if (i < FIXTURE_PER_ADDRESS)
            fixture_read_end(fds[i], answer, sizeof answer);
        close(fds[i]);
    }
}

static struct http_client *
unix_client(void)
{
    struct http_client_options options = { .unix_path = fixture_unix_path(the),
                                           .timeout_ms = 30000 };
    struct http_client *client;

    memset(&err, 0, sizeof err);
    assert_int_equal(http_client_new(&options, &client, &err), 0);
    return client;
}

static void
a_refusal_becomes_an_error_with_its_problem(void **state)
{
    CLEANUP(http_client_free) struct http_client *client = unix_client();
    json_t *answer = NULL;

    (void)state;
    assert_int_equal(http_client_json(client, "GET", "http://localhost/problem", NULL,
                                      &answer, &err),
                     -1);
    assert_string_equal(err.problem, "foreign");
    assert_null(answer);
}

static void
who_is_told_to_wait_knows_how_long(void **state)
{
    CLEANUP(http_client_free) struct http_client *client = unix_client();
    json_t *answer = NULL;

    (void)state;
    assert_int_equal(
        http_client_json(client, "GET", "http://localhost/later", NULL, &answer, &err), -1);
    assert_int_equal(err.code, ERROR_BUSY);
    assert_int_equal(err.retry_s, 7);
    /* Not what another answer said. */
    assert_int_equal(
        http_client_json(client, "GET", "http://localhost/problem", NULL, &answer, &err), -1);
    assert_int_equal(err.retry_s, 0);
}

static void
json_goes_both_ways(void **state)
{
    CLEANUP(http_client_free) struct http_client *client = unix_client();
    CLEANUP(json_decref) json_t *body = json_pack("{s:s}", "a", "b"), *answer = NULL;

    (void)state;
    assert_int_equal(
        http_client_json(client, "POST", "http://localhost/json", body, &answer, &err),
        0);
    assert_int_equal(json_integer_value(json_object_get(answer, "n")), 9);
}

static void
a_redirect_is_not_followed(void **state)
{
    CLEANUP(http_client_free) struct http_client *client = unix_client();
    CLEANUP(buf_clear) struct buf body = BUF(4096);

    (void)state;
    assert_int_equal(get(client, "http://localhost/redirect", &body), 302);
}

static void
an_answer_above_the_callers_limit_is_refused(void **state)
{
    CLEANUP(http_client_free) struct http_client *client = unix_client();
    CLEANUP(buf_clear) struct buf body = BUF(1000);

    (void)state;
    assert_int_equal(get(client, "http://localhost/big", &body), -1);
    assert_int_equal(err.code, ERROR_INPUT);
}

static void
nobody_there_is_busy_and_plain_http_needs_a_unix_socket(void **state)
{
    CLEANUP(http_client_free) struct http_client *client = client_with(&pki->ca, NULL);
    CLEANUP(buf_clear) struct buf body = BUF(1000);
    char url[64];

    (void)state;
    assert_int_equal(get(client, "https://127.0.0.1:1/", &body), -1);
    assert_int_equal(err.code, ERROR_BUSY);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", fixture_port(the));
    assert_int_equal(get(client, url, &body), -1);
    assert_int_equal(err.code, ERROR_INPUT);
}

static void
a_server_that_says_nothing_times_out(void **state)
{
    CLEANUP(http_client_free) struct http_client *client = unix_client();
    CLEANUP(buf_clear) struct buf body = BUF(1000);

    (void)state;
    fixture_hold(the, true);
    http_client_timeout(client, 100);
    assert_int_equal(get(client, "http://localhost/slow", &body), -1);
    assert_int_equal(err.code, ERROR_BUSY);
    fixture_hold(the, false);
    http_client_timeout(client, 30000);
    assert_int_equal(get(client, "http://localhost/again", &body), 200);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_host_is_known_by_its_certificate),
        cmocka_unit_test(without_a_certificate_the_handler_sees_none),
        cmocka_unit_test(a_client_of_another_ca_is_refused),
        cmocka_unit_test(a_server_of_another_ca_is_refused),
        cmocka_unit_test(a_server_under_another_name_is_refused),
        cmocka_unit_test(a_joiner_trusts_the_ca_of_its_code_alone),
        cmocka_unit_test(a_leaf_is_no_ca_for_a_joiner),
        cmocka_unit_test(tls_1_2_is_refused),
        cmocka_unit_test(a_hello_for_another_server_gets_no_handshake),
        cmocka_unit_test(no_ticket_is_given_and_the_alpn_is_ours),
        cmocka_unit_test(both_ends_export_the_same_secret),
        cmocka_unit_test(one_address_gets_its_share_of_connections),
        cmocka_unit_test(a_refusal_becomes_an_error_with_its_problem),
        cmocka_unit_test(who_is_told_to_wait_knows_how_long),
        cmocka_unit_test(json_goes_both_ways),
        cmocka_unit_test(a_redirect_is_not_followed),
        cmocka_unit_test(an_answer_above_the_callers_limit_is_refused),
        cmocka_unit_test(nobody_there_is_busy_and_plain_http_needs_a_unix_socket),
        cmocka_unit_test(a_server_that_says_nothing_times_out),
    };

    return cmocka_run_group_tests_name("http_client", tests, start, stop);
}
