#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "lib/common/encode.h"
#include "lib/crypto/key.h"
#include "lib/crypto/x509.h"

enum { NOW = 1800000000, HOUR = 3600, DAY = 24 * HOUR, KINDS = X509_EK + 1 };

static const char *const names[KINDS] = {
    [X509_CA_HOST] = "virtid host CA",
    [X509_CA_EK] = "virtid EK CA",
    [X509_SERVER] = "id.example,localhost,127.0.0.1,::1",
    [X509_HOST_TLS] = "spiffe://example.test/host/h1",
    [X509_HOST_PROOF] = "spiffe://example.test/host/h1",
    [X509_ADMIN] = "spiffe://example.test/admin/root",
    [X509_EK] = "6f1b0a3e-58c1-4a0e-9d4e-0a1b2c3d4e5f",
};

/* of a key that was thrown away */
static const char rsa_modulus[] =
    "97d242f01e7cba00644fc776f6a4e558f05cdf63ab353bf9cd6d1297877dbb69bbb4ebdf8516c143"
    "420d4abc53b2eba891f7f1a90831ca1dba3d84ba0346373b3b5f784708509b2a5075976aada19541"
    "c6530745505b91c404266b0c95691d6adda130260190d9f34fed3a09c4ed26e808573204b9bea74b"
    "b4b21558b0e6049b47020a408b004d30b58ca0bb5e08d74164042f8d9aec17ec027079b7241d415f"
    "5857ad77f438007f237bc39c3d8622787205c7c635d7a4b544b0423aa722284c9c883e879480cc33"
    "3132a94334f3553f1220e37ba403d9b572ca9d054b49d17742ea1fab0a4e8ae31e8c86099ebb5b30"
    "fc6ed5b521c11f315838b650b217e8d9";

struct world {
    struct key *ca_key[2], *key; /* CA_HOST and CA_EK; the subject's */
    struct buf certs[KINDS];
};

static int
make(struct world *w, enum x509_kind kind, const char *name, int64_t now, struct buf *into,
     struct error *err)
{
    CLEANUP(buf_clear) struct buf spki = BUF(1024);
    uint8_t point[KEY_POINT_LEN];
    static const uint8_t serial[16] = { 0x11, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };
    bool is_ca = kind == X509_CA_HOST || kind == X509_CA_EK;
    int under = kind == X509_EK || kind == X509_CA_EK;
    struct x509_request request = { .kind = kind, .name = name, .serial = serial, .now = now };

    key_point(is_ca ? w->ca_key[under] : w->key, point);
    assert_int_equal(x509_spki_of_point(point, &spki, err), 0);
    request.spki = spki.data;
    request.spki_len = spki.len;
    return x509_compose(&request, w->ca_key[under], is_ca ? NULL : w->certs[under].data,
                        is_ca ? 0 : w->certs[under].len, into, err);
}

static int
make_world(void **state)
{
    static struct world w;
    struct error err;

    assert_int_equal(key_generate(&w.ca_key[0], &err), 0);
    assert_int_equal(key_generate(&w.ca_key[1], &err), 0);
    assert_int_equal(key_generate(&w.key, &err), 0);
    for (int kind = 0; kind < KINDS; kind++) {
        w.certs[kind] = BUF(X509_DER_MAX);
        assert_int_equal(make(&w, kind, names[kind], NOW, &w.certs[kind], &err), 0);
    }
    *state = &w;
    return 0;
}

static int
unmake_world(void **state)
{
    struct world *w = *state;

    key_free(w->ca_key[0]);
    key_free(w->ca_key[1]);
    key_free(w->key);
    for (int kind = 0; kind < KINDS; kind++)
        buf_clear(&w->certs[kind]);
    return 0;
}

static int
verify(struct world *w, const struct buf *cert, enum x509_kind kind, int64_t now,
       struct x509_info *info, struct error *err)
{
    struct x509_der cas[2] = { { w->certs[X509_CA_HOST].data, w->certs[X509_CA_HOST].len },
                               { w->certs[X509_CA_EK].data, w->certs[X509_CA_EK].len } };

