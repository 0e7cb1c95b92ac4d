/*
 * The strict codec: what is taken, what is refused and with which status.
 */
#include "config.h"

#include "lib/wire/http_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct http_message m;
static struct error err;

#define GET_X "GET / HTTP/1.1\r\nHost: x\r\n"
#define POST_X "POST / HTTP/1.1\r\nHost: x\r\n"

static int
parse_bytes(const char *bytes, size_t len, bool *ret_done)
{
    /* A copy of exactly this size, so that a byte read behind it is seen. */
    char *copy = malloc(len ? len : 1);
    int rc;

    assert_non_null(copy);
    memcpy(copy, bytes, len);
    memset(&err, 0, sizeof err);
    rc = http_parse(copy, len, true, HTTP_BODY_MAX, &m, ret_done, &err);
    free(copy);
    return rc;
}

static void
taken(const char *text)
{
    bool done;

    if (parse_bytes(text, strlen(text), &done) < 0)
        fail_msg("%s refused: %s", text, err.text);
    assert_true(done);
}

static void
refused_bytes(const char *bytes, size_t len, const char *status)
{
    bool done;

    assert_int_equal(parse_bytes(bytes, len, &done), -1);
    assert_int_equal(err.code, ERROR_INPUT);
    assert_string_equal(err.problem, status);
    assert_false(done);
}

static void
refused(const char *text, const char *status)
{
    refused_bytes(text, strlen(text), status);
}

static void
a_request_is_read_as_it_was_written(void **state)
{
    (void)state;
    taken("POST /v1/token?uuid=1&a=b HTTP/1.1\r\nHost: id.example:8443\r\n"
          "X-Virtid:  1 \t\r\nContent-Length: 2\r\n\r\n{}");
    assert_string_equal(m.method, "POST");
    assert_string_equal(m.path, "/v1/token");
    assert_string_equal(m.query, "uuid=1&a=b");
    assert_string_equal(http_header(&m, "x-virtid"), "1");
    assert_null(http_header(&m, "cookie"));
    assert_int_equal(m.body_len, 2);
    assert_true(m.keep_alive);
    taken("GET / HTTP/1.1\r\nHost: x\r\nConnection: Keep-Alive, CLOSE\r\n\r\n");
    assert_false(m.keep_alive);
    assert_int_equal(m.body_len, 0);
}

static void
a_message_cut_anywhere_waits_for_more(void **state)
{
    static const char text[] =
        "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    bool done;

    (void)state;
    for (size_t len = 0; len < sizeof text - 1; len++) {
        assert_int_equal(parse_bytes(text, len, &done), 0);
        assert_false(done);
    }
    taken(text);
}

static void
what_comes_behind_is_not_looked_at(void **state)
{
    (void)state;
    taken(GET_X "\r\n\x01\x02 anything\n");
    assert_int_equal(m.head_len, strlen(GET_X "\r\n"));
}

static void
content_length_has_one_spelling(void **state)
{
    (void)state;
    refused(POST_X "Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd", "400");
    refused(POST_X "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd", "400");
    refused(POST_X "Content-Length: 4, 4\r\n\r\nabcd", "400");
    refused(POST_X "Content-Length: +4\r\n\r\nabcd", "400");
    refused(POST_X "Content-Length: -4\r\n\r\nabcd", "400");
    refused(POST_X "Content-Length: 0x4\r\n\r\nabcd", "400");
    refused(POST_X "Content-Length: 04\r\n\r\nabcd", "400");
    refused(POST_X "Content-Length: 4 4\r\n\r\nabcd", "400");
    refused(POST_X "Content-Length:\r\n\r\nabcd", "400");
    taken(POST_X "Content-Length: 0\r\n\r\n");
}

static void
a_body_above_the_limit_is_refused_by_its_head(void **state)
{
    (void)state;
    refused(POST_X "Content-Length: 16385\r\n\r\n", "413");
    refused(POST_X "Content-Length: 99999999999999999999999\r\n\r\n", "413");
    refused(POST_X "Content-Length: 18446744073709551617\r\n\r\n", "413");
}

