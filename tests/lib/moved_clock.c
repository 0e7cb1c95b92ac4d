/*
 * moved_clock.c - preloaded: a program's time of day, moved by the seconds written in a file
 *
 * VIRTID_MOVED_CLOCK names the file, one decimal number of fixed width.  It is mapped before main(),
 * so that a program behind a system call filter sees it change as well.  Clocks that only count
 * (monotonic, boot time) stay as they are.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { FILE_SIZE = 21 }; /* 20 digits and a newline */

static const char *file = MAP_FAILED;

__attribute__((constructor)) static void
map_file(void)
{
    const char *path = getenv("VIRTID_MOVED_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (fd < 0)
        return;
    file = mmap(NULL, FILE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
}

static time_t
moved(void)
{
    return file == MAP_FAILED ? 0 : (time_t)strtoll(file, NULL, 10);
}

int
clock_gettime(clockid_t id, struct timespec *t)
{
    if (syscall(SYS_clock_gettime, id, t) < 0)
        return -1;
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)
        t->tv_sec += moved();
    return 0;
}

time_t
time(time_t *ret)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (ret)
        *ret = now.tv_sec;
    return now.tv_sec;
}

int
gettimeofday(struct timeval *restrict t, void *restrict zone)
{
    struct timespec now;

    (void)zone;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    t->tv_sec = now.tv_sec;
    t->tv_usec = now.tv_nsec / 1000;
    return 0;
}