    return x509_verify(cert->data, cert->len, kind, cas, 2, now, info, err);
}

/* Both CAs are trusted here, and still each certificate passes as its own kind alone. */
static void
each_kind_passes_as_itself_only(void **state)
{
    struct world *w = *state;
    struct x509_info info;
    struct error err;

    for (int made = 0; made < KINDS; made++) {
        for (int asked = 0; asked < KINDS; asked++) {
            int got = verify(w, &w->certs[made], asked, NOW, &info, &err);

            assert_int_equal(got, made == asked ? 0 : -1);
            if (got < 0)
                assert_int_equal(err.code, ERROR_DENIED);
        }
    }
}

static void
what_a_certificate_says_is_read(void **state)
{
    struct world *w = *state;
    struct x509_info info;
    struct error err;
    uint8_t point[KEY_POINT_LEN];

    key_point(w->key, point);
    assert_int_equal(verify(w, &w->certs[X509_HOST_TLS], X509_HOST_TLS, NOW, &info, &err), 0);
    assert_string_equal(info.uri, "spiffe://example.test/host/h1");
    assert_string_equal(info.subject_cn, "h1");
    assert_memory_equal(info.point, point, sizeof point);
    assert_int_equal(info.serial_len, 16);
    assert_int_equal(info.serial[0], 0x11);
    assert_int_equal(info.not_before, NOW - 300);
    assert_int_equal(info.not_after, NOW + DAY);
    assert_int_equal(verify(w, &w->certs[X509_EK], X509_EK, NOW, &info, &err), 0);
    assert_string_equal(info.subject_cn, names[X509_EK]);
    assert_string_equal(info.uri, "");
    assert_int_equal(info.not_after, INT64_C(253402300799));
    assert_int_equal(x509_read(w->certs[X509_SERVER].data, w->certs[X509_SERVER].len, &info,
                               &err), 0);
    assert_string_equal(info.subject_cn, "id.example");
}

static void
lifetimes_are_fixed_and_kept(void **state)
{
    static const int64_t life[KINDS] = { 3650LL * DAY, 3650LL * DAY, 7 * DAY, DAY,
                                         DAY,          365LL * DAY,  0 };
    struct world *w = *state;
    struct x509_info info;
    struct error err;

    for (int kind = 0; kind < KINDS; kind++) {
        const struct buf *cert = &w->certs[kind];

        assert_int_equal(verify(w, cert, kind, NOW - 300, &info, &err), 0);
        assert_int_equal(verify(w, cert, kind, NOW - 301, &info, &err), -1);
        if (life[kind]) {
            int64_t end = life[kind] < 3650LL * DAY ? NOW + life[kind] : info.not_after;

            assert_int_equal(verify(w, cert, kind, end + 1, &info, &err), -1);
            assert_int_equal(err.code, ERROR_DENIED);
            assert_int_equal(info.not_after, NOW + life[kind]);
        }
    }
}

static void
certificate_of_another_ca_is_refused(void **state)
{
    struct world *w = *state, other = { { NULL, NULL }, NULL, { { 0 } } };
    CLEANUP(buf_clear) struct buf cert = BUF(X509_DER_MAX);
    struct x509_info info;
    struct error err;

    assert_int_equal(key_generate(&other.ca_key[0], &err), 0);
    assert_int_equal(key_generate(&other.key, &err), 0);
    other.certs[0] = BUF(X509_DER_MAX);
    /* The same name, another key. */
    assert_int_equal(make(&other, X509_CA_HOST, names[0], NOW, &other.certs[0], &err), 0);
    assert_int_equal(make(&other, X509_HOST_TLS, names[X509_HOST_TLS], NOW, &cert, &err), 0);
    assert_int_equal(verify(w, &cert, X509_HOST_TLS, NOW, &info, &err), -1);
    assert_int_equal(verify(w, &other.certs[0], X509_CA_HOST, NOW, &info, &err), -1);
    buf_clear(&other.certs[0]);
    key_free(other.ca_key[0]);
    key_free(other.key);
}

