/*
 * An operator takes a refused state of a VM back: what the service keeps of it, whom it asks, and what passes.
 */
#include "config.h"

#include "tests/unit/sim_put_back.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int
post_accept(const struct sim_put_back *c, json_t *take_body)
{
    char target[80];

    snprintf(target, sizeof target, "/v1/admin/vms/%s/accept", c->s.vm.text);
    return api_admin("POST", target, take_body);
}

static json_t *
look(const struct sim_put_back *c)
{
    assert_int_equal(post_accept(c, json_pack("{s:b}", "dry_run", 1)), 200);
    return api_answer();
}

static json_t *
word_for(const json_t *seen)
{
    return json_pack("{s:O,s:O,s:O}", "cur", json_object_get(seen, "cur"), "new", json_object_get(seen, "new"), "x",
                     json_object_get(seen, "x"));
}

static void
say_yes(const struct sim_put_back *c)
{
    CLEANUP(json_decref) json_t *seen = look(c);

    assert_int_equal(post_accept(c, word_for(seen)), 200);
}

/* The host's next report: it learns the new epoch, and so does the guest. */
static void
host_learns(struct sim_put_back *c)
{
    struct lease_result result = sim_host_say(&c->h, &c->s.vm.uuid, VIEW_RUN, c->s.vm.epoch, false);

    assert_int_equal(result.answer, LEASE_OK);
    assert_true(result.e > c->s.vm.epoch);
    c->s.vm.epoch = result.e;
}

static void
accept_it(struct sim_put_back *c)
{
    say_yes(c);
    host_learns(c);
}

/* What the agent does from there: RESOLVE, a fresh next key, EXTEND, TOKEN. */
static void
goes_on(struct sim_put_back *c)
{
    key_free(c->s.next);
    c->s.next = NULL;
    assert_int_equal(sim_vm_token(&c->s.vm, &c->h, &the_answer), 200);
    assert_int_equal(the_answer.type, ANSWER_RESOLVE); /* no token before both have stepped */
    sim_stepper_step(&c->s, &c->h);
    assert_true(sim_says_fresh("vtpm") && sim_says_fresh("secret"));
}

static void
taken_back(bool key, bool x, const char *problem)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;
    int64_t gen;

    sim_put_back_new(&c, key, x);
    gen = sim_put_back_gen(&c);
    sim_put_back_refused(&c, problem);
    accept_it(&c);
    goes_on(&c);
    assert_int_equal(sim_put_back_gen(&c), gen + 1);
    sim_assert_shown(&c.s.vm, "state", "ok");
    sim_put_back_show(&c, false, false); /* what was right before is the older one now */
    sim_put_back_refused(&c, "disk-behind");
}

static void
a_disk_that_was_put_back_is_taken_back(void **state)
{
    (void)state;
    taken_back(true, false, "disk-behind");
}

static void
a_tpm_that_was_put_back_is_taken_back(void **state)
{
    (void)state;
    taken_back(false, true, "tpm-behind");
}

static void
both_that_were_put_back_are_taken_back(void **state)
{
    (void)state;
    taken_back(true, true, "disk-behind");
}

static void
without_an_index_the_key_is_taken_back(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;

    (void)state;
    sim_put_back_begin(&c, SIM_SECRET);
    c.old = sim_key_copy(c.s.vm.secret);
    sim_put_back_run(&c);
    c.now = sim_key_copy(c.s.vm.secret);
    sim_put_back_show(&c, true, false);
    sim_put_back_refused(&c, "disk-behind");
    accept_it(&c);
    assert_int_equal(sim_vm_token(&c.s.vm, &c.h, &the_answer), 200);
    assert_int_equal(the_answer.type, ANSWER_RESOLVE);
    assert_int_equal(sim_stepper_prove(&c.s, &c.h), 200);
    sim_stepper_take(&c.s);
    assert_true(sim_says_fresh("secret"));
    assert_int_equal(sim_put_back_gen(&c), 1);
}

