#include "config.h"

#include "lib/common/hook_place.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/common/buf.h"
#include "lib/common/clock.h"
#include "lib/common/fdio.h"

#define FILE_NAME "virtid"

enum { STAT_MAX = 1024, FIELD_PARENT = 4, FIELD_START = 22 };

/* ---- the daemon ---- */

/*
 * A field of /proc/PID/stat behind the second; that is the name, which may hold anything and is
 * given back too.
 */
static bool
read_stat(pid_t pid, int field, char ret_name[static 16], unsigned long long *ret)
{
    CLEANUP(buf_clear) struct buf text = BUF(STAT_MAX);
    char path[40];
    const char *open, *at, *line;
    struct error err;
    size_t len;

    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    if (file_read(path, &text, &err) < 0 || !(line = buf_text(&text)))
        return false;
    open = strchr(line, '(');
    at = strrchr(line, ')');
    if (!open || !at || at < open)
        return false;
    len = (size_t)(at - open - 1) < 15 ? (size_t)(at - open - 1) : 15;
    memcpy(ret_name, open + 1, len);
    ret_name[len] = '\0';
    for (int n = 2; at && n < field; n++)
        at = strchr(at + 1, ' ');
    if (!at)
        return false;
    *ret = strtoull(at, NULL, 10);
    return true;
}

static int64_t
ticks_to_utc(unsigned long long ticks)
{
    long per_second = sysconf(_SC_CLK_TCK);
    int64_t since_boot = (int64_t)(ticks * 1000 / (unsigned long long)(per_second > 0 ? per_second : 100));

    return clock_realtime_ms() - clock_monotonic_ms() + since_boot;
}

/* A pid file outlives its process, and the number may be another's then. */
static bool
read_daemon(const char *run_dir, const char *name, struct hook_daemon *ret)
{
    CLEANUP(buf_clear) struct buf text = BUF(32);
    char path[PATH_MAX], comm[16];
    struct error err;
    long pid;

    snprintf(path, sizeof path, "%s/%s.pid", run_dir, name);
    if (file_read(path, &text, &err) < 0 || !buf_text(&text))
        return false;
    pid = strtol(buf_text(&text), NULL, 10);
    if (pid <= 0 || pid > INT_MAX || !read_stat((pid_t)pid, FIELD_START, comm, &ret->ticks) ||
        strcmp(comm, name) != 0)
        return false;
    ret->pid = (pid_t)pid;
    ret->started_ms = ticks_to_utc(ret->ticks);
    snprintf(ret->name, sizeof ret->name, "%s", name);
    return true;
}

void
hook_daemon_find(const char *run_dir, struct hook_daemon *ret)
{
    memset(ret, 0, sizeof *ret);
    if (!read_daemon(run_dir, "virtqemud", ret) && !read_daemon(run_dir, "libvirtd", ret))
        memset(ret, 0, sizeof *ret);
}

bool
hook_daemon_is_parent(pid_t parent, pid_t pid)
{
    unsigned long long is = 0;
    char name[16];

    return read_stat(pid, FIELD_PARENT, name, &is) && is == (unsigned long long)parent;
}

/* ---- the place ---- */

/* ctime: nobody sets it back, and it moves with chmod and rename as well. */
static bool
was_there(const struct stat *st, const struct hook_daemon *daemon)
{
    return (int64_t)st->st_ctim.tv_sec * 1000 + st->st_ctim.tv_nsec / 1000000 < daemon->started_ms;
}

static bool
is_hook(const char *path, const struct hook_daemon *daemon)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111) && was_there(&st, daemon);
}

/* Was there any hook when the daemon looked? */
static bool
any_was_there(const char *dir, const struct hook_daemon *daemon)
{
    char path[PATH_MAX];
    const struct dirent *entry;
    bool found;
    DIR *list;

    snprintf(path, sizeof path, "%s/qemu", dir);
    found = is_hook(path, daemon);
    snprintf(path, sizeof path, "%s/qemu.d", dir);
    list = opendir(path);
    while (list && !found && (entry = readdir(list))) {
        snprintf(path, sizeof path, "%s/qemu.d/%s", dir, entry->d_name);
        found = is_hook(path, daemon);
    }
    if (list)
        closedir(list);
    return found;
}

static void __attribute__((format(printf, 5, 6)))
say(struct hook_place *ret, enum hook_place_state state, const char *path, const char *seen,
    const char *repair, ...)
{
    va_list ap;

    ret->state = state;
    snprintf(ret->seen, sizeof ret->seen, "%.300s %s", path, seen);
    va_start(ap, repair);
    vsnprintf(ret->repair, sizeof ret->repair, repair, ap);
    va_end(ap);
}

static void
look_at_file(const char *path, const struct stat *st, struct hook_place *ret)
{
    if (S_ISLNK(st->st_mode))
        say(ret, HOOK_PLACE_UNUSABLE, path, "is a link; AppArmor lets libvirtd run no program outside its hooks folder",
            "cp --remove-destination \"$(readlink -f %.150s)\" %.150s", path, path);
    else if (!S_ISREG(st->st_mode))
        say(ret, HOOK_PLACE_UNUSABLE, path, "is no regular file",
            "move it away and install virtid again (make install)");
    else if (!(st->st_mode & 0111))
        say(ret, HOOK_PLACE_UNUSABLE, path, "is not executable", "chmod 755 %.300s", path);
    else if (st->st_mode & 0022)
        say(ret, HOOK_PLACE_UNUSABLE, path, "can be written by others, and libvirtd runs it as root",
            "chown root:root %.150s && chmod 755 %.150s", path, path);
    else
        say(ret, HOOK_PLACE_GOOD, path, "is an executable regular file", "%s", "");
}

void
hook_place_look(const char *dir, const struct hook_daemon *daemon, struct hook_place *ret)
{
    char path[PATH_MAX];
    struct stat st;

    snprintf(path, sizeof path, "%s/qemu.d/" FILE_NAME, dir);
    if (lstat(path, &st) < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            say(ret, HOOK_PLACE_ABSENT, path, "is not there",
                "install virtid again (make install), then: systemctl restart libvirtd");
        else
            say(ret, HOOK_PLACE_UNKNOWN, path, strerror(errno), "%s", "");
        return;
    }
    look_at_file(path, &st, ret);
    if (ret->state != HOOK_PLACE_GOOD)
        return;
    if (daemon->pid == 0)
        say(ret, HOOK_PLACE_UNKNOWN, path, "is in order; libvirtd does not run", "systemctl start libvirtd");
    else if (!was_there(&st, daemon) && !any_was_there(dir, daemon))
        say(ret, HOOK_PLACE_LATE, path, "is newer than libvirtd's start, which found no hook then and calls none",
            "systemctl restart %s (running domains are not touched)", daemon->name);
}
