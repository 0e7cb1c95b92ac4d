/*
 * The service's database was restored from a backup: what hosts kept of the time since comes back, and nothing else.
 */
#include "config.h"

#include "tests/unit/sim_recovery.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void
a_vm_that_went_on_since_the_backup_is_the_same(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;
    struct lease_result r;

    (void)state;
    sim_stage_new(&st);
    sim_back_up();
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_next_run(&st);
    sim_next_run(&st);
    sim_restore();
    assert_false(sim_in_recovery());
    r = sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    assert_int_equal(r.answer, LEASE_GRACE);
    assert_true(r.show);
    assert_true(service_in_grace(&the_api.service, the_api.service.clock_ms(), NULL)); /* it has not said all */
    sim_must_show(&st.a, &st.at_a, "taken");
    assert_true(sim_in_recovery());
    r = sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    assert_int_equal(r.answer, LEASE_OK);
    assert_false(r.show);
    assert_int_equal(r.e, st.s.vm.epoch);
    assert_int_equal(sim_stepper_prove(&st.s, &st.a), 200); /* nothing was lost: it goes on in its epoch */
    sim_assert_shown(&st.s.vm, "state", "ok");
    sim_says(&st.b, &st.s.vm, VIEW_OFF, &st.at_b);
    sim_next_run(&st);
    sim_assert_shown(&st.s.vm, "state", "ok");
}

static void
without_its_receipt_it_would_be_behind(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;

    (void)state;
    sim_stage_new(&st);
    sim_back_up();
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_next_run(&st);
    sim_next_run(&st);
    sim_restore();
    st.at_a.ver = st.at_a.row_ver = 0;
    sim_says(&st.a, &st.s.vm, VIEW_OFF, &st.at_a);
    sim_says(&st.b, &st.s.vm, VIEW_OFF, &st.at_b);
    st.s.vm.epoch = sim_host_say(&st.a, &st.s.vm.uuid, VIEW_RUN, 0, true).e;
    assert_int_equal(sim_vm_token(&st.s.vm, &st.a, &the_answer), 409);
    assert_string_equal(the_api.problem, "disk-behind");
    assert_false(sim_in_recovery());
}

static void
a_vm_that_was_enrolled_since_comes_back(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;
    CLEANUP(sim_vm_clear) struct sim_vm later;
    struct sim_kept k = { .len = 0 };

    (void)state;
    sim_stage_new(&st);
    sim_back_up();
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_vm_enrolled(&later, 2, SIM_SECRET, &st.a);
    sim_says(&st.a, &later, VIEW_RUN, &k);
    sim_restore();
    assert_true(sim_says(&st.a, &later, VIEW_RUN, &k).show);
    sim_must_show(&st.a, &k, "taken");
    sim_says(&st.b, &st.s.vm, VIEW_OFF, &st.at_b);
    assert_int_equal(sim_says(&st.a, &later, VIEW_RUN, &k).answer, LEASE_OK);
    assert_int_equal(sim_vm_token(&later, &st.a, &the_answer), 200);
}

static void
until_it_is_finished_nobody_is_enrolled_and_nothing_placed(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;
    CLEANUP(sim_vm_clear) struct sim_vm new_vm;
    char target[80];

    (void)state;
    sim_stage_new(&st);
    sim_back_up();
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_next_run(&st);
    sim_restore();
    sim_must_show(&st.a, &st.at_a, "taken");
    assert_int_equal(sim_recovery_finish(), 503); /* the hosts are still waited for */
    assert_string_equal(the_api.problem, "grace");
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_says(&st.b, &st.s.vm, VIEW_OFF, &st.at_b);
    sim_vm_new(&new_vm, 3, SIM_SECRET);
    assert_int_equal(sim_host_say(&st.b, &new_vm.uuid, VIEW_RUN, 0, true).answer, LEASE_GRACE);
    snprintf(target, sizeof target, "/v1/admin/vms/%s/place", st.s.vm.text);
    assert_int_equal(api_admin("POST", target, json_pack("{s:s,s:b}", "host", "b.example", "force", 1)), 503);
    assert_string_equal(the_api.problem, "recovery");
    assert_int_equal(api_admin("POST", "/v1/admin/hosts/a.example/fence", json_object()), 503);
    assert_string_equal(the_api.problem, "recovery");
    api_restart(); /* it is remembered */
    assert_true(sim_in_recovery());
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_says(&st.b, &st.s.vm, VIEW_OFF, &st.at_b);
    assert_int_equal(sim_recovery_finish(), 200);
    assert_false(sim_in_recovery());
    sim_vm_clear(&new_vm);
    sim_vm_enrolled(&new_vm, 3, SIM_SECRET, &st.b);
    assert_int_equal(sim_recovery_finish(), 409);
    api_restart();
    assert_false(sim_in_recovery());
}

