/*
 * Files with tokens: whole, of the right owner, gone when they are worth nothing, and never where somebody else points.
 */
#include "config.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "guestagent/token_files.h"
#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/process.h"
#include "tests/unit/skip_missing.h"

static struct scene {
    char folder[64], path[96], run[96];
    struct workloads *rules;
    struct refresher *refresher;
    struct token_files *files;
} scene;

static atomic_int proofs, life = 300;
static atomic_bool away;

static int
prove_a_number(void *context, const char *audience, struct proof_token *ret, struct error *err)
{
    int64_t now = clock_monotonic_ms();
    char text[64];

    (void)context;
    if (away)
        return error_problem(err, ERROR_BUSY, "unavailable", "away");
    snprintf(text, sizeof text, "%.20s %d", audience, ++proofs);
    *ret = (struct proof_token){ .asked_ms = now, .answered_ms = now, .asked_utc_ms = now, .expires_in = life,
                                 .epoch = 1 };
    if (secret_new(strlen(text), &ret->text, err) < 0)
        return -1;
    memcpy(ret->text->bytes, text, strlen(text));
    return 0;
}

static int
set_up(void **state)
{
    struct scene *s = &scene;
    struct error err;

    *s = (struct scene){ .folder = "/tmp/virtid-files.XXXXXX" };
    assert_non_null(mkdtemp(s->folder));
    snprintf(s->path, sizeof s->path, "%s/w.conf", s->folder);
    snprintf(s->run, sizeof s->run, "%s/run", s->folder);
    proofs = 0;
    life = 300;
    away = false;
    *state = s;
    return dir_make(s->run, 0755, &err);
}

static void
stop(struct scene *s)
{
    if (s->refresher)
        refresher_stop(s->refresher);
    token_files_free(s->files);
    refresher_free(s->refresher);
    workloads_free(s->rules);
    s->files = NULL;
    s->refresher = NULL;
    s->rules = NULL;
}

static int
tear_down(void **state)
{
    struct scene *s = *state;
    const char *const remove[] = { "/bin/rm", "-rf", s->folder, NULL };
    struct process_spawn spawn = PROCESS_SPAWN(remove);
    struct error err;
    pid_t pid = 0;

    stop(s);
    if (process_start(&spawn, &pid, &err) < 0)
        return -1;
    return process_wait(pid, clock_monotonic_ms() + 60000, &err);
}

static void
begin(struct scene *s)
{
    struct refresher_options options = { prove_a_number, NULL, NULL };
    struct error err = { 0 };

    assert_int_equal(refresher_new(&options, &s->refresher, &err), 0);
    assert_int_equal(token_files_new(s->run, s->refresher, &s->files, &err), 0);
}

static void
use(struct scene *s, const char *text)
{
    const char *all[WORKLOAD_AUDIENCES_MAX];
    struct error err = { 0 };
    size_t n = 0;

    workloads_free(s->rules);
    s->rules = NULL;
    assert_int_equal(file_replace(s->path, text, strlen(text), 0600, &err), 0);
    assert_int_equal(workloads_read(s->path, &s->rules, &err), 0);
    for (; workloads_file(s->rules, n); n++)
        all[n] = workloads_file(s->rules, n)->audience;
    assert_int_equal(refresher_prefetch(s->refresher, all, n, &err), 0);
    token_files_set(s->files, s->rules);
}

static void
at(const struct scene *s, const char *name, char ret[static 400])
{
    snprintf(ret, 400, "%s/tokens/%.255s", s->run, name);
}

/* What is in the file; "": it is not there. */
static const char *
content(const struct scene *s, const char *name)
{
    static char text[100];
    CLEANUP(buf_clear) struct buf b = BUF(90);
    struct error err;
    char path[400];

    at(s, name, path);
    snprintf(text, sizeof text, "%s", file_read(path, &b, &err) == 0 ? buf_text(&b) : "");
    return text;
}

static bool
becomes(const struct scene *s, const char *name, const char *text)
{
    for (int i = 0; i < 400; i++) {
        if (strcmp(content(s, name), text) == 0)
            return true;
        (void)poll(NULL, 0, 25);
    }
    print_error("%s: \"%s\" is not \"%s\"\n", name, content(s, name), text);
    return false;
}

static unsigned
count(const struct scene *s)
{
    char path[400];
    const struct dirent *e;
    unsigned n = 0;
    DIR *d;

    at(s, "", path);
    d = opendir(path);
    while (d && (e = readdir(d)))
        n += e->d_name[0] != '.' || strlen(e->d_name) > 2;
    if (d)
        closedir(d);
    return n;
}

