#include "config.h"

#include "plugin/priv/priv_worker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/process.h"

enum { CLEAN_MS = 10 * 1000, PROBE_MS = 5 * 1000, STATUS_MAX = 512, ROUNDS_MAX = 1000 };

/* /dev/kvm is its group's; the worker has no other use for a group of its own. */
static gid_t
worker_group(const struct priv_settings *s, bool wants_kvm)
{
    const struct group *kvm = wants_kvm ? getgrnam("kvm") : NULL;

    return kvm ? kvm->gr_gid : s->inject_gid;
}

static int
start(const struct priv_settings *s, const char *const *argv, const int *fds, size_t n_fds,
      int stdout_fd, bool wants_kvm, pid_t *ret_pid, struct error *err)
{
    struct process_spawn spawn = PROCESS_SPAWN(argv);

    spawn.fds = fds;
    spawn.n_fds = n_fds;
    spawn.stdout_fd = stdout_fd;
    spawn.stderr_fd = STDERR_FILENO;
    spawn.new_group = true;
    if (geteuid() == 0) {
        spawn.uid = s->inject_uid;
        spawn.gid = worker_group(s, wants_kvm);
    }
    return process_start(&spawn, ret_pid, err);
}

int
priv_worker_start(const struct priv_settings *s, const struct inject_msg *job, int payload,
                  const struct priv_image *image, struct priv_worker *ret, struct error *err)
{
    const char *argv[] = { s->inject_program, NULL };
    struct priv_worker w = PRIV_WORKER();
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return error_sys(err, errno, "socketpair");
    CLEANUP(fd_close) int theirs = pair[1];
    CLEANUP(fd_close) int ours = pair[0];
    int fds[] = { theirs, payload, image->write_fd, image->read_fd };

    if (start(s, argv, fds, sizeof fds / sizeof *fds, -1, strcmp(job->accel, "kvm") == 0, &w.pid,
              err) < 0)
        return -1;
    w.socket = fd_steal(&ours);
    w.pidfd = (int)syscall(SYS_pidfd_open, w.pid, 0);
    if (w.pidfd < 0 || priv_worker_send(&w, job, -1, err) < 0) {
        priv_worker_kill(&w);
        priv_worker_reap(&w);
        return error_set(err, ERROR_SYSTEM, "the worker ended at its start");
    }
    *ret = w;
    return 0;
}

int
priv_worker_send(const struct priv_worker *w, const struct inject_msg *m, int fd,
                 struct error *err)
{
    CLEANUP(buf_clear) struct buf out = BUF(INJECT_PACKET_MAX);

    if (inject_msg_encode(m, &out, err) < 0)
        return -1;
    return fd_send(w->socket, out.data, out.len, &fd, fd >= 0 ? 1 : 0, err);
}

int
priv_worker_receive(const struct priv_worker *w, struct inject_msg *ret, struct error *err)
{
    uint8_t bytes[INJECT_PACKET_MAX];
    int none[1];
    size_t len, n;

    if (fd_receive(w->socket, bytes, sizeof bytes, &len, none, 0, &n, err) < 0)
        return -1;
    return inject_msg_decode(bytes, len, ret, err);
}

void
priv_worker_kill(const struct priv_worker *w)
{
    if (w->pid > 0) {
        (void)kill(-w->pid, SIGKILL);
        (void)kill(w->pid, SIGKILL);
    }
}

/* The parent of process `name` of /proc, or 0. */
static pid_t
parent_of(int proc, const char *name)
{
    char path[40], text[STATUS_MAX];
    const char *after;
    ssize_t n;

    snprintf(path, sizeof path, "%.20s/stat", name);
    CLEANUP(fd_close) int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || (n = read(fd, text, sizeof text - 1)) <= 0)
        return 0;
    text[n] = '\0';
    after = strrchr(text, ')'); /* behind the name, which may hold anything: ") S PPID" */
    return after && strlen(after) > 4 ? (pid_t)strtol(after + 4, NULL, 10) : 0;
}

/* One worker at a time, and nothing else is started meanwhile: every child of ours is of it. */
static int
kill_children(void)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    int n = 0;

    if (!proc)
        return 0;
    while ((entry = readdir(proc))) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

        if (pid > 1 && parent_of(dirfd(proc), entry->d_name) == getpid()) {
            (void)kill(pid, SIGKILL);
            n++;
        }
    }
    closedir(proc);
    return n;
}

