#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "lib/wire/names.h"

#define EACH(list) for (size_t i = 0; i < sizeof(list) / sizeof((list)[0]); i++)

static const char *
repeat(char c, size_t n)
{
    static char text[400];

    memset(text, c, n);
    text[n] = '\0';
    return text;
}

static void
hosts_and_trust_domains_have_one_spelling(void **state)
{
    static const char *const good[] = { "a", "h1", "example.test", "a-b.c", "0", "a..b" };
    static const char *const bad[] = { "", "A", "a_b", ".a", "a.", "-a", "a-", "a b", "a/b", "a:b",
                                       "\xc3\xa4", "a%41", "a\n", "\xd0\xb0" /* Cyrillic a */ };

    (void)state;
    EACH(good) {
        assert_true(name_is_host(good[i]));
        assert_true(name_is_trust_domain(good[i]));
    }
    EACH(bad) {
        assert_false(name_is_host(bad[i]));
        assert_false(name_is_trust_domain(bad[i]));
    }
    assert_true(name_is_host(repeat('a', 63)));
    assert_false(name_is_host(repeat('a', 64)));
    assert_false(name_is_trust_domain(repeat('a', 64)));
}

static void
audiences_are_printable_and_never_bound(void **state)
{
    static const char *const good[] = { "shop", "https://shop.example/a?b=c", "virtid-connect", "POP:x",
                                        "x", "~" };
    static const char *const bad[] = { "", "pop:shop", "pop:", "a b", "a\"b", "a\tb", "a\x7f",
                                       "\xc3\xa4", " a" };

    (void)state;
    EACH(good)
        assert_true(name_is_audience(good[i]));
    EACH(bad)
        assert_false(name_is_audience(bad[i]));
    assert_true(name_is_audience(repeat('a', 255)));
    assert_false(name_is_audience(repeat('a', 256)));
}

static void
issuers_are_https_urls_without_ornaments(void **state)
{
    static const char *const good[] = { "https://id.example", "https://id.example:8443",
                                        "https://127.0.0.1:65535", "https://[::1]:1", "https://[fe80::1]",
                                        "https://id.example/a/b", "https://id.example:1/Td_1~x" };
    static const char *const bad[] = {
        "", "https://", "http://id.example", "HTTPS://id.example", "https://Id.example",
        "https://id.example/", "https://id.example:0", "https://id.example:01",
        "https://id.example:65536", "https://id.example:", "https://id.example?x",
        "https://id.example#x", "https://u@id.example", "https://id.example//a",
        "https://id.example/a/", "https://id.example/../a", "https://id.example/./a",
        "https://id.example/%41", "https://[::1", "https://[]", "https://id.example:1x",
        "https://-id.example", " https://id.example", "https://id.example\n" };

    (void)state;
    EACH(good)
        assert_true(name_is_issuer(good[i]));
    EACH(bad)
        assert_false(name_is_issuer(bad[i]));
}

static void
domains_are_any_text_that_can_be_shown(void **state)
{
    static const char *const good[] = { "web1", "Web 1", "a\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x90\xa7",
                                        "a..b", "-" };
    static const char *const bad[] = { "", "a/b", "a\nb", "\x1b[31m", "\x7f", "\xc2\x80", "\xff",
                                       "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                       "a\xc3", "\xe2\x82", "\x80" };

    (void)state;
    EACH(good)
        assert_true(name_is_domain(good[i]));
    EACH(bad)
        assert_false(name_is_domain(bad[i]));
    assert_true(name_is_domain(repeat('a', 255)));
    assert_false(name_is_domain(repeat('a', 256)));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_and_trust_domains_have_one_spelling),
        cmocka_unit_test(audiences_are_printable_and_never_bound),
        cmocka_unit_test(issuers_are_https_urls_without_ornaments),
        cmocka_unit_test(domains_are_any_text_that_can_be_shown),
    };

    return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
