#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "lib/crypto/key.h"
#include "lib/crypto/x509.h"
#include "lib/wire/bundle.h"

struct ca {
    struct key *key;
    struct buf der;
};

static struct ca first, second, stranger;

static void
make_ca(struct ca *ca, enum x509_kind kind)
{
    CLEANUP(buf_clear) struct buf spki = BUF(256);
    static const uint8_t serial[16] = { 1 };
    uint8_t point[KEY_POINT_LEN];
    struct error err;
    struct x509_request request = { .kind = kind, .name = "virtid test", .serial = serial,
                                    .now = 1500000000 /* long ago: a guest's clock may be, too */ };

    assert_int_equal(key_generate(&ca->key, &err), 0);
    key_point(ca->key, point);
    assert_int_equal(x509_spki_of_point(point, &spki, &err), 0);
    request.spki = spki.data;
    request.spki_len = spki.len;
    ca->der = BUF(BUNDLE_CA_MAX);
    assert_int_equal(x509_compose(&request, ca->key, NULL, 0, &ca->der, &err), 0);
}

static int
set_up(void **state)
{
    (void)state;
    make_ca(&first, X509_CA_HOST);
    make_ca(&second, X509_CA_HOST);
    make_ca(&stranger, X509_CA_HOST);
    return 0;
}

static int
tear_down(void **state)
{
    struct ca *all[] = { &first, &second, &stranger };

    (void)state;
    for (int i = 0; i < 3; i++) {
        key_free(all[i]->key);
        buf_clear(&all[i]->der);
    }
    return 0;
}

static void
fill(struct bundle *b, uint64_t serial, const struct ca *now, const struct ca *next)
{
    memset(b, 0, sizeof *b);
    strcpy(b->issuer, "https://id.example:8443");
    strcpy(b->guest_listener, "id.example:8445");
    b->serial = serial;
    memcpy(b->ca_now, now->der.data, b->ca_now_len = now->der.len);
    if (next)
        memcpy(b->ca_next, next->der.data, b->ca_next_len = next->der.len);
}

static void
encode(const struct bundle *b, const struct ca *by, struct buf *into)
{
    uint8_t signature[KEY_SIGNATURE_LEN];
    struct error err;

    into->len = 0;
    assert_int_equal(bundle_message(b, into, &err), 0);
    assert_int_equal(key_sign(by->key, into->data, into->len, signature, &err), 0);
    buf_add(into, signature, sizeof signature);
    assert_true(buf_ok(into));
}

static void
bundle_comes_back_as_it_was(void **state)
{
    static struct bundle a, b;
    CLEANUP(buf_clear) struct buf bytes = BUF(BUNDLE_MAX);
    struct error err;

    (void)state;
    fill(&a, 7, &first, &second);
    encode(&a, &first, &bytes);
    assert_int_equal(bundle_decode(bytes.data, bytes.len, &b, &err), 0);
    assert_memory_equal(&a, &b, sizeof a);
    for (size_t n = 0; n < bytes.len; n++)
        assert_int_equal(bundle_decode(bytes.data, n, &b, &err), -1);
}

static void
first_bundle_is_signed_by_its_own_ca(void **state)
{
    static struct bundle a, b;
    CLEANUP(buf_clear) struct buf bytes = BUF(BUNDLE_MAX);
    struct error err;

    (void)state;
    fill(&a, 1, &first, NULL);
    encode(&a, &first, &bytes);
    assert_int_equal(bundle_accept(NULL, bytes.data, bytes.len, &b, &err), 0);
    encode(&a, &stranger, &bytes);
    assert_int_equal(bundle_accept(NULL, bytes.data, bytes.len, &b, &err), -1);
    assert_int_equal(err.code, ERROR_DENIED);
}

static void
successor_is_signed_under_the_one_held(void **state)
{
    static struct bundle held, next, got;
    CLEANUP(buf_clear) struct buf bytes = BUF(BUNDLE_MAX);
    struct error err;

    (void)state;
    fill(&held, 5, &first, &second);
    fill(&next, 6, &second, NULL);
    encode(&next, &first, &bytes);
    assert_int_equal(bundle_accept(&held, bytes.data, bytes.len, &got, &err), 0);
    assert_true(got.serial == 6);
    encode(&next, &second, &bytes); /* the announced next CA may sign, too */
    assert_int_equal(bundle_accept(&held, bytes.data, bytes.len, &got, &err), 0);
    fill(&next, 6, &stranger, NULL);
    encode(&next, &stranger, &bytes); /* its own CA's word does not count now */
    assert_int_equal(bundle_accept(&held, bytes.data, bytes.len, &got, &err), -1);
    assert_string_equal(err.problem, "bundle-refused");
}

static void
older_or_foreign_bundle_is_refused(void **state)
{
    static struct bundle held, next, got;
    CLEANUP(buf_clear) struct buf bytes = BUF(BUNDLE_MAX);
    struct error err;

    (void)state;
    fill(&held, 5, &first, NULL);
    for (uint64_t serial = 4; serial <= 5; serial++) {
        fill(&next, serial, &first, NULL);
        encode(&next, &first, &bytes);
        assert_int_equal(bundle_accept(&held, bytes.data, bytes.len, &got, &err), -1);
        assert_int_equal(err.code, ERROR_DENIED);
    }
    fill(&next, 6, &first, NULL);
    strcpy(next.issuer, "https://other.example");
    encode(&next, &first, &bytes);
    assert_int_equal(bundle_accept(&held, bytes.data, bytes.len, &got, &err), -1);
    assert_string_equal(err.problem, "bundle-refused");
}

static void
every_changed_bit_of_a_bundle_is_refused(void **state)
{
    static struct bundle held, next, got;
    CLEANUP(buf_clear) struct buf bytes = BUF(BUNDLE_MAX);
    struct error err;

    (void)state;
    fill(&held, 5, &first, NULL);
    fill(&next, 6, &second, NULL);
    encode(&next, &first, &bytes);
    for (size_t bit = 0; bit < 8 * bytes.len; bit += 3) {
        bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(bundle_accept(&held, bytes.data, bytes.len, &got, &err), -1);
        bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

/* A certificate that is no CA of ours is no ground for trust, whoever signed. */
static void
ca_of_another_kind_is_refused(void **state)
{
    static struct bundle a, b;
    static struct ca ek;
    CLEANUP(buf_clear) struct buf bytes = BUF(BUNDLE_MAX);
    struct error err;

    (void)state;
    make_ca(&ek, X509_CA_EK);
    fill(&a, 1, &ek, NULL);
    encode(&a, &ek, &bytes);
    assert_int_equal(bundle_accept(NULL, bytes.data, bytes.len, &b, &err), -1);
    fill(&a, 1, &first, NULL);
    a.ca_now[10] ^= 1;
    encode(&a, &first, &bytes);
    assert_int_equal(bundle_accept(NULL, bytes.data, bytes.len, &b, &err), -1);
    key_free(ek.key);
    buf_clear(&ek.der);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bundle_comes_back_as_it_was),
        cmocka_unit_test(first_bundle_is_signed_by_its_own_ca),
        cmocka_unit_test(successor_is_signed_under_the_one_held),
        cmocka_unit_test(older_or_foreign_bundle_is_refused),
        cmocka_unit_test(every_changed_bit_of_a_bundle_is_refused),
        cmocka_unit_test(ca_of_another_kind_is_refused),
    };

    return cmocka_run_group_tests_name("bundle", tests, set_up, tear_down);
}
