#include "config.h"

#include "plugin/inject/guest_init.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static const uint8_t elf[GUEST_ELF_LEN] = { 0x7f, 'E', 'L', 'F', 2, 1, 1, [16] = 3, [18] = 62 };

static struct guest_signs
debian(void)
{
    struct guest_signs s = { .init = true, .init_target = "/lib/systemd/systemd", .systemd = true, .glibc = true,
                             .sysvinit = true, .shell_len = GUEST_ELF_LEN };

    memcpy(s.shell, elf, sizeof elf);
    return s;
}

static struct guest_signs
alpine(void)
{
    struct guest_signs s = { .init = true, .init_target = "/bin/busybox", .openrc = true, .shell_len = GUEST_ELF_LEN };

    memcpy(s.shell, elf, sizeof elf);
    return s;
}

static struct guest_signs
devuan(void)
{
    struct guest_signs s = debian();

    s.init_target[0] = '\0'; /* a program, no link */
    s.systemd = false;
    return s;
}

static enum guest_init
chosen(const struct guest_signs *s)
{
    enum guest_init init = GUEST_INIT_NONE;
    struct error err = { 0 };

    if (guest_init_choose(s, &init, &err) < 0)
        fail_msg("%s", err.text);
    return init;
}

static void
assert_refused(const struct guest_signs *s, const char *problem)
{
    enum guest_init init = GUEST_INIT_OPENRC;
    struct error err = { 0 };

    assert_int_equal(guest_init_choose(s, &init, &err), -1);
    assert_int_equal(err.code, ERROR_DENIED);
    assert_string_equal(err.problem, problem);
    assert_int_equal(init, GUEST_INIT_OPENRC);
}

static void
the_system_that_starts_is_the_one_chosen(void **state)
{
    struct guest_signs s = debian();

    (void)state;
    assert_int_equal(chosen(&s), GUEST_INIT_SYSTEMD);
    strcpy(s.init_target, "../lib/systemd/systemd");
    assert_int_equal(chosen(&s), GUEST_INIT_SYSTEMD);
    s.init = false; /* as in an image made for containers */
    s.init_target[0] = '\0';
    assert_int_equal(chosen(&s), GUEST_INIT_SYSTEMD);
    s = alpine();
    assert_int_equal(chosen(&s), GUEST_INIT_OPENRC);
    s = devuan();
    assert_int_equal(chosen(&s), GUEST_INIT_SYSVINIT);
    s.systemd = true; /* its package is there, for logind: it does not start the guest */
    assert_int_equal(chosen(&s), GUEST_INIT_SYSVINIT);
    s.openrc = true; /* Debian's openrc works in sysvinit's folders */
    assert_int_equal(chosen(&s), GUEST_INIT_OPENRC);
}

static void
a_guest_that_nothing_fits_has_one_reason(void **state)
{
    struct guest_signs s = { 0 };

    (void)state;
    assert_refused(&s, "agent-init");
    s = devuan();
    s.sysvinit = false; /* runit, s6 */
    assert_refused(&s, "agent-init");
    s = debian();
    s.systemd = false; /* the link leads nowhere */
    s.sysvinit = false;
    assert_refused(&s, "agent-init");
    s = alpine();
    s.shell_len = 0;
    assert_refused(&s, "agent-init");
    s = debian();
    s.glibc = false;
    assert_refused(&s, "agent-libc");
    for (int i = 0; i < GUEST_ELF_LEN; i++) {
        s = alpine();
        s.shell[i] ^= 0x81;
        if (i < 6 || i >= 18)
            assert_refused(&s, "agent-arch");
        else
            (void)chosen(&s);
    }
    s = alpine();
    s.shell_len = GUEST_ELF_LEN - 1;
    assert_refused(&s, "agent-arch");
}

static void
a_link_with_any_text_is_only_compared(void **state)
{
    static const char *const texts[] = { "/", "systemd", "", "//systemd/", "/x/systemd\nsystemd" };
    static const enum guest_init expected[] = { GUEST_INIT_SYSVINIT, GUEST_INIT_SYSTEMD, GUEST_INIT_SYSVINIT,
                                                GUEST_INIT_SYSVINIT, GUEST_INIT_SYSVINIT };
    struct guest_signs s = debian();

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        strcpy(s.init_target, texts[i]);
        assert_int_equal(chosen(&s), expected[i]);
    }
    memset(s.init_target, 'x', sizeof s.init_target - 1);
    assert_int_equal(chosen(&s), GUEST_INIT_SYSVINIT);
}

static bool
takes(enum guest_init init, const char *name)
{
    struct payload_entry e = { .path = name, .path_len = strlen(name), .kind = 's' };

    return guest_init_takes(init, &e);
}

static void
each_guest_takes_its_own_sections(void **state)
{
    static const char *const names[] = { "/systemd", "/scripts", "/openrc", "/sysvinit", "/none", "/system", "/systemdx" };
    static const bool wanted[][7] = {
        [GUEST_INIT_SYSTEMD] = { true },
        [GUEST_INIT_OPENRC] = { false, true, true },
        [GUEST_INIT_SYSVINIT] = { false, true, false, true },
    };

    (void)state;
    for (int init = GUEST_INIT_SYSTEMD; init <= GUEST_INIT_SYSVINIT; init++)
        for (int i = 0; i < 7; i++)
            assert_int_equal(takes((enum guest_init)init, names[i]), wanted[init][i]);
    assert_false(takes(GUEST_INIT_NONE, "/systemd"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_system_that_starts_is_the_one_chosen),
        cmocka_unit_test(a_guest_that_nothing_fits_has_one_reason),
        cmocka_unit_test(a_link_with_any_text_is_only_compared),
        cmocka_unit_test(each_guest_takes_its_own_sections),
    };

    return cmocka_run_group_tests_name("guest_init", tests, NULL, NULL);
}
