#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lib/wire/slot.h"
#include "tests/unit/doc_example.h"

static void
both_kinds_come_back_as_they_went(void **state)
{
    static const uint8_t kinds[] = { SLOT_UNIQUE, SLOT_PRIVATE };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct slot s = { .kind = kinds[i] }, back;
        uint8_t bytes[SLOT_MAX];
        struct error err = { 0 };
        size_t len;

        memset(s.uuid.bytes, 0x11, sizeof s.uuid.bytes);
        memset(s.body, 0x22, s.kind == SLOT_UNIQUE ? 64 : 32);
        len = slot_encode(&s, bytes);
        assert_int_equal(len, s.kind == SLOT_UNIQUE ? 81 : 49);
        assert_int_equal(slot_decode(bytes, len, &back, &err), 0);
        assert_memory_equal(&s, &back, sizeof s);
    }
}

static void
the_slot_of_the_page_is_read_as_the_page_says(void **state)
{
    uint8_t bytes[SLOT_MAX];
    size_t len = doc_example("PROTOCOL-proof.md", "SLOT", bytes, sizeof bytes);
    struct error err = { 0 };
    char uuid[VM_UUID_TEXT];
    struct slot s;

    (void)state;
    assert_int_equal(slot_decode(bytes, len, &s, &err), 0);
    assert_int_equal(s.kind, SLOT_PRIVATE);
    vm_uuid_print(&s.uuid, uuid);
    assert_string_equal(uuid, "6ba7b810-9dad-11d1-80b4-00c04fd430c8");
    assert_int_equal(s.body[31], 31);
}

static void
another_kind_or_length_is_refused(void **state)
{
    uint8_t bytes[SLOT_MAX + 1] = { SLOT_UNIQUE };
    struct error err = { 0 };
    struct slot s;

    (void)state;
    for (unsigned kind = 0; kind < 256; kind++) {
        bytes[0] = (uint8_t)kind;
        for (size_t len = 0; len <= sizeof bytes; len++) {
            bool good = (kind == SLOT_UNIQUE && len == 81) || (kind == SLOT_PRIVATE && len == 49);

            assert_int_equal(slot_decode(bytes, len, &s, &err), good ? 0 : -1);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_kinds_come_back_as_they_went),
        cmocka_unit_test(the_slot_of_the_page_is_read_as_the_page_says),
        cmocka_unit_test(another_kind_or_length_is_refused),
    };

    return cmocka_run_group_tests_name("slot", tests, NULL, NULL);
}
