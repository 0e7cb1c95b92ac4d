#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "guestagent/slots.h"
#include "lib/common/fdio.h"

/* tests/unit/crash_at.c sets this to 0 when the file with this number is synced. */
extern ino_t synced_inode;

static const struct vm_uuid OURS = { { 1, 2, 3 } }, THEIRS = { { 9 } };

static int
new_folder(void **state)
{
    static char folder[32];

    strcpy(folder, "/tmp/slotsXXXXXX");
    *state = mkdtemp(folder);
    return *state ? 0 : -1;
}

static void
path_of(const char *folder, const char *name, char ret[128])
{
    snprintf(ret, 128, "%s/slots/%s", folder, name);
}

static int
remove_folder(void **state)
{
    static const char *const names[] = { "cur",       "new",       "inject", ".lock", "cur.other",
                                         "new.other", ".cur.new", "cur.bad", "inject.bad", "" };
    char path[128];

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        path_of(*state, names[i], path);
        (void)remove(path);
    }
    return rmdir(*state);
}

/* A slot file with a private key of all `body`. */
static void
put(const char *folder, const char *name, const struct vm_uuid *uuid, uint8_t body)
{
    struct slot s = { .kind = SLOT_PRIVATE, .uuid = *uuid };
    uint8_t bytes[SLOT_MAX];
    struct error err = { 0 };
    char path[128];
    size_t len;

    path_of(folder, "", path);
    assert_int_equal(dir_make(path, 0700, &err), 0);
    memset(s.body, body, 32);
    len = slot_encode(&s, bytes);
    path_of(folder, name, path);
    assert_int_equal(file_replace(path, bytes, len, 0600, &err), 0);
}

/* The body's first byte of a slot, or -1: not there. */
static int
body_of(const char *folder, const char *name)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(SLOT_MAX);
    struct error err = { 0 };
    char path[128];

    path_of(folder, name, path);
    if (file_read(path, &bytes, &err) < 0)
        return -1;
    return bytes.data[17];
}

static struct slots *
opened(const char *folder)
{
    struct slots *s = NULL;
    struct error err = { 0 };

    if (slots_open(folder, &s, &err) < 0)
        print_error("%s\n", err.text);
    assert_non_null(s);
    return s;
}

