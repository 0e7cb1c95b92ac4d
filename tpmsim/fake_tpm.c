#include "config.h"

#include "tpmsim/fake_tpm.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/common/fdio.h"

enum { PATH_ROOM = 128, COMMAND_MAX = 4096, HEADER = 10, FLUSH_CONTEXT = 0x165, PAIRS_MAX = 8 };

struct fake_tpm {
    pid_t pid;
    char tcti[PATH_ROOM];
};

/* One connection of a client and ours to swtpm. */
struct pair {
    int down, up;
    bool data; /* TPM commands; else the control channel, passed on as it is */
};

struct proxy {
    struct fake_plan plan;
    int listener[2]; /* data, control */
    char upstream[2][PATH_ROOM];
    struct pair pairs[PAIRS_MAX];
    size_t n;
    unsigned seen;
};

static uint32_t
get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* A whole command or response. */
static int
read_message(int fd, uint8_t *ret, size_t *ret_len)
{
    struct error why;
    size_t len;

    if (fd_read_all(fd, ret, HEADER, &why) < 0)
        return -1;
    len = get_u32(ret + 2);
    if (len < HEADER || len > COMMAND_MAX ||
        fd_read_all(fd, ret + HEADER, len - HEADER, &why) < 0)
        return -1;
    *ret_len = len;
    return 0;
}

static bool
is_faulty(struct proxy *proxy, uint32_t command)
{
    const struct fake_plan *plan = &proxy->plan;

    if (command == FLUSH_CONTEXT || (plan->command != 0 && command != plan->command))
        return false;
    proxy->seen++;
    return proxy->seen > plan->after && proxy->seen <= plan->after + plan->times;
}

/* 0: go on; -1: drop the connection. */
static int
answer_badly(const struct fake_plan *plan, int down)
{
    uint8_t answer[HEADER] = { 0x80, 0x01, 0, 0, 0, HEADER };
    struct error why;

    switch (plan->fault) {
    case FAKE_CODE:
        for (int i = 0; i < 4; i++)
            answer[6 + i] = (uint8_t)(plan->code >> (24 - 8 * i));
        return fd_write_all(down, answer, sizeof answer, &why);
    case FAKE_GARBAGE:
        memset(answer, 0xff, sizeof answer);
        return fd_write_all(down, answer, sizeof answer, &why);
    case FAKE_CUT:
        (void)fd_write_all(down, answer, sizeof answer / 2, &why);
        return -1;
    case FAKE_SILENCE:
        return 0;
    }
    return -1;
}

static int
serve_command(struct proxy *proxy, const struct pair *pair)
{
    uint8_t message[COMMAND_MAX];
    struct error why;
    size_t len;

    if (read_message(pair->down, message, &len) < 0)
        return -1;
    if (is_faulty(proxy, get_u32(message + 6)))
        return answer_badly(&proxy->plan, pair->down);
    if (fd_write_all(pair->up, message, len, &why) < 0 ||
        read_message(pair->up, message, &len) < 0 ||
        fd_write_all(pair->down, message, len, &why) < 0)
        return -1;
    return 0;
}

static int
pass_on(int from, int to)
{
    uint8_t bytes[512];
    struct error why;
    ssize_t n = read(from, bytes, sizeof bytes);

    return n <= 0 ? -1 : fd_write_all(to, bytes, (size_t)n, &why);
}

static void
admit(struct proxy *proxy, int which)
{
    struct pair pair = { .data = which == 0, .up = -1 };
    struct error why;

    pair.down = accept4(proxy->listener[which], NULL, NULL, SOCK_CLOEXEC);
    if (pair.down < 0)
        return;
    if (proxy->n == PAIRS_MAX ||
        unix_connect(proxy->upstream[which], SOCK_STREAM, &pair.up, &why) < 0) {
        close(pair.down);
        return;
    }
    proxy->pairs[proxy->n++] = pair;
}

static void
drop(struct proxy *proxy, size_t i)
{
    close(proxy->pairs[i].down);
    close(proxy->pairs[i].up);
    proxy->pairs[i] = proxy->pairs[--proxy->n];
}

static void
serve(struct proxy *proxy)
{
    for (;;) {
        struct pollfd p[2 + 2 * PAIRS_MAX];

        for (int i = 0; i < 2; i++)
            p[i] = (struct pollfd){ .fd = proxy->listener[i], .events = POLLIN };
        for (size_t i = 0; i < proxy->n; i++) {
            p[2 + 2 * i] = (struct pollfd){ .fd = proxy->pairs[i].down, .events = POLLIN };
            p[3 + 2 * i] = (struct pollfd){ .fd = proxy->pairs[i].up, .events = POLLIN };
        }
        if (poll(p, 2 + 2 * proxy->n, -1) < 0)
            _exit(1);
        /* From the back, because drop() moves the last into the gap. */
        for (size_t i = proxy->n; i-- > 0;) {
            const struct pair *pair = &proxy->pairs[i];
            int r = 0;

            if (p[2 + 2 * i].revents)
                r = pair->data ? serve_command(proxy, pair) : pass_on(pair->down, pair->up);
            if (r == 0 && p[3 + 2 * i].revents)
                r = pass_on(pair->up, pair->down);
            if (r < 0)
                drop(proxy, i);
        }
        for (int i = 0; i < 2; i++) {
            if (p[i].revents)
                admit(proxy, i);
        }
    }
}

int
fake_tpm_start(const struct swtpm_box *box, const struct fake_plan *plan,
               struct fake_tpm **ret, struct error *err)
{
    CLEANUP(fake_tpm_stop) struct fake_tpm *fake = calloc(1, sizeof *fake);
    struct proxy proxy = { .plan = *plan, .listener = { -1, -1 } };
    const char *behind = strchr(swtpm_box_tcti(box), '=') + 1;
    char path[2][PATH_ROOM];
    pid_t parent = getpid();

    if (!fake)
        return error_sys(err, ENOMEM, "fake TPM");
    for (int i = 0; i < 2; i++) {
        snprintf(proxy.upstream[i], PATH_ROOM, "%s%s", behind, i == 0 ? "" : ".ctrl");
        snprintf(path[i], PATH_ROOM, "%s/f%s", swtpm_box_folder(box), i == 0 ? "" : ".ctrl");
        if (unix_listen(path[i], SOCK_STREAM, 0600, &proxy.listener[i], err) < 0) {
            fd_close(proxy.listener[0]);
            return -1;
        }
    }
    snprintf(fake->tcti, sizeof fake->tcti, "swtpm:path=%.100s", path[0]);
    fake->pid = fork();
    if (fake->pid == 0) {
        (void)signal(SIGPIPE, SIG_IGN);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            serve(&proxy);
        _exit(0);
    }
    fd_close(proxy.listener[0]);
    fd_close(proxy.listener[1]);
    if (fake->pid < 0)
        return error_sys(err, errno, "fork");
    *ret = STEAL(fake);
    return 0;
}

const char *
fake_tpm_tcti(const struct fake_tpm *fake)
{
    return fake->tcti;
}

void
fake_tpm_stop(struct fake_tpm *fake)
{
    if (!fake)
        return;
    if (fake->pid > 0) {
        (void)kill(fake->pid, SIGKILL);
        while (waitpid(fake->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    free(fake);
}
