#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "lib/common/encode.h"

/* RFC 4648, 10 */
static void
base64_gives_the_published_texts(void **state)
{
    static const char *const padded[] = { "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy" };
    char text[16];

    (void)state;
    for (size_t n = 0; n <= 6; n++) {
        b64_encode((const uint8_t *)"foobar", n, text);
        assert_string_equal(text, padded[n]);
        b64url_encode((const uint8_t *)"foobar", n, text);
        assert_int_equal(strlen(text), B64URL_LEN(n));
        assert_memory_equal(text, padded[n], strlen(text));
    }
    b64url_encode((const uint8_t *)"\xfb\xff\xfe", 3, text);
    assert_string_equal(text, "-__-");
}

static void
bytes_come_back(void **state)
{
    uint8_t bytes[256], back[256];
    char text[600];
    struct error err;
    size_t len;

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 151 + 7);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        b64url_encode(bytes, n, text);
        assert_int_equal(b64url_decode(text, strlen(text), back, n, &len, &err), 0);
        assert_int_equal(len, n);
        assert_memory_equal(back, bytes, n);
        hex_encode(bytes, n, text);
        assert_int_equal(hex_decode(text, strlen(text), back, n, &len, &err), 0);
        assert_memory_equal(back, bytes, n);
    }
}

static void
other_spellings_are_refused(void **state)
{
    static const char *const url[] = { "A", "AA=", "AA==", "A A", "AA\n", "A+AA", "A/AA", "AB", "AAB",
                                       "AAAAA", "\xc3\xa4" };
    static const char *const hex[] = { "a", "AA", "0x", "g0", " 0", "0\n" };
    uint8_t bytes[16];
    struct error err;
    size_t len;

    (void)state;
    for (size_t i = 0; i < sizeof url / sizeof url[0]; i++) {
        assert_int_equal(b64url_decode(url[i], strlen(url[i]), bytes, sizeof bytes, &len, &err), -1);
        assert_int_equal(err.code, ERROR_INPUT);
    }
    for (size_t i = 0; i < sizeof hex / sizeof hex[0]; i++)
        assert_int_equal(hex_decode(hex[i], strlen(hex[i]), bytes, sizeof bytes, &len, &err), -1);
}

static void
nothing_is_written_beyond_the_limit(void **state)
{
    uint8_t bytes[2] = { 9, 9 };
    struct error err;
    size_t len;

    (void)state;
    assert_int_equal(b64url_decode("AAAA", 4, bytes, 2, &len, &err), -1);
    assert_int_equal(hex_decode("000000", 6, bytes, 2, &len, &err), -1);
    assert_int_equal(bytes[0], 9);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_gives_the_published_texts),
        cmocka_unit_test(bytes_come_back),
        cmocka_unit_test(other_spellings_are_refused),
        cmocka_unit_test(nothing_is_written_beyond_the_limit),
    };

    return cmocka_run_group_tests_name("encode", tests, NULL, NULL);
}
