/*
 * What the guest's owner may do to the TPM, and what may befall it: the agent says what is wrong, and goes on
 * when it is right again.
 */
#include "config.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_tctildr.h>

#include "lib/common/fdio.h"
#include "tests/flow/agent_rig.h"

enum { RC_LOCKOUT = 0x921, OWNERS_INDEX = 0x01500001, NONE = ESYS_TR_NONE, PASSWORD = ESYS_TR_PASSWORD };

static struct rig rig;

static int
set_up(void **state)
{
    rig_new(&rig, true);
    *state = &rig;
    return 0;
}

static int
tear_down(void **state)
{
    rig_free(*state);
    return 0;
}

/* The owner's own connection.  swtpm serves one at a time: closed before the agent is asked for anything. */
struct owner {
    TSS2_TCTI_CONTEXT *tcti;
    ESYS_CONTEXT *esys;
};

static struct owner
owner_open(struct rig *r)
{
    struct owner o = { 0 };

    assert_int_equal(Tss2_TctiLdr_Initialize(swtpm_box_tcti(r->tpm), &o.tcti), 0);
    assert_int_equal(Esys_Initialize(&o.esys, o.tcti, NULL), 0);
    return o;
}

static void
owner_close(struct owner *o)
{
    Esys_Finalize(&o->esys);
    Tss2_TctiLdr_Finalize(&o->tcti);
}

static TPM2B_AUTH
auth_of(const char *password)
{
    TPM2B_AUTH auth = { .size = (uint16_t)strlen(password) };

    memcpy(auth.buffer, password, auth.size);
    return auth;
}

static void
change_endorsement_password(struct rig *r, const char *from, const char *to)
{
    struct owner o = owner_open(r);
    TPM2B_AUTH was = auth_of(from), becomes = auth_of(to);

    assert_int_equal(Esys_TR_SetAuth(o.esys, ESYS_TR_RH_ENDORSEMENT, &was), 0);
    assert_int_equal(Esys_HierarchyChangeAuth(o.esys, ESYS_TR_RH_ENDORSEMENT, PASSWORD, NONE, NONE, &becomes), 0);
    owner_close(&o);
}

static void
clear(struct rig *r)
{
    struct owner o = owner_open(r);

    assert_int_equal(Esys_Clear(o.esys, ESYS_TR_RH_LOCKOUT, PASSWORD, NONE, NONE), 0);
    owner_close(&o);
}

static TSS2_RC
set_clock(struct rig *r, uint64_t ms)
{
    struct owner o = owner_open(r);
    TSS2_RC rc = Esys_ClockSet(o.esys, ESYS_TR_RH_OWNER, PASSWORD, NONE, NONE, ms);

    owner_close(&o);
    return rc;
}

static uint64_t
read_clock(struct rig *r)
{
    struct owner o = owner_open(r);
    TPMS_TIME_INFO *info = NULL;
    uint64_t ms;

    assert_int_equal(Esys_ReadClock(o.esys, NONE, NONE, NONE, &info), 0);
    ms = info->clockInfo.clock;
    Esys_Free(info);
    owner_close(&o);
    return ms;
}

static void
name_password(struct rig *r, const char *password, mode_t mode)
{
    char path[128], line[200];
    struct error err = { 0 };

    snprintf(path, sizeof path, "%s/password", r->folder);
    assert_int_equal(file_replace(path, password, strlen(password), mode, &err), 0);
    snprintf(line, sizeof line, "endorsement_password_file=%s\n", path);
    rig_configure(r, line);
}

static bool
status_has(struct rig *r, const char *words)
{
    const char *const status[] = { "status", NULL };
    char text[3000];

    assert_int_equal(rig_run(r, status, text, sizeof text), 5);
    return strstr(text, words);
}

static void
an_endorsement_password_is_named_with_its_repair(void **state)
{
    struct rig *r = *state;

    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 30, NULL, 0), 0);
    change_endorsement_password(r, "", "pass word");
    assert_int_equal(rig_token(r, "other", 0, NULL, 0), 3);
    assert_true(rig_wait_status(r, "tpm-endorsement-auth", 10));
    assert_true(status_has(r, "Problem: tpm-endorsement-auth"));
    assert_true(status_has(r, "endorsement_password_file"));
    assert_true(status_has(r, "tpm2_clear"));
    assert_int_equal(rig_token(r, "db", 0, NULL, 0), 0); /* what it has stays good */
    change_endorsement_password(r, "pass word", "");
    assert_int_equal(rig_token(r, "other", 60, NULL, 0), 0); /* without a restart */
    rig_stop_agent(r);
}

static void
clear_heals_an_endorsement_password(void **state)
{
    struct rig *r = *state;

    change_endorsement_password(r, "", "forgotten");
    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 0, NULL, 0), 3);
    clear(r);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
    rig_stop_agent(r);
}

