#include "config.h"

#include "guestagent/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "guestagent/agent_client.h"
#include "lib/common/fdio.h"
#include "lib/common/log.h"

/* As env(1) and timeout(1) have them: the command's own status is not to be taken for ours. */
enum { NOT_BEGUN = 125, NOT_RUNNABLE = 126, NOT_FOUND = 127 };

/* In memory alone, and nobody can change it any more. It stays open in the command. */
static int
token_in_memory(const struct secret *token, struct error *err)
{
    CLEANUP(fd_close) int fd = memfd_create("virtid-token", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return error_sys(err, errno, "memory for the token");
    if (fd_write_all(fd, token->bytes, token->len, err) < 0)
        return -1;
    if (lseek(fd, 0, SEEK_SET) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0 ||
        fcntl(fd, F_SETFD, 0) < 0)
        return error_sys(err, errno, "token in memory");
    return fd_steal(&fd);
}

static int
prepare(const struct conf *conf, const char *audience, int wait_seconds, struct error *err)
{
    CLEANUP(secret_free) struct secret *token = NULL;
    char number[16], socket_path[SOCKET_PATH_MAX];
    int fd;

    agent_socket_path(conf, socket_path);
    if (agent_client_token(socket_path, audience, wait_seconds, &token, err) < 0)
        return error_wrap(err, "no token for %.255s", audience);
    fd = token_in_memory(token, err);
    if (fd < 0)
        return -1;
    snprintf(number, sizeof number, "%d", fd);
    return setenv("VIRTID_TOKEN_FD", number, 1) < 0 ? error_sys(err, errno, "environment") : 0;
}

/* Nothing of the command's surroundings is other than ours were: main() has not hardened this process. */
int
cmd_exec(const struct conf *conf, const char *audience, int wait_seconds, char **command)
{
    void (*on_pipe)(int) = signal(SIGPIPE, SIG_IGN);
    struct error err = { 0 };
    int why;

    (void)prctl(PR_SET_DUMPABLE, 0); /* until the command is there */
    if (prepare(conf, audience, wait_seconds, &err) < 0) {
        log_error(&err, "%s is not started", command[0]);
        return NOT_BEGUN;
    }
    (void)signal(SIGPIPE, on_pipe);
    execvp(command[0], command);
    why = errno;
    error_sys(&err, why, "%.200s", command[0]);
    log_error(&err, "exec");
    return why == ENOENT ? NOT_FOUND : NOT_RUNNABLE;
}
