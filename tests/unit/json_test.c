#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "lib/common/json.h"

static int
parse(const char *text, json_t **ret, struct error *err)
{
    return json_parse(text, strlen(text), ret, err);
}

static void
members_are_read_by_type(void **state)
{
    CLEANUP(json_decref) json_t *o = NULL;
    struct error err;
    const char *text;
    int64_t number;
    bool truth;
    uint8_t bytes[4];
    size_t len;
    const json_t *part;

    (void)state;
    assert_int_equal(parse("{\"s\":\"abc\",\"i\":7,\"b\":true,\"y\":\"AAEC\",\"a\":[1],\"o\":{}}", &o, &err), 0);
    assert_int_equal(json_get_string(o, "s", false, 3, &text, &err), 0);
    assert_string_equal(text, "abc");
    assert_int_equal(json_get_string(o, "s", false, 2, &text, &err), -1);
    assert_int_equal(json_get_int(o, "i", false, 0, 7, &number, &err), 0);
    assert_int_equal(json_get_int(o, "i", false, 0, 6, &number, &err), -1);
    assert_int_equal(json_get_int(o, "s", false, 0, 6, &number, &err), -1);
    assert_int_equal(json_get_bool(o, "b", false, &truth, &err), 0);
    assert_int_equal(json_get_bool(o, "i", false, &truth, &err), -1);
    assert_int_equal(json_get_bytes(o, "y", false, bytes, 3, &len, &err), 0);
    assert_int_equal(len, 3);
    assert_int_equal(json_get_bytes(o, "y", false, bytes, 2, &len, &err), -1);
    assert_int_equal(json_get_array(o, "a", false, 1, &part, &err), 0);
    assert_int_equal(json_get_array(o, "a", false, 0, &part, &err), -1);
    assert_int_equal(json_get_object(o, "o", false, &part, &err), 0);
    assert_int_equal(json_get_object(o, "a", false, &part, &err), -1);
    text = "before";
    assert_int_equal(json_get_string(o, "none", true, 3, &text, &err), 0);
    assert_string_equal(text, "before");
    assert_int_equal(json_get_string(o, "none", false, 3, &text, &err), -1);
    assert_non_null(strstr(err.text, "none"));
}

static void
what_is_no_strict_json_is_refused(void **state)
{
    static const char *const bad[] = {
        "", "[]", "1", "null", "{", "{}}", "{} x", "{'a':1}", "{\"a\":1,}", "{\"a\":01}", "{\"a\":+1}",
        "{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}", "{\"a\":{\"b\":1,\"b\":1}}", "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\xff\"}", "{\"a\":\"\xc0\xaf\"}", "{\"a\":\"\n\"}", "{\"a\":\"\\u0000\"}", "{\"a\\u0000\":1}",
        "{\"a\":NaN}", "{\"a\":9223372036854775808}", "{\"a\":1e999}", "\xef\xbb\xbf{}", "/**/{}" };
    json_t *o = NULL;
    struct error err;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(parse(bad[i], &o, &err), -1);
        assert_int_equal(err.code, ERROR_INPUT);
    }
    assert_null(o);
    assert_int_equal(json_parse("{}\0", 3, &o, &err), -1);
}

static void
depth_width_and_length_are_bounded(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF(2 * JSON_TEXT_MAX);
    json_t *o = NULL;
    struct error err;

    (void)state;
    for (int depth = 7; depth <= 9; depth++) {
        b.len = 0;
        buf_add_text(&b, "{\"a\":");
        for (int i = 1; i < depth; i++)
            buf_add_u8(&b, '[');
        for (int i = 1; i < depth; i++)
            buf_add_u8(&b, ']');
        buf_add_u8(&b, '}');
        assert_int_equal(parse(buf_text(&b), &o, &err), depth <= JSON_DEPTH_MAX ? 0 : -1);
        if (depth <= JSON_DEPTH_MAX)
            json_decref(STEAL(o));
    }
    for (int members = JSON_MEMBERS_MAX; members <= JSON_MEMBERS_MAX + 1; members++) {
        b.len = 0;
        buf_add_u8(&b, '{');
        for (int i = 0; i < members; i++)
            buf_printf(&b, "%s\"m%d\":1", i ? "," : "", i);
        buf_add_u8(&b, '}');
        assert_int_equal(parse(buf_text(&b), &o, &err), members == JSON_MEMBERS_MAX ? 0 : -1);
        if (members == JSON_MEMBERS_MAX)
            json_decref(STEAL(o));
    }
    b.len = 0;
    for (int i = 0; i < 30000; i++)
        buf_add_text(&b, "[");
    assert_int_equal(parse(buf_text(&b), &o, &err), -1);
    b.len = 0;
    buf_add_text(&b, "{}");
    while (b.len <= JSON_TEXT_MAX)
        buf_add_u8(&b, ' ');
    assert_int_equal(parse(buf_text(&b), &o, &err), -1);
}

static void
only_named_members_are_taken(void **state)
{
    static const char *const good[] = { "{}", "{\"uuid\":1}", "{\"ek\":1,\"name\":1}" };
    static const char *const bad[] = { "{\"uui\":1}", "{\"uuidd\":1}", "{\"uuid name\":1}", "{\"\":1}",
                                       "{\" \":1}", "{\"e\":1}", "{\"ek\":1,\"x\":1}" };
    struct error err;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        CLEANUP(json_decref) json_t *o = NULL;

        assert_int_equal(parse(good[i], &o, &err), 0);
        assert_int_equal(json_only(o, "uuid name ek", &err), 0);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CLEANUP(json_decref) json_t *o = NULL;

        assert_int_equal(parse(bad[i], &o, &err), 0);
        assert_int_equal(json_only(o, "uuid name ek", &err), -1);
    }
}

static void
what_does_not_fit_is_not_printed(void **state)
{
    CLEANUP(json_decref) json_t *o = json_pack("{s:s}", "name", "value");
    CLEANUP(buf_clear) struct buf small = BUF(8), enough = BUF(64);
    struct error err;

    (void)state;
    assert_int_equal(json_print(o, &small, &err), -1);
    assert_int_equal(json_set_bytes(o, "b", (const uint8_t *)"\0\1\2", 3), 0);
    assert_int_equal(json_print(o, &enough, &err), 0);
    assert_string_equal(buf_text(&enough), "{\"name\":\"value\",\"b\":\"AAEC\"}");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_read_by_type),
        cmocka_unit_test(what_is_no_strict_json_is_refused),
        cmocka_unit_test(depth_width_and_length_are_bounded),
        cmocka_unit_test(only_named_members_are_taken),
        cmocka_unit_test(what_does_not_fit_is_not_printed),
    };

    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
