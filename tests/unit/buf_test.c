#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "lib/common/buf.h"

static void
integers_are_big_endian(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF(64);

    (void)state;
    buf_add_u8(&b, 1);
    buf_add_u16(&b, 0x0203);
    buf_add_u32(&b, 0x04050607);
    buf_add_u64(&b, 0x08090a0b0c0d0e0f);
    assert_int_equal(b.len, 15);
    for (size_t i = 0; i < 15; i++)
        assert_int_equal(b.data[i], i + 1);
}

static void
content_never_passes_the_limit(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF(4);

    (void)state;
    buf_add(&b, "1234", 4);
    assert_true(buf_ok(&b));
    buf_add(&b, "", 0);
    assert_true(buf_ok(&b));
    buf_add_u8(&b, '5');
    assert_false(buf_ok(&b));
    assert_int_equal(b.len, 4);
    buf_add(&b, "", 0); /* and it stays failed */
    assert_false(buf_ok(&b));
    assert_null(buf_text(&b));
    buf_clear(&b);
    assert_true(buf_ok(&b));
}

static void
lengths_that_wrap_around_are_refused(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF(64);

    (void)state;
    buf_add(&b, "abc", 3);
    assert_null(buf_room(&b, SIZE_MAX));
    assert_false(buf_ok(&b));
}

static void
text_ends_and_front_can_be_dropped(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF(4096);

    (void)state;
    buf_printf(&b, "%s-%d", "abc", 42);
    assert_string_equal(buf_text(&b), "abc-42");
    buf_drop(&b, 4);
    assert_string_equal(buf_text(&b), "42");
    buf_drop(&b, 2);
    assert_int_equal(b.len, 0);
    for (int i = 0; i < 1000; i++)
        buf_add_text(&b, "word");
    assert_int_equal(b.len, 4000);
    assert_memory_equal(b.data + 3996, "word", 4);
}

static void
room_that_is_given_can_be_filled(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF(300);
    uint8_t *to = buf_room(&b, 300);

    (void)state;
    assert_non_null(to);
    memset(to, 'x', 300);
    buf_grew(&b, 300);
    assert_int_equal(strlen(buf_text(&b)), 300);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_big_endian),
        cmocka_unit_test(content_never_passes_the_limit),
        cmocka_unit_test(lengths_that_wrap_around_are_refused),
        cmocka_unit_test(text_ends_and_front_can_be_dropped),
        cmocka_unit_test(room_that_is_given_can_be_filled),
    };

    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
