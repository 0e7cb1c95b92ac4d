#include "config.h"

#include "lib/http/http_client.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>
#include <openssl/ssl.h>

#include "lib/common/json.h"
#include "lib/crypto/hash.h"
#include "lib/wire/http_message.h"
#include "lib/wire/problem.h"

enum {
    TIMEOUT_MS = 10000,
    CONNECT_MS = 5000,
    PEM_MAX = 4 * X509_DER_MAX,
    HEADERS_MAX = 16, /* lines a caller may add */
    HEADER_MAX = 1024,
};

struct http_client {
    CURL *curl;
    char failure[CURL_ERROR_SIZE];
    bool pinned, has_cas;
    uint8_t pin[SHA256_LEN];
    unsigned char alpn[32]; /* length and name, as TLS has it */
    SSL_CTX
    *trust; /* our own client context; its store and identity are lent to curl's */
};

static void
global_init(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* Called by curl for each new connection, before the handshake. */
static CURLcode
set_up_tls(CURL *curl, void *ssl_ctx, void *arg)
{
    struct http_client *client = arg;
    SSL_CTX *ctx = ssl_ctx;
    struct error ignored = { 0 };

    (void)curl;
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set1_groups_list(ctx, "X25519:P-256") != 1)
        return CURLE_SSL_CONNECT_ERROR;
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    if (client->alpn[0] > 0 &&
        SSL_CTX_set_alpn_protos(ctx, client->alpn, 1u + client->alpn[0]) != 0)
        return CURLE_SSL_CONNECT_ERROR;
    if (client->pinned && tls_client_setup_pinned(ctx, client->pin, &ignored) < 0)
        return CURLE_SSL_CONNECT_ERROR;
    if (!client->trust)
        return CURLE_OK;
    if (client->has_cas)
        SSL_CTX_set1_cert_store(ctx, SSL_CTX_get_cert_store(client->trust));
    if (SSL_CTX_get0_certificate(client->trust) &&
        (SSL_CTX_use_certificate(ctx, SSL_CTX_get0_certificate(client->trust)) != 1 ||
         SSL_CTX_use_PrivateKey(ctx, SSL_CTX_get0_privatekey(client->trust)) != 1))
        return CURLE_SSL_CERTPROBLEM;
    return CURLE_OK;
}

/* libcurl must not bring a CA of its own to ours. */
static void
set_trust(struct http_client *client)
{
    CURL *c = client->curl;

    curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(c, CURLOPT_SSLVERSION,
                     (long)CURL_SSLVERSION_TLSv1_3 | (long)CURL_SSLVERSION_MAX_TLSv1_3);
    curl_easy_setopt(c, CURLOPT_SSL_SESSIONID_CACHE, 0L);
    curl_easy_setopt(c, CURLOPT_SSL_CTX_FUNCTION, set_up_tls);
    curl_easy_setopt(c, CURLOPT_SSL_CTX_DATA, client);
    if (client->has_cas || client->pinned) {
        curl_easy_setopt(c, CURLOPT_CAINFO, NULL);
        curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
    }
}

static int
is_cancelled(void *cancel, curl_off_t down_all, curl_off_t down, curl_off_t up_all, curl_off_t up)
{
    (void)down_all;
    (void)down;
    (void)up_all;
    (void)up;
    return cancel && *(const atomic_bool *)cancel;
}

/* Nothing from the environment or a server's wish changes where a request goes. */
static void
set_manners(struct http_client *client, const struct http_client_options *options)
{
    CURL *c = client->curl;

    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, client->failure);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, options->cancel ? 0L : 1L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, is_cancelled);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, options->cancel);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, options->unix_path ? "http" : "https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(c, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c, CURLOPT_HTTP09_ALLOWED, 0L);
    curl_easy_setopt(c, CURLOPT_MAXCONNECTS, 1L);
    curl_easy_setopt(c, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    if (options->unix_path)
        curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, options->unix_path);
    http_client_timeout(client, options->timeout_ms);
}

static int
set_options(struct http_client *client, const struct http_client_options *options,
            struct error *err)
{
    size_t alpn_len = options->alpn ? strlen(options->alpn) : 0;

