#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/hook_place.h"

static char dir[40], hook[80];

static int
make_folder(void **state)
{
    char path[80];

    (void)state;
    strcpy(dir, "/tmp/virtid-place-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/qemu.d", dir);
    snprintf(hook, sizeof hook, "%s/qemu.d/virtid", dir);
    return mkdir(path, 0755);
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
put(const char *path, mode_t mode)
{
    struct error err;

    assert_int_equal(file_replace(path, "#!/bin/sh\n", 10, mode, &err), 0);
    assert_int_equal(chmod(path, mode), 0);
}

/* A libvirtd that began `ms` from now. */
static struct hook_place
seen_by_one_of(int64_t ms)
{
    struct hook_daemon daemon = { .pid = 1, .started_ms = clock_realtime_ms() + ms, .name = "libvirtd" };
    struct hook_place place;

    hook_place_look(dir, &daemon, &place);
    return place;
}

static void
a_hook_that_was_there_first_is_good(void **state)
{
    (void)state;
    put(hook, 0755);
    assert_int_equal(seen_by_one_of(1000).state, HOOK_PLACE_GOOD);
}

static void
no_file_is_absent(void **state)
{
    struct hook_place place = seen_by_one_of(1000);

    (void)state;
    assert_int_equal(place.state, HOOK_PLACE_ABSENT);
    assert_non_null(strstr(place.seen, hook));
    assert_non_null(strstr(place.repair, "install"));
}

static void
a_file_that_can_not_be_run_is_unusable(void **state)
{
    struct hook_place place;

    (void)state;
    put(hook, 0644);
    place = seen_by_one_of(1000);
    assert_int_equal(place.state, HOOK_PLACE_UNUSABLE);
    assert_non_null(strstr(place.repair, "chmod 755"));
}

static void
a_link_is_unusable(void **state)
{
    (void)state;
    assert_int_equal(symlink("/bin/true", hook), 0);
    assert_int_equal(seen_by_one_of(1000).state, HOOK_PLACE_UNUSABLE);
}

static void
a_file_that_others_may_write_is_unusable(void **state)
{
    (void)state;
    put(hook, 0775);
    assert_int_equal(seen_by_one_of(1000).state, HOOK_PLACE_UNUSABLE);
}

static void
a_first_hook_that_came_after_libvirtd_is_late(void **state)
{
    struct hook_place place;

    (void)state;
    put(hook, 0755);
    place = seen_by_one_of(-5000);
    assert_int_equal(place.state, HOOK_PLACE_LATE);
    assert_non_null(strstr(place.repair, "systemctl restart libvirtd"));
}

static void
another_hook_that_was_there_wakes_ours(void **state)
{
    struct hook_daemon daemon = { .pid = 1, .name = "libvirtd" };
    struct hook_place place;
    struct stat st;
    char other[80];

    (void)state;
    snprintf(other, sizeof other, "%s/qemu", dir);
    put(other, 0755);
    assert_int_equal(stat(other, &st), 0);
    daemon.started_ms = (int64_t)st.st_ctim.tv_sec * 1000 + st.st_ctim.tv_nsec / 1000000 + 1;
    while (clock_realtime_ms() < daemon.started_ms + 20) /* a ctime is as coarse as the kernel's tick */
        ;
    put(hook, 0755);
    hook_place_look(dir, &daemon, &place);
    assert_int_equal(place.state, HOOK_PLACE_GOOD);
    /* One that can not be run is none. */
    put(other, 0644);
    hook_place_look(dir, &daemon, &place);
    assert_int_equal(place.state, HOOK_PLACE_LATE);
}

static void
without_a_daemon_nothing_can_be_said(void **state)
{
    struct hook_daemon none = { 0 };
    struct hook_place place;

    (void)state;
    put(hook, 0755);
    hook_place_look(dir, &none, &place);
    assert_int_equal(place.state, HOOK_PLACE_UNKNOWN);
}

/* A child that calls itself so, with a pid file. */
static pid_t
start_named(const char *name)
{
    char path[80], text[16];
    struct error err;
    int up[2];
    pid_t pid;

    assert_int_equal(pipe2(up, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, name);
        (void)!write(up[1], "", 1);
        for (;;)
            pause();
    }
    assert_int_equal(read(up[0], text, 1), 1);
    close(up[0]);
    close(up[1]);
    snprintf(path, sizeof path, "%s/libvirtd.pid", dir);
    snprintf(text, sizeof text, "%ld", (long)pid);
    assert_int_equal(file_replace(path, text, strlen(text), 0644, &err), 0);
    return pid;
}

static void
end(pid_t pid)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void
libvirtd_is_found_by_its_pid_file(void **state)
{
    struct hook_daemon daemon;
    int64_t now = clock_realtime_ms();
    pid_t pid = start_named("libvirtd");

    (void)state;
    hook_daemon_find(dir, &daemon);
    assert_int_equal(daemon.pid, pid);
    assert_true(daemon.started_ms > now - 2000 && daemon.started_ms < now + 2000);
    assert_true(hook_daemon_is_parent(getpid(), pid));
    assert_false(hook_daemon_is_parent(pid, getpid()));
    end(pid);
    hook_daemon_find(dir, &daemon);
    assert_int_equal(daemon.pid, 0);
}

static void
a_pid_file_that_names_another_program_is_old(void **state)
{
    struct hook_daemon daemon;
    pid_t pid = start_named("not) libvirtd");

    (void)state;
    hook_daemon_find(dir, &daemon);
    assert_int_equal(daemon.pid, 0);
    assert_true(hook_daemon_is_parent(getpid(), pid)); /* whatever its name holds */
    end(pid);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(a_hook_that_was_there_first_is_good),
        IN_FOLDER(no_file_is_absent),
        IN_FOLDER(a_file_that_can_not_be_run_is_unusable),
        IN_FOLDER(a_link_is_unusable),
        IN_FOLDER(a_file_that_others_may_write_is_unusable),
        IN_FOLDER(a_first_hook_that_came_after_libvirtd_is_late),
        IN_FOLDER(another_hook_that_was_there_wakes_ours),
        IN_FOLDER(without_a_daemon_nothing_can_be_said),
        IN_FOLDER(libvirtd_is_found_by_its_pid_file),
        IN_FOLDER(a_pid_file_that_names_another_program_is_old),
    };

    return cmocka_run_group_tests_name("hook_place", tests, NULL, NULL);
}
