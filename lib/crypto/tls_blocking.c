#include "config.h"

#include "lib/crypto/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/crypto/crypto_error.h"

struct tls {
    int fd;
    SSL *ssl;
    bool broken; /* no close_notify can be sent any more */
};

void
tls_free(struct tls *tls)
{
    if (!tls)
        return;
    if (tls->ssl && !tls->broken && SSL_is_init_finished(tls->ssl)) {
        ERR_clear_error();
        (void)SSL_shutdown(tls->ssl);
        ERR_clear_error();
    }
    SSL_free(tls->ssl);
    fd_close(tls->fd);
    free(tls);
}

struct ssl_st *
tls_ssl(struct tls *tls)
{
    return tls->ssl;
}

static int
wait_for(struct tls *tls, short events, int64_t deadline_ms, struct error *err)
{
    for (;;) {
        struct pollfd p = { .fd = tls->fd, .events = events };
        int64_t left = deadline_ms - clock_monotonic_ms();
        int n;

        if (left <= 0)
            return error_set(err, ERROR_BUSY, "TLS: the peer took too long");
        n = poll(&p, 1, left > 60000 ? 60000 : (int)left);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return error_sys(err, errno, "poll");
    }
}

/* Why an SSL call ended with `result`; 0: try it again. */
static int
after(struct tls *tls, int result, int64_t deadline_ms, struct error *err)
{
    int saved = errno, why = SSL_get_error(tls->ssl, result);
    long verify;

    if (why == SSL_ERROR_WANT_READ)
        return wait_for(tls, POLLIN, deadline_ms, err);
    if (why == SSL_ERROR_WANT_WRITE)
        return wait_for(tls, POLLOUT, deadline_ms, err);
    tls->broken = true;
    if (why == SSL_ERROR_SYSCALL) {
        ERR_clear_error();
        return error_set(err, ERROR_BUSY, "TLS: connection lost: %s",
                         saved ? strerror(saved) : "end of file");
    }
    verify = SSL_get_verify_result(tls->ssl);
    if (!SSL_is_init_finished(tls->ssl) && verify != X509_V_OK) {
        ERR_clear_error();
        return error_problem(err, ERROR_DENIED, tls_failure(verify, ""), "TLS: the peer's certificate: %s",
                             X509_verify_cert_error_string(verify));
    }
    if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return crypto_error(err, ERROR_BUSY, "TLS: cut off");
    crypto_error(err, ERROR_DENIED, "TLS");
    return error_problem(err, ERROR_DENIED, tls_failure(X509_V_OK, err->text), "%s", err->text);
}

static int
handshake(struct tls *tls, int64_t deadline_ms, struct error *err)
{
    for (;;) {
        int done;

        ERR_clear_error();
        errno = 0;
        done = SSL_do_handshake(tls->ssl);
        if (done == 1)
            return 0;
        if (after(tls, done, deadline_ms, err) < 0)
            return -1;
    }
}

/* Takes the descriptor also on failure. */
static int
wrap(SSL_CTX *ctx, int take_fd, struct tls **ret, struct error *err)
{
    CLEANUP(tls_free) struct tls *tls = calloc(1, sizeof *tls);
    int flags;

    if (!tls) {
        fd_close(take_fd);
        return error_sys(err, ENOMEM, "TLS");
    }
    tls->fd = take_fd;
    flags = fcntl(take_fd, F_GETFL);
    if (flags < 0 || fcntl(take_fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return error_sys(err, errno, "TLS socket");
    tls->ssl = SSL_new(ctx);
    if (!tls->ssl || !SSL_set_fd(tls->ssl, take_fd))
        return crypto_error(err, ERROR_SYSTEM, "TLS");
    *ret = STEAL(tls);
    return 0;
}

/* SNI and the name that the certificate must be for. */
static int
expect_host(SSL *ssl, const char *host, struct error *err)
{
    uint8_t address[16];

    if (inet_pton(AF_INET, host, address) == 1 ||
        inet_pton(AF_INET6, host, address) == 1) {
        if (!X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host))
            return crypto_error(err, ERROR_SYSTEM, "TLS: server address");
        return 0;
    }
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (!SSL_set1_host(ssl, host) || !SSL_set_tlsext_host_name(ssl, host))
        return crypto_error(err, ERROR_SYSTEM, "TLS: server name");
    return 0;
}

int
tls_connect(struct ssl_ctx_st *ctx, int take_fd, const char *host, int64_t deadline_ms,
            struct tls **ret_tls, struct error *err)
{
    CLEANUP(tls_free) struct tls *tls = NULL;

    if (wrap(ctx, take_fd, &tls, err) < 0)
        return -1;
    if (!host && SSL_get_verify_mode(tls->ssl) != SSL_VERIFY_NONE)
        return error_set(err, ERROR_INPUT, "TLS: no server name to check");
    if (host && expect_host(tls->ssl, host, err) < 0)
        return -1;
    SSL_set_connect_state(tls->ssl);
    if (handshake(tls, deadline_ms, err) < 0)
        return -1;
    *ret_tls = STEAL(tls);
    return 0;
}

int
tls_accept(struct ssl_ctx_st *ctx, int take_fd, int64_t deadline_ms,
           struct tls **ret_tls, struct error *err)
{
    CLEANUP(tls_free) struct tls *tls = NULL;

    if (wrap(ctx, take_fd, &tls, err) < 0)
        return -1;
    SSL_set_accept_state(tls->ssl);
    if (handshake(tls, deadline_ms, err) < 0)
        return -1;
    *ret_tls = STEAL(tls);
    return 0;
}

int
tls_write(struct tls *tls, const void *bytes, size_t len, int64_t deadline_ms,
          struct error *err)
{
    const uint8_t *at = bytes;

    while (len > 0) {
        size_t n = 0;
        int done;

        ERR_clear_error();
        errno = 0;
        done = SSL_write_ex(tls->ssl, at, len, &n);
        if (done != 1) {
            if (after(tls, done, deadline_ms, err) < 0)
                return -1;
            continue;
        }
        at += n;
        len -= n;
    }
    return 0;
}

int
tls_read(struct tls *tls, void *ret, size_t max, size_t *ret_len, int64_t deadline_ms,
         struct error *err)
{
    for (;;) {
        size_t n = 0;
        int done;

        ERR_clear_error();
        errno = 0;
        done = SSL_read_ex(tls->ssl, ret, max, &n);
        if (done == 1 || SSL_get_error(tls->ssl, done) == SSL_ERROR_ZERO_RETURN) {
            *ret_len = done == 1 ? n : 0;
            return 0;
        }
        if (after(tls, done, deadline_ms, err) < 0)
            return -1;
    }
}
