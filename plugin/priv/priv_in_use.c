#include "config.h"

#include "plugin/priv/priv_in_use.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "plugin/priv/priv_path.h"

/* QEMU, block/file-posix.c: RAW_LOCK_PERM_BASE, RAW_LOCK_SHARED_BASE; one byte per permission. */
enum { PERM_BASE = 100, SHARED_BASE = 200, PERMS = 64, PERM_WRITE = 1, PERM_RESIZE = 3 };

static int
in_use(struct error *err, const char *by)
{
    return error_problem(err, ERROR_DENIED, "image-in-use", "%s", by);
}

static int
lock_range(int fd, off_t start, struct error *err)
{
    struct flock range = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = PERMS };

    if (fcntl(fd, F_OFD_SETLK, &range) == 0)
        return 0;
    if (errno == EAGAIN || errno == EACCES)
        return in_use(err, "another program holds a lock on it, as QEMU does while it is open");
    return error_sys(err, errno, "locking the image");
}

int
priv_in_use_lock(int fd, struct error *err)
{
    if (lock_range(fd, PERM_BASE, err) < 0)
        return -1;
    return lock_range(fd, SHARED_BASE, err);
}

int
priv_in_use_writers(int fd, struct error *err)
{
    static const int perms[] = { PERM_WRITE, PERM_RESIZE };

    for (size_t i = 0; i < sizeof perms / sizeof *perms; i++) {
        struct flock byte = { .l_type = F_WRLCK, .l_whence = SEEK_SET,
                              .l_start = PERM_BASE + perms[i], .l_len = 1 };

        if (fcntl(fd, F_OFD_GETLK, &byte) < 0)
            return error_sys(err, errno, "locks of a backing file");
        if (byte.l_type != F_UNLCK)
            return in_use(err, "a backing file is open for writing in a QEMU");
    }
    return 0;
}

static bool
is_number(const char *name)
{
    return *name && name[strspn(name, "0123456789")] == '\0';
}

/* "flags:" of /proc/PID/fdinfo/N, octal.  What cannot be read counts as a writer. */
static bool
is_writer(int process, const char *fd_name)
{
    char path[64], text[256];
    ssize_t n;
    const char *flags;

    snprintf(path, sizeof path, "fdinfo/%.20s", fd_name);
    CLEANUP(fd_close) int fd = openat(process, path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return errno != ENOENT;
    n = read(fd, text, sizeof text - 1);
    if (n <= 0)
        return true;
    text[n] = '\0';
    flags = strstr(text, "flags:");
    return !flags || (strtoul(flags + 6, NULL, 8) & O_ACCMODE) != O_RDONLY;
}

/* The disk that a device is or is a part of, as sysfs names it. */
static bool
disk_of(dev_t device, char ret[static 300], bool *ret_part)
{
    char link[64], path[300];
    ssize_t n;

    snprintf(link, sizeof link, "/sys/dev/block/%u:%u", major(device), minor(device));
    n = readlink(link, ret, 256);
    if (n <= 0 || n == 256)
        return false;
    ret[n] = '\0';
    snprintf(path, sizeof path, "/sys/dev/block/%.256s/partition", ret);
    *ret_part = access(path, F_OK) == 0;
    if (*ret_part)
        *strrchr(ret, '/') = '\0';
    return true;
}

/* A disk and its partition share bytes; two partitions do not. */
static bool
is_of(const struct stat *st, const struct stat *file)
{
    char a[300], b[300];
    bool part_a, part_b;

    if (priv_path_same(st, file))
        return true;
    return S_ISBLK(file->st_mode) && S_ISBLK(st->st_mode) && disk_of(st->st_rdev, a, &part_a) &&
           disk_of(file->st_rdev, b, &part_b) && strcmp(a, b) == 0 && part_a != part_b;
}

static bool
has_open(int process, const struct stat *file, bool writers_only)
{
    int fds = openat(process, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fds < 0 ? NULL : fdopendir(fds);
    struct dirent *entry;
    bool found = false;

    if (!dir) {
        bool ended = fds < 0 && (errno == ENOENT || errno == ESRCH);

        fd_close(fds);
        /* What root may not look at may be anybody's; without root (tests) that is every other user's. */
        return !ended && geteuid() == 0;
    }
    while (!found && (entry = readdir(dir))) {
        struct stat st;

        found = is_number(entry->d_name) && fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 &&
                is_of(&st, file) &&
                (!writers_only || is_writer(process, entry->d_name));
    }
    closedir(dir);
    return found;
}

static int
scan_processes(const struct stat *file, bool writers_only, pid_t except, struct error *err)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    char by[80] = "";

    if (!proc)
        return error_sys(err, errno, "/proc");
    while (!by[0] && (entry = readdir(proc))) {
        pid_t pid = is_number(entry->d_name) ? (pid_t)strtol(entry->d_name, NULL, 10) : 0;

        if (pid <= 0 || pid == getpid() || (except > 0 && getpgid(pid) == except))
            continue;
        CLEANUP(fd_close)
        int process = openat(dirfd(proc), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (process >= 0 && has_open(process, file, writers_only))
            snprintf(by, sizeof by, "process %d has it open", (int)pid);
    }
    closedir(proc);
    return by[0] ? in_use(err, by) : 0;
}

static bool
is_loop_of(int block, const char *name, const struct stat *file)
{
    char path[300], backing[4096];
    struct stat st;
    ssize_t n;

    snprintf(path, sizeof path, "%.250s/loop/backing_file", name);
    CLEANUP(fd_close) int fd = openat(block, path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || (n = read(fd, backing, sizeof backing - 1)) <= 1)
        return false;
    backing[n - 1] = '\0'; /* its newline */
    return stat(backing, &st) == 0 && is_of(&st, file);
}

/* A loop device holds its file without a descriptor that /proc would show. */
static int
scan_loops(const struct stat *file, struct error *err)
{
    DIR *dir = opendir("/sys/block");
    struct dirent *entry;
    bool found = false;

    if (!dir)
        return 0; /* no sysfs, no loop devices to look at */
    while (!found && (entry = readdir(dir)))
        found = strncmp(entry->d_name, "loop", 4) == 0 && is_loop_of(dirfd(dir), entry->d_name, file);
    closedir(dir);
    return found ? in_use(err, "a loop device is made of it") : 0;
}

int
priv_in_use_scan(const struct stat *file, bool writers_only, pid_t except, struct error *err)
{
    if (scan_processes(file, writers_only, except, err) < 0)
        return -1;
    return writers_only ? 0 : scan_loops(file, err);
}
