/*
 * host_faults_test.c - journal, vTPM states and keys of a host, on a disk that fails at each call
 */
#include "config.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/fdio.h"
#include "lib/wire/priv_msg.h"
#include "plugin/journal.h"
#include "plugin/priv/priv_vtpm.h"
#include "tests/faults/fault.h"
#include "tests/faults/fault_run.h"

static void
assert_no_leftovers(const char *folder)
{
    const struct dirent *e;
    DIR *dir = opendir(folder);

    assert_non_null(dir);
    while ((e = readdir(dir))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (e->d_name[0] == '.' || strstr(e->d_name, ".bad") || strstr(e->d_name, "virtid-new"))
            fail_msg("left over: %s/%s", folder, e->d_name);
    }
    closedir(dir);
}

/* ---- the journal: two VMs are provisioned step by step, one has run before ---- */

enum { VMS = 5, OLD_VM = 2 };

struct journal_acks {
    uint64_t seq, told[VMS], tried[VMS];
};

struct vms_found {
    struct vm_record records[VMS];
    bool has[VMS];
};

static void
number_uuid(unsigned number, struct vm_uuid *ret)
{
    memset(ret->bytes, (int)number + 1, sizeof ret->bytes);
}

static int
find_vm(void *context, const struct vm_record *record, struct error *err)
{
    struct vms_found *found = context;
    unsigned i = record->uuid.bytes[0] - 1u;

    (void)err;
    assert_true(i < VMS && !found->has[i]);
    found->records[i] = *record;
    found->has[i] = true;
    return 0;
}

static int
save_vm(struct journal *j, unsigned i, struct vm_record *r, struct journal_acks *a)
{
    struct error err;

    a->tried[i] = ++r->e;
    if (journal_save(j, r, &err) < 0)
        return -1;
    a->told[i] = r->e;
    return 0;
}

static int
provision_vm(struct journal *j, unsigned i, struct vms_found *found, struct journal_acks *a)
{
    struct vm_record *r = &found->records[i];

    number_uuid(i, &r->uuid);
    r->managed = true;
    for (int step = 0; step < STEP_COUNT; step++) {
        r->steps[step].state = STEP_BEGUN;
        if (save_vm(j, i, r, a) < 0)
            return -1;
        r->steps[step].state = STEP_DONE;
        if (save_vm(j, i, r, a) < 0)
            return -1;
    }
    r->n_ends = 1;
    r->ends[0] = (struct lease_end){ VIEW_GO, r->e, 1 };
    return save_vm(j, i, r, a);
}

static int
next_seq(struct journal *j, struct journal_acks *a)
{
    struct error err;
    uint64_t seq;

    if (journal_next_seq(j, &seq, &err) < 0)
        return -1;
    assert_true(seq > a->seq); /* no number is given twice */
    a->seq = seq;
    return 0;
}

static int
load_journal(const char *folder, struct journal **ret, struct vms_found *found)
{
    CLEANUP(journal_close) struct journal *j = NULL;
    struct error err = { 0 };
    unsigned bad = 0;

    memset(found, 0, sizeof *found);
    if (journal_open(folder, &j, &err) < 0 || journal_load(j, find_vm, found, &bad, &err) < 0)
        return -1;
    assert_int_equal(bad, 0); /* a disk that can not be read is no damaged record */
    *ret = STEAL(j);
    return 0;
}

static int
journal_work(const char *folder, void *acks)
{
    CLEANUP(journal_close) struct journal *j = NULL;
    static struct vms_found found;
    struct journal_acks *a = acks;

    if (load_journal(folder, &j, &found) < 0)
        return -1;
    for (unsigned i = 0; i < VMS; i++) {
        assert_true(found.records[i].e >= a->told[i]);
        if (provision_vm(j, i, &found, a) < 0 || next_seq(j, a) < 0)
            return -1;
    }
    return 0;
}

