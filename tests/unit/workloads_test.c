/*
 * Who may have tokens for whom in this guest: the rules as they are written, and as they are applied.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "guestagent/token_files.h"
#include "guestagent/workloads.h"
#include "lib/common/fdio.h"

static char folder[] = "/tmp/virtid-workloads.XXXXXX", path[64], dropins[64], dropin[96];

static int
set_up(void **state)
{
    struct error err;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/w.conf", folder);
    snprintf(dropins, sizeof dropins, "%s/w.conf.d", folder);
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

static struct workloads *
rules(const char *text)
{
    struct workloads *w = NULL;
    struct error err = { 0 };

    put(path, text);
    if (workloads_read(path, &w, &err) < 0)
        fail_msg("%s", err.text);
    return w;
}

/* Is `audience` among what `peer` may ask for? */
static bool
may(const struct workloads *w, const struct peer *peer, const char *audience)
{
    uint64_t mine = workloads_of(w, peer);
    const char *name;

    for (size_t i = 0; (name = workloads_audience(w, i)); i++) {
        if (strcmp(name, audience) == 0)
            return mine >> i & 1;
    }
    return false;
}

static const char TABLE[] = "[workload shop]\nuid = 1000 1001\naudiences = db pay\n"
                            "[workload web]\ngid = 33\naudiences = pay\n"
                            "[workload both]\nuid = 1002\ngid = 44\naudiences = log\n"
                            "[workload unit]\ncgroup = /system.slice/shop.service\naudiences = mail\n"
                            "[workload user-in-unit]\nuid = 1003\ncgroup = /a/b /c\naudiences = db\n";

static void
each_gets_what_the_rules_say_and_nothing_else(void **state)
{
    static const char *const audiences[] = { "db", "pay", "log", "mail" };
    /* may: one letter for each of them. */
    static const struct {
        uid_t uid;
        gid_t gids[3];
        bool at_home;
        const char *cgroup, *may;
    } all[] = {
        { 1000, { 1000 }, true, "", "yy--" },
        { 1001, { 100 }, true, "/user.slice", "yy--" },
        { 1000, { 1000 }, false, "", "----" }, /* the same user in a container */
        { 1000, { 1000 }, false, "/system.slice/shop.service", "---y" },
        { 1000, { 1000 }, true, "/system.slice/shop.service/inner", "yy-y" },
        { 0, { 0 }, true, "", "----" }, /* root is the owner's matter, not the rules' */
        { 0, { 0 }, false, "", "----" },
        { 0, { 0 }, false, "/machine.slice/box", "----" },
        { 0, { 0 }, false, "/system.slice/shop.service", "---y" },
        { 0, { 0 }, false, "/system.slice/shop.service2", "----" },
        { 0, { 0 }, false, "/system.slice", "----" },
        { 0, { 0 }, false, "/evil/system.slice/shop.service", "----" },
        { 0, { 0 }, false, "/../system.slice/shop.service", "----" },
        { 2000, { 33 }, true, "", "-y--" },
        { 2000, { 2000, 5, 33 }, true, "", "-y--" },
        { 2000, { 33 }, false, "", "----" },
        { 33, { 1000 }, true, "", "----" }, /* a number of the other kind */
        { 1002, { 1002, 44 }, true, "", "--y-" },
        { 1002, { 1002 }, true, "", "----" },
        { 1004, { 44 }, true, "", "----" },
        { 1003, { 1003 }, true, "", "----" },
        { 1003, { 1003 }, false, "/a/b", "y---" },
        { 1003, { 1003 }, true, "/c/d/e", "y---" },
        { 1000, { 1000 }, false, "/c/d/e", "----" },
        { 65534, { 65534 }, true, "", "----" },
    };
    CLEANUP(workloads_free) struct workloads *w = rules(TABLE);

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        gid_t gids[3] = { all[i].gids[0], all[i].gids[1], all[i].gids[2] };
        struct peer peer = { .pid = 1, .uid = all[i].uid, .gids = gids, .at_home = all[i].at_home };

        peer.n_gids = gids[2] ? 3 : gids[1] ? 2 : 1;
        snprintf(peer.cgroup, sizeof peer.cgroup, "%s", all[i].cgroup);
        for (size_t k = 0; k < 4; k++) {
            if (may(w, &peer, audiences[k]) != (all[i].may[k] == 'y'))
                fail_msg("line %zu of the table, %s", i, audiences[k]);
        }
    }
}

static void
without_a_file_nobody_is_named(void **state)
{
    CLEANUP(workloads_free) struct workloads *w = NULL;
    struct peer peer = { .pid = 1, .at_home = true };
    struct error err;

    (void)state;
    (void)unlink(path);
    assert_int_equal(workloads_read(path, &w, &err), 0);
    assert_true(workloads_of(w, &peer) == 0);
    assert_null(workloads_audience(w, 0));
    assert_null(workloads_file(w, 0));
}

