#include "config.h"

#include "tokenservice/api/pulls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void
ask(struct pulls *p, uint8_t number)
{
    struct vm_uuid uuid = { .bytes = { number } };
    char asker[16];
    bool is_new;

    snprintf(asker, sizeof asker, "kvm%u", number);
    assert_int_equal(pulls_ask(p, "kvm0", &uuid, asker, 0, &is_new), PULL_ASKED);
    assert_true(is_new);
}

static void
wake_nobody(void *context, const char *asker)
{
    (void)context;
    (void)asker;
}

static void
more_than_one_answer_holds_are_told_in_their_order(void **state)
{
    CLEANUP(pulls_free) struct pulls *p = NULL;
    static struct lease_report report = { .host = "kvm0", .n_vms = 1 };
    struct lease_pull first, rest;
    struct error err;
    bool is_new;

    (void)state;
    assert_int_equal(pulls_new(100, &p, &err), 0);
    for (uint8_t i = 0; i <= LEASE_VMS_MAX + 1; i++)
        ask(p, i);
    /* the first place is free again, and is taken by what was asked last */
    report.pull = 101;
    pulls_take(p, &report, wake_nobody, NULL);
    assert_int_equal(pulls_ask(p, "kvm0", &report.vms[0].uuid, "kvm0", 0, &is_new), PULL_ANSWERED);
    ask(p, 200);

    pulls_wanted(p, "kvm0", 0, &first);
    assert_int_equal(first.n, LEASE_VMS_MAX);
    assert_int_equal(first.pull, 101 + LEASE_VMS_MAX);
    pulls_wanted(p, "kvm0", first.pull, &rest);
    assert_int_equal(rest.n, 2);
    assert_int_equal(rest.uuids[0].bytes[0], LEASE_VMS_MAX + 1);
    assert_int_equal(rest.uuids[1].bytes[0], 200);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_than_one_answer_holds_are_told_in_their_order),
    };

    return cmocka_run_group_tests_name("pulls", tests, NULL, NULL);
}
