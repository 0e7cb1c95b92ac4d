#include "config.h"

#include "guestagent/next_nonce.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static const uint8_t NONCE[NONCE_LEN] = { 1, 2, 3 };

static struct prove
proof(void)
{
    struct prove p = { .epoch = 7, .has_ak = true, .uuid = { { 9 } }, .ak = { 5 } };

    return p;
}

/* Asked at 1 s, answered at 3 s, 300 s. */
static struct next_nonce
kept(void)
{
    struct next_nonce n = { 0 };
    struct prove p = proof();

    next_nonce_keep(&n, &p, NONCE, 1000, 3000, 300);
    return n;
}

static bool
takes(struct next_nonce *n, const struct prove *p, int64_t now)
{
    uint8_t got[NONCE_LEN] = { 0 };
    bool taken = next_nonce_take(n, p, now, got);

    if (taken)
        assert_memory_equal(got, NONCE, sizeof got);
    return taken;
}

static void
it_is_good_in_the_second_half_of_the_tokens_life(void **state)
{
    struct next_nonce early = kept(), late = kept(), over = kept();
    struct prove p = proof();

    (void)state;
    assert_false(takes(&early, &p, 152999));
    assert_true(takes(&early, &p, 153000)); /* an early question does not cost it */
    assert_true(takes(&late, &p, 300999));
    assert_false(takes(&over, &p, 301000));
    assert_false(takes(&over, &p, 160000));
}

static void
it_is_good_once(void **state)
{
    struct next_nonce n = kept();
    struct prove p = proof();

    (void)state;
    assert_true(takes(&n, &p, 160000));
    assert_false(takes(&n, &p, 160000));
}

static void
another_vm_epoch_or_ak_has_none_of_it(void **state)
{
    struct prove others[] = { proof(), proof(), proof(), proof() };
    struct prove p = proof();

    (void)state;
    others[0].uuid.bytes[0]++;
    others[1].epoch++;
    others[2].ak[87]++;
    others[3].has_ak = false;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct next_nonce n = kept();

        assert_false(takes(&n, &others[i], 160000));
        assert_false(takes(&n, &p, 160000));
    }
}

static void
only_the_newest_is_kept(void **state)
{
    static const uint8_t older[NONCE_LEN] = { 8 };
    struct prove p = proof();
    struct next_nonce n;

    (void)state;
    next_nonce_keep(&n, &p, older, 1000, 3000, 300);
    next_nonce_keep(&n, &p, NONCE, 101000, 103000, 300);
    assert_false(takes(&n, &p, 160000));
    assert_true(takes(&n, &p, 253000));
    next_nonce_keep(&n, &p, NONCE, 1000, 3000, 300);
    next_nonce_forget(&n);
    assert_false(takes(&n, &p, 160000));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_good_in_the_second_half_of_the_tokens_life),
        cmocka_unit_test(it_is_good_once),
        cmocka_unit_test(another_vm_epoch_or_ak_has_none_of_it),
        cmocka_unit_test(only_the_newest_is_kept),
    };

    return cmocka_run_group_tests_name("next_nonce", tests, NULL, NULL);
}
