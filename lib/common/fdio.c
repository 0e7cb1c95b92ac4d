#include "config.h"

#include "lib/common/fdio.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

void
fd_close(int fd)
{
    if (fd >= 0)
        close(fd);
}

int
fd_steal(int *fd)
{
    int stolen = *fd;

    *fd = -1;
    return stolen;
}

int
fd_read_all(int fd, void *ret, size_t len, struct error *err)
{
    size_t got = 0;

    while (got < len) {
        ssize_t n = read(fd, (char *)ret + got, len - got);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_sys(err, errno, "read");
        if (n == 0)
            return error_set(err, ERROR_MISSING, "end of file after %zu of %zu bytes", got, len);
        got += (size_t)n;
    }
    return 0;
}

int
fd_write_all(int fd, const void *bytes, size_t len, struct error *err)
{
    size_t put = 0;

    while (put < len) {
        ssize_t n = write(fd, (const char *)bytes + put, len - put);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_sys(err, errno, "write");
        put += (size_t)n;
    }
    return 0;
}

int
fd_write_at(int fd, const void *bytes, size_t len, int64_t at, struct error *err)
{
    size_t put = 0;

    while (put < len) {
        ssize_t n = pwrite(fd, (const char *)bytes + put, len - put, at + (off_t)put);

        if (n < 0 && errno != EINTR)
            return error_sys(err, errno, "write");
        put += n < 0 ? 0 : (size_t)n;
    }
    while (fdatasync(fd) < 0) {
        if (errno != EINTR)
            return error_sys(err, errno, "sync");
    }
    return 0;
}

int
fd_read_to_end(int fd, struct buf *into, struct error *err)
{
    for (;;) {
        size_t left = into->max - into->len;
        uint8_t *to = buf_room(into, left < 65536 ? left : 65536);
        uint8_t beyond;
        ssize_t n;

        if (!to)
            return error_sys(err, ENOMEM, "buffer");
        n = left ? read(fd, to, left < 65536 ? left : 65536) : read(fd, &beyond, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_sys(err, errno, "read");
        if (n == 0)
            return 0;
        if (left == 0)
            return error_set(err, ERROR_INPUT, "longer than %zu bytes", into->max);
        buf_grew(into, (size_t)n);
    }
}

int
file_read(const char *path, struct buf *into, struct error *err)
{
    CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;

    if (fd < 0 && errno == ENOENT)
        return error_set(err, ERROR_MISSING, "%s: %s", path, strerror(ENOENT));
    if (fd < 0)
        return error_sys(err, errno, "open %s", path);
    if (fstat(fd, &st) < 0)
        return error_sys(err, errno, "stat %s", path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, ERROR_INPUT, "%s is not a regular file", path);
    if (fd_read_to_end(fd, into, err) < 0)
        return error_wrap(err, "%s", path);
    return 0;
}

int
file_replace_at(int dir, const char *name, const void *bytes, size_t len, mode_t mode,
                struct error *err)
{
    CLEANUP(fd_close) int fd = -1;
    char temporary[300];

    assert(!strchr(name, '/'));
    if ((size_t)snprintf(temporary, sizeof temporary, ".%s.new", name) >= sizeof temporary)
        return error_set(err, ERROR_INPUT, "file name of %zu bytes", strlen(name));
    (void)unlinkat(dir, temporary, 0); /* left by a crash */
    fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0)
        return error_sys(err, errno, "create %s", temporary);
    if (fchmod(fd, mode) < 0 || fd_write_all(fd, bytes, len, err) < 0 || fsync(fd) < 0 ||
        renameat(dir, temporary, dir, name) < 0) {
        int saved = errno;

        (void)unlinkat(dir, temporary, 0);
        return error_sys(err, saved, "write %s", name);
    }
    if (fsync(dir) < 0)
        return error_sys(err, errno, "fsync the folder of %s", name);
    return 0;
}

int
file_replace(const char *path, const void *bytes, size_t len, mode_t mode,
             struct error *err)
{
    CLEANUP(fd_close) int dir = -1;
    char folder[4096];
    const char *slash = strrchr(path, '/');

    if (!slash)
        snprintf(folder, sizeof folder, ".");
    else if ((size_t)snprintf(folder, sizeof folder, "%.*s/", (int)(slash - path), path) >=
             sizeof folder)
        return error_set(err, ERROR_INPUT, "path of %zu bytes", strlen(path));
    dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return error_sys(err, errno, "open %s", folder);
    if (file_replace_at(dir, slash ? slash + 1 : path, bytes, len, mode, err) < 0)
        return error_wrap(err, "%s", path);
    return 0;
}

