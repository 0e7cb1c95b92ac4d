#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/common/fdio.h"
#include "plugin/observed.h"

static const struct vm_uuid vm = { { 1 } };
static char dir[40];

static int
make_folder(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/virtid-observed-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int
remove_folder(void **state)
{
    char command[80];

    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

static void
it_comes_back_as_it_was_and_can_be_forgotten(void **state)
{
    struct observed in = { 0 }, out;
    struct error err;

    (void)state;
    observed_add(&in, "start", "refused", "host-b holds the lease", 1000);
    observed_add(&in, "vtpm", "done", "a TPM state would be made", 2000);
    assert_int_equal(observed_save(dir, &vm, &in, &err), 0);
    assert_int_equal(observed_load(dir, &vm, &out, &err), 0);
    assert_memory_equal(&in, &out, sizeof in);
    observed_forget(dir, &vm);
    assert_int_equal(observed_load(dir, &vm, &out, &err), -1);
    assert_int_equal(err.code, ERROR_MISSING);
}

static void
the_same_word_is_counted_and_another_is_added(void **state)
{
    struct observed o = { 0 };

    (void)state;
    observed_add(&o, "start", "allowed", "with the lease", 1);
    observed_add(&o, "vtpm", "done", "", 1);
    observed_add(&o, "start", "allowed", "with the lease", 5);
    assert_int_equal(o.n, 2);
    assert_int_equal(o.words[0].times, 2);
    assert_int_equal(o.words[0].ms, 5);
    observed_add(&o, "start", "refused", "host-b", 6);
    observed_add(&o, "start", "allowed", "with the lease", 7);
    assert_int_equal(o.n, 4);
}

static void
it_is_bounded_and_keeps_the_newest(void **state)
{
    char text[2000], step[8];
    struct observed o = { 0 }, out;
    struct error err;

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    memcpy(text + OBSERVED_TEXT_MAX - 1, "\xc3\xa4", 2); /* cut in the middle of a letter */
    for (int i = 0; i < 1000; i++) {
        snprintf(step, sizeof step, "s%d", i);
        observed_add(&o, step, "done", text, i);
    }
    assert_int_equal(o.n, OBSERVED_MAX);
    assert_string_equal(o.words[OBSERVED_MAX - 1].step, "s999");
    assert_string_equal(o.words[0].step, "s984");
    assert_int_equal(observed_save(dir, &vm, &o, &err), 0);
    assert_int_equal(observed_load(dir, &vm, &out, &err), 0);
    assert_memory_equal(&o, &out, sizeof o);
}

static void
a_damaged_file_is_refused(void **state)
{
    static const char *const bad[] = { "", "{}", "{\"words\":[{}]}", "{\"words\":[1]}", "[" };
    struct observed in = { 0 }, out;
    struct error err;
    char path[120], uuid[VM_UUID_TEXT];

    (void)state;
    vm_uuid_print(&vm, uuid);
    snprintf(path, sizeof path, "%s/observed/%s.json", dir, uuid);
    assert_int_equal(observed_save(dir, &vm, &in, &err), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(file_replace(path, bad[i], strlen(bad[i]), 0600, &err), 0);
        assert_int_equal(observed_load(dir, &vm, &out, &err), -1);
    }
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(it_comes_back_as_it_was_and_can_be_forgotten),
        IN_FOLDER(the_same_word_is_counted_and_another_is_added),
        IN_FOLDER(it_is_bounded_and_keeps_the_newest),
        IN_FOLDER(a_damaged_file_is_refused),
    };

    return cmocka_run_group_tests_name("observed", tests, NULL, NULL);
}