/* Its account was made before, and its first proof comes in the middle of it. */
static void
a_first_proof_waits_too(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_new(&vm, 4, SIM_SECRET);
    vm.epoch = sim_host_say(&h, &vm.uuid, VIEW_RUN, 0, true).e;
    assert_int_equal(sim_vm_account(&vm, &h), 200);
    the_api.recovery = true; /* an operator's word, where no host could show anything */
    api_restart();
    the_api.recovery = false;
    assert_true(sim_in_recovery());
    assert_int_equal(sim_host_say(&h, &vm.uuid, VIEW_RUN, vm.epoch, false).answer, LEASE_OK);
    assert_int_equal(sim_vm_token(&vm, &h, &the_answer), 503);
    assert_string_equal(the_api.problem, "recovery");
    assert_int_equal(sim_vm_account(&vm, &h), 503);
    assert_int_equal(sim_recovery_finish(), 200);
    assert_int_equal(sim_vm_token(&vm, &h, &the_answer), 200);
}

static void
retire(const struct sim_stage *st)
{
    char target[80];

    snprintf(target, sizeof target, "/v1/admin/vms/%s/retire", st->s.vm.text);
    assert_int_equal(api_admin("POST", target, json_object()), 200);
}

static void
one_that_was_retired_since_is_retired_again(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;

    (void)state;
    sim_stage_new(&st);
    sim_back_up();
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_says(&st.b, &st.s.vm, VIEW_OFF, &st.at_b);
    retire(&st);
    assert_int_equal(sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a).answer, LEASE_RETIRED);
    sim_restore();
    sim_must_show(&st.a, &st.at_a, "taken");
    assert_int_equal(sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a).answer, LEASE_RETIRED);
    sim_assert_shown(&st.s.vm, "state", "retired");
}

/* An operator's word in the restored database is newer than what a host can show. */
static void
what_is_retired_before_the_receipt_comes_stays_so(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;

    (void)state;
    sim_stage_new(&st);
    sim_back_up();
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_next_run(&st);
    sim_restore();
    retire(&st);
    sim_must_show(&st.a, &st.at_a, "taken"); /* the lease */
    sim_assert_shown(&st.s.vm, "state", "retired");
    assert_int_equal(sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a).answer, LEASE_RETIRED);
}

/* In grace it proves itself by the old row, and so changes it: that is no word against the newer one. */
static void
a_proof_in_grace_does_not_outdate_a_receipt(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;
    char target[80];

    (void)state;
    sim_stage_new(&st);
    sim_back_up();
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    snprintf(target, sizeof target, "/v1/admin/vms/%s", st.s.vm.text);
    assert_int_equal(api_admin("PATCH", target, json_pack("{s:s}", "owner", "since")), 200);
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_restore();
    st.s.vm.tpm.reset++; /* another run: it begins a step */
    assert_int_equal(sim_stepper_prove(&st.s, &st.a), 200);
    assert_int_equal(the_answer.type, ANSWER_EXTEND);
    sim_must_show(&st.a, &st.at_a, "taken");
    sim_assert_shown(&st.s.vm, "owner", "since");
}

/* So does a placement, where its host was silent for too long. */
static void
what_is_placed_before_the_receipt_comes_stays_so(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;
    char target[80];

    (void)state;
    sim_stage_new(&st);
    sim_back_up();
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    snprintf(target, sizeof target, "/v1/admin/vms/%s", st.s.vm.text);
    assert_int_equal(api_admin("PATCH", target, json_pack("{s:s}", "owner", "since")), 200);
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_restore();
    the_api.skew_ms += GRACE_MS + 1;
    sim_says(&st.b, &st.s.vm, VIEW_OFF, &st.at_b);
    assert_int_equal(sim_host_placed(&st.b, &st.s.vm.uuid, json_pack("{s:s,s:b}", "host", "b.example", "force", 1)), 200);
    sim_must_show(&st.a, &st.at_a, "taken"); /* the account */
    sim_assert_shown(&st.s.vm, "owner", "since");
    sim_assert_shown(&st.s.vm, "host", "b.example");
}

