/*
 * Keys that sign tokens, as operators, verifiers and the audit see them.
 */
#include "config.h"

#include "tests/unit/api_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/common/fdio.h"
#include "lib/wire/token.h"
#include "tokenservice/api/signing_keys.h"
#include "tokenservice/mint/key_ring.h"

/* As if they were older: the signer's thread is at rest between two questions. */
static void
age(int64_t seconds)
{
    key_ring_shift(&the_mint.keys->rings.of[RING_TOKEN], -seconds);
    key_ring_shift(&the_mint.keys->rings.of[RING_BOUND], -seconds);
}

static const char *
published(void)
{
    assert_int_equal(api_ask_raw(ON_PUBLIC, "GET", "/.well-known/jwks.json", NULL, 0, NULL, 0), 200);
    return buf_text(&the_api.body);
}

/* The kid of the list's first key that signs tokens in this state; "" if none. */
static void
kid_of(const char *state, char ret[static MINT_KID_MAX + 1])
{
    CLEANUP(json_decref) json_t *answer = NULL;
    json_t *key;
    size_t i;

    ret[0] = '\0';
    assert_int_equal(api_admin("GET", "/v1/admin/keys", NULL), 200);
    answer = api_answer();
    json_array_foreach(json_object_get(answer, "keys"), i, key) {
        if (strcmp(json_string_value(json_object_get(key, "purpose")), "token") == 0 &&
            strcmp(json_string_value(json_object_get(key, "state")), state) == 0)
            strcpy(ret, json_string_value(json_object_get(key, "kid")));
    }
}

static bool
audit_has(const char *what, const char *who, const char *seen)
{
    CLEANUP(json_decref) json_t *answer = NULL;
    json_t *record;
    size_t i;

    assert_int_equal(api_admin("GET", "/v1/admin/audit?limit=20", NULL), 200);
    answer = api_answer();
    json_array_foreach(json_object_get(answer, "audit"), i, record) {
        const char *said = json_string_value(json_object_get(record, "seen"));

        if (strcmp(json_string_value(json_object_get(record, "what")), what) == 0 &&
            strcmp(json_string_value(json_object_get(record, "who")), who) == 0 && said && strcmp(said, seen) == 0)
            return true;
    }
    return false;
}

static void
an_operator_sees_each_key_and_what_comes_next(void **state)
{
    static const char *const purposes[] = { "token", "token", "bound", "bound", "host-ca", "ek-ca", "receipt", "audit" };
    CLEANUP(json_decref) json_t *answer = NULL;
    const json_t *keys;

    (void)state;
    assert_int_equal(api_admin("GET", "/v1/admin/keys", NULL), 200);
    answer = api_answer();
    keys = json_object_get(answer, "keys");
    assert_int_equal(json_array_size(keys), 8);
    for (size_t i = 0; i < 8; i++) {
        const json_t *key = json_array_get(keys, i);

        assert_string_equal(json_string_value(json_object_get(key, "purpose")), purposes[i]);
        assert_int_equal(strlen(json_string_value(json_object_get(key, "kid"))), MINT_KID_MAX);
        assert_true(json_integer_value(json_object_get(key, "made")) > INT64_C(1000000000000));
        assert_int_equal(json_object_get(key, "next_at") != NULL, i < 6);
    }
    assert_string_equal(json_string_value(json_object_get(json_array_get(keys, 0), "next")), "retiring");
    assert_string_equal(json_string_value(json_object_get(json_array_get(keys, 1), "next")), "active");
    assert_string_equal(json_string_value(json_object_get(json_array_get(keys, 2), "next")), "retiring");
    assert_string_equal(json_string_value(json_object_get(json_array_get(keys, 4), "next")), "ends");
    assert_null(strstr(buf_text(&the_api.body), "\"d\""));
}

