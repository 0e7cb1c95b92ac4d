/*
 * What a joined host, or a VM with a good host signature, may not do without bound; and
 * what the service does not do by a clock that it can not trust.
 */
#include "config.h"

#include "tests/unit/api_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "tokenservice/api/pending.h"
#include "tokenservice/api/vm_account.h"

static struct answer answer;
static struct error err;

static void
use_up(enum rate_kind kind, const void *who, size_t len)
{
    while (rate_take(the_api.service.rates, kind, who, len, the_api.frozen_ms, &err) ==
           0)
        ;
}

static void
freeze(void)
{
    the_api.frozen_ms = clock_realtime_ms();
}

/* ---- rates ---- */

static void
a_host_that_asks_too_often_is_told_when_to_come_again(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_host_clear) struct sim_host b;
    int n = 0;

    (void)state;
    freeze();
    sim_host_new(&a, "a.example");
    sim_host_new(&b, "b.example");
    while (n < 600 && sim_host_ask(&a, "GET", "/v1/host/bundle", NULL) == 200)
        n++;
    assert_in_range(n, 400, 500);
    assert_int_equal(the_api.status, 429);
    assert_string_equal(the_api.problem, "rate-limited");
    assert_string_equal(the_api.headers, "Retry-After: 1\r\n");
    assert_int_equal(sim_host_ask(&b, "GET", "/v1/host/bundle", NULL), 200);
    the_api.skew_ms = 1000;
    assert_int_equal(sim_host_ask(&a, "GET", "/v1/host/bundle", NULL), 200);
}

static void
a_host_that_changes_too_much_keeps_its_leases_and_gets_no_new_ones(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    struct vm_uuid other = { { 2 } };
    int64_t before;

    (void)state;
    freeze();
    sim_host_new(&h, "a.example");
    sim_vm_new(&vm, 1, SIM_SECRET);
    vm.epoch = sim_host_say(&h, &vm.uuid, VIEW_RUN, 0, true).e;
    use_up(RATE_HOST_RECORD, h.name, strlen(h.name));
    before = api_audit_count();
    assert_int_equal(sim_host_say(&h, &other, VIEW_RUN, 0, true).answer, LEASE_GRACE);
    assert_int_equal(sim_host_say(&h, &vm.uuid, VIEW_RUN, 0, true).answer, LEASE_GRACE);
    assert_int_equal(sim_host_say(&h, &vm.uuid, VIEW_RUN, vm.epoch, false).answer,
                     LEASE_OK);
    assert_int_equal(sim_vm_account(&vm, &h), 429);
    assert_string_equal(the_api.problem, "rate-limited");
    assert_int_equal(sim_host_renew(&h), 429);
    assert_int_equal(api_audit_count(), before);
    the_api.skew_ms = 2000;
    assert_int_equal(sim_host_say(&h, &other, VIEW_RUN, 0, true).answer, LEASE_OK);
    assert_int_equal(sim_vm_account(&vm, &h), 200);
}

/* Renew, use, renew: each leaves a retired certificate for a day. */
static void
a_host_keeps_only_so_many_certificates(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    int n = 0;

    (void)state;
    sim_host_new(&h, "a.example");
    while (n < 2 * STORE_CERTS_MAX && sim_host_renew(&h) == 200 &&
           sim_host_ask(&h, "GET", "/v1/host/bundle", NULL) == 200)
        n++;
    assert_int_equal(the_api.status, 429);
    assert_string_equal(the_api.problem, "rate-limited");
    assert_in_range(n, STORE_CERTS_MAX / 2, STORE_CERTS_MAX);
    assert_int_equal(sim_host_ask(&h, "GET", "/v1/host/bundle", NULL), 200);
}

/* Every record that a host causes is counted, whatever the request. */
static void
what_a_host_puts_into_the_audit_is_counted(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    struct vm_uuid uuid = { { 1 } };
    enum lease_answer last = LEASE_OK;
    int64_t before;

    (void)state;
    freeze();
    sim_host_new(&h, "a.example");
    for (int i = 0; i < 1990; i++)
        rate_spend(the_api.service.rates, RATE_HOST_RECORD, h.name, strlen(h.name),
                   the_api.frozen_ms);
    before = api_audit_count();
    for (int i = 0; i < 30 && last == LEASE_OK; i++)
        last = sim_host_say(&h, &uuid, VIEW_RUN, 0, true).answer;
    assert_int_equal(last, LEASE_GRACE);
    assert_in_range(api_audit_count() - before, 5, 10);
}

