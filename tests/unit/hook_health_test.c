#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/fdio.h"
#include "plugin/hook_health.h"

/* This test plays libvirtd: it is the parent of whom it says. */
static struct hostd hostd;
static char dir[40];

static void
put(const char *name, const char *text, mode_t mode)
{
    char path[100];
    struct error err;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(file_replace(path, text, strlen(text), mode, &err), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static int
make_rig(void **state)
{
    char path[80], pid[16];

    (void)state;
    memset(&hostd, 0, sizeof hostd);
    strcpy(dir, "/tmp/virtid-health-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    hostd.settings.hook_dir = hostd.settings.run_dir = hostd.settings.libvirt_run_dir = dir;
    snprintf(path, sizeof path, "%s/qemu.d", dir);
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    prctl(PR_SET_NAME, "libvirtd");
    if (mkdir(path, 0755) < 0)
        return -1;
    put("libvirtd.pid", pid, 0644);
    put("qemu", "", 0755); /* of somebody else; see also the ticks below */
    put("qemu.d/virtid", "", 0755);
    return 0;
}

static int
end_rig(void **state)
{
    char command[80];

    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

/* What it says of itself, as if libvirtd had begun just now. */
static const char *
word(void)
{
    hook_health_look(&hostd);
    if (hostd.hook.place.state == HOOK_PLACE_LATE)
        hook_place_look(dir, &(struct hook_daemon){ .pid = 1, .started_ms = INT64_MAX }, &hostd.hook.place);
    return hook_health_word(&hostd);
}

/* A child of ours that waits, as a hook does. */
static pid_t
child(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, 9);
        for (;;)
            pause();
    }
    return pid;
}

static void
a_hook_in_order_is_not_proven_until_it_is_called(void **state)
{
    (void)state;
    assert_string_equal(word(), "unproven");
    assert_false(hook_health_is_bad(&hostd));
    hook_health_called(&hostd, child());
    assert_string_equal(word(), "ok");
}

static void
a_hook_that_came_late_is_dead(void **state)
{
    (void)state;
    hook_health_look(&hostd); /* this process is older than the files */
    assert_string_equal(hook_health_word(&hostd), "late");
    assert_true(hook_health_is_bad(&hostd));
    assert_int_equal(hostd.next_report_ms, 0);
}

static void
rename_over(const char *name)
{
    char from[100], to[100];

    put("new", "", 0755);
    snprintf(from, sizeof from, "%s/new", dir);
    snprintf(to, sizeof to, "%s/%s", dir, name);
    assert_int_equal(rename(from, to), 0);
}

/* This process is older than the files: so is the libvirtd that it plays. */
static void
a_hook_that_is_replaced_before_it_was_called_is_not_late(void **state)
{
    (void)state;
    hook_health_look(&hostd);
    hostd.hook.found_pid = hostd.hook.daemon.pid; /* what a look before the update would have seen */
    hostd.hook.found_ticks = hostd.hook.daemon.ticks;
    rename_over("qemu.d/virtid");
    hook_health_look(&hostd);
    assert_string_equal(hook_health_word(&hostd), "unproven");
    assert_non_null(strstr(hook_health_seen(&hostd), "replaced"));
    hostd.hook.found_ticks--; /* that was the libvirtd before */
    hook_health_look(&hostd);
    assert_string_equal(hook_health_word(&hostd), "late");
}

static void
that_it_was_there_is_known_after_a_restart_too(void **state)
{
    char text[64];

    (void)state;
    hook_health_look(&hostd);
    snprintf(text, sizeof text, "%ld@%llu\n", (long)hostd.hook.daemon.pid, hostd.hook.daemon.ticks);
    put("hook-found", text, 0644);
    memset(&hostd.hook, 0, sizeof hostd.hook);
    hook_health_open(&hostd);
    assert_string_equal(hook_health_word(&hostd), "unproven");
}

static void
a_call_by_hand_proves_nothing(void **state)
{
    (void)state;
    hook_health_called(&hostd, getpid());
    assert_string_equal(word(), "unproven");
}

static void
a_domain_that_started_without_a_call_is_proof_of_the_contrary(void **state)
{
    (void)state;
    hook_health_called(&hostd, child());
    hook_health_silent(&hostd, "web1");
    assert_string_equal(word(), "silent");
    assert_non_null(strstr(hook_health_seen(&hostd), "web1"));
    hook_health_called(&hostd, child());
    assert_string_equal(word(), "ok");
}

static void
a_file_that_goes_is_noticed_although_it_was_called(void **state)
{
    char path[80];

    (void)state;
    hook_health_called(&hostd, child());
    snprintf(path, sizeof path, "%s/qemu.d/virtid", dir);
    assert_int_equal(chmod(path, 0644), 0);
    assert_string_equal(word(), "unusable");
    assert_int_equal(unlink(path), 0);
    assert_string_equal(word(), "absent");
}

static void
a_new_libvirtd_has_to_call_again(void **state)
{
    (void)state;
    hook_health_called(&hostd, child());
    hook_health_silent(&hostd, "web1");
    hostd.hook.daemon.ticks--; /* it was another run of it */
    hostd.hook.called_ticks--;
    assert_string_equal(word(), "unproven");
}

static void
a_daemon_of_ours_that_restarts_still_knows(void **state)
{
    (void)state;
    hook_health_called(&hostd, child());
    hook_health_look(&hostd);
    memset(&hostd.hook, 0, sizeof hostd.hook);
    hook_health_open(&hostd);
    assert_string_equal(hook_health_word(&hostd), "ok");
}

#define IN_RIG(test) cmocka_unit_test_setup_teardown(test, make_rig, end_rig)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        IN_RIG(a_hook_in_order_is_not_proven_until_it_is_called),
        IN_RIG(a_hook_that_came_late_is_dead),
        IN_RIG(a_hook_that_is_replaced_before_it_was_called_is_not_late),
        IN_RIG(that_it_was_there_is_known_after_a_restart_too),
        IN_RIG(a_call_by_hand_proves_nothing),
        IN_RIG(a_domain_that_started_without_a_call_is_proof_of_the_contrary),
        IN_RIG(a_file_that_goes_is_noticed_although_it_was_called),
        IN_RIG(a_new_libvirtd_has_to_call_again),
        IN_RIG(a_daemon_of_ours_that_restarts_still_knows),
    };

    return cmocka_run_group_tests_name("hook_health", tests, NULL, NULL);
}