    if (alpn_len >= sizeof client->alpn)
        return error_set(err, ERROR_INPUT, "ALPN name");
    client->alpn[0] = (unsigned char)alpn_len;
    memcpy(client->alpn + 1, options->alpn ? options->alpn : "", alpn_len);
    client->has_cas = options->n_cas > 0;
    if (options->pin_ca_sha256) {
        client->pinned = true;
        memcpy(client->pin, options->pin_ca_sha256, sizeof client->pin);
    }
    if ((client->has_cas || options->identity) && !options->unix_path &&
        tls_client_new(options->cas, options->n_cas, options->identity, &client->trust,
                       err) < 0)
        return -1;
    set_manners(client, options);
    set_trust(client);
    return 0;
}

int
http_client_new(const struct http_client_options *options, struct http_client **ret,
                struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    CLEANUP(http_client_free) struct http_client *client = calloc(1, sizeof *client);

    pthread_once(&once, global_init);
    if (!client || !(client->curl = curl_easy_init()))
        return error_sys(err, ENOMEM, "HTTP client");
    if (set_options(client, options, err) < 0)
        return -1;
    *ret = STEAL(client);
    return 0;
}

void
http_client_free(struct http_client *client)
{
    if (!client)
        return;
    if (client->curl)
        curl_easy_cleanup(client->curl);
    tls_ctx_free(client->trust);
    free(client);
}

void
http_client_timeout(struct http_client *client, long timeout_ms)
{
    curl_easy_setopt(client->curl, CURLOPT_TIMEOUT_MS,
                     timeout_ms > 0 ? timeout_ms : (long)TIMEOUT_MS);
}

/* Whether there was anybody, said no, or talked nonsense. */
static enum error_code
code_of(const struct http_client *client, CURLcode rc)
{
    /* TLS 1.3: a server refuses a client's certificate behind the handshake, with an
     * alert. */
    if (strstr(client->failure, "alert"))
        return ERROR_DENIED;
    switch ((int)rc) {
    case CURLE_SSL_CONNECT_ERROR:
        return strstr(client->failure, "SYSCALL") || strstr(client->failure, "reset") ||
                       strstr(client->failure, "unexpected eof")
                   ? ERROR_BUSY
                   : ERROR_DENIED;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
        return ERROR_DENIED;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_WRITE_ERROR: /* longer than the caller takes */
    case CURLE_WEIRD_SERVER_REPLY:
        return ERROR_INPUT;
    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
        return ERROR_SYSTEM;
    default:
        return ERROR_BUSY;
    }
}

static size_t
take_body(char *bytes, size_t size, size_t n, void *arg)
{
    struct buf *into = arg;

    buf_add(into, bytes, size * n);
    return buf_ok(into) ? size * n : 0;
}

static int
add_header(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*list, line);

    if (!longer)
        return -1;
    *list = longer;
    return 0;
}

/* One "Name: value" per line, with or without CR; a caller's text, but bounded. */
static int
add_headers(struct curl_slist **list, const char *lines, struct error *err)
{
    char line[HEADER_MAX];

    for (size_t n = 0; lines && *lines; n++) {
        size_t len = strcspn(lines, "\r\n");

        if (len >= sizeof line || n == HEADERS_MAX)
            return error_set(err, ERROR_INPUT, "too long headers");
        memcpy(line, lines, len);
        line[len] = '\0';
        if (len > 0 && add_header(list, line) < 0)
            return error_sys(err, ENOMEM, "headers");
        lines += len;
        lines += strspn(lines, "\r\n");
    }
    return 0;
}

static void
set_request(struct http_client *client, const char *method, const char *url,
            const void *body, size_t len, struct buf *into)
{
    CURL *c = client->curl;

    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_NOBODY, 0L);
    curl_easy_setopt(c, CURLOPT_HTTPGET, 1L);
    if (body || strcmp(method, "POST") == 0) {
        curl_easy_setopt(c, CURLOPT_POST, 1L);
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, body ? body : "");
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
    }
    if (strcmp(method, "HEAD") == 0)
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, into);
}

