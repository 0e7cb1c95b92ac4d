/* What a host daemon takes of a configuration that is read again. */
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
#include "plugin/hostd_conf.h"
#include "plugin/modes.h"
#include "plugin/vms.h"
#include "tests/unit/hostd_fixture.h"

static char path[60];

static void
put(const struct hostd_rig *rig, const char *text)
{
    struct error err;

    snprintf(path, sizeof path, "%s/hostd.conf", rig->dir);
    assert_int_equal(file_replace(path, text, strlen(text), 0600, &err), 0);
}

static void
policy_is_taken_and_no_path_moves(void **state)
{
    CLEANUP(hostd_conf_clear) struct hostd_conf conf = { .file = NULL }, fresh = { .file = NULL };
    struct hostd_settings before;
    struct error err;

    put(*state, "[host]\nname = a\nstate_dir = /one\n");
    assert_int_equal(hostd_conf_read(path, &conf, &err), 0);
    before = conf.settings;
    assert_string_equal(before.strict_dir, "/one/strict");
    put(*state, "[host]\nname = a\nstate_dir = /two\nstart_wait = 7\ninject = never\nmanage = all\nmode = observe\n");
    assert_int_equal(hostd_conf_read(path, &fresh, &err), 0);
    hostd_conf_take(&conf, &fresh);
    assert_int_equal(conf.settings.start_wait_ms, 7000);
    assert_int_equal(conf.settings.mode, MODE_OBSERVE);
    assert_true(conf.settings.manage_all && !conf.settings.inject);
    assert_ptr_equal(conf.settings.state_dir, before.state_dir); /* other threads have it */
    assert_ptr_equal(conf.settings.strict_dir, before.strict_dir);
    assert_string_equal(before.state_dir, "/one");
    assert_string_equal(before.strict_dir, "/one/strict");
}

static void
a_mistake_is_told_with_its_file(void **state)
{
    static const struct { const char *text, *words; } wrong[] = {
        { "[host]\nname = a\nmode = maybe\n", "[host] mode is" },
        { "[host]\nname = a\nstart_wait = 0\n", "[host] start_wait is" },
        { "[host]\nname = a\nno_such = 1\n", ":3: unknown setting" },
        { "[host]\nname = a\nmetrics = 0.0.0.0:9\n", "name one, as 127.0.0.1:PORT" },
        { "[host]\nname = a\nmetrics = here\n", "is not ADDRESS:PORT" },
        { "[host]\nname = a\nadmin_group = no-such-group\n", "there is no group" },
        { "[host]\nname = a b\n", "is no host name" },
    };
    struct hostd_conf conf;
    struct error err;

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        put(*state, wrong[i].text);
        assert_int_equal(hostd_conf_read(path, &conf, &err), -1);
        assert_null(conf.file);
        assert_non_null(strstr(err.text, path));
        assert_non_null(strstr(err.text, wrong[i].words));
    }
}

static bool
is_marked(const struct hostd_rig *rig)
{
    char mark[100];

    snprintf(mark, sizeof mark, "%s/6ba7b810-9dad-11d1-80b4-00c04fd430c8", rig->dir);
    return access(mark, F_OK) == 0;
}

static void
another_mode_of_the_host_is_that_of_vms_without_one_of_their_own(void **state)
{
    struct hostd_rig *rig = *state;

    rig->hostd.settings.mode = MODE_LOOSE;
    rig->vm->not_before_ms = INT64_MAX;
    modes_of_host(&rig->hostd, MODE_STRICT);
    assert_true(vm_is_strict(rig->vm) && is_marked(rig));
    assert_int_equal(rig->vm->not_before_ms, 0); /* looked at again */
    modes_of_host(&rig->hostd, MODE_LOOSE);
    assert_false(vm_is_strict(rig->vm) || is_marked(rig));

    modes_take(rig->vm, MODE_OBSERVE);
    rig->vm->not_before_ms = INT64_MAX;
    modes_of_host(&rig->hostd, MODE_STRICT);
    assert_false(vm_is_strict(rig->vm) || is_marked(rig));
    assert_true(rig->vm->not_before_ms == INT64_MAX);
}

#define IN_RIG(test) cmocka_unit_test_setup_teardown(test, hostd_rig_make, hostd_rig_end)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        IN_RIG(policy_is_taken_and_no_path_moves),
        IN_RIG(a_mistake_is_told_with_its_file),
        IN_RIG(another_mode_of_the_host_is_that_of_vms_without_one_of_their_own),
    };

    return cmocka_run_group_tests_name("host_reload", tests, NULL, NULL);
}
