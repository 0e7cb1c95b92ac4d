/*
 * A host tells that a state was put back: it is written down and shown, and opens nothing.
 */
#include "config.h"

#include "tests/unit/sim_put_back.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* 0: the next number. */
static struct lease_result
tell(struct sim_put_back *c, struct sim_host *h, unsigned saw, uint64_t seq)
{
    struct sim_word word = { .view = VIEW_RUN, .e = c->s.vm.epoch, .saw = saw, .saw_seq = seq ? seq : ++the_api.seq };

    return sim_host_say_all(h, &c->s.vm.uuid, &word);
}

/* The seen text of its step in `virtid why`; NULL: there is none. Owned by *ret. */
static const char *
why(const struct sim_put_back *c, json_t **ret)
{
    const char *seen = NULL;
    char target[80];
    json_t *step;
    size_t i;

    snprintf(target, sizeof target, "/v1/admin/vms/%s", c->s.vm.text);
    assert_int_equal(api_admin("GET", target, NULL), 200);
    *ret = api_answer();
    json_array_foreach(json_object_get(*ret, "steps"), i, step) {
        if (strcmp(json_string_value(json_object_get(step, "step")), "host saw") != 0)
            continue;
        assert_string_equal(json_string_value(json_object_get(step, "state")), "ok"); /* it is no alarm */
        assert_null(seen);
        seen = json_string_value(json_object_get(step, "seen"));
    }
    return seen;
}

static bool
why_shows(const struct sim_put_back *c, const char *words)
{
    CLEANUP(json_decref) json_t *shown = NULL;
    const char *seen = why(c, &shown);

    return seen && strstr(seen, words);
}

static bool
why_shows_nothing(const struct sim_put_back *c)
{
    CLEANUP(json_decref) json_t *shown = NULL;

    return why(c, &shown) == NULL;
}

static void
it_stands_beside_what_is_behind(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;

    (void)state;
    sim_put_back_new(&c, true, true);
    assert_int_equal(tell(&c, &c.h, SAW_SNAPSHOT | SAW_GENID, 0).answer, LEASE_OK);
    sim_put_back_refused(&c, "disk-behind");
    assert_true(why_shows(&c, "host a.example told at 20"));
    assert_true(why_shows(&c, "libvirt reverted it to a snapshot; its genid is a new one"));
    /* In another run it is behind for the same reason. */
    c.s.vm.epoch = sim_host_say(&c.h, &c.s.vm.uuid, VIEW_RUN, 0, true).e;
    sim_put_back_refused(&c, "disk-behind");
    assert_true(why_shows(&c, "reverted it to a snapshot"));
}

static void
it_opens_nothing(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;
    uint64_t epoch;
    int64_t gen;

    (void)state;
    sim_put_back_new(&c, true, true);
    epoch = c.s.vm.epoch;
    gen = sim_put_back_gen(&c);
    assert_int_equal(tell(&c, &c.h, SAW_SNAPSHOT | SAW_RESTORE | SAW_GENID, 0).e, epoch);
    sim_put_back_refused(&c, "disk-behind");
    assert_int_equal(tell(&c, &c.h, SAW_RESTORE, 0).e, epoch);
    sim_put_back_refused(&c, "disk-behind");
    assert_int_equal(sim_put_back_gen(&c), gen);
    /* And what is right is right, whatever was told. */
    sim_put_back_show(&c, false, false);
    assert_int_equal(sim_vm_token(&c.s.vm, &c.h, &the_answer), 200);
    sim_assert_shown(&c.s.vm, "state", "ok");
}

static void
where_nothing_is_behind_it_is_shown_in_its_run_alone(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;

    (void)state;
    sim_put_back_new(&c, false, false);
    assert_true(why_shows_nothing(&c));
    tell(&c, &c.h, SAW_RESTORE, 0);
    assert_true(why_shows(&c, "its memory came from a save file"));
    sim_assert_shown(&c.s.vm, "state", "ok");
    sim_put_back_run(&c);
    assert_true(why_shows_nothing(&c));
}

static void
it_is_one_record_however_often_it_is_told(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;
    struct lease_result result;
    uint64_t seq;
    int64_t n;

    (void)state;
    sim_put_back_new(&c, false, false);
    n = api_audit_count();
    seq = ++the_api.seq;
    result = tell(&c, &c.h, SAW_SNAPSHOT, seq);
    assert_int_equal(result.acked_seq, seq);
    assert_int_equal(api_audit_count(), n + 1);
    for (int i = 0; i < 5; i++)
        assert_int_equal(tell(&c, &c.h, SAW_SNAPSHOT, seq).acked_seq, seq);
    assert_int_equal(api_audit_count(), n + 1);
    assert_true(tell(&c, &c.h, SAW_SNAPSHOT, 0).acked_seq > seq); /* another revert */
    assert_int_equal(api_audit_count(), n + 2);
}

static void
it_does_not_take_the_place_of_an_end(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;
    struct sim_word word = { .view = VIEW_GO, .saw = SAW_SNAPSHOT };
    int64_t n;

    (void)state;
    sim_put_back_new(&c, false, false);
    n = api_audit_count();
    word.e = c.s.vm.epoch;
    word.saw_seq = ++the_api.seq; /* noted before the run ended */
    assert_int_equal(sim_host_say_all(&c.h, &c.s.vm.uuid, &word).answer, LEASE_ACK);
    assert_int_equal(api_audit_count(), n + 2); /* the lease that is given back, and this */
    sim_assert_shown(&c.s.vm, "lease", "free");
}

static void
a_host_that_does_not_have_it_tells_nothing(void **state)
{
    CLEANUP(sim_put_back_clear) struct sim_put_back c;
    CLEANUP(sim_host_clear) struct sim_host other;
    struct lease_result result;
    int64_t n;

    (void)state;
    sim_put_back_new(&c, true, false);
    sim_host_new(&other, "b.example");
    tell(&c, &other, 0, 0); /* the refusal is a record of its own */
    n = api_audit_count();
    result = tell(&c, &other, SAW_SNAPSHOT, 0);
    assert_int_equal(result.answer, LEASE_FOREIGN);
    assert_true(result.acked_seq > 0); /* it need not say it again */
    assert_int_equal(api_audit_count(), n);
    assert_true(why_shows_nothing(&c));
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        API_TEST(it_stands_beside_what_is_behind),
        API_TEST(it_opens_nothing),
        API_TEST(where_nothing_is_behind_it_is_shown_in_its_run_alone),
        API_TEST(it_is_one_record_however_often_it_is_told),
        API_TEST(it_does_not_take_the_place_of_an_end),
        API_TEST(a_host_that_does_not_have_it_tells_nothing),
    };
    return cmocka_run_group_tests_name("api_host_saw", t, api_fixture_start, api_fixture_stop);
}
