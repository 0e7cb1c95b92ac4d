#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/common/conf.h"
#include "lib/common/fdio.h"

static const struct conf_key keys[] = {
    { "service.name", CONF_TEXT, NULL },   { "service.names", CONF_LIST, "x y" },
    { "service.test", CONF_BOOL, "no" },   { "listen.limit", CONF_INT, "5" },
    { NULL, CONF_TEXT, NULL },
};
static char folder[] = "/tmp/virtid-conf.XXXXXX", path[64], dropins[64], dropin[96];

static int
set_up(void **state)
{
    struct error err;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.conf", folder);
    snprintf(dropins, sizeof dropins, "%s/a.conf.d", folder);
    snprintf(dropin, sizeof dropin, "%s/10-x.conf", dropins);
    return dir_make(dropins, 0700, &err);
}

static int
tear_down(void **state)
{
    (void)state;
    (void)unlink(dropin);
    (void)unlink(path);
    (void)rmdir(dropins);
    return rmdir(folder);
}

static void
put(const char *at, const char *text)
{
    struct error err;

    assert_int_equal(file_replace(at, text, strlen(text), 0600, &err), 0);
}

/* Without them the fallbacks would hold: a stricter word that is not read is not passed over. */
static void
dropins_that_can_not_be_read_are_no_absence(void **state)
{
    CLEANUP(conf_free) struct conf *conf = NULL;
    struct error err = { 0 };

    (void)state;
    put(path, "[service]\nname = x\n");
    assert_int_equal(rmdir(dropins), 0);
    put(dropins, "no folder");
    assert_true(conf_read(path, keys, false, &conf, &err) < 0);
    assert_non_null(strstr(err.text, dropins));
    assert_int_equal(unlink(dropins), 0);
    assert_int_equal(dir_make(dropins, 0700, &err), 0);
}

static void
values_fallbacks_and_lists_are_read(void **state)
{
    CLEANUP(conf_free) struct conf *conf = NULL;
    struct error err;

    (void)state;
    put(path, "[service]\nname = one two\ntest=yes\n[listen]\nlimit = -7\n");
    assert_int_equal(conf_read(path, keys, false, &conf, &err), 0);
    assert_string_equal(conf_text(conf, "service.name"), "one two");
    assert_true(conf_bool(conf, "service.test"));
    assert_int_equal(conf_int(conf, "listen.limit"), -7);
    assert_string_equal(conf_item(conf, "service.names", 0), "x");
    assert_string_equal(conf_item(conf, "service.names", 1), "y");
    assert_null(conf_item(conf, "service.names", 2));
}

static void
drop_in_replaces_the_file(void **state)
{
    CLEANUP(conf_free) struct conf *conf = NULL;
    struct error err;

    (void)state;
    put(path, "[service]\nname = one\n[listen]\nlimit=1\n");
    put(dropin, "[service]\nname = two\n");
    assert_int_equal(conf_read(path, keys, false, &conf, &err), 0);
    (void)unlink(dropin);
    assert_string_equal(conf_text(conf, "service.name"), "two");
    assert_int_equal(conf_int(conf, "listen.limit"), 1);
}

static void
mistakes_are_named_with_file_and_line(void **state)
{
    static const struct { const char *text, *word; } bad[] = {
        { "[service]\nname=a\nnmae=b\n", ":3" },
        { "[service]\nname=a\ntest=maybe\n", "test" },
        { "[service]\nname=a\n[listen]\nlimit=5x\n", "limit" },
        { "[service]\nname=a\n[listen]\nlimit=\n", "limit" },
        { "[service]\nname=a\n[listen]\nlimit=99999999999999999999\n", "limit" },
        { "[service]\ntest=yes\n", "service.name" },
        { "[service\nname=a\n", ":1" },
        { "name=a\n", ":1" },
    };
    struct conf *conf = NULL;
    struct error err;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        put(path, bad[i].text);
        assert_int_equal(conf_read(path, keys, false, &conf, &err), -1);
        assert_int_equal(err.code, ERROR_INPUT);
        assert_non_null(strstr(err.text, bad[i].word));
    }
    assert_null(conf);
}

static void
missing_file_is_allowed_only_where_that_is_said(void **state)
{
    static const struct conf_key optional[] = { { "a.b", CONF_TEXT, "c" }, { NULL, CONF_TEXT, NULL } };
    CLEANUP(conf_free) struct conf *conf = NULL;
    struct error err;

    (void)state;
    (void)unlink(path);
    assert_int_equal(conf_read(path, optional, false, &conf, &err), -1);
    assert_null(conf);
    assert_int_equal(conf_read(path, optional, true, &conf, &err), 0);
    assert_string_equal(conf_text(conf, "a.b"), "c");
}

/* A text that somebody has borrowed stays where it is, unless it is one of those that are taken. */
static void
what_may_change_is_taken_and_what_may_not_is_named(void **state)
{
    static const char *const live[] = { "service.names", "listen.limit", NULL };
    CLEANUP(conf_free) struct conf *running = NULL;
    CLEANUP(conf_free) struct conf *fresh = NULL;
    struct conf_changes changes;
    const char *name;
    struct error err;

    (void)state;
    put(path, "[service]\nname = one\n");
    assert_int_equal(conf_read(path, keys, false, &running, &err), 0);
    name = conf_text(running, "service.name");
    put(path, "[service]\nname = two\nnames = a b c\ntest = yes\n[listen]\nlimit = 6\n");
    assert_int_equal(conf_read(path, keys, false, &fresh, &err), 0);
    conf_take_over(running, fresh, live, &changes);
    assert_string_equal(changes.taken, "service.names,listen.limit");
    assert_string_equal(changes.waiting, "service.name,service.test");
    assert_int_equal(conf_int(running, "listen.limit"), 6);
    assert_string_equal(conf_item(running, "service.names", 2), "c");
    assert_false(conf_bool(running, "service.test"));
    assert_ptr_equal(conf_text(running, "service.name"), name);
    assert_string_equal(name, "one");
    conf_free(fresh);
    fresh = NULL;
    assert_string_equal(conf_item(running, "service.names", 0), "a");

    assert_int_equal(conf_read(path, keys, false, &fresh, &err), 0);
    conf_take_over(running, fresh, live, &changes);
    assert_string_equal(changes.taken, "");
    assert_string_equal(changes.waiting, "service.name,service.test"); /* as long as that is so */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dropins_that_can_not_be_read_are_no_absence),
        cmocka_unit_test(values_fallbacks_and_lists_are_read),
        cmocka_unit_test(drop_in_replaces_the_file),
        cmocka_unit_test(mistakes_are_named_with_file_and_line),
        cmocka_unit_test(missing_file_is_allowed_only_where_that_is_said),
        cmocka_unit_test(what_may_change_is_taken_and_what_may_not_is_named),
    };

    return cmocka_run_group_tests_name("conf", tests, set_up, tear_down);
}
