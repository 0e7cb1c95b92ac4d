#include "config.h"

#include "lib/wire/audit_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct audit_record whole = {
    .id = 7,
    .ms = 1795872390442,
    .who = "admin uid 0",
    .what = "refused",
    .has_uuid = true,
    .uuid = { { 1, 2, 3 } },
    .problem = "floor",
    .why = "\"said\" \\ so",
    .seen = "host",
    .expected = "host+vtpm",
    .hash = { 0xab, 0xcd },
};

static json_t *
shown(const struct audit_record *r)
{
    CLEANUP(json_decref) json_t *array = json_array();
    struct error err = { 0 };

    assert_int_equal(audit_record_append(array, r, &err), 0);
    return json_incref(json_array_get(array, 0));
}

static void
what_is_shown_is_read_back_to_the_last_field(void **state)
{
    CLEANUP(json_decref) json_t *o = shown(&whole);
    struct audit_record back;
    struct error err = { 0 };
    uint8_t before[AUDIT_HASH] = { 9 }, one[AUDIT_HASH], other[AUDIT_HASH];

    (void)state;
    assert_int_equal(audit_record_read(o, &back, &err), 0);
    assert_memory_equal(back.hash, whole.hash, AUDIT_HASH);
    assert_int_equal(audit_record_hash(before, &whole, one, &err), 0);
    assert_int_equal(audit_record_hash(before, &back, other, &err), 0);
    assert_memory_equal(one, other, AUDIT_HASH);
}

static void
a_line_of_the_log_is_the_same(void **state)
{
    CLEANUP(json_decref) json_t *o = shown(&whole), *back = NULL;
    CLEANUP(buf_clear) struct buf line = BUF(4096), text = BUF(4096);
    struct audit_record odd = whole, r;
    struct error err = { 0 };

    (void)state;
    audit_record_print(&whole, &line);
    assert_int_equal(json_print(o, &text, &err), 0);
    assert_string_equal(buf_text(&line), buf_text(&text));
    buf_clear(&line);
    memset(odd.why, '"', AUDIT_TEXT_MAX), memset(odd.seen, '\\', AUDIT_TEXT_MAX);
    memset(odd.expected, '"', AUDIT_TEXT_MAX), memset(odd.who, 'x', AUDIT_WHO_MAX);
    memset(odd.what, 'x', AUDIT_WORD_MAX), memset(odd.problem, 'x', AUDIT_WORD_MAX);
    odd.id = odd.ms = INT64_MAX;
    audit_record_print(&odd, &line);
    assert_true(line.len < 1900); /* of the line of the log */
    assert_int_equal(json_parse(buf_text(&line), line.len, &back, &err), 0);
    assert_int_equal(audit_record_read(back, &r, &err), 0);
    assert_memory_equal(&r, &odd, sizeof r);
}

static void
expect_other_hash(const struct audit_record *changed)
{
    const uint8_t before[AUDIT_HASH] = { 9 };
    uint8_t one[AUDIT_HASH], other[AUDIT_HASH];
    struct error err = { 0 };

    assert_int_equal(audit_record_hash(before, &whole, one, &err), 0);
    assert_int_equal(audit_record_hash(before, changed, other, &err), 0);
    assert_memory_not_equal(one, other, AUDIT_HASH);
}

static void
each_field_is_in_the_hash(void **state)
{
    const uint8_t another[AUDIT_HASH] = { 8 };
    uint8_t one[AUDIT_HASH], other[AUDIT_HASH];
    struct audit_record r = whole;
    struct error err = { 0 };

    (void)state;
#define CHANGED(change)                                                                    \
    r = whole;                                                                             \
    change;                                                                                \
    expect_other_hash(&r)
    CHANGED(r.id++);
    CHANGED(r.ms--);
    CHANGED(r.who[0] = 'A');
    CHANGED(r.what[0] = 'A');
    CHANGED(r.uuid.bytes[15] = 1);
    CHANGED(r.has_uuid = false);
    CHANGED(r.problem[0] = 'A');
    CHANGED(r.why[0] = 'A');
    CHANGED(r.seen[0] = 'A');
    CHANGED(r.expected[0] = 'A');
    /* A word that moves from one field to the next. */
    CHANGED((strcpy(r.seen, ""), strcpy(r.why, "host")));
    assert_int_equal(audit_record_hash((const uint8_t[AUDIT_HASH]){ 9 }, &whole, one, &err), 0);
    assert_int_equal(audit_record_hash(another, &whole, other, &err), 0);
    assert_memory_not_equal(one, other, AUDIT_HASH);
}

static void
expect_refused(const char *name, json_t *value)
{
    CLEANUP(json_decref) json_t *o = shown(&whole);
    struct audit_record r;
    struct error err = { 0 };

    if (value)
        json_object_set_new(o, name, value);
    else
        json_object_del(o, name);
    assert_int_equal(audit_record_read(o, &r, &err), -1);
    assert_int_equal(err.code, ERROR_INPUT);
}

static void
what_is_not_exactly_a_record_is_refused(void **state)
{
    char long_word[AUDIT_TEXT_MAX + 2];

    (void)state;
    memset(long_word, 'x', sizeof long_word - 1);
    long_word[sizeof long_word - 1] = '\0';
    expect_refused("id", NULL);
    expect_refused("id", json_integer(0));
    expect_refused("time", json_integer(-1));
    expect_refused("who", NULL);
    expect_refused("what", json_integer(1));
    expect_refused("hash", NULL);
    expect_refused("hash", json_string("abcd"));
    expect_refused("hash", json_string("zz"));
    expect_refused("uuid", json_string("no-uuid"));
    expect_refused("why", json_string(long_word));
    expect_refused("extra", json_string("x"));
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(what_is_shown_is_read_back_to_the_last_field),
        cmocka_unit_test(a_line_of_the_log_is_the_same),
        cmocka_unit_test(each_field_is_in_the_hash),
        cmocka_unit_test(what_is_not_exactly_a_record_is_refused),
    };

    return cmocka_run_group_tests_name("audit_record", t, NULL, NULL);
}