static void
journal_check(const char *folder, const void *acks)
{
    CLEANUP(journal_close) struct journal *j = NULL;
    static struct vms_found found;
    const struct journal_acks *a = acks;
    char vms[128];

    assert_int_equal(load_journal(folder, &j, &found), 0);
    for (unsigned i = 0; i < VMS; i++) {
        uint64_t before = i == OLD_VM && found.has[OLD_VM] ? 1 : 0;

        assert_true(found.records[i].e >= a->told[i]);
        assert_true(found.records[i].e <= (a->tried[i] > before ? a->tried[i] : before));
    }
    snprintf(vms, sizeof vms, "%s/vms", folder);
    assert_no_leftovers(vms);
    assert_no_leftovers(folder);
}

static void
grown_journal(const char *folder)
{
    CLEANUP(journal_close) struct journal *j = NULL;
    struct journal_acks ignored = { 0 };
    static struct vms_found none;
    struct error err;

    memset(&none, 0, sizeof none);
    assert_int_equal(journal_open(folder, &j, &err), 0);
    none.records[OLD_VM].ran = true;
    number_uuid(OLD_VM, &none.records[OLD_VM].uuid);
    assert_int_equal(save_vm(j, OLD_VM, &none.records[OLD_VM], &ignored), 0);
    assert_int_equal(next_seq(j, &ignored), 0);
}

/* What was there before is never less. */
static void
grown_journal_check(const char *folder, const void *acks)
{
    CLEANUP(journal_close) struct journal *j = NULL;
    static struct vms_found found;

    journal_check(folder, acks);
    assert_int_equal(load_journal(folder, &j, &found), 0);
    assert_true(found.has[OLD_VM] && found.records[OLD_VM].ran);
}

static const struct fault_case FRESH_JOURNAL = {
    .name = "journal of a new host", .work = journal_work, .check = journal_check, .decides = "sd"
};
static const struct fault_case GROWN_JOURNAL = {
    .name = "journal", .prepare = grown_journal, .work = journal_work, .check = grown_journal_check, .decides = "sd"
};

/* ---- vTPM states ---- */

enum { STATE_LEN = 9000 };

struct vtpm_acks {
    bool placed;
    unsigned runs;
};

static struct priv_settings
vtpm_settings(const char *folder, char path[static 128])
{
    snprintf(path, 128, "%s/swtpm", folder);
    return (struct priv_settings){ .swtpm_dir = path, .swtpm_uid = geteuid(), .swtpm_gid = getegid() };
}

static void
state_bytes(uint8_t ret[static STATE_LEN])
{
    const uint8_t head[] = { 2, 1, 0, 10, 0, 0, 0, 0, STATE_LEN >> 8, STATE_LEN & 255 };

    for (size_t i = 0; i < STATE_LEN; i++)
        ret[i] = (uint8_t)(i * 7 + 1);
    memcpy(ret, head, sizeof head);
}

static int
vtpm_work(const char *folder, void *acks)
{
    CLEANUP(fd_close) int fd = memfd_create("state", MFD_CLOEXEC);
    struct vtpm_acks *a = acks;
    uint8_t bytes[STATE_LEN];
    char path[128];
    struct priv_settings s = vtpm_settings(folder, path);
    struct vm_uuid uuid;
    struct error err;
    bool exists = false, placed;

    a->runs++;
    number_uuid(0, &uuid);
    state_bytes(bytes);
    assert_int_equal(fd_write_all(fd, bytes, sizeof bytes, &err), 0);
    if (priv_vtpm_exists(&s, &uuid, &exists, &err) < 0)
        return -1;
    /* As the daemon asks: when placing fails, whether it is there all the same. */
    if (!exists && priv_vtpm_place(&s, &uuid, fd, &placed, &err) < 0 &&
        (priv_vtpm_exists(&s, &uuid, &exists, &err) < 0 || !exists))
        return -1;
    a->placed = true; /* the journal says now that it is there */
    return 0;
}

