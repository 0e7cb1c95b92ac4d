#include "config.h"

#include "plugin/inject/qmp.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/common/buf.h"
#include "lib/common/clock.h"
#include "lib/common/fdio.h"

enum { LINE_MAX_BYTES = 65536, EVENTS_MAX = 64, EVENT_MS = 100 };

struct qmp {
    int fd;
    int64_t deadline_ms;
    struct buf in;
    bool io_failed, disk_full;
};

void
qmp_close(struct qmp *qmp)
{
    if (!qmp)
        return;
    fd_close(qmp->fd);
    buf_clear(&qmp->in);
    free(qmp);
}

static int
fill(struct qmp *qmp, struct error *err)
{
    int64_t left = qmp->deadline_ms - clock_monotonic_ms();
    struct pollfd p = { .fd = qmp->fd, .events = POLLIN };
    uint8_t *room = buf_room(&qmp->in, 4096);
    ssize_t n;

    if (!room)
        return error_set(err, ERROR_SYSTEM, "QMP: an endless line");
    if (left <= 0 || poll(&p, 1, (int)(left > INT32_MAX ? INT32_MAX : left)) != 1)
        return error_set(err, ERROR_BUSY, "QMP: no answer in time");
    n = read(qmp->fd, room, 4096);
    if (n <= 0)
        return error_set(err, ERROR_SYSTEM, "QMP: the appliance ended");
    buf_grew(&qmp->in, (size_t)n);
    return 0;
}

/* The next line, NUL-terminated, in `line`. */
static int
next_line(struct qmp *qmp, struct buf *line, struct error *err)
{
    const uint8_t *end;
    size_t len;

    while (!qmp->in.len || !(end = memchr(qmp->in.data, '\n', qmp->in.len)))
        if (fill(qmp, err) < 0)
            return -1;
    len = (size_t)(end - qmp->in.data);
    line->len = 0;
    buf_add(line, qmp->in.data, len);
    buf_drop(&qmp->in, len + 1);
    if (!buf_text(line))
        return error_set(err, ERROR_SYSTEM, "QMP: an endless line");
    return 0;
}

/* "nospace" is said only where QEMU would stop for it; the reason is strerror()'s, always. */
static void
note_event(struct qmp *qmp, const char *text)
{
    if (!strstr(text, "\"BLOCK_IO_ERROR\""))
        return;
    qmp->io_failed = true;
    if (strstr(text, strerror(ENOSPC)) || strstr(text, strerror(EDQUOT)))
        qmp->disk_full = true;
}

static int
wait_answer(struct qmp *qmp, struct error *err)
{
    CLEANUP(buf_clear) struct buf line = BUF(LINE_MAX_BYTES + 1);

    for (int i = 0; i < EVENTS_MAX; i++) {
        if (next_line(qmp, &line, err) < 0)
            return -1;
        const char *text = (const char *)line.data;

        if (strncmp(text, "{\"return\"", 9) == 0)
            return 0;
        if (strncmp(text, "{\"error\"", 8) == 0)
            return error_set(err, ERROR_SYSTEM, "QEMU: %.200s", text);
        note_event(qmp, text);
    }
    return error_set(err, ERROR_SYSTEM, "QMP: too many events");
}

int
qmp_do(struct qmp *qmp, const char *command, int fd, struct error *err)
{
    if (fd_send(qmp->fd, command, strlen(command), &fd, fd >= 0 ? 1 : 0, err) < 0)
        return error_wrap(err, "QMP");
    return wait_answer(qmp, err);
}

/* What came by itself is there already: it is hardly waited for, and no command can follow. */
bool
qmp_io_failed(struct qmp *qmp, bool *ret_full)
{
    CLEANUP(buf_clear) struct buf line = BUF(LINE_MAX_BYTES + 1);
    struct error none;

    qmp->deadline_ms = clock_monotonic_ms() + EVENT_MS;
    for (int i = 0; i < EVENTS_MAX && next_line(qmp, &line, &none) == 0; i++)
        note_event(qmp, (const char *)line.data);
    *ret_full = qmp->disk_full;
    return qmp->io_failed;
}

int
qmp_open(const char *path, int64_t deadline_ms, struct qmp **ret_qmp, struct error *err)
{
    CLEANUP(qmp_close) struct qmp *qmp = calloc(1, sizeof *qmp);
    CLEANUP(buf_clear) struct buf greeting = BUF(LINE_MAX_BYTES + 1);

    if (!qmp)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    *qmp = (struct qmp){ .fd = -1, .deadline_ms = deadline_ms, .in = BUF(LINE_MAX_BYTES) };
    if (unix_connect(path, SOCK_STREAM, &qmp->fd, err) < 0 ||
        next_line(qmp, &greeting, err) < 0 ||
        qmp_do(qmp, "{\"execute\":\"qmp_capabilities\"}\n", -1, err) < 0)
        return error_wrap(err, "appliance");
    *ret_qmp = STEAL(qmp);
    return 0;
}
