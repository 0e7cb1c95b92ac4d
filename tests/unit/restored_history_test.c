/*
 * restored_history_test.c - CHECKS C36: a database that is an hour old, or that of a standby that lagged, after starts,
 * migrations and ratchet steps that it does not know, at random; VIRTID_RESTORES=n of each
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tests/unit/sim_put_back.h"
#include "tests/unit/sim_recovery.h"

enum { HOSTS = 2, VMS = 3, OPS_BEFORE = 12, OPS_OF_AN_HOUR = 100, OPS_OF_A_LAG = 5, ROUNDS = 4 };

struct life {
    struct sim_stepper s;
    struct sim_kept kept[HOSTS];
    int at;
    uint64_t top; /* of its epochs */
    struct key *old; /* what was copied of its disk and TPM with the database */
    uint8_t old_x[32];
    bool stepped; /* since */
};

struct history {
    struct sim_host hosts[HOSTS];
    struct life vms[VMS];
    uint64_t pulls[HOSTS], random;
    unsigned restores, starts, moves;
};

static unsigned
dice(struct history *h, unsigned sides)
{
    h->random = h->random * 6364136223846793005u + 1442695040888963407u; /* MMIX (Knuth) */
    return (unsigned)(h->random >> 33) % sides;
}

/* ---- what happens to VMs ---- */

static struct lease_result
reports(struct history *h, struct life *l, int host)
{
    return sim_says(&h->hosts[host], &l->s.vm, host == l->at ? VIEW_RUN : VIEW_OFF, &l->kept[host]);
}

static void
everybody_tells(struct history *h)
{
    for (int v = 0; v < VMS; v++) {
        for (int host = 0; host < HOSTS; host++)
            (void)reports(h, &h->vms[v], host);
    }
}

static void
takes_epoch(struct life *l, uint64_t e)
{
    assert_true(e > l->top); /* none comes again */
    l->top = l->s.vm.epoch = e;
}

static void
ends(struct history *h, struct life *l)
{
    struct sim_kept *kept = &l->kept[l->at];
    struct sim_word off = { .view = VIEW_GO, .e = l->s.vm.epoch, .ver = kept->ver, .row_ver = kept->row_ver };
    struct lease_result r = sim_host_say_all(&h->hosts[l->at], &l->s.vm.uuid, &off);

    assert_int_equal(the_api.status, 200);
    sim_keep(kept, &r);
}

static void
begins(struct history *h, struct life *l)
{
    struct lease_result r = sim_host_say(&h->hosts[l->at], &l->s.vm.uuid, VIEW_RUN, 0, true);

    assert_int_equal(r.answer, LEASE_OK);
    takes_epoch(l, r.e);
}

static void
steps(struct history *h, struct life *l)
{
    assert_int_equal(sim_stepper_prove(&l->s, &h->hosts[l->at]), 200);
    if (the_answer.type == ANSWER_EXTEND) {
        sim_stepper_extend(&l->s);
        assert_int_equal(sim_stepper_prove(&l->s, &h->hosts[l->at]), 200);
    }
    sim_stepper_take(&l->s);
    (void)reports(h, l, l->at);
    l->stepped = true;
}

static void
starts_again(struct history *h, struct life *l)
{
    ends(h, l);
    begins(h, l);
    steps(h, l);
    h->starts++;
}

static uint64_t
asked_of(struct history *h, int host)
{
    struct lease_pull pull;
    struct error err;
    char target[60];

    snprintf(target, sizeof target, "/v1/host/pull?after=%llu", (unsigned long long)h->pulls[host]);
    assert_int_equal(sim_host_ask(&h->hosts[host], "GET", target, NULL), 200);
    assert_int_equal(lease_pull_decode((const char *)the_api.body.data, the_api.body.len, &pull, &err), 0);
    h->pulls[host] = pull.pull;
    return pull.pull;
}

static void
moves(struct history *h, struct life *l)
{
    int from = l->at, to = !l->at;
    struct sim_word asks = { .view = VIEW_INC, .op = LEASE_OP_HANDOVER };
    struct sim_word job = { .view = VIEW_JOB, .e = l->s.vm.epoch }, gone = { .view = VIEW_GM, .e = l->s.vm.epoch };
    struct lease_result r;

    (void)sim_host_say_all(&h->hosts[to], &l->s.vm.uuid, &asks);
    assert_true(the_api.park_ms > 0);
    job.pull = asked_of(h, from);
    (void)sim_host_say_all(&h->hosts[from], &l->s.vm.uuid, &job);
    asks.same_seq = the_api.again = true;
    r = sim_host_say_all(&h->hosts[to], &l->s.vm.uuid, &asks);
    the_api.again = false;
    assert_int_equal(r.answer, LEASE_CANDIDATE);
    sim_host_say_all(&h->hosts[from], &l->s.vm.uuid, &gone);
    takes_epoch(l, r.e);
    l->at = to;
    steps(h, l);
    (void)reports(h, l, from);
    h->moves++;
}

static void
something_happens(struct history *h)
{
    struct life *l = &h->vms[dice(h, VMS)];

    switch (dice(h, 3)) {
    case 0:
        starts_again(h, l);
        break;
    case 1:
        moves(h, l);
        break;
    default:
        assert_int_equal(sim_vm_token(&l->s.vm, &h->hosts[l->at], &the_answer), 200);
    }
}

/* ---- the copy, and what comes back ---- */

