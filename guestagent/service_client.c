#include "config.h"

#include "guestagent/service_client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/common/dial.h"
#include "lib/common/fdio.h"
#include "lib/crypto/tls.h"
#include "lib/wire/http_message.h"
#include "lib/wire/problem.h"

enum { REQUEST_MAX = HTTP_HEAD_MAX + PROVE_BODY_MAX, REPLY_MAX = HTTP_HEAD_MAX + HTTP_BODY_MAX };

struct service_client {
    struct ssl_ctx_st *ctx;
    struct tls *tls;
    char host[256];   /* HOST:PORT for the Host header */
    uint8_t exporter[TLS_EXPORTER_LEN];
};

/* "HOST:PORT" or "[HOST]:PORT" -> HOST. */
static int
split_host(const char *listener, char *ret, size_t size, struct error *err)
{
    const char *colon = strrchr(listener, ':');
    size_t len = colon ? (size_t)(colon - listener) : 0;

    if (len > 2 && listener[0] == '[' && listener[len - 1] == ']') {
        listener++;
        len -= 2;
    }
    if (len == 0 || len >= size)
        return error_set(err, ERROR_INPUT, "the bundle's guest listener is no HOST:PORT");
    memcpy(ret, listener, len);
    ret[len] = '\0';
    return 0;
}

int
service_client_dial(const struct bundle *bundle, int64_t deadline_ms, int *ret_fd, struct error *err)
{
    struct error why = { 0 };

    if (dial_tcp(bundle->guest_listener, deadline_ms, ret_fd, &why) == 0)
        return 0;
    if (why.code == ERROR_BUSY)
        return error_problem(err, ERROR_BUSY, "unavailable", "token service: %s", why.text);
    *err = why;
    return error_wrap(err, "the bundle's guest listener");
}

static int
make_context(const struct bundle *bundle, int64_t utc_seconds, struct ssl_ctx_st **ret,
             struct error *err)
{
    struct x509_der cas[2] = { { bundle->ca_now, bundle->ca_now_len },
                               { bundle->ca_next, bundle->ca_next_len } };

    if (tls_client_new(cas, bundle->ca_next_len > 0 ? 2 : 1, NULL, ret, err) < 0)
        return -1;
    tls_ctx_now(*ret, utc_seconds);
    return 0;
}

/* Here it is the bundle that names the CA: another name, because another thing repairs it. */
static int
connect_as_bundle_says(struct service_client *c, int take_fd, const char *name, int64_t deadline_ms,
                       struct error *err)
{
    struct error why;

    if (tls_connect(c->ctx, take_fd, name, deadline_ms, &c->tls, &why) == 0)
        return 0;
    *err = why;
    if (strcmp(why.problem, "server-untrusted") == 0)
        return error_problem(err, why.code, "ca-changed",
                             "its certificate is by another CA than the trust bundle here names: %.200s", why.text);
    return -1;
}

int
service_client_new(int take_fd, const struct bundle *bundle, int64_t utc_seconds,
                   int64_t deadline_ms, struct service_client **ret, struct error *err)
{
    CLEANUP(fd_close) int fd = take_fd;
    CLEANUP(service_client_free) struct service_client *c = calloc(1, sizeof *c);
    char name[256];

    if (!c)
        return error_sys(err, ENOMEM, "service client");
    snprintf(c->host, sizeof c->host, "%s", bundle->guest_listener);
    if (split_host(bundle->guest_listener, name, sizeof name, err) < 0 ||
        make_context(bundle, utc_seconds, &c->ctx, err) < 0 ||
        connect_as_bundle_says(c, fd_steal(&fd), name, deadline_ms, err) < 0 ||
        tls_exporter(tls_ssl(c->tls), "EXPORTER-virtid-proof", c->exporter, err) < 0)
        return error_wrap(err, "token service at %s", bundle->guest_listener);
    *ret = STEAL(c);
    return 0;
}

void
service_client_free(struct service_client *c)
{
    if (!c)
        return;
    tls_free(c->tls);
    tls_ctx_free(c->ctx);
    free(c);
}

