/*
 * An operator locks an identity, and ends that: what is withheld meanwhile, what goes on, and what comes back.
 */
#include "config.h"

#include "tests/unit/sim_put_back.h"
#include "tests/unit/sim_recovery.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int
post(const struct sim_vm *vm, const char *word, json_t *take_body)
{
    char path[100];

    snprintf(path, sizeof path, "/v1/admin/vms/%s/%s", vm->text, word);
    return api_admin("POST", path, take_body);
}

/* With the word that it changed something. */
static void
lock(const struct sim_vm *vm)
{
    CLEANUP(json_decref) json_t *o = NULL;

    assert_int_equal(post(vm, "lock", json_pack("{s:s}", "reason", "odd logins, ticket 7")), 200);
    o = api_answer();
    assert_true(json_is_true(json_object_get(o, "changed")));
    assert_string_equal(json_string_value(json_object_get(o, "state")), "locked");
}

static void
unlock(const struct sim_vm *vm)
{
    CLEANUP(json_decref) json_t *o = NULL;

    assert_int_equal(post(vm, "unlock", json_object()), 200);
    o = api_answer();
    assert_true(json_is_true(json_object_get(o, "changed")));
}

static json_t *
shown(const struct sim_vm *vm)
{
    char path[80];

    snprintf(path, sizeof path, "/v1/admin/vms/%s", vm->text);
    assert_int_equal(api_admin("GET", path, NULL), 200);
    return api_answer();
}

static int64_t
gen_of(const struct sim_vm *vm)
{
    CLEANUP(json_decref) json_t *o = shown(vm);

    return json_integer_value(json_object_get(o, "gen"));
}

static bool
body_has(const char *text)
{
    buf_add_u8(&the_api.body, 0);
    return strstr((const char *)the_api.body.data, text) != NULL;
}

static void
must_refuse(int status)
{
    assert_int_equal(status, 403);
    assert_string_equal(the_api.problem, "locked");
}

/* On the connection of a proof that was just answered: with the nonce for it, and in the same epoch. */
static void
no_token_from_the_answer_on(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;
    int64_t gen;

    (void)state;
    sim_stage_new(&st);
    gen = gen_of(&st.s.vm);
    assert_int_equal(sim_vm_token(&st.s.vm, &st.a, &the_answer), 200);
    sim_vm_prove(&st.s.vm, &st.a); /* made before, arrives after */
    lock(&st.s.vm);
    must_refuse(sim_vm_send(&st.s.vm, &the_answer));
    assert_false(body_has("ticket")); /* the guest is not told why, nor by whom */
    assert_false(body_has("admin"));
    must_refuse(sim_vm_token(&st.s.vm, &st.a, &the_answer));
    api_restart();
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    must_refuse(sim_vm_token(&st.s.vm, &st.a, &the_answer));
    unlock(&st.s.vm);
    assert_int_equal(sim_vm_token(&st.s.vm, &st.a, &the_answer), 200);
    assert_int_equal(the_answer.type, ANSWER_TOKEN);
    assert_int_equal(gen_of(&st.s.vm), gen);
}

/* Between EXTEND and the proof that shows it. */
static void
a_step_that_it_cut_is_finished_after_it(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;
    int64_t gen;

    (void)state;
    sim_stage_new(&st);
    gen = gen_of(&st.s.vm);
    st.s.vm.epoch = sim_host_say(&st.a, &st.s.vm.uuid, VIEW_RUN, 0, true).e;
    assert_int_equal(sim_stepper_prove(&st.s, &st.a), 200);
    assert_int_equal(the_answer.type, ANSWER_EXTEND);
    lock(&st.s.vm);
    sim_stepper_extend(&st.s);
    must_refuse(sim_stepper_prove(&st.s, &st.a));
    unlock(&st.s.vm);
    assert_int_equal(sim_stepper_prove(&st.s, &st.a), 200);
    sim_stepper_take(&st.s);
    assert_true(sim_says_fresh("vtpm") && sim_says_fresh("secret"));
    sim_next_run(&st);
    assert_int_equal(gen_of(&st.s.vm), gen);
}

