#include "config.h"

#include "plugin/priv/priv_vtpm.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/fdio.h"
#include "lib/wire/priv_msg.h"

static char top[] = "/tmp/priv-vtpm-XXXXXX";
static char swtpm[64];
static struct priv_settings settings;
static struct error err;
static struct vm_uuid uuid;
static char text[VM_UUID_TEXT];

static int
set_up(void **state)
{
    (void)state;
    if (!mkdtemp(top))
        return -1;
    snprintf(swtpm, sizeof swtpm, "%s/swtpm", top);
    settings.swtpm_dir = swtpm;
    settings.swtpm_uid = geteuid();
    settings.swtpm_gid = getegid();
    return 0;
}

static int
tear_down(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", top);
    return system(command);
}

static void
next_uuid(void)
{
    uuid.bytes[15]++;
    vm_uuid_print(&uuid, text);
}

static const char *
path(const char *tail)
{
    static char p[300];

    snprintf(p, sizeof p, "%s/%s%s", swtpm, text, tail);
    return p;
}

/* A file that begins as swtpm's states do, of `len` bytes, saying `said`. */
static int
state_file(size_t len, size_t said)
{
    int fd = memfd_create("state", MFD_CLOEXEC);
    uint8_t head[10] = { 2, 1, 0, 10, 0, 0, (uint8_t)(said >> 24), (uint8_t)(said >> 16),
                         (uint8_t)(said >> 8), (uint8_t)said };

    assert_int_equal(ftruncate(fd, (off_t)len), 0);
    assert_int_equal(pwrite(fd, head, sizeof head, 0), sizeof head);
    return fd;
}