static void
an_empty_folder_gets_a_lasting_secret(void **state)
{
    CLEANUP(slots_close) struct slots *s = opened(*state);
    CLEANUP(secret_free) struct secret *first = NULL;
    CLEANUP(secret_free) struct secret *again = NULL;
    struct error err = { 0 };
    struct stat st;
    char path[128];

    assert_int_equal(slots_read(s, SLOT_CUR, &first, &err), -1);
    assert_int_equal(err.code, ERROR_MISSING);
    assert_int_equal(slots_make(s, SLOT_CUR, SLOT_PRIVATE, &OURS, 7, &err), 0);
    assert_int_equal(slots_read(s, SLOT_CUR, &first, &err), 0);
    path_of(*state, "cur", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    slots_close(STEAL(s));
    s = opened(*state);
    assert_int_equal(slots_read(s, SLOT_CUR, &again, &err), 0);
    assert_true(secret_equal(first->bytes, again->bytes, first->len));
}

static void
a_unique_slot_has_64_random_bytes(void **state)
{
    CLEANUP(slots_close) struct slots *s = opened(*state);
    CLEANUP(secret_free) struct secret *a = NULL;
    CLEANUP(secret_free) struct secret *b = NULL;
    struct error err = { 0 };

    assert_int_equal(slots_make(s, SLOT_CUR, SLOT_UNIQUE, &OURS, 7, &err), 0);
    assert_int_equal(slots_read(s, SLOT_CUR, &a, &err), 0);
    assert_int_equal(slots_make(s, SLOT_NEW, SLOT_UNIQUE, &OURS, 7, &err), 0);
    assert_int_equal(slots_read(s, SLOT_NEW, &b, &err), 0);
    assert_int_equal(a->len, 81);
    assert_false(secret_equal(a->bytes + 17, b->bytes + 17, 64));
}

static void
an_injected_slot_becomes_cur_and_new_goes(void **state)
{
    put(*state, "cur", &OURS, 1);
    put(*state, "new", &OURS, 2);
    put(*state, "inject", &OURS, 3);
    slots_close(opened(*state));
    assert_int_equal(body_of(*state, "cur"), 3);
    assert_int_equal(body_of(*state, "new"), -1);
    assert_int_equal(body_of(*state, "inject"), -1);
}

/* What a disk made of it must not cost the secret that works. */
static void
a_damaged_injected_slot_replaces_nothing(void **state)
{
    struct error err = { 0 };
    char path[128];

    put(*state, "cur", &OURS, 1);
    put(*state, "new", &OURS, 2);
    for (size_t len = 0; len < 6; len += 5) {
        path_of(*state, "inject", path);
        assert_int_equal(file_replace(path, "\x02junk", len, 0600, &err), 0);
        slots_close(opened(*state));
        assert_int_equal(body_of(*state, "cur"), 1);
        assert_int_equal(body_of(*state, "new"), 2);
        assert_int_not_equal(access(path, F_OK), 0);
        path_of(*state, "inject.bad", path);
        assert_int_equal(access(path, F_OK), 0);
    }
}

static void
a_new_folder_is_durable_before_a_secret_is_in_it(void **state)
{
    struct stat st;

    assert_int_equal(stat(*state, &st), 0);
    synced_inode = st.st_ino;
    slots_close(opened(*state));
    assert_int_equal(synced_inode, 0);
}

static void
resolve_keeps_the_named_one(void **state)
{
    CLEANUP(slots_close) struct slots *s = NULL;
    struct error err = { 0 };

    put(*state, "cur", &OURS, 1);
    put(*state, "new", &OURS, 2);
    s = opened(*state);
    assert_int_equal(slots_resolve(s, SLOT_CUR, &err), 0);
    assert_int_equal(body_of(*state, "cur"), 1);
    assert_int_equal(body_of(*state, "new"), -1);
    assert_int_equal(slots_resolve(s, SLOT_CUR, &err), 0);
    put(*state, "new", &OURS, 2);
    assert_int_equal(slots_resolve(s, SLOT_NEW, &err), 0);
    assert_int_equal(body_of(*state, "cur"), 2);
    assert_int_equal(body_of(*state, "new"), -1);
}

static void
the_slot_of_another_vm_is_set_aside_and_comes_back_for_it(void **state)
{
    CLEANUP(slots_close) struct slots *s = NULL;
    struct error err = { 0 };
    bool foreign = false;

    put(*state, "cur", &THEIRS, 1);
    s = opened(*state);
    assert_int_equal(slots_claim(s, &OURS, &foreign, &err), 0);
    assert_true(foreign);
    assert_int_equal(body_of(*state, "cur"), -1);
    assert_int_equal(slots_make(s, SLOT_CUR, SLOT_PRIVATE, &OURS, 7, &err), 0);
    /* It was a false greeting: nothing was accepted, the old secret is back. */
    assert_int_equal(slots_claim(s, &THEIRS, &foreign, &err), 0);
    assert_int_equal(body_of(*state, "cur"), 1);
    assert_int_equal(slots_claim(s, &THEIRS, &foreign, &err), 0);
    assert_false(foreign);
}

static void
two_false_greetings_do_not_lose_the_first_secret(void **state)
{
    static const struct vm_uuid third = { { 7 } };
    CLEANUP(slots_close) struct slots *s = NULL;
    struct error err = { 0 };
    bool foreign;

    put(*state, "cur", &OURS, 1);
    s = opened(*state);
    assert_int_equal(slots_claim(s, &THEIRS, &foreign, &err), 0);
    assert_int_equal(slots_make(s, SLOT_CUR, SLOT_PRIVATE, &THEIRS, 7, &err), 0);
    assert_int_equal(slots_claim(s, &third, &foreign, &err), 0);
    assert_int_equal(slots_make(s, SLOT_CUR, SLOT_PRIVATE, &third, 7, &err), 0);
    assert_int_equal(slots_claim(s, &OURS, &foreign, &err), 0);
    assert_int_equal(body_of(*state, "cur"), 1);
}

static void
what_was_set_aside_is_wiped_when_the_own_is_accepted(void **state)
{
    CLEANUP(slots_close) struct slots *s = NULL;
    struct error err = { 0 };
    bool foreign;

    put(*state, "cur", &THEIRS, 1);
    put(*state, "new", &THEIRS, 2);
    s = opened(*state);
    assert_int_equal(slots_claim(s, &OURS, &foreign, &err), 0);
    assert_int_equal(slots_forget_others(s, &err), 0);
    assert_int_equal(body_of(*state, "cur.other"), -1);
    assert_int_equal(body_of(*state, "new.other"), -1);
    assert_int_equal(slots_forget_others(s, &err), 0);
}

static void
a_second_opener_is_told_so(void **state)
{
    CLEANUP(slots_close) struct slots *s = opened(*state);
    CLEANUP(slots_close) struct slots *second = NULL;
    struct error err = { 0 };

    assert_int_equal(slots_open(*state, &second, &err), -1);
    assert_int_equal(err.code, ERROR_BUSY);
}

static void
a_folder_open_to_others_is_refused(void **state)
{
    CLEANUP(slots_close) struct slots *s = NULL;
    struct error err = { 0 };
    char path[128];

    path_of(*state, "", path);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(chmod(path, 0755), 0);
    assert_int_equal(slots_open(*state, &s, &err), -1);
    assert_int_equal(err.code, ERROR_DENIED);
}

static void
a_damaged_slot_or_a_link_is_no_slot(void **state)
{
    CLEANUP(slots_close) struct slots *s = opened(*state);
    CLEANUP(secret_free) struct secret *bytes = NULL;
    struct error err = { 0 };
    char path[128];

    path_of(*state, "cur", path);
    assert_int_equal(file_replace(path, "\x07junk", 5, 0600, &err), 0);
    assert_int_equal(slots_read(s, SLOT_CUR, &bytes, &err), -1);
    assert_int_equal(err.code, ERROR_INPUT);
    assert_int_equal(slots_set_bad_aside(s, &err), 0);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(slots_read(s, SLOT_CUR, &bytes, &err), -1);
    assert_null(bytes);
}

/* tests/unit/crash_at.c ends the process at its n-th call that changes or syncs the disk. */
extern int crash_at_call;

/* What a start and its orders do with {cur, new, inject}. */
static void
work(const char *folder)
{
    struct slots *s = NULL;
    struct error err = { 0 };
    bool foreign;

    if (slots_open(folder, &s, &err) < 0 || slots_claim(s, &OURS, &foreign, &err) < 0 ||
        slots_make(s, SLOT_NEW, SLOT_PRIVATE, &OURS, 7, &err) < 0 ||
        slots_resolve(s, SLOT_NEW, &err) < 0 ||
        slots_make(s, SLOT_NEW, SLOT_PRIVATE, &OURS, 7, &err) < 0 ||
        slots_resolve(s, SLOT_CUR, &err) < 0)
        _exit(99);
    slots_close(s);
    _exit(0);
}

static void
a_crash_at_any_step_leaves_a_usable_set(void **state)
{
    uint8_t old[32], older[32];
    int status = 1, steps = 0;

    memset(older, 1, sizeof older);
    memset(old, 2, sizeof old);
    for (int n = 1; n < 200; n++, steps++) {
        CLEANUP(slots_close) struct slots *s = NULL;
        CLEANUP(secret_free) struct secret *cur = NULL;
        struct error err = { 0 };
        pid_t pid;

        put(*state, "cur", &OURS, 1);
        put(*state, "new", &OURS, 2);
        put(*state, "inject", &OURS, 3);
        pid = fork();
        if (pid == 0) {
            crash_at_call = n;
            work(*state);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 99);
        s = opened(*state);
        assert_int_equal(slots_read(s, SLOT_CUR, &cur, &err), 0);
        /* The old keys never come back once there was an injected one. */
        assert_memory_not_equal(cur->bytes + 17, old, sizeof old);
        assert_memory_not_equal(cur->bytes + 17, older, sizeof older);
        assert_int_equal(body_of(*state, "inject"), -1);
        if (WEXITSTATUS(status) == 0)
            break;
    }
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_true(steps > 10);
}

static void
count_removed(void *context, const char *name)
{
    assert_true(name[0] != '\0');
    ++*(unsigned *)context;
}

static unsigned
seal(const char *folder)
{
    CLEANUP(slots_close) struct slots *s = NULL;
    struct error err = { 0 };
    unsigned removed = 0;

    if (slots_seal(folder, count_removed, &removed, &s, &err) < 0)
        fail_msg("%s", err.text);
    return removed;
}

static void
sealing_overwrites_and_removes_every_secret(void **state)
{
    static const char *const names[] = { "cur", "new", "inject", "cur.other", "new.other", ".cur.new", "cur.bad", "inject.bad" };
    enum { N = sizeof names / sizeof names[0] };
    struct error err = { 0 };
    int fds[N];
    char path[128];

    assert_int_equal(seal(*state), 0); /* no agent was here */
    path_of(*state, "", path);
    assert_int_not_equal(access(path, F_OK), 0);
    for (int i = 0; i < N; i++) {
        put(*state, names[i], &OURS, 7);
        path_of(*state, names[i], path);
        fds[i] = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fds[i] >= 0);
    }
    assert_int_equal(seal(*state), N);
    for (int i = 0; i < N; i++) {
        uint8_t bytes[SLOT_MAX];
        struct stat st;

        assert_true(read(fds[i], bytes, sizeof bytes) > 17);
        assert_int_equal(bytes[0] | bytes[17], 0);
        assert_true(fstat(fds[i], &st) == 0 && st.st_nlink == 0);
        close(fds[i]);
    }
    assert_int_equal(seal(*state), 0);
    path_of(*state, "inject", path);
    assert_int_equal(file_replace(path, "", 0, 0600, &err), 0);
    assert_int_equal(seal(*state), 1); /* empty ones too */
}

