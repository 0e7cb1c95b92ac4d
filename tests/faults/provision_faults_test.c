/*
 * provision_faults_test.c - a VM is provisioned on a host whose disk fails at each call, or without memory
 *
 * The steps, the journal and the TPM that is made are the real ones; root half and service are the tests' own.
 * Whatever happens, one TPM is placed, and what the journal claims of TPM and secret is so.
 */
#include "config.h"

#include "plugin/provision_steps.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/fdio.h"
#include "lib/common/json.h"
#include "lib/crypto/tls.h"
#include "plugin/journal.h"
#include "tests/faults/alloc_fault.h"
#include "tests/faults/durable.h"
#include "tests/faults/fault.h"
#include "tests/faults/fault_run.h"
#include "tests/unit/false_root_half.h"

/* What the root half did and the daemon wrote down, whatever became of them. */
struct provision_acks {
    unsigned runs, injections;
    size_t ek_len;
    uint8_t ek[RECORD_EK_MAX]; /* of the TPM that was to be placed last */
    bool done;
};

static char identity[100];

#define OK(call)                                 \
    do {                                         \
        struct error err = { 0 };                \
        if ((call) < 0)                          \
            fail_msg("%s: %s", #call, err.text); \
    } while (0)

/* ---- the journal ---- */

struct found {
    bool has;
    struct vm_record record;
};

static int
take_record(void *context, const struct vm_record *record, struct error *err)
{
    struct found *found = context;

    (void)err;
    assert_false(found->has);
    found->has = true;
    found->record = *record;
    return 0;
}

/* The record of the one VM: as it is there, else new. */
static int
load(const char *folder, struct journal **ret, struct found *found)
{
    CLEANUP(journal_close) struct journal *j = NULL;
    struct error err = { 0 };
    unsigned bad = 0;

    memset(found, 0, sizeof *found);
    if (journal_open(folder, &j, &err) < 0 || journal_load(j, take_record, found, &bad, &err) < 0)
        return -1;
    assert_int_equal(bad, 0);
    if (!found->has) {
        assert_int_equal(vm_uuid_parse("6ba7b810-9dad-11d1-80b4-00c04fd430c8", &found->record.uuid, &err), 0);
        strcpy(found->record.name, "web1");
        found->record.managed = true;
    }
    *ret = STEAL(j);
    return 0;
}

/* ---- the work ---- */

struct at_work {
    struct provision_work work;
    struct journal *journal;
    struct provision_acks *acks;
    void (*ended)(struct at_work *a); /* the daemon ends itself when it can not write its journal */
    bool is_over;
};

static void
keep_step(void *context)
{
    struct at_work *a = context;
    const struct vm_record *r = &a->work.record;
    struct error err;

    if (a->is_over)
        return;
    if (r->steps[STEP_PLACE].state == STEP_BEGUN) {
        memcpy(a->acks->ek, r->ek, r->ek_len);
        a->acks->ek_len = r->ek_len;
    }
    if (journal_save(a->journal, r, &err) < 0)
        a->ended(a);
}

static bool
is_provisioned(const struct vm_record *r)
{
    return r->steps[STEP_PLACE].state == STEP_DONE && r->steps[STEP_INJECT].state == STEP_DONE;
}

static void
begin_work(struct at_work *a, const struct hostd_settings *settings, const struct vm_record *record)
{
    struct provision_work *w = &a->work;

    w->settings = *settings;
    w->record = *record;
    w->e = 7;
    w->note = keep_step;
    w->context = a;
    w->deadline_ms = INT64_MAX;
    w->domain.disk = DOMAIN_DISK_FILE;
    strcpy(w->domain.disk_path, "/images/web1.raw");
    strcpy(w->domain.disk_format, "raw");
    w->domain.tpm = DOMAIN_TPM_EMULATOR;
}

static struct hostd_settings
settings_of(const char *folder)
{
    return (struct hostd_settings){ .state_dir = folder, .priv_socket = root.socket, .inject = true };
}

/* Up to the account: this service takes none. */
static int
provision(const char *folder, struct provision_acks *acks, void (*ended)(struct at_work *a))
{
    CLEANUP(journal_close) struct journal *j = NULL;
    struct hostd_settings settings = settings_of(folder);
    struct at_work a = { .acks = acks, .ended = ended };
    static struct found found;
    struct error err;

    if (load(folder, &j, &found) < 0)
        return -1;
    a.journal = j;
    begin_work(&a, &settings, &found.record);
    assert_int_equal(provision_steps_run(&a.work, &err), -1);
    if (a.is_over || !is_provisioned(&a.work.record))
        return -1;
    acks->done = true;
    return 0;
}

/* ---- in a process of its own ---- */

static void
end_process(struct at_work *a)
{
    (void)a;
    _exit(WORK_ENDED);
}

/* The root half lives as long as this process: what it did lies in files and in `acks`. */
static void
work_alone(const char *folder, struct provision_acks *acks)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    root.injections = &acks->injections;
    if (pthread_create(&root.thread, NULL, root_half, NULL) != 0)
        abort();
    _exit(provision(folder, acks, end_process) == 0 ? 0 : 1);
}