static void
the_next_key_is_published_before_it_signs(void **state)
{
    char next[MINT_KID_MAX + 1];

    (void)state;
    kid_of("next", next);
    assert_non_null(strstr(published(), next));
    assert_true((int)KEY_PUBLISH_SECONDS > (int)JWKS_MAX_AGE_S);
    assert_non_null(strstr(the_api.headers, "max-age=300"));
    assert_int_equal(api_admin("POST", "/v1/admin/keys/rotate", json_object()), 409);
    assert_string_equal(the_api.problem, "key-young");
    age(KEY_PUBLISH_SECONDS);
    assert_int_equal(api_admin("POST", "/v1/admin/keys/rotate", json_object()), 200);
    assert_string_equal(the_api.service.info.kid, next);
    assert_true(audit_has("key-rotated", "admin uid 0", next));
}

static void
by_time_it_is_recorded_as_the_services_own(void **state)
{
    char next[MINT_KID_MAX + 1];
    struct error err;
    int64_t records = api_audit_count();

    (void)state;
    kid_of("next", next);
    assert_int_equal(signing_keys_look(&the_api.service, &err), 0);
    assert_int_equal(api_audit_count(), records); /* nothing has happened */
    age(KEY_ROTATE_DAYS * INT64_C(86400));
    assert_int_equal(signing_keys_look(&the_api.service, &err), 0);
    assert_string_equal(the_api.service.info.kid, next);
    assert_true(audit_has("key-rotated", "service", next));
}

/* tokend ended between the signer's change and the record of it. */
static void
a_change_that_was_not_recorded_is_at_the_next_start(void **state)
{
    struct mint_keys keys;
    struct error err;

    (void)state;
    age(KEY_PUBLISH_SECONDS);
    assert_int_equal(mint_keys_rotate(the_mint.client, MINT_KEY_TOKEN, &keys, &err), 0);
    assert_false(audit_has("key-rotated", "service", keys.kid));
    api_restart();
    assert_true(audit_has("key-rotated", "service", keys.kid));
}

static void
a_revoked_key_is_gone_at_once(void **state)
{
    char bad[MINT_KID_MAX + 1], next[MINT_KID_MAX + 1], now[MINT_KID_MAX + 1];

    (void)state;
    kid_of("active", bad);
    kid_of("next", next);
    assert_int_equal(api_admin("POST", "/v1/admin/keys/revoke", json_pack("{s:s}", "kid", bad)), 200);
    assert_null(strstr(published(), bad));
    kid_of("active", now);
    assert_string_not_equal(now, bad);
    assert_string_not_equal(now, next);
    assert_non_null(strstr(published(), now));
    assert_true(audit_has("key-revoked", "admin uid 0", bad));
    assert_true(audit_has("key-replaced", "admin uid 0", now));
    assert_int_equal(api_admin("POST", "/v1/admin/keys/revoke", json_pack("{s:s}", "kid", bad)), 404);
}

static void
all_keys_are_revoked_at_once(void **state)
{
    char bad[MINT_KID_MAX + 1], next[MINT_KID_MAX + 1];

    (void)state;
    kid_of("active", bad);
    kid_of("next", next);
    assert_int_equal(api_admin("POST", "/v1/admin/keys/revoke", json_pack("{s:b}", "all", true)), 200);
    assert_null(strstr(published(), bad));
    assert_null(strstr(published(), next));
    assert_true(audit_has("key-revoked", "admin uid 0", bad));
    assert_true(audit_has("key-revoked", "admin uid 0", next));
}

static void
only_keys_that_sign_tokens_are_revoked(void **state)
{
    CLEANUP(json_decref) json_t *answer = NULL;
    const char *ca;

    (void)state;
    assert_int_equal(api_admin("GET", "/v1/admin/keys", NULL), 200);
    answer = api_answer();
    ca = json_string_value(json_object_get(json_array_get(json_object_get(answer, "keys"), 4), "kid"));
    assert_int_equal(api_admin("POST", "/v1/admin/keys/revoke", json_pack("{s:s}", "kid", ca)), 404);
    assert_false(audit_has("key-revoked", "admin uid 0", ca));
    assert_int_equal(api_admin("POST", "/v1/admin/keys/revoke", json_pack("{s:s}", "kid", "")), 400);
    assert_int_equal(api_admin("POST", "/v1/admin/keys/revoke", json_object()), 400);
    assert_int_equal(api_admin("POST", "/v1/admin/keys/revoke", json_pack("{s:s,s:b}", "kid", ca, "all", true)), 400);
}