static void
sealing_follows_no_link_and_takes_no_folder(void **state)
{
    CLEANUP(slots_close) struct slots *s = NULL;
    struct error err = { 0 };
    char path[128], target[128];
    unsigned removed = 0;

    put(*state, "cur", &OURS, 5);
    path_of(*state, "cur", path);
    snprintf(target, sizeof target, "%s/elsewhere", (char *)*state);
    assert_int_equal(rename(path, target), 0);
    assert_int_equal(symlink(target, path), 0);
    assert_int_equal(seal(*state), 1);
    path_of(*state, "cur", path);
    assert_int_equal(rename(target, path), 0);
    assert_int_equal(body_of(*state, "cur"), 5);
    path_of(*state, "new", path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(slots_seal(*state, count_removed, &removed, &s, &err), -1);
    assert_int_equal(err.code, ERROR_DENIED);
    assert_null(s);
}

static void
sealing_waits_for_no_agent_and_none_starts_meanwhile(void **state)
{
    CLEANUP(slots_close) struct slots *agent = NULL;
    CLEANUP(slots_close) struct slots *sealed = NULL;
    struct error err = { 0 };
    unsigned removed = 0;

    put(*state, "cur", &OURS, 1);
    agent = opened(*state);
    assert_int_equal(slots_seal(*state, count_removed, &removed, &sealed, &err), -1);
    assert_int_equal(err.code, ERROR_BUSY);
    assert_int_equal(removed, 0);
    assert_int_equal(body_of(*state, "cur"), 1);
    slots_close(STEAL(agent));
    assert_int_equal(slots_seal(*state, count_removed, &removed, &sealed, &err), 0);
    assert_int_equal(slots_open(*state, &agent, &err), -1);
    assert_int_equal(err.code, ERROR_BUSY);
}

/* Half a seal is no seal, and the next one ends it; what is left meanwhile stops no agent. */
static void
a_crash_while_sealing_is_finished_by_the_next(void **state)
{
    int status = 1, steps = 0;

    for (int n = 1; n < 100; n++, steps++) {
        pid_t pid;

        put(*state, "cur", &OURS, 1);
        put(*state, "new", &OURS, 2);
        put(*state, "inject", &OURS, 3);
        pid = fork();
        if (pid == 0) {
            crash_at_call = n;
            (void)seal(*state);
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        if (n % 2)
            slots_close(opened(*state));
        (void)seal(*state);
        assert_int_equal(body_of(*state, "cur"), -1);
        assert_int_equal(body_of(*state, "new"), -1);
        assert_int_equal(seal(*state), 0);
        if (WEXITSTATUS(status) == 0)
            break;
    }
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_in_range(steps, 5, 50);
}

#define IN_FOLDER(name) cmocka_unit_test_setup_teardown(name, new_folder, remove_folder)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(an_empty_folder_gets_a_lasting_secret),
        IN_FOLDER(a_unique_slot_has_64_random_bytes),
        IN_FOLDER(an_injected_slot_becomes_cur_and_new_goes),
        IN_FOLDER(a_damaged_injected_slot_replaces_nothing),
        IN_FOLDER(a_new_folder_is_durable_before_a_secret_is_in_it),
        IN_FOLDER(resolve_keeps_the_named_one),
        IN_FOLDER(the_slot_of_another_vm_is_set_aside_and_comes_back_for_it),
        IN_FOLDER(two_false_greetings_do_not_lose_the_first_secret),
        IN_FOLDER(what_was_set_aside_is_wiped_when_the_own_is_accepted),
        IN_FOLDER(a_second_opener_is_told_so),
        IN_FOLDER(a_folder_open_to_others_is_refused),
        IN_FOLDER(a_damaged_slot_or_a_link_is_no_slot),
        IN_FOLDER(a_crash_at_any_step_leaves_a_usable_set),
        IN_FOLDER(sealing_overwrites_and_removes_every_secret),
        IN_FOLDER(sealing_follows_no_link_and_takes_no_folder),
        IN_FOLDER(sealing_waits_for_no_agent_and_none_starts_meanwhile),
        IN_FOLDER(a_crash_while_sealing_is_finished_by_the_next),
    };

    return cmocka_run_group_tests_name("slots", tests, NULL, NULL);
}
