#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "lib/wire/vm_uuid.h"

static const char text[] = "6f1b0a3e-58c1-4a0e-9d4e-0a1b2c3d4e5f";

static void
uuid_is_read_and_printed_in_printed_order(void **state)
{
    struct vm_uuid uuid;
    struct error err;
    char back[VM_UUID_TEXT];

    (void)state;
    assert_int_equal(vm_uuid_parse(text, &uuid, &err), 0);
    assert_int_equal(uuid.bytes[0], 0x6f);
    assert_int_equal(uuid.bytes[15], 0x5f);
    vm_uuid_print(&uuid, back);
    assert_string_equal(back, text);
    assert_true(vm_uuid_equal(&uuid, &uuid));
}

static void
every_other_spelling_is_refused(void **state)
{
    static const char *const bad[] = {
        "", "6F1B0A3E-58C1-4A0E-9D4E-0A1B2C3D4E5F", "6f1b0a3e58c14a0e9d4e0a1b2c3d4e5f",
        "{6f1b0a3e-58c1-4a0e-9d4e-0a1b2c3d4e5f}", "6f1b0a3e-58c1-4a0e-9d4e-0a1b2c3d4e5",
        "6f1b0a3e-58c1-4a0e-9d4e-0a1b2c3d4e5f ", " 6f1b0a3e-58c1-4a0e-9d4e-0a1b2c3d4e5",
        "6f1b0a3e-58c14-a0e-9d4e-0a1b2c3d4e5f", "6f1b0a3e-58c1-4a0e-9d4e-0a1b2c3d4eg0",
        "urn:uuid:6f1b0a3e-58c1-4a0e-9d4e-0a1b2c3d4e5f", "6f1b0a3e-58c1-4a0e-9d4e-0a1b2c3d4e5\n" };
    struct vm_uuid uuid = { { 1 } };
    struct error err;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(vm_uuid_parse(bad[i], &uuid, &err), -1);
        assert_int_equal(err.code, ERROR_INPUT);
    }
    assert_int_equal(uuid.bytes[0], 1); /* untouched */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uuid_is_read_and_printed_in_printed_order),
        cmocka_unit_test(every_other_spelling_is_refused),
    };

    return cmocka_run_group_tests_name("vm_uuid", tests, NULL, NULL);
}
