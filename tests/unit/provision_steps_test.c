/*
 * provision_steps_test.c - provisioning against a root half that answers late, wrongly or not at all,
 * and that goes on after a crash at each journalled step
 */
#include "config.h"

#include "plugin/provision_steps.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/crypto/tls.h"
#include "lib/tpm/tpm_device.h"
#include "lib/wire/priv_msg.h"
#include "plugin/priv_client.h"
#include "plugin/vtpm/swtpm_run.h"
#include "tests/unit/false_root_half.h"

enum { LIMIT_MS = 60000, CRASHED = 9, STEPS_MOST = 40 };

static struct hostd_settings settings;
static struct vm_record kept; /* what the journal has */
static int crash_at, noted;
static bool crash_before;
static struct error err;

#define OK(call)                                 \
    do {                                         \
        if ((call) < 0)                          \
            fail_msg("%s: %s", #call, err.text); \
    } while (0)

/* ---- set-up ---- */

static int
make_folder(void)
{
    memset(&root, 0, sizeof root);
    memset(&kept, 0, sizeof kept);
    root.held = -1;
    root.inject = "injected";
    root.account = "pending";
    strcpy(root.dir, "/tmp/virtid-steps-XXXXXX");
    if (!mkdtemp(root.dir) || pipe2(root.stop, O_CLOEXEC) < 0)
        return -1;
    snprintf(root.socket, sizeof root.socket, "%s/priv", root.dir);
    snprintf(root.placed, sizeof root.placed, "%s/tpm2-00.permall", root.dir);
    OK(false_service_make(root.dir, &err));
    settings = (struct hostd_settings){ .state_dir = root.dir, .priv_socket = root.socket, .inject = true };
    OK(vm_uuid_parse("6ba7b810-9dad-11d1-80b4-00c04fd430c8", &kept.uuid, &err));
    strcpy(kept.name, "web1");
    OK(unix_listen(root.socket, SOCK_SEQPACKET, 0600, &root.listener, &err));
    crash_at = noted = 0;
    return 0;
}

static int
set_up(void **state)
{
    (void)state;
    return make_folder() < 0 ? -1 : pthread_create(&root.thread, NULL, root_half, NULL);
}

static int
tear_down(void **state)
{
    char command[100];

    (void)state;
    fd_close(root.stop[1]);
    pthread_join(root.thread, NULL);
    fd_close(root.stop[0]);
    fd_close(root.listener);
    fd_close(root.service);
    fd_close(root.held);
    tls_ctx_free(root.tls);
    snprintf(command, sizeof command, "rm -rf '%s'", root.dir);
    return system(command);
}

/* ---- one try ---- */

static void
keep(const struct vm_record *record)
{
    CLEANUP(buf_clear) struct buf text = BUF(32768);
    char path[96];
    struct error why;

    snprintf(path, sizeof path, "%s/journal", root.dir);
    if (vm_record_encode(record, &text, &why) < 0 ||
        file_replace(path, text.data, text.len, 0600, &why) < 0)
        abort();
}

static void
load_kept(void)
{
    CLEANUP(buf_clear) struct buf text = BUF(32768);
    char path[96];
    struct error why;

    snprintf(path, sizeof path, "%s/journal", root.dir);
    if (file_read(path, &text, &why) == 0)
        OK(vm_record_decode((const char *)text.data, text.len, &kept, &err));
}

/* The daemon's part: durable, then on.  The kill comes just before or just behind that. */
static void
note(void *context)
{
    struct provision_work *w = context;

    noted++;
    if (noted == crash_at && crash_before)
        _exit(CRASHED);
    keep(&w->record);
    if (noted == crash_at)
        _exit(CRASHED);
}

static struct provision_work
new_work(void)
{
    struct provision_work w = { .settings = settings, .record = kept, .e = 7, .note = note, .deadline_ms = INT64_MAX };

    w.domain.disk = DOMAIN_DISK_FILE;
    strcpy(w.domain.disk_path, "/images/web1.raw");
    strcpy(w.domain.disk_format, "raw");
    w.domain.tpm = DOMAIN_TPM_EMULATOR;
    return w;
}

/* To the account, which the service that is away does not take. */
static void
run_to_the_account(struct provision_work *w)
{
    struct error why = { 0 };

    w->context = w;
    assert_int_equal(provision_steps_run(w, &why), -1);
    assert_int_equal(w->record.steps[STEP_ACCOUNT].state, STEP_FAILED);
}

/* True when it came so far that the kill met it. */
static bool
run_and_die(int at, bool before)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        struct provision_work w = new_work();
        struct error why;

        crash_at = at;
        crash_before = before;
        w.context = &w;
        (void)provision_steps_run(&w, &why);
        _exit(0);
    }
    /* Only now: a fork beside a thread could leave the child a lock that nobody opens. */
    assert_int_equal(pthread_create(&root.thread, NULL, root_half, NULL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    load_kept();
    return WEXITSTATUS(status) == CRASHED;
}

/* What the account would say is what the VM's TPM is. */
static void
assert_claims_are_true(const struct vm_record *r)
{
    CLEANUP(swtpm_run_kill) struct swtpm_run *run = NULL;
    CLEANUP(tpm_close) struct tpm_device *tpm = NULL;
    CLEANUP(buf_clear) struct buf ek = BUF(1024);
    uint8_t x[32];

    if (r->ek_len == 0) {
        assert_false(r->has_x0);
        return;
    }
    assert_true(is_placed());
    OK(swtpm_run_start(NULL, root.dir, clock_monotonic_ms() + LIMIT_MS, &run, &err));
    OK(tpm_open(swtpm_run_tcti(run), &tpm, &err));
    OK(tpm_ek_public(tpm, false, &ek, &err));
    assert_int_equal(ek.len, r->ek_len);
    assert_memory_equal(ek.data, r->ek, ek.len);
    OK(tpm_nv_read(tpm, x, &err));
    assert_memory_equal(x, r->x0, sizeof x);
}

/* A TPM's seeds stay nowhere but in its place. */
static void
assert_no_copy_is_kept(void)
{
    char path[200], text[VM_UUID_TEXT];

    vm_uuid_print(&kept.uuid, text);
    snprintf(path, sizeof path, "%s/vtpm/%s", root.dir, text);
    assert_int_equal(access(path, F_OK), -1);
}

/* ---- tests ---- */

static void
each_step_is_taken_once(void **state)
{
    struct provision_work w = new_work();

    (void)state;
    run_to_the_account(&w);
    assert_int_equal(w.record.steps[STEP_PLACE].state, STEP_DONE);
    assert_int_equal(w.record.steps[STEP_INJECT].state, STEP_DONE);
    assert_memory_equal(w.record.point, root.point, sizeof root.point);
    assert_true(w.record.ek_len > 0);
    assert_claims_are_true(&w.record);
    kept = w.record;
    w = new_work();
    run_to_the_account(&w);
    assert_int_equal(root.n_placed, 1);
    assert_int_equal(root.n_injected, 1);
}

/* It has proved itself, ran here, and its TPM is gone: made.c opened these steps again. */
static void
lose_tpm(void)
{
    strcpy(kept.account, root.account = "ok");
    kept.ran = true;
    kept.steps[STEP_INJECT].state = STEP_DONE;
    keep(&kept);
}

static void
after_a_crash_at(bool before, bool lost)
{
    int at = 1;

    for (; at < STEPS_MOST; at++) {
        void *none = NULL;
        struct provision_work w;
        bool died;

        assert_int_equal(make_folder(), 0);
        if (lost)
            lose_tpm();
        died = run_and_die(at, before);
        if (died) {
            w = new_work();
            run_to_the_account(&w);
            assert_int_equal(w.record.steps[STEP_PLACE].state, STEP_DONE);
            assert_int_equal(w.record.steps[STEP_INJECT].state, STEP_DONE);
            assert_int_equal(root.n_placed, 1);
            assert_true(!lost || root.n_injected == 0);
            assert_memory_equal(w.record.point, root.point, sizeof root.point);
            assert_true(w.record.ek_len > 0);
            assert_claims_are_true(&w.record);
            assert_no_copy_is_kept();
        }
        assert_int_equal(tear_down(&none), 0);
        if (!died)
            break;
    }
    assert_in_range(at, 5, STEPS_MOST - 1);
}

static void
a_crash_behind_each_journalled_step_is_finished(void **state)
{
    (void)state;
    after_a_crash_at(false, false);
}

static void
a_crash_before_each_journalled_step_is_finished(void **state)
{
    (void)state;
    after_a_crash_at(true, false);
}

static void
a_new_tpm_for_a_lost_one_is_known_after_a_crash_at_each_step(void **state)
{
    (void)state;
    after_a_crash_at(false, true);
    after_a_crash_at(true, true);
}

static void
a_lost_answer_to_placing_is_found_out(void **state)
{
    struct provision_work w = new_work();

    (void)state;
    root.place = SWALLOW;
    w.inside_start = true;
    w.deadline_ms = clock_monotonic_ms() + LIMIT_MS;
    run_to_the_account(&w);
    assert_int_equal(w.record.steps[STEP_PLACE].state, STEP_DONE);
    assert_true(w.record.ek_len > 0);
    assert_claims_are_true(&w.record);
}

static void
a_vtpm_that_was_not_placed_is_not_claimed(void **state)
{
    struct provision_work w = new_work();

    (void)state;
    root.place = REFUSE;
    w.inside_start = true;
    w.deadline_ms = clock_monotonic_ms() + LIMIT_MS;
    run_to_the_account(&w);
    assert_int_equal(w.record.steps[STEP_PLACE].state, STEP_SKIPPED);
    assert_int_equal(w.record.ek_len, 0);
    assert_false(w.record.has_x0);
}

static void
a_vtpm_of_somebody_else_is_not_claimed(void **state)
{
    struct provision_work w = new_work();

    (void)state;
    OK(file_replace(root.placed, "x", 1, 0600, &err));
    w.record.steps[STEP_PLACE].state = STEP_BEGUN;
    w.record.ran = true; /* libvirt made it at that start */
    w.record.ek_len = 5;
    w.record.has_x0 = true;
    run_to_the_account(&w);
    assert_int_equal(w.record.ek_len, 0);
    assert_false(w.record.has_x0);
}

static void
no_word_of_a_managed_save_means_hands_off(void **state)
{
    struct provision_work w = new_work();
    struct error why;

    (void)state;
    root.save_state = REFUSE;
    w.context = &w;
    assert_int_equal(provision_steps_run(&w, &why), -1);
    assert_int_equal(w.record.steps[STEP_INJECT].state, STEP_FAILED);
    assert_int_equal(root.n_injected, 0);
}

/* What the domain and the journal say is enough: privd is not even asked for the image. */
static void
what_is_known_before_an_image_is_opened_leaves_it_alone(void **state)
{
    static const struct {
        const char *reason;
        enum domain_disk disk;
        bool readonly, transient, encrypted, ran;
        const char *format;
    } cases[] = {
        { "no-disk", DOMAIN_DISK_NONE, .format = "raw" },
        { "network-disk", DOMAIN_DISK_NETWORK, .format = "raw" },
        { "image-layout", DOMAIN_DISK_OTHER, .format = "raw" },
        { "image-read-only", DOMAIN_DISK_FILE, .readonly = true, .format = "raw" },
        { "image-read-only", DOMAIN_DISK_FILE, .transient = true, .format = "raw" },
        { "image-encrypted", DOMAIN_DISK_FILE, .encrypted = true, .format = "qcow2" },
        { "image-format", DOMAIN_DISK_BLOCK, .format = "vmdk" },
        { "ran-before", DOMAIN_DISK_FILE, .ran = true, .format = "raw" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct provision_work w = new_work();

        w.domain.disk = cases[i].disk;
        w.domain.disk_readonly = cases[i].readonly;
        w.domain.disk_transient = cases[i].transient;
        w.domain.disk_encrypted = cases[i].encrypted;
        strcpy(w.domain.disk_format, cases[i].format);
        w.record.ran = cases[i].ran;
        run_to_the_account(&w);
        assert_int_equal(w.record.steps[STEP_INJECT].state, STEP_SKIPPED);
        assert_string_equal(w.record.steps[STEP_INJECT].problem, cases[i].reason);
    }
    assert_int_equal(root.n_injected, 0);
}

/* It ran on another host, and this one never heard of it. */
static void
a_vm_that_has_proved_itself_gets_no_second_secret(void **state)
{
    struct provision_work w = new_work();

    (void)state;
    root.account = "ok";
    run_to_the_account(&w);
    assert_int_equal(w.record.steps[STEP_INJECT].state, STEP_SKIPPED);
    assert_string_equal(w.record.steps[STEP_INJECT].problem, "enrolled");
    assert_int_equal(root.n_injected, 0);
}

static void
no_word_of_the_account_means_hands_off(void **state)
{
    struct provision_work w = new_work();
    struct error why;

    (void)state;
    root.account = NULL;
    w.context = &w;
    assert_int_equal(provision_steps_run(&w, &why), -1);
    assert_int_equal(w.record.steps[STEP_INJECT].state, STEP_FAILED);
    assert_int_equal(root.n_injected, 0);
}

static void
without_a_lease_no_disk_is_opened(void **state)
{
    struct provision_work w = new_work();
    struct error why;

    (void)state;
    w.context = &w;
    w.lease_lost = true;
    assert_int_equal(provision_steps_run(&w, &why), -1);
    assert_string_equal(w.record.steps[STEP_INJECT].problem, "stale-epoch");
    assert_int_equal(root.n_injected, 0);
}

static void
a_vm_that_ran_and_was_not_shut_down_is_left_alone(void **state)
{
    struct provision_work w = new_work();

    (void)state;
    w.record.ran = true;
    run_to_the_account(&w);
    assert_string_equal(w.record.steps[STEP_INJECT].problem, "ran-before");
    assert_int_equal(root.n_injected, 0);
}

static void
what_took_too_long_is_skipped_with_its_reason(void **state)
{
    struct provision_work w = new_work();

    (void)state;
    root.inject = "took-too-long";
    run_to_the_account(&w);
    assert_int_equal(w.record.steps[STEP_INJECT].state, STEP_SKIPPED);
    assert_string_equal(w.record.steps[STEP_INJECT].problem, "took-too-long");
    assert_false(w.record.has_point);
}

static void *
cancel(void *context)
{
    struct priv_request request = { .op = PRIV_CANCEL, .uuid = kept.uuid };
    struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };
    struct priv_answer a;
    struct error why;

    for (int i = 0; i < 500 && root.held < 0; i++)
        nanosleep(&pause, NULL);
    (void)priv_client_ask(root.socket, &request, -1, clock_monotonic_ms() + LIMIT_MS, &a, NULL, 0, &why);
    return context;
}

static void
an_injection_that_is_cancelled_is_skipped(void **state)
{
    struct provision_work w = new_work();
    pthread_t thread;

    (void)state;
    root.inject = NULL;
    w.record.steps[STEP_VTPM].state = w.record.steps[STEP_PLACE].state = STEP_SKIPPED;
    assert_int_equal(pthread_create(&thread, NULL, cancel, NULL), 0);
    run_to_the_account(&w);
    pthread_join(thread, NULL);
    assert_int_equal(root.n_cancelled, 1);
    assert_string_equal(w.record.steps[STEP_INJECT].problem, "took-too-long");
}

static void
in_a_hurry_the_disk_is_not_begun(void **state)
{
    struct provision_work w = new_work();

    (void)state;
    w.inside_start = true;
    w.hurry = true;
    w.deadline_ms = clock_monotonic_ms() + LIMIT_MS;
    run_to_the_account(&w);
    assert_string_equal(w.record.steps[STEP_INJECT].problem, "took-too-long");
    assert_int_equal(root.n_injected, 0);
}

static void
a_new_lease_tells_the_account_again(void **state)
{
    struct provision_work w = new_work();
    struct error why = { 0 };

    (void)state;
    for (int i = 0; i < STEP_COUNT; i++)
        w.record.steps[i].state = STEP_DONE;
    w.context = &w;
    w.running = true;
    w.record.account_e = w.e;
    assert_int_equal(provision_steps_run(&w, &why), 0); /* told in this one */
    w.record.account_e = w.e - 1;
    assert_int_equal(provision_steps_run(&w, &why), -1); /* asked, and the service is away */
    assert_int_equal(why.code, ERROR_BUSY);
    assert_int_equal(w.record.steps[STEP_ACCOUNT].state, STEP_DONE); /* which undoes nothing */
    assert_int_equal(root.n_placed + root.n_injected, 0);
}

static void
an_encrypted_tpm_is_left_to_libvirt(void **state)
{
    struct provision_work w = new_work();

    (void)state;
    w.domain.tpm = DOMAIN_TPM_ENCRYPTED;
    w.record.ek_len = 5; /* of a definition before this one */
    run_to_the_account(&w);
    assert_string_equal(w.record.steps[STEP_VTPM].problem, "tpm-encrypted");
    assert_int_equal(w.record.ek_len, 0);
    assert_int_equal(root.n_placed, 0);
    assert_int_equal(root.n_injected, 1); /* all else is as with any other */
}

static void
what_is_foreseen_is_not_done(void **state)
{
    struct provision_work w = new_work();

    (void)state;
    provision_steps_foresee(&w);
    assert_int_equal(w.record.steps[STEP_VTPM].state, STEP_DONE);
    assert_int_equal(w.record.steps[STEP_INJECT].state, STEP_DONE);
    assert_non_null(strstr(w.record.steps[STEP_INJECT].text, "/images/web1.raw"));
    OK(file_replace(root.placed, "x", 1, 0600, &err));
    w.record = kept;
    w.record.ran = true;
    provision_steps_foresee(&w);
    assert_string_equal(w.record.steps[STEP_VTPM].problem, "tpm-exists");
    assert_string_equal(w.record.steps[STEP_INJECT].problem, "ran-before");
    root.save_state = REFUSE;
    w.record = kept;
    provision_steps_foresee(&w);
    assert_int_equal(w.record.steps[STEP_INJECT].state, STEP_FAILED);
    assert_int_equal(root.n_placed + root.n_injected, 0);
    assert_int_equal(noted, 0);
}

#define WITH_ROOT(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ROOT(each_step_is_taken_once),
        cmocka_unit_test(a_crash_behind_each_journalled_step_is_finished),
        cmocka_unit_test(a_crash_before_each_journalled_step_is_finished),
        cmocka_unit_test(a_new_tpm_for_a_lost_one_is_known_after_a_crash_at_each_step),
        WITH_ROOT(a_lost_answer_to_placing_is_found_out),
        WITH_ROOT(a_vtpm_that_was_not_placed_is_not_claimed),
        WITH_ROOT(a_vtpm_of_somebody_else_is_not_claimed),
        WITH_ROOT(no_word_of_a_managed_save_means_hands_off),
        WITH_ROOT(what_is_known_before_an_image_is_opened_leaves_it_alone),
        WITH_ROOT(a_vm_that_has_proved_itself_gets_no_second_secret),
        WITH_ROOT(no_word_of_the_account_means_hands_off),
        WITH_ROOT(without_a_lease_no_disk_is_opened),
        WITH_ROOT(a_vm_that_ran_and_was_not_shut_down_is_left_alone),
        WITH_ROOT(what_took_too_long_is_skipped_with_its_reason),
        WITH_ROOT(an_injection_that_is_cancelled_is_skipped),
        WITH_ROOT(in_a_hurry_the_disk_is_not_begun),
        WITH_ROOT(a_new_lease_tells_the_account_again),
        WITH_ROOT(an_encrypted_tpm_is_left_to_libvirt),
        WITH_ROOT(what_is_foreseen_is_not_done),
    };

    (void)signal(SIGPIPE, SIG_IGN); /* the client hangs up on what it does not trust */
    return cmocka_run_group_tests_name("provision_steps", tests, NULL, NULL);
}