static void
a_vm_that_proves_itself_too_often_waits(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    CLEANUP(sim_vm_clear) struct sim_vm other;
    int64_t before;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    sim_vm_enrolled(&other, 2, SIM_SECRET, &h);
    freeze();
    use_up(RATE_VM_PROOF, vm.uuid.bytes, sizeof vm.uuid.bytes);
    before = api_audit_count();
    assert_int_equal(sim_vm_token(&vm, &h, &answer), 429);
    assert_string_equal(the_api.problem, "rate-limited");
    assert_string_equal(the_api.headers, "Retry-After: 1\r\n");
    assert_int_equal(api_audit_count(), before);
    assert_int_equal(sim_vm_token(&other, &h, &answer), 200);
    the_api.skew_ms = 1000;
    assert_int_equal(sim_vm_token(&vm, &h, &answer), 200);
}

static void
strangers_do_not_use_up_a_vms_measure(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_host_clear) struct sim_host stranger;
    CLEANUP(sim_vm_clear) struct sim_vm vm;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_host_new(&stranger, "b.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    freeze();
    use_up(RATE_VM_PROOF, vm.uuid.bytes, sizeof vm.uuid.bytes);
    the_api.skew_ms = 1000; /* one is left */
    for (int i = 0; i < 5; i++) {
        sim_vm_prove(&vm, &stranger);
        assert_int_equal(sim_vm_send(&vm, &answer), 403);
    }
    assert_int_equal(sim_vm_token(&vm, &h, &answer), 200);
    assert_int_equal(sim_vm_token(&vm, &h, &answer), 429);
}

/* ---- accounts that nobody proved ---- */

/* What the first of them is, but for its UUID. */
typedef void make_first(struct vm_account *a);

static void
give_owner(struct vm_account *a)
{
    strcpy(a->id.owner, "team-a");
}

static void
give_audience(struct vm_account *a)
{
    strcpy(a->id.audiences, "db");
}

static void
give_labels(struct vm_account *a)
{
    strcpy(a->id.labels, "{\"env\":\"prod\"}");
}

static void
prove_it(struct vm_account *a)
{
    a->id.state = ROW_OK;
    a->id.floor = FACTOR_HOST;
}

/* So many, in `st`; returns the UUID of the first. */
static struct vm_uuid
make_pending(const char *host, unsigned n, enum lease_state st, make_first *first_is)
{
    CLEANUP(store_abandon) struct store *txn = NULL;
    struct vm_uuid first = { .bytes = { 9 } };

    assert_int_equal(store_begin(the_api.service.store, &txn, &err), 0);
    for (unsigned i = 0; i < n; i++) {
        struct vm_uuid uuid = { .bytes = { 9, (uint8_t)(i >> 8), (uint8_t)i } };
        static struct vm_account a;
        struct lease_now now;
        struct lease_word word;

        vm_account_new(&uuid, (int64_t)i, &a);
        now = vm_account_now(&the_api.service, &a, clock_realtime_ms());
        lease_acquire(&a.stored.lease, host, &now, &word);
        a.stored.lease.st = st;
        a.stored.lease.renewed_ms = (int64_t)i;
        if (i == 0 && first_is)
            first_is(&a);
        if (vm_account_save(&the_api.service, &a, &err) < 0)
            fail_msg("%s", err.text);
    }
    assert_int_equal(store_commit(txn, &err), 0);
    return first;
}

static int64_t
count_pending(const char *host)
{
    int64_t n;

    assert_int_equal(store_host_pending(the_api.service.store, host, &n, &err), 0);
    return n;
}

static bool
is_there(const struct vm_uuid *uuid)
{
    static struct store_vm vm;

    return store_vm_find(the_api.service.store, uuid, &vm, &err) == 0;
}

struct wanted {
    const char *what, *problem;
    bool found;
};

static int
look_for(void *context, const struct audit_record *record, struct error *ignored)
{
    struct wanted *w = context;

    (void)ignored;
    w->found |= strcmp(record->what, w->what) == 0 && strcmp(record->problem, w->problem) == 0;
    return 0;
}

