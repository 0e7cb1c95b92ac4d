#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "lib/common/error.h"
#include "lib/common/error_map.h"

static void
chain_reads_from_outside_in(void **state)
{
    struct error err;

    (void)state;
    assert_int_equal(error_sys(&err, ECONNREFUSED, "connect"), -1);
    assert_int_equal(err.code, ERROR_SYSTEM);
    assert_int_equal(error_wrap(&err, "https://%s", "id.example"), -1);
    error_wrap(&err, "vm %s may not start", "web1");
    assert_string_equal(err.text,
                        "vm web1 may not start: https://id.example: connect: Connection refused");
    assert_int_equal(err.code, ERROR_SYSTEM);
}

static void
problem_stays_when_words_are_put_before_it(void **state)
{
    struct error err;

    (void)state;
    error_problem(&err, ERROR_DENIED, "foreign", "held by %s", "h2");
    error_wrap(&err, "lease");
    assert_string_equal(err.problem, "foreign");
    assert_string_equal(err.text, "lease: held by h2");
    error_set(&err, ERROR_BUSY, "later");
    assert_string_equal(err.problem, "");
}

static void
text_that_is_too_long_ends_in_dots(void **state)
{
    struct error err;
    char much[1000];

    (void)state;
    memset(much, 'x', sizeof much - 1);
    much[sizeof much - 1] = '\0';
    error_set(&err, ERROR_INPUT, "%s", much);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_string_equal(err.text + sizeof err.text - 4, "...");
    error_wrap(&err, "before");
    assert_memory_equal(err.text, "before: xxx", 11);
    assert_string_equal(err.text + sizeof err.text - 4, "...");
}

static void
every_code_has_its_status_and_comes_back(void **state)
{
    static const enum error_code codes[] = { ERROR_INPUT, ERROR_DENIED, ERROR_MISSING, ERROR_BUSY,
                                             ERROR_SYSTEM };

    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        assert_int_equal(error_from_http(error_http_status(codes[i])), codes[i]);
        assert_int_equal(error_may_retry(codes[i]),
                         codes[i] == ERROR_BUSY || codes[i] == ERROR_SYSTEM);
    }
    assert_int_equal(error_from_http(409), ERROR_DENIED);
    assert_int_equal(error_from_http(429), ERROR_BUSY);
    assert_int_equal(error_from_http(418), ERROR_INPUT);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chain_reads_from_outside_in),
        cmocka_unit_test(problem_stays_when_words_are_put_before_it),
        cmocka_unit_test(text_that_is_too_long_ends_in_dots),
        cmocka_unit_test(every_code_has_its_status_and_comes_back),
    };

    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
