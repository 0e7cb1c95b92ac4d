#include "config.h"

#include "tpmsim/sim_child.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/process.h"

enum { READY_MS = 30000, STOP_MS = 5000 };

static void
bury(struct sim_child *child)
{
    int status;

    if (waitpid(child->pid, &status, WNOHANG) != child->pid)
        return;
    child->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    child->ended = true;
}

static void
on_handle(evutil_socket_t fd, short what, void *context)
{
    struct sim_child *child = context;

    (void)fd;
    (void)what;
    bury(child);
    if (!child->ended)
        return;
    event_del(child->event);
    if (child->on_end)
        child->on_end(child->context);
}

/* A line, within the time; its end without one: the program has said why. */
static int
read_ready(int fd, char *ret, size_t size, struct error *err)
{
    int64_t deadline = clock_monotonic_ms() + READY_MS;
    size_t len = 0;

    for (;;) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        int64_t left = deadline - clock_monotonic_ms();
        char byte;

        if (left <= 0 || (poll(&p, 1, (int)left) < 0 && errno != EINTR))
            return error_set(err, ERROR_BUSY, "not ready in time");
        if (!p.revents)
            continue;
        if (read(fd, &byte, 1) != 1)
            return error_set(err, ERROR_SYSTEM, "ended at its start");
        if (byte == '\n')
            break;
        if (len + 1 < size)
            ret[len++] = byte;
    }
    ret[len] = '\0';
    return 0;
}

static int
watch(struct sim_child *child, struct event_base *base, struct error *err)
{
    child->handle = (int)syscall(SYS_pidfd_open, child->pid, 0);
    if (child->handle < 0)
        return error_sys(err, errno, "pidfd");
    child->event =
        event_new(base, child->handle, EV_READ | EV_PERSIST, on_handle, child);
    if (!child->event || event_add(child->event, NULL) < 0)
        return error_set(err, ERROR_SYSTEM, "event loop");
    return 0;
}

int
sim_child_start(struct sim_child *child, struct event_base *base,
                const char *const *argv, int stdout_fd, int stderr_fd, char *ret_ready,
                size_t size, struct error *err)
{
    struct process_spawn spawn = PROCESS_SPAWN(argv);
    int ends[2] = { -1, -1 }, failed;

    spawn.stdout_fd = stdout_fd;
    spawn.stderr_fd = stderr_fd;
    spawn.new_group = true; /* a Ctrl-C at our terminal is for us: we end it in order */
    if (ret_ready) {
        if (pipe2(ends, O_CLOEXEC) < 0)
            return error_sys(err, errno, "pipe");
        spawn.fds = &ends[1];
        spawn.n_fds = 1;
    }
    child->handle = -1;
    child->event = NULL;
    child->ended = false;
    failed = process_start(&spawn, &child->pid, err);
    fd_close(ends[1]);
    if (failed < 0)
        child->pid = 0;
    else if (ret_ready)
        failed = read_ready(ends[0], ret_ready, size, err);
    fd_close(ends[0]);
    if (failed == 0)
        failed = watch(child, base, err);
    if (failed < 0) {
        sim_child_stop(child);
        return error_wrap(err, "%s", argv[0]);
    }
    return 0;
}

void
sim_child_stop(struct sim_child *child)
{
    struct error ignored;

    if (child->event)
        event_free(child->event);
    child->event = NULL;
    if (child->pid > 0 && child->handle >= 0 && !child->ended)
        bury(child);
    if (child->pid > 0 && !child->ended) {
        (void)kill(child->pid, SIGTERM);
        (void)process_wait(child->pid, clock_monotonic_ms() + STOP_MS, &ignored);
    }
    if (child->pid > 0)
        fd_close(child->handle);
    child->pid = 0;
    child->handle = -1;
}