static bool
is_in_audit(const struct vm_uuid *uuid, const char *what, const char *problem)
{
    struct wanted w = { what, problem, false };

    assert_int_equal(store_audit_list(the_api.service.store, &(struct store_audit_query){ .uuid = uuid, .limit = 5 }, look_for, &w, &err), 0);
    return w.found;
}

static void
one_more_pending_account_costs_the_one_longest_unheard(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    struct vm_uuid uuid = { { 1 } }, first;

    (void)state;
    sim_host_new(&h, "a.example");
    first = make_pending(h.name, PENDING_PER_HOST_MAX, LEASE_FREE, NULL);
    assert_int_equal(sim_host_say(&h, &uuid, VIEW_RUN, 0, true).answer, LEASE_OK);
    assert_int_equal(count_pending(h.name), PENDING_PER_HOST_MAX);
    assert_false(is_there(&first));
    assert_true(is_in_audit(&first, "account-dropped", ""));
    /* Which is new to the service when it is heard of again. */
    assert_int_equal(sim_host_say(&h, &first, VIEW_RUN, 0, true).answer, LEASE_OK);
    assert_int_equal(count_pending(h.name), PENDING_PER_HOST_MAX);
}

static void
up_to_its_share_nobody_is_dropped(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    struct vm_uuid uuid = { { 1 } }, first;

    (void)state;
    sim_host_new(&h, "a.example");
    first = make_pending(h.name, PENDING_PER_HOST_MAX - 1, LEASE_FREE, NULL);
    assert_int_equal(sim_host_say(&h, &uuid, VIEW_RUN, 0, true).answer, LEASE_OK);
    assert_true(is_there(&first));
    assert_int_equal(count_pending(h.name), PENDING_PER_HOST_MAX);
}

/* One more is claimed, and another than the first makes room for it. */
static void
the_first_stays(make_first *first_is, void (*then)(const struct vm_uuid *first))
{
    CLEANUP(sim_host_clear) struct sim_host h;
    struct vm_uuid uuid = { { 1 } }, first;

    sim_host_new(&h, "a.example");
    first = make_pending(h.name, PENDING_PER_HOST_MAX + (first_is == prove_it), LEASE_FREE, first_is);
    if (then)
        then(&first);
    assert_int_equal(sim_host_say(&h, &uuid, VIEW_RUN, 0, true).answer, LEASE_OK);
    assert_true(is_there(&first));
    assert_true(is_there(&uuid));
}

static void
what_has_an_owner_is_not_dropped(void **state)
{
    (void)state;
    the_first_stays(give_owner, NULL);
}

static void
what_has_an_audience_is_not_dropped(void **state)
{
    (void)state;
    the_first_stays(give_audience, NULL);
}

static void
what_has_labels_is_not_dropped(void **state)
{
    (void)state;
    the_first_stays(give_labels, NULL);
}

/* Whoever can write in the database: into the row, or beside it. */
static void
forge(const struct vm_uuid *uuid, bool row)
{
    static struct store_vm vm;
    static struct identity_row id;

    assert_int_equal(store_vm_find(the_api.service.store, uuid, &vm, &err), 0);
    assert_int_equal(identity_row_decode(vm.row, vm.row_len, &id, &err), 0);
    id.state = ROW_PENDING;
    vm.row[vm.row_len - 1] ^= row;
    assert_int_equal(store_vm_put(the_api.service.store, &vm, &id, &err), 0);
}

static void forge_row(const struct vm_uuid *uuid) { forge(uuid, true); }
static void forge_index(const struct vm_uuid *uuid) { forge(uuid, false); }

static void
a_forged_row_is_kept_as_evidence(void **state)
{
    (void)state;
    the_first_stays(NULL, forge_row);
}

static void
one_that_proved_itself_is_not_dropped_whatever_stands_beside_its_row(void **state)
{
    (void)state;
    the_first_stays(prove_it, forge_index);
}

