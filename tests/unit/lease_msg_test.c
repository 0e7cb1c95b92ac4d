#include "config.h"

#include "lib/wire/lease_msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define BOOT "0a5e8b2c-1111-4222-8333-944455566677"
#define VM "6ba7b810-9dad-41d1-80b4-00c04fd430c8"
#define HEAD "{\"host\":\"h1\",\"boot\":\"" BOOT "\",\"seq\":7,\"vms\":["
#define RUN \
    "{\"uuid\":\"" VM "\",\"ends\":[],\"view\":\"run\",\"k\":false,\"e\":5,\"kk\":0}"

static int
decode(const char *text)
{
    static struct lease_report r;
    struct error err;

    return lease_report_decode(text, strlen(text), &r, &err);
}

static void
a_report_comes_back_as_it_went(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF(16384);
    static struct lease_report in, out;
    struct error err;

    (void)state;
    memset(&in, 0, sizeof in);
    strcpy(in.host, "node1.example");
    strcpy(in.boot, BOOT);
    in.seq = 99;
    in.op = LEASE_OP_ACQUIRE;
    strcpy(in.hook, "silent");
    in.n_vms = 1;
    assert_int_equal(vm_uuid_parse(VM, &in.vms[0].uuid, &err), 0);
    in.vms[0].n_ends = 2;
    in.vms[0].ends[0] =
        (struct lease_end){ .view = VIEW_GO, .e = 1700000000000, .seq = 3 };
    in.vms[0].ends[1] = (struct lease_end){ .view = VIEW_OUT, .e = 0, .seq = 4 };
    in.vms[0].view = VIEW_RUN;
    in.vms[0].k = true;
    in.vms[0].e = 1700000000001;
    in.vms[0].kk = 12;
    in.vms[0].ver = 1700000000002;
    in.vms[0].row_ver = 1700000000003;
    in.vms[0].saw = SAW_SNAPSHOT | SAW_RESTORE | SAW_GENID;
    in.vms[0].saw_seq = 5;
    assert_int_equal(lease_report_encode(&in, &b, &err), 0);
    assert_int_equal(lease_report_decode((char *)b.data, b.len, &out, &err), 0);
    assert_memory_equal(&in, &out, sizeof in);
}

static void
an_answer_comes_back_as_it_went(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF(65536);
    static struct lease_result in[LEASE_VMS_MAX], out[LEASE_VMS_MAX];
    struct error err;
    size_t n = 0;

    (void)state;
    memset(in, 0, sizeof in);
    for (size_t i = 0; i < LEASE_VMS_MAX; i++) {
        in[i].uuid.bytes[0] = (uint8_t)i;
        in[i].answer = LEASE_FOREIGN;
        in[i].mode = MODE_OBSERVE;
        strcpy(in[i].holder, "other");
        in[i].seconds_left = 42;
        in[i].e = 1700000000000 + i;
        in[i].acked_seq = i;
        in[i].receipt_len = i == 0 ? RECEIPT_MAX : 700; /* as many as fit */
        memset(in[i].receipt, 0xff, in[i].receipt_len);
        in[i].ver = 1700000000000 + i;
        in[i].row_ver = i;
        in[i].show = i % 2 == 0;
    }
    assert_int_equal(lease_results_encode(in, LEASE_VMS_MAX, &b, &err), 0);
    assert_int_equal(
        lease_results_decode((char *)b.data, b.len, out, LEASE_VMS_MAX, &n, &err), 0);
    assert_int_equal(n, LEASE_VMS_MAX);
    assert_memory_equal(in, out, sizeof in);
    assert_int_equal(lease_results_decode((char *)b.data, b.len, out, 31, &n, &err),
                     -1);
}

static void
every_word_has_one_name(void **state)
{
    struct error err;

    (void)state;
    for (int v = VIEW_RUN; v <= VIEW_GV; v++) {
        enum lease_view back;

        if (v == 4) /* the model has no view 4 */
            continue;
        assert_int_equal(
            lease_view_find(lease_view_name((enum lease_view)v), &back, &err), 0);
        assert_int_equal(back, v);
    }
    for (int a = LEASE_ACK; a <= LEASE_NOT_MIGRATING; a++) {
        enum lease_answer back;

        assert_int_equal(
            lease_answer_find(lease_answer_name((enum lease_answer)a), &back, &err), 0);
        assert_int_equal(back, a);
    }
    assert_null(lease_view_name((enum lease_view)4));
}

