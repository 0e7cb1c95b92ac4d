/*
 * vtpm_test.c - a new vTPM state is whole, durable and its folder's only content that counts
 */
#include "config.h"

#include "plugin/vtpm/vtpm.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/tpm/tpm_device.h"
#include "plugin/vtpm/swtpm_run.h"
#include "tpmsim/janitor.h"

enum { LIMIT_MS = 60000 };

static const struct vm_uuid uuid = { { 0x11, 0x22, 0x33, 0x44 } };
static char folder[64];
static struct janitor *janitor;
static struct error err;

#define OK(call)                                 \
    do {                                         \
        if ((call) < 0)                          \
            fail_msg("%s: %s", #call, err.text); \
    } while (0)

static int
set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/virtid-vtpm-XXXXXX");
    return mkdtemp(folder) && janitor_start(folder, &janitor, &err) == 0 ? 0 : -1;
}

static int
tear_down(void **state)
{
    (void)state;
    janitor_end(janitor);
    return 0;
}

static void
path_of(const char *name, char ret[static 256])
{
    char text[VM_UUID_TEXT];

    vm_uuid_print(&uuid, text);
    snprintf(ret, 256, "%s/%s%s%s", folder, text, name ? "/" : "", name ? name : "");
}

static bool
is_there(const char *name)
{
    char path[256];

    path_of(name, path);
    return access(path, F_OK) == 0;
}

/* Open what was made as a VM would, and compare with what vtpm_make said. */
static void
check_state(const struct vtpm_made *made)
{
    CLEANUP(swtpm_run_kill) struct swtpm_run *run = NULL;
    CLEANUP(tpm_close) struct tpm_device *tpm = NULL;
    CLEANUP(buf_clear) struct buf ek = BUF(1024), cert = BUF(4096);
    char state[256];
    uint8_t x[32];

    path_of(NULL, state);
    OK(swtpm_run_start(NULL, state, clock_monotonic_ms() + LIMIT_MS, &run, &err));
    OK(tpm_open(swtpm_run_tcti(run), &tpm, &err));
    OK(tpm_nv_read(tpm, x, &err));
    assert_memory_equal(x, made->x0, 32);
    OK(tpm_ek_public(tpm, false, &ek, &err));
    assert_int_equal(ek.len, made->ek_len);
    assert_memory_equal(ek.data, made->ek, ek.len);
    assert_int_equal(tpm_ek_cert(tpm, false, &cert, &err), made->ek_cert ? 0 : -1);
}