static void
new_state_is_placed_whole(void **state)
{
    CLEANUP(fd_close) int fd = state_file(1315, 1315);
    struct stat st;
    bool placed, exists;

    (void)state;
    next_uuid();
    assert_int_equal(priv_vtpm_exists(&settings, &uuid, &exists, &err), 0);
    assert_false(exists);
    assert_int_equal(priv_vtpm_place(&settings, &uuid, fd, &placed, &err), 0);
    assert_true(placed);
    assert_int_equal(stat(path("/tpm2/tpm2-00.permall"), &st), 0);
    assert_int_equal(st.st_size, 1315);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(path("/tpm2"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(path(""), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0711);
    assert_int_equal(access(path(".virtid-new"), F_OK), -1);
    assert_int_equal(priv_vtpm_exists(&settings, &uuid, &exists, &err), 0);
    assert_true(exists);
}

static void
existing_state_is_never_replaced(void **state)
{
    CLEANUP(fd_close) int fd = state_file(64, 64);
    CLEANUP(fd_close) int other = state_file(128, 128);
    struct stat st;
    bool placed;

    (void)state;
    next_uuid();
    assert_int_equal(priv_vtpm_place(&settings, &uuid, fd, &placed, &err), 0);
    assert_int_equal(priv_vtpm_place(&settings, &uuid, other, &placed, &err), 0);
    assert_false(placed);
    assert_int_equal(stat(path("/tpm2/tpm2-00.permall"), &st), 0);
    assert_int_equal(st.st_size, 64);
}

static void
empty_tpm2_folder_counts_as_existing(void **state)
{
    CLEANUP(fd_close) int fd = state_file(64, 64);
    bool placed;

    (void)state;
    next_uuid();
    assert_int_equal(mkdir(path(""), 0711), 0);
    assert_int_equal(mkdir(path("/tpm2"), 0700), 0);
    assert_int_equal(priv_vtpm_place(&settings, &uuid, fd, &placed, &err), 0);
    assert_false(placed);
    assert_int_equal(access(path("/tpm2/tpm2-00.permall"), F_OK), -1);
}

static void
folder_without_a_state_takes_one(void **state)
{
    CLEANUP(fd_close) int fd = state_file(64, 64);
    bool placed;

    (void)state;
    next_uuid();
    assert_int_equal(mkdir(path(""), 0711), 0);
    assert_int_equal(priv_vtpm_place(&settings, &uuid, fd, &placed, &err), 0);
    assert_true(placed);
    assert_int_equal(access(path("/tpm2/tpm2-00.permall"), F_OK), 0);
    assert_int_equal(access(path(".virtid-new"), F_OK), -1);
}

static void
what_a_crash_left_aside_is_replaced(void **state)
{
    CLEANUP(fd_close) int fd = state_file(64, 64);
    char half[300];
    bool placed;
    int f;

    (void)state;
    next_uuid();
    assert_int_equal(mkdir(path(".virtid-new"), 0700), 0);
    assert_int_equal(mkdir(path(".virtid-new/tpm2"), 0700), 0);
    snprintf(half, sizeof half, "%s", path(".virtid-new/tpm2/tpm2-00.permall"));
    f = open(half, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(f);
    assert_int_equal(priv_vtpm_place(&settings, &uuid, fd, &placed, &err), 0);
    assert_true(placed);
}

static void
files_that_are_no_states_are_refused(void **state)
{
    static const struct {
        size_t len, said;
    } bad[] = { { 10, 11 }, { 64, 63 }, { 64, 0 }, { PRIV_VTPM_MAX + 1, PRIV_VTPM_MAX + 1 } };
    CLEANUP(fd_close) int device = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    bool placed;
    int ends[2];

    (void)state;
    next_uuid();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CLEANUP(fd_close) int fd = state_file(bad[i].len, bad[i].said);

        assert_int_equal(priv_vtpm_place(&settings, &uuid, fd, &placed, &err), -1);
        assert_int_equal(err.code, ERROR_INPUT);
    }
    assert_int_equal(priv_vtpm_place(&settings, &uuid, device, &placed, &err), -1);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(priv_vtpm_place(&settings, &uuid, ends[0], &placed, &err), -1);
    assert_int_equal(access(path(""), F_OK), -1);
    assert_int_equal(access(path(".virtid-new"), F_OK), -1);
}

static void
link_in_place_of_a_folder_is_not_followed(void **state)
{
    CLEANUP(fd_close) int fd = state_file(64, 64);
    char elsewhere[128], inside[160];
    bool placed;

    (void)state;
    next_uuid();
    snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", top);
    snprintf(inside, sizeof inside, "%s/tpm2", elsewhere);
    assert_int_equal(mkdir(elsewhere, 0755), 0);
    assert_int_equal(symlink(elsewhere, path("")), 0);
    assert_int_equal(priv_vtpm_place(&settings, &uuid, fd, &placed, &err), -1);
    assert_int_equal(access(inside, F_OK), -1);
}

/* As swtpm writes: aside, then renamed. */
static void
replace_state(void)
{
    char from[300], to[300];
    int f;

    snprintf(from, sizeof from, "%s", path("/tpm2/TMP2-00.permall"));
    snprintf(to, sizeof to, "%s", path("/tpm2/tpm2-00.permall"));
    f = open(from, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(f >= 0);
    close(f);
    assert_int_equal(rename(from, to), 0);
}

static void
a_state_is_made_durable_and_left_as_it_is(void **state)
{
    CLEANUP(fd_close) int fd = state_file(64, 64);
    struct stat before, after;
    char file[300];
    bool placed;

    (void)state;
    next_uuid();
    assert_int_equal(priv_vtpm_sync(&settings, &uuid, &err), -1);
    assert_int_equal(err.code, ERROR_MISSING);
    assert_int_equal(priv_vtpm_place(&settings, &uuid, fd, &placed, &err), 0);
    snprintf(file, sizeof file, "%s", path("/tpm2/tpm2-00.permall"));
    assert_int_equal(stat(file, &before), 0);
    assert_int_equal(priv_vtpm_sync(&settings, &uuid, &err), 0);
    assert_int_equal(stat(file, &after), 0);
    assert_true(before.st_ino == after.st_ino && before.st_size == after.st_size);
    replace_state();
    assert_int_equal(priv_vtpm_sync(&settings, &uuid, &err), 0);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(priv_vtpm_sync(&settings, &uuid, &err), -1);
    assert_int_equal(err.code, ERROR_MISSING);
}

static void
nothing_but_a_state_file_is_opened_to_be_synced(void **state)
{
    char file[300], target[300];

    (void)state;
    next_uuid();
    assert_int_equal(mkdir(path(""), 0711), 0);
    assert_int_equal(mkdir(path("/tpm2"), 0700), 0);
    snprintf(file, sizeof file, "%s", path("/tpm2/tpm2-00.permall"));
    assert_int_equal(mkfifo(file, 0600), 0); /* would wait for a writer for ever */
    assert_int_equal(priv_vtpm_sync(&settings, &uuid, &err), -1);
    assert_int_equal(unlink(file), 0);
    snprintf(target, sizeof target, "%s/target", top);
    assert_int_equal(symlink(target, file), 0);
    assert_int_equal(priv_vtpm_sync(&settings, &uuid, &err), -1);
    assert_int_equal(access(target, F_OK), -1);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(rmdir(path("/tpm2")), 0);
    assert_int_equal(rmdir(path("")), 0);
    assert_int_equal(symlink(top, path("")), 0);
    assert_int_equal(priv_vtpm_sync(&settings, &uuid, &err), -1);
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(new_state_is_placed_whole),
        cmocka_unit_test(existing_state_is_never_replaced),
        cmocka_unit_test(empty_tpm2_folder_counts_as_existing),
        cmocka_unit_test(folder_without_a_state_takes_one),
        cmocka_unit_test(what_a_crash_left_aside_is_replaced),
        cmocka_unit_test(files_that_are_no_states_are_refused),
        cmocka_unit_test(link_in_place_of_a_folder_is_not_followed),
        cmocka_unit_test(a_state_is_made_durable_and_left_as_it_is),
        cmocka_unit_test(nothing_but_a_state_file_is_opened_to_be_synced),
    };

    return cmocka_run_group_tests_name("priv_vtpm", t, set_up, tear_down);
}