static void
each_audience_has_its_file_with_the_token_alone(void **state)
{
    struct scene *s = *state;
    struct stat st;
    char path[400];

    begin(s);
    use(s, "[file a]\naudience = db\n[file b]\naudience = https://pay.example\nmode = 0444\n");
    assert_true(becomes(s, "db", "db 1") || becomes(s, "db", "db 2"));
    assert_true(becomes(s, "https=3A=2F=2Fpay.example", "https://pay.example 2") ||
                becomes(s, "https=3A=2F=2Fpay.example", "https://pay.example 1"));
    at(s, "db", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0400);
    assert_int_equal(st.st_uid, geteuid());
    at(s, "https=3A=2F=2Fpay.example", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0444);
    at(s, "", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0711);
    assert_int_equal(count(s), 2);
}

static void
its_owner_and_group_are_those_of_the_rule(void **state)
{
    struct scene *s = *state;
    struct stat st;
    char path[400];

    if (geteuid() != 0)
        skip_missing("root");
    begin(s);
    use(s, "[file a]\naudience = db\nowner = 1234\ngroup = 4321\n");
    assert_true(becomes(s, "db", "db 1"));
    at(s, "db", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, 1234);
    assert_int_equal(st.st_gid, 4321);
    assert_int_equal(st.st_mode & 07777, 0440);
    /* A rule that becomes narrower is so at once, token or not. */
    use(s, "[file a]\naudience = db\nowner = 1234\n");
    for (int i = 0; i < 400 && (stat(path, &st) < 0 || st.st_gid == 4321); i++)
        (void)poll(NULL, 0, 25);
    assert_int_equal(st.st_gid, getegid());
    assert_int_equal(st.st_mode & 07777, 0400);
    assert_string_equal(content(s, "db"), "db 1");
}

/* Readers never see half of one: each look finds a whole token, and it goes on to a newer one. */
static void
it_is_renewed_in_one_piece(void **state)
{
    struct scene *s = *state;
    int64_t until;
    int last = 0;

    life = 2;
    begin(s);
    use(s, "[file a]\naudience = db\n");
    assert_true(becomes(s, "db", "db 1"));
    for (until = clock_monotonic_ms() + 4000; clock_monotonic_ms() < until;) {
        int n = 0;
        char rest;

        assert_int_equal(sscanf(content(s, "db"), "db %d%c", &n, &rest), 1);
        assert_true(n >= last);
        last = n;
    }
    assert_true(last >= 3);
    assert_int_equal(count(s), 1);
}

static void
a_token_that_ended_is_removed(void **state)
{
    struct scene *s = *state;

    life = 1;
    begin(s);
    use(s, "[file a]\naudience = db\n");
    assert_true(becomes(s, "db", "db 1"));
    away = true;
    assert_true(becomes(s, "db", ""));
    away = false;
    life = 300;
    refresher_greeted(s->refresher, 1, 0);
    for (int i = 0; i < 400 && content(s, "db")[0] == '\0'; i++)
        (void)poll(NULL, 0, 25);
    assert_string_not_equal(content(s, "db"), "");
}

static void
what_no_rule_names_any_more_goes(void **state)
{
    struct scene *s = *state;
    struct error err;
    char path[400];

    begin(s);
    use(s, "[file a]\naudience = db\n[file b]\naudience = log\n");
    assert_true(becomes(s, "db", "db 1") || becomes(s, "db", "db 2"));
    assert_true(becomes(s, "log", "log 2") || becomes(s, "log", "log 1"));
    at(s, ".new", path); /* of an agent that was killed */
    assert_int_equal(file_replace(path, "x", 1, 0644, &err), 0);
    use(s, "[file b]\naudience = log\n");
    assert_true(becomes(s, "db", ""));
    assert_true(becomes(s, ".new", ""));
    assert_int_equal(count(s), 1);
    use(s, "");
    assert_true(becomes(s, "log", ""));
    assert_int_equal(count(s), 0);
}

static void
a_restarted_agent_leaves_the_file_until_it_has_another(void **state)
{
    struct scene *s = *state;

    begin(s);
    use(s, "[file a]\naudience = db\n[file b]\naudience = log\nmode = 0444\n");
    assert_true(becomes(s, "db", "db 1") || becomes(s, "db", "db 2"));
    assert_true(becomes(s, "log", "log 2") || becomes(s, "log", "log 1"));
    stop(s);
    assert_int_equal(count(s), 2);
    away = true;
    begin(s);
    /* The one whose mode is another now is not left. */
    use(s, "[file a]\naudience = db\n[file b]\naudience = log\n");
    assert_true(becomes(s, "log", ""));
    assert_int_equal(strncmp(content(s, "db"), "db ", 3), 0);
    away = false;
    proofs = 9;
    refresher_greeted(s->refresher, 1, 0);
    for (int i = 0; i < 400 && (strlen(content(s, "db")) < 5 || content(s, "log")[0] == '\0'); i++)
        (void)poll(NULL, 0, 25);
    assert_true(strcmp(content(s, "db"), "db 10") == 0 || strcmp(content(s, "db"), "db 11") == 0);
}