static void
leaf_of_a_leaf_is_refused(void **state)
{
    struct world *w = *state;
    CLEANUP(buf_clear) struct buf spki = BUF(1024), cert = BUF(X509_DER_MAX);
    uint8_t point[KEY_POINT_LEN];
    static const uint8_t serial[16] = { 1 };
    struct x509_request request = { .kind = X509_HOST_TLS,
                                    .name = names[X509_HOST_TLS],
                                    .serial = serial,
                                    .now = NOW };
    const struct buf *leaf = &w->certs[X509_HOST_TLS];
    struct x509_der as_ca = { leaf->data, leaf->len };
    struct x509_info info;
    struct error err;

    key_point(w->key, point);
    assert_int_equal(x509_spki_of_point(point, &spki, &err), 0);
    request.spki = spki.data;
    request.spki_len = spki.len;
    assert_int_equal(x509_compose(&request, w->key, leaf->data, leaf->len, &cert, &err), 0);
    assert_int_equal(x509_verify(cert.data, cert.len, X509_HOST_TLS, &as_ca, 1, NOW, &info, &err),
                     -1);
}

static void
every_changed_byte_is_refused(void **state)
{
    struct world *w = *state;
    struct buf *cert = &w->certs[X509_HOST_PROOF];
    struct x509_info info;
    struct error err;

    for (size_t i = 0; i < cert->len; i++) {
        cert->data[i] ^= 1;
        assert_int_equal(verify(w, cert, X509_HOST_PROOF, NOW, &info, &err), -1);
        assert_int_equal(err.code, ERROR_DENIED);
        cert->data[i] ^= 1;
    }
    assert_int_equal(verify(w, cert, X509_HOST_PROOF, NOW, &info, &err), 0);
}

static void
trailing_and_missing_bytes_are_refused(void **state)
{
    struct world *w = *state;
    CLEANUP(buf_clear) struct buf copy = BUF(X509_DER_MAX + 1);
    struct x509_info info;
    struct error err;

    buf_add(&copy, w->certs[X509_SERVER].data, w->certs[X509_SERVER].len);
    buf_add_u8(&copy, 0);
    assert_int_equal(verify(w, &copy, X509_SERVER, NOW, &info, &err), -1);
    copy.len -= 2;
    assert_int_equal(verify(w, &copy, X509_SERVER, NOW, &info, &err), -1);
    assert_int_equal(x509_read(copy.data, 0, &info, &err), -1);
    assert_int_equal(x509_read(copy.data, X509_DER_MAX + 1, &info, &err), -1);
    assert_int_equal(err.code, ERROR_INPUT);
}

static void
bad_names_are_not_composed(void **state)
{
    static const struct { enum x509_kind kind; const char *name; } bad[] = {
        { X509_HOST_TLS, "h1" },
        { X509_HOST_TLS, "spiffe://example.test/admin/h1" },
        { X509_HOST_TLS, "spiffe://example.test/host/" },
        { X509_HOST_TLS, "spiffe://example.test/host/H1" },
        { X509_HOST_TLS, "spiffe://example.test/host/a/b" },
        { X509_HOST_TLS, "spiffe:///host/a" },
        { X509_HOST_PROOF, "spiffe://example.test/vm/a" },
        { X509_ADMIN, "spiffe://example.test/host/a" },
        { X509_SERVER, "" },
        { X509_SERVER, "a b" },
        { X509_SERVER, "*.example" },
        { X509_SERVER, "https://id.example" },
        { X509_CA_HOST, "" },
        { X509_EK, "new\nline" },
    };
    CLEANUP(buf_clear) struct buf cert = BUF(X509_DER_MAX);
    struct error err;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(make(*state, bad[i].kind, bad[i].name, NOW, &cert, &err), -1);
    assert_int_equal(cert.len, 0);
}

