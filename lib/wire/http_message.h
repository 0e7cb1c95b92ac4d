/*
 * http_message.h - HTTP/1.1 messages, strictly: one parser for every socket of ours
 *
 * Taken: CRLF line ends; methods GET HEAD POST PUT PATCH DELETE; origin-form targets of [A-Za-z0-9/._~?=&%:+,-];
 * header names of token characters; Content-Length of digits only, once.  Refused: Transfer-Encoding,
 * folded lines, bare LF or CR, spaces before the colon, two Host or Content-Length, a request
 * without Host, more than 32 headers, a head above 8 KiB, a body above the caller's limit
 * (RFC 9112; CHECKS C19; docs/DECISIONS/002).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/common/buf.h"
#include "lib/common/error.h"

enum { HTTP_HEAD_MAX = 8192, HTTP_HEADERS_MAX = 32, HTTP_BODY_MAX = 16384 };

struct http_message {
    bool is_request;
    char method[8];
    char path[512];      /* before '?' ; percent-decoding is refused in paths */
    char query[1024];    /* behind '?', still encoded */
    int status;          /* of a response */
    bool keep_alive;
    size_t n_headers;
    struct { char name[64]; char value[1024]; } headers[HTTP_HEADERS_MAX]; /* names in lower case */
    size_t head_len;     /* bytes of the head, with its empty line */
    size_t body_len;     /* Content-Length, 0 if none */
};

/*
 * Look at `len` bytes from the front of a connection.  *ret_done = false: more bytes are needed.
 * ERROR_INPUT: refused for ever, close the connection (status to answer in err->problem: "400", "413", "431", "501", "505").
 * When done, head and body are complete: the body is at bytes + head_len.
 */
int http_parse(const void *bytes, size_t len, bool want_request, size_t body_max,
               struct http_message *ret, bool *ret_done, struct error *err);

/* NULL: not there. */
const char *http_header(const struct http_message *m, const char *lower_case_name);
/* Seconds of a Retry-After, at most HTTP_RETRY_MAX; 0: none, or a date, which nobody's clock is good for. */
enum { HTTP_RETRY_MAX = 300 };
unsigned http_retry_after(const char *value);
/*
 * How long a client waits (ms) that was asked to wait `ms`: never less, up to a quarter more by `dice`, so that many who
 * were told the same do not come back at once.
 */
int64_t http_retry_spread(int64_t ms, uint32_t dice);

/* A query parameter, percent-decoded once into ret[max + 1]; ERROR_MISSING, ERROR_INPUT (twice, bad encoding, too long). */
int http_query(const struct http_message *m, const char *name, char *ret, size_t max,
               struct error *err);

/* Heads for what we send; `headers` is "" or whole lines with CRLF. */
void http_print_request(struct buf *into, const char *method, const char *target,
                        const char *host, const char *headers, const void *body, size_t len);
void http_print_response(struct buf *into, int status, const char *content_type,
                         const char *headers, bool keep_alive, const void *body, size_t len);
