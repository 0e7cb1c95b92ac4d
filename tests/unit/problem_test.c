#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "lib/wire/problem.h"

static void
every_name_is_there_once_and_fits(void **state)
{
    struct error err;

    (void)state;
    for (const struct problem *p = problem_table(); p->name; p++) {
        assert_ptr_equal(problem_find(p->name), p);
        assert_true(strlen(p->name) < sizeof err.problem);
        assert_true(p->status >= 400 && p->status < 600);
        assert_non_null(p->title);
        assert_true(!p->repair || strlen(p->repair) < 200);
        assert_int_equal(strspn(p->name, "abcdefghijklmnopqrstuvwxyz-"), strlen(p->name));
    }
    assert_null(problem_find(""));
    assert_null(problem_find("no-such-problem"));
}

/* What cli/main.c knows; a repair that is no command repairs nothing. */
static bool
is_command(const char *text)
{
    static const char *const commands[] = {
        "init",        "host add", "host approve", "host list", "host remove", "host check", "pool set",
        "enable",      "disable",  "place",        "list",      "info",
        "key revoke",  "key rotate", "unlock",
        "accept",      "recovery show", "recovery finish", "why",         "set",      "audience add", "audience list", "audience remove",
    };

    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        size_t len = strlen(commands[i]);

        if (strncmp(text, commands[i], len) == 0 && (text[len] == ' ' || text[len] == '`'))
            return true;
    }
    return false;
}

static void
every_repair_names_commands_that_exist(void **state)
{
    (void)state;
    for (const struct problem *p = problem_table(); p->name; p++) {
        for (const char *at = p->repair; at && (at = strstr(at, "`virtid "));) {
            at += strlen("`virtid ");
            if (!is_command(at))
                fail_msg("%s: %s", p->name, p->repair);
        }
        /* Nothing but a new UUID lets an account take another EK or secret. */
        if (strstr(p->name, "-changed") || strstr(p->name, "-behind"))
            assert_null(strstr(p->repair, "--force"));
    }
}

static void
what_our_programs_answer_has_a_name(void **state)
{
    static const char *const names[] = {
        "tpm-gone",     "bundle-missing", "issuer-changed", "uuid-changed",
        "row-forged",   "ratchet-unsupported", "disk-full", "misdirected",
    };

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct problem *p = problem_find(names[i]);

        assert_non_null(p);
        assert_non_null(p->repair);
    }
}

static void
refusal_comes_back_with_its_name(void **state)
{
    CLEANUP(buf_clear) struct buf body = BUF(1024);
    struct error err, back;

    (void)state;
    error_problem(&err, ERROR_DENIED, "foreign", "held by h2");
    assert_int_equal(problem_body(&err, NULL, &body), 0);
    assert_string_equal(buf_text(&body),
                        "{\"type\":\"urn:virtid:problem:foreign\","
                        "\"title\":\"The VM's lease is held by another host\",\"status\":409}");
    assert_int_equal(problem_read(409, buf_text(&body), body.len, &back), -1);
    assert_int_equal(back.code, ERROR_DENIED);
    assert_string_equal(back.problem, "foreign");
    assert_null(strstr(back.text, "h2")); /* what was seen is for those who may know it */
}

static void
detail_is_told_only_when_asked_for(void **state)
{
    CLEANUP(buf_clear) struct buf body = BUF(1024);
    struct error err, back;

    (void)state;
    error_problem(&err, ERROR_DENIED, "foreign", "held by h2");
    assert_int_equal(problem_body(&err, err.text, &body), 0);
    assert_int_equal(problem_read(409, buf_text(&body), body.len, &back), -1);
    assert_non_null(strstr(back.text, "held by h2"));
    body.len = 0;
    assert_int_equal(problem_body(&err, "\xff", &body), 0); /* no UTF-8: left out */
    assert_null(strstr(buf_text(&body), "detail"));
}

static void
error_without_a_name_has_that_of_its_code(void **state)
{
    static const struct { enum error_code code; const char *name; } expected[] = {
        { ERROR_INPUT, "bad-request" },   { ERROR_DENIED, "refused" },  { ERROR_MISSING, "not-found" },
        { ERROR_BUSY, "unavailable" },    { ERROR_SYSTEM, "internal" },
    };
    struct error err;

    (void)state;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        CLEANUP(buf_clear) struct buf body = BUF(1024);

        error_set(&err, expected[i].code, "secret path /x");
        assert_int_equal(problem_body(&err, NULL, &body), 0);
        assert_non_null(strstr(buf_text(&body), expected[i].name));
        assert_null(strstr(buf_text(&body), "secret path"));
    }
}

static void
answers_that_are_no_problems_are_read_by_their_status(void **state)
{
    static const char *const bodies[] = { "", "<html>", "{}", "{\"type\":1}", "[]",
                                          "{\"type\":\"urn:virtid:problem:unheard-of\"}",
                                          "{\"type\":\"about:blank\",\"title\":\"\\u001b[31m\"}" };
    struct error err;

    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        assert_int_equal(problem_read(503, bodies[i], strlen(bodies[i]), &err), -1);
        assert_int_equal(err.code, ERROR_BUSY);
        assert_string_equal(err.problem, "");
        assert_string_equal(err.text, "the service answered 503");
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_is_there_once_and_fits),
        cmocka_unit_test(every_repair_names_commands_that_exist),
        cmocka_unit_test(what_our_programs_answer_has_a_name),
        cmocka_unit_test(refusal_comes_back_with_its_name),
        cmocka_unit_test(detail_is_told_only_when_asked_for),
        cmocka_unit_test(error_without_a_name_has_that_of_its_code),
        cmocka_unit_test(answers_that_are_no_problems_are_read_by_their_status),
    };

    return cmocka_run_group_tests_name("problem", tests, NULL, NULL);
}
