/*
 * process.h - what a daemon does to itself, and how it starts others
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"

/*
 * No core dumps, not dumpable (so not traceable, /proc/self closed to the same user),
 * no new privileges, SIGPIPE ignored, umask 077.  Call first in main().
 */
void process_harden(void);

/*
 * From root to `user` and that user's groups, for good.  Does nothing when
 * we are not root.  ERROR_MISSING: no such user.
 */
int process_become(const char *user, struct error *err);

/*
 * Tell whoever waits that we serve now: NOTIFY_SOCKET (systemd) and, if `ready_fd` >= 0,
 * a newline there, which is then closed.
 */
void process_ready(int ready_fd);

struct process_spawn {
    const char *const *argv;  /* argv[0] is the path; no shell, no PATH */
    const char *const *env;   /* NULL: empty environment but PATH, LANG=C.UTF-8 */
    const int *fds;           /* become 3, 4, ... in the child, in this order */
    size_t n_fds;
    int stdin_fd, stdout_fd, stderr_fd; /* -1: /dev/null */
    uid_t uid;                /* with gid; (uid_t)-1: stay */
    gid_t gid;
    bool die_with_parent;     /* PR_SET_PDEATHSIG */
    bool new_group;           /* setpgid(0, 0) */
};
#define PROCESS_SPAWN(args) \
    { .argv = (args), .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, \
      .uid = (uid_t)-1, .gid = (gid_t)-1, .die_with_parent = true }

/* Start it; *ret_pid is yours to wait for.  A failing exec is reported here. */
int process_start(const struct process_spawn *spawn, pid_t *ret_pid, struct error *err);

/*
 * Wait until `deadline_ms` (clock_monotonic_ms) for `pid` to end with status 0.
 * Past it the process (its group, if it leads one) is killed and waited for: ERROR_BUSY.
 * Another status or a signal: ERROR_SYSTEM with what it was.
 */
int process_wait(pid_t pid, int64_t deadline_ms, struct error *err);
