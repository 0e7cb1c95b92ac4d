/*
 * hook_place.h - does a daemon find the hook program that was put there for it?
 *
 * libvirtd looks once, when it starts, whether there is any hook for its
 * driver, <dir>/qemu or an executable file in <dir>/qemu.d, and calls none
 * if there was none.  So a hook may be in place, in order, and dead.
 * Everything here is read from files and /proc; no daemon is asked.
 *
 * Not here: whether the hook was ever called (plugin/hook_health.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* One run of libvirtd or virtqemud: a process, and when it began. */
struct hook_daemon {
    pid_t pid; /* 0: none was found */
    unsigned long long ticks;
    int64_t started_ms; /* UTC */
    char name[16];
};

enum hook_place_state {
    HOOK_PLACE_GOOD,
    HOOK_PLACE_ABSENT,   /* no file */
    HOOK_PLACE_UNUSABLE, /* not regular, not executable, or others may write it */
    HOOK_PLACE_LATE,     /* in order, but put there after the daemon looked */
    HOOK_PLACE_UNKNOWN,  /* may not be looked at, or no daemon runs */
};

struct hook_place {
    enum hook_place_state state;
    char seen[400];   /* what was found, with the file's name */
    char repair[400]; /* a command; "" if there is nothing to do */
};

/* The daemon whose pid file lies in `run_dir`, if it is one. */
void hook_daemon_find(const char *run_dir, struct hook_daemon *ret);
/* Is `parent` the parent of process `pid`?  False also if that has ended. */
bool hook_daemon_is_parent(pid_t parent, pid_t pid);

/* The file <dir>/qemu.d/virtid, seen with the eyes of `daemon`. */
void hook_place_look(const char *dir, const struct hook_daemon *daemon, struct hook_place *ret);
