/*
 * moving_faults_test.c - a VM that moves, comes back, and steps, while the token service is cut at each of its calls
 *
 * What hosts and guest remember outlives the service, as it does in their journals and on their disks.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/faults/fault_run.h"
#include "tests/faults/service_work.h"
#include "tests/unit/sim_stepper.h"
#include "tokenservice/api/vm_account.h"

enum { TRIES = 4, NUMBERS_OF_A_WORD = 8 };

/* Where the guest is, and what was heard of it. */
enum stage { AT_SOURCE, LEAVING, LEFT, ARRIVED };

struct moving_acks {
    uint64_t seq;
    enum stage stage;
    bool gave_up;          /* libvirt did: the guest runs on at its source */
    uint64_t e_a, e_b;     /* epochs that they were given last */
    uint64_t kn;           /* the newest hand-over that the source heard of */
    uint64_t proved;       /* epoch of the newest accepted proof */
    bool has_index, taken; /* the guest's index stepped, and its secret */
    uint8_t index[32];
};

static struct sim_host source, dest;
static struct sim_stepper guest;
static struct key *first_secret, *next_secret;

/* ---- hosts ---- */

static struct sim_word
present_of(const struct moving_acks *a, const struct sim_host *h)
{
    if (h == &source) {
        if (a->stage == LEFT || a->stage == ARRIVED)
            return (struct sim_word){ .view = VIEW_OFF };
        return (struct sim_word){ .view = a->stage == LEAVING && !a->gave_up ? VIEW_JOB : VIEW_RUN,
                                  .e = a->e_a, .kk = a->gave_up ? a->kn : 0 };
    }
    if (a->stage == AT_SOURCE || a->gave_up)
        return (struct sim_word){ .view = VIEW_OFF };
    return (struct sim_word){ .view = a->stage == ARRIVED ? VIEW_RUN : VIEW_INC, .k = a->stage == ARRIVED, .e = a->e_b };
}

/* One word of a host, and what it remembers of the answer. */
static struct lease_result
once(struct moving_acks *a, struct sim_host *h, struct sim_word word)
{
    struct lease_result result;
    uint64_t *e = h == &source ? &a->e_a : &a->e_b;

    a->seq = the_api.seq + NUMBERS_OF_A_WORD; /* reserved before they are used */
    result = sim_host_say_all(h, &guest.vm.uuid, &word);
    if (the_api.status == 200 && (result.answer == LEASE_OK || result.answer == LEASE_CANDIDATE)) {
        assert_true(result.e >= *e); /* an epoch never goes back */
        *e = result.e;
    }
    if (h == &source && the_api.status == 200 && result.nx > a->kn)
        a->kn = result.nx;
    return result;
}

static void
everybody_reports(struct moving_acks *a)
{
    (void)once(a, &source, present_of(a, &source));
    (void)once(a, &dest, present_of(a, &dest));
}

/* Again while the service waits for its hosts; -1: it was refused. */
static int
say(struct moving_acks *a, struct sim_host *h, struct sim_word word, struct lease_result *ret)
{
    for (int i = 0; i < TRIES; i++) {
        *ret = once(a, h, word);
        if (the_api.status != 200)
            return -1;
        if (ret->answer != LEASE_GRACE)
            return 0;
        everybody_reports(a);
    }
    return -1;
}

/* At no time two hosts have it. */
static int
nobody_else_may(struct moving_acks *a, struct sim_host *h)
{
    struct sim_word claim = { .view = VIEW_RUN, .e = h == &source ? a->e_a : a->e_b, .op = LEASE_OP_ACQUIRE };
    struct lease_result result = once(a, h, claim);

    assert_true(the_api.status != 200 || (result.answer != LEASE_OK && result.answer != LEASE_CANDIDATE));
    return 0;
}

/* ---- the guest ---- */

static int
token_at(struct moving_acks *a, struct sim_host *h)
{
    static struct answer answer;

    for (int i = 0; i < TRIES; i++) {
        struct sim_word word = present_of(a, h);

        guest.vm.epoch = h == &source ? a->e_a : a->e_b;
        if (sim_vm_token(&guest.vm, h, &answer) == 200 && answer.type == ANSWER_TOKEN) {
            assert_true(guest.vm.epoch >= a->proved);
            a->proved = guest.vm.epoch;
            return 0;
        }
        if (the_api.status != 403)
            return -1;
        everybody_reports(a); /* it has another epoch by now, or the service waits for its hosts */
        (void)once(a, h, word);
    }
    return -1;
}