static void
what_is_not_understood_is_refused_with_its_line(void **state)
{
    static const struct {
        const char *text, *line, *says;
    } all[] = {
        { "[workload a]\nuid = 1\naudiences = db\n[workload b]\nuid = no-such-user\n", ":5: ", "no user" },
        { "[workload a]\ngid = no-such-group\n", ":2: ", "no group" },
        { "[workload a]\nuid = 4294967295\n", ":2: ", "can be named" },
        { "[workload a]\nuid = 65534\n", ":2: ", "can be named" },
        { "[workload a]\nuid = -1\n", ":2: ", "no user" },
        { "[workload a]\nuid =\naudiences = db\n", ":2: ", "nothing is named" },
        { "[workload a]\nuser = 1\n", ":2: ", "unknown setting" },
        { "[workload a]\ncgroup = /\n", ":2: ", "no cgroup" },
        { "[workload a]\ncgroup = /a/../b\n", ":2: ", "no cgroup" },
        { "[workload a]\ncgroup = /a/\n", ":2: ", "no cgroup" },
        { "[workload a]\ncgroup = a\n", ":2: ", "no cgroup" },
        { "[workload a]\naudiences = pop:db\n", ":2: ", "no audience" },
        { "[workload a]\naudiences = d\"b\n", ":2: ", "no audience" },
        { "[workload]\nuid = 1\n", ":2: ", "there are" },
        { "[workload a b]\nuid = 1\n", ":2: ", "there are" },
        { "[workload a23456789012345678901234567890123]\nuid = 1\n", ":2: ", "there are" },
        { "uid = 1\n", ":1: ", "there are" },
        { "[workload a]\nuid = 1\n", ": ", "no audiences" },
        { "[workload a]\naudiences = db\n", ": ", "names nobody" },
        { "[file a]\nowner = 1\n", ": ", "has no audience" },
        { "[file a]\naudience = db\n[file b]\naudience = db\n", ":4: ", "[file a] already" },
        { "[file a]\nmode = 0600\n", ":2: ", "only reading" },
        { "[file a]\nmode = 4444\n", ":2: ", "only reading" },
        { "[file a]\nmode = 0000\n", ":2: ", "only reading" },
        { "[file a]\nmode = rw\n", ":2: ", "only reading" },
        { "[file a]\naudience = two words\n", ":2: ", "no audience" },
        { "[workload a\nuid = 1\n", ":1: ", "there are" },
        { "[workload a]\nuid = 1\naudiences = d\nnonsense\n", ":4: ", "syntax" },
        { "[workload a]\nuid = x\nuid = y\n", ":2: ", "\"x\"" }, /* the first of them */
    };

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        CLEANUP(workloads_free) struct workloads *w = NULL;
        struct error err = { 0 };

        put(path, all[i].text);
        assert_int_equal(workloads_read(path, &w, &err), -1);
        assert_int_equal(err.code, ERROR_INPUT);
        if (!strstr(err.text, all[i].line) || !strstr(err.text, all[i].says) || !strstr(err.text, path))
            fail_msg("%s%s", all[i].text, err.text);
    }
}

static void
words_add_up_over_lines_and_drop_ins(void **state)
{
    CLEANUP(workloads_free) struct workloads *w = NULL;
    gid_t gid = 1;
    struct peer peer = { .pid = 1, .uid = 2000, .gids = &gid, .n_gids = 1, .at_home = true };
    struct error err = { 0 };

    (void)state;
    put(path, "[workload a]\nuid = 1000\naudiences = db\n    pay\n");
    put(dropin, "[workload a]\nuid = 2000\naudiences = log\n");
    assert_int_equal(workloads_read(path, &w, &err), 0);
    assert_true(may(w, &peer, "db") && may(w, &peer, "pay") && may(w, &peer, "log"));
    put(dropin, "[workload a]\nuid = nobody-here\n");
    assert_int_equal(workloads_read(path, &w, &err), -1);
    assert_non_null(strstr(err.text, "10-x.conf:2: "));
    assert_int_equal(unlink(dropin), 0);
}

static void
names_are_found_in_the_guests_own_files(void **state)
{
    CLEANUP(workloads_free) struct workloads *w = rules("[workload a]\nuid = root\ngid = root\naudiences = db\n"
                                                        "[file a]\naudience = db\nowner = root\ngroup = root\n");
    gid_t gid = 0;
    struct peer peer = { .pid = 1, .uid = 0, .gids = &gid, .n_gids = 1, .at_home = true };

    (void)state;
    assert_true(may(w, &peer, "db"));
    assert_int_equal(workloads_file(w, 0)->owner, 0);
    assert_int_equal(workloads_file(w, 0)->group, 0);
}

