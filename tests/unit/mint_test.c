/*
 * Rows, tokens, subkeys: the client against a signer in a thread.
 */
#include "config.h"

#include "tests/unit/mint_fixture.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/common/encode.h"
#include "lib/common/fdio.h"
#include "lib/common/json.h"
#include "lib/common/process.h"
#include "lib/crypto/x509.h"
#include "lib/wire/bundle.h"
#include "lib/wire/fields.h"
#include "lib/wire/token.h"
#include "lib/wire/transcript.h"

static void
any_bit_flipped_in_a_row_or_its_mac_is_refused(void **state)
{
    CLEANUP(buf_clear) struct buf sealed = BUF(ROW_MAX);
    struct identity_row row = mint_fixture_row(), read;
    uint8_t mac[ROW_MAC_LEN];

    (void)state;
    mint_fixture_seal(&row, &sealed, mac);
    assert_int_equal(mint_row_open(the_mint.client, sealed.data, sealed.len, mac, &read,
                                   &the_mint.err),
                     0);
    assert_string_equal(read.name, "web1");
    for (size_t bit = 0; bit < 8 * (sealed.len + sizeof mac); bit++) {
        uint8_t *at =
            bit / 8 < sealed.len ? sealed.data + bit / 8 : mac + (bit / 8 - sealed.len);

        *at ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(mint_row_check(the_mint.client, sealed.data, sealed.len, mac,
                                        &the_mint.err),
                         -1);
        assert_string_equal(the_mint.err.problem, "row-forged");
        *at ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(
        mint_row_check(the_mint.client, sealed.data, sealed.len, mac, &the_mint.err),
        0);
}

static void
a_forged_row_gets_no_token(void **state)
{
    CLEANUP(buf_clear) struct buf sealed = BUF(ROW_MAX), token = BUF(MINT_TOKEN_MAX);
    struct mint_token_request request = mint_fixture_request();
    struct identity_row row = mint_fixture_row();
    uint8_t mac[ROW_MAC_LEN];

    (void)state;
    mint_fixture_seal(&row, &sealed, mac);
    sealed.data[16] ^= 1; /* another uuid */
    assert_int_equal(mint_token(the_mint.client, sealed.data, sealed.len, mac, &request,
                                &token, &the_mint.err),
                     -1);
    assert_string_equal(the_mint.err.problem, "row-forged");
    assert_int_equal(token.len, 0);
}

static void
the_mac_key_macs_nothing_but_rows(void **state)
{
    CLEANUP(buf_clear) struct buf request = BUF(MINT_PACKET_MAX);

    (void)state;
    fields_add_u8(&request, MINT_ROW_MAC);
    fields_add_text(&request, "anything else");
    assert_int_equal(mint_fixture_ask(request.data, request.len), ERROR_INPUT);
}

/* Seal, ask, and verify as a relying party would. */
static int
get_token(const struct identity_row *row, const struct mint_token_request *request,
          struct token *ret)
{
    CLEANUP(buf_clear) struct buf sealed = BUF(ROW_MAX), text = BUF(MINT_TOKEN_MAX);
    CLEANUP(jwks_free) struct jwks *jwks = NULL;
    uint8_t mac[ROW_MAC_LEN];

    memset(&the_mint.err, 0, sizeof the_mint.err);
    mint_fixture_seal(row, &sealed, mac);
    if (mint_token(the_mint.client, sealed.data, sealed.len, mac, request, &text,
                   &the_mint.err) < 0)
        return -1;
    assert_int_equal(jwks_parse(the_mint.info.jwks, strlen(the_mint.info.jwks), &jwks,
                                &the_mint.err),
                     0);
    assert_int_equal(token_verify((const char *)text.data, text.len, jwks,
                                  the_mint.info.issuer, request->audience, the_mint.now,
                                  ret, &the_mint.err),
                     0);
    return 0;
}

static void
a_token_says_what_the_row_says(void **state)
{
    struct mint_token_request request = mint_fixture_request();
    struct identity_row row = mint_fixture_row();
    const json_t *own;
    struct token token = { 0 };

    (void)state;
    request.flags = MINT_CLAIM_NAME | MINT_CLAIM_HOST | MINT_CLAIM_LABELS;
    request.has_cnf = true;
    memset(request.cnf, 0x5a, sizeof request.cnf);
    assert_int_equal(get_token(&row, &request, &token), 0);
    assert_string_equal(
        token.sub, "spiffe://example.test/vm/11223344-5566-4788-8901-020304050607");
    assert_int_equal(token.exp - token.iat, TOKEN_LIFE_SECONDS);
    assert_int_equal(token.gen, 3);
    assert_int_equal(token.epoch, row.epoch);
    assert_string_equal(token.name, "web1");
    assert_true(token.has_jkt);
    assert_memory_equal(token.jkt, request.cnf, sizeof token.jkt);
    assert_string_equal(json_string_value(json_object_get(token.claims, "acr")),
                        "urn:virtid:acr:host+vtpm+secret");
    own = json_object_get(token.claims, "virtid");
    assert_string_equal(json_string_value(json_object_get(own, "host")), "one.example");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(own, "labels"), "tier")),
        "db");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(own, "vtpm"), "ek")), "host");
    assert_true(
        json_is_false(json_object_get(json_object_get(own, "secret"), "fresh")));
    token_clear(&token);
}

