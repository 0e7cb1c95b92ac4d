#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "lib/common/encode.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/key.h"

/* RFC 7515, A.3: the key, what was signed, the signature */
static const char a3_x[] = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
static const char a3_y[] = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
static const char a3_d[] = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI";
static const char a3_text[] =
    "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
    "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
static const char a3_signature[] =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

static void
decode(const char *text, uint8_t *ret, size_t expected)
{
    struct error err;
    size_t len;

    assert_int_equal(b64url_decode(text, strlen(text), ret, expected, &len, &err), 0);
    assert_int_equal(len, expected);
}

static void
a3_point(uint8_t ret[KEY_POINT_LEN])
{
    ret[0] = 4;
    decode(a3_x, ret + 1, 32);
    decode(a3_y, ret + 33, 32);
}

static void
signature_of_rfc_7515_is_accepted(void **state)
{
    CLEANUP(key_free) struct key *key = NULL;
    struct error err;
    uint8_t point[KEY_POINT_LEN], signature[KEY_SIGNATURE_LEN], digest[SHA256_LEN];

    (void)state;
    a3_point(point);
    decode(a3_signature, signature, sizeof signature);
    assert_int_equal(key_from_point(point, &key, &err), 0);
    assert_int_equal(key_verify(key, a3_text, strlen(a3_text), signature, &err), 0);
    assert_int_equal(hash_sha256(a3_text, strlen(a3_text), digest, &err), 0);
    assert_int_equal(key_verify_digest(key, digest, signature, &err), 0);
    digest[0] ^= 1;
    assert_int_equal(key_verify_digest(key, digest, signature, &err), -1);
    assert_int_equal(err.code, ERROR_DENIED);
}

static void
private_key_of_rfc_7515_gives_its_point(void **state)
{
    CLEANUP(key_free) struct key *key = NULL;
    struct error err;
    uint8_t scalar[KEY_PRIVATE_LEN], point[KEY_POINT_LEN], got[KEY_POINT_LEN], back[32];

    (void)state;
    a3_point(point);
    decode(a3_d, scalar, sizeof scalar);
    assert_int_equal(key_from_private(scalar, &key, &err), 0);
    key_point(key, got);
    assert_memory_equal(got, point, sizeof point);
    key_private(key, back);
    assert_memory_equal(back, scalar, sizeof scalar);
}

