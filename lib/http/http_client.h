/*
 * http_client.h - one HTTPS request at a time, by libcurl; the only folder that knows it
 *
 * No redirects, no proxy from the environment, no cookies, TLS 1.3, answers bounded.
 * One client keeps its connection open for the next request.  Not thread-safe: one per thread.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/crypto/tls.h"

struct http_client;

struct http_client_options {
    const char *unix_path;           /* plain HTTP over this socket; else TLS */
    const struct x509_der *cas;      /* trusted; n_cas = 0 with no pin: the system's CAs */
    size_t n_cas;
    const uint8_t *pin_ca_sha256;    /* joining: trust the CA with this fingerprint (32 bytes) */
    const struct tls_identity *identity;
    long timeout_ms;                 /* whole request; 0: 10 s */
    const char *alpn;                /* the one protocol name to offer; NULL: http/1.1 */
    const atomic_bool *cancel;       /* once true, a request under way ends within a second: ERROR_BUSY; or NULL */
};

int http_client_new(const struct http_client_options *options, struct http_client **ret,
                    struct error *err);
void http_client_free(struct http_client *client);
DEFINE_CLEANUP(struct http_client *, http_client_free);

/*
 * Send; *ret_status and the body (bounded by into->max).  `url` is absolute ("http://localhost/v1/..." with
 * unix_path).  `body` NULL: no body.  ERROR_BUSY: could not connect, timed out, or cut off (nobody answered);
 * a TLS refusal is ERROR_DENIED; an HTTP status is never an error here.
 */
int http_client_send(struct http_client *client, const char *method, const char *url,
                     const char *headers /* NULL or one "Name: value" per line */,
                     const void *body, size_t len, int *ret_status, struct buf *into,
                     struct error *err);
/* The last answer's status >= 400 as an error: problem_read(), and when to try again. */
int http_client_problem(struct http_client *client, int status, const struct buf *body,
                        struct error *err);
/* As above with JSON both ways; a status >= 400 becomes an error by http_client_problem(). *ret_answer may be NULL'ed
 * by an empty body. */
struct json_t;
int http_client_json(struct http_client *client, const char *method, const char *url,
                     const struct json_t *body, struct json_t **ret_answer, struct error *err);
/* Seconds that the last answer may be kept (Cache-Control: max-age), or -1 if it does not say. */
long http_client_max_age(struct http_client *client);
/* The time of day that the last answer carries, in seconds since 1970; -1: it carries none. */
int http_client_date(struct http_client *client, int64_t *ret_seconds);
/* A header of the last answer that is a number of 1 to 18 digits; -1: there is none. */
int http_client_number(struct http_client *client, const char *name, int64_t *ret);
void http_client_timeout(struct http_client *client, long timeout_ms);
