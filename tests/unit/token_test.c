#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "lib/common/encode.h"
#include "lib/crypto/hash.h"
#include "lib/wire/token.h"
#include "tests/unit/verify_fixture.h"

enum { NOW = 1800000000 };

static struct key *key, *stranger;
static struct jwks *jwks;
static char header[160];

static int
set_up(void **state)
{
    CLEANUP(buf_clear) struct buf set = BUF(1024);
    struct error err;
    char kid[44];

    (void)state;
    assert_int_equal(key_generate(&key, &err), 0);
    assert_int_equal(key_generate(&stranger, &err), 0);
    fixture_jwks(key, &set);
    assert_int_equal(jwks_parse((char *)set.data, set.len, &jwks, &err), 0);
    fixture_kid(key, kid);
    snprintf(header, sizeof header, "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"JWT\"}", kid);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    key_free(key);
    key_free(stranger);
    jwks_free(jwks);
    return 0;
}

static int
verify_at(const char *text, size_t len, int64_t now, struct error *err)
{
    CLEANUP(token_clear) struct token t = { 0 };

    memset(err, 0, sizeof *err);
    return token_verify(text, len, jwks, FIXTURE_ISSUER, "shop", now, &t, err);
}

static void
expect_refusal(const struct buf *token, const char *problem)
{
    struct error err;

    assert_int_equal(verify_at((char *)token->data, token->len, NOW, &err), -1);
    assert_int_equal(err.code, ERROR_DENIED);
    assert_string_equal(err.problem, problem);
}

/* The good claims with one member set to `value` (taken), or removed if it is NULL. */
static void
expect_claim(const char *name, json_t *take_value, const char *problem)
{
    CLEANUP(json_decref) json_t *claims = fixture_claims("shop", NOW, NULL);
    CLEANUP(buf_clear) struct buf token = BUF(8192);
    struct error err;

    if (take_value)
        json_object_set_new(claims, name, take_value);
    else
        json_object_del(claims, name);
    assert_int_equal(token_sign(claims, key, &token, &err), 0);
    if (problem)
        expect_refusal(&token, problem);
    else
        assert_int_equal(verify_at((char *)token.data, token.len, NOW, &err), 0);
}

static void
good_token(struct buf *into)
{
    CLEANUP(json_decref) json_t *claims = fixture_claims("shop", NOW, stranger);
    struct error err;

    assert_int_equal(token_sign(claims, key, into, &err), 0);
}

static void
what_was_signed_is_verified_and_read(void **state)
{
    CLEANUP(buf_clear) struct buf token = BUF(TOKEN_TEXT_MAX);
    CLEANUP(token_clear) struct token t = { 0 };
    uint8_t point[KEY_POINT_LEN], jkt[KEY_THUMBPRINT_LEN];
    char uuid[VM_UUID_TEXT];
    struct error err;

    (void)state;
    good_token(&token);
    assert_int_equal(token_verify((char *)token.data, token.len, jwks, FIXTURE_ISSUER, "shop",
                                  NOW, &t, &err), 0);
    vm_uuid_print(&t.uuid, uuid);
    assert_true(t.has_uuid);
    assert_string_equal(uuid, FIXTURE_UUID);
    assert_string_equal(t.name, "web1");
    assert_string_equal(t.aud, "shop");
    assert_int_equal(t.gen, 3);
    assert_true(t.epoch == 1790000000123u);
    assert_int_equal(t.exp, NOW + 300);
    key_point(stranger, point);
    assert_int_equal(key_thumbprint(point, jkt, &err), 0);
    assert_true(t.has_jkt);
    assert_memory_equal(t.jkt, jkt, sizeof jkt);
}