static void
place_at_b(struct sim_stage *st)
{
    struct sim_word off = { .view = VIEW_GO, .e = st->s.vm.epoch, .ver = st->at_a.ver, .row_ver = st->at_a.row_ver };
    struct lease_result r = sim_host_say_all(&st->a, &st->s.vm.uuid, &off);

    sim_keep(&st->at_a, &r);
    sim_says(&st->b, &st->s.vm, VIEW_OFF, &st->at_b);
    assert_int_equal(sim_host_placed(&st->b, &st->s.vm.uuid, json_pack("{s:s}", "host", "b.example")), 200);
    st->s.vm.epoch = sim_host_say(&st->b, &st->s.vm.uuid, VIEW_RUN, 0, true).e;
    assert_true(st->s.vm.epoch > 0);
    sim_stepper_step(&st->s, &st->b);
    sim_says(&st->b, &st->s.vm, VIEW_RUN, &st->at_b);
}

static void
one_that_moved_since(bool a_first)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;

    sim_stage_new(&st);
    sim_back_up();
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_next_run(&st);
    place_at_b(&st);
    sim_restore();
    if (a_first)
        sim_must_show(&st.a, &st.at_a, "taken");
    sim_must_show(&st.b, &st.at_b, "taken");
    if (!a_first)
        sim_must_show(&st.a, &st.at_a, "known");
    assert_false(sim_says(&st.a, &st.s.vm, VIEW_OFF, &st.at_a).show);
    assert_int_equal(sim_says(&st.b, &st.s.vm, VIEW_RUN, &st.at_b).answer, LEASE_OK);
    sim_assert_shown(&st.s.vm, "host", "b.example");
    assert_int_equal(sim_stepper_prove(&st.s, &st.b), 200);
    assert_int_equal(sim_host_say(&st.a, &st.s.vm.uuid, VIEW_RUN, 0, true).answer, LEASE_FOREIGN);
}

static void
one_that_moved_since_is_where_it_went(void **state)
{
    (void)state;
    one_that_moved_since(true);
}

static void
in_whichever_order_they_are_shown(void **state)
{
    (void)state;
    one_that_moved_since(false);
}

/* No backup at all, but the signer's keys: its host joins anew, and brings it along. */
static void
an_empty_database_gets_it_back_too(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;
    char path[128];

    (void)state;
    sim_stage_new(&st);
    sim_next_run(&st);
    api_fixture_close();
    snprintf(path, sizeof path, "%s/tokend.db", the_api.folder);
    assert_int_equal(unlink(path), 0);
    api_restart();
    sim_host_clear(&st.a);
    sim_host_new(&st.a, "a.example");
    sim_must_show(&st.a, &st.at_a, "taken");
    assert_int_equal(sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a).answer, LEASE_OK);
    assert_int_equal(sim_stepper_prove(&st.s, &st.a), 200);
    sim_assert_shown(&st.s.vm, "state", "ok");
    assert_true(sim_in_recovery());
}

/* A row holds what the next step of the TPM needs: only who has the VM keeps it. */
static void
another_host_gets_no_account_to_keep(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;
    struct lease_result r;

    (void)state;
    sim_stage_new(&st);
    r = sim_host_say(&st.b, &st.s.vm.uuid, VIEW_RUN, 0, true);
    assert_int_equal(r.answer, LEASE_FOREIGN);
    assert_true(r.receipt_len > 64);
    assert_int_equal(r.row_ver, 0);
    for (size_t i = 0; i + 32 <= r.receipt_len; i++)
        assert_memory_not_equal(r.receipt + i, st.s.vm.tpm.x, 32);
    /* And what it has is not asked for again, nor sent. */
    sim_says(&st.b, &st.s.vm, VIEW_RUN, &st.at_b);
    assert_int_equal(sim_says(&st.b, &st.s.vm, VIEW_RUN, &st.at_b).receipt_len, 0);
}