static void
transfer_encoding_is_refused(void **state)
{
    (void)state;
    refused(POST_X "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "501");
    refused(POST_X "TRANSFER-ENCODING: identity\r\n\r\n", "501");
    refused(POST_X "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nabcd",
            "400");
}

static void
a_request_names_its_host_once(void **state)
{
    (void)state;
    refused("GET / HTTP/1.1\r\n\r\n", "400");
    refused(GET_X "Host: y\r\n\r\n", "400");
    refused("GET / HTTP/1.1\r\nHost:\r\n\r\n", "400");
    refused("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400");
    refused("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", "400");
}

static void
header_lines_have_one_shape(void **state)
{
    (void)state;
    refused(GET_X "Name : v\r\n\r\n", "400");
    refused(GET_X "Name\t: v\r\n\r\n", "400");
    refused(GET_X ": v\r\n\r\n", "400");
    refused(GET_X "no colon\r\n\r\n", "400");
    refused(GET_X "Na(me: v\r\n\r\n", "400");
    refused(GET_X "A: b\r\n folded\r\n\r\n", "400");
    refused(GET_X "A: b\r\n\tfolded\r\n\r\n", "400");
    refused("GET / HTTP/1.1\r\n Host: x\r\n\r\n", "400");
}

static void
lines_end_with_cr_lf_alone(void **state)
{
    (void)state;
    refused("GET / HTTP/1.1\nHost: x\n\n", "400");
    refused("GET / HTTP/1.1\r\nHost: x\n\r\n", "400");
    refused("GET / HTTP/1.1\r\nHost: x\r\r\n\r\n", "400");
    refused("GET / HTTP/1.1\rHost: x\r\n\r\n", "400");
    refused("\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", "400");
    refused("GET / HTTP/1.1\n", "400"); /* at once, not at the end of the head */
}

static void
bytes_that_are_not_text_are_refused(void **state)
{
    char text[] = GET_X "A: bcd\r\n\r\n";
    char *at = strstr(text, "bcd") + 1;

    (void)state;
    for (unsigned c = 0; c < 256; c++) {
        bool done, good = c == '\t' || (c >= 0x20 && c <= 0x7e);

        *at = (char)c;
        assert_int_equal(parse_bytes(text, sizeof text - 1, &done), good ? 0 : -1);
    }
}

static void
targets_are_plain_paths(void **state)
{
    static const char *const bad[] = { "*",     "http://x/", "/a%2fb", "/a b", "/a#b",
                                       "/a\\b", "/a/../b",   "/./a",   "/a/.", "//a",
                                       "/a//b", "/..",       "/a?b{}", "",     "a",
                                       "/a\"b", "/a;b" };
    char text[256];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", bad[i]);
        refused(text, "400");
    }
    taken("GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n");
    taken("GET /v1/vms/ HTTP/1.1\r\nHost: x\r\n\r\n");
}

static void
other_methods_and_versions_are_refused(void **state)
{
    (void)state;
    refused("CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n", "501");
    refused("get / HTTP/1.1\r\nHost: x\r\n\r\n", "501");
    refused("G\"T / HTTP/1.1\r\nHost: x\r\n\r\n", "400");
    refused("GET / HTTP/1.0\r\nHost: x\r\n\r\n", "505");
    refused("GET / HTTP/2.0\r\nHost: x\r\n\r\n", "505");
    refused("GET / HTTP/1.1 \r\nHost: x\r\n\r\n", "400");
    refused("GET  / HTTP/1.1\r\nHost: x\r\n\r\n", "400");
    refused("GET /\r\nHost: x\r\n\r\n", "400");
    refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505");
}

static void
heads_are_bounded(void **state)
{
    static char text[HTTP_HEAD_MAX + 64];
    bool done;
    int at;

    (void)state;
    at = snprintf(text, sizeof text, GET_X);
    for (int i = 0; i < HTTP_HEADERS_MAX - 1; i++)
        at += snprintf(text + at, sizeof text - (size_t)at, "H%d: v\r\n", i);
    snprintf(text + at, sizeof text - (size_t)at, "\r\n");
    taken(text);
    snprintf(text + at, sizeof text - (size_t)at, "One: more\r\n\r\n");
    refused(text, "431");

    memset(text, 'a', sizeof text);
    memcpy(text, GET_X, strlen(GET_X));
    assert_int_equal(parse_bytes(text, HTTP_HEAD_MAX - 1, &done), 0);
    refused_bytes(text, HTTP_HEAD_MAX, "431");

    at = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: x\r\nA: %01100d\r\n\r\n",
                  1);
    refused(text, "431");
    at = snprintf(text, sizeof text, "GET /%0600d HTTP/1.1\r\nHost: x\r\n\r\n", 1);
    refused(text, "431");
    (void)at;
}

static void
retry_after_is_seconds_and_bounded(void **state)
{
    (void)state;
    assert_int_equal(http_retry_after(NULL), 0);
    assert_int_equal(http_retry_after(""), 0);
    assert_int_equal(http_retry_after("7"), 7);
    assert_int_equal(http_retry_after("-7"), 0);
    assert_int_equal(http_retry_after("7 s"), 0);
    assert_int_equal(http_retry_after("Fri, 27 Nov 2026 07:00:00 GMT"), 0);
    assert_int_equal(http_retry_after("301"), HTTP_RETRY_MAX);
    assert_int_equal(http_retry_after("99999999999999999999999999"), HTTP_RETRY_MAX);
}

