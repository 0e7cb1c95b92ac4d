#include "config.h"

#include "plugin/inject/kvm_probe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/clock.h"

static void
probe_answers_within_its_time(void **state)
{
    int64_t before = clock_monotonic_ms();

    (void)state;
    (void)kvm_probe();
    assert_true(clock_monotonic_ms() - before < 5000);
}

static void
probe_says_no_where_there_is_no_kvm(void **state)
{
    (void)state;
    if (access("/dev/kvm", R_OK | W_OK) == 0)
        return; /* both answers may be right then */
    assert_false(kvm_probe());
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(probe_answers_within_its_time),
        cmocka_unit_test(probe_says_no_where_there_is_no_kvm),
    };

    return cmocka_run_group_tests_name("kvm_probe", t, NULL, NULL);
}
