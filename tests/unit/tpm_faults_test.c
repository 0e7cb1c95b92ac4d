/*
 * tpm_faults_test.c - a TPM that is busy, locked, mad or mute; and what Clear leaves
 */
#include "config.h"

#include "lib/tpm/tpm_device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_tctildr.h>

#include "lib/common/clock.h"
#include "lib/crypto/credential_protect.h"
#include "tpmsim/fake_tpm.h"
#include "tpmsim/swtpm_box.h"

enum { RC_RETRY = 0x922, RC_YIELDED = 0x908, RC_TESTING = 0x90a, RC_LOCKOUT = 0x921, RC_FAILURE = 0x101,
       CC_QUOTE = 0x158, CC_CREATE_PRIMARY = 0x131, ALWAYS = 1000000 };

static struct swtpm_box *box;
static struct error err;
static const uint8_t h[32] = { 5 };

#define OK(call)                                 \
    do {                                         \
        if ((call) < 0)                          \
            fail_msg("%s: %s", #call, err.text); \
    } while (0)

static int
set_up(void **state)
{
    (void)state;
    if (swtpm_box_new(NULL, NULL, &box, &err) < 0) {
        print_error("%s\n", err.text);
        return -1;
    }
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    swtpm_box_free(box);
    return 0;
}

static unsigned
loaded(void)
{
    CLEANUP(tpm_close) struct tpm_device *tpm = NULL;
    unsigned n = 99;

    OK(tpm_open(swtpm_box_tcti(box), &tpm, &err));
    OK(tpm_loaded_count(tpm, &n, &err));
    return n;
}

/* tpm_prove through a faulty TPM. */
static int
prove_with(struct fake_plan plan)
{
    CLEANUP(fake_tpm_stop) struct fake_tpm *fake = NULL;
    CLEANUP(tpm_close) struct tpm_device *tpm = NULL;
    struct tpm_proof proof;

    OK(fake_tpm_start(box, &plan, &fake, &err));
    if (tpm_open(fake_tpm_tcti(fake), &tpm, &err) < 0)
        return -1;
    tpm_limit_silence(tpm, 1);
    return tpm_prove(tpm, h, &proof, &err);
}

static void
a_tpm_that_says_retry_is_asked_again(void **state)
{
    static const uint32_t codes[] = { RC_RETRY, RC_YIELDED, RC_TESTING };

    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        /* More often than ESAPI itself tries. */
        OK(prove_with((struct fake_plan){ .code = codes[i], .times = 12 }));
        OK(prove_with((struct fake_plan){ .code = codes[i], .command = CC_QUOTE, .times = 12 }));
    }
    assert_int_equal(loaded(), 0);
}

static void
a_tpm_that_says_retry_for_ever_is_busy(void **state)
{
    int64_t start = clock_monotonic_ms();

    (void)state;
    assert_int_equal(prove_with((struct fake_plan){ .code = RC_RETRY, .command = CC_QUOTE, .times = ALWAYS }), -1);
    assert_int_equal(err.code, ERROR_BUSY);
    assert_true(clock_monotonic_ms() - start < 10000);
    assert_int_equal(loaded(), 0);
}

static void
a_tpm_in_lockout_is_busy(void **state)
{
    (void)state;
    assert_int_equal(prove_with((struct fake_plan){ .code = RC_LOCKOUT, .command = CC_CREATE_PRIMARY, .times = ALWAYS }), -1);
    assert_int_equal(err.code, ERROR_BUSY);
}

static void
garbage_is_an_error(void **state)
{
    (void)state;
    for (unsigned after = 0; after < 3; after++) {
        assert_int_equal(prove_with((struct fake_plan){ .fault = FAKE_GARBAGE, .after = after, .times = 1 }), -1);
        assert_int_equal(err.code, ERROR_SYSTEM);
        OK(swtpm_box_reset(box, true, &err));
    }
}

static void
an_answer_cut_short_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(prove_with((struct fake_plan){ .fault = FAKE_CUT, .after = 2, .times = 1 }), -1);
    assert_int_equal(err.code, ERROR_SYSTEM);
    OK(swtpm_box_reset(box, true, &err));
}

