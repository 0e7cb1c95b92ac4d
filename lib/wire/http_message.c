#include "config.h"

#include "lib/wire/http_message.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ASCII only: what a byte means must not depend on the locale. */
static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
is_alnum(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* RFC 9110, 5.6.2 */
static bool
is_token(char c)
{
    return is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool
is_target(char c)
{
    return is_alnum(c) || (c != '\0' && strchr("/._~?=&%:+,-", c) != NULL);
}

static bool
is_host(char c)
{
    return is_alnum(c) || (c != '\0' && strchr(".-:[]_", c) != NULL);
}

static char
lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static int
refuse(struct error *err, const char *status, const char *why)
{
    return error_problem(err, ERROR_INPUT, status, "HTTP message: %s", why);
}

/*
 * Where the head ends, its empty line included; 0: not there yet.  Looks at
 * every byte, so that a wrong one is refused before the head is complete.
 */
static int
find_head(const char *text, size_t len, size_t *ret_head_len, struct error *err)
{
    size_t scan = len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX;

    *ret_head_len = 0;
    for (size_t i = 0; i < scan; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == '\n') {
            if (i == 0 || text[i - 1] != '\r')
                return refuse(err, "400", "line feed without carriage return");
            if (i == 1)
                return refuse(err, "400", "empty first line");
            if (i >= 3 && text[i - 2] == '\n') {
                *ret_head_len = i + 1;
                return 0;
            }
            continue;
        }
        if (i > 0 && text[i - 1] == '\r')
            return refuse(err, "400", "carriage return without line feed");
        if (c != '\r' && c != '\t' && (c < 0x20 || c > 0x7e))
            return refuse(err, "400", "a byte that is not printable ASCII in the head");
    }
    if (len >= HTTP_HEAD_MAX)
        return refuse(err, "431", "the head is too long");
    return 0;
}

static int
copy_text(char *into, size_t room, const char *from, size_t len, struct error *err)
{
    if (len >= room)
        return refuse(err, "431", "a part of the head is too long");
    memcpy(into, from, len);
    into[len] = '\0';
    return 0;
}

static int
read_method(struct http_message *m, const char *text, size_t len, struct error *err)
{
    static const char *const known[] = {
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strlen(known[i]) == len && memcmp(known[i], text, len) == 0)
            return copy_text(m->method, sizeof m->method, text, len, err);
    }
    for (size_t i = 0; i < len; i++) {
        if (!is_token(text[i]))
            return refuse(err, "400", "method");
    }
    return refuse(err, len > 0 ? "501" : "400", "unknown method");
}

/* Segments "." and "..", and empty ones, mean different things to different programs.
 */
static bool
has_odd_segment(const char *path)
{
    for (const char *at = path; *at == '/';) {
        const char *end = strchrnul(at + 1, '/');
        size_t len = (size_t)(end - at) - 1;

        if ((len == 0 && *end == '/') || (len == 1 && at[1] == '.') ||
            (len == 2 && at[1] == '.' && at[2] == '.'))
            return true;
        at = end;
    }
    return false;
}

static int
read_target(struct http_message *m, const char *text, size_t len, struct error *err)
{
    const char *mark;
    size_t path_len;

    if (len == 0 || text[0] != '/')
        return refuse(err, "400", "the target is not a path");
    for (size_t i = 0; i < len; i++) {
        if (!is_target(text[i]))
            return refuse(err, "400", "a character in the target that is not taken");
    }
    mark = memchr(text, '?', len);
    path_len = mark ? (size_t)(mark - text) : len;
    if (memchr(text, '%', path_len))
        return refuse(err, "400", "percent-encoding in the path");
    if (copy_text(m->path, sizeof m->path, text, path_len, err) < 0)
        return -1;
    if (has_odd_segment(m->path))
        return refuse(err, "400", "a path that is not in its plain form");
    m->query[0] = '\0';
    if (!mark)
        return 0;
    return copy_text(m->query, sizeof m->query, mark + 1, len - path_len - 1, err);
}