/* Activation and signatures too; and the password's end by Clear is no end of the agent. */
static void
the_agent_can_be_given_the_password(void **state)
{
    struct rig *r = *state;

    change_endorsement_password(r, "", "pass word");
    name_password(r, "pass word\n", 0600);
    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 30, NULL, 0), 0);
    assert_int_equal(r->activations, 1);
    clear(r);
    assert_int_equal(rig_token(r, "other", 30, NULL, 0), 0);
    rig_stop_agent(r);
    assert_false(rig_log_has(r, "pass word"));
}

static void
a_password_file_that_others_may_read_is_refused(void **state)
{
    static const char *const bad[] = { "must be a file of root that nobody else may read", "must hold 1 to 64 bytes",
                                       "is a symbolic link" };
    struct rig *r = *state;
    char path[128], aside[140], long_one[80];

    memset(long_one, 'x', sizeof long_one);
    long_one[66] = '\0';
    snprintf(path, sizeof path, "%s/password", r->folder);
    snprintf(aside, sizeof aside, "%s.aside", path);
    change_endorsement_password(r, "", "pw");
    name_password(r, "pw", 0640);
    rig_start_agent(r);
    for (int i = 0; i < 3; i++) {
        char audience[8];

        snprintf(audience, sizeof audience, "a%d", i);
        assert_int_equal(rig_token(r, audience, 0, NULL, 0), 3);
        assert_true(status_has(r, bad[i]));
        if (i == 0)
            name_password(r, long_one, 0600);
        else if (i == 1)
            assert_true(rename(path, aside) == 0 && symlink(aside, path) == 0);
    }
    assert_int_equal(unlink(path), 0);
    name_password(r, "wrong", 0600);
    assert_int_equal(rig_token(r, "b", 0, NULL, 0), 3);
    assert_true(status_has(r, "not the one given here"));
    name_password(r, "pw", 0600);
    assert_int_equal(rig_token(r, "db", 30, NULL, 0), 0); /* read anew for each proof */
    rig_stop_agent(r);
}

static void
clock_set_to_any_time_changes_nothing(void **state)
{
    static const uint64_t last = UINT64_C(0xffff000000000000); /* TPM 2.0 Part 3, 29.2 */
    struct rig *r = *state;
    uint64_t clocks[] = { read_clock(r) + 86400000, UINT64_C(1) << 63, last };

    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 30, NULL, 0), 0);
    for (unsigned i = 0; i < 3; i++) {
        char audience[8];

        snprintf(audience, sizeof audience, "c%u", i);
        assert_int_equal(set_clock(r, clocks[i]), 0);
        assert_int_equal(rig_token(r, audience, 30, NULL, 0), 0);
        assert_true(r->account.mark_clock >= clocks[i]);
        assert_int_equal(r->tokens, i + 2);
        assert_int_equal(r->steps, 1); /* of the run that goes on */
    }
    assert_int_not_equal(set_clock(r, last + 1), 0);
    assert_int_equal(r->cleared, 0);
    rig_stop_agent(r);
}

/* The counters fall back to nothing, below a clock that was at its end. */
static void
clear_is_an_event_and_the_next_proof_is_accepted(void **state)
{
    struct rig *r = *state;
    uint8_t ak[32], cur[65];

    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 30, NULL, 0), 0);
    assert_int_equal(set_clock(r, UINT64_C(0xffff000000000000)), 0);
    assert_int_equal(rig_token(r, "a", 30, NULL, 0), 0);
    memcpy(ak, r->account.ak_name, sizeof ak);
    memcpy(cur, r->account.ratchet.cur, sizeof cur);
    clear(r);
    assert_int_equal(rig_token(r, "b", 30, NULL, 0), 0);
    assert_int_equal(r->cleared, 1);
    assert_int_equal(rig_token(r, "c", 30, NULL, 0), 0);
    assert_int_equal(r->cleared, 1); /* once */
    assert_int_equal(r->activations, 1);
    assert_memory_equal(ak, r->account.ak_name, sizeof ak);
    /* Another run: one more step of both, from the state that Clear has left as it was. */
    assert_int_equal(r->steps, 2);
    assert_memory_not_equal(cur, r->account.ratchet.cur, sizeof cur);
    rig_stop_agent(r);
}

/* The agent put in anew, with everything but its slots gone, upon a cleared TPM. */
static void
an_agent_installed_anew_upon_a_cleared_tpm_goes_on(void **state)
{
    struct rig *r = *state;
    char path[128], token[200];
    struct error err = { 0 };

    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 30, NULL, 0), 0);
    rig_stop_agent(r);
    snprintf(path, sizeof path, "%s/state/bundle", r->folder);
    assert_int_equal(unlink(path), 0);
    clear(r);
    assert_int_equal(swtpm_box_reset(r->tpm, false, &err), 0);
    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 30, token, sizeof token), 0);
    assert_string_equal(token, "token-2.db.factors-7.fresh");
    assert_int_equal(r->activations, 1);
    rig_stop_agent(r);
}

