#include "config.h"

#include "tokenservice/signer_child.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "lib/common/process.h"

static int
choose_user(const char *user, struct process_spawn *spawn, struct error *err)
{
    struct passwd *who;

    if (geteuid() != 0)
        return 0;
    who = getpwnam(user);
    if (!who)
        return error_set(
            err, ERROR_MISSING,
            "there is no user \"%s\": run systemd-sysusers, or \"useradd --system "
            "%s\"",
            user, user);
    spawn->uid = who->pw_uid;
    spawn->gid = who->pw_gid;
    return 0;
}

int
signer_child_start(const char *program, const char *key_dir, const char *user,
                   int rotate_days, int *ret_fd, pid_t *ret_pid, struct error *err)
{
    char days[16];
    const char *const argv[] = { program, "--fd", "3", "--key-dir", key_dir, "--rotate-days", days, NULL };
    struct process_spawn spawn = PROCESS_SPAWN(argv);
    CLEANUP(fd_close) int ours = -1;
    CLEANUP(fd_close) int theirs = -1;
    int pair[2];

    snprintf(days, sizeof days, "%d", rotate_days);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return error_sys(err, errno, "socketpair");
    ours = pair[0];
    theirs = pair[1];
    spawn.fds = &theirs;
    spawn.n_fds = 1;
    spawn.stderr_fd = STDERR_FILENO;
    if (choose_user(user, &spawn, err) < 0 || process_start(&spawn, ret_pid, err) < 0)
        return error_wrap(err, "signer");
    *ret_fd = fd_steal(&ours);
    return 0;
}
