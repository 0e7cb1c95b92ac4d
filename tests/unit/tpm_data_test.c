/*
 * tpm_data_test.c - what a guest says about its TPM is taken only if every field is right
 */
#include "config.h"

#include "lib/tpm/tpm_data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/soft_tpm.h"

static struct soft_tpm tpm;
static struct error err;
static const uint8_t h[32] = { 1, 2, 3 };

static int
set_up(void **state)
{
    (void)state;
    soft_tpm_new(&tpm);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    soft_tpm_clear(&tpm);
    return 0;
}

static int
check_ak(const uint8_t *ak, size_t len)
{
    uint8_t point[65], name[TPM_NAME_LEN];

    memset(&err, 0, sizeof err);
    return tpm_ak_check(ak, len, point, name, &err);
}

static void
refused_ak(const uint8_t *ak, size_t len)
{
    assert_int_equal(check_ak(ak, len), -1);
    assert_int_equal(err.code, ERROR_DENIED);
}

static void
an_ak_by_our_template_is_taken_and_its_name_recomputed(void **state)
{
    uint8_t point[65], name[TPM_NAME_LEN], expected[65];

    (void)state;
    assert_int_equal(tpm_ak_check(tpm.ak_public, sizeof tpm.ak_public, point, name, &err), 0);
    key_point(tpm.ak, expected);
    assert_memory_equal(point, expected, 65);
    assert_memory_equal(name, "\x00\x0b", 2);
}

static void
an_ak_with_any_other_attribute_is_refused(void **state)
{
    (void)state;
    for (int bit = 0; bit < 32; bit++) {
        uint8_t ak[TPM_AK_PUBLIC_LEN];

        memcpy(ak, tpm.ak_public, sizeof ak);
        ak[AT_AK_ATTRIBUTES + bit / 8] ^= (uint8_t)(1 << bit % 8);
        refused_ak(ak, sizeof ak);
    }
}

static void
an_ak_with_any_other_bit_in_its_template_is_refused(void **state)
{
    (void)state;
    /* 20 bytes of template, 2 of length; the lengths of the coordinates. */
    for (size_t bit = 0; bit < 22 * 8; bit++) {
        uint8_t ak[TPM_AK_PUBLIC_LEN];

        memcpy(ak, tpm.ak_public, sizeof ak);
        ak[bit / 8] ^= (uint8_t)(1 << bit % 8);
        refused_ak(ak, sizeof ak);
        memcpy(ak, tpm.ak_public, sizeof ak);
        ak[54 + bit / 8 % 2] ^= (uint8_t)(1 << bit % 8);
        refused_ak(ak, sizeof ak);
    }
}

static void
an_ak_off_the_curve_is_refused(void **state)
{
    uint8_t ak[TPM_AK_PUBLIC_LEN];

    (void)state;
    memcpy(ak, tpm.ak_public, sizeof ak);
    ak[30] ^= 1;
    refused_ak(ak, sizeof ak);
    memset(ak + 22, 0, 32);
    memset(ak + 56, 0, 32);
    refused_ak(ak, sizeof ak);
}

static void
an_ak_of_another_length_is_refused(void **state)
{
    uint8_t ak[TPM_AK_PUBLIC_LEN + 1] = { 0 };

    (void)state;
    memcpy(ak, tpm.ak_public, TPM_AK_PUBLIC_LEN);
    refused_ak(ak, sizeof ak);
    for (size_t len = 0; len < TPM_AK_PUBLIC_LEN; len++)
        refused_ak(ak, len);
}

static void
each_ek_template_is_taken(void **state)
{
    static const int kind[] = { CREDENTIAL_EK_P384, CREDENTIAL_EK_P256, CREDENTIAL_EK_P256,
                                CREDENTIAL_EK_RSA2048, CREDENTIAL_EK_RSA2048 };

    (void)state;
    for (int which = 0; which < 5; which++) {
        CLEANUP(buf_clear) struct buf spki = BUF(1024);
        struct credential_ek key;
        uint8_t ek[512];
        size_t len = soft_ek_public(which, ek);

        assert_int_equal(tpm_ek_check(ek, len, &key, &err), 0);
        assert_int_equal(key.kind, kind[which]);
        assert_int_equal(tpm_ek_spki(&key, &spki, &err), 0);
    }
}