static void
a_state_is_made_whole(void **state)
{
    struct vtpm_made made;
    struct stat st;

    (void)state;
    OK(vtpm_make(folder, &uuid, NULL, NULL, NULL, LIMIT_MS, &made, &err));
    assert_int_equal(stat(made.path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_in_range(st.st_size, 1000, 256 * 1024); /* what PLACE_VTPM takes */
    assert_false(made.ek_cert);
    check_state(&made);
}

static int
fail_to_certify(void *self, const struct vm_uuid *whose, const uint8_t *ek, size_t ek_len, uint8_t *ret_der,
                size_t *ret_len, struct error *why)
{
    struct credential_ek key;

    (void)ret_der;
    (void)ret_len;
    assert_true(vm_uuid_equal(whose, &uuid));
    assert_int_equal(tpm_ek_check(ek, ek_len, &key, why), 0);
    ++*(int *)self;
    return error_set(why, ERROR_BUSY, "the service is away");
}

static void
a_certificate_that_can_not_be_had_is_left_out(void **state)
{
    struct vtpm_made made;
    int asked = 0;

    (void)state;
    OK(vtpm_make(folder, &uuid, NULL, fail_to_certify, &asked, LIMIT_MS, &made, &err));
    assert_int_equal(asked, 1); /* no certificate for the RSA key alone */
    assert_false(made.ek_cert);
    check_state(&made);
}

static void
making_again_wipes_what_was_there(void **state)
{
    struct vtpm_made first, second;
    char junk[256];

    (void)state;
    OK(vtpm_make(folder, &uuid, NULL, NULL, NULL, LIMIT_MS, &first, &err));
    path_of("half", junk);
    OK(file_replace(junk, "x", 1, 0600, &err));
    OK(vtpm_make(folder, &uuid, NULL, NULL, NULL, LIMIT_MS, &second, &err));
    assert_memory_not_equal(first.x0, second.x0, 32);
    assert_memory_not_equal(first.ek, second.ek, first.ek_len);
    assert_false(is_there("half"));
}

static void
a_maker_killed_at_any_moment_is_no_harm(void **state)
{
    (void)state;
    for (int ms = 5; ms < 160; ms += 15) {
        struct vtpm_made made;
        pid_t pid = fork();

        if (pid == 0) {
            (void)vtpm_make(folder, &uuid, NULL, NULL, NULL, LIMIT_MS, &made, &err);
            _exit(0);
        }
        usleep((useconds_t)ms * 1000); /* the moment is the test */
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        OK(vtpm_make(folder, &uuid, NULL, NULL, NULL, LIMIT_MS, &made, &err));
        check_state(&made);
    }
}

static void
a_failure_leaves_nothing(void **state)
{
    struct vtpm_made made;

    (void)state;
    assert_int_equal(vtpm_make(folder, &uuid, "/nonexistent/swtpm", NULL, NULL, LIMIT_MS, &made, &err), -1);
    assert_false(is_there(NULL));
    assert_int_equal(vtpm_make(folder, &uuid, "/bin/false", NULL, NULL, LIMIT_MS, &made, &err), -1);
    assert_int_equal(err.code, ERROR_SYSTEM);
    assert_false(is_there(NULL));
    assert_int_equal(vtpm_make(folder, &uuid, "/bin/cat", NULL, NULL, 200, &made, &err), -1);
    assert_false(is_there(NULL));
}

static void
a_folder_too_deep_for_sockets_is_refused(void **state)
{
    static const char deep[] = "/tmp/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    struct vtpm_made made;

    (void)state;
    assert_int_equal(vtpm_make(deep, &uuid, NULL, NULL, NULL, LIMIT_MS, &made, &err), -1);
    assert_int_equal(err.code, ERROR_INPUT);
}

static void
a_link_in_place_of_the_folder_is_not_followed(void **state)
{
    struct vtpm_made made;
    char path[256], victim[128], kept[160];

    (void)state;
    snprintf(victim, sizeof victim, "%s/victim", folder);
    snprintf(kept, sizeof kept, "%s/kept", victim);
    OK(dir_make(victim, 0700, &err));
    OK(file_replace(kept, "x", 1, 0600, &err));
    OK(vtpm_forget(folder, &uuid, &err));
    path_of(NULL, path);
    assert_int_equal(symlink(victim, path), 0);
    assert_int_equal(vtpm_make(folder, &uuid, NULL, NULL, NULL, LIMIT_MS, &made, &err), -1);
    assert_int_equal(access(kept, F_OK), 0);
    unlink(path);
}

static void
forgetting_removes_it_and_may_be_repeated(void **state)
{
    struct vtpm_made made;

    (void)state;
    OK(vtpm_make(folder, &uuid, NULL, NULL, NULL, LIMIT_MS, &made, &err));
    OK(vtpm_forget(folder, &uuid, &err));
    assert_false(is_there(NULL));
    OK(vtpm_forget(folder, &uuid, &err));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_is_made_whole),
        cmocka_unit_test(a_certificate_that_can_not_be_had_is_left_out),
        cmocka_unit_test(making_again_wipes_what_was_there),
        cmocka_unit_test(a_maker_killed_at_any_moment_is_no_harm),
        cmocka_unit_test(a_failure_leaves_nothing),
        cmocka_unit_test(a_folder_too_deep_for_sockets_is_refused),
        cmocka_unit_test(a_link_in_place_of_the_folder_is_not_followed),
        cmocka_unit_test(forgetting_removes_it_and_may_be_repeated),
    };

    return cmocka_run_group_tests_name("vtpm", tests, set_up, tear_down);
}
