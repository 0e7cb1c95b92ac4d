#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/wire/fields.h"
#include "lib/wire/frame.h"
#include "tests/unit/doc_example.h"

static void
reader_at(struct frame_reader *r)
{
    frame_reader_clear(r);
}

static const char PAGE[] = "PROTOCOL-channel.md";

static void
feed(struct frame_reader *r, const void *bytes, size_t len)
{
    assert_true(len <= frame_room(r));
    frame_feed(r, bytes, len);
}

static void
every_example_of_the_page_is_read_as_the_page_says(void **state)
{
    static const struct {
        const char *name;
        enum frame_type type;
    } all[] = { { "WHO", FRAME_WHO },   { "HELLO", FRAME_HELLO }, { "READY", FRAME_READY },
                { "SIGN", FRAME_SIGN }, { "SIG", FRAME_SIG },     { "NO", FRAME_NO },
                { "OPEN", FRAME_OPEN }, { "DATA", FRAME_DATA },   { "ACK", FRAME_ACK },
                { "CLOSE", FRAME_CLOSE }, { "STATUS", FRAME_STATUS } };
    CLEANUP(reader) struct frame_reader r = FRAME_READER();

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        CLEANUP(buf_clear) struct buf again = BUF(4096);
        uint8_t bytes[4096];
        size_t len = doc_example(PAGE, all[i].name, bytes, sizeof bytes);
        struct frame f;

        feed(&r, bytes, len);
        assert_true(frame_next(&r, &f));
        assert_int_equal(f.type, all[i].type);
        assert_true(f.session == (f.type == FRAME_WHO ? 0 : 0x0102030405060708u));
        frame_encode(f.type, f.session, f.payload, f.len, &again);
        assert_int_equal(again.len, len);
        assert_memory_equal(again.data, bytes, len);
        assert_false(frame_next(&r, &f));
    }
}

static void
the_hello_of_the_page_says_what_the_page_says(void **state)
{
    uint8_t bytes[4096];
    size_t len = doc_example(PAGE, "HELLO", bytes, sizeof bytes);
    CLEANUP(buf_clear) struct buf again = BUF(4096);
    struct hello *h = calloc(1, sizeof *h);
    struct error err = { 0 };
    char uuid[VM_UUID_TEXT];

    (void)state;
    assert_int_equal(
        hello_decode(bytes + FRAME_HEADER_LEN, len - FRAME_HEADER_LEN, h, &err), 0);
    vm_uuid_print(&h->uuid, uuid);
    assert_string_equal(uuid, "6ba7b810-9dad-11d1-80b4-00c04fd430c8");
    assert_true(h->epoch == 1760000000000u && h->utc_ms == 1760000000123u);
    assert_string_equal(h->issuer, "https://id.example.test");
    assert_int_equal(h->bundle_len, 0);
    assert_int_equal(hello_encode(h, &again, &err), 0);
    assert_memory_equal(again.data, bytes + FRAME_HEADER_LEN, again.len);
    /* Every shorter one, and one byte more, are none. */
    for (size_t n = 0; n < len - FRAME_HEADER_LEN; n++)
        assert_int_equal(hello_decode(bytes + FRAME_HEADER_LEN, n, h, &err), -1);
    assert_int_equal(hello_decode(bytes + FRAME_HEADER_LEN, len - FRAME_HEADER_LEN + 1, h, &err),
                     -1);
    free(h);
}

static void
a_hello_of_another_version_is_refused(void **state)
{
    uint8_t bytes[4096];
    size_t len = doc_example(PAGE, "HELLO", bytes, sizeof bytes);
    struct hello *h = calloc(1, sizeof *h);
    struct error err = { 0 };

    (void)state;
    bytes[FRAME_HEADER_LEN + 2] = 2;
    assert_int_equal(
        hello_decode(bytes + FRAME_HEADER_LEN, len - FRAME_HEADER_LEN, h, &err), -1);
    free(h);
}

/* Everybody adds to this time; what no calendar has would overflow there. */
static void
a_hello_from_beyond_the_year_9999_is_refused(void **state)
{
    static const struct { uint64_t utc_ms; int outcome; } cases[] = {
        { 0, 0 }, { 253402300799999u, 0 }, { 253402300800000u, -1 }, { INT64_MAX, -1 }, { UINT64_MAX, -1 },
    };
    struct hello *h = calloc(1, sizeof *h), *got = calloc(1, sizeof *got);
    struct error err = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP(buf_clear) struct buf payload = BUF(1024);

        *h = (struct hello){ .version = CHANNEL_VERSION, .session = 1, .utc_ms = cases[i].utc_ms,
                             .issuer = "https://id.example.test" };
        assert_int_equal(hello_encode(h, &payload, &err), 0);
        assert_int_equal(hello_decode(payload.data, payload.len, got, &err), cases[i].outcome);
    }
    free(h);
    free(got);
}