static void
its_machine_goes_on(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    struct lease_result result;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &a);
    lock(&vm);
    result = sim_host_say(&a, &vm.uuid, VIEW_RUN, vm.epoch, false);
    assert_int_equal(result.answer, LEASE_OK);
    assert_int_equal(result.e, vm.epoch);
    sim_host_say(&a, &vm.uuid, VIEW_GO, vm.epoch, false);
    result = sim_host_say(&a, &vm.uuid, VIEW_RUN, 0, true); /* started again */
    assert_int_equal(result.answer, LEASE_OK);
    assert_true(result.e > vm.epoch);
    vm.epoch = result.e;
    must_refuse(sim_vm_token(&vm, &a, &the_answer));
    unlock(&vm);
    assert_int_equal(sim_vm_token(&vm, &a, &the_answer), 200);
}

static struct lease_result
hands_over(struct sim_host *h, const struct sim_vm *vm)
{
    struct sim_word word = { .view = VIEW_INC, .op = LEASE_OP_HANDOVER };

    return sim_host_say_all(h, &vm->uuid, &word);
}

static void
must_be_vetoed(struct sim_host *h, const struct sim_vm *vm)
{
    assert_int_equal(hands_over(h, vm).answer, LEASE_FOREIGN); /* a word that every host knows */
    assert_int_equal(the_api.park_ms, 0);
    assert_non_null(strstr(the_api.headers, HTTP_LOCKED ": 1\r\n"));
    assert_false(body_has("locked")); /* a member that older hosts do not */
}

static void
it_comes_in_nowhere(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_host_clear) struct sim_host b;
    CLEANUP(sim_vm_clear) struct sim_vm vm;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_host_new(&b, "b.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &a);
    lock(&vm);
    must_be_vetoed(&b, &vm);
    assert_int_equal(sim_host_say(&b, &vm.uuid, VIEW_RUN, 0, true).answer, LEASE_FOREIGN); /* a start is another thing */
    assert_null(strstr(the_api.headers, HTTP_LOCKED));
    assert_int_equal(sim_host_say(&a, &vm.uuid, VIEW_RUN, vm.epoch, false).answer, LEASE_OK);
    assert_int_equal(api_admin("GET", "/v1/admin/audit?limit=20", NULL), 200);
    assert_true(body_has("\"problem\":\"locked\""));
    the_api.service.tokens_since_ms = the_api.service.clock_ms(); /* both words in one answer */
    must_be_vetoed(&b, &vm);
    assert_non_null(strstr(the_api.headers, HTTP_TOKENS_SINCE ": "));
    the_api.service.tokens_since_ms = 0;
    api_restart(); /* in grace nothing is taken down, and this needs nothing */
    must_be_vetoed(&b, &vm);
    sim_host_say(&a, &vm.uuid, VIEW_RUN, vm.epoch, false);
    sim_host_say(&b, &vm.uuid, VIEW_OFF, 0, false);
    unlock(&vm);
    hands_over(&b, &vm);
    assert_true(the_api.park_ms > 0); /* its source is asked */
    assert_null(strstr(the_api.headers, HTTP_LOCKED));
}

static void
an_observed_one_is_refused_nothing(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_host_clear) struct sim_host b;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    char path[80];

    (void)state;
    sim_host_new(&a, "a.example");
    sim_host_new(&b, "b.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &a);
    snprintf(path, sizeof path, "/v1/admin/vms/%s", vm.text);
    assert_int_equal(api_admin("PATCH", path, json_pack("{s:s}", "mode", "observe")), 200);
    lock(&vm);
    assert_int_equal(hands_over(&b, &vm).answer, LEASE_UNKNOWN);
    assert_null(strstr(the_api.headers, HTTP_LOCKED));
}

/* Hosts "a" and "b", and a VM that was on its way from one to the other when it was locked: what "b" is told of its run. */
struct move {
    struct sim_host a, b;
    struct sim_vm vm;
};

static void
move_clear(struct move *m)
{
    sim_vm_clear(&m->vm);
    sim_host_clear(&m->a);
    sim_host_clear(&m->b);
}
#define move_clear_at move_clear

static uint64_t
pulled_from(struct sim_host *h)
{
    CLEANUP(json_decref) json_t *pull = NULL;

    assert_int_equal(sim_host_ask(h, "GET", "/v1/host/pull?after=0", NULL), 200);
    pull = api_answer();
    return (uint64_t)json_integer_value(json_object_get(pull, "pull"));
}

static enum lease_answer
arrives(struct move *m)
{
    struct sim_word here = { .view = VIEW_RUN, .k = true, .e = m->vm.epoch };

    return sim_host_say_all(&m->b, &m->vm.uuid, &here).answer;
}