static void
an_ek_with_any_other_bit_outside_unique_is_refused(void **state)
{
    (void)state;
    for (int which = 0; which < 5; which++) {
        uint8_t ek[512];
        size_t len = soft_ek_public(which, ek);
        size_t head = which == 0 ? 72 : which < 3 ? 56 : 54; /* up to the length of unique */

        for (size_t bit = 0; bit < head * 8; bit++) {
            struct credential_ek key;

            ek[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_int_equal(tpm_ek_check(ek, len, &key, &err), -1);
            assert_int_equal(err.code, ERROR_DENIED);
            ek[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
}

static void
an_ek_off_its_curve_cut_or_longer_is_refused(void **state)
{
    (void)state;
    for (int which = 0; which < 5; which++) {
        struct credential_ek key;
        uint8_t ek[512] = { 0 };
        size_t len = soft_ek_public(which, ek);

        assert_int_equal(tpm_ek_check(ek, len + 1, &key, &err), -1);
        for (size_t cut = 0; cut < len; cut++)
            assert_int_equal(tpm_ek_check(ek, cut, &key, &err), -1);
        ek[len - 1] ^= 1; /* a point off the curve; an even modulus */
        assert_int_equal(tpm_ek_check(ek, len, &key, &err), -1);
        assert_int_equal(err.code, ERROR_DENIED);
    }
}

static int
read_quote(const uint8_t *bytes, size_t len)
{
    struct tpm_attest a;
    int r;

    memset(&err, 0, sizeof err);
    r = tpm_quote_read(bytes, len, h, &a, &err);
    if (r < 0)
        assert_int_equal(err.code, ERROR_DENIED);
    return r;
}

static int
quote_with(size_t at, const void *bytes, size_t n)
{
    uint8_t q[SOFT_QUOTE_LEN];

    soft_quote(&tpm, h, q);
    memcpy(q + at, bytes, n);
    return read_quote(q, sizeof q);
}

static void
a_quote_over_h_is_read(void **state)
{
    uint8_t q[SOFT_QUOTE_LEN], signer[TPM_NAME_LEN];
    struct tpm_attest a;

    (void)state;
    soft_quote(&tpm, h, q);
    assert_int_equal(tpm_quote_read(q, sizeof q, h, &a, &err), 0);
    assert_int_equal(a.reset_count, tpm.reset);
    assert_int_equal(a.restart_count, tpm.restart);
    assert_int_equal(a.clock, tpm.clock);
    assert_true(a.safe);
    assert_int_equal(tpm_qualified_name(tpm.ak_name, signer, &err), 0);
    assert_memory_equal(a.signer, signer, sizeof signer);
}

static void
quote_with_wrong_magic_is_refused(void **state)
{
    (void)state;
    for (int bit = 0; bit < 32; bit++) {
        uint8_t magic[4] = { 0xff, 0x54, 0x43, 0x47 };

        magic[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(quote_with(AT_MAGIC, magic, 4), -1);
    }
    assert_non_null(strstr(err.text, "magic"));
}

static void
quote_with_wrong_type_is_refused(void **state)
{
    static const uint16_t types[] = { 0x8014, 0x8015, 0x8016, 0x8017, 0x8019, 0x801a, 0x8018 ^ 1,
                                      0, 0xffff };
    uint8_t c[SOFT_CERTIFY_LEN];

    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        uint8_t type[2] = { (uint8_t)(types[i] >> 8), (uint8_t)types[i] };

        assert_int_equal(quote_with(AT_TYPE, type, 2), -1);
    }
    soft_certify(&tpm, h, c);
    assert_int_equal(read_quote(c, sizeof c), -1);
    assert_non_null(strstr(err.text, "type"));
}

static void
quote_with_wrong_nonce_is_refused(void **state)
{
    uint8_t other[32];

    (void)state;
    for (int bit = 0; bit < 256; bit++) {
        memcpy(other, h, sizeof other);
        other[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(quote_with(AT_EXTRA, other, 32), -1);
    }
    assert_int_equal(quote_with(AT_EXTRA_LEN, "\x00\x1f", 2), -1);
    assert_int_equal(quote_with(AT_EXTRA_LEN, "\x00\x00", 2), -1);
}

static void
quote_with_wrong_pcr_selection_is_refused(void **state)
{
    (void)state;
    assert_int_equal(quote_with(AT_QUOTE_SELECT, "\x00\x00\x00", 3), -1); /* no PCR at all */
    for (int bit = 0; bit < 24; bit++) {
        uint8_t select[3] = { 0xff, 0, 0 };

        select[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(quote_with(AT_QUOTE_SELECT, select, 3), -1);
    }
    assert_int_equal(quote_with(AT_QUOTE_HASH, "\x00\x04", 2), -1); /* the SHA-1 bank */
    assert_int_equal(quote_with(AT_QUOTE_HASH, "\x00\x0c", 2), -1);
    assert_int_equal(quote_with(AT_QUOTE_SELECT_LEN, "\x04", 1), -1);
    assert_int_equal(quote_with(AT_QUOTE_COUNT, "\x00\x00\x00\x00", 4), -1);
    assert_int_equal(quote_with(AT_QUOTE_COUNT, "\x00\x00\x00\x02", 4), -1);
    assert_int_equal(quote_with(AT_QUOTE_COUNT, "\xff\xff\xff\xff", 4), -1);
}

static void
quote_with_wrong_pcr_digest_length_is_refused(void **state)
{
    uint8_t q[SOFT_QUOTE_LEN];

    (void)state;
    soft_quote(&tpm, h, q);
    for (int n = 0; n < 32; n++) {
        q[AT_QUOTE_DIGEST_LEN + 1] = (uint8_t)n;
        assert_int_equal(read_quote(q, AT_QUOTE_DIGEST_LEN + 2 + (size_t)n), -1);
        assert_int_equal(read_quote(q, sizeof q), -1);
    }
    assert_int_equal(quote_with(AT_QUOTE_DIGEST_LEN, "\x00\x21", 2), -1);
    assert_int_equal(quote_with(AT_QUOTE_DIGEST_LEN, "\xff\xff", 2), -1);
}

static void
quote_with_trailing_bytes_is_refused(void **state)
{
    uint8_t q[SOFT_QUOTE_LEN + 64] = { 0 };

    (void)state;
    soft_quote(&tpm, h, q);
    for (size_t more = 1; more <= 64; more++)
        assert_int_equal(read_quote(q, SOFT_QUOTE_LEN + more), -1);
    for (size_t len = 0; len < SOFT_QUOTE_LEN; len++)
        assert_int_equal(read_quote(q, len), -1);
    assert_int_equal(read_quote(q, SOFT_QUOTE_LEN), 0);
}

static void
quote_with_a_senseless_safe_flag_is_refused(void **state)
{
    (void)state;
    assert_int_equal(quote_with(AT_SAFE, "\x02", 1), -1);
    assert_int_equal(quote_with(AT_SAFE, "\x00", 1), 0);
}

static int
certify_with(size_t at, const void *bytes, size_t n, size_t len)
{
    uint8_t c[SOFT_CERTIFY_LEN + 1] = { 0 };
    struct tpm_attest a;

    soft_certify(&tpm, h, c);
    memcpy(c + at, bytes, n);
    return tpm_certify_read(c, len, h, &a, &err);
}

static void
a_certified_index_is_read(void **state)
{
    uint8_t c[SOFT_CERTIFY_LEN];
    struct tpm_attest a;

    (void)state;
    soft_certify(&tpm, h, c);
    assert_int_equal(tpm_certify_read(c, sizeof c, h, &a, &err), 0);
    assert_memory_equal(a.nv_contents, tpm.x, 32);
}

static void
another_index_or_part_of_ours_is_refused(void **state)
{
    uint8_t name[TPM_NAME_LEN];

    (void)state;
    assert_int_equal(tpm_nv_name(name, &err), 0);
    for (size_t bit = 0; bit < 8 * sizeof name; bit++) {
        uint8_t other[TPM_NAME_LEN];

        memcpy(other, name, sizeof other);
        other[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(certify_with(AT_NV_NAME, other, sizeof other, SOFT_CERTIFY_LEN), -1);
    }
    assert_int_equal(certify_with(AT_NV_OFFSET, "\x00\x01", 2, SOFT_CERTIFY_LEN), -1);
    for (uint8_t n = 0; n < 32; n++) {
        uint8_t size[2] = { 0, n };

        assert_int_equal(certify_with(AT_NV_CONTENTS_LEN, size, 2, AT_NV_CONTENTS + n), -1);
    }
    assert_int_equal(certify_with(0, "\xff", 1, SOFT_CERTIFY_LEN + 1), -1);
    assert_int_equal(certify_with(AT_TYPE, "\x80\x18", 2, SOFT_CERTIFY_LEN), -1);
    assert_int_equal(certify_with(AT_EXTRA, "\x00", 1, SOFT_CERTIFY_LEN), -1);
}

static void
the_name_of_the_index_is_the_measured_one(void **state)
{
    /* SHA-256 by another program over 01400a01 000b 62040444 0020 ff*32 0020. */
    static const uint8_t measured[TPM_NAME_LEN] = {
        0x00, 0x0b, 0xca, 0x86, 0xa2, 0x6d, 0x7e, 0xff, 0x74, 0x1d, 0x35, 0x63,
        0xab, 0xe4, 0x58, 0x34, 0xfa, 0x1f, 0xec, 0x55, 0x08, 0x64, 0xe5, 0xee,
        0x22, 0x96, 0x3c, 0xaf, 0xf1, 0x4f, 0x88, 0x21, 0x8c, 0x0b,
    };
    uint8_t name[TPM_NAME_LEN];

    (void)state;
    assert_int_equal(tpm_nv_name(name, &err), 0);
    assert_memory_equal(name, measured, sizeof name);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ak_by_our_template_is_taken_and_its_name_recomputed),
        cmocka_unit_test(an_ak_with_any_other_attribute_is_refused),
        cmocka_unit_test(an_ak_with_any_other_bit_in_its_template_is_refused),
        cmocka_unit_test(an_ak_off_the_curve_is_refused),
        cmocka_unit_test(an_ak_of_another_length_is_refused),
        cmocka_unit_test(each_ek_template_is_taken),
        cmocka_unit_test(an_ek_with_any_other_bit_outside_unique_is_refused),
        cmocka_unit_test(an_ek_off_its_curve_cut_or_longer_is_refused),
        cmocka_unit_test(a_quote_over_h_is_read),
        cmocka_unit_test(quote_with_wrong_magic_is_refused),
        cmocka_unit_test(quote_with_wrong_type_is_refused),
        cmocka_unit_test(quote_with_wrong_nonce_is_refused),
        cmocka_unit_test(quote_with_wrong_pcr_selection_is_refused),
        cmocka_unit_test(quote_with_wrong_pcr_digest_length_is_refused),
        cmocka_unit_test(quote_with_trailing_bytes_is_refused),
        cmocka_unit_test(quote_with_a_senseless_safe_flag_is_refused),
        cmocka_unit_test(a_certified_index_is_read),
        cmocka_unit_test(another_index_or_part_of_ours_is_refused),
        cmocka_unit_test(the_name_of_the_index_is_the_measured_one),
    };

    return cmocka_run_group_tests_name("tpm_data", tests, set_up, tear_down);
}
