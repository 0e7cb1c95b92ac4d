#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "lib/crypto/x509.h"
#include "lib/wire/bundle.h"
#include "lib/wire/fields.h"
#include "lib/wire/token.h"
#include "lib/wire/transcript.h"
#include "tests/unit/verify_fixture.h"

/*
 * Every structure that one of our keys signs, all signed by one and the same key, shown to every
 * verifier: only what is made for a verifier passes there, although the key is right.
 */
enum { HOST, SECRET, POP, TOKEN, BUNDLE, JOIN, STRUCTURES };

static struct key *key;
static struct buf covered[STRUCTURES];             /* what is signed */
static uint8_t signatures[STRUCTURES][KEY_SIGNATURE_LEN];
static struct buf ca;
static struct jwks *jwks;
static const uint8_t h[32] = { 1 }, nonce[32] = { 2 }, exporter[32] = { 3 };
static const struct vm_uuid uuid = { { 4 } };

static void
make_ca(void)
{
    CLEANUP(buf_clear) struct buf spki = BUF(256);
    static const uint8_t serial[16] = { 1 };
    uint8_t point[KEY_POINT_LEN];
    struct error err;
    struct x509_request request = { .kind = X509_CA_HOST, .name = "x", .serial = serial,
                                    .now = 1800000000 };

    key_point(key, point);
    assert_int_equal(x509_spki_of_point(point, &spki, &err), 0);
    request.spki = spki.data;
    request.spki_len = spki.len;
    ca = BUF(BUNDLE_CA_MAX);
    assert_int_equal(x509_compose(&request, key, NULL, 0, &ca, &err), 0);
}

static void
make_bundle(void)
{
    static struct bundle b;
    struct error err;

    strcpy(b.issuer, FIXTURE_ISSUER);
    strcpy(b.guest_listener, "id.example:8445");
    b.serial = 1;
    memcpy(b.ca_now, ca.data, b.ca_now_len = ca.len);
    assert_int_equal(bundle_message(&b, &covered[BUNDLE], &err), 0);
}

static void
make_token(void)
{
    CLEANUP(json_decref) json_t *claims = fixture_claims("shop", 1800000000, NULL);
    struct error err;

    assert_int_equal(token_sign(claims, key, &covered[TOKEN], &err), 0);
    covered[TOKEN].len = (size_t)(strrchr(buf_text(&covered[TOKEN]), '.') -
                                  (char *)covered[TOKEN].data);
}

static int
set_up(void **state)
{
    CLEANUP(buf_clear) struct buf set = BUF(1024);
    struct error err;

    (void)state;
    assert_int_equal(key_generate(&key, &err), 0);
    for (int i = 0; i < STRUCTURES; i++)
        covered[i] = BUF(BUNDLE_MAX);
    fixture_jwks(key, &set);
    assert_int_equal(jwks_parse((char *)set.data, set.len, &jwks, &err), 0);
    make_ca();
    make_bundle();
    make_token();
    assert_int_equal(transcript_host_message(FIXTURE_ISSUER, "h1", &uuid, 5, h, &covered[HOST],
                                             &err), 0);
    assert_int_equal(transcript_secret_message(h, &covered[SECRET], &err), 0);
    assert_int_equal(transcript_pop_message(h, "shop", nonce, exporter, &covered[POP], &err), 0);
    fields_add_text(&covered[JOIN], "virtid-join-1");
    fields_add_text(&covered[JOIN], "h1");
    fields_add(&covered[JOIN], h, sizeof h);
    for (int i = 0; i < STRUCTURES; i++)
        assert_int_equal(key_sign(key, covered[i].data, covered[i].len, signatures[i], &err), 0);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    key_free(key);
    jwks_free(jwks);
    buf_clear(&ca);
    for (int i = 0; i < STRUCTURES; i++)
        buf_clear(&covered[i]);
    return 0;
}

/* Verifiers that rebuild what must have been signed. */
static void
signature_passes_over_its_own_structure_only(void **state)
{
    struct error err;

    (void)state;
    for (int made = 0; made < STRUCTURES; made++) {
        for (int asked = 0; asked < STRUCTURES; asked++)
            assert_int_equal(key_verify(key, covered[asked].data, covered[asked].len,
                                        signatures[made], &err),
                             made == asked ? 0 : -1);
    }
}

/* Verifiers that read what they are shown. */
static void
signed_structure_is_read_by_its_own_reader_only(void **state)
{
    static struct bundle bundle;
    struct error err;

    (void)state;
    for (int made = 0; made < STRUCTURES; made++) {
        CLEANUP(buf_clear) struct buf raw = BUF(BUNDLE_MAX), text = BUF(TOKEN_TEXT_MAX);
        CLEANUP(token_clear) struct token token = { 0 };

        buf_add(&raw, covered[made].data, covered[made].len);
        buf_add(&raw, signatures[made], KEY_SIGNATURE_LEN);
        assert_int_equal(bundle_accept(NULL, raw.data, raw.len, &bundle, &err),
                         made == BUNDLE ? 0 : -1);
        /* as it is, and wrapped as the claims of a token under its own signature's key */
        assert_int_equal(token_verify((char *)raw.data, raw.len, jwks, FIXTURE_ISSUER, "shop",
                                      1800000000, &token, &err), -1);
        if (made == TOKEN)
            continue;
        buf_add(&text, covered[made].data, covered[made].len);
        assert_int_equal(token_verify((char *)text.data, text.len, jwks, FIXTURE_ISSUER, "shop",
                                      1800000000, &token, &err), -1);
    }
}

/* No structure is the beginning of another one. */
static void
structures_differ_in_their_first_field(void **state)
{
    (void)state;
    for (int a = 0; a < STRUCTURES; a++) {
        for (int b = a + 1; b < STRUCTURES; b++) {
            size_t len = covered[a].len < covered[b].len ? covered[a].len : covered[b].len;

            assert_true(len >= 16);
            assert_memory_not_equal(covered[a].data, covered[b].data, 16);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signature_passes_over_its_own_structure_only),
        cmocka_unit_test(signed_structure_is_read_by_its_own_reader_only),
        cmocka_unit_test(structures_differ_in_their_first_field),
    };

    return cmocka_run_group_tests_name("labels", tests, set_up, tear_down);
}