void
service_client_exporter(const struct service_client *c, uint8_t ret[static 32])
{
    memcpy(ret, c->exporter, sizeof c->exporter);
}

static int
read_reply(struct service_client *c, int64_t deadline_ms, struct buf *bytes,
           struct http_message *message, struct error *err)
{
    for (;;) {
        uint8_t chunk[4096];
        bool done = false;
        size_t n = 0;
        int outcome = bytes->len > 0 ? http_parse(bytes->data, bytes->len, false,
                                                  HTTP_BODY_MAX, message, &done, err)
                                     : 0;

        if (outcome < 0)
            return error_wrap(err, "answer of the token service");
        if (done)
            return 0;
        if (tls_read(c->tls, chunk, sizeof chunk, &n, deadline_ms, err) < 0)
            return -1;
        if (n == 0)
            return error_problem(err, ERROR_BUSY, "unavailable",
                                 "the token service closed without an answer");
        buf_add(bytes, chunk, n);
        explicit_bzero(chunk, sizeof chunk);
        if (!buf_ok(bytes))
            return error_set(err, buf_error_code(bytes), "answer of the token service is too long");
    }
}

/* The body of a 200, at bytes + *ret_at. */
static int
post(struct service_client *c, const char *target, const struct buf *body,
     int64_t deadline_ms, struct buf *bytes, size_t *ret_at, size_t *ret_len,
     struct error *err)
{
    CLEANUP(buf_clear) struct buf request = BUF(REQUEST_MAX);
    CLEANUP(mem_free) struct http_message *message = calloc(1, sizeof *message);

    if (!message)
        return error_sys(err, ENOMEM, "HTTP");
    http_print_request(&request, "POST", target, c->host,
                       "Content-Type: application/json\r\n", body->data, body->len);
    if (!buf_ok(&request))
        return error_set(err, ERROR_SYSTEM, "request does not fit");
    if (tls_write(c->tls, request.data, request.len, deadline_ms, err) < 0 ||
        read_reply(c, deadline_ms, bytes, message, err) < 0)
        return -1;
    if (message->status != 200) {
        struct error refusal = { 0 };

        problem_read(message->status, (const char *)bytes->data + message->head_len,
                     message->body_len, &refusal);
        refusal.retry_s = http_retry_after(http_header(message, "retry-after"));
        *err = refusal;
        return error_wrap(err, "the token service answers %d", message->status);
    }
    *ret_at = message->head_len;
    *ret_len = message->body_len;
    return 0;
}

int
service_client_challenge(struct service_client *c, int64_t deadline_ms,
                         uint8_t ret_nonce[static NONCE_LEN], struct error *err)
{
    CLEANUP(buf_clear) struct buf body = BUF(16), reply = BUF(REPLY_MAX);
    CLEANUP(json_decref) json_t *o = NULL;
    size_t at, len, got;

    buf_add_text(&body, "{}");
    if (!buf_ok(&body))
        return error_sys(err, ENOMEM, "challenge");
    if (post(c, "/v1/challenge", &body, deadline_ms, &reply, &at, &len, err) < 0 ||
        json_parse((const char *)reply.data + at, len, &o, err) < 0 ||
        json_only(o, "nonce", err) < 0 ||
        json_get_bytes(o, "nonce", false, ret_nonce, NONCE_LEN, &got, err) < 0)
        return error_wrap(err, "challenge");
    if (got != NONCE_LEN)
        return error_set(err, ERROR_INPUT, "challenge: a nonce of %zu bytes", got);
    return 0;
}

int
service_client_prove(struct service_client *c, const struct prove *prove, int64_t deadline_ms,
                     struct answer *ret, struct error *err)
{
    CLEANUP(buf_clear) struct buf body = BUF(2 * PROVE_BODY_MAX), reply = BUF(REPLY_MAX);
    size_t at, len;

    if (prove_encode(prove, &body, err) < 0 ||
        post(c, "/v1/token", &body, deadline_ms, &reply, &at, &len, err) < 0 ||
        answer_decode((const char *)reply.data + at, len, ret, err) < 0)
        return error_wrap(err, "proof");
    return 0;
}