static void
without_a_secret_the_index_is_taken_back(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;
    struct lease_result result;

    (void)state;
    sim_put_back_begin(&c, SIM_TPM);
    memcpy(c.old_x, c.s.vm.tpm.x, 32);
    for (int i = 0; i < 2; i++) { /* a floor without a secret steps with any proof that can */
        result = sim_host_say(&c.h, &c.s.vm.uuid, VIEW_RUN, 0, true);
        c.s.vm.epoch = result.e;
        sim_vm_prove(&c.s.vm, &c.h);
        c.s.vm.p.fresh = true;
        sim_vm_sign(&c.s.vm, &c.h);
        assert_int_equal(sim_vm_send(&c.s.vm, &the_answer), 200);
        sim_stepper_extend(&c.s);
        assert_int_equal(sim_vm_token(&c.s.vm, &c.h, &the_answer), 200);
        assert_int_equal(the_answer.type, ANSWER_TOKEN);
    }
    memcpy(c.s.vm.tpm.x, c.old_x, 32);
    sim_put_back_refused(&c, "tpm-behind");
    accept_it(&c);
    assert_int_equal(sim_vm_token(&c.s.vm, &c.h, &the_answer), 200);
    sim_stepper_extend(&c.s);
    assert_int_equal(sim_vm_token(&c.s.vm, &c.h, &the_answer), 200);
    assert_true(sim_says_fresh("vtpm"));
    assert_int_equal(sim_put_back_gen(&c), 1);
}

/* `ratchet: off`: an agent of before lost its key, and has another. */
static void
a_vm_that_does_not_step_goes_on_with_its_new_key(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;
    struct error err;

    (void)state;
    sim_put_back_begin(&c, SIM_SECRET | SIM_TPM);
    key_free(c.s.vm.secret);
    assert_int_equal(key_generate(&c.s.vm.secret, &err), 0);
    sim_put_back_refused(&c, "disk-behind");
    accept_it(&c);
    assert_int_equal(sim_vm_token(&c.s.vm, &c.h, &the_answer), 200);
    sim_vm_check_token(&c.s.vm, &the_answer, "virtid-connect", 3);
    sim_assert_shown(&c.s.vm, "ratchet", "off");
    assert_int_equal(sim_put_back_gen(&c), 1);
}

static void
an_operator_sees_what_was_refused(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;
    CLEANUP(json_decref) json_t *seen = NULL;

    (void)state;
    sim_put_back_new(&c, true, true);
    sim_put_back_refused(&c, "disk-behind");
    assert_true(sim_why_says(&c.s.vm, ", 1 step ago"));
    seen = look(&c);
    assert_string_equal(json_string_value(json_object_get(seen, "step")), "1 step ago");
    assert_string_equal(json_string_value(json_object_get(seen, "host")), "a.example");
    assert_int_equal(json_array_size(json_object_get(seen, "behind")), 2);
    assert_int_equal(json_string_length(json_object_get(seen, "cur")), 64);
    assert_int_equal(json_string_length(json_object_get(seen, "new")), 0);
    assert_int_equal(json_string_length(json_object_get(seen, "x")), 64);
    /* A look gives nothing. */
    assert_int_equal(sim_host_say(&c.h, &c.s.vm.uuid, VIEW_RUN, c.s.vm.epoch, false).e, c.s.vm.epoch);
    sim_put_back_refused(&c, "disk-behind");
}

/* The record is made once an hour: a VM that is behind again within it is shown so all the same. */
static void
a_vm_that_is_behind_again_is_shown_so(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;

    (void)state;
    sim_put_back_new(&c, true, false);
    sim_put_back_refused(&c, "disk-behind");
    sim_put_back_show(&c, false, false);
    assert_int_equal(sim_vm_token(&c.s.vm, &c.h, &the_answer), 200);
    sim_assert_shown(&c.s.vm, "state", "ok");
    sim_put_back_show(&c, true, false);
    sim_put_back_refused(&c, "disk-behind");
    sim_assert_shown(&c.s.vm, "state", "disk-behind");
    assert_true(sim_why_says(&c.s.vm, ", 1 step ago"));
}

static void
a_proof_of_before_the_word_is_dead(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;
    struct prove before;

    (void)state;
    sim_put_back_new(&c, true, true);
    sim_put_back_refused(&c, "disk-behind");
    sim_vm_prove(&c.s.vm, &c.h); /* made, and held back */
    before = c.s.vm.p;
    say_yes(&c);
    assert_int_equal(sim_vm_send(&c.s.vm, &the_answer), 409); /* its host has not heard of it */
    assert_string_equal(the_api.problem, "disk-behind");
    host_learns(&c);
    c.s.vm.p = before;
    assert_int_equal(sim_vm_send(&c.s.vm, &the_answer), 403);
    assert_string_equal(the_api.problem, "refused");
    goes_on(&c);
}

