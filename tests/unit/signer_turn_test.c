/*
 * The signer's ring in its folder: turned by ticks, through restarts, clocks that are set, a folder of an earlier
 * version, a file that was cut, a disk that fails.
 */
#include "config.h"

#include "tests/unit/mint_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/fdio.h"
#include "lib/wire/token.h"
#include "tokenservice/mint/signer_turn.h"

enum { DAY = 86400 };

static struct signer_keys *keys;
static int64_t t0, passed0 = 5000;

static void
load(void)
{
    signer_keys_free(keys);
    keys = NULL;
    if (signer_keys_load(the_mint.key_dir, &keys, &the_mint.err) < 0)
        fail_msg("%s", the_mint.err.text);
}

static void
tick(int64_t seconds)
{
    signer_tick(keys, t0 + seconds, passed0 + seconds);
}

static void
assert_published(size_t n)
{
    CLEANUP(jwks_free) struct jwks *jwks = NULL;

    assert_int_equal(jwks_parse(keys->info.jwks, strlen(keys->info.jwks), &jwks, &the_mint.err), 0);
    assert_int_equal(jwks_count(jwks), n);
    assert_int_equal(keys->rings.of[RING_TOKEN].n, n);
    assert_non_null(strstr(keys->info.jwks, keys->info.kid));
}

/* A folder of its own for each test: its one key is t0 old. */
static int
fresh_folder(void **state)
{
    struct key_rings rings = { 0 };
    CLEANUP(key_free) struct key *key = NULL;
    CLEANUP(fd_close) int dir = open(the_mint.key_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    (void)state;
    t0 = 1700000000;
    if (dir < 0 || key_generate(&key, &the_mint.err) < 0 || key_ring_begin(key, t0, &rings.of[RING_TOKEN], &the_mint.err) < 0 ||
        key_file_make(dir, SIGNER_FILE_TOKENS, &rings, &the_mint.err) < 0)
        return -1;
    load();
    return 0;
}

static int
free_keys(void **state)
{
    (void)state;
    signer_keys_free(keys);
    keys = NULL;
    return 0;
}

static void
ticks_turn_the_ring_and_publish_it(void **state)
{
    char first[MINT_KID_MAX + 1];

    (void)state;
    strcpy(first, keys->info.kid);
    tick(0);
    assert_published(2);
    tick(30 * DAY - 1);
    assert_string_equal(keys->info.kid, first);
    tick(30 * DAY);
    assert_string_not_equal(keys->info.kid, first);
    assert_published(3);
    assert_non_null(strstr(keys->info.jwks, first));
    tick(30 * DAY + KEY_RETIRE_SECONDS);
    assert_published(2);
    assert_null(strstr(keys->info.jwks, first));
}

static void
the_interval_is_the_configured_one(void **state)
{
    char first[MINT_KID_MAX + 1];

    (void)state;
    strcpy(first, keys->info.kid);
    keys->interval = 2 * DAY;
    tick(0);
    tick(2 * DAY - 1);
    assert_string_equal(keys->info.kid, first);
    tick(2 * DAY);
    assert_string_not_equal(keys->info.kid, first);
}

static void
a_restart_goes_on_where_it_was(void **state)
{
    char first[MINT_KID_MAX + 1], jwks[MINT_JWKS_MAX + 1];

    (void)state;
    strcpy(first, keys->info.kid);
    tick(0);
    strcpy(jwks, keys->info.jwks);
    load();
    assert_string_equal(keys->info.jwks, jwks);
    passed0 = 3; /* the machine was started anew */
    tick(20 * DAY);
    assert_string_equal(keys->info.jwks, jwks);
    load();
    tick(30 * DAY);
    strcpy(jwks, keys->info.jwks);
    assert_string_not_equal(keys->info.kid, first);
    load(); /* while the old one retires */
    assert_string_equal(keys->info.jwks, jwks);
    tick(30 * DAY + KEY_RETIRE_SECONDS);
    assert_published(2);
}

static void
no_byte_of_a_key_that_is_gone_is_left(void **state)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(2 * KEY_FILE_LEN);
    uint8_t first[KEY_PRIVATE_LEN];
    char path[128];

    (void)state;
    memcpy(first, keys->rings.of[RING_TOKEN].keys[0].scalar, sizeof first);
    snprintf(path, sizeof path, "%s/%s", the_mint.key_dir, SIGNER_FILE_TOKENS);
    tick(0);
    assert_int_equal(file_read(path, &bytes, &the_mint.err), 0);
    assert_non_null(memmem(bytes.data, bytes.len, first, sizeof first));
    buf_clear(&bytes);
    tick(30 * DAY);
    tick(31 * DAY);
    assert_int_equal(file_read(path, &bytes, &the_mint.err), 0);
    assert_int_equal(bytes.len, KEY_FILE_LEN);
    assert_null(memmem(bytes.data, bytes.len, first, sizeof first));
}