/* Its TPM's process ends with it; until that is gone the folder is nobody else's. */
static int
provision_work(const char *folder, void *acks)
{
    struct provision_acks *a = acks;
    int status = 0;
    pid_t pid;

    if (a->runs++ == 0)
        (void)unlink(root.placed);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    fflush(NULL);
    pid = fork();
    if (pid == 0)
        work_alone(folder, a);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    while (waitpid(-1, NULL, 0) > 0)
        ;
    if (!WIFEXITED(status))
        abort();
    if (WEXITSTATUS(status) > 1)
        _exit(WEXITSTATUS(status));
    return WEXITSTATUS(status) == 0 ? 0 : -1;
}

static void
assert_nothing_is_kept(const char *folder, const struct vm_record *r)
{
    char path[200], text[VM_UUID_TEXT];

    vm_uuid_print(&r->uuid, text);
    snprintf(path, sizeof path, "%s/vtpm/%s", folder, text);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void
provision_check(const char *folder, const void *acks)
{
    CLEANUP(journal_close) struct journal *j = NULL;
    const struct provision_acks *a = acks;
    static struct found found;
    const struct vm_record *r = &found.record;
    uint8_t point[sizeof r->point];

    assert_int_equal(load(folder, &j, &found), 0);
    assert_int_not_equal(r->steps[STEP_PLACE].state, STEP_SKIPPED); /* what is there is ours */
    if (r->steps[STEP_PLACE].state == STEP_DONE) {
        assert_true(is_placed());
        assert_int_equal(r->ek_len, a->ek_len);
        assert_memory_equal(r->ek, a->ek, a->ek_len);
        assert_true(r->has_x0);
    }
    memset(point, (int)(4 + a->injections), sizeof point);
    assert_true(r->has_point == (r->steps[STEP_INJECT].state == STEP_DONE));
    if (r->has_point)
        assert_memory_equal(r->point, point, sizeof point);
    if (!a->done)
        return;
    assert_true(is_provisioned(r));
    assert_nothing_is_kept(folder, r);
}

static void
joined_host(const char *folder)
{
    tree_copy(identity, folder);
}

static const struct fault_case PROVISION = {
    .name = "provisioning of a VM", .prepare = joined_host, .work = provision_work, .check = provision_check,
    .decides = "sd", .every = 23
};

/* ---- without memory: the TPM is there, the secret is not ---- */

static char counted_folder[100];
static struct provision_acks counted_acks;

static void
note_end(struct at_work *a)
{
    a->is_over = true;
}

static void
placed_before(const char *folder)
{
    CLEANUP(journal_close) struct journal *j = NULL;
    static struct found found;

    joined_host(folder);
    assert_int_equal(load(folder, &j, &found), 0);
    found.record.steps[STEP_VTPM].state = found.record.steps[STEP_PLACE].state = STEP_DONE;
    found.record.ek_len = counted_acks.ek_len = 3;
    found.record.has_x0 = true;
    memcpy(found.record.ek, "one", 3);
    memcpy(counted_acks.ek, "one", 3);
    OK(journal_save(j, &found.record, &err));
    OK(file_replace(root.placed, "x", 1, 0600, &err));
}

static int
counted_work(void)
{
    int outcome;

    tree_remove(counted_folder);
    memset(&counted_acks, 0, sizeof counted_acks);
    placed_before(counted_folder);
    root.injections = &counted_acks.injections;
    alloc_fault_on();
    outcome = provision(counted_folder, &counted_acks, note_end);
    alloc_fault_off();
    return outcome;
}

/* With memory again it is finished by itself. */
static void
counted_check(bool done)
{
    (void)done;
    provision_check(counted_folder, &counted_acks);
    assert_int_equal(provision(counted_folder, &counted_acks, note_end), 0);
    provision_check(counted_folder, &counted_acks);
}

/* ---- tests ---- */

static void
provisioning_survives_a_kill_at_every_write(void **state)
{
    (void)state;
    assert_int_equal(fault_run_crashes(&PROVISION).violations, 0);
}

static void
provisioning_survives_a_failure_of_every_call(void **state)
{
    (void)state;
    assert_int_equal(fault_run_errors(&PROVISION).violations, 0);
}

static void
provisioning_survives_a_full_disk(void **state)
{
    bool skipped = false;

    (void)state;
    assert_int_equal(fault_run_full(&PROVISION, &skipped).violations, 0);
    if (skipped)
        skip();
}

/* The last: its root half is a thread of this process, and nothing is forked beside it. */
static void
a_secret_survives_a_lack_of_memory(void **state)
{
    static const struct alloc_case memory = { "secret of a VM", counted_work, counted_check, .every = 2999,
                                              .least = 17 };
    struct alloc_counts counts;

    (void)state;
    snprintf(counted_folder, sizeof counted_folder, "%s/counted", root.dir);
    assert_int_equal(pthread_create(&root.thread, NULL, root_half, NULL), 0);
    counts = alloc_fault_run(&memory);
    fd_close(root.stop[1]);
    pthread_join(root.thread, NULL);
    assert_int_equal(counts.violations, 0);
}

static int
set_up(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN); /* as the daemon does: some hang up here */
    fault_folder_make();
    root.held = -1;
    root.inject = "injected";
    root.account = "pending";
    strcpy(root.dir, "/tmp/virtid-provision-XXXXXX");
    if (!mkdtemp(root.dir) || pipe2(root.stop, O_CLOEXEC) < 0)
        return -1;
    snprintf(identity, sizeof identity, "%s/identity", root.dir);
    snprintf(root.socket, sizeof root.socket, "%s/priv", root.dir);
    snprintf(root.placed, sizeof root.placed, "%s/tpm2-00.permall", root.dir);
    OK(dir_make(identity, 0700, &err));
    OK(false_service_make(identity, &err));
    OK(unix_listen(root.socket, SOCK_SEQPACKET, 0600, &root.listener, &err));
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    fault_folder_remove();
    fd_close(root.listener);
    fd_close(root.service);
    fd_close(root.stop[0]);
    tls_ctx_free(root.tls);
    tree_remove(root.dir);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(provisioning_survives_a_kill_at_every_write),
        cmocka_unit_test(provisioning_survives_a_failure_of_every_call),
        cmocka_unit_test(provisioning_survives_a_full_disk),
        cmocka_unit_test(a_secret_survives_a_lack_of_memory),
    };

    json_watch_memory(); /* as the daemon does */
    return cmocka_run_group_tests_name("provision_faults", tests, set_up, tear_down);
}