static int
perform(struct http_client *client, const char *url, int *ret_status, struct error *err)
{
    long status = 0, verify = X509_V_OK;
    CURLcode rc;

    client->failure[0] = '\0';
    rc = curl_easy_perform(client->curl);
    if (rc == CURLE_PEER_FAILED_VERIFICATION)
        curl_easy_getinfo(client->curl, CURLINFO_SSL_VERIFYRESULT, &verify);
    if (rc != CURLE_OK)
        return error_problem(err, code_of(client, rc), tls_failure(verify, client->failure), "%s: %s", url,
                             client->failure[0] ? client->failure : curl_easy_strerror(rc));
    curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &status);
    *ret_status = (int)status;
    return 0;
}

int
http_client_send(struct http_client *client, const char *method, const char *url,
                 const char *headers, const void *body, size_t len, int *ret_status,
                 struct buf *into, struct error *err)
{
    struct curl_slist *list = NULL;
    int rc;

    set_request(client, method, url, body, len, into);
    rc = add_headers(&list, headers, err);
    if (rc == 0 && (add_header(&list, "Expect:") < 0 ||
                    (body && add_header(&list, "Content-Type: application/json") < 0)))
        rc = error_sys(err, ENOMEM, "headers");
    if (rc == 0) {
        curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, list);
        rc = perform(client, url, ret_status, err);
    }
    curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, NULL);
    curl_easy_setopt(client->curl, CURLOPT_POSTFIELDS, NULL);
    curl_slist_free_all(list);
    return rc;
}

long
http_client_max_age(struct http_client *client)
{
    static const char name[] = "max-age=";
    struct curl_header *header;
    const char *at;

    if (curl_easy_header(client->curl, "Cache-Control", 0, CURLH_HEADER, -1, &header) !=
        CURLHE_OK)
        return -1;
    if (strstr(header->value, "no-store") || strstr(header->value, "no-cache"))
        return 0;
    at = strstr(header->value, name);
    if (!at || at[sizeof name - 1] < '0' || at[sizeof name - 1] > '9')
        return -1;
    return strtol(at + sizeof name - 1, NULL, 10);
}

int
http_client_date(struct http_client *client, int64_t *ret_seconds)
{
    struct curl_header *header;
    time_t date;

    if (curl_easy_header(client->curl, "Date", 0, CURLH_HEADER, -1, &header) != CURLHE_OK ||
        (date = curl_getdate(header->value, NULL)) < 0)
        return -1;
    *ret_seconds = (int64_t)date;
    return 0;
}

int
http_client_number(struct http_client *client, const char *name, int64_t *ret)
{
    struct curl_header *header;
    size_t digits;

    if (curl_easy_header(client->curl, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
        return -1;
    digits = strspn(header->value, "0123456789");
    if (digits == 0 || digits > 18 || header->value[digits] != '\0')
        return -1;
    *ret = strtoll(header->value, NULL, 10);
    return 0;
}

int
http_client_problem(struct http_client *client, int status, const struct buf *body,
                    struct error *err)
{
    struct curl_header *header;

    problem_read(status, (const char *)body->data, body->len, err);
    if (curl_easy_header(client->curl, "Retry-After", 0, CURLH_HEADER, -1, &header) ==
        CURLHE_OK)
        err->retry_s = http_retry_after(header->value);
    return -1;
}

int
http_client_json(struct http_client *client, const char *method, const char *url,
                 const struct json_t *body, struct json_t **ret_answer,
                 struct error *err)
{
    CLEANUP(buf_clear) struct buf out = BUF(JSON_TEXT_MAX), in = BUF(JSON_TEXT_MAX);
    int status = 0;

    if (body && json_print(body, &out, err) < 0)
        return -1;
    if (http_client_send(client, method, url, NULL, body ? out.data : NULL, out.len,
                         &status, &in, err) < 0)
        return -1;
    if (status >= 400 || status < 200)
        return http_client_problem(client, status, &in, err);
    if (!ret_answer)
        return 0;
    *ret_answer = NULL;
    if (in.len == 0)
        return 0;
    if (json_parse((const char *)in.data, in.len, ret_answer, err) < 0)
        return error_wrap(err, "%s", url);
    return 0;
}
