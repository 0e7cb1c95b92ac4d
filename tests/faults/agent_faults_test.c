/*
 * agent_faults_test.c - the VM's secret in the guest, on a disk that fails at each call and without memory
 *
 * What the service was shown stays what the guest has: a secret that is used is never lost, never another one.
 */
#include "config.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "guestagent/slots.h"
#include "lib/common/fdio.h"
#include "tests/faults/alloc_fault.h"
#include "tests/faults/durable.h"
#include "tests/faults/fault.h"
#include "tests/faults/fault_run.h"

enum { OLD = 1, NEXT = 2, INJECTED = 3, FOREIGN = 9, AT_UUID = 1, AT_BODY = 17 };

static const struct vm_uuid OURS = { { 1, 2, 3 } }, THEIRS = { { 9 } };

/* What was said before the process went: to the service, or to whoever ran the command. */
struct slot_acks {
    bool used, resolved, dropped, forgetting, forgot, sealed;
    uint8_t secret[SLOT_MAX];
    size_t secret_len;
};

/* ---- slots ---- */

static void
path_of(const char *folder, const char *name, char ret[static 300])
{
    snprintf(ret, 300, "%s/slots/%s", folder, name);
}

/* A private key of nothing but `body`. */
static void
put(const char *folder, const char *name, const struct vm_uuid *uuid, uint8_t body)
{
    struct slot s = { .kind = SLOT_PRIVATE, .uuid = *uuid };
    uint8_t bytes[SLOT_MAX];
    struct error err;
    char path[300];
    size_t len;

    path_of(folder, "", path);
    assert_int_equal(dir_make(path, 0700, &err), 0);
    memset(s.body, body, SLOT_PRIVATE_LEN);
    len = slot_encode(&s, bytes);
    path_of(folder, name, path);
    assert_int_equal(file_replace(path, bytes, len, 0600, &err), 0);
}

/* The first byte of a slot's body as it lies there, -1: none. */
static int
body_there(const char *folder, const char *name)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(SLOT_MAX);
    struct error err;
    char path[300];

    path_of(folder, name, path);
    return file_read(path, &bytes, &err) == 0 && bytes.len > AT_BODY ? bytes.data[AT_BODY] : -1;
}

static bool
is_there(const char *folder, const char *name)
{
    char path[300];

    path_of(folder, name, path);
    return access(path, F_OK) == 0;
}

/* 1 and *ret, 0 there is none, -1 it can not be read. */
static int
read_slot(struct slots *s, enum slot_name which, struct secret **ret)
{
    struct error err = { 0 };

    if (slots_read(s, which, ret, &err) == 0)
        return 1;
    assert_int_not_equal(err.code, ERROR_INPUT); /* never half of one */
    return err.code == ERROR_MISSING ? 0 : -1;
}

static int
body_of(struct slots *s, enum slot_name which)
{
    CLEANUP(secret_free) struct secret *secret = NULL;
    int found = read_slot(s, which, &secret);

    return found == 1 ? secret->bytes[AT_BODY] : found == 0 ? 0 : -1;
}

/* As before each proof: from here on the service knows the secret. */
static int
use_secret(struct slots *s, struct slot_acks *a)
{
    CLEANUP(secret_free) struct secret *secret = NULL;
    struct error err;
    int found = read_slot(s, SLOT_CUR, &secret);

    if (found == 0) {
        assert_false(a->used);
        if (slots_make(s, SLOT_CUR, SLOT_PRIVATE, &OURS, 7, &err) < 0)
            return -1;
        found = read_slot(s, SLOT_CUR, &secret);
    }
    if (found != 1)
        return -1;
    assert_memory_equal(secret->bytes + AT_UUID, OURS.bytes, sizeof OURS.bytes);
    if (a->used)
        assert_memory_equal(secret->bytes, a->secret, a->secret_len);
    memcpy(a->secret, secret->bytes, secret->len);
    a->secret_len = secret->len;
    a->used = true;
    return 0;
}

static void
assert_used_is_there(const char *folder, const struct slot_acks *a)
{
    CLEANUP(slots_close) struct slots *s = NULL;
    CLEANUP(secret_free) struct secret *secret = NULL;
    struct error err = { 0 };

    if (slots_open(folder, &s, &err) < 0)
        fail_msg("%s", err.text);
    if (!a->used)
        return;
    assert_int_equal(read_slot(s, SLOT_CUR, &secret), 1);
    assert_int_equal(secret->len, a->secret_len);
    assert_memory_equal(secret->bytes, a->secret, a->secret_len);
}

/* Nothing half-written stays behind an agent's start. */
static void
assert_only_slots(const char *folder)
{
    char path[300];
    const struct dirent *e;
    DIR *dir;

    path_of(folder, "", path);
    dir = opendir(path);
    assert_non_null(dir);
    while ((e = readdir(dir))) {
        if (e->d_name[0] == '.' && strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
            strcmp(e->d_name, ".lock") != 0)
            fail_msg("left over: %s", e->d_name);
    }
    closedir(dir);
}