static void
wrong_key_of_the_ca_composes_nothing(void **state)
{
    struct world *w = *state;
    CLEANUP(buf_clear) struct buf spki = BUF(1024), cert = BUF(X509_DER_MAX);
    uint8_t point[KEY_POINT_LEN];
    static const uint8_t serial[16] = { 1 }, negative[16] = { 0x80 }, zero[16];
    struct x509_request request = { .kind = X509_HOST_TLS,
                                    .name = names[X509_HOST_TLS],
                                    .serial = serial,
                                    .now = NOW };
    const struct buf *ca = &w->certs[X509_CA_HOST];
    struct error err;

    key_point(w->key, point);
    assert_int_equal(x509_spki_of_point(point, &spki, &err), 0);
    request.spki = spki.data;
    request.spki_len = spki.len;
    assert_int_equal(x509_compose(&request, w->ca_key[1], ca->data, ca->len, &cert, &err), -1);
    assert_int_equal(x509_compose(&request, w->ca_key[0], NULL, 0, &cert, &err), -1);
    request.serial = negative;
    assert_int_equal(x509_compose(&request, w->ca_key[0], ca->data, ca->len, &cert, &err), -1);
    request.serial = zero;
    assert_int_equal(x509_compose(&request, w->ca_key[0], ca->data, ca->len, &cert, &err), -1);
    assert_int_equal(cert.len, 0);
}

/* A serial number may begin with zero bytes; it is read shorter then. */
static void
serial_with_leading_zeros_is_verified(void **state)
{
    struct world *w = *state;
    CLEANUP(buf_clear) struct buf spki = BUF(1024), cert = BUF(X509_DER_MAX);
    uint8_t point[KEY_POINT_LEN];
    static const uint8_t serial[16] = { 0, 0, 0x90, 1 };
    struct x509_request request = { .kind = X509_ADMIN,
                                    .name = names[X509_ADMIN],
                                    .serial = serial,
                                    .now = NOW };
    const struct buf *ca = &w->certs[X509_CA_HOST];
    struct x509_info info;
    struct error err;

    key_point(w->key, point);
    assert_int_equal(x509_spki_of_point(point, &spki, &err), 0);
    request.spki = spki.data;
    request.spki_len = spki.len;
    assert_int_equal(x509_compose(&request, w->ca_key[0], ca->data, ca->len, &cert, &err), 0);
    assert_int_equal(verify(w, &cert, X509_ADMIN, NOW, &info, &err), 0);
}

