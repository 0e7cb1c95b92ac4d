#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/common/encode.h"
#include "lib/common/fdio.h"
#include "lib/wire/hook_msg.h"

static const struct hook_msg prepare = {
    .op = "prepare", .subop = "begin", .name = "web1",
    .uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8", .xml = "<domain/>", .xml_len = 9,
};

static void
a_message_comes_out_as_it_went_in(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF(4096);
    struct hook_msg m;
    struct error err;
    bool done;

    (void)state;
    assert_int_equal(hook_msg_encode(&prepare, &b, &err), 0);
    assert_int_equal(hook_msg_decode(b.data, b.len, &m, &done, &err), 0);
    assert_true(done);
    assert_string_equal(m.op, "prepare");
    assert_string_equal(m.subop, "begin");
    assert_string_equal(m.name, "web1");
    assert_string_equal(m.uuid, prepare.uuid);
    assert_false(m.truncated);
    assert_int_equal(m.xml_len, 9);
    assert_memory_equal(m.xml, "<domain/>", 9);
}

static void
every_shorter_prefix_asks_for_more(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF(4096);
    struct hook_msg m;
    struct error err;
    bool done;

    (void)state;
    assert_int_equal(hook_msg_encode(&prepare, &b, &err), 0);
    for (size_t len = 0; len < b.len; len++) {
        uint8_t *exact = malloc(len ? len : 1); /* the sanitizer sees a byte too far */

        memcpy(exact, b.data, len);
        assert_int_equal(hook_msg_decode(exact, len, &m, &done, &err), 0);
        assert_false(done);
        free(exact);
    }
}

static void
bytes_behind_a_message_are_refused(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF(4096);
    struct hook_msg m;
    struct error err;
    bool done;

    (void)state;
    assert_int_equal(hook_msg_encode(&prepare, &b, &err), 0);
    buf_add_u8(&b, 0);
    assert_int_equal(hook_msg_decode(b.data, b.len, &m, &done, &err), -1);
    assert_int_equal(err.code, ERROR_INPUT);
}

static void
a_wrong_magic_or_length_is_refused_at_once(void **state)
{
    static const uint8_t magic[] = "HTTP/1.1";
    static const uint8_t long_head[] = { 'V', 'H', 'K', '1', 0xff, 0xff, 0xff, 0xff };
    static const uint8_t long_xml[] = { 'V', 'H', 'K', '1', 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff };
    struct hook_msg m;
    struct error err;
    bool done;

    (void)state;
    assert_int_equal(hook_msg_decode(magic, 1, &m, &done, &err), -1);
    assert_int_equal(hook_msg_decode(long_head, sizeof long_head, &m, &done, &err), -1);
    assert_int_equal(hook_msg_decode(long_xml, sizeof long_xml, &m, &done, &err), -1);
}

static void
a_name_with_control_characters_is_refused(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF(4096);
    struct hook_msg m = prepare;
    struct error err;

    (void)state;
    strcpy(m.name, "web\n1");
    assert_int_equal(hook_msg_encode(&m, &b, &err), -1);
}

static void
answers_are_read_as_written(void **state)
{
    static const struct {
        enum hook_verdict verdict;
        const char *text, *line;
    } table[] = {
        { HOOK_GO, "", "go\n" },
        { HOOK_NO, "host-b holds it", "no host-b holds it\n" },
        { HOOK_WAIT, "30", "wait 30\n" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        CLEANUP(buf_clear) struct buf b = BUF(512);
        char reason[HOOK_REASON_MAX + 1];
        enum hook_verdict v;
        struct error err;

        assert_int_equal(hook_answer_encode(table[i].verdict, table[i].text, &b), 0);
        assert_string_equal(buf_text(&b), table[i].line);
        assert_int_equal(hook_answer_decode((char *)b.data, b.len - 1, &v, reason, &err), 0);
        assert_int_equal(v, table[i].verdict);
        assert_string_equal(reason, table[i].text);
    }
}

static void
a_reason_can_not_forge_a_second_line(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF(512);

    (void)state;
    assert_int_equal(hook_answer_encode(HOOK_NO, "bad\ngo", &b), 0);
    assert_string_equal(buf_text(&b), "no bad go\n");
}

static void
other_answers_are_no_answers(void **state)
{
    static const char *const lines[] = { "", "GO", "go ", "gone", "no", "no ", "wait", "wait ", "wait x",
                                         "wait -1", "wait 99999", "go\r", "yes" };

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char reason[HOOK_REASON_MAX + 1];
        enum hook_verdict v;
        struct error err;

        assert_int_equal(hook_answer_decode(lines[i], strlen(lines[i]), &v, reason, &err), -1);
    }
}

static void
only_prepare_migrate_and_restore_wait(void **state)
{
    static const char *const others[] = { "start", "started", "stopped", "release", "reconnect", "attach" };

    (void)state;
    assert_true(hook_op_waits("prepare") && hook_op_waits("migrate") && hook_op_waits("restore"));
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_true(hook_op_known(others[i]));
        assert_false(hook_op_waits(others[i]));
    }
    assert_false(hook_op_known("frobnicate"));
    assert_false(hook_op_known(""));
}

static void
the_worked_example_of_the_protocol_is_read(void **state)
{
    CLEANUP(buf_clear) struct buf page = BUF(65536), digits = BUF(4096);
    const char *srcdir = getenv("srcdir"), *at;
    uint8_t bytes[512];
    struct hook_msg m;
    struct error err;
    char path[512];
    size_t len;
    bool done;

    (void)state;
    snprintf(path, sizeof path, "%s/docs/PROTOCOL-hook.md", srcdir ? srcdir : ".");
    assert_int_equal(file_read(path, &page, &err), 0);
    at = strstr(buf_text(&page), "```\n");
    assert_non_null(at);
    for (at += 4; *at && *at != '`'; at++) {
        if (*at != ' ' && *at != '\n')
            buf_add(&digits, at, 1);
    }
    assert_int_equal(hex_decode((char *)digits.data, digits.len, bytes, sizeof bytes, &len, &err), 0);
    assert_int_equal(hook_msg_decode(bytes, len, &m, &done, &err), 0);
    assert_true(done);
    assert_string_equal(m.op, "prepare");
    assert_string_equal(m.name, "web1");
    assert_memory_equal(m.xml, "<domain/>", m.xml_len);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_comes_out_as_it_went_in),
        cmocka_unit_test(every_shorter_prefix_asks_for_more),
        cmocka_unit_test(bytes_behind_a_message_are_refused),
        cmocka_unit_test(a_wrong_magic_or_length_is_refused_at_once),
        cmocka_unit_test(a_name_with_control_characters_is_refused),
        cmocka_unit_test(answers_are_read_as_written),
        cmocka_unit_test(a_reason_can_not_forge_a_second_line),
        cmocka_unit_test(other_answers_are_no_answers),
        cmocka_unit_test(the_worked_example_of_the_protocol_is_read),
        cmocka_unit_test(only_prepare_migrate_and_restore_wait),
    };

    return cmocka_run_group_tests_name("hook_msg", tests, NULL, NULL);
}