static void
silence_is_an_error_and_not_a_hang(void **state)
{
    int64_t start = clock_monotonic_ms();

    (void)state;
    assert_int_equal(prove_with((struct fake_plan){ .fault = FAKE_SILENCE, .command = CC_QUOTE, .times = 1 }), -1);
    assert_int_equal(err.code, ERROR_SYSTEM);
    assert_true(clock_monotonic_ms() - start < 20000);
    OK(swtpm_box_reset(box, true, &err));
}

/* Activation by the RSA EK has the longest way: AK, EK, session, policy. */
static int
activate_with(struct fake_plan plan, const struct credential_ek *ek, const uint8_t *name)
{
    CLEANUP(fake_tpm_stop) struct fake_tpm *fake = NULL;
    CLEANUP(tpm_close) struct tpm_device *tpm = NULL;
    uint8_t id[CREDENTIAL_ID_OBJECT_MAX], seed[CREDENTIAL_SEED_MAX], secret[32] = { 1 }, opened[32];
    size_t id_len, seed_len;

    OK(credential_protect(ek, name, TPM_NAME_LEN, secret, id, &id_len, seed, &seed_len, &err));
    OK(fake_tpm_start(box, &plan, &fake, &err));
    if (tpm_open(fake_tpm_tcti(fake), &tpm, &err) < 0)
        return -1;
    return tpm_activate(tpm, true, id, id_len, seed, seed_len, opened, &err);
}

static void
a_failure_at_any_command_leaves_nothing_loaded(void **state)
{
    CLEANUP(tpm_close) struct tpm_device *tpm = NULL;
    CLEANUP(buf_clear) struct buf ek = BUF(1024);
    uint8_t ak[TPM_AK_PUBLIC_LEN], point[65], name[TPM_NAME_LEN];
    struct fake_plan plan = { .code = RC_FAILURE, .times = 1 };
    struct credential_ek key;
    unsigned failed = 0;

    (void)state;
    OK(tpm_open(swtpm_box_tcti(box), &tpm, &err));
    OK(tpm_ak_public(tpm, ak, &err));
    OK(tpm_ak_check(ak, sizeof ak, point, name, &err));
    OK(tpm_ek_public(tpm, true, &ek, &err));
    OK(tpm_ek_check(ek.data, ek.len, &key, &err));
    tpm_close(STEAL(tpm)); /* swtpm serves one at a time */
    for (plan.after = 0; plan.after < 20; plan.after++) {
        failed += activate_with(plan, &key, name) < 0;
        assert_int_equal(loaded(), 0);
    }
    assert_in_range(failed, 4, 12);
    for (plan.after = 0; plan.after < 12; plan.after++) {
        (void)prove_with(plan);
        assert_int_equal(loaded(), 0);
    }
}

static void
tpm_open_for_test(TSS2_TCTI_CONTEXT **ret_tcti, ESYS_CONTEXT **ret_esys)
{
    assert_int_equal(Tss2_TctiLdr_Initialize(swtpm_box_tcti(box), ret_tcti), 0);
    assert_int_equal(Esys_Initialize(ret_esys, *ret_tcti, NULL), 0);
}

static void
tpm_close_for_test(TSS2_TCTI_CONTEXT *tcti, ESYS_CONTEXT *esys)
{
    Esys_Finalize(&esys);
    Tss2_TctiLdr_Finalize(&tcti);
}

struct ours {
    uint8_t ak[TPM_AK_PUBLIC_LEN], point[65], x[32];
    struct buf ek;
};

static void
read_ours(struct ours *o)
{
    static const uint8_t unique[64] = { 8, 8 };
    CLEANUP(tpm_close) struct tpm_device *tpm = NULL;

    o->ek = BUF(1024);
    OK(tpm_open(swtpm_box_tcti(box), &tpm, &err));
    OK(tpm_ak_public(tpm, o->ak, &err));
    OK(tpm_secret_point(tpm, unique, o->point, &err));
    OK(tpm_nv_read(tpm, o->x, &err));
    OK(tpm_ek_public(tpm, false, &o->ek, &err));
}

