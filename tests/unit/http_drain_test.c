/*
 * A server that ends answers first: whoever is connected, what is under way, and no longer than its bound.
 */
#include "config.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "tests/unit/http_fixture.h"

enum { READ_MS = 30000 };

static void
assert_last_answer(int fd)
{
    char answer[8192];

    fixture_read_end(fd, answer, sizeof answer);
    assert_int_equal(strncmp(answer, "HTTP/1.1 200 ", 13), 0);
    assert_non_null(strstr(answer, "Connection: close\r\n"));
    close(fd);
}

static void
who_is_connected_has_his_answer_before_the_server_ends(void **state)
{
    struct fixture *f = fixture_start();
    int idle = fixture_connect_unix(f), half = fixture_connect_unix(f), parked = fixture_connect_unix(f),
        silent = fixture_connect_unix(f), fresh = fixture_connect_unix(f), refused = -1;
    int64_t begin = clock_monotonic_ms();
    struct error err;

    (void)state;
    fixture_send(idle, "GET /first HTTP/1.1\r\nHost: x\r\n\r\n");
    fixture_read_until(idle, "GET /first ");
    fixture_send(silent, "GET /first HTTP/1.1\r\nHost: x\r\n\r\n");
    fixture_read_until(silent, "GET /first ");
    fixture_send(half, "GET /half HTTP/1.1\r\n");
    fixture_send(parked, "GET /parked-long HTTP/1.1\r\nHost: x\r\n\r\n");
    fixture_wait_parked(f, 1);
    fixture_drain(f, READ_MS);
    assert_last_answer(parked); /* at once: so it drains */
    assert_int_equal(unix_connect(fixture_unix_path(f), SOCK_STREAM, &refused, &err), -1);
    fixture_send(idle, "GET /crossing HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_last_answer(idle);
    fixture_send(half, "Host: x\r\n\r\n");
    assert_last_answer(half);
    fixture_send(fresh, "GET /fresh HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_last_answer(fresh);
    fixture_wait_drained(f); /* the silent one keeps it no longer than a moment */
    assert_true(clock_monotonic_ms() - begin < 5000);
    close(silent);
    fixture_stop(f);
}

static void
an_answer_that_takes_too_long_keeps_the_server_no_longer_than_its_bound(void **state)
{
    struct fixture *f = fixture_start();
    int fd = fixture_connect_unix(f);
    int64_t begin = clock_monotonic_ms();

    (void)state;
    fixture_hold(f, true);
    fixture_send(fd, "GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
    while (fixture_served(f) == 0)
        sched_yield();
    fixture_drain(f, 300);
    fixture_wait_drained(f);
    assert_true(clock_monotonic_ms() - begin >= 300);
    fixture_hold(f, false);
    fixture_stop(f);
    close(fd);
}

/* Its next request was still welcome when the answer began, and the peer has not read that yet. */
static void
an_answer_under_way_keeps_the_server_no_longer_than_it_takes(void **state)
{
    enum { BODY = 8000, ANSWERS = 200 };
    static char request[BODY + 200], answers[ANSWERS * (BODY + 1000)];
    struct fixture *f = fixture_start();
    int fd = fixture_connect_unix(f), got = 0, expected = 0, each = 0;
    int64_t begin;

    (void)state;
    snprintf(request, sizeof request, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%0*d", BODY, BODY, 0);
    for (unsigned n = 1; got == expected; n++) { /* until one does not fit into what the system keeps for us */
        assert_true(n < ANSWERS);
        fixture_send(fd, request);
        while (fixture_served(f) < n)
            sched_yield();
        expected += each;
        begin = clock_monotonic_ms();
        do {
            sched_yield();
            assert_int_equal(ioctl(fd, FIONREAD, &got), 0);
        } while (n == 1 ? got < BODY : got < expected && clock_monotonic_ms() - begin < 500);
        if (n == 1)
            expected = each = got;
    }
    fixture_drain(f, READ_MS);
    begin = clock_monotonic_ms();
    fixture_read_end(fd, answers, sizeof answers);
    fixture_wait_drained(f);
    assert_true(clock_monotonic_ms() - begin < READ_MS / 3);
    fixture_stop(f);
    close(fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_connected_has_his_answer_before_the_server_ends),
        cmocka_unit_test(an_answer_that_takes_too_long_keeps_the_server_no_longer_than_its_bound),
        cmocka_unit_test(an_answer_under_way_keeps_the_server_no_longer_than_it_takes),
    };

    return cmocka_run_group_tests_name("http_drain", tests, NULL, NULL);
}