static int
read_version(const char *text, size_t len, struct error *err)
{
    if (len == 8 && memcmp(text, "HTTP/1.1", 8) == 0)
        return 0;
    if (len == 8 && memcmp(text, "HTTP/", 5) == 0 && is_digit(text[5]) &&
        text[6] == '.' && is_digit(text[7]))
        return refuse(err, "505", "only HTTP/1.1 is spoken here");
    return refuse(err, "400", "protocol version");
}

static int
read_request_line(struct http_message *m, const char *line, size_t len,
                  struct error *err)
{
    const char *end = line + len, *first = memchr(line, ' ', len), *second;

    second = first ? memchr(first + 1, ' ', (size_t)(end - first) - 1) : NULL;
    if (!second)
        return refuse(err, "400", "request line");
    if (read_version(second + 1, (size_t)(end - second) - 1, err) < 0 ||
        read_method(m, line, (size_t)(first - line), err) < 0)
        return -1;
    return read_target(m, first + 1, (size_t)(second - first) - 1, err);
}

/* "HTTP/1.1 200 OK"; the reason may be empty, its space may not. */
static int
read_status_line(struct http_message *m, const char *line, size_t len,
                 struct error *err)
{
    if (len < 13 || line[8] != ' ' || line[12] != ' ')
        return refuse(err, "400", "status line");
    if (read_version(line, 8, err) < 0)
        return -1;
    if (!is_digit(line[9]) || !is_digit(line[10]) || !is_digit(line[11]))
        return refuse(err, "400", "status");
    m->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
    if (m->status < 200 || m->status > 599) /* nobody of ours sends 1xx */
        return refuse(err, "400", "status");
    return 0;
}

static int
read_header(struct http_message *m, const char *line, size_t len, struct error *err)
{
    const char *colon = memchr(line, ':', len), *value, *end = line + len;
    size_t name_len;

    if (line[0] == ' ' || line[0] == '\t')
        return refuse(err, "400", "folded line");
    if (!colon || colon == line)
        return refuse(err, "400", "a header without a name");
    if (m->n_headers == HTTP_HEADERS_MAX)
        return refuse(err, "431", "too many headers");
    name_len = (size_t)(colon - line);
    if (copy_text(m->headers[m->n_headers].name, sizeof m->headers[0].name, line,
                  name_len, err) < 0)
        return -1;
    for (char *c = m->headers[m->n_headers].name; *c; c++) {
        if (!is_token(*c))
            return refuse(err, "400", "a header's name");
        *c = lower(*c);
    }
    value = colon + 1;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    if (copy_text(m->headers[m->n_headers].value, sizeof m->headers[0].value, value,
                  (size_t)(end - value), err) < 0)
        return -1;
    m->n_headers++;
    return 0;
}

static size_t
count_header(const struct http_message *m, const char *name)
{
    size_t n = 0;

    for (size_t i = 0; i < m->n_headers; i++)
        n += strcmp(m->headers[i].name, name) == 0;
    return n;
}

/* One spelling of a length: digits, no sign, no leading zero. */
static int
read_content_length(struct http_message *m, size_t body_max, struct error *err)
{
    const char *text = http_header(m, "content-length");
    size_t digits, value = 0;

    m->body_len = 0;
    if (!text) {
        if (!m->is_request && m->status != 204 && m->status != 304)
            return refuse(err, "400", "an answer without Content-Length");
        return 0;
    }
    if (count_header(m, "content-length") != 1)
        return refuse(err, "400", "two Content-Length");
    digits = strspn(text, "0123456789");
    if (digits == 0 || text[digits] != '\0' || (text[0] == '0' && digits > 1))
        return refuse(err, "400", "Content-Length is not a number");
    if (digits > 9) /* fits any size_t, and no body of ours is longer */
        return refuse(err, "413", "the body is too long");
    for (size_t i = 0; i < digits; i++)
        value = value * 10 + (size_t)(text[i] - '0');
    if (value > body_max)
        return refuse(err, "413", "the body is too long");
    m->body_len = value;
    return 0;
}

