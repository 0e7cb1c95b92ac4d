/*
 * keys_faults_test.c - the signer's folder on a disk that fails at each call: `virtid-signer --init` makes all keys or
 * none; keys that sign tokens turn, or stay as they were
 */
#include "config.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "tests/faults/fault.h"
#include "tests/faults/fault_run.h"
#include "tokenservice/mint/signer_ca.h"
#include "tokenservice/mint/signer_init.h"
#include "tokenservice/mint/signer_keys.h"
#include "tokenservice/mint/signer_turn.h"

struct keys_acks {
    bool made;
    char kid[MINT_KID_MAX + 1];
};

static void
keys_dir(const char *folder, char ret[static 128])
{
    snprintf(ret, 128, "%s/keys", folder);
}

static int
init_work(const char *folder, void *acks)
{
    char path[128];
    struct signer_init init = { .key_dir = path,
                                .trust_domain = "example.test",
                                .issuer = "https://id.example.test:8443",
                                .names = "localhost 127.0.0.1",
                                .guests = "id.example.test:8445",
                                .test = true };
    struct keys_acks *a = acks;
    struct error err = { 0 };

    keys_dir(folder, path);
    if (signer_init(&init, clock_realtime_ms() / 1000, &err) < 0) {
        CLEANUP(signer_keys_free) struct signer_keys *keys = NULL;
        struct error why;

        /* Told no, at the very last step perhaps: then it is there all the same, and whole. */
        if (err.code != ERROR_DENIED || signer_keys_load(path, &keys, &why) < 0)
            return -1;
    }
    a->made = true;
    return 0;
}

