#include "config.h"

#include "plugin/priv/priv_channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "plugin/priv/priv_path.h"

#define CHANNEL_NAME "org.virtid.0" /* never the guest agent's: that one runs commands */

enum { COMMAND_LINE_MAX = 1 << 20, PID_TEXT_MAX = 32 };

static int
foreign(struct error *err, const char *why)
{
    return error_problem(err, ERROR_DENIED, "channel-foreign", "%s", why);
}

/* libvirt's pid file: a regular file of root's that nobody else writes. */
static int
read_pid(const struct priv_settings *s, const char *name, pid_t *ret, struct error *err)
{
    CLEANUP(fd_close) int dir = open(s->libvirt_run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    char file[300], text[PID_TEXT_MAX], *end;
    struct stat st;
    ssize_t n;
    long pid;

    if (dir < 0)
        return error_sys(err, errno, "%s", s->libvirt_run_dir);
    if (snprintf(file, sizeof file, "%s.pid", name) >= (int)sizeof file)
        return error_set(err, ERROR_INPUT, "the domain's name is too long");
    CLEANUP(fd_close)
    int fd = openat(dir, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) < 0)
        return error_set(err, ERROR_MISSING, "%s: %s; is the domain running?", file, strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022))
        return foreign(err, "libvirt's pid file is not one that only root writes");
    n = read(fd, text, sizeof text - 1);
    if (n <= 0)
        return error_set(err, ERROR_MISSING, "%s: empty", file);
    text[n] = '\0';
    errno = 0;
    pid = strtol(text, &end, 10);
    if (end == text || errno || (*end && *end != '\n') || pid <= 1 || pid > INT32_MAX)
        return error_set(err, ERROR_INPUT, "%s: not a pid", file);
    *ret = (pid_t)pid;
    return 0;
}

/* A socket may be longer named than sun_path: the link of an open O_PATH never is. */
static int
connect_to(const struct priv_settings *s, const char *path, int *ret_socket, struct error *err)
{
    CLEANUP(fd_close) int place = -1;
    CLEANUP(fd_close) int sock = -1;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const char *base = strrchr(path, '/');
    struct stat st;

    if (!base || strcmp(base + 1, CHANNEL_NAME) != 0)
        return foreign(err, "only a channel " CHANNEL_NAME " is connected");
    if (priv_path_open(&s->channel_roots, path, &place, &st, err) < 0)
        return -1;
    if (!S_ISSOCK(st.st_mode))
        return foreign(err, "the channel's path is no socket");
    sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sock < 0)
        return error_sys(err, errno, "socket");
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d", place);
    if (connect(sock, (struct sockaddr *)&address, sizeof address) < 0)
        return error_set(err, ERROR_BUSY, "channel: %s", strerror(errno));
    *ret_socket = fd_steal(&sock);
    return 0;
}

/* Is "-uuid TEXT" on the command line, as libvirt starts every domain? */
static bool
has_uuid(const struct buf *line, const char *text)
{
    const char *at = (const char *)line->data, *end = at + line->len;

    while (at < end) {
        size_t n = strnlen(at, (size_t)(end - at));
        const char *next = at + n + 1;

        if (n == 5 && memcmp(at, "-uuid", 5) == 0)
            return next < end && strnlen(next, (size_t)(end - next)) == VM_UUID_TEXT - 1 &&
                   memcmp(next, text, VM_UUID_TEXT - 1) == 0;
        at = next;
    }
    return false;
}

/* And a "-device" with our channel's name, in JSON or in QEMU's older words? */
static bool
has_channel(const struct buf *line)
{
    static const char json[] = "\"name\":\"" CHANNEL_NAME "\"", words[] = "name=" CHANNEL_NAME;
    const char *at = (const char *)line->data, *end = at + line->len;
    bool device = false;

    while (at < end) {
        size_t n = strnlen(at, (size_t)(end - at));

        if (device && (memmem(at, n, json, sizeof json - 1) || memmem(at, n, words, sizeof words - 1)))
            return true;
        device = n == 7 && memcmp(at, "-device", 7) == 0;
        at += n + 1;
    }
    return false;
}

static int
read_command_line(pid_t pid, struct buf *into, struct error *err)
{
    char path[40];

    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return error_set(err, ERROR_MISSING, "the domain's process has ended");
    return fd_read_to_end(fd, into, err);
}

static int
check_uuid(const struct buf *line, const struct vm_uuid *uuid, struct error *err)
{
    char text[VM_UUID_TEXT];

    vm_uuid_print(uuid, text);
    return line->len > 0 && has_uuid(line, text) ? 0 : foreign(err, "the process is another domain's");
}

/* With the pidfd open: still alive means that pid and command line were its own. */
static int
check_alive(int pidfd, struct error *err)
{
    struct pollfd p = { .fd = pidfd, .events = POLLIN };

    if (poll(&p, 1, 0) != 0)
        return error_set(err, ERROR_MISSING, "the domain's process has ended");
    return 0;
}

int
priv_channel_check_domain(const struct priv_settings *s, const struct vm_uuid *uuid, const char *name, struct error *err)
{
    CLEANUP(buf_clear) struct buf line = BUF(COMMAND_LINE_MAX);
    CLEANUP(fd_close) int pidfd = -1;
    pid_t pid;

    if (read_pid(s, name, &pid, err) < 0)
        return -1;
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0)
        return error_set(err, ERROR_MISSING, "the domain's process has ended");
    if (read_command_line(pid, &line, err) < 0 || check_uuid(&line, uuid, err) < 0)
        return -1;
    if (!has_channel(&line))
        return foreign(err, "the domain has no channel " CHANNEL_NAME);
    return check_alive(pidfd, err);
}

int
priv_channel_connect(const struct priv_settings *s, const struct vm_uuid *uuid,
                     const char *name, const char *path, int *ret_socket, int *ret_pidfd,
                     pid_t *ret_pid, struct error *err)
{
    CLEANUP(buf_clear) struct buf line = BUF(COMMAND_LINE_MAX);
    CLEANUP(fd_close) int sock = -1;
    CLEANUP(fd_close) int pidfd = -1;
    pid_t expected, pid;
    uid_t uid;
    gid_t gid;

    if (read_pid(s, name, &expected, err) < 0 || connect_to(s, path, &sock, err) < 0 ||
        unix_peer(sock, &pid, &uid, &gid, err) < 0)
        return -1;
    if (pid != expected)
        return foreign(err, "the channel's other end is not the process that libvirt started");
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0)
        return error_set(err, ERROR_MISSING, "the domain's process has ended");
    if (read_command_line(pid, &line, err) < 0 || check_uuid(&line, uuid, err) < 0 || check_alive(pidfd, err) < 0)
        return -1;
    *ret_socket = fd_steal(&sock);
    *ret_pidfd = fd_steal(&pidfd);
    *ret_pid = pid;
    return 0;
}
