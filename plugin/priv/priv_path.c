#include "config.h"

#include "plugin/priv/priv_path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/common/fdio.h"

#define DEVICES "/dev"

/* The part of `path` below `folder`, or NULL. */
static const char *
below(const char *folder, const char *path)
{
    size_t len = strlen(folder);

    if (strncmp(path, folder, len) != 0 || path[len] != '/')
        return NULL;
    path += len;
    path += strspn(path, "/");
    return *path ? path : NULL;
}

/* Of regular files no link is followed; of devices udev's, which stay in /dev. */
static int
open_below(const char *folder, const char *rest, bool device, int *ret_fd, struct error *err)
{
    CLEANUP(fd_close) int dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct open_how how = { .flags = O_PATH | O_CLOEXEC,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
    int fd;

    if (device) {
        how.resolve |= RESOLVE_NO_XDEV;
    } else {
        how.flags |= O_NOFOLLOW;
        how.resolve |= RESOLVE_NO_SYMLINKS;
    }
    if (dir < 0)
        return error_sys(err, errno, "%s", folder);
    fd = (int)syscall(SYS_openat2, dir, rest, &how, sizeof how);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return error_problem(err, ERROR_MISSING, "image-path", "%.200s: there is no such file", rest);
    if (fd < 0 && (errno == ELOOP || errno == EXDEV))
        return error_problem(err, ERROR_DENIED, "image-path",
                             "%.200s: a link, or it leaves %.100s", rest, folder);
    if (fd < 0)
        return error_sys(err, errno, "%.200s", rest);
    *ret_fd = fd;
    return 0;
}

bool
priv_path_is_device(const char *path)
{
    return strncmp(path, DEVICES "/", sizeof DEVICES) == 0;
}

bool
priv_path_same(const struct stat *a, const struct stat *b)
{
    if (S_ISBLK(a->st_mode) || S_ISBLK(b->st_mode))
        return S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode) && a->st_rdev == b->st_rdev;
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

int
priv_path_open(const struct priv_roots *roots, const char *path, int *ret_fd,
               struct stat *ret_st, struct error *err)
{
    CLEANUP(fd_close) int fd = -1;
    bool device = priv_path_is_device(path);
    const char *rest = NULL;
    size_t i;

    for (i = 0; roots->folders[i] && !rest; i++)
        rest = below(roots->folders[i], path);
    if (!rest)
        return error_problem(err, ERROR_DENIED, "image-path",
                             "%.200s is not below a folder that privd.conf names", path);
    /* A link of udev's leads out of the folder, as /dev/VG/LV to /dev/dm-0. */
    if (open_below(device ? DEVICES : roots->folders[i - 1], device ? below(DEVICES, path) : rest,
                   device, &fd, err) < 0)
        return -1;
    if (fstat(fd, ret_st) < 0)
        return error_sys(err, errno, "%.200s", path);
    *ret_fd = fd_steal(&fd);
    return 0;
}

bool
priv_path_is_named(int path_fd)
{
    static const char gone[] = " (deleted)"; /* the kernel's word for a name that was taken away */
    char link[32], name[PATH_MAX + sizeof gone];
    ssize_t len;

    snprintf(link, sizeof link, "/proc/self/fd/%d", path_fd);
    len = readlink(link, name, sizeof name);
    if (len < 0 || (size_t)len >= sizeof name)
        return false;
    return (size_t)len < sizeof gone || memcmp(name + len - (sizeof gone - 1), gone, sizeof gone - 1) != 0;
}

int
priv_path_reopen(int path_fd, int flags, int *ret_fd, struct error *err)
{
    char link[32];
    int fd;

    snprintf(link, sizeof link, "/proc/self/fd/%d", path_fd);
    fd = open(link, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno == EBUSY)
        return error_problem(err, ERROR_DENIED, "image-in-use",
                             "the kernel uses the device (mounted, or part of another)");
    if (fd < 0 && (errno == EROFS || errno == EPERM || errno == EACCES || errno == ETXTBSY))
        return error_problem(err, ERROR_DENIED, "image-read-only", "it cannot be opened for writing: %s",
                             strerror(errno));
    if (fd < 0)
        return error_sys(err, errno, "open");
    *ret_fd = fd;
    return 0;
}

int
priv_path_beside(const char *parent, const char *name, char *ret, size_t size,
                 struct error *err)
{
    const char *slash = strrchr(parent, '/');
    int n;

    if (name[0] == '/')
        n = snprintf(ret, size, "%s", name);
    else
        n = snprintf(ret, size, "%.*s/%s", slash ? (int)(slash - parent) : 0, parent, name);
    if (n < 0 || (size_t)n >= size)
        return error_problem(err, ERROR_DENIED, "image-chain", "a backing file's path is too long");
    return 0;
}
