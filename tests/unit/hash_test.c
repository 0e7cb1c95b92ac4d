#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "lib/common/encode.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/random.h"

static void
assert_hex(const uint8_t *bytes, size_t len, const char *hex)
{
    char text[2 * SHA384_LEN + 1];

    hex_encode(bytes, len, text);
    assert_string_equal(text, hex);
}

/* FIPS 180-4 examples */
static void
sha_gives_the_published_digests(void **state)
{
    struct error err;
    uint8_t digest[SHA384_LEN];

    (void)state;
    assert_int_equal(hash_sha256("abc", 3, digest, &err), 0);
    assert_hex(digest, SHA256_LEN,
               "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(hash_sha256(NULL, 0, digest, &err), 0);
    assert_hex(digest, SHA256_LEN,
               "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_int_equal(hash_sha384("abc", 3, digest, &err), 0);
    assert_hex(digest, SHA384_LEN,
               "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
               "8086072ba1e7cc2358baeca134c825a7");
}

/* RFC 4231, 4.2, 4.3, 4.4 and 4.7 */
static void
hmac_gives_the_digests_of_rfc_4231(void **state)
{
    struct error err;
    uint8_t mac[SHA256_LEN], key[131], data[50];

    (void)state;
    memset(key, 0x0b, 20);
    assert_int_equal(hash_hmac(key, 20, "Hi There", 8, mac, &err), 0);
    assert_hex(mac, sizeof mac,
               "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    assert_int_equal(hash_hmac("Jefe", 4, "what do ya want for nothing?", 28, mac, &err), 0);
    assert_hex(mac, sizeof mac,
               "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    memset(data, 0xdd, sizeof data);
    assert_int_equal(hash_hmac(key, 20, data, sizeof data, mac, &err), 0);
    assert_hex(mac, sizeof mac,
               "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    assert_int_equal(hash_hmac(key, 131,
                               "Test Using Larger Than Block-Size Key - Hash Key First", 54,
                               mac, &err),
                     0);
    assert_hex(mac, sizeof mac,
               "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

/* RFC 5869, A.3: no salt, no info, 42 bytes of which we take 32 */
static void
hkdf_gives_the_key_of_rfc_5869(void **state)
{
    struct error err;
    uint8_t ikm[22], okm[SHA256_LEN];

    (void)state;
    memset(ikm, 0x0b, sizeof ikm);
    assert_int_equal(hash_hkdf(ikm, sizeof ikm, "", 0, okm, &err), 0);
    assert_hex(okm, sizeof okm,
               "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d");
}

static void
hkdf_with_another_label_is_another_key(void **state)
{
    struct error err;
    uint8_t a[SHA256_LEN], b[SHA256_LEN];

    (void)state;
    assert_int_equal(hash_hkdf("key", 3, "virtid-a-1", 10, a, &err), 0);
    assert_int_equal(hash_hkdf("key", 3, "virtid-b-1", 10, b, &err), 0);
    assert_memory_not_equal(a, b, sizeof a);
}

static void
random_bytes_differ(void **state)
{
    struct error err;
    uint8_t a[32] = { 0 }, b[32] = { 0 };

    (void)state;
    assert_int_equal(random_bytes(a, sizeof a, &err), 0);
    assert_int_equal(random_bytes(b, sizeof b, &err), 0);
    assert_memory_not_equal(a, b, sizeof a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha_gives_the_published_digests),
        cmocka_unit_test(hmac_gives_the_digests_of_rfc_4231),
        cmocka_unit_test(hkdf_gives_the_key_of_rfc_5869),
        cmocka_unit_test(hkdf_with_another_label_is_another_key),
        cmocka_unit_test(random_bytes_differ),
    };

    return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