static void
nothing_but_what_was_seen_is_taken(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;
    struct error err;
    int64_t gen;

    (void)state;
    sim_put_back_new(&c, true, true);
    gen = sim_put_back_gen(&c);
    sim_put_back_refused(&c, "disk-behind");
    accept_it(&c);
    sim_put_back_show(&c, true, false); /* one half of it */
    sim_put_back_refused(&c, "disk-behind");
    sim_put_back_show(&c, false, true);
    sim_put_back_refused(&c, "tpm-behind");
    sim_put_back_show(&c, true, true);
    assert_int_equal(key_generate(&c.s.next, &err), 0); /* a sibling: the same key, and another next one */
    assert_int_equal(sim_stepper_prove(&c.s, &c.h), 409);
    assert_string_equal(the_api.problem, "disk-behind");
    assert_int_equal(sim_put_back_gen(&c), gen);
    goes_on(&c);
    assert_int_equal(sim_put_back_gen(&c), gen + 1);
}

static void
the_right_state_put_back_ends_the_grant(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;

    (void)state;
    sim_put_back_new(&c, true, true);
    sim_put_back_refused(&c, "disk-behind");
    accept_it(&c);
    sim_put_back_show(&c, false, false);
    assert_int_equal(sim_vm_token(&c.s.vm, &c.h, &the_answer), 200);
    sim_put_back_show(&c, true, true);
    sim_put_back_refused(&c, "disk-behind");
    assert_int_equal(sim_put_back_gen(&c), 0);
}

static void
a_grant_is_good_for_ten_minutes(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;

    (void)state;
    sim_put_back_new(&c, true, true);
    sim_put_back_refused(&c, "disk-behind");
    accept_it(&c);
    for (int i = 0; i < 20; i++) { /* its host renews the lease */
        the_api.skew_ms += 31000;
        assert_int_equal(sim_host_say(&c.h, &c.s.vm.uuid, VIEW_RUN, c.s.vm.epoch, false).e, c.s.vm.epoch);
    }
    sim_put_back_refused(&c, "disk-behind");
    accept_it(&c); /* said again */
    assert_int_equal(sim_vm_token(&c.s.vm, &c.h, &the_answer), 200);
    assert_int_equal(the_answer.type, ANSWER_RESOLVE);
}

static void
a_grant_ends_with_its_epoch(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;
    struct lease_result result;

    (void)state;
    sim_put_back_new(&c, true, true);
    for (int begun = 0; begun < 2; begun++) {
        sim_put_back_refused(&c, "disk-behind");
        say_yes(&c);
        if (begun)
            host_learns(&c);
        result = sim_host_say(&c.h, &c.s.vm.uuid, VIEW_RUN, 0, true); /* it stopped, and starts again */
        c.s.vm.epoch = result.e;
        sim_put_back_refused(&c, "disk-behind");
        assert_int_equal(sim_host_say(&c.h, &c.s.vm.uuid, VIEW_RUN, c.s.vm.epoch, false).e, c.s.vm.epoch);
    }
    accept_it(&c);
    goes_on(&c);
}

/* It need not wait for the next renewal: also when the word is said once more. */
static void
the_host_is_asked_for_its_report_at_once(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;
    struct lease_pull pull;
    struct error err;

    (void)state;
    sim_put_back_new(&c, true, true);
    sim_put_back_refused(&c, "disk-behind");
    for (int i = 0; i < 2; i++) {
        struct sim_word word = { .view = VIEW_RUN, .e = c.s.vm.epoch };

        say_yes(&c);
        assert_int_equal(sim_host_ask(&c.h, "GET", "/v1/host/pull?after=0", NULL), 200);
        assert_int_equal(lease_pull_decode((const char *)the_api.body.data, the_api.body.len, &pull, &err), 0);
        assert_int_equal(pull.n, 1);
        assert_true(vm_uuid_equal(&pull.uuids[0], &c.s.vm.uuid));
        word.pull = pull.pull;
        c.s.vm.epoch = sim_host_say_all(&c.h, &c.s.vm.uuid, &word).e;
        if (i == 0) { /* it shows another state before it proves this one */
            sim_put_back_show(&c, true, false);
            sim_put_back_refused(&c, "disk-behind");
        }
    }
    assert_int_equal(sim_vm_token(&c.s.vm, &c.h, &the_answer), 200);
    assert_int_equal(the_answer.type, ANSWER_RESOLVE);
}