static int
check_host(const struct http_message *m, struct error *err)
{
    const char *host = http_header(m, "host");

    if (!m->is_request)
        return 0;
    if (count_header(m, "host") != 1)
        return refuse(err, "400", "not exactly one Host");
    if (host[0] == '\0')
        return refuse(err, "400", "Host is empty");
    for (; *host; host++) {
        if (!is_host(*host))
            return refuse(err, "400", "Host");
    }
    return 0;
}

/* True if `word` is one of the comma-separated words of any Connection header. */
static bool
connection_says(const struct http_message *m, const char *word)
{
    size_t len = strlen(word);

    for (size_t i = 0; i < m->n_headers; i++) {
        if (strcmp(m->headers[i].name, "connection") != 0)
            continue;
        for (const char *at = m->headers[i].value; *at;) {
            size_t skip = strspn(at, ", \t"), n = strcspn(at + skip, ", \t");

            if (n == len && strncasecmp(at + skip, word, len) == 0)
                return true;
            at += skip + n;
        }
    }
    return false;
}

static int
read_head(struct http_message *m, const char *text, size_t body_max, struct error *err)
{
    const char *at = text, *end = text + m->head_len - 2; /* the empty line */

    m->n_headers = 0;
    m->status = 0;
    m->method[0] = m->path[0] = m->query[0] = '\0';
    for (const char *eol; at < end; at = eol + 2) {
        size_t len;
        int rc;

        eol = memmem(at, (size_t)(end - at), "\r\n", 2);
        len = (size_t)(eol - at); /* find_head() saw that every line ends so */
        if (at != text)
            rc = read_header(m, at, len, err);
        else if (m->is_request)
            rc = read_request_line(m, at, len, err);
        else
            rc = read_status_line(m, at, len, err);
        if (rc < 0)
            return -1;
    }
    if (http_header(m, "transfer-encoding"))
        return refuse(err, http_header(m, "content-length") ? "400" : "501",
                      "Transfer-Encoding");
    if (check_host(m, err) < 0)
        return -1;
    m->keep_alive = !connection_says(m, "close");
    return read_content_length(m, body_max, err);
}

int
http_parse(const void *bytes, size_t len, bool want_request, size_t body_max,
           struct http_message *ret, bool *ret_done, struct error *err)
{
    *ret_done = false;
    if (find_head(bytes, len, &ret->head_len, err) < 0)
        return -1;
    if (ret->head_len == 0)
        return 0;
    ret->is_request = want_request;
    if (read_head(ret, bytes, body_max, err) < 0)
        return -1;
    *ret_done = len - ret->head_len >= ret->body_len;
    return 0;
}

const char *
http_header(const struct http_message *m, const char *lower_case_name)
{
    for (size_t i = 0; i < m->n_headers; i++) {
        if (strcmp(m->headers[i].name, lower_case_name) == 0)
            return m->headers[i].value;
    }
    return NULL;
}

static int
hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int
percent_decode(const char *text, size_t len, char *ret, size_t max, struct error *err)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == '%') {
            int high = -1, low = -1;

            if (len - i > 2) {
                high = hex_value(text[i + 1]);
                low = hex_value(text[i + 2]);
            }
            if (high < 0 || low < 0)
                return error_set(err, ERROR_INPUT, "query: bad percent-encoding");
            c = (unsigned char)(high * 16 + low);
            i += 2;
        }
        if (c < 0x20 || c == 0x7f)
            return error_set(err, ERROR_INPUT, "query: a control character");
        if (n == max)
            return error_set(err, ERROR_INPUT, "query: a value above %zu bytes", max);
        ret[n++] = (char)c;
    }
    ret[n] = '\0';
    return 0;
}