static void
a_clock_set_while_it_runs_turns_nothing(void **state)
{
    static const int64_t steps[] = { 400 * (int64_t)DAY, -400 * (int64_t)DAY, 61, -61 };
    char jwks[MINT_JWKS_MAX + 1];

    (void)state;
    tick(0);
    strcpy(jwks, keys->info.jwks);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        t0 += steps[i];
        tick(10 + (int64_t)i);
        assert_string_equal(keys->info.jwks, jwks);
        load(); /* what was shifted is kept */
        tick(20 + (int64_t)i);
        assert_string_equal(keys->info.jwks, jwks);
    }
    tick(30 * DAY - 3600);
    assert_string_equal(keys->info.jwks, jwks);
    tick(30 * DAY + 3600);
    assert_string_not_equal(keys->info.jwks, jwks);
}

static void
a_clock_that_jumps_to_and_fro_burns_no_key(void **state)
{
    char jwks[MINT_JWKS_MAX + 1];

    (void)state;
    tick(0);
    strcpy(jwks, keys->info.jwks);
    for (int i = 0; i < 50; i++) {
        signer_tick(keys, i % 2 ? t0 + 3650 * (int64_t)DAY : t0, passed0 + i);
        assert_string_equal(keys->info.jwks, jwks);
    }
}

static void
a_clock_steered_in_small_steps_is_believed(void **state)
{
    int64_t since;

    (void)state;
    tick(0);
    since = keys->rings.of[RING_TOKEN].keys[0].since;
    for (int i = 1; i < 20; i++)
        signer_tick(keys, t0 + 10 * i, passed0 + 9 * i);
    assert_int_equal(keys->rings.of[RING_TOKEN].keys[0].since, since);
}

static void
the_key_of_an_earlier_version_goes_on(void **state)
{
    CLEANUP(buf_clear) struct buf pem = BUF(SIGNER_PEM_MAX);
    char kid[MINT_KID_MAX + 1], old[128], tokens[128];
    struct timespec times[2] = { { .tv_sec = 1690000000 }, { .tv_sec = 1690000000 } };
    struct stat st;

    (void)state;
    strcpy(kid, keys->info.kid);
    snprintf(old, sizeof old, "%s/%s", the_mint.key_dir, SIGNER_FILE_TOKEN);
    snprintf(tokens, sizeof tokens, "%s/%s", the_mint.key_dir, SIGNER_FILE_TOKENS);
    assert_int_equal(key_to_pem(keys->signs[RING_TOKEN], &pem, &the_mint.err), 0);
    assert_int_equal(file_replace(old, pem.data, pem.len, 0600, &the_mint.err), 0);
    assert_int_equal(utimensat(AT_FDCWD, old, times, 0), 0);
    assert_int_equal(unlink(tokens), 0);
    load();
    assert_string_equal(keys->info.kid, kid);
    assert_int_equal(keys->rings.of[RING_TOKEN].keys[0].made, 1690000000); /* as old as the file */
    assert_int_equal(stat(tokens, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(access(old, F_OK), -1);
    tick(0);
    assert_string_equal(keys->info.kid, kid); /* nobody knows the next one yet */
    tick(KEY_PUBLISH_SECONDS);
    assert_string_not_equal(keys->info.kid, kid);
    /* A take-over that was cut before its last step: the ring counts. */
    assert_int_equal(file_replace(old, pem.data, pem.len, 0600, &the_mint.err), 0);
    load();
    assert_string_not_equal(keys->info.kid, kid);
    assert_int_equal(access(old, F_OK), -1);
}

static void
spoil(off_t at)
{
    char path[128];
    CLEANUP(fd_close) int fd = -1;

    snprintf(path, sizeof path, "%s/%s", the_mint.key_dir, SIGNER_FILE_TOKENS);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "spoilt", 6, at), 6);
}

