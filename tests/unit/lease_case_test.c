/*
 * What an operator reads of a lease, and the command that settles it: docs/PROTOCOL-lease.md, 6, row by row.
 */
#include "config.h"

#include "tokenservice/lease/lease_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define T0 1700000000000

struct row {
    enum lease_state st;
    const char *hol;
    enum lease_out out;
    const char *seen;
    const char *state, *text, *repair; /* repair: a part of it; "" for none */
};

/* Short, so that the rows below are a table. */
#define F LEASE_FREE
#define R LEASE_RUNS
#define M LEASE_MOVE
#define NO LEASE_OUT_NO
#define MIG LEASE_OUT_MIG
#define DBT LEASE_OUT_DBT

static const struct row ROWS[] = {
    { F, "", NO, "", "waiting", "reserved for any host", "" },
    { F, "a", NO, "", "waiting", "reserved for a", "" },
    { R, "a", NO, "", "ok", "a holds it, 59 s left", "" },
    { M, "a", NO, "", "moving", "a moves it; no host has said that it comes", "" },
    { M, "a", NO, "b=2:7", "moving", "a moves it; it may come to b", "" },
    { M, "a", MIG, "b=3:7", "moving", "left a, and came to b", "`virtid host fence b`" },
    { M, "a", MIG, "b=4:7", "waiting", "moved to b, ended there", "" },
    { M, "a", MIG, "b=5:7", "unproved", "moved to b, ended there unproved (K1)", "`virtid place DOMAIN b`" },
    { M, "a", MIG, "b=4:7 c=4:8", "unproved", "moved to b, c, ended there unproved (K1)",
      "`virtid place DOMAIN HOST`, one of these" },
    { M, "a", DBT, "", "doubt", "a does not know what became of it", "start it on a again, or `virtid place DOMAIN HOST`" },
    { M, "a", DBT, "b=1", "doubt", "a gone unwatched; claimed by b (K2)", "`virtid place DOMAIN HOST`" },
    { M, "a", DBT, "b=3:7", "doubt", "a gone unwatched; claimed by b (K2)", "`virtid place DOMAIN HOST`" },
    { M, "a", MIG, "", "left", "left a, arrival unknown (K3)", "`virtid place DOMAIN HOST`" },
    { M, "a", MIG, "b=1", "refused", "left a; b runs it, origin unknown, and is refused (K4, K5, K7)",
      "`virtid place DOMAIN b --force`" },
    { M, "", DBT, "", "waiting", "its host was fenced; any host may start it", "`virtid place DOMAIN HOST`" },
    { M, "", DBT, "b=3:7 c=1", "doubt", "its host was fenced; claimed by b, c (K2)", "`virtid place DOMAIN HOST`" },
    { M, "a", DBT, "b=1 c=1 d=1", "doubt", "a gone unwatched; claimed by b, c and 1 more (K2)", "" },
};

static struct lease_record
record(const struct row *row)
{
    struct lease_record r;
    struct error err;

    lease_new(&r);
    r.st = row->st;
    strcpy(r.hol, row->hol);
    r.out = row->out;
    r.ep = 5;
    r.renewed_ms = T0;
    assert_int_equal(lease_seen_parse(row->seen, &r, &err), 0);
    return r;
}

static void
each_state_has_its_text_and_the_command_that_settles_it(void **state)
{
    struct lease_now now = { .now_ms = T0 + 1000, .since_ms = T0 };

    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct lease_record r = record(&ROWS[i]);
        struct lease_case c;

        lease_case(&r, &now, &c);
        if (strcmp(c.state, ROWS[i].state) || strcmp(c.seen, ROWS[i].text) || !strstr(c.repair, ROWS[i].repair) ||
            (strcmp(c.state, "ok") && !*c.expected))
            fail_msg("row %zu: %s | %s | %s | %s", i, c.state, c.seen, c.expected, c.repair);
    }
}