/* The answer with the new epoch is lost: the host repeats its report. */
static void
the_hosts_report_may_be_repeated(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;
    struct sim_word word = { .view = VIEW_RUN };
    uint64_t e;

    (void)state;
    sim_put_back_new(&c, true, true);
    sim_put_back_refused(&c, "disk-behind");
    say_yes(&c);
    word.e = c.s.vm.epoch;
    e = sim_host_say_all(&c.h, &c.s.vm.uuid, &word).e;
    word.same_seq = true;
    assert_int_equal(sim_host_say_all(&c.h, &c.s.vm.uuid, &word).e, e);
    word.same_seq = false; /* or makes another */
    assert_int_equal(sim_host_say_all(&c.h, &c.s.vm.uuid, &word).e, e);
    c.s.vm.epoch = e;
    goes_on(&c);
}

static void
a_granted_proof_whose_answer_is_lost_is_made_again(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;

    (void)state;
    sim_put_back_new(&c, true, true);
    sim_put_back_refused(&c, "disk-behind");
    accept_it(&c);
    assert_int_equal(sim_vm_token(&c.s.vm, &c.h, &the_answer), 200);
    assert_int_equal(the_answer.type, ANSWER_RESOLVE);
    api_restart();
    sim_host_say(&c.h, &c.s.vm.uuid, VIEW_RUN, c.s.vm.epoch, false); /* grace is over */
    goes_on(&c);
    assert_int_equal(sim_put_back_gen(&c), 1);
}

static void
answers(const struct sim_put_back *c, int status, const char *problem)
{
    assert_int_equal(post_accept(c, json_pack("{s:b}", "dry_run", 1)), status);
    assert_string_equal(the_api.problem, problem);
    assert_int_equal(post_accept(c, json_pack("{s:s,s:s,s:s}", "cur", "", "new", "", "x", "")), status);
    assert_string_equal(the_api.problem, problem);
}

static void
without_something_that_was_refused_nothing_is_given(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;
    char target[80];

    (void)state;
    sim_put_back_new(&c, true, true);
    answers(&c, 409, "not-behind"); /* no proof was made yet */
    sim_put_back_refused(&c, "disk-behind");
    sim_put_back_show(&c, false, false);
    assert_int_equal(sim_vm_token(&c.s.vm, &c.h, &the_answer), 200);
    answers(&c, 409, "not-behind"); /* the newest was good */
    sim_put_back_show(&c, true, true);
    sim_put_back_refused(&c, "disk-behind");
    sim_host_say(&c.h, &c.s.vm.uuid, VIEW_GO, c.s.vm.epoch, false);
    answers(&c, 409, "not-running");
    snprintf(target, sizeof target, "/v1/admin/vms/%s/accept", "6ba7b810-9dad-11d1-80b4-00c04fd430c9");
    assert_int_equal(api_admin("POST", target, json_pack("{s:b}", "dry_run", 1)), 404);
}

static void
a_vm_on_the_move_or_retired_is_not_accepted(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;
    char target[80];

    (void)state;
    sim_put_back_new(&c, true, true);
    sim_put_back_refused(&c, "disk-behind");
    sim_host_say(&c.h, &c.s.vm.uuid, VIEW_JOB, c.s.vm.epoch, false);
    answers(&c, 409, "moving");
    snprintf(target, sizeof target, "/v1/admin/vms/%s/retire", c.s.vm.text);
    assert_int_equal(api_admin("POST", target, json_object()), 200);
    answers(&c, 403, "retired");
}

/* The lease of a silent host is no word of a VM that runs. */
static void
a_vm_whose_host_is_silent_is_not_accepted(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;

    (void)state;
    sim_put_back_new(&c, true, true);
    sim_put_back_refused(&c, "disk-behind");
    the_api.skew_ms += 61000;
    answers(&c, 409, "not-running");
}

static void
a_word_about_another_state_is_refused(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;
    CLEANUP(json_decref) json_t *seen = NULL;

    (void)state;
    sim_put_back_new(&c, true, true);
    sim_put_back_refused(&c, "disk-behind");
    seen = look(&c);
    sim_put_back_show(&c, true, false); /* and while the operator thinks about it */
    sim_put_back_refused(&c, "disk-behind");
    assert_int_equal(post_accept(&c, word_for(seen)), 409);
    assert_string_equal(the_api.problem, "conflict");
    assert_int_equal(post_accept(&c, json_object()), 400);
    assert_int_equal(post_accept(&c, json_pack("{s:s,s:s,s:s}", "cur", "zz", "new", "", "x", "")), 400);
    assert_int_equal(sim_host_say(&c.h, &c.s.vm.uuid, VIEW_RUN, c.s.vm.epoch, false).e, c.s.vm.epoch);
}