static void
frames_arrive_in_any_pieces(void **state)
{
    CLEANUP(reader) struct frame_reader r = FRAME_READER();
    CLEANUP(buf_clear) struct buf all = BUF(65536);
    struct frame f;
    unsigned got = 0;

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        uint8_t payload[300] = { (uint8_t)i };

        frame_encode(FRAME_DATA, 7, payload, i * 10, &all);
    }
    for (size_t at = 0; at < all.len; at += 13) {
        feed(&r, all.data + at, all.len - at < 13 ? all.len - at : 13);
        while (frame_next(&r, &f)) {
            assert_int_equal(f.len, got * 10);
            assert_true(f.len == 0 || f.payload[0] == got);
            got++;
        }
    }
    assert_int_equal(got, 20);
}

static void
after_a_wrong_byte_only_a_greeting_is_heard(void **state)
{
    CLEANUP(reader) struct frame_reader r = FRAME_READER();
    CLEANUP(buf_clear) struct buf all = BUF(65536);
    struct frame f;

    (void)state;
    buf_add_text(&all, "VTD2");
    frame_encode(FRAME_SIGN, 7, "abc", 3, &all);
    frame_encode(FRAME_DATA, 7, "abc", 3, &all);
    frame_encode(FRAME_HELLO, 8, "xyz", 3, &all);
    frame_encode(FRAME_DATA, 8, "abc", 3, &all);
    feed(&r, all.data, all.len);
    assert_true(frame_next(&r, &f));
    assert_int_equal(f.type, FRAME_HELLO);
    assert_memory_equal(f.payload, "xyz", 3);
    assert_true(frame_next(&r, &f));
    assert_int_equal(f.type, FRAME_DATA);
    assert_false(frame_next(&r, &f));
}

static void
a_length_above_the_limit_is_garbage(void **state)
{
    CLEANUP(reader) struct frame_reader r = FRAME_READER();
    CLEANUP(buf_clear) struct buf all = BUF(65536);
    struct frame f;

    (void)state;
    frame_encode(FRAME_DATA, 7, NULL, 0, &all);
    memcpy(all.data + 16, "\0\0\x40\x01", 4);
    frame_encode(FRAME_WHO, 0, NULL, 0, &all);
    feed(&r, all.data, all.len);
    assert_true(frame_next(&r, &f));
    assert_int_equal(f.type, FRAME_WHO);
}

static void
an_unknown_type_is_passed_over(void **state)
{
    CLEANUP(reader) struct frame_reader r = FRAME_READER();
    CLEANUP(buf_clear) struct buf all = BUF(65536);
    struct frame f;

    (void)state;
    frame_encode((enum frame_type)99, 7, "abc", 3, &all);
    frame_encode((enum frame_type)0, 7, "abc", 3, &all);
    frame_encode(FRAME_OPEN, 7, NULL, 0, &all);
    feed(&r, all.data, all.len);
    assert_true(frame_next(&r, &f));
    assert_int_equal(f.type, FRAME_OPEN);
}

static void
the_largest_frame_passes_and_a_larger_one_is_not_made(void **state)
{
    CLEANUP(reader) struct frame_reader r = FRAME_READER();
    CLEANUP(buf_clear) struct buf out = BUF(65536);
    static const uint8_t big[FRAME_PAYLOAD_MAX + 1];
    struct frame f;

    (void)state;
    frame_encode(FRAME_DATA, 7, big, FRAME_PAYLOAD_MAX, &out);
    feed(&r, out.data, out.len);
    assert_true(frame_next(&r, &f));
    assert_int_equal(f.len, FRAME_PAYLOAD_MAX);
    frame_encode(FRAME_DATA, 7, big, sizeof big, &out);
    assert_false(buf_ok(&out));
}

static void
there_is_always_room_after_reading_until_nothing_is_left(void **state)
{
    CLEANUP(reader) struct frame_reader r = FRAME_READER();
    uint8_t junk[8192];
    struct frame f;

    (void)state;
    for (int i = 0; i < 200; i++) {
        memset(junk, i % 3 ? 'V' : i, sizeof junk);
        if (i % 5 == 0)
            memcpy(junk + 100, "VTD1\002\0\0\0........\0\0\x40\0", 20);
        assert_true(frame_room(&r) >= FRAME_PAYLOAD_MAX);
        feed(&r, junk, sizeof junk);
        while (frame_next(&r, &f))
            ;
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_example_of_the_page_is_read_as_the_page_says),
        cmocka_unit_test(the_hello_of_the_page_says_what_the_page_says),
        cmocka_unit_test(a_hello_of_another_version_is_refused),
        cmocka_unit_test(a_hello_from_beyond_the_year_9999_is_refused),
        cmocka_unit_test(frames_arrive_in_any_pieces),
        cmocka_unit_test(after_a_wrong_byte_only_a_greeting_is_heard),
        cmocka_unit_test(a_length_above_the_limit_is_garbage),
        cmocka_unit_test(an_unknown_type_is_passed_over),
        cmocka_unit_test(the_largest_frame_passes_and_a_larger_one_is_not_made),
        cmocka_unit_test(there_is_always_room_after_reading_until_nothing_is_left),
    };

    return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