static void
either_half_of_the_file_is_enough(void **state)
{
    char jwks[MINT_JWKS_MAX + 1];

    (void)state;
    tick(0);
    strcpy(jwks, keys->info.jwks);
    for (off_t at = 0; at < KEY_FILE_LEN; at += KEY_SLOT_LEN) {
        spoil(at + 100);
        load();
        assert_string_equal(keys->info.jwks, jwks);
        tick(1); /* mends it */
        load();
        assert_true(slot_file_is_even(&keys->file));
    }
    spoil(100);
    spoil(KEY_SLOT_LEN + 100);
    assert_int_equal(signer_keys_load(the_mint.key_dir, &(struct signer_keys *){ NULL }, &the_mint.err), -1);
}

/* The next key of a change that was cut may be known to nobody: it waits its time from now. */
static void
a_key_published_in_a_cut_change_is_published_anew(void **state)
{
    (void)state;
    tick(0);
    spoil(KEY_SLOT_LEN + 100);
    load();
    tick(DAY);
    assert_int_equal(key_ring_find(&keys->rings.of[RING_TOKEN], MINT_KEY_NEXT)->since, t0 + DAY);
    assert_int_equal(signer_rotate(keys, RING_TOKEN, &the_mint.err), -1);
    assert_string_equal(the_mint.err.problem, "key-young");
}

static void
a_disk_that_fails_changes_nothing_and_is_tried_again(void **state)
{
    char jwks[MINT_JWKS_MAX + 1];
    int file;

    (void)state;
    tick(0);
    strcpy(jwks, keys->info.jwks);
    file = keys->file.fd;
    keys->file.fd = open("/dev/full", O_RDWR | O_CLOEXEC);
    tick(30 * DAY);
    assert_int_not_equal(keys->trouble.code, ERROR_NONE);
    assert_string_equal(keys->info.jwks, jwks);
    assert_int_equal(signer_rotate(keys, RING_TOKEN, &the_mint.err), -1);
    assert_int_equal(signer_revoke(keys, "", &the_mint.err), -1);
    assert_string_equal(keys->info.jwks, jwks);
    close(keys->file.fd);
    keys->file.fd = file;
    tick(30 * DAY + 5);
    assert_int_equal(keys->trouble.code, ERROR_NONE);
    assert_published(3);
}

static void
an_operator_turns_it_and_revokes(void **state)
{
    struct mint_keys list;
    char first[MINT_KID_MAX + 1], second[MINT_KID_MAX + 1];

    (void)state;
    tick(0);
    strcpy(first, keys->info.kid);
    tick(KEY_PUBLISH_SECONDS);
    assert_int_equal(signer_rotate(keys, RING_TOKEN, &the_mint.err), 0);
    assert_published(3); /* with the one after it */
    strcpy(second, keys->info.kid);
    assert_int_equal(signer_revoke(keys, second, &the_mint.err), 0);
    assert_published(3);
    assert_null(strstr(keys->info.jwks, second));
    assert_non_null(strstr(keys->info.jwks, first));
    assert_int_equal(signer_revoke(keys, "", &the_mint.err), 0);
    assert_published(2);
    assert_null(strstr(keys->info.jwks, first));
    load();
    assert_published(2);
    assert_int_equal(signer_key_list(keys, &list, &the_mint.err), 0);
    assert_int_equal(list.n, 8);
    assert_string_equal(list.kid, keys->info.kid);
    assert_string_equal(list.bound_kid, keys->info.bound_kid);
    assert_int_equal(list.keys[1].purpose, MINT_KEY_TOKEN);
    assert_int_equal(list.keys[2].purpose, MINT_KEY_BOUND);
    assert_int_equal(list.keys[3].purpose, MINT_KEY_BOUND);
    for (size_t i = 4; i < list.n; i++) {
        assert_int_equal(list.keys[i].purpose, i < 7 ? MINT_KEY_HOST_CA + i - 4 : MINT_KEY_AUDIT);
        assert_int_equal(signer_revoke(keys, list.keys[i].kid, &the_mint.err), -1);
        assert_int_equal(the_mint.err.code, ERROR_MISSING);
    }
}

