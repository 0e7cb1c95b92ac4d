#include "config.h"

#include "tokenservice/api/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "tokenservice/api/service_state.h"

#define NAME "audit.reserve"

enum {
    RATE_MS = 5 * 60 * 1000,
    AGAIN_MS = 10 * 60 * 1000, /* the alarm */
    RECORD_LEAST = 512,        /* bytes, with its indexes */
};

static void
path_of(const struct service *s, char ret[static PATH_MAX])
{
    snprintf(ret, PATH_MAX, "%s/" NAME, s->state_dir);
}

/* What the database may still take; much, where nobody can say. */
static int64_t
room(const struct service *s)
{
    struct statvfs disk;

    return statvfs(s->state_dir, &disk) < 0 ? INT64_MAX / 2 : (int64_t)disk.f_bavail * (int64_t)disk.f_frsize;
}

/* Its length alone would be none of the disk's. */
static bool
is_there(const struct service *s)
{
    char path[PATH_MAX];
    struct stat st;

    path_of(s, path);
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && (int64_t)st.st_blocks * 512 >= s->reserve.size;
}

static int
fill(struct service *s)
{
    CLEANUP(fd_close) int fd = -1;
    char path[PATH_MAX];
    int rc;

    path_of(s, path);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -1;
    rc = posix_fallocate(fd, 0, s->reserve.size);
    if (rc != 0) {
        (void)unlink(path);
        errno = rc;
        return -1;
    }
    return 0;
}

static void
tell_room(struct service *s)
{
    int64_t seconds = reserve_lasts(s);
    char lasts[80] = "no records come at present";

    if (seconds >= 0)
        snprintf(lasts, sizeof lasts, "at the present rate it takes records for %lld h %lld min", (long long)seconds / 3600,
                 (long long)seconds / 60 % 60);
    s->reserve.told_ms = s->clock_ms();
    log_warning("event=alarm the disk of the database is full, and the audit's reserve is used: %lld MiB are left, %s; make "
                "room where %s is",
                (long long)(room(s) >> 20), lasts, s->state_dir);
}

bool
reserve_release(struct service *s)
{
    char path[PATH_MAX];

    s->reserve.spent = s->reserve.size > 0 && !s->reserve.held;
    if (!s->reserve.held)
        return false;
    s->reserve.held = false;
    path_of(s, path);
    if (unlink(path) < 0 && errno != ENOENT)
        return false;
    tell_room(s);
    return true;
}

void
reserve_watch(struct service *s)
{
    if (s->reserve.held && room(s) < RESERVE_LOW)
        (void)reserve_release(s);
}

static void
make(struct service *s)
{
    struct error err;

    if (s->reserve.held || room(s) < s->reserve.size + 2 * (int64_t)RESERVE_LOW)
        return;
    if (fill(s) < 0) {
        if (s->reserve.told_ms == 0) {
            error_sys(&err, errno, "%s/" NAME, s->state_dir);
            log_error(&err, "event=alarm there is no reserve for the audit");
            s->reserve.told_ms = s->clock_ms();
        }
        return;
    }
    if (s->reserve.told_ms != 0)
        log_notice("event=reserve-made bytes=%lld: there is room again", (long long)s->reserve.size);
    s->reserve.held = true;
    s->reserve.told_ms = 0;
}

static void
follow_rate(struct service *s)
{
    struct reserve *r = &s->reserve;
    int64_t now = s->clock_ms(), newest;
    struct error ignored;

    if (store_audit_newest(s->store, &newest, &ignored) < 0)
        return;
    if (r->then.ms != 0 && now >= r->lately.ms && now - r->lately.ms < RATE_MS)
        return;
    r->then = r->lately;
    r->lately.ms = now;
    r->lately.record = newest;
    if (r->then.ms == 0 || r->then.ms > now)
        r->then = r->lately;
}

int64_t
reserve_lasts(const struct service *s)
{
    const struct reserve *r = &s->reserve;
    int64_t newest, came, passed = s->clock_ms() - r->then.ms, each = RECORD_LEAST;
    char path[PATH_MAX];
    struct error ignored;
    struct stat st;

    if (r->then.ms == 0 || store_audit_newest(s->store, &newest, &ignored) < 0 || newest <= r->then.record || passed < 0)
        return -1;
    came = newest - r->then.record;
    snprintf(path, sizeof path, "%s/" STORE_FILE, s->state_dir);
    if (stat(path, &st) == 0 && st.st_size / newest > each)
        each = st.st_size / newest;
    return (room(s) + (r->held ? r->size : 0)) / each * (passed / 1000 + 1) / came;
}

void
reserve_look(struct service *s)
{
    struct reserve *r = &s->reserve;

    if (r->size == 0)
        return;
    follow_rate(s);
    reserve_watch(s);
    make(s);
    if (r->spent && room(s) >= RESERVE_LOW)
        r->spent = false;
    if (!r->held && s->clock_ms() - r->told_ms >= AGAIN_MS)
        tell_room(s);
}

/* One that is too small, of an earlier size or of a process that ended in between, is none; its room is the disk's. */
void
reserve_start(struct service *s)
{
    char path[PATH_MAX];

    if (s->reserve.size == 0)
        return;
    path_of(s, path);
    s->reserve.held = is_there(s);
    if (!s->reserve.held)
        (void)unlink(path);
    reserve_watch(s);
}

int
reserve_check(const struct service *s, struct error *err)
{
    return s->reserve.spent ? error_problem(err, ERROR_SYSTEM, "disk-full", "the disk of the database is full") : 0;
}
