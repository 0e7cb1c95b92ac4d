#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/fdio.h"
#include "plugin/journal.h"

struct found {
    struct vm_record records[4];
    size_t n;
};

static char dir[64];

static int
make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/virtid-journal-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int
remove_dir(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

static int
collect(void *context, const struct vm_record *record, struct error *err)
{
    struct found *found = context;

    (void)err;
    found->records[found->n++] = *record;
    return 0;
}

static struct vm_record
full_record(void)
{
    struct vm_record r = { .name = "web \"1\" größe", .managed = true, .ran = true, .known = true, .mode = MODE_STRICT,
                           .e = 1760000000000, .kn = 7, .run = "4@123456", .run_e = 1760000000000,
                           .run_k = true, .n_ends = 2, .receipt_len = 5, .receipt_ver = 21, .receipt_row_ver = 22, .ek_len = 3, .has_x0 = true };
    struct error err;

    assert_int_equal(vm_uuid_parse("6ba7b810-9dad-11d1-80b4-00c04fd430c8", &r.uuid, &err), 0);
    r.ends[0] = (struct lease_end){ VIEW_GO, 11, 12 };
    r.ends[1] = (struct lease_end){ VIEW_GU, 0, 13 };
    r.steps[STEP_VTPM].state = STEP_DONE;
    r.steps[STEP_INJECT].state = STEP_SKIPPED;
    strcpy(r.steps[STEP_INJECT].problem, "image-dirty");
    strcpy(r.steps[STEP_INJECT].text, "needs_recovery");
    strcpy(r.genid, "11ef9084-1fba-464e-82ea-8f7fdb2e3e08");
    r.saw = SAW_SNAPSHOT | SAW_GENID;
    r.saw_seq = 14;
    memset(r.ek, 5, sizeof r.ek);
    memset(r.receipt, 9, r.receipt_len);
    return r;
}

static void
load(struct found *found, unsigned *bad)
{
    CLEANUP(journal_close) struct journal *j = NULL;
    struct error err;

    memset(found, 0, sizeof *found);
    assert_int_equal(journal_open(dir, &j, &err), 0);
    assert_int_equal(journal_load(j, collect, found, bad, &err), 0);
}

static void
what_was_saved_is_there_after_a_restart(void **state)
{
    CLEANUP(journal_close) struct journal *j = NULL;
    struct vm_record r = full_record();
    static struct found found;
    struct error err;
    unsigned bad;

    (void)state;
    assert_int_equal(journal_open(dir, &j, &err), 0);
    assert_int_equal(journal_save(j, &r, &err), 0);
    load(&found, &bad);
    assert_int_equal(found.n, 1);
    assert_int_equal(bad, 0);
    assert_string_equal(found.records[0].name, r.name);
    assert_int_equal(found.records[0].e, r.e);
    assert_string_equal(found.records[0].run, r.run);
    assert_string_equal(found.records[0].genid, r.genid);
    assert_int_equal(found.records[0].saw, r.saw);
    assert_int_equal(found.records[0].saw_seq, r.saw_seq);
    assert_true(found.records[0].run_k && found.records[0].has_x0 && !found.records[0].has_point);
    assert_int_equal(found.records[0].n_ends, 2);
    assert_int_equal(found.records[0].ends[1].view, VIEW_GU);
    assert_int_equal(found.records[0].ends[1].seq, 13);
    assert_int_equal(found.records[0].steps[STEP_INJECT].state, STEP_SKIPPED);
    assert_string_equal(found.records[0].steps[STEP_INJECT].problem, "image-dirty");
    assert_int_equal(found.records[0].ek_len, 3);
    assert_int_equal(found.records[0].receipt_len, 5);
    assert_int_equal(found.records[0].receipt_ver, 21);
    assert_int_equal(found.records[0].receipt_row_ver, 22);
}

static void
a_broken_file_is_put_aside_and_counted(void **state)
{
    CLEANUP(journal_close) struct journal *j = NULL;
    static struct found found;
    char path[200];
    struct error err;
    unsigned bad;

    (void)state;
    assert_int_equal(journal_open(dir, &j, &err), 0);
    snprintf(path, sizeof path, "%s/vms/11111111-2222-3333-4444-555555555555.json", dir);
    assert_int_equal(file_replace(path, "{\"v\":1", 6, 0600, &err), 0);
    snprintf(path, sizeof path, "%s/vms/README", dir);
    assert_int_equal(file_replace(path, "x", 1, 0600, &err), 0);
    load(&found, &bad);
    assert_int_equal(found.n, 0);
    assert_int_equal(bad, 1);
    load(&found, &bad);
    assert_int_equal(bad, 0);
}

static void
a_file_that_names_another_vm_is_not_taken(void **state)
{
    CLEANUP(journal_close) struct journal *j = NULL;
    CLEANUP(buf_clear) struct buf text = BUF(32768);
    struct vm_record r = full_record();
    static struct found found;
    char path[200];
    struct error err;
    unsigned bad;

    (void)state;
    assert_int_equal(journal_open(dir, &j, &err), 0);
    assert_int_equal(vm_record_encode(&r, &text, &err), 0);
    snprintf(path, sizeof path, "%s/vms/11111111-2222-3333-4444-555555555555.json", dir);
    assert_int_equal(file_replace(path, text.data, text.len, 0600, &err), 0);
    load(&found, &bad);
    assert_int_equal(found.n, 0);
    assert_int_equal(bad, 1);
}

static void
numbers_rise_across_restarts(void **state)
{
    uint64_t last = 0;

    (void)state;
    for (int restart = 0; restart < 3; restart++) {
        CLEANUP(journal_close) struct journal *j = NULL;
        struct error err;

        assert_int_equal(journal_open(dir, &j, &err), 0);
        for (int i = 0; i < 1500; i++) {
            uint64_t seq;

            assert_int_equal(journal_next_seq(j, &seq, &err), 0);
            assert_true(seq > last);
            last = seq;
        }
    }
}

static void
a_record_that_can_not_be_written_is_an_error(void **state)
{
    CLEANUP(journal_close) struct journal *j = NULL;
    struct vm_record r = full_record();
    struct error err;
    char path[200];

    (void)state;
    assert_int_equal(journal_open(dir, &j, &err), 0);
    snprintf(path, sizeof path, "%s/vms", dir);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(journal_save(j, &r, &err), -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_saved_is_there_after_a_restart, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_broken_file_is_put_aside_and_counted, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_file_that_names_another_vm_is_not_taken, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(numbers_rise_across_restarts, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_record_that_can_not_be_written_is_an_error, make_dir, remove_dir),
    };

    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
