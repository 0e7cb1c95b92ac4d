#include "config.h"

#include "plugin/inject/privd_link.h"

#include <stdio.h>
#include <string.h>

#include "lib/common/fdio.h"

static int
send_msg(int privd, const struct inject_msg *m, struct error *err)
{
    CLEANUP(buf_clear) struct buf out = BUF(INJECT_PACKET_MAX);

    if (inject_msg_encode(m, &out, err) < 0)
        return -1;
    return fd_send(privd, out.data, out.len, NULL, 0, err);
}

/* *ret_fd: -1 if none came. */
static int
receive(int privd, enum inject_kind kind, struct inject_msg *ret, int *ret_fd, struct error *err)
{
    uint8_t bytes[INJECT_PACKET_MAX];
    CLEANUP(fd_close) int fd = -1;
    size_t len, n = 0;

    if (fd_receive(privd, bytes, sizeof bytes, &len, &fd, 1, &n, err) < 0)
        return error_wrap(err, "privd");
    if (n == 0)
        fd = -1;
    if (inject_msg_decode(bytes, len, ret, err) < 0)
        return error_wrap(err, "privd");
    if (ret->kind != kind)
        return error_set(err, ERROR_INPUT, "privd: message %u instead of %u", ret->kind, kind);
    *ret_fd = fd_steal(&fd);
    return 0;
}

int
privd_link_job(int privd, struct inject_msg *ret, struct error *err)
{
    CLEANUP(fd_close) int none = -1;

    return receive(privd, INJECT_JOB, ret, &none, err);
}

int
privd_link_next(int privd, const char *name, int *ret_fd, struct error *err)
{
    struct inject_msg m = { .kind = INJECT_NEXT };
    CLEANUP(fd_close) int fd = -1;

    snprintf(m.path, sizeof m.path, "%s", name);
    if (send_msg(privd, &m, err) < 0 || receive(privd, INJECT_FILE, &m, &fd, err) < 0)
        return -1;
    if (m.problem[0])
        return error_problem(err, ERROR_DENIED, m.problem, "%s", m.text);
    if (fd < 0)
        return error_set(err, ERROR_INPUT, "privd: no descriptor came with the file");
    *ret_fd = fd_steal(&fd);
    return 0;
}

int
privd_link_ready(int privd, struct error *err)
{
    struct inject_msg m = { .kind = INJECT_READY };
    CLEANUP(fd_close) int none = -1;

    if (send_msg(privd, &m, err) < 0)
        return -1;
    return receive(privd, INJECT_GO, &m, &none, err);
}

int
privd_link_done(int privd, const struct inject_msg *done, struct error *err)
{
    return send_msg(privd, done, err);
}
