#include "config.h"

#include "lib/wire/priv_msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/wire/fields.h"
#include "lib/wire/inject_msg.h"

static struct error err;

static struct priv_request
request(enum priv_op op)
{
    struct priv_request r = { .op = op, .name = "web1", .path = "/var/lib/libvirt/images/web1.qcow2",
                              .format = "qcow2", .flags = PRIV_FLAG_AGENT, .deadline_ms = 30000 };

    memset(r.uuid.bytes, 0x5a, sizeof r.uuid.bytes);
    return r;
}

static void
every_request_comes_back_as_it_was(void **state)
{
    (void)state;
    for (int op = PRIV_INJECT; op <= PRIV_STOP_GUEST; op++) {
        CLEANUP(buf_clear) struct buf b = BUF(PRIV_PACKET_MAX);
        struct priv_request in = request((enum priv_op)op), out;

        assert_int_equal(priv_request_encode(&in, &b, &err), 0);
        assert_int_equal(priv_request_decode(b.data, b.len, &out, &err), 0);
        assert_int_equal(out.op, op);
        assert_true(vm_uuid_equal(&in.uuid, &out.uuid));
        if (op == PRIV_INJECT || op == PRIV_CHANNEL)
            assert_string_equal(out.path, in.path);
        if (op == PRIV_CHANNEL || op == PRIV_SAVE_STATE)
            assert_string_equal(out.name, in.name);
        if (op == PRIV_INJECT) {
            assert_string_equal(out.format, "qcow2");
            assert_int_equal(out.deadline_ms, 30000);
            assert_int_equal(out.flags, PRIV_FLAG_AGENT);
        }
    }
}

static void
every_cut_of_a_request_is_refused(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF(PRIV_PACKET_MAX);
    struct priv_request in = request(PRIV_INJECT), out;

    (void)state;
    assert_int_equal(priv_request_encode(&in, &b, &err), 0);
    for (size_t len = 0; len < b.len; len++)
        assert_int_equal(priv_request_decode(b.data, len, &out, &err), -1);
    buf_add_u8(&b, 0);
    assert_int_equal(priv_request_decode(b.data, b.len, &out, &err), -1);
}

static void
request_outside_of_the_table_is_refused(void **state)
{
    static const uint8_t ops[] = { 0, 8, 9, 127, 255 };

    (void)state;
    for (size_t i = 0; i < sizeof ops; i++) {
        CLEANUP(buf_clear) struct buf b = BUF(256);
        uint8_t uuid[16] = { 1 };
        struct priv_request out;

        fields_add_u8(&b, ops[i]);
        fields_add(&b, uuid, sizeof uuid);
        assert_int_equal(priv_request_decode(b.data, b.len, &out, &err), -1);
        assert_int_equal(err.code, ERROR_INPUT);
    }
}

static void
request_with_a_bad_path_name_format_or_flag_is_refused(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF(PRIV_PACKET_MAX);
    struct priv_request r = request(PRIV_INJECT);

    (void)state;
    strcpy(r.path, "images/web1.img");
    assert_int_equal(priv_request_encode(&r, &b, &err), -1);
    r = request(PRIV_INJECT);
    strcpy(r.format, "vmdk");
    assert_int_equal(priv_request_encode(&r, &b, &err), -1);
    r = request(PRIV_INJECT);
    r.flags = 0x80;
    assert_int_equal(priv_request_encode(&r, &b, &err), -1);
    r = request(PRIV_SAVE_STATE);
    strcpy(r.name, "../x");
    assert_int_equal(priv_request_encode(&r, &b, &err), -1);
}

static struct priv_answer
answer_back(const struct priv_answer *in)
{
    CLEANUP(buf_clear) struct buf b = BUF(PRIV_PACKET_MAX);
    struct priv_answer out;

    assert_int_equal(priv_answer_encode(in, &b, &err), 0);
    assert_int_equal(priv_answer_decode(b.data, b.len, &out, &err), 0);
    return out;
}

static void
answers_of_every_shape_come_back(void **state)
{
    struct priv_answer in = { .result = "placed" }, out = answer_back(&in);

    (void)state;
    assert_string_equal(out.result, "placed");
    in = (struct priv_answer){ .result = "connected", .pid = 4711 };
    out = answer_back(&in);
    assert_int_equal(out.pid, 4711);
    in = (struct priv_answer){ .result = "injected", .point = { 4, 1, 2 }, .point_len = 65 };
    out = answer_back(&in);
    assert_int_equal(out.point_len, 65);
    assert_memory_equal(out.point, in.point, 65);
    in = (struct priv_answer){ .result = "skipped", .reason = "image-dirty", .text = "why" };
    out = answer_back(&in);
    assert_string_equal(out.reason, "image-dirty");
    assert_string_equal(out.text, "why");
    in = (struct priv_answer){ .error = { ERROR_DENIED, "image-path", "no" } };
    out = answer_back(&in);
    assert_int_equal(out.error.code, ERROR_DENIED);
    assert_string_equal(out.error.problem, "image-path");
    assert_string_equal(out.error.text, "no");
}

static void
text_from_a_guest_disk_can_not_forge_a_line(void **state)
{
    struct priv_answer in = { .result = "skipped", .reason = "no-os", .text = "a\nb\x1b[31m\xff" };
    struct priv_answer out = answer_back(&in);

    (void)state;
    assert_string_equal(out.text, "a?b?[31m?");
}

