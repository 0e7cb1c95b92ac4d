#include "config.h"

#include "tests/faults/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/faults/durable.h"

struct fault_report *fault_report;

static char watched[PATH_MAX]; /* ends in a slash; "" nothing */
static struct fault armed;
static bool is_armed;

void
fault_watch(const char *folder)
{
    snprintf(watched, sizeof watched, "%s/", folder);
    if (!fault_report)
        fault_report = mmap(NULL, sizeof *fault_report, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

void
fault_arm(const struct fault *fault)
{
    armed = *fault;
    fault_report->n = 0;
    fault_report->struck = false;
    is_armed = true;
}

void
fault_disarm(void)
{
    is_armed = false;
}

/* ---- whose call is it ---- */

static bool
is_below(const char *path)
{
    size_t len = strlen(watched);

    return strncmp(path, watched, len) == 0 ||
           (strncmp(path, watched, len - 1) == 0 && path[len - 1] == '\0');
}

static bool
is_watched_fd(int fd)
{
    char link[32], path[PATH_MAX];
    int saved = errno;
    long len;

    if (!is_armed || fd < 0)
        return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    len = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    errno = saved;
    if (len < 0)
        return false;
    path[len] = '\0';
    return is_below(path);
}

static bool
is_watched_at(int dir, const char *path)
{
    if (!is_armed)
        return false;
    return path[0] == '/' ? is_below(path) : dir != AT_FDCWD && is_watched_fd(dir);
}

/* ---- what becomes of it ---- */

static void
end(void)
{
    syscall(SYS_exit_group, FAULT_EXIT);
}

/* FAULT_NONE: as ever. FAULT_ERROR: errno is set. FAULT_TORN and FAULT_SHORT: the caller's part. */
static enum fault_kind
meet(enum fault_call call)
{
    unsigned n;

    if (!strchr(armed.calls, (int)call))
        return FAULT_NONE;
    n = ++fault_report->n;
    if (n <= FAULT_CALLS_MAX)
        fault_report->calls[n - 1] = (uint8_t)call;
    if (armed.kind == FAULT_NONE || n < armed.at || (n > armed.at && !armed.onward))
        return FAULT_NONE;
    fault_report->struck = true;
    if (armed.kind == FAULT_CRASH || (armed.kind == FAULT_TORN && call != CALL_WRITE))
        end();
    if (armed.kind == FAULT_ERROR)
        errno = armed.error;
    return armed.kind;
}

static bool
fails(bool is_watched, enum fault_call call)
{
    return is_watched && meet(call) == FAULT_ERROR;
}

/* How much of `len` is to be done; -1: fail. */
static ssize_t
share(int fd, enum fault_call call, size_t len)
{
    enum fault_kind kind = is_watched_fd(fd) ? meet(call) : FAULT_NONE;

    if (kind == FAULT_ERROR)
        return -1;
    if (kind == FAULT_TORN && len < 2) /* half of it is nothing */
        end();
    return (ssize_t)(kind == FAULT_NONE || len < 2 ? len : len / 2);
}

static ssize_t
written(size_t len, ssize_t part, ssize_t done)
{
    if ((size_t)part < len && armed.kind == FAULT_TORN)
        end();
    return done;
}

/* ---- libc's names ---- */

ssize_t
write(int fd, const void *bytes, size_t len)
{
    ssize_t part = share(fd, CALL_WRITE, len);

    return part < 0 ? -1 : written(len, part, syscall(SYS_write, fd, bytes, (size_t)part));
}

ssize_t
pwrite(int fd, const void *bytes, size_t len, off_t at)
{
    ssize_t part = share(fd, CALL_WRITE, len);

    return part < 0 ? -1 : written(len, part, syscall(SYS_pwrite64, fd, bytes, (size_t)part, at));
}

ssize_t
pwrite64(int fd, const void *bytes, size_t len, off64_t at)
{
    return pwrite(fd, bytes, len, at);
}

ssize_t
writev(int fd, const struct iovec *parts, int n)
{
    if (is_watched_fd(fd)) {
        enum fault_kind kind = meet(CALL_WRITE);

        if (kind == FAULT_ERROR)
            return -1;
        if (kind != FAULT_NONE)
            return written(2, 1, syscall(SYS_writev, fd, parts, (n + 1) / 2));
    }
    return syscall(SYS_writev, fd, parts, n);
}

ssize_t
read(int fd, void *bytes, size_t len)
{
    ssize_t part = share(fd, CALL_READ, len);

    return part < 0 ? -1 : syscall(SYS_read, fd, bytes, (size_t)part);
}

ssize_t
pread(int fd, void *bytes, size_t len, off_t at)
{
    ssize_t part = share(fd, CALL_READ, len);

    return part < 0 ? -1 : syscall(SYS_pread64, fd, bytes, (size_t)part, at);
}

ssize_t
pread64(int fd, void *bytes, size_t len, off64_t at)
{
    return pread(fd, bytes, len, at);
}

int
fsync(int fd)
{
    bool is_watched = is_watched_fd(fd);
    struct stat st;
    enum fault_call call = is_watched && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? CALL_SYNC_NAMES : CALL_SYNC;

    if (fails(is_watched, call) || syscall(SYS_fsync, fd) < 0)
        return -1;
    if (is_watched)
        durable_synced(fd);
    return 0;
}

int
fdatasync(int fd)
{
    return fsync(fd);
}

int
ftruncate(int fd, off_t len)
{
    return fails(is_watched_fd(fd), CALL_SIZE) ? -1 : (int)syscall(SYS_ftruncate, fd, len);
}

int
ftruncate64(int fd, off64_t len)
{
    return ftruncate(fd, len);
}

int
renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    return fails(is_watched_at(to_dir, to), CALL_NAME)
               ? -1
               : (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

int
renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return renameat2(from_dir, from, to_dir, to, 0);
}

int
rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int
linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    return fails(is_watched_at(to_dir, to), CALL_NAME)
               ? -1
               : (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}

int
unlinkat(int dir, const char *path, int flags)
{
    return fails(is_watched_at(dir, path), CALL_NAME) ? -1
                                                      : (int)syscall(SYS_unlinkat, dir, path, flags);
}

int
unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int
rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int
mkdirat(int dir, const char *path, mode_t mode)
{
    bool is_watched = is_watched_at(dir, path);

    if (fails(is_watched, CALL_CREATE) || syscall(SYS_mkdirat, dir, path, mode) < 0)
        return -1;
    if (is_watched)
        durable_made(dir, path);
    return 0;
}

int
mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

int
openat(int dir, const char *path, int flags, ...)
{
    bool is_watched = is_watched_at(dir, path), creates = (flags & O_CREAT) != 0, is_new;
    mode_t mode = 0;
    va_list args;
    int fd;

    if (creates) {
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    is_new = is_watched && creates && faccessat(dir, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
    if (fails(is_watched, is_new ? CALL_CREATE : CALL_OPEN))
        return -1;
    fd = (int)syscall(SYS_openat, dir, path, flags, mode);
    if (fd >= 0 && is_new)
        durable_made(dir, path);
    return fd;
}

int
open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list args;

    va_start(args, flags);
    if (flags & O_CREAT)
        mode = va_arg(args, mode_t);
    va_end(args);
    return openat(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));
int openat64(int dir, const char *path, int flags, ...) __attribute__((alias("openat")));
