/*
 * host_libvirt.h - the libvirt of each host of the host model, and where the guest truly is
 *
 * What it does is what was seen of libvirt 9.0: which hooks and which events, in which order (docs/LIFECYCLE.md).
 * Events reach the daemon by machine_watch(), when the test lets them.
 */
#pragma once

#include "tests/unit/host_world.h"

enum guest { GUEST_OFF, GUEST_RUNS, GUEST_INCOMING, GUEST_PAUSED /* behind a switch-over */ };

enum { MACHINE_EVENTS = 32 };

struct machine {
    enum guest guest;
    int id;
    bool copy;           /* ghost: not the true one */
    bool came_in, began_here, left_migrated; /* libvirt's reasons: running, running, shut off */
    enum machine_op { DOING_NOTHING, STARTING, ARRIVING } doing;
    struct hook_call *call; /* what that waits for */
    bool will_fail;         /* QEMU does not come up */
    enum watch_event events[MACHINE_EVENTS];
    size_t n_events;
    bool changed, sweep, lost, found;
    int64_t next_sweep_ms;
};

extern struct machine machines[WORLD_HOSTS];

void machines_begin(void);
bool machine_is_busy(int h);
bool machine_may_start(int h);
/* `restore`: from a save file; `fails`: QEMU does not come up, though the hook let it. */
void machine_start(int h, bool restore, bool fails);
bool machine_may_stop(int h);
void machine_stop(int h, bool by_guest);
/* What waits for a hook goes on if that was answered. */
void machine_go_on(int h);
/* libvirt's thread of the daemon tells something; `look_first`: before it hears of more events. */
void machine_watch(int h, bool look_first);
/* The daemon is new, or libvirtd is: a sweep follows. */
void machine_reconnect(int h);
void machine_libvirtd_dies(int h);

/* A live migration: its memory arrives or not (`late`: given up when its source had been stopped already), then its source ends. */
bool machine_may_migrate(int from, int to);
void machine_migrate(int from, int to, bool fails);
bool machine_job_goes_on(bool arrives, bool late);
int machine_source(void); /* of one that is past its hooks, or NOBODY */
/* What is paused behind a switch-over is destroyed, or somebody lets it go on. */
void machine_end_left_over(int h, bool resume);

/* The test's own. */
void host_model_note(const char *what, int host);
void host_model_fails(const char *what);
void host_model_started(int h, bool granted);
