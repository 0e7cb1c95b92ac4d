#include "config.h"

#include "plugin/inject/disk_layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/common/cleanup.h"

enum { DISK = 8 << 20, MIB = 1 << 20, LOG_AT = 64 * 4096, LOG_SECTORS = 2048 };

static struct error err;
static uint8_t *disk;

static int
set_up(void **state)
{
    (void)state;
    disk = calloc(1, DISK);
    return disk ? 0 : -1;
}

static int
tear_down(void **state)
{
    (void)state;
    free(disk);
    return 0;
}

static void
put(uint8_t *at, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++, v >>= 8)
        at[i] = (uint8_t)v;
}

static void
put_be(uint8_t *at, uint64_t v, size_t n)
{
    while (n-- > 0) {
        at[n] = (uint8_t)v;
        v >>= 8;
    }
}

static int
read_memory(void *self, uint64_t at, void *ret, size_t len, struct error *e)
{
    if (at > DISK || len > DISK - at)
        return error_set(e, ERROR_SYSTEM, "read outside of the disk");
    memcpy(ret, (uint8_t *)self + at, len);
    return 0;
}

static int
find(struct disk_layout *ret)
{
    struct disk_reader reader = { read_memory, disk, DISK };

    return disk_layout_find(&reader, ret, &err);
}

static void
finds_nothing(const char *problem)
{
    struct disk_layout l;

    assert_int_equal(find(&l), -1);
    assert_string_equal(err.problem, problem);
}

static void
finds(enum volume_kind kind)
{
    struct disk_layout l;

    assert_int_equal(find(&l), 0);
    assert_int_equal(l.n, 1);
    assert_int_equal(l.places[0].volume.kind, kind);
    assert_int_equal(l.places[0].volume.id[0], 0xab);
}

/* A clean ext4 of 4 MiB. */
static void
make_ext4(uint8_t *at)
{
    uint8_t *s = at + 1024;

    put(s + 0x4, 4096, 4);
    put(s + 0x38, 0xef53, 2);
    put(s + 0x3a, 1, 2);
    put(s + 0x60, 0x2c2, 4); /* filetype, extents, 64bit, flex_bg */
    memset(s + 0x68, 0xab, 16);
}

/* ---- partitions -------------------------------------------------------------- */

static void
mbr(unsigned slot, uint8_t type, uint32_t at, uint32_t sectors)
{
    uint8_t *entry = disk + 446 + (size_t)16 * slot;

    put(disk + 510, 0xaa55, 2);
    entry[4] = type;
    put(entry + 8, at, 4);
    put(entry + 12, sectors, 4);
}

static void
gpt(uint64_t table, uint64_t first, uint64_t last)
{
    mbr(0, 0xee, 1, 0xffffffff);
    memcpy(disk + 512, "EFI PART", 8);
    put(disk + 512 + 72, table, 8);
    put(disk + 512 + 80, 4, 4);
    put(disk + 512 + 84, 128, 4);
    if (table < DISK / 512) {
        memset(disk + table * 512, 0x11, 16);
        put(disk + table * 512 + 32, first, 8);
        put(disk + table * 512 + 40, last, 8);
    }
}

static void
a_gpt_is_read_to_its_last_entry(void **state)
{
    uint8_t *last = disk + 2 * 512 + 9 * 4096;
    struct disk_layout l;

    (void)state;
    gpt(2, 2048, 2048 + 8191);
    put(disk + 512 + 80, 10, 4);
    put(disk + 512 + 84, 4096, 4);
    memcpy(last, disk + 2 * 512, 128);
    memset(disk + 2 * 512, 0, 128);
    make_ext4(disk + MIB);
    assert_int_equal(find(&l), 0);
    assert_int_equal(l.places[0].partition.number, 10);
}

static void
filesystem_is_found_on_the_whole_disk_and_on_a_partition(void **state)
{
    struct disk_layout l;

    (void)state;
    make_ext4(disk);
    finds(VOLUME_EXT4);
    put(disk + 510, 0xaa55, 2);
    finds(VOLUME_EXT4);
    memset(disk, 0, 4096);
    mbr(2, 0x83, 2048, 8192);
    make_ext4(disk + MIB);
    assert_int_equal(find(&l), 0);
    assert_int_equal(l.places[0].partition.number, 3);
    assert_int_equal(l.places[0].partition.at, MIB);
    memset(disk, 0, 4096);
    gpt(2, 2048, 2048 + 8191);
    assert_int_equal(find(&l), 0);
    assert_int_equal(l.places[0].partition.number, 1);
}