static void
keys_check(const char *folder, const void *acks)
{
    CLEANUP(signer_keys_free) struct signer_keys *keys = NULL;
    struct keys_acks *a = (struct keys_acks *)(uintptr_t)acks;
    const struct dirent *entry;
    struct error err = { 0 };
    char path[128];
    DIR *list;

    keys_dir(folder, path);
    if (signer_keys_load(path, &keys, &err) < 0) {
        assert_false(a->made);
        return;
    }
    /* Keys that were there once are the same ever after. */
    if (a->kid[0])
        assert_string_equal(keys->info.kid, a->kid);
    snprintf(a->kid, sizeof a->kid, "%s", keys->info.kid);
    list = opendir(path);
    assert_non_null(list);
    while ((entry = readdir(list))) {
        if (entry->d_name[0] == '.' && strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            fail_msg("left over: %s", entry->d_name);
    }
    closedir(list);
}

static const struct fault_case INIT = { .name = "init", .work = init_work, .check = keys_check, .decides = "sd" };

/* ---- the ring turns: by time, by an operator, in an emergency ---- */

enum { T0 = 1700000000, DAY = 86400, STEPS = 5 };

/* After each step: which key signed, which was next, which must never come back. */
struct turn_acks {
    unsigned done;
    char active[MINT_KID_MAX + 1], next[MINT_KID_MAX + 1], revoked[MINT_KID_MAX + 1], bound[MINT_KID_MAX + 1];
};

static void
make_folder(const char *folder)
{
    struct keys_acks ignored = { .made = false };

    assert_int_equal(init_work(folder, &ignored), 0);
}

static bool
has_kid(const struct signer_keys *keys, const char *kid)
{
    return strstr(keys->info.jwks, kid) != NULL;
}

static int
do_step(struct signer_keys *keys, unsigned step, struct error *err)
{
    int64_t now = T0 + (int64_t)step * 31 * DAY;

    signer_tick(keys, now, now);
    if (step == 2)
        return signer_rotate(keys, RING_TOKEN, err);
    if (step == 3)
        return signer_revoke(keys, keys->info.kid, err);
    return keys->trouble.code == ERROR_NONE ? 0 : -1;
}

static void
acknowledge(struct turn_acks *a, const struct signer_keys *keys, unsigned step, const char *before)
{
    const struct ring_key *next = key_ring_find(&keys->rings.of[RING_TOKEN], MINT_KEY_NEXT);

    if (step == 3)
        strcpy(a->revoked, before);
    strcpy(a->active, keys->info.kid);
    strcpy(a->bound, keys->info.bound_kid);
    strcpy(a->next, next ? next->kid : "");
    a->done = step + 1;
}

static int
turn_work(const char *folder, void *acks)
{
    CLEANUP(signer_keys_free) struct signer_keys *keys = NULL;
    struct turn_acks *a = acks;
    struct error err = { 0 };
    char path[128], before[MINT_KID_MAX + 1];

    keys_dir(folder, path);
    if (signer_keys_load(path, &keys, &err) < 0)
        return -1;
    keys->interval = 30 * DAY;
    for (unsigned step = a->done; step < STEPS; step++) {
        signer_tick(keys, T0 + (int64_t)step * 31 * DAY, T0 + (int64_t)step * 31 * DAY);
        strcpy(before, keys->info.kid);
        if (do_step(keys, step, &err) < 0 && strcmp(err.problem, "key-young") != 0)
            return -1;
        acknowledge(a, keys, step, before);
    }
    return 0;
}

static void
turn_check(const char *folder, const void *acks)
{
    CLEANUP(signer_keys_free) struct signer_keys *keys = NULL;
    const struct turn_acks *a = acks;
    struct error err = { 0 };
    char path[128];

    keys_dir(folder, path);
    if (signer_keys_load(path, &keys, &err) < 0)
        fail_msg("%s", err.text);
    assert_in_range(keys->rings.of[RING_TOKEN].n, 1, KEY_RING_MAX);
    if (a->revoked[0])
        assert_false(has_kid(keys, a->revoked));
    /* Nobody revokes those of bound tokens: what signed is there, as long as its tokens may be. */
    if (a->done > 0)
        assert_true(a->bound[0] && strstr(keys->info.bound_jwks, a->bound) != NULL);
    /* What signed is there still, or was revoked by the step that was cut; what signs now was known before, or is
     * the fresh one of that step. */
    if (a->done > 0 && !(a->done == 3 && !has_kid(keys, a->active)) && a->done < STEPS)
        assert_true(has_kid(keys, a->active) || has_kid(keys, a->next));
    if (a->done > 0 && a->done != 3)
        assert_true(strcmp(keys->info.kid, a->active) == 0 || strcmp(keys->info.kid, a->next) == 0);
}

/* A sync that fails in one half of the file is made up for: it need not refuse. */
static const struct fault_case TURN = { .name = "turn", .prepare = make_folder, .work = turn_work, .check = turn_check };

/* ---- the CAs turn, twice ---- */

enum { CA_STEPS = 4, FIRST_MAX = 2048 };

struct ca_acks {
    unsigned done;
    char active[MINT_KID_MAX + 1], next[MINT_KID_MAX + 1];
    uint8_t first[FIRST_MAX]; /* the bundle that a guest holds all the time */
    size_t first_len;
};

static const char *
kid_of(const struct signer_keys *keys, enum mint_key_state state)
{
    const struct ca_pair *pair = ca_set_find(&keys->cas, state);

    return pair ? pair->kid : "";
}

static int
ca_work(const char *folder, void *acks)
{
    CLEANUP(signer_keys_free) struct signer_keys *keys = NULL;
    struct ca_acks *a = acks;
    struct error err = { 0 };
    char path[128], kid[MINT_KID_MAX + 1];

    keys_dir(folder, path);
    if (signer_keys_load(path, &keys, &err) < 0)
        return -1;
    if (a->first_len == 0) {
        assert_true(keys->cas.bundle_len <= sizeof a->first);
        memcpy(a->first, keys->cas.bundle, keys->cas.bundle_len);
        a->first_len = keys->cas.bundle_len;
    }
    for (unsigned step = a->done; step < CA_STEPS; step++) {
        strcpy(kid, kid_of(keys, MINT_KEY_NEXT));
        if (signer_ca_tick(keys, T0, &err) < 0 ||
            (step % 2 == 0 ? signer_ca_publish(keys, T0, &err)
                           : signer_ca_turn(keys, kid[0] ? kid : a->next, T0, &err)) < 0)
            return -1;
        strcpy(a->active, kid_of(keys, MINT_KEY_ACTIVE));
        strcpy(a->next, kid_of(keys, MINT_KEY_NEXT)[0] ? kid_of(keys, MINT_KEY_NEXT) : a->active);
        a->done = step + 1;
    }
    return 0;
}

/* What was acknowledged stands, or what comes behind it; and the guest of before comes to it. */
static void
ca_check(const char *folder, const void *acks)
{
    CLEANUP(signer_keys_free) struct signer_keys *keys = NULL;
    const struct ca_acks *a = acks;
    struct bundle held, next;
    struct error err = { 0 };
    char path[128];

    keys_dir(folder, path);
    if (signer_keys_load(path, &keys, &err) < 0)
        fail_msg("%s", err.text);
    if (a->done > 0) {
        /* A turn is the link and the bundle behind it. */
        assert_in_range(keys->cas.serial, T0 - 1 + a->done + a->done / 2, T0 + a->done + (a->done + 1) / 2);
        assert_true(strcmp(kid_of(keys, MINT_KEY_ACTIVE), a->active) == 0 ||
                    strcmp(kid_of(keys, MINT_KEY_ACTIVE), a->next) == 0);
    }
    if (a->first_len == 0)
        return;
    assert_int_equal(bundle_decode(a->first, a->first_len, &held, &err), 0);
    while (held.serial < keys->cas.serial) {
        CLEANUP(buf_clear) struct buf step = BUF(BUNDLE_MAX);

        assert_int_equal(signer_ca_bundle(keys, held.serial, &step, &err), 0);
        assert_int_equal(bundle_accept(&held, step.data, step.len, &next, &err), 0);
        held = next;
    }
}

static const struct fault_case CAS = { .name = "cas", .prepare = make_folder, .work = ca_work, .check = ca_check };

/* ---- a folder of an earlier version, with its one key ---- */

static char old_kid[MINT_KID_MAX + 1];

static void
make_old_folder(const char *folder)
{
    CLEANUP(signer_keys_free) struct signer_keys *keys = NULL;
    CLEANUP(buf_clear) struct buf pem = BUF(SIGNER_PEM_MAX);
    struct error err = { 0 };
    char path[128], file[192];

    make_folder(folder);
    keys_dir(folder, path);
    assert_int_equal(signer_keys_load(path, &keys, &err), 0);
    strcpy(old_kid, keys->info.kid);
    snprintf(file, sizeof file, "%s/" SIGNER_FILE_TOKEN, path);
    assert_int_equal(key_to_pem(keys->signs[RING_TOKEN], &pem, &err), 0);
    assert_int_equal(file_replace(file, pem.data, pem.len, 0600, &err), 0);
    snprintf(file, sizeof file, "%s/" SIGNER_FILE_TOKENS, path);
    assert_int_equal(unlink(file), 0);
}

static int
take_over_work(const char *folder, void *acks)
{
    CLEANUP(signer_keys_free) struct signer_keys *keys = NULL;
    struct keys_acks *a = acks;
    struct error err = { 0 };
    char path[128];

    keys_dir(folder, path);
    if (signer_keys_load(path, &keys, &err) < 0)
        return -1;
    a->made = strcmp(keys->info.kid, old_kid) == 0;
    return a->made ? 0 : -1;
}

static void
take_over_check(const char *folder, const void *acks)
{
    struct keys_acks again = { .made = false };

    (void)acks;
    assert_int_equal(take_over_work(folder, &again), 0);
}

static const struct fault_case TAKE_OVER = { .name = "take over",
                                             .prepare = make_old_folder,
                                             .work = take_over_work,
                                             .check = take_over_check,
                                             .decides = "s" };

static void
keys_that_turn_are_whole_after_a_kill_at_any_write(void **state)
{
    (void)state;
    assert_int_equal(fault_run_crashes(&TURN).violations, 0);
}

static void
keys_that_turn_are_whole_after_a_failure_of_any_call(void **state)
{
    (void)state;
    assert_int_equal(fault_run_errors(&TURN).violations, 0);
}

static void
cas_that_turn_are_whole_after_a_kill_at_any_write(void **state)
{
    (void)state;
    assert_int_equal(fault_run_crashes(&CAS).violations, 0);
}

static void
cas_that_turn_are_whole_after_a_failure_of_any_call(void **state)
{
    (void)state;
    assert_int_equal(fault_run_errors(&CAS).violations, 0);
}

static void
an_old_key_is_taken_over_through_a_kill_at_any_write(void **state)
{
    (void)state;
    assert_int_equal(fault_run_crashes(&TAKE_OVER).violations, 0);
}

static void
an_old_key_is_taken_over_through_a_failure_of_any_call(void **state)
{
    (void)state;
    assert_int_equal(fault_run_errors(&TAKE_OVER).violations, 0);
}

static void
init_that_is_killed_at_any_write_begins_anew(void **state)
{
    (void)state;
    assert_int_equal(fault_run_crashes(&INIT).violations, 0);
}

static void
init_that_fails_at_any_call_begins_anew(void **state)
{
    (void)state;
    assert_int_equal(fault_run_errors(&INIT).violations, 0);
}

static void
init_on_a_full_disk_begins_anew(void **state)
{
    bool skipped;

    (void)state;
    assert_int_equal(fault_run_full(&INIT, &skipped).violations, 0);
    if (skipped)
        skip();
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
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_that_is_killed_at_any_write_begins_anew),
        cmocka_unit_test(init_that_fails_at_any_call_begins_anew),
        cmocka_unit_test(init_on_a_full_disk_begins_anew),
        cmocka_unit_test(keys_that_turn_are_whole_after_a_kill_at_any_write),
        cmocka_unit_test(keys_that_turn_are_whole_after_a_failure_of_any_call),
        cmocka_unit_test(cas_that_turn_are_whole_after_a_kill_at_any_write),
        cmocka_unit_test(cas_that_turn_are_whole_after_a_failure_of_any_call),
        cmocka_unit_test(an_old_key_is_taken_over_through_a_kill_at_any_write),
        cmocka_unit_test(an_old_key_is_taken_over_through_a_failure_of_any_call),
    };

    return cmocka_run_group_tests_name("keys_faults", tests, set_up, tear_down);
}
