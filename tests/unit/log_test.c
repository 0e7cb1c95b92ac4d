#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/common/log.h"

/* What one call writes to stderr. */
static const char *
logged(void (*say)(void))
{
    static char text[4096];
    int p[2], saved = dup(STDERR_FILENO);
    ssize_t n;

    assert_int_equal(pipe(p), 0);
    dup2(p[1], STDERR_FILENO);
    say();
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(p[1]);
    n = read(p[0], text, sizeof text - 1);
    close(p[0]);
    text[n < 0 ? 0 : n] = '\0';
    return text;
}

static void
say_forged(void)
{
    log_warning("name \"%s\"", "web1\nvirtid: event=token \x1b[31m\r\x7f");
}

static void
say_error(void)
{
    struct error err;

    error_set(&err, ERROR_DENIED, "line\nbreak");
    log_error(&err, "vm %s", "web1");
}

static void
say_much(void)
{
    char much[3000];

    memset(much, '\n', sizeof much - 1);
    much[sizeof much - 1] = '\0';
    log_notice("%s", much);
}

static void
say_debug(void)
{
    log_debug("nothing");
}

static void
text_from_outside_cannot_forge_a_line(void **state)
{
    const char *line = logged(say_forged);

    (void)state;
    assert_string_equal(line, "test: name \"web1\\x0avirtid: event=token \\x1b[31m\\x0d\\x7f\"\n");
    line = logged(say_error);
    assert_string_equal(line, "test: vm web1: line\\x0abreak\n");
}

static void
line_is_bounded_and_ends_once(void **state)
{
    const char *line = logged(say_much);

    (void)state;
    assert_true(strlen(line) <= 2200);
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void
lines_above_the_level_are_dropped(void **state)
{
    (void)state;
    assert_string_equal(logged(say_debug), "");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_from_outside_cannot_forge_a_line),
        cmocka_unit_test(line_is_bounded_and_ends_once),
        cmocka_unit_test(lines_above_the_level_are_dropped),
    };

    unsetenv("JOURNAL_STREAM");
    log_open("test", LOG_LEVEL_INFO);
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