int
dir_make(const char *path, mode_t mode, struct error *err)
{
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return error_sys(err, errno, "mkdir %s", path);
    return 0;
}

int
fd_send(int sock, const void *bytes, size_t len, const int *fds, size_t n, struct error *err)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FD_MESSAGE_FDS_MAX * sizeof(int))];
    } control = { 0 };
    struct iovec iov = { (void *)(uintptr_t)bytes, len };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t sent;

    assert(n <= FD_MESSAGE_FDS_MAX);
    if (n > 0) {
        struct cmsghdr *c;

        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    }
    do
        sent = sendmsg(sock, &msg, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return error_sys(err, errno, "send");
    if ((size_t)sent != len)
        return error_set(err, ERROR_SYSTEM, "sent %zd of %zu bytes", sent, len);
    return 0;
}

static size_t
take_descriptors(struct msghdr *msg, int *ret_fds)
{
    size_t n = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t here;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        here = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(ret_fds + n, CMSG_DATA(c), here * sizeof(int));
        n += here;
    }
    return n;
}

int
fd_receive(int sock, void *ret, size_t max, size_t *ret_len, int *ret_fds, size_t n_max,
           size_t *ret_n, struct error *err)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FD_MESSAGE_FDS_MAX * sizeof(int))];
    } control = { 0 };
    struct iovec iov = { ret, max };
    struct msghdr msg = { .msg_iov = &iov,
                          .msg_iovlen = 1,
                          .msg_control = control.bytes,
                          .msg_controllen = sizeof control.bytes };
    int fds[FD_MESSAGE_FDS_MAX + 1];
    size_t n;
    ssize_t got;

    do
        got = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return error_sys(err, errno, "receive");
    n = take_descriptors(&msg, fds);
    if (got == 0 || n > n_max || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
        for (size_t i = 0; i < n; i++)
            close(fds[i]);
        if (got == 0)
            return error_set(err, ERROR_MISSING, "the other side closed");
        return error_set(err, ERROR_INPUT, "packet with too many bytes or descriptors");
    }
    if (n > 0)
        memcpy(ret_fds, fds, n * sizeof(int));
    *ret_n = n;
    *ret_len = (size_t)got;
    return 0;
}

static int
unix_address(const char *path, struct sockaddr_un *ret, struct error *err)
{
    memset(ret, 0, sizeof *ret);
    ret->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof ret->sun_path)
        return error_set(err, ERROR_INPUT, "socket path of %zu bytes: %s", strlen(path), path);
    strcpy(ret->sun_path, path);
    return 0;
}

int
unix_listen(const char *path, int type, mode_t mode, int *ret_fd, struct error *err)
{
    CLEANUP(fd_close) int fd = -1;
    struct sockaddr_un address;

    if (unix_address(path, &address, err) < 0)
        return -1;
    fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_sys(err, errno, "socket");
    (void)unlink(path);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return error_sys(err, errno, "bind %s", path);
    if (chmod(path, mode) < 0)
        return error_sys(err, errno, "chmod %s", path);
    if (listen(fd, 128) < 0)
        return error_sys(err, errno, "listen %s", path);
    *ret_fd = fd_steal(&fd);
    return 0;
}

int
unix_connect(const char *path, int type, int *ret_fd, struct error *err)
{
    CLEANUP(fd_close) int fd = -1;
    struct sockaddr_un address;

    if (unix_address(path, &address, err) < 0)
        return -1;
    fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_sys(err, errno, "socket");
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        if (errno == ENOENT || errno == ECONNREFUSED)
            return error_set(err, ERROR_BUSY, "connect %s: %s", path, strerror(errno));
        return error_sys(err, errno, "connect %s", path);
    }
    *ret_fd = fd_steal(&fd);
    return 0;
}

int
unix_peer(int fd, pid_t *ret_pid, uid_t *ret_uid, gid_t *ret_gid, struct error *err)
{
    struct ucred who;
    socklen_t len = sizeof who;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
        return error_sys(err, errno, "SO_PEERCRED");
    *ret_pid = who.pid;
    *ret_uid = who.uid;
    *ret_gid = who.gid;
    return 0;
}
