#include "config.h"

#include "lib/common/process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"

void
process_harden(void)
{
    struct rlimit none = { 0, 0 };

    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    (void)signal(SIGPIPE, SIG_IGN);
    umask(077);
}

int
process_become(const char *user, struct error *err)
{
    struct passwd *who;

    if (geteuid() != 0)
        return 0;
    who = getpwnam(user);
    if (!who)
        return error_set(err, ERROR_MISSING, "there is no user \"%s\"", user);
    if (initgroups(user, who->pw_gid) < 0)
        return error_sys(err, errno, "groups of %s", user);
    if (setresgid(who->pw_gid, who->pw_gid, who->pw_gid) < 0)
        return error_sys(err, errno, "group of %s", user);
    if (setresuid(who->pw_uid, who->pw_uid, who->pw_uid) < 0)
        return error_sys(err, errno, "user %s", user);
    (void)prctl(PR_SET_DUMPABLE, 0); /* a change of user resets it */
    return 0;
}

static void
notify_systemd(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    size_t len = path ? strlen(path) : 0;
    int fd;

    if (len == 0 || len >= sizeof to.sun_path)
        return;
    memcpy(to.sun_path, path, len);
    if (to.sun_path[0] == '@')
        to.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    (void)!sendto(fd, "READY=1", 7, MSG_NOSIGNAL, (struct sockaddr *)&to,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
    close(fd);
}

void
process_ready(int ready_fd)
{
    notify_systemd();
    if (ready_fd < 0)
        return;
    (void)!write(ready_fd, "\n", 1);
    close(ready_fd);
}

static int
put_at(int fd, int at)
{
    if (fd == at)
        return fcntl(fd, F_SETFD, 0);
    return dup2(fd, at) < 0 ? -1 : 0;
}

/* Descriptors 0, 1, 2, 3... as asked; everything else but *report is closed. */
static int
arrange_descriptors(const struct process_spawn *spawn, int *report)
{
    int moved[3 + FD_MESSAGE_FDS_MAX];
    int n = 3 + (int)spawn->n_fds;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0)
        return -1;
    moved[0] = spawn->stdin_fd < 0 ? null : spawn->stdin_fd;
    moved[1] = spawn->stdout_fd < 0 ? null : spawn->stdout_fd;
    moved[2] = spawn->stderr_fd < 0 ? null : spawn->stderr_fd;
    for (size_t i = 0; i < spawn->n_fds; i++)
        moved[3 + i] = spawn->fds[i];
    /* First all out of the way, so that no dup2 below runs over a source. */
    for (int i = 0; i < n; i++) {
        moved[i] = fcntl(moved[i], F_DUPFD_CLOEXEC, 100);
        if (moved[i] < 0)
            return -1;
    }
    *report = fcntl(*report, F_DUPFD_CLOEXEC, 100);
    if (*report < 0)
        return -1;
    for (int i = 0; i < n; i++) {
        if (put_at(moved[i], i) < 0)
            return -1;
    }
    if (dup3(*report, n, O_CLOEXEC) < 0)
        return -1;
    *report = n;
    return (int)syscall(SYS_close_range, (unsigned)n + 1, ~0U, 0);
}

/* In the child; comes back only with errno set. */
static void
become_child(const struct process_spawn *spawn, int *report, pid_t parent)
{
    static const char *const plain[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                                         "LANG=C.UTF-8", NULL };
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (spawn->new_group && setpgid(0, 0) < 0)
        return;
    if (arrange_descriptors(spawn, report) < 0)
        return;
    if (spawn->uid != (uid_t)-1 &&
        (setgroups(0, NULL) < 0 || setresgid(spawn->gid, spawn->gid, spawn->gid) < 0 ||
         setresuid(spawn->uid, spawn->uid, spawn->uid) < 0))
        return;
    if (spawn->die_with_parent) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* after setresuid, which clears it */
        if (getppid() != parent)
            _exit(127);
    }
    execve(spawn->argv[0], (char *const *)(uintptr_t)spawn->argv,
           (char *const *)(uintptr_t)(spawn->env ? spawn->env : plain));
}

int
process_start(const struct process_spawn *spawn, pid_t *ret_pid, struct error *err)
{
    int report[2], failure = 0;
    pid_t parent = getpid(), pid;
    ssize_t n;

    if (spawn->n_fds > FD_MESSAGE_FDS_MAX)
        return error_set(err, ERROR_INPUT, "%zu descriptors for a child", spawn->n_fds);
    if (pipe2(report, O_CLOEXEC) < 0)
        return error_sys(err, errno, "pipe");
    pid = fork();
    if (pid < 0) {
        int saved = errno;

        close(report[0]);
        close(report[1]);
        return error_sys(err, saved, "fork");
    }
    if (pid == 0) {
        int to = report[1];

        become_child(spawn, &to, parent);
        failure = errno;
        (void)!write(to, &failure, sizeof failure);
        _exit(127);
    }
    close(report[1]);
    do
        n = read(report[0], &failure, sizeof failure);
    while (n < 0 && errno == EINTR);
    close(report[0]);
    if (n != 0) {
        (void)waitpid(pid, NULL, 0);
        return error_sys(err, n == sizeof failure ? failure : EIO, "start %s", spawn->argv[0]);
    }
    *ret_pid = pid;
    return 0;
}

static int
judge(int status, struct error *err)
{
    if (WIFSIGNALED(status))
        return error_set(err, ERROR_SYSTEM, "ended by signal %d", WTERMSIG(status));
    if (WEXITSTATUS(status) != 0)
        return error_set(err, ERROR_SYSTEM, "exit status %d", WEXITSTATUS(status));
    return 0;
}

int
process_wait(pid_t pid, int64_t deadline_ms, struct error *err)
{
    CLEANUP(fd_close) int handle = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = { .fd = handle, .events = POLLIN };
    int status, ready = 0;

    for (;;) {
        int64_t left = deadline_ms - clock_monotonic_ms();

        if (left < 0)
            left = 0;
        ready = handle < 0 ? 0 : poll(&p, 1, left > 1000000 ? 1000000 : (int)left);
        if (ready > 0 || (ready == 0 && clock_monotonic_ms() >= deadline_ms) ||
            (ready < 0 && errno != EINTR))
            break;
    }
    if (ready <= 0) {
        if (getpgid(pid) == pid)
            (void)kill(-pid, SIGKILL);
        (void)kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        return error_set(err, ERROR_BUSY, "took too long and was ended");
    }
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return error_sys(err, errno, "wait");
    }
    return judge(status, err);
}