static void
every_changed_bit_of_a_signature_is_refused(void **state)
{
    CLEANUP(key_free) struct key *key = NULL;
    struct error err;
    uint8_t signature[KEY_SIGNATURE_LEN];

    (void)state;
    assert_int_equal(key_generate(&key, &err), 0);
    assert_int_equal(key_sign(key, "text", 4, signature, &err), 0);
    assert_int_equal(key_verify(key, "text", 4, signature, &err), 0);
    for (size_t bit = 0; bit < 8 * sizeof signature; bit++) {
        signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(key_verify(key, "text", 4, signature, &err), -1);
        assert_int_equal(err.code, ERROR_DENIED);
        signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(key_verify(key, "text", 4, signature, &err), 0);
    assert_int_equal(key_verify(key, "texT", 4, signature, &err), -1);
}

static void
r_and_s_of_zero_or_above_the_order_are_refused(void **state)
{
    static const char n[] = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    CLEANUP(key_free) struct key *key = NULL;
    struct error err;
    uint8_t signature[KEY_SIGNATURE_LEN], good[KEY_SIGNATURE_LEN], order[32];
    size_t len;

    (void)state;
    assert_int_equal(key_generate(&key, &err), 0);
    assert_int_equal(key_sign(key, "text", 4, good, &err), 0);
    assert_int_equal(hex_decode(n, 64, order, sizeof order, &len, &err), 0);
    for (int half = 0; half < 2; half++) {
        memcpy(signature, good, sizeof good);
        memset(signature + 32 * half, 0, 32);
        assert_int_equal(key_verify(key, "text", 4, signature, &err), -1);
        assert_string_equal(err.text, "signature out of range");
        memcpy(signature + 32 * half, order, 32);
        assert_int_equal(key_verify(key, "text", 4, signature, &err), -1);
        assert_string_equal(err.text, "signature out of range");
        memset(signature + 32 * half, 0xff, 32);
        assert_int_equal(key_verify(key, "text", 4, signature, &err), -1);
        assert_string_equal(err.text, "signature out of range");
    }
}

static void
points_off_the_curve_are_refused(void **state)
{
    struct key *key = NULL;
    struct error err;
    uint8_t point[KEY_POINT_LEN];

    (void)state;
    a3_point(point);
    point[64] ^= 1;
    assert_int_equal(key_from_point(point, &key, &err), -1);
    assert_int_equal(err.code, ERROR_INPUT);
    a3_point(point);
    point[0] = 2;
    assert_int_equal(key_from_point(point, &key, &err), -1);
    point[0] = 6; /* hybrid form */
    assert_int_equal(key_from_point(point, &key, &err), -1);
    memset(point, 0, sizeof point);
    assert_int_equal(key_from_point(point, &key, &err), -1);
    point[0] = 4;
    assert_int_equal(key_from_point(point, &key, &err), -1);
    memset(point + 1, 0xff, 64); /* above the field's prime */
    assert_int_equal(key_from_point(point, &key, &err), -1);
    assert_null(key);
}

static void
private_keys_out_of_range_are_refused(void **state)
{
    static const char n[] = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    struct key *key = NULL;
    struct error err;
    uint8_t scalar[KEY_PRIVATE_LEN] = { 0 };
    size_t len;

    (void)state;
    assert_int_equal(key_from_private(scalar, &key, &err), -1);
    assert_int_equal(err.code, ERROR_INPUT);
    assert_int_equal(hex_decode(n, 64, scalar, sizeof scalar, &len, &err), 0);
    assert_int_equal(key_from_private(scalar, &key, &err), -1);
    scalar[31]--; /* n - 1 is the largest */
    assert_int_equal(key_from_private(scalar, &key, &err), 0);
    key_free(key);
}

static void
pem_comes_back_as_the_same_key(void **state)
{
    CLEANUP(key_free) struct key *key = NULL, *back = NULL;
    CLEANUP(buf_clear) struct buf pem = BUF(4096);
    struct error err;
    uint8_t a[KEY_POINT_LEN], b[KEY_POINT_LEN], x[32], y[32];

    (void)state;
    assert_int_equal(key_generate(&key, &err), 0);
    assert_int_equal(key_to_pem(key, &pem, &err), 0);
    assert_non_null(strstr(buf_text(&pem), "-----BEGIN PRIVATE KEY-----"));
    assert_int_equal(key_from_pem(pem.data, pem.len, &back, &err), 0);
    key_point(key, a);
    key_point(back, b);
    assert_memory_equal(a, b, sizeof a);
    key_private(key, x);
    key_private(back, y);
    assert_memory_equal(x, y, sizeof x);
}

static void
pem_of_another_kind_is_refused(void **state)
{
    /* P-384, RSA would be longer; and the traditional form of a P-256 key */
    static const char *const others[] = {
        "-----BEGIN PRIVATE KEY-----\n"
        "MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDDSoiErIoOdfMlT7FMj\n"
        "-----END PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZ"
        "GhscHR4f\n-----END PRIVATE KEY-----\n",
        "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIAAA\n-----END EC PRIVATE KEY-----\n",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMHcCAQEEIAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "no PEM at all",
        "",
    };
    struct key *key = NULL;
    struct error err;

    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_equal(key_from_pem(others[i], strlen(others[i]), &key, &err), -1);
        assert_int_equal(err.code, ERROR_INPUT);
    }
    assert_null(key);
}

/* The value comes from `jose jwk thp` and from a second implementation in Python. */
static void
thumbprint_is_that_of_rfc_7638(void **state)
{
    struct error err;
    uint8_t point[KEY_POINT_LEN], thumbprint[KEY_THUMBPRINT_LEN];
    char text[B64URL_LEN(KEY_THUMBPRINT_LEN) + 1];

    (void)state;
    a3_point(point);
    assert_int_equal(key_thumbprint(point, thumbprint, &err), 0);
    b64url_encode(thumbprint, sizeof thumbprint, text);
    assert_string_equal(text, "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U");
}

static void
two_generated_keys_differ(void **state)
{
    CLEANUP(key_free) struct key *a = NULL, *b = NULL;
    struct error err;
    uint8_t p[KEY_POINT_LEN], q[KEY_POINT_LEN], signature[KEY_SIGNATURE_LEN];

    (void)state;
    assert_int_equal(key_generate(&a, &err), 0);
    assert_int_equal(key_generate(&b, &err), 0);
    key_point(a, p);
    key_point(b, q);
    assert_memory_not_equal(p, q, sizeof p);
    assert_int_equal(key_sign(a, "x", 1, signature, &err), 0);
    assert_int_equal(key_verify(b, "x", 1, signature, &err), -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signature_of_rfc_7515_is_accepted),
        cmocka_unit_test(private_key_of_rfc_7515_gives_its_point),
        cmocka_unit_test(every_changed_bit_of_a_signature_is_refused),
        cmocka_unit_test(r_and_s_of_zero_or_above_the_order_are_refused),
        cmocka_unit_test(points_off_the_curve_are_refused),
        cmocka_unit_test(private_keys_out_of_range_are_refused),
        cmocka_unit_test(pem_comes_back_as_the_same_key),
        cmocka_unit_test(pem_of_another_kind_is_refused),
        cmocka_unit_test(thumbprint_is_that_of_rfc_7638),
        cmocka_unit_test(two_generated_keys_differ),
    };

    return cmocka_run_group_tests_name("key", tests, NULL, NULL);
}