static void
every_changed_bit_of_a_token_is_refused(void **state)
{
    CLEANUP(buf_clear) struct buf token = BUF(TOKEN_TEXT_MAX);
    struct error err;

    (void)state;
    good_token(&token);
    for (size_t bit = 0; bit < 8 * token.len; bit++) {
        token.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(verify_at((char *)token.data, token.len, NOW, &err), -1);
        assert_int_equal(err.code, ERROR_DENIED);
        token.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(verify_at((char *)token.data, token.len, NOW, &err), 0);
}

static void
cut_and_longer_tokens_are_refused(void **state)
{
    CLEANUP(buf_clear) struct buf token = BUF(TOKEN_TEXT_MAX * 2);
    struct error err;
    size_t len;

    (void)state;
    good_token(&token);
    len = token.len;
    for (size_t n = 0; n < len; n++)
        assert_int_equal(verify_at((char *)token.data, n, NOW, &err), -1);
    for (const char *tail = "=\n .A"; *tail; tail++) {
        token.len = len;
        buf_add_u8(&token, (uint8_t)*tail);
        assert_int_equal(verify_at((char *)token.data, token.len, NOW, &err), -1);
    }
    while (token.len <= TOKEN_TEXT_MAX)
        buf_add_u8(&token, 'A');
    expect_refusal(&token, "token-malformed");
}

static void
expect_header(const char *text, const char *problem)
{
    CLEANUP(json_decref) json_t *claims = fixture_claims("shop", NOW, NULL);
    CLEANUP(buf_clear) struct buf body = BUF(2048), token = BUF(8192);
    struct error err;

    assert_int_equal(json_print(claims, &body, &err), 0);
    fixture_sign(text, buf_text(&body), key, &token);
    expect_refusal(&token, problem);
}

static void
algorithm_none_and_hmac_are_refused(void **state)
{
    char text[300], kid[44];
    static const char *const algorithms[] = { "none", "None", "NONE", "HS256", "HS512", "RS256",
                                              "ES384", "es256", "ES256K", "EdDSA", "" };

    (void)state;
    fixture_kid(key, kid);
    for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0]; i++) {
        snprintf(text, sizeof text, "{\"alg\":\"%s\",\"kid\":\"%s\",\"typ\":\"JWT\"}", algorithms[i],
                 kid);
        expect_header(text, "token-algorithm");
    }
    snprintf(text, sizeof text, "{\"kid\":\"%s\",\"typ\":\"JWT\"}", kid);
    expect_header(text, "token-algorithm");
    snprintf(text, sizeof text, "{\"alg\":[\"ES256\"],\"kid\":\"%s\",\"typ\":\"JWT\"}", kid);
    expect_header(text, "token-algorithm");
}

/* The classic: HMAC with the public key as its secret, and `none` with an empty signature. */
static void
public_key_used_as_hmac_secret_is_refused(void **state)
{
    CLEANUP(json_decref) json_t *claims = fixture_claims("shop", NOW, NULL);
    CLEANUP(buf_clear) struct buf body = BUF(2048), token = BUF(8192), set = BUF(1024);
    char h[200], part[4096], kid[44];
    uint8_t mac[SHA256_LEN], point[KEY_POINT_LEN];
    struct error err;

    (void)state;
    fixture_kid(key, kid);
    key_point(key, point);
    assert_int_equal(json_print(claims, &body, &err), 0);
    snprintf(h, sizeof h, "{\"alg\":\"HS256\",\"kid\":\"%s\",\"typ\":\"JWT\"}", kid);
    b64url_encode((uint8_t *)h, strlen(h), part);
    buf_printf(&token, "%s.", part);
    b64url_encode(body.data, body.len, part);
    buf_add_text(&token, part);
    assert_int_equal(hash_hmac(point, sizeof point, token.data, token.len, mac, &err), 0);
    b64url_encode(mac, sizeof mac, part);
    buf_printf(&token, ".%s", part);
    expect_refusal(&token, "token-algorithm");
    token.len = (size_t)(strrchr(buf_text(&token), '.') - (char *)token.data) + 1;
    expect_refusal(&token, "token-algorithm");
}

static void
header_members_beyond_alg_kid_typ_are_refused(void **state)
{
    static const char *const extra[] = { "\"crit\":[\"exp\"]", "\"b64\":false", "\"jku\":\"https://x\"",
                                         "\"jwk\":{}", "\"x5u\":\"https://x\"", "\"x5c\":[]",
                                         "\"zip\":\"DEF\"", "\"cty\":\"JWT\"", "\"\":1" };
    char text[400], kid[44];

    (void)state;
    fixture_kid(key, kid);
    for (size_t i = 0; i < sizeof extra / sizeof extra[0]; i++) {
        snprintf(text, sizeof text, "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"JWT\",%s}", kid,
                 extra[i]);
        expect_header(text, "token-malformed");
    }
}

static void
other_types_and_duplicate_members_are_refused(void **state)
{
    static const char *const forms[] = {
        "{\"alg\":\"ES256\",\"kid\":\"%s\"}",
        "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"jwt\"}",
        "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"JOSE\"}",
        "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"at+jwt\"}",
        "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"JWT\",\"typ\":\"JWT\"}",
        "{\"alg\":\"none\",\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"JWT\"}",
        "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"JWT\"} ",
        "[\"%s\"]",
    };
    char text[300], kid[44];

    (void)state;
    fixture_kid(key, kid);
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(text, sizeof text, forms[i], kid);
#pragma GCC diagnostic pop
        if (i != 6) /* white space behind the object is JSON */
            expect_header(text, "token-malformed");
    }
}

