#include "config.h"

#include "plugin/vtpm/swtpm_run.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/process.h"

enum { PATH_ROOM = 128, FOLDER_MAX = 100, PAUSE_MS = 5 };

struct swtpm_run {
    pid_t pid;
    char tcti[PATH_ROOM];
};

static const char *
socket_path(const struct swtpm_run *run)
{
    return strchr(run->tcti, '=') + 1;
}

/* Connected once and let go: it listens.  The TPM itself is asked by who opens it. */
static int
answers(const char *path)
{
    CLEANUP(fd_close) int fd = -1;
    struct error why;

    return unix_connect(path, SOCK_STREAM, &fd, &why) == 0;
}

static int
wait_until_ready(struct swtpm_run *run, int64_t deadline_ms, struct error *err)
{
    static const struct timespec pause = { 0, PAUSE_MS * 1000000L };
    char control[PATH_ROOM];

    snprintf(control, sizeof control, "%.*s.ctrl", PATH_ROOM - 8, socket_path(run));
    for (;;) {
        int status;

        if (answers(control) && answers(socket_path(run)))
            return 0;
        if (waitpid(run->pid, &status, WNOHANG) == run->pid) {
            run->pid = -1;
            return error_set(err, ERROR_SYSTEM, "swtpm ended at its start (status 0x%x)",
                             (unsigned)status);
        }
        if (clock_monotonic_ms() >= deadline_ms)
            return error_set(err, ERROR_BUSY, "swtpm does not answer");
        (void)nanosleep(&pause, NULL);
    }
}

int
swtpm_run_start(const char *program, const char *folder, int64_t deadline_ms,
                struct swtpm_run **ret, struct error *err)
{
    CLEANUP(swtpm_run_kill) struct swtpm_run *run = NULL;
    char state[PATH_ROOM + 32], server[PATH_ROOM + 32], control[PATH_ROOM + 32];
    char stale[PATH_ROOM];
    const char *argv[] = {
        program ? program : VIRTID_SWTPM, "socket", "--tpm2", "--tpmstate", state, "--server",
        server, "--ctrl", control, "--flags", "not-need-init,startup-clear", NULL,
    };
    struct process_spawn spawn = PROCESS_SPAWN(argv);

    spawn.new_group = true; /* a Ctrl-C at our terminal is not for the TPM */
    if (strlen(folder) > FOLDER_MAX)
        return error_set(err, ERROR_INPUT, "%s: more than %d characters", folder, FOLDER_MAX);
    if (strchr(folder, ','))
        return error_set(err, ERROR_INPUT, "%s: a comma, which swtpm takes for its own", folder);
    run = calloc(1, sizeof *run);
    if (!run)
        return error_sys(err, errno, "swtpm");
    run->pid = -1;
    snprintf(run->tcti, sizeof run->tcti, "swtpm:path=%s/s", folder);
    snprintf(state, sizeof state, "dir=%s,mode=0600", folder);
    snprintf(server, sizeof server, "type=unixio,path=%s/s,mode=0600", folder);
    snprintf(control, sizeof control, "type=unixio,path=%s/s.ctrl,mode=0600", folder);
    snprintf(stale, sizeof stale, "%s/s.ctrl", folder);
    /* A dead one's sockets would be taken for ours. */
    (void)unlink(socket_path(run));
    (void)unlink(stale);
    if (process_start(&spawn, &run->pid, err) < 0)
        return -1;
    if (wait_until_ready(run, deadline_ms, err) < 0)
        return error_wrap(err, "%s", folder);
    *ret = STEAL(run);
    return 0;
}

const char *
swtpm_run_tcti(const struct swtpm_run *run)
{
    return run->tcti;
}

int
swtpm_run_pid(const struct swtpm_run *run)
{
    return run->pid;
}

int
swtpm_run_stop(struct swtpm_run *take_run, int64_t deadline_ms, struct error *err)
{
    CLEANUP(swtpm_run_kill) struct swtpm_run *run = take_run;
    pid_t pid = run->pid;

    run->pid = -1; /* process_wait takes it, whatever comes */
    (void)kill(pid, SIGTERM);
    if (process_wait(pid, deadline_ms, err) < 0)
        return error_wrap(err, "swtpm");
    return 0;
}

void
swtpm_run_kill(struct swtpm_run *run)
{
    if (!run)
        return;
    if (run->pid > 0) {
        (void)kill(run->pid, SIGKILL);
        while (waitpid(run->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    free(run);
}