/* ---- the work ---- */

/* The destination asks; the source is asked, and says that it sends. */
static int
ask_for_it(struct moving_acks *a)
{
    struct sim_word asks = { .view = VIEW_INC, .op = LEASE_OP_HANDOVER };
    struct lease_pull pull;
    struct error err;

    for (int i = 0; i < TRIES && a->e_b == 0; i++) {
        struct sim_word job = present_of(a, &source);

        (void)once(a, &dest, asks);
        if (the_api.park_ms > 0) {
            if (sim_host_ask(&source, "GET", "/v1/host/pull?after=0", NULL) != 200)
                return -1;
            assert_int_equal(lease_pull_decode((const char *)the_api.body.data, the_api.body.len, &pull, &err), 0);
            job.pull = pull.pull;
            (void)once(a, &source, job);
            if (the_api.status != 200)
                return -1;
            asks.same_seq = the_api.again = true; /* what was parked is looked at again */
            (void)once(a, &dest, asks);
            asks.same_seq = the_api.again = false;
        }
        if (the_api.status != 200)
            return -1;
        everybody_reports(a);
    }
    return a->e_b ? 0 : -1;
}

static int
move_steps(struct moving_acks *a)
{
    struct lease_result result;

    if (a->stage == AT_SOURCE && token_at(a, &source) < 0)
        return -1;
    if (a->stage == AT_SOURCE)
        a->stage = LEAVING;
    if (a->stage == LEAVING) {
        if (ask_for_it(a) < 0)
            return -1;
        a->stage = LEFT;
    }
    if (a->stage == LEFT) {
        struct sim_word gone = { .view = VIEW_GM, .e = a->e_a };

        if (say(a, &source, gone, &result) < 0 || token_at(a, &dest) < 0)
            return -1;
        a->stage = ARRIVED;
    }
    if (say(a, &dest, present_of(a, &dest), &result) < 0 || result.answer != LEASE_OK)
        return -1;
    return token_at(a, &dest) < 0 ? -1 : nobody_else_may(a, &source);
}

static int
fail_steps(struct moving_acks *a)
{
    struct lease_result result;

    if (a->stage == AT_SOURCE)
        a->stage = LEAVING;
    if (!a->gave_up && ask_for_it(a) < 0)
        return -1;
    if (a->stage == LEAVING) {
        struct sim_word never = { .view = VIEW_GI, .e = a->e_b };

        a->gave_up = true;
        if (say(a, &dest, never, &result) < 0)
            return -1;
        a->stage = AT_SOURCE;
    }
    /* The other host holds a copy of the memory: nothing of before counts.  The word names the hand-over it heard of. */
    for (int i = 0; i < TRIES && a->e_a < a->e_b; i++) {
        if (say(a, &source, present_of(a, &source), &result) < 0)
            return -1;
    }
    assert_true(a->e_a > a->e_b);
    if (token_at(a, &source) < 0)
        return -1;
    return nobody_else_may(a, &dest);
}

/* Both proofs of a run; key and index as the guest has them on its disk and in its TPM. */
static int
step_steps(struct moving_acks *a)
{
    struct lease_result result;

    if (say(a, &source, present_of(a, &source), &result) < 0 || result.answer != LEASE_OK)
        return -1;
    guest.vm.epoch = a->e_a;
    if (a->has_index)
        memcpy(guest.vm.tpm.x, a->index, sizeof a->index);
    for (int i = 0; i < TRIES && !a->taken; i++) {
        guest.vm.secret = first_secret;
        guest.next = next_secret;
        if (sim_stepper_prove(&guest, &source) != 200)
            return -1;
        if (the_answer.type == ANSWER_EXTEND) {
            sim_stepper_extend(&guest);
            memcpy(a->index, guest.vm.tpm.x, sizeof a->index);
            a->has_index = true;
        } else {
            a->taken = true;
        }
    }
    guest.vm.secret = next_secret;
    return a->taken ? token_at(a, &source) : -1;
}