/* No answer is better than a wrong one. */
static void
without_the_signer_nobody_is_dropped(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(mint_free) struct mint *gone = NULL;
    struct api_call call = { .now_ms = clock_realtime_ms() };
    bool has_room;
    int pair[2];

    (void)state;
    sim_host_new(&h, "a.example");
    make_pending(h.name, PENDING_PER_HOST_MAX, LEASE_FREE, NULL);
    strcpy(call.host.name, h.name);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    close(pair[1]);
    assert_int_equal(mint_new(pair[0], &gone, &err), 0);
    the_api.service.mint = gone;
    assert_int_equal(pending_make_room(&the_api.service, &call, &has_room, &err), -1);
    the_api.service.mint = the_mint.client;
    assert_int_equal(count_pending(h.name), PENDING_PER_HOST_MAX);
}

static void
a_host_makes_no_more_pending_accounts_than_its_share(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_host_clear) struct sim_host b;
    int64_t before;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_host_new(&b, "b.example");
    make_pending(a.name, PENDING_PER_HOST_MAX, LEASE_RUNS, NULL);
    before = api_audit_count();
    for (uint8_t i = 1; i < 10; i++) {
        struct vm_uuid uuid = { { 7, i } };

        assert_int_equal(sim_host_say(&a, &uuid, VIEW_RUN, 0, true).answer,
                         LEASE_GRACE);
        assert_int_equal(sim_host_say(&a, &uuid, VIEW_INC, 0, false).answer,
                         LEASE_GRACE);
        assert_false(is_there(&uuid));
    }
    assert_int_equal(api_audit_count(), before + 1);
    assert_true(is_in_audit(NULL, "lease-refused", "pending-limit"));
    assert_int_equal(
        sim_host_say(&b, &(struct vm_uuid){ { 1 } }, VIEW_RUN, 0, true).answer,
        LEASE_OK);
}

/* A word of an incoming run makes a row that nobody holds. */
static void
rows_without_a_holder_count_for_who_made_them(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;

    (void)state;
    sim_host_new(&a, "a.example");
    for (uint8_t i = 1; i < 4; i++)
        sim_host_say(&a, &(struct vm_uuid){ { i } }, VIEW_INC, 0, false);
    assert_int_equal(count_pending("a.example"), 3);
    assert_int_equal(count_pending("b.example"), 0);
}

/* ---- the clock ---- */

static int
readyz(void)
{
    return api_ask_json(ON_PUBLIC, "GET", "/readyz", NULL, NULL, 0);
}

static void
must_be(int status, int wanted)
{
    assert_int_equal(status, wanted);
    assert_string_equal(the_api.problem, wanted == 503 ? "clock" : "");
}

/* Everything that would be granted, at the present skew. */
static void
ask_for_all(struct sim_host *h, struct sim_vm *vm, struct sim_host *joiner, int wanted)
{
    struct vm_uuid other = { { 2 } };

    must_be(readyz(), wanted);
    assert_int_equal(sim_host_say(h, &vm->uuid, VIEW_RUN, vm->epoch, false).answer,
                     LEASE_OK); /* a renewal */
    assert_int_equal(sim_host_say(h, &other, VIEW_RUN, 0, true).answer,
                     wanted == 200 ? LEASE_OK : LEASE_GRACE);
    must_be(sim_vm_account(vm, h), wanted);
    must_be(sim_vm_token(vm, h, &answer), wanted);
    must_be(sim_host_join(joiner), wanted);
    must_be(sim_host_renew(h), wanted);
    must_be(sim_host_placed(h, &vm->uuid, json_pack("{s:b}", "force", 1)), wanted);
}

static void
a_clock_behind_the_audit_grants_nothing_until_it_is_right(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_host_clear) struct sim_host joiner;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    int64_t before;

    (void)state;
    freeze();
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    sim_host_invite(&joiner, "b.example", true);
    before = api_audit_count();
    the_api.skew_ms = -CLOCK_BACK_MS - 1;
    ask_for_all(&h, &vm, &joiner, 503);
    assert_int_equal(api_audit_count(), before);
    ask_for_all(&h, &vm, &joiner, 503); /* nor has the first try put it right */
    the_api.skew_ms = -3600 * 1000; /* before its hosts' certificates begin */
    ask_for_all(&h, &vm, &joiner, 503);
    the_api.skew_ms = -CLOCK_BACK_MS / 2;
    must_be(readyz(), 200);
    the_api.skew_ms = 1;
    ask_for_all(&h, &vm, &joiner, 200);
}

