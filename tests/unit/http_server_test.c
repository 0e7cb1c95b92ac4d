/*
 * The server as a stranger meets it: real sockets, real TLS, wrong bytes.
 */
#include "config.h"

#include "lib/http/http_server.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "tests/unit/http_fixture.h"

static struct fixture *the;

static int
start(void **state)
{
    (void)state;
    the = fixture_start();
    return 0;
}

static int
stop(void **state)
{
    (void)state;
    fixture_stop(the);
    return 0;
}

/* Send `text` in plain over the Unix socket; everything up to the end of file comes
 * back. */
static size_t
talk(const char *text, char *ret, size_t room)
{
    int fd = fixture_connect_unix(the);
    size_t n;

    fixture_send(fd, text);
    shutdown(fd, SHUT_WR);
    n = fixture_read_end(fd, ret, room);
    close(fd);
    return n;
}

static void
assert_status(const char *answer, int status)
{
    char start[32];

    snprintf(start, sizeof start, "HTTP/1.1 %d ", status);
    assert_int_equal(strncmp(answer, start, strlen(start)), 0);
}

static void
assert_refused(const char *request, int status)
{
    char answer[8192];
    unsigned served = fixture_served(the);

    talk(request, answer, sizeof answer);
    assert_status(answer, status);
    assert_non_null(strstr(answer, "Connection: close\r\n"));
    assert_int_equal(fixture_served(the), served); /* no handler saw it */
}

static void
a_request_is_answered(void **state)
{
    char answer[8192];

    (void)state;
    talk("POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: "
         "close\r\n\r\nhello",
         answer, sizeof answer);
    assert_status(answer, 200);
    assert_non_null(strstr(answer, "\r\n\r\nPOST /v1/echo hello"));
    assert_non_null(strstr(answer, "Cache-Control: no-store\r\n"));
}

