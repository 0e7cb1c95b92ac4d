#include "config.h"

#include "plugin/priv/priv_path.h"

#include <dirent.h>
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

static int
no_open(struct error *err, const char *folder, const char *rest)
{
    if (errno == ENOENT || errno == ENOTDIR)
        return error_problem(err, ERROR_MISSING, "image-path", "%.200s: there is no such file", rest);
    if (errno == ELOOP || errno == EXDEV)
        return error_problem(err, ERROR_DENIED, "image-path",
                             "%.200s: a link, or it leaves %.100s", rest, folder);
    return error_sys(err, errno, "%.200s", rest);
}

/* A link of udev's leads out of its folder, as /dev/VG/LV to /dev/dm-0; it stays in /dev. */
static int
open_device(const char *rest, int *ret_fd, struct stat *ret_st, struct error *err)
{
    CLEANUP(fd_close) int dir = open(DEVICES, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(fd_close) int fd = -1;
    struct open_how how = { .flags = O_PATH | O_CLOEXEC,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV };

    if (dir < 0)
        return error_sys(err, errno, DEVICES);
    fd = (int)syscall(SYS_openat2, dir, rest, &how, sizeof how);
    if (fd < 0)
        return no_open(err, DEVICES, rest);
    if (fstat(fd, ret_st) < 0)
        return error_sys(err, errno, "%.200s", rest);
    *ret_fd = fd_steal(&fd);
    return 0;
}

/* Is the name by which it was opened still its name? */
static bool
is_named(int path_fd)
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

/* The kernel changes the names in a folder under its lock, which reading the folder waits for. */
static void
let_changes_end(int folder)
{
    char entries[1024];

    (void)!getdents64(folder, entries, sizeof entries);
}

/*
 * No link is followed.  While a name is taken away, the kernel lowers st_nlink first and says "deleted" only later:
 * whoever looks in between finds one name, which is not the one it came by.
 */
static int
open_file(const char *folder, const char *rest, int *ret_fd, struct stat *ret_st, struct error *err)
{
    CLEANUP(fd_close) int dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(fd_close) int parent = -1;
    CLEANUP(fd_close) int fd = -1;
    struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS };
    const char *base = strrchr(rest, '/');
    char above[PATH_MAX] = ".";

    if (base && (size_t)(base - rest) >= sizeof above)
        return error_problem(err, ERROR_DENIED, "image-path", "a path of more than %d bytes", PATH_MAX);
    if (base)
        snprintf(above, sizeof above, "%.*s", (int)(base - rest), rest);
    if (dir < 0)
        return error_sys(err, errno, "%s", folder);
    parent = (int)syscall(SYS_openat2, dir, above, &how, sizeof how);
    if (parent < 0)
        return no_open(err, folder, rest);
    how.flags = O_PATH | O_CLOEXEC | O_NOFOLLOW;
    fd = (int)syscall(SYS_openat2, parent, base ? base + 1 : rest, &how, sizeof how);
    if (fd < 0)
        return no_open(err, folder, rest);
    if (fstat(fd, ret_st) < 0)
        return error_sys(err, errno, "%.200s", rest);
    let_changes_end(parent);
    if (!is_named(fd))
        return error_problem(err, ERROR_DENIED, "image-path", "%.200s was replaced while it was looked at",
                             rest);
    *ret_fd = fd_steal(&fd);
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
    const char *rest = NULL;
    size_t i;

    for (i = 0; roots->folders[i] && !rest; i++)
        rest = below(roots->folders[i], path);
    if (!rest)
        return error_problem(err, ERROR_DENIED, "image-path",
                             "%.200s is not below a folder that privd.conf names", path);
    if (priv_path_is_device(path))
        return open_device(below(DEVICES, path), ret_fd, ret_st, err);
    return open_file(roots->folders[i - 1], rest, ret_fd, ret_st, err);
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