static void
logical_partitions_are_numbered_from_five(void **state)
{
    uint8_t *second = disk + 3 * MIB;
    struct disk_layout l;

    (void)state;
    mbr(0, 0x83, 2048, 2048);
    mbr(1, 5, 4096, 10240);
    put(disk + 2 * MIB + 510, 0xaa55, 2);
    disk[2 * MIB + 446 + 4] = 0x82;
    put(disk + 2 * MIB + 446 + 8, 128, 4);
    put(disk + 2 * MIB + 446 + 12, 1024, 4);
    disk[2 * MIB + 462 + 4] = 5;
    put(disk + 2 * MIB + 462 + 8, 2048, 4);
    put(disk + 2 * MIB + 462 + 12, 8192, 4);
    put(second + 510, 0xaa55, 2);
    second[446 + 4] = 0x83;
    put(second + 446 + 8, 128, 4);
    put(second + 446 + 12, 8192, 4);
    make_ext4(second + 65536);
    assert_int_equal(find(&l), 0);
    assert_int_equal(l.n, 3);
    assert_int_equal(l.places[1].partition.number, 5);
    assert_int_equal(l.places[2].partition.number, 6);
    assert_int_equal(l.places[2].volume.kind, VOLUME_EXT4);
    put(disk + 2 * MIB + 462 + 8, 0, 4); /* the list leads back to its begin */
    finds_nothing("image-layout");
}

static void
lying_partition_tables_are_refused(void **state)
{
    (void)state;
    mbr(0, 0x83, 0xffffffff, 0xffffffff);
    finds_nothing("image-layout");
    mbr(0, 0x83, 0, 8192);
    finds_nothing("image-layout");
    mbr(0, 0, 2048, 8192);
    finds_nothing("image-layout");
    mbr(0, 0x83, 2048, 4096);
    mbr(1, 0x83, 4096, 4096);
    finds_nothing("image-layout");
    mbr(1, 0, 0, 0);
    gpt(UINT64_MAX, 2048, 4096);
    finds_nothing("image-layout");
    gpt(2, UINT64_MAX, 1);
    finds_nothing("image-layout");
    gpt(2, 2048, UINT64_MAX);
    finds_nothing("image-layout");
    put(disk + 512 + 80, UINT32_MAX, 4);
    finds_nothing("image-layout");
    memset(disk + 512, 0, 8);
    finds_nothing("image-layout");
}

static void
sealed_root_is_told_by_its_partitions_type(void **state)
{
    static const uint8_t type[] = { 0xed, 0x57, 0x73, 0x2c, 0xd2, 0xeb, 0xd9, 0x46,
                                    0xae, 0xc1, 0x23, 0xd4, 0x37, 0xec, 0x2b, 0xf5 };

    (void)state;
    gpt(2, 2048, 4096);
    memcpy(disk + 1024, type, sizeof type);
    finds_nothing("image-verity");
}

/* ---- what lies on them ------------------------------------------------------- */