static void
a_tpm_that_dies_is_named_and_taken_again_when_it_is_back(void **state)
{
    struct rig *r = *state;
    struct error err = { 0 };
    unsigned proofs;

    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 30, NULL, 0), 0);
    assert_int_equal(kill(swtpm_box_pid(r->tpm), SIGKILL), 0);
    proofs = r->proofs;
    assert_int_equal(rig_token(r, "other", 0, NULL, 0), 5);
    assert_true(rig_wait_status(r, "tpm-gone", 10));
    assert_true(status_has(r, "tpm-gone"));
    assert_int_equal(rig_token(r, "db", 0, NULL, 0), 0);
    assert_int_equal(r->proofs, proofs);
    assert_int_equal(swtpm_box_reset(r->tpm, true, &err), 0);
    assert_int_equal(rig_token(r, "other", 60, NULL, 0), 0);
    rig_stop_agent(r);
}

/* It dies when the proof is made and sent; the service wants another one over the same connection. */
static void
a_tpm_that_dies_in_the_middle_of_a_proof_is_named_too(void **state)
{
    struct rig *r = *state;
    struct error err = { 0 };

    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 30, NULL, 0), 0);
    r->wish.stale = 1;
    r->wish.kill_at_sign = swtpm_box_pid(r->tpm);
    assert_int_equal(rig_token(r, "other", 0, NULL, 0), 5);
    assert_int_equal(r->wish.stale, 0);
    assert_true(rig_wait_status(r, "tpm-gone", 10));
    assert_int_equal(swtpm_box_reset(r->tpm, true, &err), 0);
    assert_int_equal(rig_token(r, "other", 60, NULL, 0), 0);
    rig_stop_agent(r);
}

/* An index of the owner's, with a password that is guessed until the TPM takes no more. */
static TSS2_RC
guess(struct owner *o, ESYS_TR index)
{
    TPM2B_AUTH wrong = auth_of("a guess");
    TPM2B_MAX_NV_BUFFER data = { .size = 8 };

    assert_int_equal(Esys_TR_SetAuth(o->esys, index, &wrong), 0);
    return Esys_NV_Write(o->esys, index, index, PASSWORD, NONE, NONE, &data, 0) & 0xfff;
}

static ESYS_TR
make_owners_index(struct owner *o)
{
    TPM2B_AUTH right = auth_of("right");
    TPM2B_NV_PUBLIC public = { .nvPublic = { .nvIndex = OWNERS_INDEX,
                                             .nameAlg = TPM2_ALG_SHA256,
                                             .attributes = TPMA_NV_AUTHREAD | TPMA_NV_AUTHWRITE,
                                             .dataSize = 8 } };
    ESYS_TR index;

    assert_int_equal(Esys_NV_DefineSpace(o->esys, ESYS_TR_RH_OWNER, PASSWORD, NONE, NONE, &right, &public, &index), 0);
    return index;
}

static ESYS_TR
find_owners_index(struct owner *o)
{
    ESYS_TR index;

    assert_int_equal(Esys_TR_FromTPMPublic(o->esys, OWNERS_INDEX, NONE, NONE, NONE, &index), 0);
    return index;
}

/* Enrollment with its activation too: the EK is no key of ours, and not exempt from the lockout. */
static void
a_tpm_in_dictionary_attack_lockout_still_proves(void **state)
{
    struct rig *r = *state;
    struct owner o = owner_open(r);
    ESYS_TR index = make_owners_index(&o);
    TSS2_RC rc = 0;

    for (int i = 0; i < 100 && rc != RC_LOCKOUT; i++)
        rc = guess(&o, index);
    assert_int_equal(rc, RC_LOCKOUT);
    owner_close(&o);
    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 30, NULL, 0), 0);
    assert_int_equal(rig_token(r, "other", 30, NULL, 0), 0);
    assert_int_equal(r->activations, 1);
    rig_stop_agent(r);
    o = owner_open(r);
    assert_int_equal(guess(&o, find_owners_index(&o)), RC_LOCKOUT); /* it still was */
    owner_close(&o);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* `agent_tpm_test 'a_tpm_*'`: those only. */
int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(an_endorsement_password_is_named_with_its_repair),
        TEST(clear_heals_an_endorsement_password),
        TEST(the_agent_can_be_given_the_password),
        TEST(a_password_file_that_others_may_read_is_refused),
        TEST(clock_set_to_any_time_changes_nothing),
        TEST(clear_is_an_event_and_the_next_proof_is_accepted),
        TEST(an_agent_installed_anew_upon_a_cleared_tpm_goes_on),
        TEST(a_tpm_that_dies_is_named_and_taken_again_when_it_is_back),
        TEST(a_tpm_that_dies_in_the_middle_of_a_proof_is_named_too),
        TEST(a_tpm_in_dictionary_attack_lockout_still_proves),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("agent_tpm", tests, NULL, NULL);
}