/* The folder is as an earlier version made it: no bound key is in it. */
static void
keys_of_bound_tokens_begin_turn_and_are_revoked_beside_the_others(void **state)
{
    char first[MINT_KID_MAX + 1], second[MINT_KID_MAX + 1], token[MINT_KID_MAX + 1];

    (void)state;
    assert_string_equal(keys->info.bound_kid, "");
    assert_null(keys->signs[RING_BOUND]);
    tick(0);
    assert_int_equal(keys->rings.of[RING_BOUND].n, 2);
    strcpy(first, keys->info.bound_kid);
    strcpy(token, keys->info.kid);
    assert_non_null(strstr(keys->info.bound_jwks, first));
    assert_null(strstr(keys->info.jwks, first)); /* nobody takes one kind for the other */
    assert_null(strstr(keys->info.bound_jwks, token));
    load();
    assert_string_equal(keys->info.bound_kid, first);
    tick(5);
    assert_int_equal(signer_rotate(keys, RING_BOUND, &the_mint.err), -1);
    assert_string_equal(the_mint.err.problem, "key-young");
    tick(KEY_PUBLISH_SECONDS);
    assert_int_equal(signer_rotate(keys, RING_BOUND, &the_mint.err), 0);
    assert_string_not_equal(keys->info.bound_kid, first);
    assert_non_null(strstr(keys->info.bound_jwks, first));
    assert_string_equal(keys->info.kid, token);
    strcpy(second, keys->info.bound_kid);
    assert_int_equal(signer_revoke(keys, second, &the_mint.err), 0);
    assert_null(strstr(keys->info.bound_jwks, second));
    assert_string_not_equal(keys->info.bound_kid, second);
    assert_string_equal(keys->info.kid, token);
    tick(40 * DAY); /* by time */
    assert_string_not_equal(keys->info.kid, token);
    assert_null(strstr(keys->info.bound_jwks, first));
    strcpy(second, keys->info.bound_kid);
    assert_int_equal(signer_revoke(keys, "", &the_mint.err), 0);
    assert_null(strstr(keys->info.bound_jwks, second));
    assert_int_equal(keys->rings.of[RING_BOUND].n, 2);
}

int
main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, fresh_folder, free_keys)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(ticks_turn_the_ring_and_publish_it),
        IN_FOLDER(the_interval_is_the_configured_one),
        IN_FOLDER(a_restart_goes_on_where_it_was),
        IN_FOLDER(no_byte_of_a_key_that_is_gone_is_left),
        IN_FOLDER(a_clock_set_while_it_runs_turns_nothing),
        IN_FOLDER(a_clock_that_jumps_to_and_fro_burns_no_key),
        IN_FOLDER(a_clock_steered_in_small_steps_is_believed),
        IN_FOLDER(the_key_of_an_earlier_version_goes_on),
        IN_FOLDER(either_half_of_the_file_is_enough),
        IN_FOLDER(a_key_published_in_a_cut_change_is_published_anew),
        IN_FOLDER(a_disk_that_fails_changes_nothing_and_is_tried_again),
        IN_FOLDER(an_operator_turns_it_and_revokes),
        IN_FOLDER(keys_of_bound_tokens_begin_turn_and_are_revoked_beside_the_others),
    };

    return cmocka_run_group_tests_name("signer_turn", tests, mint_fixture_start, mint_fixture_stop);
}
