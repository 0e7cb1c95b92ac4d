#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "lib/common/secret.h"

static void
secret_begins_as_zeros_in_a_page_of_its_own(void **state)
{
    CLEANUP(secret_free) struct secret *a = NULL, *b = NULL;
    struct error err;

    (void)state;
    assert_int_equal(secret_new(32, &a, &err), 0);
    assert_int_equal(secret_new(4096, &b, &err), 0);
    assert_int_equal(a->len, 32);
    for (size_t i = 0; i < a->len; i++)
        assert_int_equal(a->bytes[i], 0);
    assert_int_equal((uintptr_t)a->bytes % 4096, 0);
    memset(b->bytes, 0xff, b->len);
    assert_int_equal(a->bytes[31], 0);
}

/* The kernel's own word: "dd" is MADV_DONTDUMP, "dc" MADV_DONTFORK. */
static void
page_of_a_secret_is_neither_dumped_nor_forked(void **state)
{
    CLEANUP(secret_free) struct secret *secret = NULL;
    struct error err;
    char line[512], begin[32];
    bool here = false, found = false;
    FILE *maps = fopen("/proc/self/smaps", "re");

    (void)state;
    assert_non_null(maps);
    assert_int_equal(secret_new(32, &secret, &err), 0);
    snprintf(begin, sizeof begin, "%lx-", (unsigned long)(uintptr_t)secret->bytes);
    while (fgets(line, sizeof line, maps)) {
        if (strncmp(line, begin, strlen(begin)) == 0)
            here = true;
        if (here && strncmp(line, "VmFlags:", 8) == 0) {
            assert_non_null(strstr(line, " dd"));
            assert_non_null(strstr(line, " dc"));
            found = true;
            here = false;
        }
    }
    fclose(maps);
    assert_true(found);
}

static void
comparison_sees_every_bit(void **state)
{
    uint8_t a[32] = { 1 }, b[32] = { 1 };

    (void)state;
    assert_true(secret_equal(a, b, sizeof a));
    for (size_t bit = 0; bit < 8 * sizeof a; bit++) {
        b[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(secret_equal(a, b, sizeof a));
        b[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_true(secret_equal(a, b, 0));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secret_begins_as_zeros_in_a_page_of_its_own),
        cmocka_unit_test(page_of_a_secret_is_neither_dumped_nor_forked),
        cmocka_unit_test(comparison_sees_every_bit),
    };

    return cmocka_run_group_tests_name("secret", tests, NULL, NULL);
}