static void
who_is_asked_to_wait_waits_no_less_and_not_all_alike(void **state)
{
    (void)state;
    assert_int_equal(http_retry_spread(20000, 0), 20000);
    assert_int_equal(http_retry_spread(20000, 500), 22500);
    assert_int_equal(http_retry_spread(20000, 1000), 25000);
    assert_int_equal(http_retry_spread(20000, 1001), 20000);
    assert_int_equal(http_retry_spread(0, 1000), 0);
    assert_in_range(http_retry_spread(HTTP_RETRY_MAX * INT64_C(1000), UINT32_MAX), 300000, 375000);
}

static void
query_values_are_decoded_once(void **state)
{
    char value[32];

    (void)state;
    taken("GET /?audience=https%3A%2F%2Fdb&twice=%2541&n=%00&cut=%4&two=1&two=2&long="
          "0123456789012345678901234567890123456789 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(http_query(&m, "audience", value, sizeof value - 1, &err), 0);
    assert_string_equal(value, "https://db");
    assert_int_equal(http_query(&m, "twice", value, sizeof value - 1, &err), 0);
    assert_string_equal(value, "%41");
    assert_int_equal(http_query(&m, "n", value, sizeof value - 1, &err), -1);
    assert_int_equal(err.code, ERROR_INPUT);
    assert_int_equal(http_query(&m, "cut", value, sizeof value - 1, &err), -1);
    assert_int_equal(http_query(&m, "two", value, sizeof value - 1, &err), -1);
    assert_int_equal(http_query(&m, "long", value, sizeof value - 1, &err), -1);
    assert_int_equal(http_query(&m, "audienc", value, sizeof value - 1, &err), -1);
    assert_int_equal(err.code, ERROR_MISSING);
}

static void
what_we_print_we_read(void **state)
{
    CLEANUP(buf_clear) struct buf request = BUF(1024), response = BUF(1024);
    bool done;

    (void)state;
    http_print_request(&request, "POST", "/v1/token", "id.example", "X-A: 1\r\n", "{}",
                       2);
    taken(buf_text(&request));
    assert_string_equal(http_header(&m, "host"), "id.example");
    assert_string_equal(http_header(&m, "x-a"), "1");
    http_print_response(&response, 200, NULL, "ETag: \"a\"\r\n", false, "{}", 2);
    assert_int_equal(
        http_parse(response.data, response.len, false, HTTP_BODY_MAX, &m, &done, &err),
        0);
    assert_true(done);
    assert_int_equal(m.status, 200);
    assert_false(m.keep_alive);
    assert_string_equal(http_header(&m, "content-type"), "application/json");
    assert_string_equal(http_header(&m, "cache-control"), "no-store");
    assert_int_equal(m.body_len, 2);
}

static void
answers_are_read_as_strictly(void **state)
{
    static const char *const bad[] = {
        "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
    };
    bool done;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(
            http_parse(bad[i], strlen(bad[i]), false, HTTP_BODY_MAX, &m, &done, &err),
            -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_read_as_it_was_written),
        cmocka_unit_test(a_message_cut_anywhere_waits_for_more),
        cmocka_unit_test(what_comes_behind_is_not_looked_at),
        cmocka_unit_test(content_length_has_one_spelling),
        cmocka_unit_test(a_body_above_the_limit_is_refused_by_its_head),
        cmocka_unit_test(transfer_encoding_is_refused),
        cmocka_unit_test(a_request_names_its_host_once),
        cmocka_unit_test(header_lines_have_one_shape),
        cmocka_unit_test(lines_end_with_cr_lf_alone),
        cmocka_unit_test(bytes_that_are_not_text_are_refused),
        cmocka_unit_test(targets_are_plain_paths),
        cmocka_unit_test(other_methods_and_versions_are_refused),
        cmocka_unit_test(heads_are_bounded),
        cmocka_unit_test(retry_after_is_seconds_and_bounded),
        cmocka_unit_test(who_is_asked_to_wait_waits_no_less_and_not_all_alike),
        cmocka_unit_test(query_values_are_decoded_once),
        cmocka_unit_test(what_we_print_we_read),
        cmocka_unit_test(answers_are_read_as_strictly),
    };

    return cmocka_run_group_tests_name("http_message", tests, NULL, NULL);
}
