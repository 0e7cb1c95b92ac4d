#include "config.h"

#include "verify/issuer_keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/issuer_fixture.h"

enum { SECOND = 1000, START = 1000000 };

static struct issuer_keys *
fresh(const char *cache_control)
{
    struct issuer_keys *keys = NULL;
    struct error err;

    the_issuer.cache_control = cache_control;
    the_issuer.away = false;
    the_issuer.fetched = 0;
    assert_int_equal(issuer_keys_fetched(the_issuer.url, the_issuer.ca_file, 5000, &keys, &err), 0);
    return keys;
}

/* Keys at this second; how often the issuer was asked until then. */
static int
asked_by(struct issuer_keys *keys, int64_t second, const struct key_set *unknown)
{
    struct key_set *set = NULL;
    struct error err;

    if (issuer_keys_get(keys, START + second * SECOND, unknown, &set, &err) < 0)
        return -1;
    assert_int_equal(jwks_count(key_set_jwks(set)), 1);
    key_set_release(set);
    return the_issuer.fetched;
}

static void
keys_are_kept_for_max_age_within_bounds(void **state)
{
    static const struct { const char *header; int64_t age; } cases[] = {
        { "public, max-age=300", 300 }, { "max-age=1", ISSUER_KEYS_AGE_MIN_S },
        { "no-store", ISSUER_KEYS_AGE_MIN_S }, { "max-age=86400", ISSUER_KEYS_AGE_MAX_S },
        { "public", ISSUER_KEYS_AGE_DEFAULT_S },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP(issuer_keys_free) struct issuer_keys *keys = fresh(cases[i].header);

        assert_int_equal(asked_by(keys, 0, NULL), 1);
        assert_int_equal(asked_by(keys, cases[i].age - 1, NULL), 1);
        assert_int_equal(asked_by(keys, cases[i].age, NULL), 2);
    }
}

static void
unknown_key_is_looked_for_once_in_thirty_seconds(void **state)
{
    CLEANUP(issuer_keys_free) struct issuer_keys *keys = fresh("max-age=3600");
    CLEANUP(key_set_release) struct key_set *first = NULL;
    struct error err;

    (void)state;
    assert_int_equal(issuer_keys_get(keys, START, NULL, &first, &err), 0);
    assert_int_equal(asked_by(keys, 29, first), 1);
    assert_int_equal(asked_by(keys, 30, first), 2);
    /* the set is another one by now: who still holds the first is simply given the new one */
    assert_int_equal(asked_by(keys, 100, first), 2);
}

static void
keys_held_are_used_while_the_issuer_is_away(void **state)
{
    CLEANUP(issuer_keys_free) struct issuer_keys *keys = fresh("max-age=30");

    (void)state;
    assert_int_equal(asked_by(keys, 0, NULL), 1);
    the_issuer.away = true;
    assert_int_equal(asked_by(keys, 30, NULL), 2);
    assert_int_equal(asked_by(keys, 40, NULL), 2); /* not for each token */
    assert_int_equal(asked_by(keys, 3600, NULL), 3);
    the_issuer.away = false;
    assert_int_equal(asked_by(keys, 3630, NULL), 4);
    assert_int_equal(asked_by(keys, 3650, NULL), 4);
}

/* Whoever holds a withdrawn key and can cut us off from the issuer has an end. */
static void
keys_held_are_not_used_for_ever(void **state)
{
    CLEANUP(issuer_keys_free) struct issuer_keys *keys = fresh("max-age=30");

    (void)state;
    assert_int_equal(asked_by(keys, 0, NULL), 1);
    the_issuer.away = true;
    assert_int_equal(asked_by(keys, 29 + ISSUER_KEYS_STALE_S, NULL), 2);
    assert_int_equal(asked_by(keys, 30 + ISSUER_KEYS_STALE_S, NULL), -1);
    assert_int_equal(asked_by(keys, 100000, NULL), -1);
    the_issuer.away = false;
    assert_int_equal(asked_by(keys, 100030, NULL), 5);
}

static void
without_any_keys_a_try_is_made_once_a_second(void **state)
{
    CLEANUP(issuer_keys_free) struct issuer_keys *keys = fresh("max-age=300");
    struct key_set *set = NULL;
    struct error err;

    (void)state;
    the_issuer.away = true;
    assert_int_equal(asked_by(keys, 0, NULL), -1);
    assert_int_equal(asked_by(keys, 0, NULL), -1);
    assert_int_equal(the_issuer.fetched, 1);
    assert_int_equal(issuer_keys_get(keys, START + 500, NULL, &set, &err), -1);
    assert_int_equal(err.code, ERROR_BUSY);
    assert_non_null(strstr(err.text, "503"));
    the_issuer.away = false;
    assert_int_equal(asked_by(keys, 1, NULL), 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_kept_for_max_age_within_bounds),
        cmocka_unit_test(unknown_key_is_looked_for_once_in_thirty_seconds),
        cmocka_unit_test(keys_held_are_used_while_the_issuer_is_away),
        cmocka_unit_test(keys_held_are_not_used_for_ever),
        cmocka_unit_test(without_any_keys_a_try_is_made_once_a_second),
    };

    return cmocka_run_group_tests_name("issuer_keys", tests, issuer_fixture_set_up,
                                       issuer_fixture_tear_down);
}