static void
a_file_is_for_its_owner_alone_unless_it_is_said(void **state)
{
    CLEANUP(workloads_free) struct workloads *w =
        rules("[file a]\naudience = a\n[file b]\naudience = b\nowner = 7\n[file c]\naudience = c\ngroup = 8\n"
              "[file d]\naudience = d\ngroup = 8\nmode = 0400\n[file e]\naudience = e\nmode = 444\n");

    (void)state;
    assert_int_equal(workloads_file(w, 0)->mode, 0400);
    assert_int_equal(workloads_file(w, 0)->owner, geteuid());
    assert_int_equal(workloads_file(w, 1)->mode, 0400);
    assert_int_equal(workloads_file(w, 1)->owner, 7);
    assert_int_equal(workloads_file(w, 2)->mode, 0440);
    assert_int_equal(workloads_file(w, 2)->group, 8);
    assert_int_equal(workloads_file(w, 3)->mode, 0400);
    assert_int_equal(workloads_file(w, 4)->mode, 0444);
}

static void
everything_is_bounded(void **state)
{
    CLEANUP(buf_clear) struct buf text = BUF(65536);
    CLEANUP(workloads_free) struct workloads *w = NULL;
    struct error err = { 0 };

    (void)state;
    for (int i = 0; i <= WORKLOAD_AUDIENCES_MAX; i++)
        buf_printf(&text, "[workload a]\nuid = 1\naudiences = a%d\n", i / 2 + (i % 2) * 100);
    put(path, buf_text(&text));
    assert_int_equal(workloads_read(path, &w, &err), -1);
    assert_non_null(strstr(err.text, "more than 16 words"));
    buf_drop(&text, text.len);
    for (int i = 0; i <= WORKLOAD_AUDIENCES_MAX; i++)
        buf_printf(&text, "[workload a%d]\nuid = 1\naudiences = a%d\n", i, i);
    put(path, buf_text(&text));
    assert_int_equal(workloads_read(path, &w, &err), -1);
    assert_non_null(strstr(err.text, "more than 24 audiences"));
    buf_drop(&text, text.len);
    for (int i = 0; i <= WORKLOADS_MAX; i++)
        buf_printf(&text, "[workload a%d]\nuid = 1\naudiences = a\n", i);
    put(path, buf_text(&text));
    assert_int_equal(workloads_read(path, &w, &err), -1);
    assert_non_null(strstr(err.text, "more than 32 workloads"));
}

static void
no_two_audiences_have_one_file(void **state)
{
    static const struct {
        const char *audience, *name;
    } all[] = {
        { "db", "db" },
        { "a.b_c-D9", "a.b_c-D9" },
        { "https://pay.example/x?y", "https=3A=2F=2Fpay.example=2Fx=3Fy" },
        { ".", "=2E" },
        { "..", "=2E." },
        { ".new", "=2Enew" },
        { "../../etc/passwd", "=2E.=2F..=2Fetc=2Fpasswd" },
        { "a=2Fb", "a=3D2Fb" },
        { "a/b", "a=2Fb" },
        { "~%$", "=7E=25=24" },
    };
    static const char *const none[] = { "", "=", "=2", "=2f", "=61", "a=2", ".", ".new", "a b", "a/b", "=20", "=00",
                                        "=GG", "pop=3Ax", "caf\xc3\xa9" };
    char name[TOKEN_FILE_NAME_MAX + 1], back[NAME_AUDIENCE_MAX + 1], longest[NAME_AUDIENCE_MAX + 1];

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        assert_int_equal(token_file_name(all[i].audience, name), 0);
        assert_string_equal(name, all[i].name);
        assert_null(strchr(name, '/'));
        assert_true(name[0] != '.');
        assert_int_equal(token_file_audience(name, back), 0);
        assert_string_equal(back, all[i].audience);
    }
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_int_equal(token_file_audience(none[i], back), -1);
    memset(longest, 'a', NAME_AUDIENCE_MAX);
    longest[NAME_AUDIENCE_MAX] = '\0';
    assert_int_equal(token_file_name(longest, name), 0);
    assert_int_equal(token_file_audience(name, back), 0);
    longest[0] = '/';
    assert_int_equal(token_file_name(longest, name), -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_gets_what_the_rules_say_and_nothing_else),
        cmocka_unit_test(without_a_file_nobody_is_named),
        cmocka_unit_test(what_is_not_understood_is_refused_with_its_line),
        cmocka_unit_test(words_add_up_over_lines_and_drop_ins),
        cmocka_unit_test(names_are_found_in_the_guests_own_files),
        cmocka_unit_test(a_file_is_for_its_owner_alone_unless_it_is_said),
        cmocka_unit_test(everything_is_bounded),
        cmocka_unit_test(no_two_audiences_have_one_file),
    };

    return cmocka_run_group_tests_name("workloads", tests, set_up, tear_down);
}