static enum lease_answer
is_locked_on_its_way(struct move *m, int has)
{
    struct sim_word job = { .view = VIEW_JOB }, gone = { .view = VIEW_GM };
    struct lease_result result;

    sim_host_new(&m->a, "a.example");
    sim_host_new(&m->b, "b.example");
    sim_vm_enrolled(&m->vm, 1, has, &m->a);
    job.e = gone.e = m->vm.epoch;
    hands_over(&m->b, &m->vm);
    job.pull = pulled_from(&m->a);
    sim_host_say_all(&m->a, &m->vm.uuid, &job);
    result = hands_over(&m->b, &m->vm);
    assert_int_equal(result.answer, LEASE_CANDIDATE);
    lock(&m->vm);
    sim_host_say_all(&m->a, &m->vm.uuid, &gone);
    m->vm.epoch = result.e;
    return arrives(m);
}

static void
one_that_was_moving_arrives_and_is_whose_it_was_after_it(void **state)
{
    CLEANUP(move_clear) struct move m;

    (void)state;
    assert_int_equal(is_locked_on_its_way(&m, SIM_SECRET), LEASE_CANDIDATE);
    must_refuse(sim_vm_token(&m.vm, &m.b, &the_answer));
    assert_int_equal(arrives(&m), LEASE_CANDIDATE);
    unlock(&m.vm);
    assert_int_equal(sim_vm_token(&m.vm, &m.b, &the_answer), 200);
    assert_int_equal(sim_host_say(&m.b, &m.vm.uuid, VIEW_RUN, m.vm.epoch, false).answer, LEASE_OK);
}

/* Its floor is its host alone: hosts decide where it is, locked or not. */
static void
where_no_proof_decides_the_lease_arrives_too(void **state)
{
    CLEANUP(move_clear) struct move m;

    (void)state;
    is_locked_on_its_way(&m, 0);
    assert_int_equal(arrives(&m), LEASE_OK);
    must_refuse(sim_vm_token(&m.vm, &m.b, &the_answer));
}

/* Said twice it is said once; who, when and why is for operators. */
static void
it_is_recorded_and_shown(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    CLEANUP(json_decref) json_t *o = NULL;
    int64_t records;
    char path[80];

    (void)state;
    sim_host_new(&a, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &a);
    records = api_audit_count();
    lock(&vm);
    assert_int_equal(post(&vm, "lock", json_pack("{s:s}", "reason", "another")), 200);
    assert_true(body_has("\"changed\":false"));
    assert_int_equal(api_audit_count(), records + 1);
    for (int i = 0; i < 70; i++) { /* more than `why` reads of the newest */
        the_api.skew_ms += 100;
        snprintf(path, sizeof path, "/v1/admin/vms/%s", vm.text);
        assert_int_equal(api_admin("PATCH", path, json_pack("{s:s}", "owner", i % 2 ? "me" : "you")), 200);
    }
    o = shown(&vm);
    assert_string_equal(json_string_value(json_object_get(o, "state")), "locked");
    assert_string_equal(json_string_value(json_object_get(o, "locked_reason")), "odd logins, ticket 7");
    assert_string_equal(json_string_value(json_object_get(o, "locked_by")), "admin uid 0");
    assert_true(json_integer_value(json_object_get(o, "locked_since")) > 0);
    assert_string_equal(json_string_value(json_object_get(o, "repair")), "virtid unlock web1");
    assert_true(body_has("by admin uid 0: odd logins, ticket 7"));
    snprintf(path, sizeof path, "/v1/host/vm?uuid=%s", vm.text);
    assert_int_equal(sim_host_ask(&a, "GET", path, NULL), 200);
    assert_true(body_has("virtid unlock web1"));
    assert_false(body_has("ticket 7"));
    must_refuse(sim_vm_token(&vm, &a, &the_answer));
    unlock(&vm);
    assert_int_equal(post(&vm, "unlock", json_object()), 200);
    assert_true(body_has("\"changed\":false"));
    json_decref(o);
    o = shown(&vm);
    assert_null(json_object_get(o, "locked_since"));
    assert_true(sim_why_says(&vm, "none since it was unlocked"));
}

