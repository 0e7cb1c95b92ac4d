/*
 * tls.h - TLS 1.3 and nothing else: contexts for our servers and clients, and the exporter
 *
 * X25519 or P-256; no tickets, no resumption, no early data, no renegotiation
 * (CHECKS C10).  Handshake and I/O belong to who owns the socket: libevent in
 * lib/http, libcurl, or tls_* below for blocking sockets (guest agent, virtid-verify --connect).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/crypto/key.h"
#include "lib/crypto/x509.h"

struct ssl_ctx_st;
struct ssl_st;

enum { TLS_EXPORTER_LEN = 32 };

struct tls_identity {        /* borrowed for the call */
    const struct key *key;
    const uint8_t *cert_der; /* leaf */
    size_t cert_len;
    const uint8_t *ca_der;   /* sent behind the leaf so that a joiner can check its fingerprint; or NULL */
    size_t ca_len;
};

/*
 * Server context.  With `client_cas` a client certificate is asked for and, when one is
 * given, must chain to one of them and not have ended; whether one is required decides the route (CHECKS C7).
 * `alpn`: one protocol name that is selected when the client offers it, or NULL; borrowed for ever.
 */
int tls_server_new(const struct tls_identity *identity, const struct x509_der *client_cas,
                   size_t n_cas, const char *alpn, struct ssl_ctx_st **ret_ctx,
                   struct error *err);

/*
 * A client that names a server in its hello (SNI) gets a handshake only if the context's certificate
 * is for that name; one that names none, as for an address, gets it anyway (CHECKS C10).
 */
void tls_server_own_names_only(struct ssl_ctx_st *ctx);

/* Client context that trusts exactly `cas`; `identity` may be NULL. */
int tls_client_new(const struct x509_der *cas, size_t n_cas,
                   const struct tls_identity *identity, struct ssl_ctx_st **ret_ctx,
                   struct error *err);

/*
 * Client context for joining: trusts the one self-signed certificate in the server's chain whose
 * DER has this SHA-256.
 */
int tls_client_pinned_new(const uint8_t ca_sha256[static 32], struct ssl_ctx_st **ret_ctx,
                          struct error *err);

/* The same made of a fresh client context that somebody else owns, such as libcurl's. */
int tls_client_setup(struct ssl_ctx_st *ctx, const struct x509_der *cas, size_t n_cas,
                     const struct tls_identity *identity, struct error *err);
int tls_client_setup_pinned(struct ssl_ctx_st *ctx, const uint8_t ca_sha256[static 32],
                            struct error *err);

/* Certificates are looked at as if it were `now` (seconds since 1970): for one whose clock may be wrong. */
void tls_ctx_now(struct ssl_ctx_st *ctx, int64_t now);

/* A context that accepts any server certificate; for --connect alone, where the exporter is what counts. */
int tls_client_blind_new(struct ssl_ctx_st **ret_ctx, struct error *err);
/* A server context with a throw-away self-signed certificate (virtid-agent serve). */
int tls_server_throwaway_new(struct ssl_ctx_st **ret_ctx, struct error *err);

void tls_ctx_free(struct ssl_ctx_st *ctx);
DEFINE_CLEANUP(struct ssl_ctx_st *, tls_ctx_free);

/* RFC 5705/9266 exporter of a finished handshake, no context. */
int tls_exporter(struct ssl_st *ssl, const char *label,
                 uint8_t ret[static TLS_EXPORTER_LEN], struct error *err);

/* The peer's verified leaf in DER (borrowed length in *ret_len), or ERROR_MISSING if it gave none. */
int tls_peer_cert(struct ssl_st *ssl, uint8_t ret_der[static X509_DER_MAX], size_t *ret_len,
                  struct error *err);

/*
 * Why a handshake failed, as the stable name of a problem: what was wrong with the other side's certificate
 * (`verify`, an X509_V_ERR_ number), else its alert about ours (`words`, OpenSSL's); "" for everything else.
 */
const char *tls_failure(long verify, const char *words);

/*
 * Blocking TLS over a connected socket (TCP, Unix, socketpair).  Every call ends by
 * `deadline_ms` (clock_monotonic_ms): ERROR_BUSY.  SIGPIPE must be ignored (process_harden).
 */
struct tls;
/* `host`: name or address the server's certificate must be for (NULL with a blind context). */
int tls_connect(struct ssl_ctx_st *ctx, int take_fd, const char *host, int64_t deadline_ms,
                struct tls **ret_tls, struct error *err);
int tls_accept(struct ssl_ctx_st *ctx, int take_fd, int64_t deadline_ms, struct tls **ret_tls,
               struct error *err);
void tls_free(struct tls *tls); /* close_notify, close */
DEFINE_CLEANUP(struct tls *, tls_free);
int tls_write(struct tls *tls, const void *bytes, size_t len, int64_t deadline_ms,
              struct error *err);
/* 1..max bytes; *ret_len = 0 at a clean end. */
int tls_read(struct tls *tls, void *ret, size_t max, size_t *ret_len, int64_t deadline_ms,
             struct error *err);
struct ssl_st *tls_ssl(struct tls *tls);