static void
other_contents_are_named(void **state)
{
    static const struct {
        size_t at;
        const char *bytes, *problem;
    } cases[] = {
        { 0, "LUKS\xba\xbe", "image-encrypted" }, { 4086, "S1SUSPEND", "hibernated" },
        { 8182, "LINHIB0001", "hibernated" },     { 0, "verity", "image-verity" },
        { 4086, "SWAPSPACE2", "image-layout" },   { 0, "XFSB", "image-damaged" },
        { 3, "NTFS    ", "image-layout" },        { 0x10040, "_BHRfS_M", "image-damaged" },
        { 4096, "\xfc\x4e\x2b\xa9", "image-layout" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memset(disk, 0, DISK);
        memcpy(disk + cases[i].at, cases[i].bytes, strlen(cases[i].bytes));
        finds_nothing(cases[i].problem);
        memset(disk, 0, DISK);
        mbr(0, 0x83, 2048, 8192);
        memcpy(disk + MIB + cases[i].at, cases[i].bytes, strlen(cases[i].bytes));
        finds_nothing(cases[i].problem);
    }
}

static void
what_is_dirty_or_asleep_beside_a_root_protects_it_too(void **state)
{
    (void)state;
    mbr(0, 0x83, 2048, 8192);
    mbr(1, 0x82, 12288, 2048);
    make_ext4(disk + MIB);
    memcpy(disk + 6 * MIB + 4086, "S1SUSPEND", 9);
    finds_nothing("hibernated");
    memset(disk + 6 * MIB, 0, MIB);
    make_ext4(disk + 6 * MIB);
    disk[6 * MIB + 1024 + 0x60] |= 4;
    finds_nothing("image-dirty");
}

static void
mirror_with_its_mark_at_the_end_is_left_alone(void **state)
{
    (void)state;
    make_ext4(disk);
    finds(VOLUME_EXT4);
    memcpy(disk + DISK - 65536, "\xfc\x4e\x2b\xa9", 4);
    finds_nothing("image-layout");
    memset(disk + DISK - 65536, 0, 4);
    memcpy(disk + DISK - 8192, "\xfc\x4e\x2b\xa9", 4);
    finds_nothing("image-layout");
}

static void
encryption_weighs_more_than_what_is_only_unknown(void **state)
{
    (void)state;
    mbr(0, 0x83, 2048, 4096);
    mbr(1, 0x83, 8192, 4096);
    memcpy(disk + MIB + 3, "NTFS    ", 8);
    memcpy(disk + 4 * MIB, "LUKS\xba\xbe", 6);
    finds_nothing("image-encrypted");
    assert_non_null(strstr(err.text, "partition 2"));
}

static void
empty_disk_is_named(void **state)
{
    (void)state;
    finds_nothing("image-empty");
    mbr(0, 0x83, 2048, 4096);
    finds_nothing("image-empty");
}

static void
physical_volume_is_found(void **state)
{
    (void)state;
    memcpy(disk + 512, "LABELONE", 8);
    put(disk + 512 + 20, 32, 4);
    memset(disk + 512 + 32, 0xab, 32);
    finds(VOLUME_LVM);
}

static void
filesystem_larger_than_its_partition_is_refused(void **state)
{
    (void)state;
    mbr(0, 0x83, 2048, 4096);
    make_ext4(disk + MIB);
    finds_nothing("image-damaged");
}

/* ---- xfs --------------------------------------------------------------------- */

static uint8_t *
log_sector(size_t i)
{
    return disk + LOG_AT + i * 512;
}

/* A record whose operation has these flags, in two sectors from `at`; all before it is of round `cycle`. */
static void
make_log(size_t at, uint32_t cycle, uint8_t flags)
{
    for (size_t i = 0; i < LOG_SECTORS; i++)
        put_be(log_sector(i), i < at + 2 ? cycle : cycle - 1, 4);
    put_be(log_sector(at), 0xfeedbabe, 4);
    put_be(log_sector(at) + 4, cycle, 4);
    put_be(log_sector(at) + 8, 2, 4);
    put_be(log_sector(at) + 12, 512, 4);
    put_be(log_sector(at) + 40, 1, 4);
    put_be(log_sector(at) + 320, 32768, 4);
    log_sector(at + 1)[9] = flags;
}

static void
make_xfs(void)
{
    memcpy(disk, "XFSB", 4);
    put_be(disk + 4, 4096, 4);
    put_be(disk + 8, 1024, 8);
    memset(disk + 32, 0xab, 16);
    put_be(disk + 48, 64, 8);
    put_be(disk + 84, 1024, 4);
    put_be(disk + 88, 1, 4);
    put_be(disk + 96, LOG_SECTORS / 8, 4);
    put_be(disk + 100, 0xb4a5, 2);
    disk[124] = 10;
    make_log(100, 3, 0x20);
}

static void
xfs_whose_log_ends_in_an_unmount_is_taken(void **state)
{
    (void)state;
    make_xfs();
    finds(VOLUME_XFS);
    make_log(0, 1, 0x20); /* as mkfs leaves it */
    finds(VOLUME_XFS);
    make_log(LOG_SECTORS - 2, 7, 0x20); /* the next record begins at the front */
    finds(VOLUME_XFS);
    memset(log_sector(0), 0, (size_t)LOG_SECTORS * 512);
    finds(VOLUME_XFS);
}

static void
xfs_with_anything_after_its_unmount_is_dirty(void **state)
{
    static const size_t ends[] = { 0, 1, 100, 1023, 1024, LOG_SECTORS - 2 };

    (void)state;
    make_xfs();
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        make_log(ends[i], 5, 0);
        finds_nothing("image-dirty");
        make_log(ends[i], 5, 0x20);
        finds(VOLUME_XFS);
        put_be(log_sector(ends[i]) + 40, 2, 4);
        finds_nothing("image-dirty");
    }
    make_log(100, 5, 0x20);
    put_be(log_sector(102), 5, 4); /* one more sector of this round */
    finds_nothing("image-dirty");
    make_log(100, 5, 0x20);
    put_be(disk + 216, 0x10, 4); /* marked for repair */
    finds_nothing("image-dirty");
}

