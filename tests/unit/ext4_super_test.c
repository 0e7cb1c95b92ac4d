#include "config.h"

#include "plugin/inject/ext4_super.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct error err;

static void
put(uint8_t *at, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++, v >>= 8)
        at[i] = (uint8_t)v;
}

/* A clean superblock of 4096 blocks of 1 KiB. */
static void
make_super(uint8_t *s)
{
    memset(s, 0, EXT4_SUPER_LEN);
    put(s + 0x4, 4096, 4);
    put(s + 0x38, 0xef53, 2);
    put(s + 0x3a, 1, 2);
    put(s + 0x60, 0x2c2, 4); /* filetype, extents, 64bit, flex_bg */
    memset(s + 0x68, 0xab, 16);
}

static void
refused_as(const uint8_t *super, const char *problem)
{
    struct ext4_super out;

    assert_int_equal(ext4_super_check(super, &out, &err), -1);
    assert_int_equal(err.code, ERROR_DENIED);
    assert_string_equal(err.problem, problem);
}

static void
clean_filesystem_is_taken(void **state)
{
    uint8_t s[EXT4_SUPER_LEN];
    struct ext4_super out;

    (void)state;
    make_super(s);
    assert_int_equal(ext4_super_check(s, &out, &err), 0);
    assert_int_equal(out.size, 4096 * 1024);
    assert_int_equal(out.uuid[0], 0xab);
}

static void
journal_that_needs_recovery_is_refused(void **state)
{
    uint8_t s[EXT4_SUPER_LEN];

    (void)state;
    make_super(s);
    s[0x60] |= 4;
    refused_as(s, "image-dirty");
}

static void
errors_orphans_and_unclean_ends_are_refused(void **state)
{
    static const uint8_t states[] = { 0, 2, 3, 4, 5 };
    uint8_t s[EXT4_SUPER_LEN];

    (void)state;
    for (size_t i = 0; i < sizeof states; i++) {
        make_super(s);
        s[0x3a] = states[i];
        refused_as(s, "image-dirty");
    }
    make_super(s);
    s[0xe8] = 12;
    refused_as(s, "image-dirty");
}

static void
encryption_verity_and_foreign_journals_are_refused(void **state)
{
    uint8_t s[EXT4_SUPER_LEN];

    (void)state;
    make_super(s);
    put(s + 0x60, 0x102c2, 4);
    refused_as(s, "image-encrypted");
    make_super(s);
    put(s + 0x64, 0x8000, 4);
    refused_as(s, "image-verity");
    make_super(s);
    s[0x60] |= 8;
    refused_as(s, "image-layout");
}

static void
ext3_and_other_magic_are_refused(void **state)
{
    uint8_t s[EXT4_SUPER_LEN];

    (void)state;
    make_super(s);
    put(s + 0x60, 2, 4);
    refused_as(s, "image-layout");
    make_super(s);
    s[0x38] = 0;
    refused_as(s, "image-layout");
}

static void
impossible_sizes_are_refused(void **state)
{
    uint8_t s[EXT4_SUPER_LEN];

    (void)state;
    make_super(s);
    put(s + 0x18, 60, 4);
    refused_as(s, "image-damaged");
    make_super(s);
    put(s + 0x4, 0, 4);
    refused_as(s, "image-damaged");
    make_super(s);
    put(s + 0x150, UINT32_MAX, 4);
    put(s + 0x18, 6, 4);
    refused_as(s, "image-damaged");
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(clean_filesystem_is_taken),
        cmocka_unit_test(journal_that_needs_recovery_is_refused),
        cmocka_unit_test(errors_orphans_and_unclean_ends_are_refused),
        cmocka_unit_test(encryption_verity_and_foreign_journals_are_refused),
        cmocka_unit_test(ext3_and_other_magic_are_refused),
        cmocka_unit_test(impossible_sizes_are_refused),
    };

    return cmocka_run_group_tests_name("ext4_super", t, NULL, NULL);
}
