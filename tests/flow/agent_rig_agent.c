#include "config.h"

#include "tests/flow/agent_rig.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/process.h"

enum { WORDS_MAX = 16, READY_MS = 60000 };

/* Uninstalled, from the top of the build folder, where `make check` runs us. */
static const char *
program(void)
{
    const char *named = getenv("VIRTID_AGENT");

    return named ? named : "./virtid-agent";
}

static void
start(const char *const *words, const char *config, int ready_fd, int out_fd, pid_t *ret_pid)
{
    const char *argv[WORDS_MAX + 4] = { program(), "--config", config };
    /* The hardened process is not dumpable, so an ordinary user's leak checker can not look at it. */
    const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                                geteuid() == 0 ? "ASAN_OPTIONS=exitcode=99"
                                               : "ASAN_OPTIONS=exitcode=99:detect_leaks=0",
                                NULL };
    struct process_spawn spawn = PROCESS_SPAWN(argv);
    CLEANUP(fd_close) int log = -1;
    struct error err = { 0 };
    char path[160];
    int n = 3;

    snprintf(path, sizeof path, "%s.log", config);
    log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert(log >= 0);
    while (*words && n < WORDS_MAX + 3)
        argv[n++] = *words++;
    spawn.env = env;
    spawn.stdout_fd = out_fd;
    spawn.stderr_fd = log;
    spawn.die_with_parent = false; /* it follows the thread that started it, and tests have several */
    if (ready_fd >= 0) {
        spawn.fds = &ready_fd;
        spawn.n_fds = 1;
    }
    if (process_start(&spawn, ret_pid, &err) < 0)
        fprintf(stderr, "rig: %s\n", err.text);
    assert(*ret_pid > 0);
}

pid_t
rig_start(struct rig *r, const char *const *words)
{
    char config[128], ready;
    struct pollfd p;
    pid_t pid = 0;
    int ends[2];

    assert(pipe2(ends, O_CLOEXEC) == 0);
    snprintf(config, sizeof config, "%s/agent.conf", r->folder);
    start(words, config, ends[1], -1, &pid);
    close(ends[1]);
    p = (struct pollfd){ .fd = ends[0], .events = POLLIN };
    assert(poll(&p, 1, READY_MS) == 1 && read(ends[0], &ready, 1) == 1);
    close(ends[0]);
    return pid;
}

void
rig_start_agent(struct rig *r)
{
    const char *const words[] = { "run", "--ready-fd", "3", NULL };

    assert(r->agent == 0);
    r->agent = rig_start(r, words);
}

void
rig_stop_agent(struct rig *r)
{
    struct error err = { 0 };

    assert(r->agent > 0 && kill(r->agent, SIGTERM) == 0);
    if (process_wait(r->agent, clock_monotonic_ms() + READY_MS, &err) < 0) {
        fprintf(stderr, "rig: agent: %s\n", err.text);
        abort();
    }
    r->agent = 0;
}

void
rig_kill_agent(struct rig *r)
{
    if (r->agent <= 0)
        return;
    (void)kill(r->agent, SIGKILL);
    (void)waitpid(r->agent, NULL, 0);
    r->agent = 0;
}

int
rig_run(struct rig *r, const char *const *words, char *ret, size_t size)
{
    char config[128];
    pid_t pid = 0;
    int ends[2], status;
    size_t got = 0;
    ssize_t n;

    assert(pipe2(ends, O_CLOEXEC) == 0);
    snprintf(config, sizeof config, "%s/agent.conf", r->folder);
    start(words, config, -1, ends[1], &pid);
    close(ends[1]);
    while (got + 1 < size && (n = read(ends[0], ret + got, size - 1 - got)) > 0)
        got += (size_t)n;
    ret[got] = '\0';
    close(ends[0]);
    assert(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

int
rig_token(struct rig *r, const char *audience, int seconds, char *ret, size_t size)
{
    char wait[16], text[5000];
    const char *const words[] = { "token", "-a", audience, "--wait", wait, NULL };
    int status;

    snprintf(wait, sizeof wait, "%d", seconds);
    status = rig_run(r, words, text, sizeof text);
    text[strcspn(text, "\n")] = '\0';
    if (ret)
        snprintf(ret, size, "%s", text);
    return status;
}

bool
rig_fresh_token(struct rig *r, const char *audience)
{
    char token[300];

    return rig_token(r, audience, 60, token, sizeof token) == 0 && strstr(token, ".fresh");
}

bool
rig_log_has(struct rig *r, const char *words)
{
    CLEANUP(buf_clear) struct buf log = BUF(1 << 20);
    struct error err = { 0 };
    char path[160];

    snprintf(path, sizeof path, "%s/agent.conf.log", r->folder);
    return file_read(path, &log, &err) == 0 && buf_text(&log) && strstr(buf_text(&log), words);
}

void
rig_show_log(struct rig *r)
{
    CLEANUP(buf_clear) struct buf log = BUF(1 << 20);
    struct error err = { 0 };
    char path[160];

    snprintf(path, sizeof path, "%s/agent.conf.log", r->folder);
    if (file_read(path, &log, &err) == 0)
        (void)fd_write_all(2, log.data, log.len, &err);
}
