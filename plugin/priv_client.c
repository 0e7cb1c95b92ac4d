#include "config.h"

#include "plugin/priv_client.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"

static int
wait_for_answer(int sock, int64_t deadline_ms, struct error *err)
{
    struct pollfd p = { .fd = sock, .events = POLLIN };

    for (;;) {
        int64_t left = deadline_ms - clock_monotonic_ms();
        int n = poll(&p, 1, left > 0 ? (int)left : 0);

        if (n > 0)
            return 0;
        if (n == 0)
            return error_set(err, ERROR_BUSY, "virtid-privd does not answer");
        if (errno != EINTR)
            return error_sys(err, errno, "virtid-privd");
    }
}

static void
close_all(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fd_close(fds[i]);
}

static int
receive(int sock, struct priv_answer *ret, int *ret_fds, size_t n_fds, struct error *err)
{
    uint8_t packet[PRIV_PACKET_MAX];
    int fds[2] = { -1, -1 };
    size_t len, n;

    if (fd_receive(sock, packet, sizeof packet, &len, fds, n_fds, &n, err) < 0)
        return error_wrap(err, "virtid-privd");
    if (priv_answer_decode(packet, len, ret, err) < 0) {
        close_all(fds, n);
        return error_wrap(err, "virtid-privd");
    }
    if (ret->error.code != ERROR_NONE) {
        close_all(fds, n);
        *err = ret->error;
        return -1;
    }
    if (n != n_fds) {
        close_all(fds, n);
        return error_set(err, ERROR_INPUT, "virtid-privd sent %zu descriptors, not %zu", n, n_fds);
    }
    for (size_t i = 0; i < n; i++)
        ret_fds[i] = fds[i];
    return 0;
}

int
priv_client_ask(const char *socket, const struct priv_request *request, int fd,
                int64_t deadline_ms, struct priv_answer *ret, int *ret_fds, size_t n_fds,
                struct error *err)
{
    CLEANUP(buf_clear) struct buf packet = BUF(PRIV_PACKET_MAX);
    CLEANUP(fd_close) int sock = -1;

    if (priv_request_encode(request, &packet, err) < 0)
        return -1;
    if (unix_connect(socket, SOCK_SEQPACKET, &sock, err) < 0) {
        err->code = ERROR_BUSY;
        return error_wrap(err, "virtid-privd");
    }
    if (fd_send(sock, packet.data, packet.len, &fd, fd >= 0, err) < 0)
        return error_wrap(err, "virtid-privd");
    if (wait_for_answer(sock, deadline_ms, err) < 0)
        return -1;
    return receive(sock, ret, ret_fds, n_fds, err);
}