static void
key_of_another_is_refused(void **state)
{
    CLEANUP(json_decref) json_t *claims = fixture_claims("shop", NOW, NULL);
    CLEANUP(buf_clear) struct buf token = BUF(8192), body = BUF(2048), forged = BUF(8192);
    struct error err;

    (void)state;
    assert_int_equal(token_sign(claims, stranger, &token, &err), 0);
    expect_refusal(&token, "token-key");
    assert_int_equal(json_print(claims, &body, &err), 0);
    fixture_sign(header, buf_text(&body), stranger, &forged); /* our kid, their signature */
    expect_refusal(&forged, "token-signature");
    expect_header("{\"alg\":\"ES256\",\"typ\":\"JWT\"}", "token-malformed");
    expect_header("{\"alg\":\"ES256\",\"kid\":\"\",\"typ\":\"JWT\"}", "token-key");
}

static void
times_are_kept_to_the_second(void **state)
{
    CLEANUP(buf_clear) struct buf token = BUF(8192);
    struct error err;
    const char *text;

    (void)state;
    good_token(&token);
    text = (char *)token.data;
    assert_int_equal(verify_at(text, token.len, NOW + 300 + 59, &err), 0);
    assert_int_equal(verify_at(text, token.len, NOW + 300 + 60, &err), -1);
    assert_string_equal(err.problem, "token-expired");
    assert_int_equal(verify_at(text, token.len, NOW - 60, &err), 0);
    assert_int_equal(verify_at(text, token.len, NOW - 61, &err), -1);
    assert_string_equal(err.problem, "token-not-yet");
    expect_claim("exp", json_integer(NOW + TOKEN_LIFE_MAX + 1), "token-claims");
    expect_claim("exp", json_integer(NOW), "token-claims");
    expect_claim("nbf", json_integer(NOW + 300), "token-claims");
    expect_claim("exp", json_real(NOW + 300.5), "token-claims");
    expect_claim("exp", json_string("1800000300"), "token-claims");
    expect_claim("exp", json_integer(INT64_MAX), "token-claims");
    expect_claim("iat", json_integer(-1), "token-claims");
}

static void
issuer_and_audience_must_be_exactly_ours(void **state)
{
    (void)state;
    expect_claim("iss", json_string("https://id.example:8443/"), "token-issuer");
    expect_claim("iss", json_string("https://ID.example:8443"), "token-issuer");
    expect_claim("iss", json_string("https://id.example:8443/bound"), "token-issuer");
    expect_claim("aud", json_string("Shop"), "token-audience");
    expect_claim("aud", json_string("pop:shop"), "token-audience");
    expect_claim("aud", json_pack("[s]", "shop"), NULL);
    expect_claim("aud", json_pack("[s]", "other"), "token-audience");
    expect_claim("aud", json_pack("[s,s]", "shop", "other"), "token-claims");
    expect_claim("aud", json_array(), "token-claims");
    expect_claim("aud", json_string(""), "token-claims");
}

static void
every_claim_is_required(void **state)
{
    static const char *const names[] = { "iss", "sub", "aud", "exp", "iat", "nbf", "jti" };

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        expect_claim(names[i], NULL, "token-claims");
        expect_claim(names[i], json_null(), "token-claims");
        expect_claim(names[i], json_true(), "token-claims");
    }
    expect_claim("cnf", json_string("x"), "token-claims");
    expect_claim("cnf", json_pack("{s:s}", "jkt", "short"), "token-claims");
    expect_claim("virtid", json_integer(1), "token-claims");
}

static void
claims_with_duplicate_members_are_refused(void **state)
{
    CLEANUP(buf_clear) struct buf token = BUF(8192);

    (void)state;
    fixture_sign(header, "{\"iss\":\"" FIXTURE_ISSUER "\",\"iss\":\"" FIXTURE_ISSUER "\"}", key,
                 &token);
    expect_refusal(&token, "token-malformed");
}

/* The last character of a 64 byte signature has four unused bits: 16 spellings, one is taken. */
static void
other_spellings_of_the_same_signature_are_refused(void **state)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    CLEANUP(buf_clear) struct buf token = BUF(8192);
    struct error err;
    size_t at;

    (void)state;
    good_token(&token);
    at = (size_t)(strchr(alphabet, token.data[token.len - 1]) - alphabet);
    assert_int_equal(at % 16, 0);
    for (size_t i = 1; i < 16; i++) {
        token.data[token.len - 1] = (uint8_t)alphabet[at + i];
        expect_refusal(&token, "token-malformed");
    }
    token.data[token.len - 1] = (uint8_t)alphabet[at];
    assert_int_equal(verify_at((char *)token.data, token.len, NOW, &err), 0);
    buf_add_text(&token, "==");
    expect_refusal(&token, "token-malformed");
}

