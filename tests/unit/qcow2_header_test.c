#include "config.h"

#include "plugin/inject/qcow2_header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct error err;

struct image {
    uint8_t bytes[4096];
    size_t at; /* the next extension */
};

static void
put(uint8_t *at, uint64_t v, size_t n)
{
    while (n-- > 0) {
        at[n] = (uint8_t)v;
        v >>= 8;
    }
}

static struct image
version3(void)
{
    struct image i = { .at = 104 };

    memcpy(i.bytes, "QFI\xfb", 4);
    put(i.bytes + 4, 3, 4);
    put(i.bytes + 20, 16, 4);
    put(i.bytes + 24, 1 << 30, 8);
    put(i.bytes + 100, 104, 4);
    return i;
}

static void
extension(struct image *i, uint32_t type, const char *text)
{
    size_t n = strlen(text);

    put(i->bytes + i->at, type, 4);
    put(i->bytes + i->at + 4, n, 4);
    memcpy(i->bytes + i->at + 8, text, n);
    i->at += 8 + ((n + 7) & ~(size_t)7);
}

static void
backing(struct image *i, const char *name)
{
    put(i->bytes + 8, 2048, 8);
    put(i->bytes + 16, strlen(name), 4);
    memcpy(i->bytes + 2048, name, strlen(name));
}

static int
read_image(const struct image *i, struct qcow2_header *ret)
{
    return qcow2_header_read(i->bytes, sizeof i->bytes, ret, &err);
}

static void
refused_as(const struct image *i, const char *problem)
{
    struct qcow2_header h;

    assert_int_equal(read_image(i, &h), -1);
    assert_int_equal(err.code, ERROR_DENIED);
    assert_string_equal(err.problem, problem);
}

static void
plain_image_has_no_backing(void **state)
{
    struct image i = version3();
    struct qcow2_header h;

    (void)state;
    assert_int_equal(read_image(&i, &h), 0);
    assert_int_equal(h.version, 3);
    assert_int_equal(h.size, 1 << 30);
    assert_string_equal(h.backing, "");
}

static void
overlay_names_its_backing_file_and_format(void **state)
{
    struct image i = version3();
    struct qcow2_header h;

    (void)state;
    extension(&i, 0xe2792aca, "raw");
    backing(&i, "../base/debian.raw");
    assert_int_equal(read_image(&i, &h), 0);
    assert_string_equal(h.backing, "../base/debian.raw");
    assert_string_equal(h.backing_format, "raw");
}

static void
backing_without_a_format_is_refused(void **state)
{
    struct image i = version3();

    (void)state;
    backing(&i, "base.raw");
    refused_as(&i, "image-chain");
}

static void
backing_by_protocol_or_json_is_refused(void **state)
{
    static const char *const names[] = { "json:{\"driver\":\"file\"}", "nbd://host/x", "rbd:pool/x",
                                         "https://h/x", "fat:rw:/", "file:/etc/shadow" };

    (void)state;
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        struct image i = version3();

        extension(&i, 0xe2792aca, "raw");
        backing(&i, names[n]);
        refused_as(&i, "image-chain");
    }
}

static void
other_backing_formats_are_refused(void **state)
{
    struct image i = version3();

    (void)state;
    extension(&i, 0xe2792aca, "vmdk");
    backing(&i, "base.vmdk");
    refused_as(&i, "image-chain");
}

static void
backing_name_outside_of_the_header_is_refused(void **state)
{
    struct image i = version3();

    (void)state;
    extension(&i, 0xe2792aca, "raw");
    backing(&i, "base.raw");
    put(i.bytes + 8, 4090, 8);
    refused_as(&i, "image-chain");
    put(i.bytes + 8, UINT64_MAX - 2, 8);
    refused_as(&i, "image-chain");
    put(i.bytes + 8, 2048, 8);
    put(i.bytes + 16, 1024, 4);
    refused_as(&i, "image-chain");
    put(i.bytes + 16, UINT32_MAX, 4);
    refused_as(&i, "image-chain");
}

static void
encrypted_images_are_refused(void **state)
{
    struct image i = version3();

    (void)state;
    put(i.bytes + 32, 2, 4);
    refused_as(&i, "image-encrypted");
    i = version3();
    extension(&i, 0x0537be77, "0123456789abcdef");
    refused_as(&i, "image-encrypted");
}

static void
image_with_its_data_in_another_file_is_refused(void **state)
{
    struct image i = version3();

    (void)state;
    put(i.bytes + 72, 4, 8);
    refused_as(&i, "image-format");
    i = version3();
    extension(&i, 0x44415441, "/etc/shadow");
    refused_as(&i, "image-format");
}

static void
dirty_corrupt_and_unknown_features_are_refused(void **state)
{
    struct image i = version3();

    (void)state;
    put(i.bytes + 72, 1, 8);
    refused_as(&i, "image-dirty");
    put(i.bytes + 72, 2, 8);
    refused_as(&i, "image-format");
    put(i.bytes + 72, 1ull << 40, 8);
    refused_as(&i, "image-format");
}

static void
every_cut_of_a_header_is_refused_or_says_the_same(void **state)
{
    struct image i = version3();
    struct qcow2_header h;

    (void)state;
    extension(&i, 0xe2792aca, "qcow2");
    backing(&i, "base.qcow2");
    for (size_t len = 0; len < 2058; len++)
        assert_int_equal(qcow2_header_read(i.bytes, len, &h, &err), -1);
    assert_int_equal(qcow2_header_read(i.bytes, 2058, &h, &err), 0);
}

static void
extension_longer_than_the_header_is_refused(void **state)
{
    struct image i = version3();

    (void)state;
    put(i.bytes + 104, 0x11111111, 4);
    put(i.bytes + 108, UINT32_MAX, 4);
    refused_as(&i, "image-format");
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(plain_image_has_no_backing),
        cmocka_unit_test(overlay_names_its_backing_file_and_format),
        cmocka_unit_test(backing_without_a_format_is_refused),
        cmocka_unit_test(backing_by_protocol_or_json_is_refused),
        cmocka_unit_test(other_backing_formats_are_refused),
        cmocka_unit_test(backing_name_outside_of_the_header_is_refused),
        cmocka_unit_test(encrypted_images_are_refused),
        cmocka_unit_test(image_with_its_data_in_another_file_is_refused),
        cmocka_unit_test(dirty_corrupt_and_unknown_features_are_refused),
        cmocka_unit_test(every_cut_of_a_header_is_refused_or_says_the_same),
        cmocka_unit_test(extension_longer_than_the_header_is_refused),
    };

    return cmocka_run_group_tests_name("qcow2_header", t, NULL, NULL);
}