static void
ek_of_rsa_and_p384_is_certified(void **state)
{
    struct world *w = *state;
    CLEANUP(buf_clear) struct buf rsa = BUF(1024), p384 = BUF(1024), cert = BUF(X509_DER_MAX);
    static const uint8_t serial[16] = { 7 };
    /* the generator of P-384 (FIPS 186-4, D.1.2.4) */
    static const uint8_t gx[48] = {
        0xaa, 0x87, 0xca, 0x22, 0xbe, 0x8b, 0x05, 0x37, 0x8e, 0xb1, 0xc7, 0x1e, 0xf3, 0x20, 0xad, 0x74,
        0x6e, 0x1d, 0x3b, 0x62, 0x8b, 0xa7, 0x9b, 0x98, 0x59, 0xf7, 0x41, 0xe0, 0x82, 0x54, 0x2a, 0x38,
        0x55, 0x02, 0xf2, 0x5d, 0xbf, 0x55, 0x29, 0x6c, 0x3a, 0x54, 0x5e, 0x38, 0x72, 0x76, 0x0a, 0xb7 };
    static const uint8_t gy[48] = {
        0x36, 0x17, 0xde, 0x4a, 0x96, 0x26, 0x2c, 0x6f, 0x5d, 0x9e, 0x98, 0xbf, 0x92, 0x92, 0xdc, 0x29,
        0xf8, 0xf4, 0x1d, 0xbd, 0x28, 0x9a, 0x14, 0x7c, 0xe9, 0xda, 0x31, 0x13, 0xb5, 0xf0, 0xb8, 0xc0,
        0x0a, 0x60, 0xb1, 0xce, 0x1d, 0x7e, 0x81, 0x9d, 0x7a, 0x43, 0x1d, 0x7c, 0x90, 0xea, 0x0e, 0x5f };
    struct x509_request request = { .kind = X509_EK, .name = names[X509_EK], .serial = serial,
                                    .now = NOW };
    const struct buf *ca = &w->certs[X509_CA_EK];
    struct x509_info info;
    struct error err;
    uint8_t modulus[256], bad[48];
    size_t len;
    const struct buf *spkis[] = { &rsa, &p384 };

    assert_int_equal(hex_decode(rsa_modulus, 512, modulus, sizeof modulus, &len, &err), 0);
    assert_int_equal(x509_spki_of_rsa(modulus, sizeof modulus, &rsa, &err), 0);
    assert_int_equal(x509_spki_of_p384(gx, gy, &p384, &err), 0);
    for (int i = 0; i < 2; i++) {
        cert.len = 0;
        request.kind = X509_EK;
        request.spki = spkis[i]->data;
        request.spki_len = spkis[i]->len;
        assert_int_equal(x509_compose(&request, w->ca_key[1], ca->data, ca->len, &cert, &err), 0);
        assert_int_equal(verify(w, &cert, X509_EK, NOW, &info, &err), 0);
        request.kind = X509_HOST_TLS; /* such keys are for an EK alone */
        request.name = names[X509_HOST_TLS];
        assert_int_equal(x509_compose(&request, w->ca_key[0], w->certs[0].data, w->certs[0].len,
                                      &cert, &err), -1);
        request.name = names[X509_EK];
    }
    memcpy(bad, gy, sizeof bad);
    bad[0] ^= 1;
    assert_int_equal(x509_spki_of_p384(gx, bad, &p384, &err), -1);
    modulus[255] = 2;
    assert_int_equal(x509_spki_of_rsa(modulus, sizeof modulus, &rsa, &err), -1);
    modulus[255] = 1;
    modulus[0] = 1;
    assert_int_equal(x509_spki_of_rsa(modulus, sizeof modulus, &rsa, &err), -1);
    assert_int_equal(x509_spki_of_rsa(modulus, 128, &rsa, &err), -1);
}

static void
pem_comes_back_as_the_same_der(void **state)
{
    struct world *w = *state;
    CLEANUP(buf_clear) struct buf pem = BUF(X509_DER_MAX * 2), der = BUF(X509_DER_MAX);
    const struct buf *cert = &w->certs[X509_SERVER];
    struct error err;

    assert_int_equal(x509_to_pem(cert->data, cert->len, &pem, &err), 0);
    assert_int_equal(x509_from_pem((char *)pem.data, pem.len, &der, &err), 0);
    assert_int_equal(der.len, cert->len);
    assert_memory_equal(der.data, cert->data, cert->len);
    assert_int_equal(x509_from_pem("nothing", 7, &der, &err), -1);
    assert_int_equal(err.code, ERROR_INPUT);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_passes_as_itself_only),
        cmocka_unit_test(what_a_certificate_says_is_read),
        cmocka_unit_test(lifetimes_are_fixed_and_kept),
        cmocka_unit_test(certificate_of_another_ca_is_refused),
        cmocka_unit_test(leaf_of_a_leaf_is_refused),
        cmocka_unit_test(every_changed_byte_is_refused),
        cmocka_unit_test(trailing_and_missing_bytes_are_refused),
        cmocka_unit_test(bad_names_are_not_composed),
        cmocka_unit_test(wrong_key_of_the_ca_composes_nothing),
        cmocka_unit_test(serial_with_leading_zeros_is_verified),
        cmocka_unit_test(ek_of_rsa_and_p384_is_certified),
        cmocka_unit_test(pem_comes_back_as_the_same_der),
    };

    return cmocka_run_group_tests_name("x509", tests, make_world, unmake_world);
}
