#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/process.h"

static int64_t
soon(int64_t ms)
{
    return clock_monotonic_ms() + ms;
}

/* Run a shell line, with `fds` as 3, 4, ...; its output. */
static int
run(const char *line, const int *fds, size_t n, struct buf *out, struct error *err)
{
    const char *argv[] = { "/bin/sh", "-c", line, NULL };
    struct process_spawn spawn = PROCESS_SPAWN(argv);
    int p[2];
    pid_t pid;

    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    spawn.stdout_fd = p[1];
    spawn.fds = fds;
    spawn.n_fds = n;
    assert_int_equal(process_start(&spawn, &pid, err), 0);
    close(p[1]);
    assert_int_equal(fd_read_to_end(p[0], out, err), 0);
    close(p[0]);
    return process_wait(pid, soon(10000), err);
}

static void
child_has_only_what_it_is_given(void **state)
{
    CLEANUP(buf_clear) struct buf out = BUF(4096);
    CLEANUP(fd_close) int first = open("/dev/null", O_RDONLY), second = open("/dev/zero", O_RDONLY);
    int fds[2] = { second, first };
    struct error err;

    (void)state;
    assert_int_equal(setenv("VIRTID_SECRET", "x", 1), 0);
    assert_int_equal(run("readlink /proc/self/fd/3 /proc/self/fd/4; "
                         "[ -e /proc/self/fd/5 ] && echo more; env | grep VIRTID; exit 0",
                         fds, 2, &out, &err), 0);
    assert_string_equal(buf_text(&out), "/dev/zero\n/dev/null\n");
}

static void
exit_status_and_signal_are_told(void **state)
{
    CLEANUP(buf_clear) struct buf out = BUF(64);
    struct error err;

    (void)state;
    assert_int_equal(run("exit 7", NULL, 0, &out, &err), -1);
    assert_int_equal(err.code, ERROR_SYSTEM);
    assert_string_equal(err.text, "exit status 7");
    assert_int_equal(run("kill -9 $$", NULL, 0, &out, &err), -1);
    assert_string_equal(err.text, "ended by signal 9");
}

static void
program_that_is_not_there_is_an_error_at_the_start(void **state)
{
    const char *argv[] = { "/nonexistent/program", NULL };
    struct process_spawn spawn = PROCESS_SPAWN(argv);
    struct error err;
    pid_t pid = -1;

    (void)state;
    assert_int_equal(process_start(&spawn, &pid, &err), -1);
    assert_int_equal(err.code, ERROR_SYSTEM);
    assert_non_null(strstr(err.text, "/nonexistent/program"));
    assert_int_equal(pid, -1);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left to wait for */
}

static void
child_that_hangs_is_killed_with_its_group(void **state)
{
    const char *argv[] = { "/bin/sh", "-c", "cat <&3 & wait", NULL };
    struct process_spawn spawn = PROCESS_SPAWN(argv);
    struct error err;
    int keep[2], told[2];
    char byte;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe2(keep, O_CLOEXEC), 0);
    assert_int_equal(pipe2(told, O_CLOEXEC), 0);
    spawn.fds = (int[]){ keep[0], told[1] };
    spawn.n_fds = 2;
    spawn.new_group = true;
    assert_int_equal(process_start(&spawn, &pid, &err), 0);
    close(told[1]);
    assert_int_equal(process_wait(pid, soon(100), &err), -1);
    assert_int_equal(err.code, ERROR_BUSY);
    assert_int_equal(read(told[0], &byte, 1), 0); /* the grandchild, too, has let go of it */
    close(told[0]);
    close(keep[0]);
    close(keep[1]);
}

static void
hardened_process_leaves_no_core_and_is_not_traceable(void **state)
{
    struct rlimit core;

    (void)state;
    process_harden();
    assert_int_equal(getrlimit(RLIMIT_CORE, &core), 0);
    assert_true(core.rlim_cur == 0 && core.rlim_max == 0);
    assert_int_equal(prctl(PR_GET_DUMPABLE), 0);
    assert_int_equal(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(child_has_only_what_it_is_given),
        cmocka_unit_test(exit_status_and_signal_are_told),
        cmocka_unit_test(program_that_is_not_there_is_an_error_at_the_start),
        cmocka_unit_test(child_that_hangs_is_killed_with_its_group),
        cmocka_unit_test(hardened_process_leaves_no_core_and_is_not_traceable),
    };

    return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
