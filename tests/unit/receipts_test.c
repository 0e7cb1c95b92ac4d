/*
 * What the service signed for a VM is kept by its versions, over a restart of the host daemon.
 */
#include "config.h"

#include "plugin/receipts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "plugin/vms.h"
#include "tests/unit/hostd_fixture.h"

static struct lease_result
answer(uint8_t byte, uint64_t ver, uint64_t row_ver)
{
    struct lease_result r = { .answer = LEASE_OK, .receipt_len = 100, .ver = ver, .row_ver = row_ver };

    memset(r.receipt, byte, r.receipt_len);
    return r;
}

static int
take_first(void *context, const struct vm_record *record, struct error *err)
{
    (void)err;
    *(struct vm_record *)context = *record;
    return 0;
}

static void
the_newest_is_in_the_journal(void **state)
{
    struct hostd_rig *rig = *state;
    struct lease_result first = answer(1, 10, 20), second = answer(2, 11, 0), none = { .answer = LEASE_OK };
    static struct vm_record read;
    struct error err;
    unsigned bad;

    assert_true(receipts_take(rig->vm, &first));
    assert_true(receipts_take(rig->vm, &second));
    assert_false(receipts_take(rig->vm, &none)); /* the service has nothing newer */
    vm_save(rig->vm);
    assert_int_equal(journal_load(rig->hostd.journal, take_first, &read, &bad, &err), 0);
    assert_int_equal(read.receipt_len, 100);
    assert_int_equal(read.receipt[0], 2);
    assert_int_equal(read.receipt_ver, 11);
    assert_int_equal(read.receipt_row_ver, 0);
}

/* A service of before the versions: what it signed can not be asked for. */
static void
without_a_version_nothing_is_kept(void **state)
{
    struct hostd_rig *rig = *state;
    struct lease_result r = answer(1, 0, 0);

    assert_false(receipts_take(rig->vm, &r));
    assert_int_equal(rig->vm->record.receipt_len, 0);
}

static void
it_is_shown_as_long_as_it_is_asked_for(void **state)
{
    struct hostd_rig *rig = *state;
    struct lease_result asks = { .answer = LEASE_GRACE, .show = true }, done = { .answer = LEASE_OK };

    receipts_take(rig->vm, &asks);
    assert_true(rig->vm->show);
    receipts_show(&rig->hostd); /* nobody to show it to: it waits */
    assert_true(rig->vm->show);
    receipts_take(rig->vm, &done);
    assert_false(rig->vm->show);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_newest_is_in_the_journal, hostd_rig_make, hostd_rig_end),
        cmocka_unit_test_setup_teardown(without_a_version_nothing_is_kept, hostd_rig_make, hostd_rig_end),
        cmocka_unit_test_setup_teardown(it_is_shown_as_long_as_it_is_asked_for, hostd_rig_make, hostd_rig_end),
    };

    return cmocka_run_group_tests_name("receipts", tests, NULL, NULL);
}