static void
claims_that_no_audience_lists_stay_out(void **state)
{
    struct mint_token_request request = mint_fixture_request();
    struct identity_row row = mint_fixture_row();
    const json_t *own;
    struct token token = { 0 };

    (void)state;
    request.factors = FACTOR_HOST | FACTOR_SECRET;
    assert_int_equal(get_token(&row, &request, &token), 0);
    own = json_object_get(token.claims, "virtid");
    assert_null(json_object_get(own, "host"));
    assert_null(json_object_get(own, "name"));
    assert_null(json_object_get(own, "labels"));
    assert_null(json_object_get(own, "vtpm"));
    assert_null(json_object_get(token.claims, "cnf"));
    token_clear(&token);
}

/* Its issuer, audience and key are others: whoever looks at one of them alone refuses it as a bearer token. */
static void
a_bound_token_is_of_an_issuer_of_its_own(void **state)
{
    struct mint_token_request request = mint_fixture_request();
    struct identity_row row = mint_fixture_row();
    CLEANUP(buf_clear) struct buf sealed = BUF(ROW_MAX), text = BUF(MINT_TOKEN_MAX);
    CLEANUP(jwks_free) struct jwks *bearer = NULL, *bound = NULL;
    char issuer[300], audience[300];
    uint8_t mac[ROW_MAC_LEN];
    struct mint_info info;
    struct token token;

    (void)state;
    request.flags |= MINT_BOUND;
    request.has_cnf = true;
    memset(request.cnf, 0x5a, sizeof request.cnf);
    snprintf(issuer, sizeof issuer, "%s/bound", the_mint.info.issuer);
    snprintf(audience, sizeof audience, "pop:%s", request.audience);
    mint_fixture_seal(&row, &sealed, mac);
    assert_int_equal(mint_token(the_mint.client, sealed.data, sealed.len, mac, &request, &text, &the_mint.err), 0);
    assert_int_equal(mint_ask_info(the_mint.client, &info, &the_mint.err), 0);
    assert_int_equal(jwks_parse(info.bound_jwks, strlen(info.bound_jwks), &bound, &the_mint.err), 0);
    assert_int_equal(jwks_parse(info.jwks, strlen(info.jwks), &bearer, &the_mint.err), 0);
    assert_int_equal(token_verify((char *)text.data, text.len, bound, issuer, audience, the_mint.now, &token,
                                  &the_mint.err),
                     0);
    assert_true(token.has_jkt);
    assert_memory_equal(token.jkt, request.cnf, sizeof token.jkt);
    assert_string_equal(token.kid, info.bound_kid);
    token_clear(&token);
    assert_int_equal(token_verify((char *)text.data, text.len, bearer, issuer, audience, the_mint.now, &token,
                                  &the_mint.err),
                     -1);
    assert_string_equal(the_mint.err.problem, "token-key");
    assert_int_equal(token_verify((char *)text.data, text.len, bound, info.issuer, audience, the_mint.now, &token,
                                  &the_mint.err),
                     -1);
    assert_string_equal(the_mint.err.problem, "token-issuer");
    assert_int_equal(token_verify((char *)text.data, text.len, bound, issuer, request.audience, the_mint.now, &token,
                                  &the_mint.err),
                     -1);
    assert_string_equal(the_mint.err.problem, "token-audience");
}