static void
what_two_programs_could_read_in_two_ways_is_refused(void **state)
{
    (void)state;
    assert_refused("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: "
                   "4\r\n\r\nabcd",
                   400);
    assert_refused("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +4\r\n\r\nabcd", 400);
    assert_refused(
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        501);
    assert_refused("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
                   "Transfer-Encoding: gzip, chunked\r\n\r\nabcd",
                   400);
    assert_refused("GET / HTTP/1.1\r\n\r\n", 400);
    assert_refused("GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400);
    assert_refused("GET / HTTP/1.1\nHost: x\n\n", 400);
    assert_refused("GET / HTTP/1.0\r\nHost: x\r\n\r\n", 505);
    assert_refused("BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 501);
}

static void
a_body_above_the_limit_is_refused_unread(void **state)
{
    (void)state;
    assert_refused("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 16385\r\n\r\n", 413);
}

static void
two_requests_in_one_packet_are_answered_one_after_the_other(void **state)
{
    static const char both[] =
        "GET /first HTTP/1.1\r\nHost: x\r\n\r\n"
        "GET /second HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    char answer[8192];
    const char *first, *second;

    (void)state;
    talk(both, answer, sizeof answer);
    first = strstr(answer, "GET /first");
    second = strstr(answer, "GET /second");
    assert_true(first && second && first < second);
}

static void
a_request_may_come_byte_by_byte(void **state)
{
    static const char text[] =
        "GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    char answer[8192];
    int fd = fixture_connect_unix(the);

    (void)state;
    for (size_t i = 0; i < sizeof text - 1; i++)
        fixture_send(fd, (const char[]){ text[i], '\0' });
    fixture_read_end(fd, answer, sizeof answer);
    close(fd);
    assert_status(answer, 200);
}

/* Waits for the server to close; how long it took. */
static int64_t
time_until_closed(int fd, char *ret, size_t room)
{
    int64_t begin = clock_monotonic_ms();

    fixture_read_end(fd, ret, room);
    return clock_monotonic_ms() - begin;
}

static void
a_head_that_does_not_end_is_cut_off_at_its_deadline(void **state)
{
    char answer[8192];
    int fd = fixture_connect_unix(the);
    int64_t took;

    (void)state;
    fixture_send(fd, "GET / HTTP/1.1\r\n");
    took = time_until_closed(fd, answer, sizeof answer);
    close(fd);
    assert_true(took >= FIXTURE_DEADLINE_MS - 20 && took < 10 * FIXTURE_DEADLINE_MS);
    assert_status(answer, 408);
}

static void
a_body_that_does_not_come_is_cut_off_at_its_deadline(void **state)
{
    static const char head[] =
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel";
    char answer[8192];
    int fd = fixture_connect_unix(the);
    int64_t took;

    (void)state;
    fixture_send(fd, head);
    took = time_until_closed(fd, answer, sizeof answer);
    close(fd);
    assert_true(took >= FIXTURE_DEADLINE_MS - 20 && took < 10 * FIXTURE_DEADLINE_MS);
    assert_status(answer, 408);
}

static void
a_silent_connection_is_closed(void **state)
{
    char answer[64];
    int fd = fixture_connect_unix(the);

    (void)state;
    assert_true(time_until_closed(fd, answer, sizeof answer) <
                10 * FIXTURE_DEADLINE_MS);
    assert_int_equal(answer[0], '\0');
    close(fd);
}

static void
a_handshake_that_does_not_begin_is_cut_off(void **state)
{
    char answer[64];
    int fd = fixture_connect_tcp(the);
    int64_t took = time_until_closed(fd, answer, sizeof answer);

    (void)state;
    close(fd);
    assert_true(took >= FIXTURE_DEADLINE_MS - 20 && took < 10 * FIXTURE_DEADLINE_MS);
}

static void
plain_http_on_the_tls_port_gets_no_answer(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    char answer[8192];
    int fd = fixture_connect_tcp(the);

    (void)state;
    fixture_send(fd, text);
    fixture_read_end(fd, answer, sizeof answer);
    close(fd);
    assert_null(strstr(answer, "HTTP/1.1"));
}

static void
a_client_that_ends_its_half_still_gets_the_answer(void **state)
{
    char answer[8192];

    (void)state;
    talk("GET /half HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof answer);
    assert_status(answer, 200);
}

static void
more_work_than_the_queue_holds_is_shed_with_503(void **state)
{
    enum { CLIENTS = 300 };
    static const char text[] =
        "GET /q HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    static int fds[CLIENTS];
    char answer[8192];
    unsigned shed = 0, done = 0;

    (void)state;
    fixture_hold(the, true);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = fixture_connect_unix(the);
        fixture_send(fds[i], text);
    }
    /* The first shed answer shows that the queue was full; only then is the worker let
     * go. */
    fixture_wait_any(fds, CLIENTS);
    fixture_hold(the, false);
    for (int i = 0; i < CLIENTS; i++) {
        fixture_read_end(fds[i], answer, sizeof answer);
        close(fds[i]);
        shed += strncmp(answer, "HTTP/1.1 503 ", 13) == 0 &&
                strstr(answer, "Retry-After: 1");
        done += strncmp(answer, "HTTP/1.1 200 ", 13) == 0;
    }
    assert_true(shed > 0);
    assert_int_equal(shed + done, CLIENTS);
}

/* Hosts renew their leases whatever strangers send. */
static void
urgent_work_is_not_shed_in_a_flood(void **state)
{
    enum { CLIENTS = 300 };
    static int fds[CLIENTS];
    char answer[8192];
    int urgent = fixture_connect_small(the);

    (void)state;
    fixture_hold(the, true);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = fixture_connect_unix(the);
        fixture_send(fds[i], "GET /q HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    }
    fixture_wait_any(fds, CLIENTS);
    fixture_send(urgent, "GET /u HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    usleep(50000); /* it arrives while the queue is full */
    fixture_hold(the, false);
    fixture_read_until(urgent, "GET /u ");
    close(urgent);
    for (int i = 0; i < CLIENTS; i++) {
        fixture_read_end(fds[i], answer, sizeof answer);
        close(fds[i]);
    }
}

/* One request on a connection that stays open. */
static int
idle_connection(void)
{
    int fd = fixture_connect_small(the);

    fixture_send(fd, "GET /i HTTP/1.1\r\nHost: x\r\n\r\n");
    fixture_read_until(fd, "GET /i ");
    return fd;
}

static void
the_connection_idle_longest_gives_way_to_a_new_one(void **state)
{
    char answer[256];
    int oldest = idle_connection(), other = idle_connection(),
        latest = idle_connection();

    (void)state;
    fixture_read_end(oldest, answer, sizeof answer);
    assert_string_equal(answer, "");
    fixture_send(other, "GET /i HTTP/1.1\r\nHost: x\r\n\r\n");
    fixture_read_until(other, "GET /i ");
    close(oldest);
    close(other);
    close(latest);
}

static void
no_connection_with_a_request_gives_way(void **state)
{
    char answer[256];
    int busy[FIXTURE_SMALL], late;

    (void)state;
    for (int i = 0; i < FIXTURE_SMALL; i++) {
        busy[i] = fixture_connect_small(the);
        fixture_send(busy[i], "GET /i HTTP/1.1\r\nHo");
    }
    late = fixture_connect_small(the);
    fixture_read_end(late, answer, sizeof answer);
    assert_string_equal(answer, "");
    for (int i = 0; i < FIXTURE_SMALL; i++) {
        fixture_send(busy[i], "st: x\r\n\r\n");
        fixture_read_until(busy[i], "GET /i ");
        close(busy[i]);
    }
    close(late);
}

static void
a_handler_that_sets_no_status_is_a_500(void **state)
{
    char answer[8192];

    (void)state;
    talk("GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", answer,
         sizeof answer);
    assert_status(answer, 500);
}

/* Closed with a reset, so that the server's next read or write fails. */
static void
cut(int fd)
{
    struct linger at_once = { .l_onoff = 1 };

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
}

static void
connections_cut_at_every_byte_leave_the_server_whole(void **state)
{
    static const char text[] =
        "POST /cut HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    static const char hello[] =
        "\x16\x03\x01\x02\x01\x01\x01\x01\xfc\x03\x03 not a ClientHello";
    char part[sizeof text], answer[8192];

    (void)state;
    for (size_t len = 0; len < sizeof text; len++) {
        int plain = fixture_connect_unix(the), tls = fixture_connect_tcp(the);

        memcpy(part, text, len);
        part[len] = '\0';
        fixture_send(plain, part);
        fixture_send(tls, len % 2 ? part : hello + len % sizeof hello);
        cut(plain);
        cut(tls);
    }
    talk("GET /after HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", answer,
         sizeof answer);
    assert_status(answer, 200);
}

static void
head_is_get_without_its_body(void **state)
{
    char answer[8192];
    size_t n = talk("HEAD /h HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", answer,
                    sizeof answer);

    (void)state;
    assert_status(answer, 200);
    assert_non_null(strstr(answer, "Content-Length: 7\r\n"));
    assert_string_equal(answer + n - 4, "\r\n\r\n");
}

static void
the_peer_of_a_unix_socket_is_known(void **state)
{
    char answer[8192], expected[32];

    (void)state;
    talk("GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", answer,
         sizeof answer);
    snprintf(expected, sizeof expected, "unix %u", (unsigned)getuid());
    assert_non_null(strstr(answer, expected));
}

static void
jobs_run_between_requests(void **state)
{
    (void)state;
    assert_true(fixture_post_and_wait(the));
}

static void
a_parked_request_is_answered_when_its_time_is_over(void **state)
{
    int64_t begin = clock_monotonic_ms();
    char answer[8192];

    (void)state;
    talk("GET /parked-a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", answer, sizeof answer);
    assert_status(answer, 200);
    assert_non_null(strstr(answer, "GET /parked-a"));
    assert_true(clock_monotonic_ms() - begin >= 300);
}

/* Others go on meanwhile; only those of the key are woken. */
static void
a_parked_request_is_answered_when_it_is_woken(void **state)
{
    int parked = fixture_connect_unix(the), other = fixture_connect_unix(the);
    char answer[8192];

    (void)state;
    fixture_send(parked, "GET /parked-long HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    fixture_send(other, "GET /parked-too HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    fixture_wait_parked(the, 2);
    talk("GET /wake HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", answer, sizeof answer);
    assert_status(answer, 200);
    fixture_read_end(parked, answer, sizeof answer);
    assert_status(answer, 200);
    assert_int_equal(fixture_read_ready(other), 0);
    close(parked);
    close(other); /* still parked: its connection ends before its time */
}

static void
a_plain_page_is_given_to_one_address_only(void **state)
{
    static const char *const every[] = { "0.0.0.0:0", "[::]:0", "[::ffff:0.0.0.0]:0", "0:0" };
    struct error why = { 0 };
    int fd = -1;

    (void)state;
    for (size_t i = 0; i < sizeof every / sizeof every[0]; i++) {
        assert_int_equal(http_metrics_listen(every[i], &fd, &why), -1);
        assert_int_equal(fd, -1);
    }
    assert_int_equal(http_metrics_listen("127.0.0.1:0", &fd, &why), 0);
    fd_close(fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_parked_request_is_answered_when_its_time_is_over),
        cmocka_unit_test(a_parked_request_is_answered_when_it_is_woken),
        cmocka_unit_test(a_request_is_answered),
        cmocka_unit_test(a_plain_page_is_given_to_one_address_only),
        cmocka_unit_test(what_two_programs_could_read_in_two_ways_is_refused),
        cmocka_unit_test(a_body_above_the_limit_is_refused_unread),
        cmocka_unit_test(two_requests_in_one_packet_are_answered_one_after_the_other),
        cmocka_unit_test(a_request_may_come_byte_by_byte),
        cmocka_unit_test(a_head_that_does_not_end_is_cut_off_at_its_deadline),
        cmocka_unit_test(a_body_that_does_not_come_is_cut_off_at_its_deadline),
        cmocka_unit_test(a_silent_connection_is_closed),
        cmocka_unit_test(a_handshake_that_does_not_begin_is_cut_off),
        cmocka_unit_test(plain_http_on_the_tls_port_gets_no_answer),
        cmocka_unit_test(a_client_that_ends_its_half_still_gets_the_answer),
        cmocka_unit_test(more_work_than_the_queue_holds_is_shed_with_503),
        cmocka_unit_test(urgent_work_is_not_shed_in_a_flood),
        cmocka_unit_test(the_connection_idle_longest_gives_way_to_a_new_one),
        cmocka_unit_test(no_connection_with_a_request_gives_way),
        cmocka_unit_test(a_handler_that_sets_no_status_is_a_500),
        cmocka_unit_test(connections_cut_at_every_byte_leave_the_server_whole),
        cmocka_unit_test(head_is_get_without_its_body),
        cmocka_unit_test(the_peer_of_a_unix_socket_is_known),
        cmocka_unit_test(jobs_run_between_requests),
    };

    return cmocka_run_group_tests_name("http_server", tests, start, stop);
}
