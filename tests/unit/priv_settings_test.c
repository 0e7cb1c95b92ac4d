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
#include "plugin/priv/priv_settings.h"

/* Users that are on every machine. */
#define USERS "[priv]\nhost_user = daemon\nqemu_user = bin\nswtpm_user = sys\ninject_user = nobody\n"

static char path[] = "/tmp/virtid-privd.conf.XXXXXX";

static void
put(const char *text)
{
    struct error err;

    assert_int_equal(file_replace(path, text, strlen(text), 0600, &err), 0);
}

static void
what_guards_images_and_guests_is_taken_while_it_runs(void **state)
{
    CLEANUP(priv_settings_clear) struct priv_settings s = { 0 };
    struct error err;

    (void)state;
    put(USERS "image_roots = /a /b\n");
    assert_int_equal(priv_settings_read(path, false, &s, &err), 0);
    assert_string_equal(s.image_roots.folders[1], "/b");
    put(USERS "image_roots = /c\nchannel_roots = /d\nfence_action = pause\nsave_dir = /e\n");
    priv_settings_reload(&s);
    assert_string_equal(s.image_roots.folders[0], "/c");
    assert_null(s.image_roots.folders[1]);
    assert_string_equal(s.channel_roots.folders[0], "/d");
    assert_int_equal(s.fence_action, PRIV_FENCE_PAUSE);
    assert_string_equal(s.save_dir, "/var/lib/libvirt/qemu/save"); /* behind a restart */
}

static void
a_file_that_is_wrong_changes_nothing(void **state)
{
    static const char *const wrong[] = {
        USERS "image_roots = /c\nfence_action = maybe\n",
        USERS "image_roots = /c relative\n",
        USERS "image_roots = /c\nno_such = 1\n",
        USERS "image_roots = /c\nqemu_user = no-such-user\n",
    };
    CLEANUP(priv_settings_clear) struct priv_settings s = { 0 };
    struct error err;

    (void)state;
    put(USERS "image_roots = /a\n");
    assert_int_equal(priv_settings_read(path, false, &s, &err), 0);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        put(wrong[i]);
        priv_settings_reload(&s);
        assert_string_equal(s.image_roots.folders[0], "/a");
        assert_int_equal(s.fence_action, PRIV_FENCE_REPORT);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_guards_images_and_guests_is_taken_while_it_runs),
        cmocka_unit_test(a_file_that_is_wrong_changes_nothing),
    };
    int failed, fd = mkstemp(path);

    if (fd < 0)
        return 1;
    fd_close(fd);
    failed = cmocka_run_group_tests_name("priv_settings", tests, NULL, NULL);
    (void)unlink(path);
    return failed;
}