/* ---- the first secret ---- */

static int
first_work(const char *folder, void *acks)
{
    CLEANUP(slots_close) struct slots *s = NULL;
    struct error err;
    bool foreign;

    if (slots_open(folder, &s, &err) < 0 || slots_claim(s, &OURS, &foreign, &err) < 0)
        return -1;
    return use_secret(s, acks);
}

static void
first_check(const char *folder, const void *acks)
{
    assert_used_is_there(folder, acks);
    assert_only_slots(folder);
}

static const struct fault_case FIRST = {
    .name = "first secret", .work = first_work, .check = first_check, .decides = "sd", .every = 7
};

/* ---- an injected one ---- */

static void
injected(const char *folder)
{
    put(folder, "cur", &OURS, OLD);
    put(folder, "new", &OURS, NEXT);
    put(folder, "inject", &OURS, INJECTED);
}

/* Whatever the agent did before: with the first start that succeeds it is the injected one, and no other. */
static void
injected_check(const char *folder, const void *acks)
{
    CLEANUP(slots_close) struct slots *s = NULL;
    struct error err = { 0 };

    (void)acks;
    if (slots_open(folder, &s, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(body_of(s, SLOT_CUR), INJECTED);
    assert_int_equal(body_of(s, SLOT_NEW), 0);
    assert_int_equal(body_there(folder, "inject"), -1);
    assert_only_slots(folder);
}

static int
injected_work(const char *folder, void *acks)
{
    struct slot_acks *a = acks;
    int outcome = first_work(folder, acks);

    if (a->used)
        assert_int_equal(a->secret[AT_BODY], INJECTED);
    return outcome;
}

static const struct fault_case INJECT = {
    .name = "injected secret", .prepare = injected, .work = injected_work, .check = injected_check, .decides = "sd",
    .every = 7
};

/* ---- the service said which one counts ---- */

static void
both(const char *folder)
{
    put(folder, "cur", &OURS, OLD);
    put(folder, "new", &OURS, NEXT);
}

/* It took the new one; and then not the one after that. */
static int
resolve_work(const char *folder, void *acks)
{
    CLEANUP(slots_close) struct slots *s = NULL;
    struct slot_acks *a = acks;
    struct error err;
    int next;

    if (slots_open(folder, &s, &err) < 0)
        return -1;
    next = body_of(s, SLOT_NEW);
    if (next < 0 || (!a->resolved && next > 0 && slots_resolve(s, SLOT_NEW, &err) < 0))
        return -1;
    a->resolved = true;
    if (!a->dropped && slots_make(s, SLOT_NEW, SLOT_PRIVATE, &OURS, 7, &err) < 0)
        return -1;
    if (slots_resolve(s, SLOT_CUR, &err) < 0)
        return -1;
    a->dropped = true;
    return 0;
}

static void
resolve_check(const char *folder, const void *acks)
{
    CLEANUP(slots_close) struct slots *s = NULL;
    const struct slot_acks *a = acks;
    struct error err = { 0 };
    int now;

    if (slots_open(folder, &s, &err) < 0)
        fail_msg("%s", err.text);
    now = body_of(s, SLOT_CUR);
    assert_true(now == NEXT || (now == OLD && !a->resolved));
    if (now == OLD) /* until then either may be the one */
        assert_int_equal(body_of(s, SLOT_NEW), NEXT);
    if (a->dropped)
        assert_int_equal(body_of(s, SLOT_NEW), 0);
    assert_only_slots(folder);
}

static const struct fault_case RESOLVE = {
    .name = "resolved secrets", .prepare = both, .work = resolve_work, .check = resolve_check, .decides = "sd",
    .every = 7
};

/* ---- another VM's ---- */

static void
theirs(const char *folder)
{
    put(folder, "cur", &THEIRS, FOREIGN);
    put(folder, "new", &THEIRS, FOREIGN);
}

static int
foreign_work(const char *folder, void *acks)
{
    CLEANUP(slots_close) struct slots *s = NULL;
    struct slot_acks *a = acks;
    struct error err;
    bool foreign;

    if (slots_open(folder, &s, &err) < 0 || slots_claim(s, &OURS, &foreign, &err) < 0 || use_secret(s, a) < 0)
        return -1;
    a->forgetting = true;
    if (slots_forget_others(s, &err) < 0)
        return -1;
    a->forgot = true;
    return 0;
}

/* A false greeting delays and destroys nothing: until ours was accepted, theirs is there. */
static void
foreign_check(const char *folder, const void *acks)
{
    const struct slot_acks *a = acks;

    if (a->used)
        assert_used_is_there(folder, a);
    if (!a->forgetting)
        assert_true(body_there(folder, "cur") == FOREIGN || body_there(folder, "cur.other") == FOREIGN);
    if (a->forgot)
        assert_false(is_there(folder, "cur.other") || is_there(folder, "new.other"));
}

static const struct fault_case OTHERS = {
    .name = "another VM's secrets", .prepare = theirs, .work = foreign_work, .check = foreign_check, .decides = "sd",
    .every = 7
};

/* ---- a template ---- */

static void
worn(const char *folder)
{
    char path[300];
    struct error err;

    injected(folder);
    put(folder, "cur.other", &THEIRS, FOREIGN);
    path_of(folder, "cur.bad", path);
    assert_int_equal(file_replace(path, "damaged", 7, 0600, &err), 0);
}

static void
ignore_name(void *context, const char *name)
{
    (void)context;
    (void)name;
}

static int
seal_work(const char *folder, void *acks)
{
    CLEANUP(slots_close) struct slots *s = NULL;
    struct slot_acks *a = acks;
    struct error err;

    if (slots_seal(folder, ignore_name, NULL, &s, &err) < 0)
        return -1;
    a->sealed = true;
    return 0;
}

/* Who was told that it is sealed copies it. */
static void
seal_check(const char *folder, const void *acks)
{
    static const char *const names[] = { "cur", "new", "inject", "cur.other", "cur.bad" };
    const struct slot_acks *a = acks;

    for (size_t i = 0; a->sealed && i < sizeof names / sizeof *names; i++)
        assert_false(is_there(folder, names[i]));
}

static const struct fault_case SEAL = {
    .name = "sealed template", .prepare = worn, .work = seal_work, .check = seal_check, .decides = "sd", .every = 7
};

/* ---- without memory ---- */

static const struct fault_case *counted_case;
static char counted_folder[32];
static struct slot_acks counted_acks;

static int
counted_work(void)
{
    int outcome;

    if (counted_folder[0])
        tree_remove(counted_folder);
    strcpy(counted_folder, "/tmp/virtid-slots-XXXXXX");
    assert_non_null(mkdtemp(counted_folder));
    memset(&counted_acks, 0, sizeof counted_acks);
    if (counted_case->prepare)
        counted_case->prepare(counted_folder);
    alloc_fault_on();
    outcome = counted_case->work(counted_folder, &counted_acks);
    alloc_fault_off();
    return outcome;
}

/* What was begun is finished once there is memory again. */
static void
counted_check(bool done)
{
    (void)done;
    counted_case->check(counted_folder, &counted_acks);
    assert_int_equal(counted_case->work(counted_folder, &counted_acks), 0);
    counted_case->check(counted_folder, &counted_acks);
}

/* ---- tests ---- */

static const struct fault_case *const CASES[] = { &FIRST, &INJECT, &RESOLVE, &OTHERS, &SEAL };
enum { CASE_COUNT = sizeof CASES / sizeof CASES[0] };

static void
a_used_secret_survives_a_kill_at_every_write(void **state)
{
    unsigned violations = 0;

    (void)state;
    for (size_t i = 0; i < CASE_COUNT; i++)
        violations += fault_run_crashes(CASES[i]).violations;
    assert_int_equal(violations, 0);
}

static void
a_used_secret_survives_a_failure_of_every_call(void **state)
{
    unsigned violations = 0;

    (void)state;
    for (size_t i = 0; i < CASE_COUNT; i++)
        violations += fault_run_errors(CASES[i]).violations;
    assert_int_equal(violations, 0);
}

static void
a_used_secret_survives_a_full_disk(void **state)
{
    bool skipped = false;

    (void)state;
    /* Which one counts is settled without room: what is renamed over leaves its own. */
    assert_int_equal(fault_run_full(&FIRST, &skipped).violations, 0);
    if (skipped)
        skip();
}

static void
a_used_secret_survives_a_lack_of_memory(void **state)
{
    unsigned violations = 0;

    (void)state;
    for (size_t i = 0; i < CASE_COUNT; i++) {
        const struct alloc_case memory = { CASES[i]->name, counted_work, counted_check, .every = 7 };

        counted_case = CASES[i];
        violations += alloc_fault_run(&memory).violations;
    }
    assert_int_equal(violations, 0);
}

static int
set_up(void **state)
{
    (void)state;
    fault_folder_make();
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    fault_folder_remove();
    if (counted_folder[0])
        tree_remove(counted_folder);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_used_secret_survives_a_kill_at_every_write),
        cmocka_unit_test(a_used_secret_survives_a_failure_of_every_call),
        cmocka_unit_test(a_used_secret_survives_a_full_disk),
        cmocka_unit_test(a_used_secret_survives_a_lack_of_memory),
    };

    return cmocka_run_group_tests_name("agent_faults", tests, set_up, tear_down);
}