static void
a_reason_is_a_line(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    char longest[AUDIT_TEXT_MAX + 2];

    (void)state;
    sim_host_new(&a, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &a);
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(post(&vm, "lock", json_pack("{s:s}", "reason", "a \" what=retired")), 400);
    assert_int_equal(post(&vm, "lock", json_pack("{s:s}", "reason", "a\nb")), 400);
    assert_int_equal(post(&vm, "lock", json_pack("{s:s}", "reason", longest)), 400);
    assert_int_equal(post(&vm, "lock", json_pack("{s:i}", "reason", 1)), 400);
    assert_int_equal(post(&vm, "unlock", json_pack("{s:s}", "reason", "x")), 400);
    longest[AUDIT_TEXT_MAX] = '\0';
    assert_int_equal(post(&vm, "lock", json_pack("{s:s}", "reason", longest)), 200);
    assert_int_equal(api_admin("POST", "/v1/admin/vms/nobody/lock", json_object()), 404);
    assert_int_equal(api_admin("POST", "/v1/admin/vms/nobody/unlock", json_object()), 404);
}

/* It has shown nothing of what its host said of it: nobody else is kept from that. */
static void
one_that_never_proved_itself_is_pending_after_it(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    CLEANUP(sim_vm_clear) struct sim_vm other;
    struct key *own;
    char path[80];

    (void)state;
    sim_host_new(&a, "a.example");
    sim_vm_new(&vm, 1, SIM_SECRET);
    vm.epoch = sim_host_say(&a, &vm.uuid, VIEW_RUN, 0, true).e;
    assert_int_equal(sim_vm_account(&vm, &a), 200);
    lock(&vm);
    must_refuse(sim_vm_token(&vm, &a, &the_answer));
    must_refuse(sim_vm_account(&vm, &a));
    assert_int_equal(sim_host_say(&a, &vm.uuid, VIEW_RUN, vm.epoch, false).receipt_len, 0);
    snprintf(path, sizeof path, "/v1/admin/vms/%s", vm.text);
    assert_int_equal(api_admin("PATCH", path, json_pack("{s:[s]}", "floor", "host")), 409); /* that would settle it */
    assert_string_equal(the_api.problem, "conflict");
    sim_vm_new(&other, 2, SIM_SECRET);
    own = other.secret;
    other.secret = vm.secret;
    other.epoch = sim_host_say(&a, &other.uuid, VIEW_RUN, 0, true).e;
    assert_int_equal(sim_vm_account(&other, &a), 200); /* as of any that is pending */
    other.secret = own;
    assert_int_equal(sim_vm_account(&other, &a), 200);
    unlock(&vm);
    sim_assert_shown(&vm, "state", "pending");
    assert_int_equal(sim_vm_token(&vm, &a, &the_answer), 200);
    sim_assert_shown(&vm, "state", "ok");
}

/* What the one host said of it is nothing to the next, and nothing for ever. */
static void
a_stranger_leaves_no_keys_behind(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_host_clear) struct sim_host b;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    CLEANUP(json_decref) json_t *o = NULL;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_host_new(&b, "b.example");
    sim_vm_new(&vm, 1, SIM_SECRET);
    vm.epoch = sim_host_say(&a, &vm.uuid, VIEW_RUN, 0, true).e;
    assert_int_equal(sim_vm_account(&vm, &a), 200);
    lock(&vm);
    assert_int_equal(sim_host_placed(&b, &vm.uuid, json_pack("{s:b}", "force", 1)), 200);
    o = shown(&vm);
    assert_true(json_is_true(json_object_get(o, "has_secret")));
    assert_int_equal(sim_host_say(&b, &vm.uuid, VIEW_RUN, 0, true).answer, LEASE_OK);
    json_decref(o);
    o = shown(&vm);
    assert_true(json_is_false(json_object_get(o, "has_secret")));
}

static void
nor_does_one_that_is_retired(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    CLEANUP(json_decref) json_t *o = NULL;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_vm_new(&vm, 1, SIM_SECRET);
    vm.epoch = sim_host_say(&a, &vm.uuid, VIEW_RUN, 0, true).e;
    assert_int_equal(sim_vm_account(&vm, &a), 200);
    lock(&vm);
    assert_int_equal(post(&vm, "retire", json_object()), 200);
    o = shown(&vm);
    assert_true(json_is_false(json_object_get(o, "has_secret")));
}

static void
a_retired_one_is_neither_locked_nor_unlocked_and_a_locked_one_may_be_retired(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_vm_clear) struct sim_vm vm;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &a);
    lock(&vm);
    assert_int_equal(sim_host_placed(&a, &vm.uuid, json_pack("{s:b,s:b}", "force", 1, "reincarnate", 1)), 409);
    must_refuse(post(&vm, "accept", json_pack("{s:b}", "dry_run", 1)));
    assert_int_equal(post(&vm, "retire", json_object()), 200);
    sim_assert_shown(&vm, "state", "retired");
    assert_int_equal(post(&vm, "lock", json_object()), 403);
    assert_string_equal(the_api.problem, "retired");
    assert_int_equal(post(&vm, "unlock", json_object()), 403);
    assert_string_equal(the_api.problem, "retired");
}

