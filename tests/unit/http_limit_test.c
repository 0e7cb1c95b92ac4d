#include "config.h"

#include "lib/http/http_limit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct error err;

static struct sockaddr_in
ipv4(unsigned n)
{
    return (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(n) };
}

static struct http_limit_place *
enter(struct http_limit *limit, unsigned n, int64_t now)
{
    struct sockaddr_in a = ipv4(n);

    return http_limit_enter(limit, (const struct sockaddr *)&a, now);
}

static void
an_address_has_its_share_of_connections(void **state)
{
    CLEANUP(http_limit_free) struct http_limit *limit = NULL;
    struct http_limit_place *first, *second;

    (void)state;
    assert_int_equal(http_limit_new(2, 0, &limit, &err), 0);
    first = enter(limit, 1, 0);
    second = enter(limit, 1, 0);
    assert_true(first && second);
    assert_null(enter(limit, 1, 0));
    assert_non_null(enter(limit, 2, 0));
    http_limit_leave(first);
    assert_non_null(enter(limit, 1, 0));
}

static void
requests_come_back_with_time(void **state)
{
    CLEANUP(http_limit_free) struct http_limit *limit = NULL;
    struct http_limit_place *place;

    (void)state;
    assert_int_equal(http_limit_new(0, 10, &limit, &err), 0);
    place = enter(limit, 1, 1000);
    for (int i = 0; i < 10; i++)
        assert_true(http_limit_request(limit, place, 1000));
    assert_false(http_limit_request(limit, place, 1000));
    assert_true(http_limit_request(limit, place, 1100));
    assert_false(http_limit_request(limit, place, 1100));
    /* A long rest gives one second's worth, no more; a clock that falls back gives
     * nothing. */
    for (int i = 0; i < 10; i++)
        assert_true(http_limit_request(limit, place, 900000));
    assert_false(http_limit_request(limit, place, 900000));
    assert_false(http_limit_request(limit, place, 5));
}

static void
leaving_and_coming_back_forgives_nothing(void **state)
{
    CLEANUP(http_limit_free) struct http_limit *limit = NULL;
    struct http_limit_place *place;

    (void)state;
    assert_int_equal(http_limit_new(0, 1, &limit, &err), 0);
    place = enter(limit, 1, 1000);
    assert_true(http_limit_request(limit, place, 1000));
    http_limit_leave(place);
    place = enter(limit, 1, 1000);
    assert_false(http_limit_request(limit, place, 1000));
}

static void
a_flood_of_addresses_shares_what_is_left(void **state)
{
    enum { FLOOD = 20000 };
    CLEANUP(http_limit_free) struct http_limit *limit = NULL;
    unsigned refused = 0;

    (void)state;
    assert_int_equal(http_limit_new(4, 0, &limit, &err), 0);
    for (unsigned i = 0; i < FLOOD; i++)
        refused += enter(limit, i, 0) == NULL;
    assert_true(refused > FLOOD / 2);
}

static struct http_limit_place *
enter6(struct http_limit *limit, const char *text)
{
    struct sockaddr_in6 a = { .sin6_family = AF_INET6 };

    assert_int_equal(inet_pton(AF_INET6, text, &a.sin6_addr), 1);
    return http_limit_enter(limit, (const struct sockaddr *)&a, 0);
}

static void
ipv6_counts_by_network_and_mapped_ipv4_by_address(void **state)
{
    CLEANUP(http_limit_free) struct http_limit *limit = NULL;

    (void)state;
    assert_int_equal(http_limit_new(1, 0, &limit, &err), 0);
    assert_non_null(enter6(limit, "2001:db8:1:2::1"));
    assert_null(enter6(limit, "2001:db8:1:2:ffff::9"));
    assert_non_null(enter6(limit, "2001:db8:1:3::1"));
    assert_non_null(enter6(limit, "::ffff:192.0.2.1"));
    assert_non_null(enter6(limit, "::ffff:192.0.2.2"));
    assert_null(enter(limit, 0xc0000201, 0));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_has_its_share_of_connections),
        cmocka_unit_test(requests_come_back_with_time),
        cmocka_unit_test(leaving_and_coming_back_forgives_nothing),
        cmocka_unit_test(a_flood_of_addresses_shares_what_is_left),
        cmocka_unit_test(ipv6_counts_by_network_and_mapped_ipv4_by_address),
    };

    return cmocka_run_group_tests_name("http_limit", tests, NULL, NULL);
}
