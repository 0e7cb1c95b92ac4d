#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/host_look.h"

#define HOOK "/etc/libvirt/hooks/qemu.d/virtid"

static void
denials_of_the_hook_are_known_by_the_kernels_words(void **state)
{
    static const char *const yes[] = {
        "5,1201,88123456,-;audit: type=1400 audit(1764225600.123:45): apparmor=\"DENIED\" operation=\"exec\" "
        "profile=\"libvirtd\" name=\"" HOOK "\" pid=4711 comm=\"rpc-libvirtd\" requested_mask=\"x\" denied_mask=\"x\"",
        "type=AVC msg=audit(1764225600.123:45): avc:  denied  { execute } for  pid=4711 comm=\"rpc-virtqemud\" "
        "name=\"virtid\" path=\"" HOOK "\" dev=\"vda1\" ino=12 scontext=system_u:system_r:virtqemud_t:s0 permissive=0",
        "apparmor=\"DENIED\" operation=\"connect\" profile=\"libvirtd\" name=\"/run/virtid/hook.sock\" comm=\"virtid\"",
    };
    static const char *const no[] = {
        "apparmor=\"DENIED\" operation=\"open\" profile=\"libvirtd\" name=\"/etc/shadow\" comm=\"rpc-libvirtd\"",
        "apparmor=\"ALLOWED\" operation=\"exec\" profile=\"libvirtd\" name=\"" HOOK "\" comm=\"rpc-libvirtd\"",
        "apparmor=\"DENIED\" operation=\"exec\" name=\"" HOOK "-old\" comm=\"rpc-libvirtd\"",
        "usb 1-1: device " HOOK " denied nothing",
        "",
    };

    (void)state;
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        assert_true(host_look_is_denial(yes[i], HOOK));
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        assert_false(host_look_is_denial(no[i], HOOK));
}

static enum verdict
version(const char *said, const char *least)
{
    struct finding f;

    host_look_version("it", said, least, &f);
    return f.verdict;
}

static void
versions_are_compared_part_by_part(void **state)
{
    (void)state;
    assert_int_equal(version("TPM emulator version 0.7.1, Copyright (c) 2014", "0.7.1"), VERDICT_PASS);
    assert_int_equal(version("TPM emulator version 0.10.0", "0.7.1"), VERDICT_PASS);
    assert_int_equal(version("9.0.0", "9.0"), VERDICT_PASS);
    assert_int_equal(version("10.0.0", "9.0"), VERDICT_PASS);
    assert_int_equal(version("8.10.0", "9.0"), VERDICT_WARN);
    assert_int_equal(version("0.7.0", "0.7.1"), VERDICT_WARN);
    assert_int_equal(version("no number", "0.7.1"), VERDICT_WARN);
    assert_int_equal(version("", "0.7.1"), VERDICT_WARN);
}

static void
a_certificate_that_is_not_renewed_is_said_before_it_ends(void **state)
{
    enum { HOUR = 3600, DAY = 24 * HOUR, BEGIN = 1760000000 };
    struct finding f;

    (void)state;
    host_look_certificate(BEGIN, BEGIN + DAY, BEGIN + 13 * HOUR, &f);
    assert_int_equal(f.verdict, VERDICT_PASS);
    host_look_certificate(BEGIN, BEGIN + DAY, BEGIN + 19 * HOUR, &f);
    assert_int_equal(f.verdict, VERDICT_WARN);
    host_look_certificate(BEGIN, BEGIN + DAY, BEGIN + DAY, &f);
    assert_int_equal(f.verdict, VERDICT_FAIL);
    host_look_certificate(BEGIN, BEGIN + DAY, BEGIN - 1, &f);
    assert_int_equal(f.verdict, VERDICT_FAIL);
    assert_non_null(strstr(f.repair, "clock"));
}

static void
a_clock_that_differs_from_the_services_is_said_with_how_much(void **state)
{
    struct finding f;

    (void)state;
    host_look_difference(true, -4900, &f);
    assert_int_equal(f.verdict, VERDICT_PASS);
    host_look_difference(true, 5100, &f);
    assert_int_equal(f.verdict, VERDICT_WARN);
    assert_non_null(strstr(f.seen, "5.1 s behind the service's"));
    host_look_difference(true, -60000, &f);
    assert_int_equal(f.verdict, VERDICT_WARN);
    host_look_difference(true, -3600 * 1000, &f);
    assert_int_equal(f.verdict, VERDICT_FAIL);
    assert_non_null(strstr(f.seen, "3600.0 s ahead of the service's"));
    assert_non_null(strstr(f.repair, "timesyncd"));
    host_look_difference(false, 0, &f);
    assert_int_equal(f.verdict, VERDICT_WARN);
}

static void
a_program_says_its_first_line_or_nothing(void **state)
{
    static const char *const good[] = { "/bin/sh", "-c", "echo one; echo two", NULL };
    static const char *const bad[] = { "/bin/sh", "-c", "echo one; exit 3", NULL };
    static const char *const none[] = { "/nowhere/program", NULL };
    char said[16];

    (void)state;
    assert_true(host_look_run(good, said, sizeof said));
    assert_string_equal(said, "one");
    assert_false(host_look_run(bad, said, sizeof said));
    assert_false(host_look_run(none, said, sizeof said));
}

static void
a_folder_that_is_missing_fails_and_names_itself(void **state)
{
    struct finding f;

    (void)state;
    host_look_room("/nowhere/at/all", &f);
    assert_int_equal(f.verdict, VERDICT_FAIL);
    assert_non_null(strstr(f.seen, "/nowhere/at/all"));
    assert_true(f.repair[0] != '\0');
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(denials_of_the_hook_are_known_by_the_kernels_words),
        cmocka_unit_test(versions_are_compared_part_by_part),
        cmocka_unit_test(a_certificate_that_is_not_renewed_is_said_before_it_ends),
        cmocka_unit_test(a_clock_that_differs_from_the_services_is_said_with_how_much),
        cmocka_unit_test(a_program_says_its_first_line_or_nothing),
        cmocka_unit_test(a_folder_that_is_missing_fails_and_names_itself),
    };

    return cmocka_run_group_tests_name("host_look", tests, NULL, NULL);
}