static void
assert_no_token(const struct identity_row *row,
                const struct mint_token_request *request)
{
    struct token token = { 0 };

    assert_int_equal(get_token(row, request, &token), -1);
    assert_int_not_equal(the_mint.err.code, ERROR_SYSTEM);
}

static void
no_token_below_the_floor_or_without_lease(void **state)
{
    struct mint_token_request request = mint_fixture_request(), r;
    struct identity_row row = mint_fixture_row(), w;

    (void)state;
    r = request, r.factors = FACTOR_HOST, assert_no_token(&row, &r);
    r = request, r.factors = FACTOR_SECRET | FACTOR_VTPM, assert_no_token(&row, &r);
    r = request, r.factors = 0xff, assert_no_token(&row, &r);
    w = row, w.host[0] = '\0', assert_no_token(&w, &request);
    w = row, w.epoch = 0, assert_no_token(&w, &request);
    w = row, w.has_cur = false, assert_no_token(&w, &request);
    w = row, w.has_ak = false, assert_no_token(&w, &request);
    for (enum row_state s = ROW_PENDING; s <= ROW_RETIRED; s++) {
        w = row, w.state = s;
        if (s != ROW_OK)
            assert_no_token(&w, &request);
    }
}

/* tokend alone can not call a factor fresh. */
static void
fresh_is_said_only_of_a_row_that_has_stepped_in_its_epoch(void **state)
{
    struct mint_token_request request = mint_fixture_request();
    struct identity_row row = mint_fixture_row();
    struct token token = { 0 };
    const json_t *own;

    (void)state;
    request.flags = MINT_FRESH_VTPM | MINT_FRESH_SECRET;
    assert_no_token(&row, &request);
    row.ratchet = ROW_RATCHET_ON;
    row.done_run.epoch = row.epoch - 1;
    assert_no_token(&row, &request);
    row.done_run.epoch = row.epoch;
    assert_int_equal(get_token(&row, &request, &token), 0);
    own = json_object_get(token.claims, "virtid");
    assert_true(json_is_true(json_object_get(json_object_get(own, "vtpm"), "fresh")));
    assert_true(json_is_true(json_object_get(json_object_get(own, "secret"), "fresh")));
    token_clear(&token);
}

static void
no_token_for_another_time_or_a_bad_audience(void **state)
{
    struct mint_token_request request = mint_fixture_request(), r;
    struct identity_row row = mint_fixture_row();

    (void)state;
    r = request, r.now += 120, assert_no_token(&row, &r);
    r = request, r.now -= 120, assert_no_token(&row, &r);
    r = request, strcpy(r.audience, "pop:db"), assert_no_token(&row, &r);
    r = request, r.flags = MINT_BOUND, assert_no_token(&row, &r); /* it names no key */
    r = request, r.flags = MINT_BOUND, r.has_cnf = true;
    memset(r.audience, 'a', NAME_BOUND_MAX + 1), assert_no_token(&row, &r);
    r = request, strcpy(r.audience, "two words"), assert_no_token(&row, &r);
    r = request, r.flags = 0x80, assert_no_token(&row, &r);
}