static json_t *
accept_word(const struct sim_vm *vm)
{
    CLEANUP(json_decref) json_t *seen = NULL;

    assert_int_equal(post(vm, "accept", json_pack("{s:b}", "dry_run", 1)), 200);
    seen = api_answer();
    return json_pack("{s:O,s:O,s:O}", "cur", json_object_get(seen, "cur"), "new", json_object_get(seen, "new"), "x",
                     json_object_get(seen, "x"));
}

static void
an_accept_from_before_is_void(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;

    (void)state;
    sim_put_back_new(&c, true, false);
    sim_put_back_refused(&c, "disk-behind");
    assert_int_equal(post(&c.s.vm, "accept", accept_word(&c.s.vm)), 200);
    lock(&c.s.vm);
    unlock(&c.s.vm);
    assert_int_equal(sim_host_say(&c.h, &c.s.vm.uuid, VIEW_RUN, c.s.vm.epoch, false).e, c.s.vm.epoch);
    sim_put_back_refused(&c, "disk-behind");
    assert_int_equal(post(&c.s.vm, "accept", accept_word(&c.s.vm)), 200); /* it is to be said again */
}

/* The lock came with the backup's end, or after the restore: both ways it holds, and what the VM stepped is not lost. */
static void
a_lock_since_the_backup_comes_back(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;

    (void)state;
    sim_stage_new(&st);
    sim_back_up();
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_next_run(&st);
    lock(&st.s.vm);
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_restore();
    sim_must_show(&st.a, &st.at_a, "taken");
    sim_assert_shown(&st.s.vm, "state", "locked");
    must_refuse(sim_vm_token(&st.s.vm, &st.a, &the_answer));
}

static void
a_lock_before_the_receipt_comes_stays_and_so_does_what_it_stepped(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;

    (void)state;
    sim_stage_new(&st);
    sim_back_up();
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_next_run(&st);
    sim_next_run(&st);
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_restore();
    the_api.skew_ms += 1000;
    lock(&st.s.vm);
    sim_must_show(&st.a, &st.at_a, "taken");
    sim_assert_shown(&st.s.vm, "state", "locked");
    must_refuse(sim_vm_token(&st.s.vm, &st.a, &the_answer));
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_says(&st.b, &st.s.vm, VIEW_OFF, &st.at_b);
    unlock(&st.s.vm);
    assert_int_equal(sim_stepper_prove(&st.s, &st.a), 200); /* else it would be behind, or ahead */
    sim_assert_shown(&st.s.vm, "state", "ok");
}

static void
an_unlock_since_the_backup_comes_back_too(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;

    (void)state;
    sim_stage_new(&st);
    lock(&st.s.vm);
    sim_back_up();
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    the_api.skew_ms += 1000;
    unlock(&st.s.vm);
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_restore();
    sim_must_show(&st.a, &st.at_a, "taken");
    sim_assert_shown(&st.s.vm, "state", "ok");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(no_token_from_the_answer_on),
        API_TEST(a_step_that_it_cut_is_finished_after_it),
        API_TEST(its_machine_goes_on),
        API_TEST(it_comes_in_nowhere),
        API_TEST(an_observed_one_is_refused_nothing),
        API_TEST(one_that_was_moving_arrives_and_is_whose_it_was_after_it),
        API_TEST(where_no_proof_decides_the_lease_arrives_too),
        API_TEST(it_is_recorded_and_shown),
        API_TEST(a_reason_is_a_line),
        API_TEST(one_that_never_proved_itself_is_pending_after_it),
        API_TEST(a_stranger_leaves_no_keys_behind),
        API_TEST(nor_does_one_that_is_retired),
        API_TEST(a_retired_one_is_neither_locked_nor_unlocked_and_a_locked_one_may_be_retired),
        API_TEST(an_accept_from_before_is_void),
        API_TEST(a_lock_since_the_backup_comes_back),
        API_TEST(a_lock_before_the_receipt_comes_stays_and_so_does_what_it_stepped),
        API_TEST(an_unlock_since_the_backup_comes_back_too),
    };

    return cmocka_run_group_tests_name("api_lock", tests, api_fixture_start, api_fixture_stop);
}