static void
a_restart_does_not_make_a_wrong_clock_right(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;

    (void)state;
    sim_host_new(&h, "a.example");
    the_api.skew_ms = -3600 * 1000;
    api_restart();
    must_be(readyz(), 503);
    the_api.skew_ms = 0;
    must_be(readyz(), 200);
}

/* As if its last proof had been accepted at that time; the signer's clock does not move with the service's. */
static void
date_last_proof(const struct sim_vm *vm, int64_t ms)
{
    static struct store_vm stored;
    static struct identity_row id;

    assert_int_equal(store_vm_find(the_api.service.store, &vm->uuid, &stored, &err), 0);
    assert_int_equal(identity_row_decode(stored.row, stored.row_len, &id, &err), 0);
    for (int i = 0; i < 8; i++)
        stored.mark_nonce[i] = (uint8_t)((uint64_t)ms >> (56 - 8 * i));
    stored.mark_ms = ms;
    assert_int_equal(store_vm_put(the_api.service.store, &stored, &id, &err), 0);
}

/* The clock was ahead; now it is right, and the audit's newest record is of a time to come. */
static void
an_operator_can_say_that_the_clock_is_right(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_host_clear) struct sim_host joiner;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    int64_t ahead = INT64_C(20) * 3600 * 1000, newest; /* a host's certificate lives a day */

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    date_last_proof(&vm, clock_realtime_ms() + ahead);
    the_api.skew_ms = ahead;
    sim_host_new(&joiner, "b.example");
    the_api.skew_ms = 0;
    api_restart();
    must_be(readyz(), 503);
    the_api.accept_clock = true;
    api_restart();
    sim_host_say(&h, &vm.uuid, VIEW_RUN, vm.epoch, false); /* it waits for its hosts */
    must_be(readyz(), 200);
    assert_int_equal(sim_host_say(&h, &vm.uuid, VIEW_RUN, vm.epoch, false).answer, LEASE_OK);
    sim_vm_prove(&vm, &h); /* although the last nonce was of a time to come */
    assert_int_equal(sim_vm_send(&vm, &answer), 200);
    assert_int_equal(sim_vm_send(&vm, &answer), 409); /* and from here on each is good once again */
    assert_string_equal(the_api.problem, "stale");
    the_api.accept_clock = false;
    api_restart(); /* it was recorded */
    sim_host_say(&h, &vm.uuid, VIEW_RUN, vm.epoch, false);
    must_be(readyz(), 200);
    assert_int_equal(store_audit_check(the_api.service.store, &newest, &err), 0);
    the_api.skew_ms = -CLOCK_BACK_MS - 5000;
    must_be(readyz(), 503);
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        API_TEST(a_host_that_asks_too_often_is_told_when_to_come_again),
        API_TEST(a_host_that_changes_too_much_keeps_its_leases_and_gets_no_new_ones),
        API_TEST(a_host_keeps_only_so_many_certificates),
        API_TEST(what_a_host_puts_into_the_audit_is_counted),
        API_TEST(a_vm_that_proves_itself_too_often_waits),
        API_TEST(strangers_do_not_use_up_a_vms_measure),
        API_TEST(one_more_pending_account_costs_the_one_longest_unheard),
        API_TEST(up_to_its_share_nobody_is_dropped),
        API_TEST(what_has_an_owner_is_not_dropped),
        API_TEST(what_has_an_audience_is_not_dropped),
        API_TEST(what_has_labels_is_not_dropped),
        API_TEST(a_forged_row_is_kept_as_evidence),
        API_TEST(one_that_proved_itself_is_not_dropped_whatever_stands_beside_its_row),
        API_TEST(without_the_signer_nobody_is_dropped),
        API_TEST(a_host_makes_no_more_pending_accounts_than_its_share),
        API_TEST(rows_without_a_holder_count_for_who_made_them),
        API_TEST(a_clock_behind_the_audit_grants_nothing_until_it_is_right),
        API_TEST(a_restart_does_not_make_a_wrong_clock_right),
        API_TEST(an_operator_can_say_that_the_clock_is_right),
    };
    return cmocka_run_group_tests_name("api_limit", t, api_fixture_start,
                                       api_fixture_stop);
}
