#include "config.h"

#include "hooks/hook_ask.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"

/* Every wait of this program ends at the earlier of the two. */
struct deadlines {
    int64_t silence, total;
};

static int
left_ms(const struct deadlines *d)
{
    int64_t until = d->silence < d->total ? d->silence : d->total;
    int64_t left = until - clock_monotonic_ms();

    return left < 0 ? 0 : (int)left;
}

static bool
wait_for(int fd, short events, const struct deadlines *d)
{
    struct pollfd p = { .fd = fd, .events = events };

    for (;;) {
        int n = poll(&p, 1, left_ms(d));

        if (n > 0)
            return true;
        if (n == 0 || errno != EINTR)
            return false;
    }
}

/* Non-blocking, because the backlog of a frozen daemon may be full. */
static int
connect_now(const char *path)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    CLEANUP(fd_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || strlen(path) >= sizeof to.sun_path)
        return -1;
    memcpy(to.sun_path, path, strlen(path));
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        return -1;
    return fd_steal(&fd);
}

static bool
send_all(int fd, const struct buf *message, const struct deadlines *d)
{
    size_t put = 0;

    while (put < message->len) {
        ssize_t n = send(fd, message->data + put, message->len - put, MSG_NOSIGNAL);

        if (n >= 0) {
            put += (size_t)n;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN || !wait_for(fd, POLLOUT, d))
            return false;
    }
    return true;
}

/* One line without its newline into `line`; -1 if it does not come in time or is too long. */
static int
read_line(int fd, char *line, size_t size, const struct deadlines *d)
{
    size_t len = 0;

    while (len < size) {
        ssize_t n;

        if (!wait_for(fd, POLLIN, d))
            return -1;
        n = recv(fd, line + len, 1, 0);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0)
            return -1;
        if (line[len] == '\n')
            return (int)len;
        len++;
    }
    return -1;
}

static enum hook_outcome
listen_for_verdict(int fd, struct deadlines *d, char ret_reason[static HOOK_REASON_MAX + 1])
{
    char line[HOOK_REASON_MAX + 8];

    for (;;) {
        enum hook_verdict verdict;
        struct error err;
        int len = read_line(fd, line, sizeof line, d);

        if (len < 0 || hook_answer_decode(line, (size_t)len, &verdict, ret_reason, &err) < 0)
            return HOOK_SILENT;
        if (verdict == HOOK_GO)
            return HOOK_ANSWERED_GO;
        if (verdict == HOOK_NO)
            return HOOK_ANSWERED_NO;
        d->silence = clock_monotonic_ms() + HOOK_SILENCE_MS;
    }
}

enum hook_outcome
hook_ask(const char *path, const struct buf *message, bool wait,
         char ret_reason[static HOOK_REASON_MAX + 1])
{
    int64_t now = clock_monotonic_ms();
    /* A little less than the promise, which counts our own start and end too. */
    struct deadlines d = { now + HOOK_SILENCE_MS - 20, now + HOOK_TOTAL_MS };
    CLEANUP(fd_close) int fd = connect_now(path);

    ret_reason[0] = '\0';
    if (fd < 0 || !send_all(fd, message, &d))
        return HOOK_SILENT;
    if (!wait)
        return HOOK_ANSWERED_GO;
    return listen_for_verdict(fd, &d, ret_reason);
}