static void
clear_and_clockset_keep_ak_secret_ek_and_index(void **state)
{
    TSS2_TCTI_CONTEXT *tcti = NULL;
    ESYS_CONTEXT *esys = NULL;
    struct ours before, after;
    struct fake_plan none = { .times = 0 };

    (void)state;
    read_ours(&before);
    tpm_open_for_test(&tcti, &esys);
    assert_int_equal(Esys_ClockSet(esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                                   UINT64_C(1) << 62), 0);
    assert_int_equal(Esys_Clear(esys, ESYS_TR_RH_LOCKOUT, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE), 0);
    tpm_close_for_test(tcti, esys);
    for (int reset = 0; reset < 2; reset++) {
        read_ours(&after);
        assert_memory_equal(before.ak, after.ak, sizeof before.ak);
        assert_memory_equal(before.point, after.point, 65);
        assert_memory_equal(before.x, after.x, 32);
        assert_memory_equal(before.ek.data, after.ek.data, before.ek.len);
        buf_clear(&after.ek);
        OK(prove_with(none));
        OK(swtpm_box_reset(box, false, &err));
    }
    buf_clear(&before.ek);
}

static void
set_endorsement_password(const char *old, const char *new_password)
{
    TPM2B_AUTH was = { .size = (uint16_t)strlen(old) }, becomes = { .size = (uint16_t)strlen(new_password) };
    TSS2_TCTI_CONTEXT *tcti = NULL;
    ESYS_CONTEXT *esys = NULL;

    memcpy(was.buffer, old, was.size);
    memcpy(becomes.buffer, new_password, becomes.size);
    tpm_open_for_test(&tcti, &esys);
    assert_int_equal(Esys_TR_SetAuth(esys, ESYS_TR_RH_ENDORSEMENT, &was), 0);
    assert_int_equal(Esys_HierarchyChangeAuth(esys, ESYS_TR_RH_ENDORSEMENT, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                              ESYS_TR_NONE, &becomes), 0);
    tpm_close_for_test(tcti, esys);
}

static void
an_endorsement_password_is_named_as_the_problem(void **state)
{
    CLEANUP(tpm_close) struct tpm_device *tpm = NULL;
    uint8_t ak[TPM_AK_PUBLIC_LEN];

    (void)state;
    set_endorsement_password("", "pw");
    OK(tpm_open(swtpm_box_tcti(box), &tpm, &err));
    assert_int_equal(tpm_ak_public(tpm, ak, &err), -1);
    assert_int_equal(err.code, ERROR_DENIED);
    assert_string_equal(err.problem, "tpm-endorsement-auth");
    tpm_close(STEAL(tpm));
    set_endorsement_password("pw", "");
    OK(tpm_open(swtpm_box_tcti(box), &tpm, &err));
    OK(tpm_ak_public(tpm, ak, &err));
}

static void
the_index_can_not_be_deleted(void **state)
{
    TSS2_TCTI_CONTEXT *tcti = NULL;
    ESYS_CONTEXT *esys = NULL;
    ESYS_TR index;
    struct ours after;

    (void)state;
    tpm_open_for_test(&tcti, &esys);
    assert_int_equal(Esys_TR_FromTPMPublic(esys, TPM_NV_INDEX, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &index), 0);
    assert_int_not_equal(Esys_NV_UndefineSpace(esys, ESYS_TR_RH_OWNER, index, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                               ESYS_TR_NONE), 0);
    assert_int_not_equal(Esys_NV_UndefineSpace(esys, ESYS_TR_RH_PLATFORM, index, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                               ESYS_TR_NONE), 0);
    tpm_close_for_test(tcti, esys);
    read_ours(&after);
    buf_clear(&after.ek);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tpm_that_says_retry_is_asked_again),
        cmocka_unit_test(a_tpm_that_says_retry_for_ever_is_busy),
        cmocka_unit_test(a_tpm_in_lockout_is_busy),
        cmocka_unit_test(garbage_is_an_error),
        cmocka_unit_test(an_answer_cut_short_is_an_error),
        cmocka_unit_test(silence_is_an_error_and_not_a_hang),
        cmocka_unit_test(a_failure_at_any_command_leaves_nothing_loaded),
        cmocka_unit_test(the_index_can_not_be_deleted),
        cmocka_unit_test(an_endorsement_password_is_named_as_the_problem),
        cmocka_unit_test(clear_and_clockset_keep_ak_secret_ek_and_index),
    };

    return cmocka_run_group_tests_name("tpm_faults", tests, set_up, tear_down);
}