/* Every signature of the signer against every public key of it: only the diagonal
 * passes. */

static void
subkeys_differ_by_purpose_and_hour(void **state)
{
    uint64_t hour = (uint64_t)(clock_realtime_ms() / 1000) / 3600;
    uint8_t a[MINT_SUBKEY_LEN], b[MINT_SUBKEY_LEN], c[MINT_SUBKEY_LEN],
        d[MINT_SUBKEY_LEN];

    (void)state;
    assert_int_equal(
        mint_subkey(the_mint.client, MINT_PURPOSE_NONCE, hour, a, &the_mint.err), 0);
    assert_int_equal(
        mint_subkey(the_mint.client, MINT_PURPOSE_NONCE, hour, b, &the_mint.err), 0);
    assert_int_equal(
        mint_subkey(the_mint.client, MINT_PURPOSE_ACTIVATE, hour, c, &the_mint.err), 0);
    assert_int_equal(
        mint_subkey(the_mint.client, MINT_PURPOSE_NONCE, hour - 1, d, &the_mint.err),
        0);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, c, sizeof a);
    assert_memory_not_equal(a, d, sizeof a);
    assert_int_equal(
        mint_subkey(the_mint.client, MINT_PURPOSE_NONCE, hour + 3, a, &the_mint.err),
        -1);
    assert_int_equal(
        mint_subkey(the_mint.client, MINT_PURPOSE_NONCE, hour - 3, a, &the_mint.err),
        -1);
    assert_int_equal(the_mint.err.code, ERROR_DENIED);
}

static void
a_signer_that_is_gone_stays_gone(void **state)
{
    CLEANUP(mint_free) struct mint *lost = NULL;
    struct mint_info seen;
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(mint_new(pair[0], &lost, &the_mint.err), 0);
    close(pair[1]);
    for (int i = 0; i < 2; i++) {
        memset(&the_mint.err, 0, sizeof the_mint.err);
        assert_int_equal(mint_ask_info(lost, &seen, &the_mint.err), -1);
        assert_int_equal(the_mint.err.code, ERROR_SYSTEM);
    }
}

static void
an_answer_out_of_shape_ends_the_connection(void **state)
{
    CLEANUP(mint_free) struct mint *lost = NULL;
    struct mint_info seen;
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(mint_new(pair[0], &lost, &the_mint.err), 0);
    assert_int_equal(send(pair[1], "garbage", 7, 0), 7);
    assert_int_equal(mint_ask_info(lost, &seen, &the_mint.err), -1);
    assert_int_equal(the_mint.err.code, ERROR_SYSTEM);
    assert_int_equal(mint_row_check(lost, (const uint8_t *)"x", 1,
                                    the_mint.info.receipt_point, &the_mint.err),
                     -1);
    assert_non_null(strstr(the_mint.err.text, "gone"));
    close(pair[1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_bit_flipped_in_a_row_or_its_mac_is_refused),
        cmocka_unit_test(a_forged_row_gets_no_token),
        cmocka_unit_test(the_mac_key_macs_nothing_but_rows),
        cmocka_unit_test(a_token_says_what_the_row_says),
        cmocka_unit_test(claims_that_no_audience_lists_stay_out),
        cmocka_unit_test(a_bound_token_is_of_an_issuer_of_its_own),
        cmocka_unit_test(no_token_below_the_floor_or_without_lease),
        cmocka_unit_test(fresh_is_said_only_of_a_row_that_has_stepped_in_its_epoch),
        cmocka_unit_test(no_token_for_another_time_or_a_bad_audience),
        cmocka_unit_test(subkeys_differ_by_purpose_and_hour),
        cmocka_unit_test(a_signer_that_is_gone_stays_gone),
        cmocka_unit_test(an_answer_out_of_shape_ends_the_connection),
    };

    return cmocka_run_group_tests_name("mint", tests, mint_fixture_start,
                                       mint_fixture_stop);
}
