#include "config.h"

#include "lib/common/dial.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"

/* "HOST:PORT" or "[V6]:PORT" in two. */
static int
split_address(const char *address, char *ret_host, size_t size, const char **ret_port,
              struct error *err)
{
    const char *colon = strrchr(address, ':');
    size_t len = colon ? (size_t)(colon - address) : 0;

    if (len > 2 && address[0] == '[' && address[len - 1] == ']') {
        address++;
        len -= 2;
    } else if (len && (address[0] == '[' || memchr(address, ':', len))) {
        len = 0;
    }
    if (len == 0 || len >= size || colon[1] == '\0' ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1))
        return error_set(err, ERROR_INPUT, "an address is HOST:PORT or [V6]:PORT");
    memcpy(ret_host, address, len);
    ret_host[len] = '\0';
    *ret_port = colon + 1;
    return 0;
}

static int
dial_one(const struct addrinfo *to, int64_t deadline_ms, int *ret_fd,
            struct error *err)
{
    CLEANUP(fd_close)
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    int64_t left = deadline_ms - clock_monotonic_ms();
    int failure = 0, one = 1;
    socklen_t len = sizeof failure;

    if (fd < 0)
        return error_sys(err, errno, "socket");
    if (connect(fd, to->ai_addr, to->ai_addrlen) < 0 && errno != EINPROGRESS)
        return error_set(err, ERROR_BUSY, "%s", strerror(errno));
    if (left <= 0 || poll(&p, 1, (int)left) <= 0)
        return error_set(err, ERROR_BUSY, "no answer");
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &len) < 0 || failure)
        return error_set(err, ERROR_BUSY, "%s", strerror(failure ? failure : errno));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    *ret_fd = fd_steal(&fd);
    return 0;
}

int
dial_tcp(const char *address, int64_t deadline_ms, int *ret_fd, struct error *err)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    char host[256];
    const char *port;
    int rc, failed = -1;

    if (split_address(address, host, sizeof host, &port, err) < 0)
        return -1;
    rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0)
        return error_set(err, ERROR_BUSY, "%s: %s", address, gai_strerror(rc));
    for (const struct addrinfo *at = found; at && failed; at = at->ai_next)
        failed = dial_one(at, deadline_ms, ret_fd, err);
    freeaddrinfo(found);
    return failed ? error_wrap(err, "connect to %s", address) : 0;
}
