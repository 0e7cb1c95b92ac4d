/*
 * The power goes at the n-th call that changes or syncs the disk: linked with --wrap for each of them.
 */
#include "config.h"

#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

extern int crash_at_call; /* 0: never */
int crash_at_call;

extern ino_t synced_inode; /* becomes 0 when the file with this number is synced */
ino_t synced_inode;

static void
count(void)
{
    if (crash_at_call > 0 && --crash_at_call == 0)
        _exit(42);
}

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int
__wrap_fsync(int fd)
{
    struct stat st;

    if (synced_inode && fstat(fd, &st) == 0 && st.st_ino == synced_inode)
        synced_inode = 0;
    count();
    return __real_fsync(fd);
}

int __real_renameat(int from_dir, const char *from, int to_dir, const char *to);
int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to);
int
__wrap_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    count();
    return __real_renameat(from_dir, from, to_dir, to);
}

int __real_unlinkat(int dir, const char *name, int flags);
int __wrap_unlinkat(int dir, const char *name, int flags);
int
__wrap_unlinkat(int dir, const char *name, int flags)
{
    count();
    return __real_unlinkat(dir, name, flags);
}

ssize_t __real_write(int fd, const void *bytes, size_t len);
ssize_t __wrap_write(int fd, const void *bytes, size_t len);
ssize_t
__wrap_write(int fd, const void *bytes, size_t len)
{
    if (crash_at_call == 1 && len > 1) /* torn: half of it arrives */
        (void)!__real_write(fd, bytes, len / 2);
    count();
    return __real_write(fd, bytes, len);
}