static void
nothing_that_is_not_ours_is_taken(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;
    struct sim_kept bad;

    (void)state;
    sim_stage_new(&st);
    sim_back_up();
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_next_run(&st);
    sim_restore();
    for (size_t i = 0; i < st.at_a.len; i += 3) {
        bad = st.at_a;
        bad.bytes[i] ^= 1;
        sim_must_show(&st.a, &bad, "refused");
    }
    for (size_t len = 1; len < st.at_a.len; len += 17) {
        bad = st.at_a;
        bad.len = len;
        sim_must_show(&st.a, &bad, "refused");
    }
    assert_false(sim_in_recovery());
    /* Whoever shows it: it is the service's own word, and no host's. */
    sim_must_show(&st.b, &st.at_a, "taken");
    sim_must_show(&st.b, &st.at_a, "known");
    sim_must_show(&st.a, &st.at_a, "known");
}

static void
in_its_own_database_a_receipt_is_no_news(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;
    struct sim_kept first;
    int64_t records;

    (void)state;
    sim_stage_new(&st);
    first = st.at_a;
    sim_next_run(&st);
    records = api_audit_count();
    sim_must_show(&st.a, &first, "known");
    sim_must_show(&st.a, &st.at_a, "known");
    assert_int_equal(api_audit_count(), records);
    assert_false(sim_in_recovery());
    assert_false(sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a).show);
}

/* Between the backup and today its secret was given to another account, in a database that went on. */
static void
keys_that_are_another_vms_by_now_are_not_taken(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;
    CLEANUP(sim_vm_clear) struct sim_vm thief;
    struct sim_kept k = { .len = 0 };
    struct sim_vm later;

    (void)state;
    sim_stage_new(&st);
    sim_back_up();
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_vm_enrolled(&later, 2, SIM_SECRET, &st.a);
    sim_says(&st.a, &later, VIEW_RUN, &k);
    sim_restore();
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_says(&st.b, &st.s.vm, VIEW_OFF, &st.at_b);
    sim_vm_new(&thief, 5, SIM_SECRET);
    key_free(thief.secret);
    thief.secret = later.secret;
    later.secret = NULL;
    thief.epoch = sim_host_say(&st.b, &thief.uuid, VIEW_RUN, 0, true).e;
    assert_int_equal(sim_vm_account(&thief, &st.b), 200);
    assert_int_equal(sim_vm_token(&thief, &st.b, &the_answer), 200);
    sim_must_show(&st.a, &k, "refused");
    assert_true(sim_in_recovery());
    sim_vm_clear(&later);
}

static void
who_was_not_heard_is_named(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;
    CLEANUP(json_decref) json_t *o = NULL;
    const json_t *silent;

    (void)state;
    sim_stage_new(&st);
    sim_back_up();
    the_api.skew_ms += 2000;
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_next_run(&st);
    sim_restore();
    sim_must_show(&st.a, &st.at_a, "taken");
    the_api.skew_ms += 10;
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    o = sim_recovery_state();
    silent = json_object_get(o, "silent_hosts");
    assert_int_equal(json_array_size(silent), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(silent, 0), "name")), "b.example");
    assert_int_equal(json_integer_value(json_object_get(o, "receipts_taken")), 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(a_vm_that_went_on_since_the_backup_is_the_same),
        API_TEST(without_its_receipt_it_would_be_behind),
        API_TEST(a_vm_that_was_enrolled_since_comes_back),
        API_TEST(until_it_is_finished_nobody_is_enrolled_and_nothing_placed),
        API_TEST(a_first_proof_waits_too),
        API_TEST(one_that_was_retired_since_is_retired_again),
        API_TEST(what_is_retired_before_the_receipt_comes_stays_so),
        API_TEST(what_is_placed_before_the_receipt_comes_stays_so),
        API_TEST(a_proof_in_grace_does_not_outdate_a_receipt),
        API_TEST(one_that_moved_since_is_where_it_went),
        API_TEST(in_whichever_order_they_are_shown),
        API_TEST(an_empty_database_gets_it_back_too),
        API_TEST(another_host_gets_no_account_to_keep),
        API_TEST(nothing_that_is_not_ours_is_taken),
        API_TEST(in_its_own_database_a_receipt_is_no_news),
        API_TEST(keys_that_are_another_vms_by_now_are_not_taken),
        API_TEST(who_was_not_heard_is_named),
    };

    return cmocka_run_group_tests_name("api_recovery", tests, api_fixture_start, api_fixture_stop);
}