static void
a_holder_that_is_silent_is_named_with_the_fence(void **state)
{
    struct row row = { R, "a", NO, "", "", "", "" };
    struct lease_now now = { .now_ms = T0 + 90000, .since_ms = T0 };
    struct lease_record r = record(&row);
    struct lease_case c;

    (void)state;
    lease_case(&r, &now, &c);
    assert_string_equal(c.state, "lapsed");
    assert_string_equal(c.seen, "holder a silent 90 s");
    assert_non_null(strstr(c.repair, "`virtid host fence a`"));
    now.since_ms = T0 + 20000; /* our own downtime counts against nobody */
    lease_case(&r, &now, &c);
    assert_string_equal(c.seen, "holder a silent 70 s");
}

static void
a_placed_one_says_so(void **state)
{
    struct row row = { F, "a", NO, "", "", "", "" };
    struct lease_now now = { .now_ms = T0, .since_ms = T0 };
    struct lease_record r = record(&row);
    struct lease_case c;

    (void)state;
    r.placed = true;
    lease_case(&r, &now, &c);
    assert_string_equal(c.seen, "placed on a");
}

static void
a_second_one_that_runs_is_to_be_destroyed(void **state)
{
    struct row row = { R, "a", NO, "b=1", "", "", "" };
    struct lease_record r = record(&row);
    struct lease_case c;

    (void)state;
    assert_true(lease_case_other(&r, 0, &c));
    assert_string_equal(c.seen, "a holds, b runs it without right (K6)");
    assert_string_equal(c.state, "no right");
    assert_non_null(strstr(c.repair, "`virsh destroy DOMAIN` on b"));
}

static void
one_that_came_in_unheard_waits_for_its_source(void **state)
{
    struct row row = { R, "a", NO, "b=3", "", "", "" };
    struct lease_record r = record(&row);
    struct lease_case c;

    (void)state;
    assert_true(lease_case_other(&r, 0, &c));
    assert_string_equal(c.seen, "b says that it came in; a has not said that it left");
    assert_non_null(strstr(c.repair, "`virtid place DOMAIN b --force`"));
}

static void
what_the_first_line_says_is_not_said_twice(void **state)
{
    struct row row = { M, "a", MIG, "b=1", "", "", "" };
    struct lease_record r = record(&row);
    struct lease_case c;

    (void)state;
    assert_false(lease_case_other(&r, 0, &c));
    row.seen = "b=3:7";
    r = record(&row);
    assert_false(lease_case_other(&r, 0, &c));
}

static void
the_longest_names_fit(void **state)
{
    struct row row = { M, "", DBT, "", "", "", "" };
    struct lease_now now = { .now_ms = T0, .since_ms = T0 };
    struct lease_record r = record(&row);
    struct lease_case c;

    (void)state;
    memset(r.hol, 'a', NAME_HOST_MAX);
    r.n_seen = LEASE_SEEN_MAX;
    for (size_t i = 0; i < LEASE_SEEN_MAX; i++) {
        memset(r.seen[i].host, 'b', NAME_HOST_MAX);
        r.seen[i].host[0] = (char)('b' + i);
        r.seen[i].seen = SEEN_PER;
    }
    for (int out = NO; out <= DBT; out++) {
        r.out = (enum lease_out)out;
        lease_case(&r, &now, &c);
        assert_true(strlen(c.seen) < LEASE_CASE_TEXT && strlen(c.repair) < LEASE_CASE_TEXT);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_state_has_its_text_and_the_command_that_settles_it),
        cmocka_unit_test(a_holder_that_is_silent_is_named_with_the_fence),
        cmocka_unit_test(a_placed_one_says_so),
        cmocka_unit_test(a_second_one_that_runs_is_to_be_destroyed),
        cmocka_unit_test(one_that_came_in_unheard_waits_for_its_source),
        cmocka_unit_test(what_the_first_line_says_is_not_said_twice),
        cmocka_unit_test(the_longest_names_fit),
    };

    return cmocka_run_group_tests_name("lease_case", tests, NULL, NULL);
}