static void
a_token_is_by_the_key_that_is_published(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host host;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    char bad[MINT_KID_MAX + 1];
    struct answer answer;

    (void)state;
    kid_of("active", bad);
    sim_host_new(&host, "one.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &host);
    for (int i = 0; i < 2; i++) {
        CLEANUP(jwks_free) struct jwks *jwks = NULL;
        const char *set;
        struct token token;
        struct error err;

        assert_int_equal(sim_vm_token(&vm, &host, &answer), 200);
        set = published();
        assert_int_equal(jwks_parse(set, strlen(set), &jwks, &err), 0);
        assert_int_equal(token_verify(answer.token, strlen(answer.token), jwks, the_mint.info.issuer, vm.audience,
                                      the_api.service.clock_ms() / 1000, &token, &err),
                         0);
        token_clear(&token);
        if (i == 0)
            assert_int_equal(api_admin("POST", "/v1/admin/keys/revoke", json_pack("{s:s}", "kid", bad)), 200);
    }
}

/* In the answer to their next report; older ones do not read it. */
static void
hosts_hear_of_a_revocation_for_ten_minutes(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host host;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    char wanted[64];

    (void)state;
    sim_host_new(&host, "one.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &host);
    sim_host_say(&host, &vm.uuid, VIEW_RUN, vm.epoch, false);
    assert_null(strstr(the_api.headers, HTTP_TOKENS_SINCE));
    assert_int_equal(api_admin("POST", "/v1/admin/keys/revoke", json_pack("{s:b}", "all", true)), 200);
    snprintf(wanted, sizeof wanted, HTTP_TOKENS_SINCE ": %lld\r\n", (long long)the_api.service.tokens_since_ms);
    sim_host_say(&host, &vm.uuid, VIEW_RUN, vm.epoch, false);
    assert_non_null(strstr(the_api.headers, wanted));
    the_api.skew_ms += 10 * 60 * 1000;
    sim_host_say(&host, &vm.uuid, VIEW_RUN, vm.epoch, false);
    assert_null(strstr(the_api.headers, HTTP_TOKENS_SINCE));
}

/* The signer's folder comes from a backup of before the revocation. */
static void
a_revoked_key_that_comes_back_is_revoked_again(void **state)
{
    CLEANUP(buf_clear) struct buf before = BUF(KEY_FILE_LEN);
    char path[128], bad[MINT_KID_MAX + 1];
    struct error err;

    (void)state;
    snprintf(path, sizeof path, "%s/" SIGNER_FILE_TOKENS, the_mint.key_dir);
    kid_of("active", bad);
    assert_int_equal(file_read(path, &before, &err), 0);
    assert_int_equal(api_admin("POST", "/v1/admin/keys/revoke", json_pack("{s:s}", "kid", bad)), 200);
    api_fixture_close();
    mint_fixture_disconnect();
    assert_int_equal(file_replace(path, before.data, before.len, 0600, &err), 0);
    assert_int_equal(mint_fixture_connect(), 0);
    assert_string_equal(the_mint.info.kid, bad);
    if (api_fixture_open(&err) < 0)
        fail_msg("%s", err.text);
    assert_null(strstr(published(), bad));
    assert_string_not_equal(the_api.service.info.kid, bad);
    assert_true(audit_has("key-revoked", "service", bad));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(an_operator_sees_each_key_and_what_comes_next),
        API_TEST(the_next_key_is_published_before_it_signs),
        API_TEST(by_time_it_is_recorded_as_the_services_own),
        API_TEST(a_change_that_was_not_recorded_is_at_the_next_start),
        API_TEST(a_revoked_key_is_gone_at_once),
        API_TEST(all_keys_are_revoked_at_once),
        API_TEST(only_keys_that_sign_tokens_are_revoked),
        API_TEST(a_token_is_by_the_key_that_is_published),
        API_TEST(hosts_hear_of_a_revocation_for_ten_minutes),
        API_TEST(a_revoked_key_that_comes_back_is_revoked_again),
    };

    return cmocka_run_group_tests_name("api_keys", tests, api_fixture_start, api_fixture_stop);
}
