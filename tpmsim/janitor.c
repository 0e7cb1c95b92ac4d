#include "config.h"

#include "tpmsim/janitor.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TRIES = 20, OPEN_MAX_WALK = 16 };

struct janitor {
    pid_t pid;
    int pipe; /* closed by our end */
};

static int
remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    (void)remove(path);
    return 0;
}

/* A swtpm that dies beside us may still have a file in hand: hence more than one try. */
static void
remove_folder(const char *folder)
{
    static const struct timespec pause = { 0, 50 * 1000000L };

    for (int i = 0; i < TRIES; i++) {
        (void)nftw(folder, remove_one, OPEN_MAX_WALK, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
        if (access(folder, F_OK) < 0)
            return;
        (void)nanosleep(&pause, NULL);
    }
}

static void
be_janitor(int from, const char *folder)
{
    sigset_t all;
    char byte;

    /* Of the terminal's and the caller's signals none is meant for this one. */
    sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, NULL);
    (void)setsid();
    if (dup2(from, 0) < 0)
        _exit(1);
    (void)syscall(SYS_close_range, 1, ~0U, 0);
    while (read(0, &byte, 1) < 0 && errno == EINTR)
        ;
    remove_folder(folder);
    _exit(0);
}

int
janitor_start(const char *folder, struct janitor **ret, struct error *err)
{
    struct janitor *janitor = calloc(1, sizeof *janitor);
    int ends[2];

    if (!janitor)
        return error_sys(err, ENOMEM, "janitor");
    if (pipe2(ends, O_CLOEXEC) < 0) {
        free(janitor);
        return error_sys(err, errno, "pipe");
    }
    janitor->pid = fork();
    if (janitor->pid == 0) {
        close(ends[1]);
        be_janitor(ends[0], folder);
    }
    close(ends[0]);
    if (janitor->pid < 0) {
        close(ends[1]);
        free(janitor);
        return error_sys(err, errno, "fork");
    }
    janitor->pipe = ends[1];
    *ret = janitor;
    return 0;
}

pid_t
janitor_pid(const struct janitor *janitor)
{
    return janitor->pid;
}

void
janitor_end(struct janitor *janitor)
{
    if (!janitor)
        return;
    close(janitor->pipe);
    while (waitpid(janitor->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    free(janitor);
}
