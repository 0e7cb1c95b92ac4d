#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "lib/common/encode.h"
#include "lib/wire/connect_msg.h"

/* The examples of docs/PROTOCOL-connect.md */
static const char ask_hex[] =
    "003a00107669727469642d636f6e6e6563742d31000473686f700020"
    "1111111111111111111111111111111111111111111111111111111111111111";
static const char no_hex[] =
    "002700117669727469642d636f6e6e6563742d6e6f00126e6f20667265736820746f6b656e20796574";

static size_t
decode_hex(const char *hex, uint8_t *ret, size_t max)
{
    struct error err;
    size_t len;

    assert_int_equal(hex_decode(hex, strlen(hex), ret, max, &len, &err), 0);
    return len;
}

static void
examples_of_the_protocol_page_are_read_and_written(void **state)
{
    CLEANUP(buf_clear) struct buf out = BUF(CONNECT_MSG_MAX);
    static struct connect_answer answer;
    struct connect_ask ask;
    uint8_t bytes[256];
    struct error err;
    bool done;
    size_t len = decode_hex(ask_hex, bytes, sizeof bytes);

    (void)state;
    assert_int_equal(connect_ask_decode(bytes, len, &ask, &done, &err), 0);
    assert_true(done);
    assert_string_equal(ask.verifier, "shop");
    assert_int_equal(ask.nonce[31], 0x11);
    assert_int_equal(connect_ask_encode(&ask, &out, &err), 0);
    assert_int_equal(out.len, len);
    assert_memory_equal(out.data, bytes, len);
    len = decode_hex(no_hex, bytes, sizeof bytes);
    assert_int_equal(connect_answer_decode(bytes, len, &answer, &done, &err), 0);
    assert_true(done && answer.refused);
    assert_string_equal(answer.reason, "no fresh token yet");
    out.len = 0;
    assert_int_equal(connect_answer_encode(&answer, &out, &err), 0);
    assert_memory_equal(out.data, bytes, len);
}

static void
answer_with_a_token_comes_back(void **state)
{
    CLEANUP(buf_clear) struct buf out = BUF(CONNECT_MSG_MAX);
    static struct connect_answer a, b;
    struct error err;
    bool done;

    (void)state;
    strcpy(a.pop.token, "a.b.c");
    memset(a.pop.point, 4, sizeof a.pop.point);
    memset(a.pop.signature, 7, sizeof a.pop.signature);
    assert_int_equal(connect_answer_encode(&a, &out, &err), 0);
    assert_int_equal(connect_answer_decode(out.data, out.len, &b, &done, &err), 0);
    assert_true(done);
    assert_memory_equal(&a, &b, sizeof a);
}

static void
every_cut_waits_and_every_tail_is_refused(void **state)
{
    struct connect_ask ask;
    uint8_t bytes[256] = { 0 };
    struct error err;
    bool done;
    size_t len = decode_hex(ask_hex, bytes, sizeof bytes);

    (void)state;
    for (size_t n = 0; n < len; n++) {
        assert_int_equal(connect_ask_decode(bytes, n, &ask, &done, &err), 0);
        assert_false(done);
    }
    assert_int_equal(connect_ask_decode(bytes, len + 1, &ask, &done, &err), -1);
    assert_int_equal(err.code, ERROR_INPUT);
}

static void
lengths_beyond_the_limit_are_refused_at_once(void **state)
{
    static const uint8_t zero[2] = { 0, 0 }, much[2] = { 0x20, 0x01 }, most[2] = { 0x20, 0x00 };
    struct connect_ask ask;
    struct error err;
    bool done;

    (void)state;
    assert_int_equal(connect_ask_decode(zero, 2, &ask, &done, &err), -1);
    assert_int_equal(connect_ask_decode(much, 2, &ask, &done, &err), -1);
    assert_int_equal(connect_ask_decode(most, 2, &ask, &done, &err), 0);
    assert_false(done);
}

static void
question_does_not_pass_as_an_answer(void **state)
{
    static struct connect_answer answer;
    struct connect_ask ask;
    uint8_t bytes[256];
    struct error err;
    bool done;
    size_t len = decode_hex(ask_hex, bytes, sizeof bytes);

    (void)state;
    assert_int_equal(connect_answer_decode(bytes, len, &answer, &done, &err), -1);
    len = decode_hex(no_hex, bytes, sizeof bytes);
    assert_int_equal(connect_ask_decode(bytes, len, &ask, &done, &err), -1);
}

static void
texts_that_are_no_texts_are_not_sent(void **state)
{
    CLEANUP(buf_clear) struct buf out = BUF(CONNECT_MSG_MAX);
    static struct connect_answer answer;
    struct connect_ask ask = { .verifier = "" };
    struct error err;

    (void)state;
    assert_int_equal(connect_ask_encode(&ask, &out, &err), -1);
    strcpy(ask.verifier, "a\nb");
    assert_int_equal(connect_ask_encode(&ask, &out, &err), -1);
    assert_int_equal(connect_answer_encode(&answer, &out, &err), -1);
    answer.refused = true;
    strcpy(answer.reason, "\x1b[31m");
    assert_int_equal(connect_answer_encode(&answer, &out, &err), -1);
    assert_int_equal(out.len, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_of_the_protocol_page_are_read_and_written),
        cmocka_unit_test(answer_with_a_token_comes_back),
        cmocka_unit_test(every_cut_waits_and_every_tail_is_refused),
        cmocka_unit_test(lengths_beyond_the_limit_are_refused_at_once),
        cmocka_unit_test(question_does_not_pass_as_an_answer),
        cmocka_unit_test(texts_that_are_no_texts_are_not_sent),
    };

    return cmocka_run_group_tests_name("connect_msg", tests, NULL, NULL);
}