/* libvirt sees a whole state or none. */
static void
vtpm_check(const char *folder, const void *acks)
{
    CLEANUP(buf_clear) struct buf found = BUF(2 * STATE_LEN);
    const struct vtpm_acks *a = acks;
    char swtpm[128], inner[300], file[340], text[VM_UUID_TEXT];
    uint8_t bytes[STATE_LEN];
    struct vm_uuid uuid;
    struct error err;

    number_uuid(0, &uuid);
    vm_uuid_print(&uuid, text);
    snprintf(swtpm, sizeof swtpm, "%s/swtpm", folder);
    snprintf(inner, sizeof inner, "%s/%s/tpm2", swtpm, text);
    snprintf(file, sizeof file, "%s/tpm2-00.permall", inner);
    if (access(inner, F_OK) < 0) {
        assert_false(a->placed);
        return;
    }
    state_bytes(bytes);
    assert_int_equal(file_read(file, &found, &err), 0);
    assert_int_equal(found.len, STATE_LEN);
    assert_memory_equal(found.data, bytes, STATE_LEN);
    if (a->runs > 1)
        assert_no_leftovers(swtpm);
}

/* libvirt made the VM's own folder, for another version's state. */
static void
folder_of_vm(const char *folder)
{
    char path[300], text[VM_UUID_TEXT];
    struct vm_uuid uuid;

    number_uuid(0, &uuid);
    vm_uuid_print(&uuid, text);
    snprintf(path, sizeof path, "%s/swtpm", folder);
    assert_int_equal(mkdir(path, 0711), 0);
    snprintf(path, sizeof path, "%s/swtpm/%s", folder, text);
    assert_int_equal(mkdir(path, 0711), 0);
}

static const struct fault_case FIRST_VTPM = {
    .name = "first vTPM of a host", .work = vtpm_work, .check = vtpm_check
};
static const struct fault_case VTPM_INTO_FOLDER = {
    .name = "vTPM into its folder", .prepare = folder_of_vm, .work = vtpm_work, .check = vtpm_check
};

/* ---- tests ---- */

static const struct fault_case *const JOURNALS[] = { &FRESH_JOURNAL, &GROWN_JOURNAL };
static const struct fault_case *const STATES[] = { &FIRST_VTPM, &VTPM_INTO_FOLDER };

static void
the_journal_survives_a_kill_at_every_write(void **state)
{
    unsigned violations = 0;

    (void)state;
    for (size_t i = 0; i < 2; i++)
        violations += fault_run_crashes(JOURNALS[i]).violations;
    assert_int_equal(violations, 0);
}

static void
the_journal_survives_a_failure_of_every_call(void **state)
{
    unsigned violations = 0;

    (void)state;
    for (size_t i = 0; i < 2; i++)
        violations += fault_run_errors(JOURNALS[i]).violations;
    assert_int_equal(violations, 0);
}

static void
the_journal_survives_a_full_disk_at_every_page(void **state)
{
    bool skipped = false;

    (void)state;
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(fault_run_full(JOURNALS[i], &skipped).violations, 0);
    if (skipped)
        skip();
}

static void
a_vtpm_is_whole_or_absent_after_a_kill_at_every_write(void **state)
{
    unsigned violations = 0;

    (void)state;
    for (size_t i = 0; i < 2; i++)
        violations += fault_run_crashes(STATES[i]).violations;
    assert_int_equal(violations, 0);
}

static void
a_vtpm_is_whole_or_absent_after_a_failure_of_every_call(void **state)
{
    unsigned violations = 0;

    (void)state;
    for (size_t i = 0; i < 2; i++)
        violations += fault_run_errors(STATES[i]).violations;
    assert_int_equal(violations, 0);
}

static void
a_vtpm_is_whole_or_absent_on_a_full_disk(void **state)
{
    bool skipped = false;

    (void)state;
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(fault_run_full(STATES[i], &skipped).violations, 0);
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
        cmocka_unit_test(the_journal_survives_a_kill_at_every_write),
        cmocka_unit_test(the_journal_survives_a_failure_of_every_call),
        cmocka_unit_test(the_journal_survives_a_full_disk_at_every_page),
        cmocka_unit_test(a_vtpm_is_whole_or_absent_after_a_kill_at_every_write),
        cmocka_unit_test(a_vtpm_is_whole_or_absent_after_a_failure_of_every_call),
        cmocka_unit_test(a_vtpm_is_whole_or_absent_on_a_full_disk),
    };

    return cmocka_run_group_tests_name("host_faults", tests, set_up, tear_down);
}