static void
copy_all(struct history *h)
{
    sim_back_up();
    memset(h->pulls, 0, sizeof h->pulls);
    everybody_tells(h); /* it was a restart */
    everybody_tells(h);
    for (int v = 0; v < VMS; v++) {
        struct life *l = &h->vms[v];

        key_free(l->old);
        l->old = sim_key_copy(l->s.vm.secret);
        memcpy(l->old_x, l->s.vm.tpm.x, sizeof l->old_x);
        l->stepped = false;
    }
}

/* What hosts do within seconds: report, show what the service has less of, report again. */
static void
hosts_come_back(struct history *h)
{
    memset(h->pulls, 0, sizeof h->pulls);
    for (int round = 0; round < ROUNDS; round++) {
        for (int v = 0; v < VMS; v++) {
            for (int host = 0; host < HOSTS; host++) {
                struct life *l = &h->vms[v];

                if (reports(h, l, host).show)
                    sim_must_show(&h->hosts[host], &l->kept[host], "taken");
            }
        }
    }
}

static void
everybody_is_where_he_was(struct history *h)
{
    for (int v = 0; v < VMS; v++) {
        struct life *l = &h->vms[v];
        struct lease_result r = reports(h, l, l->at);

        assert_int_equal(r.answer, LEASE_OK);
        assert_int_equal(r.e, l->s.vm.epoch);
        assert_int_equal(sim_host_say(&h->hosts[!l->at], &l->s.vm.uuid, VIEW_RUN, 0, true).answer, LEASE_FOREIGN);
        (void)reports(h, l, !l->at);
        assert_int_equal(sim_vm_token(&l->s.vm, &h->hosts[l->at], &the_answer), 200);
        sim_assert_shown(&l->s.vm, "state", "ok");
    }
}

/* Disk and TPM as they were copied with the database are started in place of the real ones. */
static void
yesterdays_copies_are_refused(struct history *h)
{
    for (int v = 0; v < VMS; v++) {
        struct life *l = &h->vms[v];
        struct key *now = l->s.vm.secret;
        uint8_t now_x[32];

        if (!l->stepped)
            continue;
        ends(h, l);
        begins(h, l);
        memcpy(now_x, l->s.vm.tpm.x, sizeof now_x);
        l->s.vm.secret = l->old;
        memcpy(l->s.vm.tpm.x, l->old_x, sizeof now_x);
        assert_int_equal(sim_vm_token(&l->s.vm, &h->hosts[l->at], &the_answer), 409);
        assert_non_null(strstr(the_api.problem, "-behind"));
        l->s.vm.secret = now;
        memcpy(l->s.vm.tpm.x, now_x, sizeof now_x);
        starts_again(h, l);
    }
}

static void
is_lost_and_restored(struct history *h, unsigned ops_since)
{
    for (int i = 0; i < OPS_BEFORE; i++)
        something_happens(h);
    copy_all(h);
    for (unsigned i = 0; i < ops_since; i++)
        something_happens(h);
    sim_restore();
    h->restores++;
    hosts_come_back(h);
    everybody_is_where_he_was(h);
    yesterdays_copies_are_refused(h);
    if (sim_in_recovery())
        assert_int_equal(sim_recovery_finish(), 200);
    for (int v = 0; v < VMS; v++)
        starts_again(h, &h->vms[v]);
}

static void
lives_through(unsigned ops_since)
{
    static struct history h;
    const char *text = getenv("VIRTID_RESTORES"), *seed = getenv("VIRTID_SEED");
    long times = text ? strtol(text, NULL, 10) : 1;

    memset(&h, 0, sizeof h);
    h.random = seed ? strtoull(seed, NULL, 10) : text ? (uint64_t)time(NULL) : 1; /* the sample is always the same */
    print_message("# VIRTID_SEED=%llu\n", (unsigned long long)h.random);
    sim_host_new(&h.hosts[0], "a.example");
    sim_host_new(&h.hosts[1], "b.example");
    for (int v = 0; v < VMS; v++) {
        struct life *l = &h.vms[v];

        sim_vm_enrolled(&l->s.vm, (uint8_t)(v + 1), v == 0 ? SIM_TPM | SIM_SECRET : SIM_SECRET, &h.hosts[0]);
        l->top = l->s.vm.epoch;
        steps(&h, l);
    }
    everybody_tells(&h);
    while (times-- > 0)
        is_lost_and_restored(&h, ops_since ? ops_since : dice(&h, OPS_OF_A_LAG) + 1);
    print_message("# %u restored databases, %u starts, %u migrations\n", h.restores, h.starts, h.moves);
    for (int v = 0; v < VMS; v++) {
        key_free(h.vms[v].old);
        sim_stepper_clear(&h.vms[v].s);
    }
    sim_host_clear(&h.hosts[0]);
    sim_host_clear(&h.hosts[1]);
}

static void
a_database_of_an_hour_ago_learns_what_was_since(void **state)
{
    (void)state;
    lives_through(OPS_OF_AN_HOUR);
}

static void
a_standby_that_lagged_learns_what_it_missed(void **state)
{
    (void)state;
    lives_through(0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(a_database_of_an_hour_ago_learns_what_was_since),
        API_TEST(a_standby_that_lagged_learns_what_it_missed),
    };

    return cmocka_run_group_tests_name("restored_history", tests, api_fixture_start, api_fixture_stop);
}
