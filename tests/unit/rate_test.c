#include "config.h"

#include "tokenservice/api/rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct error err;

static struct rates *
new_rates(void)
{
    struct rates *rates = NULL;

    assert_int_equal(rates_new(&rates, &err), 0);
    return rates;
}

static int
take(struct rates *rates, const char *who, int64_t now_ms)
{
    return rate_take(rates, RATE_VM_PROOF, who, strlen(who), now_ms, &err);
}

static int
take_all(struct rates *rates, const char *who, int64_t now_ms)
{
    int n = 0;

    while (take(rates, who, now_ms) == 0)
        n++;
    return n;
}

static void
a_measure_is_used_up_and_comes_back_with_time(void **state)
{
    CLEANUP(rates_free) struct rates *rates = new_rates();

    (void)state;
    assert_int_equal(take_all(rates, "a", 1000), 200);
    assert_int_equal(err.code, ERROR_BUSY);
    assert_string_equal(err.problem, "rate-limited");
    assert_int_equal(err.retry_s, 1);
    assert_int_equal(take(rates, "a", 1999), -1);
    assert_int_equal(take(rates, "a", 2000), 0);
    assert_int_equal(take(rates, "a", 2000), -1);
    /* However long it was silent, a measure and no more. */
    assert_int_equal(take_all(rates, "a", INT64_MAX / 2), 200);
}

static void
each_has_its_own_and_each_kind_another(void **state)
{
    CLEANUP(rates_free) struct rates *rates = new_rates();

    (void)state;
    assert_int_equal(take_all(rates, "a", 1000), 200);
    assert_int_equal(take_all(rates, "b", 1000), 200);
    assert_int_equal(rate_take(rates, RATE_HOST_REQUEST, "a", 1, 1000, &err), 0);
    assert_int_equal(rate_take(rates, RATE_HOST_RECORD, "a", 1, 1000, &err), 0);
}

/* rate.h says these numbers. */
static void
each_kind_has_the_measure_that_it_is_said_to_have(void **state)
{
    static const struct {
        enum rate_kind kind;
        int per_second, at_once;
    } kinds[] = { { RATE_HOST_REQUEST, 50, 500 }, { RATE_HOST_RECORD, 5, 2000 }, { RATE_VM_PROOF, 1, 200 } };
    CLEANUP(rates_free) struct rates *rates = new_rates();

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        int n = 0, then = 0;

        while (rate_take(rates, kinds[i].kind, "a", 1, 1000, &err) == 0)
            n++;
        while (rate_take(rates, kinds[i].kind, "a", 1, 3000, &err) == 0)
            then++;
        assert_int_equal(n, kinds[i].at_once);
        assert_int_equal(then, 2 * kinds[i].per_second);
    }
}

static void
a_clock_that_goes_back_gives_nothing(void **state)
{
    CLEANUP(rates_free) struct rates *rates = new_rates();

    (void)state;
    assert_int_equal(take_all(rates, "a", 1000000), 200);
    assert_int_equal(take(rates, "a", 1000), -1);
    assert_int_equal(take(rates, "a", 1000000 - 5), 0); /* counted from there on */
}

static void
what_is_done_already_is_owed(void **state)
{
    CLEANUP(rates_free) struct rates *rates = new_rates();

    (void)state;
    for (int i = 0; i < 210; i++)
        rate_spend(rates, RATE_VM_PROOF, "a", 1, 1000);
    assert_int_equal(rate_check(rates, RATE_VM_PROOF, "a", 1, 1000, &err), -1);
    assert_int_equal(err.retry_s, 11);
    assert_int_equal(rate_check(rates, RATE_VM_PROOF, "a", 1, 12000, &err), 0);
    assert_int_equal(take(rates, "a", 12000), 0);
    assert_int_equal(take(rates, "a", 12000), -1);
    /* But not for ever. */
    for (int i = 0; i < 10000; i++)
        rate_spend(rates, RATE_VM_PROOF, "b", 1, 1000);
    assert_int_equal(rate_check(rates, RATE_VM_PROOF, "b", 1, 1000 + 201 * 1000, &err),
                     0);
}

/* Many come, one stays: its measure is not given back by their coming. */
static void
a_crowd_does_not_help_who_asks_all_the_time(void **state)
{
    CLEANUP(rates_free) struct rates *rates = new_rates();
    char who[16];
    int64_t now = 1000;
    int taken = take_all(rates, "a", now);

    (void)state;
    for (int i = 0; i < 20000; i++) {
        snprintf(who, sizeof who, "%d", i);
        (void)take(rates, who, now);
        if (i % 100 == 0 && take(rates, "a", ++now) == 0)
            taken++;
    }
    assert_in_range(taken, 200, 201);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_measure_is_used_up_and_comes_back_with_time),
        cmocka_unit_test(each_has_its_own_and_each_kind_another),
        cmocka_unit_test(each_kind_has_the_measure_that_it_is_said_to_have),
        cmocka_unit_test(a_clock_that_goes_back_gives_nothing),
        cmocka_unit_test(what_is_done_already_is_owed),
        cmocka_unit_test(a_crowd_does_not_help_who_asks_all_the_time),
    };

    return cmocka_run_group_tests_name("rate", tests, NULL, NULL);
}