static void
payload_comes_back_and_long_files_are_split(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF(1 << 20);
    CLEANUP(mem_free) uint8_t *content = calloc(1, 200000);
    struct payload_entry e;
    size_t at = 0, total = 0, pieces = 0;
    bool end;

    (void)state;
    content[199999] = 7;
    assert_int_equal(payload_add(&b, "/etc/virtid", 0755, 'd', NULL, 0, &err), 0);
    assert_int_equal(payload_add(&b, "/usr/sbin/agent", 0755, 'f', content, 200000, &err), 0);
    assert_int_equal(payload_add(&b, "/etc/l", 0777, 'l', "/x", 2, &err), 0);
    assert_int_equal(payload_next(b.data, b.len, &at, &e, &end, &err), 0);
    assert_int_equal(e.kind, 'd');
    for (;;) {
        assert_int_equal(payload_next(b.data, b.len, &at, &e, &end, &err), 0);
        if (e.kind == 'l')
            break;
        assert_int_equal(e.kind, pieces == 0 ? 'f' : '+');
        total += e.len;
        pieces++;
    }
    assert_int_equal(total, 200000);
    assert_int_equal(pieces, 4);
    assert_int_equal(payload_next(b.data, b.len, &at, &e, &end, &err), 0);
    assert_true(end);
}

static void
payload_path_that_could_lead_elsewhere_is_refused(void **state)
{
    static const char *const bad[] = { "",      "/",     "etc/x", "/etc//x", "/etc/../x", "/etc/./x", "/etc/",
                                       "/../x", "/a b",  "/a\nb", "/a\\b",   "/..",       "/.",       "/\xc3\xa9" };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CLEANUP(buf_clear) struct buf b = BUF(4096);

        assert_int_equal(payload_add(&b, bad[i], 0644, 'f', "x", 1, &err), -1);
    }
}

static void
payload_with_setuid_or_unknown_kind_is_refused(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF(4096);

    (void)state;
    assert_int_equal(payload_add(&b, "/x", 04755, 'f', "x", 1, &err), -1);
    assert_int_equal(payload_add(&b, "/x", 0644, 'c', "x", 1, &err), -1);
    assert_int_equal(payload_add(&b, "/x", 0644, '+', "x", 1, &err), -1);
    assert_int_equal(payload_add(&b, "/x", 0755, 'd', "x", 1, &err), -1);
    assert_int_equal(payload_add(&b, "/x", 0, 's', "x", 1, &err), -1);
    assert_int_equal(payload_add(&b, "/x", 0777, 'l', "", 0, &err), -1);
}

static void
worker_messages_come_back(void **state)
{
    struct inject_msg in = { .kind = INJECT_DONE, .result = "skipped", .problem = "no-os", .text = "t\n" };
    struct inject_msg out;
    CLEANUP(buf_clear) struct buf b = BUF(INJECT_PACKET_MAX);

    (void)state;
    assert_int_equal(inject_msg_encode(&in, &b, &err), 0);
    assert_int_equal(inject_msg_decode(b.data, b.len, &out, &err), 0);
    assert_string_equal(out.text, "t?");
    b.len = 0;
    in = (struct inject_msg){ .kind = INJECT_NEXT, .path = "../base.raw" };
    assert_int_equal(inject_msg_encode(&in, &b, &err), 0);
    assert_int_equal(inject_msg_decode(b.data, b.len, &out, &err), 0);
    assert_string_equal(out.path, "../base.raw");
}

static void
worker_result_that_does_not_fit_together_is_refused(void **state)
{
    static const struct inject_msg bad[] = {
        { .kind = INJECT_DONE, .result = "injected" },
        { .kind = INJECT_DONE, .result = "skipped", .problem = "x", .point_len = 65 },
        { .kind = INJECT_DONE, .result = "skipped" },
        { .kind = INJECT_DONE, .result = "maybe", .problem = "x" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CLEANUP(buf_clear) struct buf b = BUF(INJECT_PACKET_MAX);
        struct inject_msg out;

        assert_int_equal(inject_msg_encode(&bad[i], &b, &err), 0);
        assert_int_equal(inject_msg_decode(b.data, b.len, &out, &err), -1);
    }
}

/* docs/PROTOCOL-priv.md, "A worked example". */
static void
worked_example_of_the_protocol_page_decodes(void **state)
{
    static const uint8_t example[] = {
        0, 1, 5, 0, 16, 0x7b, 0x0f, 0x3a, 0x52, 0x94, 0xd1, 0x4e, 0x0c, 0x8a, 0x77, 0x0c, 0x5a,
        0x9d, 0x2f, 0x1e, 0x34, 0, 4, 'w', 'e', 'b', '1',
    };
    struct priv_request r;

    (void)state;
    assert_int_equal(priv_request_decode(example, sizeof example, &r, &err), 0);
    assert_int_equal(r.op, PRIV_SAVE_STATE);
    assert_string_equal(r.name, "web1");
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(every_request_comes_back_as_it_was),
        cmocka_unit_test(every_cut_of_a_request_is_refused),
        cmocka_unit_test(request_outside_of_the_table_is_refused),
        cmocka_unit_test(request_with_a_bad_path_name_format_or_flag_is_refused),
        cmocka_unit_test(answers_of_every_shape_come_back),
        cmocka_unit_test(text_from_a_guest_disk_can_not_forge_a_line),
        cmocka_unit_test(payload_comes_back_and_long_files_are_split),
        cmocka_unit_test(payload_path_that_could_lead_elsewhere_is_refused),
        cmocka_unit_test(payload_with_setuid_or_unknown_kind_is_refused),
        cmocka_unit_test(worker_messages_come_back),
        cmocka_unit_test(worker_result_that_does_not_fit_together_is_refused),
        cmocka_unit_test(worked_example_of_the_protocol_page_decodes),
    };

    return cmocka_run_group_tests_name("priv_msg", t, NULL, NULL);
}