static void
nothing_is_followed_that_lies_in_the_way(void **state)
{
    struct scene *s = *state;
    char victim[96], path[400];
    struct error err;
    struct stat st;

    snprintf(victim, sizeof victim, "%s/victim", s->folder);
    assert_int_equal(file_replace(victim, "precious", 8, 0600, &err), 0);
    at(s, "", path);
    path[strlen(path) - 1] = '\0';
    assert_int_equal(mkdir(path, 0755), 0);
    at(s, "db", path);
    assert_int_equal(symlink(victim, path), 0);
    at(s, ".new", path);
    assert_int_equal(symlink(victim, path), 0);
    at(s, "log", path);
    assert_int_equal(link(victim, path), 0);
    at(s, "pay", path);
    assert_int_equal(mkfifo(path, 0666), 0);
    begin(s);
    use(s, "[file a]\naudience = db\n[file b]\naudience = log\n[file c]\naudience = pay\n");
    for (int i = 0; i < 400 && (proofs < 3 || lstat(path, &st) < 0 || !S_ISREG(st.st_mode)); i++)
        (void)poll(NULL, 0, 25);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    at(s, "db", path);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    for (int i = 0; i < 400 && strncmp(content(s, "log"), "log ", 4) != 0; i++)
        (void)poll(NULL, 0, 25);
    assert_int_equal(strncmp(content(s, "log"), "log ", 4), 0);
    assert_int_equal(stat(victim, &st), 0);
    assert_int_equal(st.st_size, 8);
    assert_int_equal(st.st_nlink, 1);
}

static void
count_name(void *context, const char *name)
{
    *(unsigned *)context += strcmp(name, "db") == 0 || strcmp(name, ".new") == 0;
}

static void
a_template_keeps_none(void **state)
{
    struct scene *s = *state;
    struct error err = { 0 };
    char path[400];
    unsigned told = 0;

    assert_int_equal(token_files_forget(s->run, count_name, &told, &err), 0);
    begin(s);
    use(s, "[file a]\naudience = db\n");
    assert_true(becomes(s, "db", "db 1"));
    stop(s);
    at(s, ".new", path);
    assert_int_equal(file_replace(path, "x", 1, 0600, &err), 0);
    assert_int_equal(token_files_forget(s->run, count_name, &told, &err), 0);
    assert_int_equal(told, 2);
    assert_int_equal(count(s), 0);
}

static void
fails_with(struct scene *s, const char *words)
{
    struct error failure = { 0 };

    for (int i = 0; i < 400 && !strstr(failure.text, words); i++) {
        token_files_failure(s->files, &failure);
        (void)poll(NULL, 0, 25);
    }
    assert_non_null(strstr(failure.text, words));
}

static void
a_folder_that_others_may_write_in_or_a_link_is_refused_and_said(void **state)
{
    struct scene *s = *state;
    char path[400], elsewhere[96];

    at(s, "", path);
    path[strlen(path) - 1] = '\0';
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chmod(path, 0777), 0);
    begin(s);
    use(s, "[file a]\naudience = db\n");
    fails_with(s, "alone may write in");
    assert_int_equal(count(s), 0);
    assert_int_equal(rmdir(path), 0);
    snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", s->folder);
    assert_int_equal(mkdir(elsewhere, 0700), 0);
    assert_int_equal(symlink(elsewhere, path), 0);
    use(s, "[file a]\naudience = db\n");
    fails_with(s, "open ");
    assert_int_equal(count(s), 0);
    /* Put right, it goes on. */
    assert_int_equal(unlink(path), 0);
    use(s, "[file a]\naudience = db\n");
    assert_true(becomes(s, "db", "db 1"));
}

#define OF_FILES(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        OF_FILES(each_audience_has_its_file_with_the_token_alone),
        OF_FILES(its_owner_and_group_are_those_of_the_rule),
        OF_FILES(it_is_renewed_in_one_piece),
        OF_FILES(a_token_that_ended_is_removed),
        OF_FILES(what_no_rule_names_any_more_goes),
        OF_FILES(a_restarted_agent_leaves_the_file_until_it_has_another),
        OF_FILES(nothing_is_followed_that_lies_in_the_way),
        OF_FILES(a_template_keeps_none),
        OF_FILES(a_folder_that_others_may_write_in_or_a_link_is_refused_and_said),
    };

    umask(077);
    return cmocka_run_group_tests_name("token_files", tests, NULL, NULL);
}