static void
xfs_of_impossible_sizes_is_refused(void **state)
{
    static const struct {
        size_t at, n;
        uint64_t value;
        const char *problem;
    } cases[] = {
        { 4, 4, 0, "image-damaged" },          { 4, 4, 3000, "image-damaged" },
        { 8, 8, UINT64_MAX, "image-damaged" }, { 48, 8, UINT64_MAX, "image-damaged" },
        { 48, 8, 0, "image-layout" },          { 96, 4, UINT32_MAX, "image-damaged" },
        { 96, 4, 0, "image-damaged" },         { 16, 8, 1, "image-layout" },
        { 100, 2, 9, "image-damaged" },        { 124, 1, 64, "image-damaged" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memset(disk, 0, 512);
        make_xfs();
        put_be(disk + cases[i].at, cases[i].value, cases[i].n);
        finds_nothing(cases[i].problem);
    }
}

/* ---- btrfs ------------------------------------------------------------------- */

static void
make_btrfs(void)
{
    uint8_t *s = disk + 65536;

    memset(s + 0x20, 0xab, 16);
    put(s + 0x30, 65536, 8);
    memcpy(s + 0x40, "_BHRfS_M", 8);
    put(s + 0x70, DISK, 8);
    put(s + 0x88, 1, 8);
}

static void
btrfs_of_one_device_without_a_log_is_taken(void **state)
{
    (void)state;
    make_btrfs();
    finds(VOLUME_BTRFS);
    put(disk + 65536 + 0x60, 4096, 8);
    finds_nothing("image-dirty");
    make_btrfs();
    put(disk + 65536 + 0x60, 0, 8);
    put(disk + 65536 + 0x88, 2, 8);
    finds_nothing("image-layout");
    make_btrfs();
    put(disk + 65536 + 0x38, UINT64_C(1) << 32, 8);
    finds_nothing("image-read-only");
    put(disk + 65536 + 0x38, 0, 8);
    put(disk + 65536 + 0x70, DISK + 1, 8);
    finds_nothing("image-damaged");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest t[] = {
        TEST(a_gpt_is_read_to_its_last_entry),
        TEST(filesystem_is_found_on_the_whole_disk_and_on_a_partition),
        TEST(logical_partitions_are_numbered_from_five),
        TEST(lying_partition_tables_are_refused),
        TEST(sealed_root_is_told_by_its_partitions_type),
        TEST(other_contents_are_named),
        TEST(what_is_dirty_or_asleep_beside_a_root_protects_it_too),
        TEST(mirror_with_its_mark_at_the_end_is_left_alone),
        TEST(encryption_weighs_more_than_what_is_only_unknown),
        TEST(empty_disk_is_named),
        TEST(physical_volume_is_found),
        TEST(filesystem_larger_than_its_partition_is_refused),
        TEST(xfs_whose_log_ends_in_an_unmount_is_taken),
        TEST(xfs_with_anything_after_its_unmount_is_dirty),
        TEST(xfs_of_impossible_sizes_is_refused),
        TEST(btrfs_of_one_device_without_a_log_is_taken),
    };

    return cmocka_run_group_tests_name("disk_layout", t, NULL, NULL);
}