void
priv_worker_reap(struct priv_worker *w)
{
    const struct timespec pause = { .tv_nsec = 2 * 1000 * 1000 };

    fd_close(w->socket);
    fd_close(w->pidfd);
    if (w->pid > 0) {
        (void)kill(-w->pid, SIGKILL); /* an appliance of a worker that ended too early */
        while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    /* Each round may bring orphans of those that ended in the last one. */
    for (int i = 0; i < ROUNDS_MAX && kill_children() > 0; i++) {
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        (void)nanosleep(&pause, NULL);
    }
    *w = PRIV_WORKER();
}

int
priv_worker_prepare(const struct priv_settings *s, struct priv_worker *ret, struct error *err)
{
    const char *argv[] = { s->inject_program, "--prepare", s->worker_dir, "--accel", s->accel, NULL };
    struct priv_worker w = PRIV_WORKER();

    if (start(s, argv, NULL, 0, -1, strcmp(s->accel, "kvm") == 0, &w.pid, err) < 0)
        return -1;
    w.pidfd = (int)syscall(SYS_pidfd_open, w.pid, 0);
    if (w.pidfd < 0) {
        priv_worker_kill(&w);
        priv_worker_reap(&w);
        return error_set(err, ERROR_SYSTEM, "the worker ended at its start");
    }
    *ret = w;
    return 0;
}

bool
priv_worker_is_prepared(const struct priv_settings *s)
{
    uid_t uid = geteuid() == 0 ? s->inject_uid : geteuid();
    char path[128];

    /* libguestfs's name for it; the last file that a build makes is there or not. */
    snprintf(path, sizeof path, "%s/.guestfs-%u/appliance.d/root", s->worker_dir, (unsigned)uid);
    return access(path, F_OK) == 0;
}

void
priv_worker_clean(const struct priv_settings *s)
{
    const char *argv[] = { s->inject_program, "--clean", s->worker_dir, NULL };
    struct error ignored;
    pid_t pid;

    if (start(s, argv, NULL, 0, -1, false, &pid, &ignored) == 0)
        (void)process_wait(pid, clock_monotonic_ms() + CLEAN_MS, &ignored);
}

void
priv_worker_probe(const struct priv_settings *s, char ret_accel[static 8])
{
    const char *argv[] = { s->inject_program, "--probe-kvm", NULL };
    char text[8] = "";
    struct error ignored;
    int ends[2];
    pid_t pid;

    snprintf(ret_accel, 8, "tcg");
    if (pipe2(ends, O_CLOEXEC) < 0)
        return;
    if (start(s, argv, NULL, 0, ends[1], true, &pid, &ignored) == 0 &&
        process_wait(pid, clock_monotonic_ms() + PROBE_MS, &ignored) == 0 &&
        fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0 &&
        read(ends[0], text, sizeof text - 1) > 0 && strncmp(text, "kvm\n", 4) == 0)
        snprintf(ret_accel, 8, "kvm");
    fd_close(ends[0]);
    fd_close(ends[1]);
}

/* A folder of `uid`; one that another user could have filled is refused. */
static int
own_folder(const char *path, mode_t mode, uid_t uid, gid_t gid, struct error *err)
{
    CLEANUP(fd_close) int fd = -1;
    struct stat st;
    bool made = mkdir(path, 0700) == 0;

    if (!made && errno != EEXIST)
        return error_sys(err, errno, "%s", path);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_sys(err, errno, "%s", path);
    if (made && (fchmod(fd, mode) < 0 || (geteuid() == 0 && fchown(fd, uid, gid) < 0)))
        return error_sys(err, errno, "%s", path);
    if (!made && geteuid() == 0 && st.st_uid != uid)
        return error_set(err, ERROR_INPUT, "%s: its owner is user %u, not %u", path,
                         (unsigned)st.st_uid, (unsigned)uid);
    return 0;
}

/* cache_dir itself stays root's, as systemd makes it; the worker's folder lies in it. */
int
priv_worker_cache(const struct priv_settings *s, struct error *err)
{
    if (own_folder(s->cache_dir, 0711, 0, 0, err) < 0)
        return -1;
    return own_folder(s->worker_dir, 0700, s->inject_uid, s->inject_gid, err);
}
