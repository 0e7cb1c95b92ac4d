/*
 * keys_faults_test.c - `virtid-signer --init` on a disk that fails at each call: all keys or none
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
#include "tests/faults/fault.h"
#include "tests/faults/fault_run.h"
#include "tokenservice/mint/signer_init.h"
#include "tokenservice/mint/signer_keys.h"

struct keys_acks {
    bool made;
    char kid[64];
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
    };

    return cmocka_run_group_tests_name("keys_faults", tests, set_up, tear_down);
}
