#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "lib/wire/fields.h"

static void
fields_come_back_as_they_went(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF(256);
    struct fields f;
    struct error err;
    uint8_t u8, bytes[3];
    uint32_t u32;
    uint64_t u64;
    char text[11];
    const uint8_t *rest;
    size_t len;

    (void)state;
    fields_add_u8(&b, 0xab);
    fields_add_u32(&b, 0x01020304);
    fields_add_u64(&b, 0x0102030405060708);
    fields_add_text(&b, "hello");
    fields_add(&b, "\0\1\2", 3);
    fields_add(&b, NULL, 0);
    assert_true(buf_ok(&b));
    assert_memory_equal(b.data, "\0\1\xab\0\4\1\2\3\4", 9);
    f = (struct fields){ b.data, b.len };
    assert_int_equal(fields_take_u8(&f, &u8, &err), 0);
    assert_int_equal(fields_take_u32(&f, &u32, &err), 0);
    assert_int_equal(fields_take_u64(&f, &u64, &err), 0);
    assert_int_equal(fields_take_text(&f, 1, 10, text, &err), 0);
    assert_int_equal(fields_take_exact(&f, bytes, 3, &err), 0);
    assert_int_equal(fields_end(&f, &err), -1);
    assert_int_equal(fields_take(&f, 0, 0, &rest, &len, &err), 0);
    assert_int_equal(fields_end(&f, &err), 0);
    assert_int_equal(u8, 0xab);
    assert_int_equal(u32, 0x01020304);
    assert_true(u64 == 0x0102030405060708);
    assert_string_equal(text, "hello");
    assert_memory_equal(bytes, "\0\1\2", 3);
}

static void
cut_fields_are_refused_and_nothing_is_read_beyond(void **state)
{
    static const uint8_t whole[] = { 0, 3, 'a', 'b', 'c' };
    struct error err;
    const uint8_t *bytes;
    size_t len;

    (void)state;
    for (size_t n = 0; n < sizeof whole; n++) {
        struct fields f = { whole, n };

        assert_int_equal(fields_take(&f, 0, FIELD_MAX, &bytes, &len, &err), -1);
        assert_int_equal(err.code, ERROR_INPUT);
        assert_ptr_equal(f.at, whole);
        assert_int_equal(f.left, n);
    }
}

static void
fields_of_another_length_are_refused(void **state)
{
    static const uint8_t whole[] = { 0, 3, 'a', 'b', 'c' };
    struct fields f = { whole, sizeof whole };
    struct error err;
    uint64_t u64;
    uint32_t u32;
    uint8_t u8;
    char text[8];

    (void)state;
    assert_int_equal(fields_take_u8(&f, &u8, &err), -1);
    assert_int_equal(fields_take_u32(&f, &u32, &err), -1);
    assert_int_equal(fields_take_u64(&f, &u64, &err), -1);
    assert_int_equal(fields_take_exact(&f, text, 2, &err), -1);
    assert_int_equal(fields_take_exact(&f, text, 4, &err), -1);
    assert_int_equal(fields_take_text(&f, 4, 7, text, &err), -1);
    assert_int_equal(fields_take_text(&f, 1, 2, text, &err), -1);
    assert_int_equal(fields_take_text(&f, 3, 3, text, &err), 0);
}

static void
texts_with_other_bytes_are_refused(void **state)
{
    struct error err;
    char text[8];

    (void)state;
    for (int c = 0; c < 256; c++) {
        uint8_t bytes[] = { 0, 1, (uint8_t)c };
        struct fields f = { bytes, sizeof bytes };

        assert_int_equal(fields_take_text(&f, 1, 7, text, &err),
                         c >= 0x20 && c <= 0x7e ? 0 : -1);
    }
}

static void
field_that_is_too_long_fails_the_buffer(void **state)
{
    static uint8_t much[FIELD_MAX + 1];
    CLEANUP(buf_clear) struct buf b = BUF(1 << 20);

    (void)state;
    fields_add(&b, much, FIELD_MAX);
    assert_true(buf_ok(&b));
    fields_add(&b, much, FIELD_MAX + 1);
    assert_false(buf_ok(&b));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_come_back_as_they_went),
        cmocka_unit_test(cut_fields_are_refused_and_nothing_is_read_beyond),
        cmocka_unit_test(fields_of_another_length_are_refused),
        cmocka_unit_test(texts_with_other_bytes_are_refused),
        cmocka_unit_test(field_that_is_too_long_fails_the_buffer),
    };

    return cmocka_run_group_tests_name("fields", tests, NULL, NULL);
}