static void
no_host_and_no_other_user_gives_it(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;
    CLEANUP(json_decref) json_t *seen = NULL;
    char target[80];

    (void)state;
    sim_put_back_new(&c, true, true);
    sim_put_back_refused(&c, "disk-behind");
    seen = look(&c);
    snprintf(target, sizeof target, "/v1/admin/vms/%s/accept", c.s.vm.text);
    assert_int_equal(sim_host_ask(&c.h, "POST", target, word_for(seen)), 404);
    the_api.uid = 12345;
    assert_int_equal(post_accept(&c, word_for(seen)), 403);
    assert_int_equal(sim_put_back_gen(&c), 0);
}

/* ---- restore=auto ---- */

static void
set_restore(const struct sim_put_back *c, const char *word, int status)
{
    char target[80];

    snprintf(target, sizeof target, "/v1/admin/vms/%s", c->s.vm.text);
    assert_int_equal(api_admin("PATCH", target, json_pack("{s:s}", "restore", word)), status);
}

static void
with_restore_auto_a_disk_is_taken_back_once_a_day(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;

    (void)state;
    sim_put_back_new(&c, true, false);
    set_restore(&c, "auto", 200);
    sim_assert_shown(&c.s.vm, "restore", "auto");
    sim_put_back_refused(&c, "disk-behind");
    host_learns(&c);
    goes_on(&c);
    assert_int_equal(sim_put_back_gen(&c), 1);
    key_free(c.s.vm.secret);
    c.s.vm.secret = sim_key_copy(c.old);
    sim_put_back_refused(&c, "disk-behind"); /* again on the same day: an operator is asked */
    assert_int_equal(sim_host_say(&c.h, &c.s.vm.uuid, VIEW_RUN, c.s.vm.epoch, false).e, c.s.vm.epoch);
    accept_it(&c);
    goes_on(&c);
    assert_int_equal(sim_put_back_gen(&c), 2);
}

static void
restore_auto_takes_no_tpm_back(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;

    (void)state;
    sim_put_back_new(&c, true, true);
    set_restore(&c, "sometimes", 400);
    set_restore(&c, "auto", 200);
    sim_put_back_refused(&c, "disk-behind");
    assert_int_equal(sim_host_say(&c.h, &c.s.vm.uuid, VIEW_RUN, c.s.vm.epoch, false).e, c.s.vm.epoch);
    set_restore(&c, "ask", 200);
    sim_put_back_show(&c, true, false);
    sim_put_back_refused(&c, "disk-behind");
    assert_int_equal(sim_host_say(&c.h, &c.s.vm.uuid, VIEW_RUN, c.s.vm.epoch, false).e, c.s.vm.epoch);
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        API_TEST(a_disk_that_was_put_back_is_taken_back),
        API_TEST(a_tpm_that_was_put_back_is_taken_back),
        API_TEST(both_that_were_put_back_are_taken_back),
        API_TEST(without_an_index_the_key_is_taken_back),
        API_TEST(without_a_secret_the_index_is_taken_back),
        API_TEST(a_vm_that_does_not_step_goes_on_with_its_new_key),
        API_TEST(an_operator_sees_what_was_refused),
        API_TEST(a_vm_that_is_behind_again_is_shown_so),
        API_TEST(a_proof_of_before_the_word_is_dead),
        API_TEST(nothing_but_what_was_seen_is_taken),
        API_TEST(the_right_state_put_back_ends_the_grant),
        API_TEST(a_grant_is_good_for_ten_minutes),
        API_TEST(a_grant_ends_with_its_epoch),
        API_TEST(the_host_is_asked_for_its_report_at_once),
        API_TEST(the_hosts_report_may_be_repeated),
        API_TEST(a_granted_proof_whose_answer_is_lost_is_made_again),
        API_TEST(without_something_that_was_refused_nothing_is_given),
        API_TEST(a_vm_on_the_move_or_retired_is_not_accepted),
        API_TEST(a_vm_whose_host_is_silent_is_not_accepted),
        API_TEST(a_word_about_another_state_is_refused),
        API_TEST(no_host_and_no_other_user_gives_it),
        API_TEST(with_restore_auto_a_disk_is_taken_back_once_a_day),
        API_TEST(restore_auto_takes_no_tpm_back),
    };

    return cmocka_run_group_tests_name("api_accept", t, api_fixture_start, api_fixture_stop);
}