static int
serve(const char *folder, struct moving_acks *a, int (*steps)(struct moving_acks *a))
{
    struct error err = { 0 };
    int outcome;

    if (service_work_open(folder, &a->seq, &err) < 0)
        return -1;
    if (a->e_a == 0)
        a->e_a = guest.vm.epoch; /* as it was prepared */
    outcome = steps(a);
    if (outcome < 0 && getenv("VERBOSE"))
        fprintf(stderr, "refused: %d %s\n", the_api.status, the_api.problem);
    service_work_close(&a->seq);
    return outcome;
}

static int
move_work(const char *folder, void *acks)
{
    return serve(folder, acks, move_steps);
}

static int
fail_work(const char *folder, void *acks)
{
    return serve(folder, acks, fail_steps);
}

static int
step_work(const char *folder, void *acks)
{
    return serve(folder, acks, step_steps);
}

/* ---- what must be true ---- */

static void
moving_check(const char *folder, const void *acks)
{
    struct moving_acks *a = (struct moving_acks *)(uintptr_t)acks;
    static struct vm_account account;
    const struct lease_record *lease = &account.stored.lease;
    struct error err = { 0 };

    if (service_work_open(folder, &a->seq, &err) < 0)
        fail_msg("it does not open again: %s", err.text);
    assert_int_equal(vm_account_load(&the_api.service, &guest.vm.uuid, &account, &err), 0);
    assert_int_equal(account.id.state, ROW_OK);
    assert_true(lease->ep >= a->proved && (lease->ep >= a->e_b || lease->nx >= a->e_b));
    if (a->stage == ARRIVED)
        assert_string_equal(lease->hol, dest.name);
    else if (a->stage != LEFT) /* a proof may be in that nobody was told of */
        assert_string_equal(lease->hol, source.name);
    if (a->taken)
        assert_false(account.id.has_next || account.id.has_xnext);
    service_work_close(&a->seq);
}

static void
a_vm_that_runs(const char *folder)
{
    struct error err = { 0 };
    uint64_t ignored = 0;

    if (service_work_open(folder, &ignored, &err) < 0)
        fail_msg("%s", err.text);
    sim_host_clear(&source);
    sim_host_clear(&dest);
    guest.vm.secret = first_secret; /* whatever it stepped to */
    guest.next = NULL;
    sim_stepper_clear(&guest);
    key_free(next_secret);
    memset(&guest, 0, sizeof guest);
    sim_host_new(&source, "a.example");
    sim_host_new(&dest, "b.example");
    sim_vm_enrolled(&guest.vm, 1, SIM_TPM | SIM_SECRET, &source);
    first_secret = guest.vm.secret;
    assert_int_equal(key_generate(&next_secret, &err), 0);
    service_work_end_prepare();
}

static const struct fault_case CASES[] = {
    { .name = "live migration", .prepare = a_vm_that_runs, .work = move_work, .check = moving_check, .decides = "s" },
    { .name = "migration that fails", .prepare = a_vm_that_runs, .work = fail_work, .check = moving_check, .decides = "s" },
    { .name = "ratchet step", .prepare = a_vm_that_runs, .work = step_work, .check = moving_check, .decides = "s" },
};
enum { N_CASES = sizeof CASES / sizeof CASES[0] };

static void
a_vm_moves_and_steps_over_a_kill_at_every_write(void **state)
{
    (void)state;
    assert_int_equal(fault_run_each(CASES, N_CASES, fault_run_crashes), 0);
}

static void
a_vm_moves_and_steps_over_a_failure_of_every_call(void **state)
{
    (void)state;
    assert_int_equal(fault_run_each(CASES, N_CASES, fault_run_errors), 0);
}

static int
tear_down(void **state)
{
    guest.vm.secret = first_secret;
    guest.next = next_secret;
    sim_stepper_clear(&guest);
    sim_host_clear(&source);
    sim_host_clear(&dest);
    return service_work_tear_down(state);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_vm_moves_and_steps_over_a_kill_at_every_write),
        cmocka_unit_test(a_vm_moves_and_steps_over_a_failure_of_every_call),
    };

    return cmocka_run_group_tests_name("moving_faults", tests, service_work_set_up, tear_down);
}
