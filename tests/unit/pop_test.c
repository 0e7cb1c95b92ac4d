#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "lib/wire/pop.h"

static const uint8_t nonce[32] = { 1, 2, 3 }, exporter[32] = { 4, 5, 6 }, other[32] = { 1, 2, 4 };
static const struct pop_place here = { "shop", nonce, exporter };
static struct key *key, *stranger;
static struct error err;
static uint8_t thumbprint[KEY_THUMBPRINT_LEN];

static int
set_up(void **state)
{
    uint8_t point[KEY_POINT_LEN];

    (void)state;
    if (key_generate(&key, &err) < 0 || key_generate(&stranger, &err) < 0)
        return -1;
    key_point(key, point);
    return key_thumbprint(point, thumbprint, &err);
}

static int
tear_down(void **state)
{
    (void)state;
    key_free(key);
    key_free(stranger);
    return 0;
}

static struct pop
made(void)
{
    struct pop pop = { .token = "head.claims.signature" };

    assert_int_equal(pop_sign(&pop, key, &here, &err), 0);
    return pop;
}

static void
a_proof_goes_through_its_text_and_back(void **state)
{
    CLEANUP(buf_clear) struct buf text = BUF(POP_TEXT_MAX);
    struct pop pop = made(), back;

    (void)state;
    assert_int_equal(pop_print(&pop, &text, &err), 0);
    assert_int_equal(text.len, strlen(pop.token) + 1 + 87 + 1 + 86);
    assert_int_equal(pop_parse((char *)text.data, text.len, &back, &err), 0);
    assert_memory_equal(&pop, &back, sizeof pop);
    assert_int_equal(pop_check(&back, thumbprint, &here, &err), 0);
    for (size_t len = 0; len < text.len; len++)
        assert_int_equal(pop_parse((char *)text.data, len, &back, &err), -1);
}

static void
assert_no_proof(const char *text, size_t len)
{
    struct pop pop;

    assert_int_equal(pop_parse(text, len, &pop, &err), -1);
    assert_int_equal(err.code, ERROR_INPUT);
}

static void
what_is_no_proof_is_not_read(void **state)
{
    static char longest[POP_TEXT_MAX + 2];
    CLEANUP(buf_clear) struct buf text = BUF(2 * POP_TEXT_MAX);
    struct pop pop = made();
    size_t mark = strlen(pop.token);

    (void)state;
    assert_int_equal(pop_print(&pop, &text, &err), 0);
    assert_no_proof("", 0);
    assert_no_proof(pop.token, mark);
    assert_no_proof("~~", 2);
    assert_no_proof((char *)text.data + mark, text.len - mark); /* no token */
    text.data[2] = '\0';
    assert_no_proof((char *)text.data, text.len);
    text.data[2] = 'a';
    buf_add_u8(&text, '~');
    assert_no_proof((char *)text.data, text.len); /* a fourth part */
    text.data[--text.len - 1] = '=';
    assert_no_proof((char *)text.data, text.len);
    memset(longest, 'a', sizeof longest);
    assert_no_proof(longest, sizeof longest);
    longest[TOKEN_TEXT_MAX + 1] = '~';
    longest[TOKEN_TEXT_MAX + 3] = '~';
    assert_no_proof(longest, POP_TEXT_MAX);
}

static void
assert_denied(const struct pop *pop, const uint8_t *named, struct pop_place place)
{
    assert_int_equal(pop_check(pop, named, &place, &err), -1);
    assert_int_equal(err.code, ERROR_DENIED);
}

static void
a_proof_is_of_its_token_key_verifier_nonce_and_connection(void **state)
{
    struct pop pop = made(), changed;
    uint8_t point[KEY_POINT_LEN], named[KEY_THUMBPRINT_LEN];

    (void)state;
    assert_denied(&pop, NULL, here);
    assert_denied(&pop, thumbprint, (struct pop_place){ "bank", nonce, exporter });
    assert_denied(&pop, thumbprint, (struct pop_place){ "shop", other, exporter });
    assert_denied(&pop, thumbprint, (struct pop_place){ "shop", nonce, other });
    changed = pop, changed.token[0] = 'H';
    assert_denied(&changed, thumbprint, here);
    changed = pop, changed.signature[40] ^= 1;
    assert_denied(&changed, thumbprint, here);
    /* Whoever has the token signs by a key of its own, under its own name or the owner's. */
    assert_int_equal(pop_sign(&pop, stranger, &here, &err), 0);
    assert_denied(&pop, thumbprint, here);
    key_point(key, pop.point);
    assert_denied(&pop, thumbprint, here);
    memset(pop.point, 0, sizeof pop.point);
    assert_int_equal(pop_check(&pop, thumbprint, &here, &err), -1);
    key_point(stranger, point);
    assert_int_equal(key_thumbprint(point, named, &err), 0);
    pop = made();
    assert_denied(&pop, named, here);
}

static void
hexadecimal_digits_are_read_as_tools_print_them(void **state)
{
    uint8_t bytes[32];
    char text[66];

    (void)state;
    memset(text, 0, sizeof text);
    for (int i = 0; i < 32; i++)
        snprintf(text + 2 * i, 3, i % 2 ? "a%x" : "B%X", i % 16);
    assert_int_equal(pop_read_hex("nonce", text, bytes, &err), 0);
    assert_int_equal(bytes[0], 0xb0);
    assert_int_equal(bytes[31], 0xaf);
    text[63] = 'g';
    assert_int_equal(pop_read_hex("nonce", text, bytes, &err), -1);
    text[63] = '\0';
    assert_int_equal(pop_read_hex("nonce", text, bytes, &err), -1);
    text[63] = '0', text[64] = '0';
    assert_int_equal(pop_read_hex("nonce", text, bytes, &err), -1);
    assert_int_equal(pop_read_hex("nonce", "", bytes, &err), -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_proof_goes_through_its_text_and_back),
        cmocka_unit_test(what_is_no_proof_is_not_read),
        cmocka_unit_test(a_proof_is_of_its_token_key_verifier_nonce_and_connection),
        cmocka_unit_test(hexadecimal_digits_are_read_as_tools_print_them),
    };

    return cmocka_run_group_tests_name("pop", tests, set_up, tear_down);
}