unsigned
http_retry_after(const char *value)
{
    unsigned seconds = 0;

    if (!value || value[0] == '\0' || value[strspn(value, "0123456789")] != '\0')
        return 0;
    for (; *value && seconds < HTTP_RETRY_MAX; value++)
        seconds = seconds * 10 + (unsigned)(*value - '0');
    return seconds < HTTP_RETRY_MAX ? seconds : HTTP_RETRY_MAX;
}

int64_t
http_retry_spread(int64_t ms, uint32_t dice)
{
    return ms + ms / 4 * (int64_t)(dice % 1001) / 1000;
}

int
http_query(const struct http_message *m, const char *name, char *ret, size_t max,
           struct error *err)
{
    size_t name_len = strlen(name), value_len = 0;
    const char *value = NULL;

    for (const char *at = m->query; *at;) {
        size_t len = strcspn(at, "&");

        if (len > name_len && at[name_len] == '=' && memcmp(at, name, name_len) == 0) {
            if (value)
                return error_set(err, ERROR_INPUT, "query: two \"%s\"", name);
            value = at + name_len + 1;
            value_len = len - name_len - 1;
        }
        at += len + (at[len] == '&');
    }
    if (!value)
        return error_set(err, ERROR_MISSING, "query: no \"%s\"", name);
    return percent_decode(value, value_len, ret, max, err);
}

void
http_print_request(struct buf *into, const char *method, const char *target,
                   const char *host, const char *headers, const void *body, size_t len)
{
    buf_printf(into, "%s %s HTTP/1.1\r\nHost: %s\r\n%s", method, target, host,
               headers ? headers : "");
    if (body || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
        strcmp(method, "PATCH") == 0)
        buf_printf(into, "Content-Type: application/json\r\nContent-Length: %zu\r\n",
                   len);
    buf_add_text(into, "\r\n");
    if (body && len > 0)
        buf_add(into, body, len);
}

static const char *
reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } table[] = {
        { 200, "OK" },
        { 201, "Created" },
        { 202, "Accepted" },
        { 204, "No Content" },
        { 304, "Not Modified" },
        { 400, "Bad Request" },
        { 401, "Unauthorized" },
        { 403, "Forbidden" },
        { 404, "Not Found" },
        { 405, "Method Not Allowed" },
        { 408, "Request Timeout" },
        { 409, "Conflict" },
        { 410, "Gone" },
        { 413, "Content Too Large" },
        { 415, "Unsupported Media Type" },
        { 421, "Misdirected Request" },
        { 422, "Unprocessable Content" },
        { 423, "Locked" },
        { 428, "Precondition Required" },
        { 429, "Too Many Requests" },
        { 431, "Request Header Fields Too Large" },
        { 500, "Internal Server Error" },
        { 501, "Not Implemented" },
        { 503, "Service Unavailable" },
        { 505, "HTTP Version Not Supported" },
    };

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (table[i].status == status)
            return table[i].reason;
    }
    return "Status";
}

void
http_print_response(struct buf *into, int status, const char *content_type,
                    const char *headers, bool keep_alive, const void *body, size_t len)
{
    bool bodyless = status == 204 || status == 304;

    if (!headers)
        headers = "";
    buf_printf(into, "HTTP/1.1 %d %s\r\n%s", status, reason_of(status), headers);
    if (!bodyless)
        buf_printf(into, "Content-Type: %s\r\nContent-Length: %zu\r\n",
                   content_type ? content_type : "application/json", len);
    if (!strcasestr(headers, "Cache-Control:")) /* a token must not lie in any cache */
        buf_add_text(into, "Cache-Control: no-store\r\n");
    buf_add_text(into, keep_alive ? "\r\n" : "Connection: close\r\n\r\n");
    if (!bodyless && len > 0)
        buf_add(into, body, len);
}