static void
subject_of_another_form_has_no_uuid(void **state)
{
    static const char *const subjects[] = {
        "spiffe://example.test/host/" FIXTURE_UUID,  "spiffe://example.test/vm/6F1B0A3E-58C1-4A0E-9D4E-0A1B2C3D4E5F",
        "spiffe://Example.test/vm/" FIXTURE_UUID,    "spiffe:///vm/" FIXTURE_UUID,
        "spiffe://example.test/vm/" FIXTURE_UUID "/", "https://example.test/vm/" FIXTURE_UUID,
    };

    (void)state;
    for (size_t i = 0; i < sizeof subjects / sizeof subjects[0]; i++) {
        CLEANUP(json_decref) json_t *claims = fixture_claims("shop", NOW, NULL);
        CLEANUP(buf_clear) struct buf token = BUF(8192);
        CLEANUP(token_clear) struct token t = { 0 };
        struct error err;

        json_object_set_new(claims, "sub", json_string(subjects[i]));
        assert_int_equal(token_sign(claims, key, &token, &err), 0);
        assert_int_equal(token_verify((char *)token.data, token.len, jwks, FIXTURE_ISSUER, "shop",
                                      NOW, &t, &err), 0);
        assert_false(t.has_uuid);
    }
}

/* RFC 7517, A.1: an EC key for encryption and an RSA key; with `use` sig the first is taken. */
static void
key_set_of_rfc_7517_is_read(void **state)
{
    static const char form[] =
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\","
        "\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\","
        "\"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\","
        "\"use\":\"%s\",\"kid\":\"1\"},"
        "{\"kty\":\"RSA\",\"n\":\"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAt"
        "VT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs\",\"e\":\"AQAB\","
        "\"alg\":\"RS256\",\"kid\":\"2011-04-29\"}]}";
    struct jwks *set = NULL;
    struct error err;
    char text[800];

    (void)state;
    snprintf(text, sizeof text, form, "enc");
    assert_int_equal(jwks_parse(text, strlen(text), &set, &err), -1);
    snprintf(text, sizeof text, form, "sig");
    assert_int_equal(jwks_parse(text, strlen(text), &set, &err), 0);
    assert_int_equal(jwks_count(set), 1);
    jwks_free(set);
}

static void
bad_key_sets_are_refused(void **state)
{
    static const char *const keys[] = {
        "", "{}", "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"a\",\"x\":\"AA\",\"y\":\"AA\"}", "1",
        "{\"kty\":\"EC\",\"d\":\"AA\"}",
    };
    CLEANUP(buf_clear) struct buf one = BUF(1024);
    struct jwks *set = NULL;
    struct error err;
    char text[2000];

    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        snprintf(text, sizeof text, "{\"keys\":[%s]}", keys[i]);
        assert_int_equal(jwks_parse(text, strlen(text), &set, &err), -1);
        assert_int_equal(err.code, ERROR_INPUT);
    }
    assert_int_equal(jwks_parse("{}", 2, &set, &err), -1);
    fixture_jwks(key, &one);
    one.len -= 2; /* without "]}" */
    snprintf(text, sizeof text, "%.*s,%.*s]}", (int)one.len, (char *)one.data, (int)one.len - 9,
             (char *)one.data + 9);
    assert_int_equal(jwks_parse(text, strlen(text), &set, &err), -1);
    assert_non_null(strstr(err.text, "repeated kid"));
    assert_null(set);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_signed_is_verified_and_read),
        cmocka_unit_test(every_changed_bit_of_a_token_is_refused),
        cmocka_unit_test(cut_and_longer_tokens_are_refused),
        cmocka_unit_test(algorithm_none_and_hmac_are_refused),
        cmocka_unit_test(public_key_used_as_hmac_secret_is_refused),
        cmocka_unit_test(header_members_beyond_alg_kid_typ_are_refused),
        cmocka_unit_test(other_types_and_duplicate_members_are_refused),
        cmocka_unit_test(key_of_another_is_refused),
        cmocka_unit_test(times_are_kept_to_the_second),
        cmocka_unit_test(issuer_and_audience_must_be_exactly_ours),
        cmocka_unit_test(every_claim_is_required),
        cmocka_unit_test(claims_with_duplicate_members_are_refused),
        cmocka_unit_test(other_spellings_of_the_same_signature_are_refused),
        cmocka_unit_test(subject_of_another_form_has_no_uuid),
        cmocka_unit_test(key_set_of_rfc_7517_is_read),
        cmocka_unit_test(bad_key_sets_are_refused),
    };

    return cmocka_run_group_tests_name("token", tests, set_up, tear_down);
}