static void
what_is_not_exactly_a_report_is_refused(void **state)
{
    (void)state;
    assert_int_equal(decode(HEAD RUN "]}"), 0);
    assert_int_equal(decode(HEAD "]}"), 0);
    assert_int_equal(decode(HEAD RUN "],\"more\":1}"), -1);
    assert_int_equal(decode(HEAD RUN "," RUN "]}"), -1);
    assert_int_equal(decode(HEAD RUN "],\"op\":\"acquire\"}"), 0);
    assert_int_equal(decode(HEAD "],\"op\":\"acquire\"}"), -1);
    assert_int_equal(decode(HEAD RUN "],\"op\":\"handover\"}"), 0);
    assert_int_equal(decode(HEAD "],\"op\":\"handover\"}"), -1);
    assert_int_equal(decode(HEAD RUN "],\"op\":\"report\"}"), -1);
    assert_int_equal(decode(HEAD RUN "],\"op\":\"take\"}"), -1);
    assert_int_equal(decode(HEAD RUN "],\"pull\":7}"), 0);
    assert_int_equal(decode(HEAD RUN "],\"pull\":-7}"), -1);
    assert_int_equal(decode(HEAD RUN "],\"op\":\"ask\"}"), 0);
    assert_int_equal(decode(HEAD "],\"op\":\"ask\"}"), -1);
    assert_int_equal(decode(HEAD RUN "],\"hook\":\"ok\"}"), 0);
    assert_int_equal(decode(HEAD RUN "],\"hook\":\"0k\"}"), -1);
    assert_int_equal(decode(HEAD RUN "],\"hook\":\"a\\u001b[2J\"}"), -1);
    assert_int_equal(decode(HEAD RUN "],\"hook\":\"longer-than-fifteen\"}"), -1);
    assert_int_equal(decode("{\"host\":\"h1\",\"seq\":7,\"vms\":[]}"), -1);
    assert_int_equal(
        decode("{\"host\":\"H1\",\"boot\":\"" BOOT "\",\"seq\":7,\"vms\":[]}"), -1);
    assert_int_equal(decode("{\"host\":\"h1\",\"boot\":\"x\",\"seq\":7,\"vms\":[]}"),
                     -1);
    assert_int_equal(
        decode("{\"host\":\"h1\",\"boot\":\"" BOOT "\",\"seq\":-1,\"vms\":[]}"), -1);
    assert_int_equal(decode(HEAD "1]}"), -1);
}

static void
a_pull_comes_back(void **state)
{
    CLEANUP(buf_clear) struct buf text = BUF(JSON_TEXT_MAX);
    struct lease_pull in = { .pull = INT64_MAX, .n = LEASE_VMS_MAX }, out;
    struct error err;

    (void)state;
    for (size_t i = 0; i < in.n; i++)
        memset(in.uuids[i].bytes, (int)i + 1, sizeof in.uuids[i].bytes);
    assert_int_equal(lease_pull_encode(&in, &text, &err), 0);
    assert_int_equal(lease_pull_decode((const char *)text.data, text.len, &out, &err), 0);
    assert_memory_equal(&in, &out, sizeof in);
    assert_int_equal(lease_pull_decode("{\"pull\":1,\"uuids\":[7]}", 22, &out, &err), -1);
    assert_int_equal(lease_pull_decode("{\"pull\":1,\"uuids\":[\"x\"]}", 24, &out, &err), -1);
    assert_int_equal(lease_pull_decode("{\"pull\":1}", 10, &out, &err), -1);
}

static void
ends_are_ends_and_in_order(void **state)
{
#define ENDS(list)                                 \
    HEAD "{\"uuid\":\"" VM "\",\"ends\":[" list    \
         "],\"view\":\"off\",\"k\":false,\"e\":0," \
         "\"kk\":0}]}"
    (void)state;
    assert_int_equal(decode(ENDS("{\"view\":\"go\",\"e\":1,\"seq\":1}")), 0);
    assert_int_equal(decode(ENDS("{\"view\":\"run\",\"e\":1,\"seq\":1}")), -1);
    assert_int_equal(decode(ENDS("{\"view\":\"go\",\"e\":1,\"seq\":0}")), -1);
    assert_int_equal(decode(ENDS("{\"view\":\"go\",\"e\":1,\"seq\":2},"
                                 "{\"view\":\"gu\",\"e\":1,\"seq\":2}")),
                     -1);
}

static void
what_a_host_saw_may_be_in_a_report_and_need_not(void **state)
{
#define SAW(value)                                                                                        \
    HEAD "{\"uuid\":\"" VM "\",\"ends\":[],\"view\":\"run\",\"k\":false,\"e\":5,\"kk\":0,\"saw\":" value "}]}"
    char words[LEASE_SAW_MAX + 1];
    struct error err;
    unsigned saw;

    (void)state;
    assert_int_equal(decode(SAW("{\"what\":\"snapshot genid\",\"seq\":6}")), 0);
    assert_int_equal(decode(SAW("{\"what\":\"snapshot of-the-moon\",\"seq\":6}")), -1);
    assert_int_equal(decode(SAW("{\"what\":\"snapshot\\u001b[2J\",\"seq\":6}")), -1);
    assert_int_equal(decode(SAW("{\"what\":\"snapshot\"}")), -1);
    assert_int_equal(decode(SAW("{\"what\":\"snapshot\",\"seq\":6,\"open\":true}")), -1);
    assert_int_equal(decode(SAW("\"snapshot\"")), -1);
    /* A newer host's words are no reason to refuse what is known. */
    assert_int_equal(lease_saw_find("overlay genid  restore", &saw, &err), 0);
    assert_int_equal(saw, SAW_GENID | SAW_RESTORE);
    lease_saw_print(saw, words);
    assert_string_equal(words, "restore genid");
    lease_saw_print(~0u, words);
    assert_string_equal(words, "snapshot restore genid");
    lease_saw_print(0, words);
    assert_string_equal(words, "");
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(a_report_comes_back_as_it_went),
        cmocka_unit_test(an_answer_comes_back_as_it_went),
        cmocka_unit_test(every_word_has_one_name),
        cmocka_unit_test(what_is_not_exactly_a_report_is_refused),
        cmocka_unit_test(what_a_host_saw_may_be_in_a_report_and_need_not),
        cmocka_unit_test(a_pull_comes_back),
        cmocka_unit_test(ends_are_ends_and_in_order),
    };
    return cmocka_run_group_tests_name("lease_msg", t, NULL, NULL);
}
