/*
 * host_world.h - host daemons without anything around them: time, threads, libvirt's and the service's ends are the test's
 *
 * The decisions are the daemon's own (plugin/), journal included. In place of what it talks to stand functions that
 * the linker puts there (host_doubles.c): jobs for the service, letters between threads and libvirt's
 * reports wait in queues until the test lets them go on; timers and the clock are the test's.
 *
 * Not here: what libvirt, the guest and the service do (host_model_test.c, host_service.h).
 */
#pragma once

#include "plugin/hostd.h"

struct hook_call; /* as hookd.h has it; here the test's own */

enum { WORLD_HOSTS = 3, WORLD_LETTERS = 64, WORLD_TIMERS = 16, WORLD_CALLS = 256 };

enum world_call { CALL_NONE, CALL_WAITS, CALL_GO, CALL_NO, CALL_LOST };

struct world_timer {
    struct event *event;
    bool set;
    int64_t due_ms;
};

struct world_letter {
    void (*run)(void *context);
    void *context;
};

struct world_host {
    char name[NAME_HOST_MAX + 1], dir[48];
    struct hostd hostd;
    struct host_identity identity;
    struct vm *vm;
    bool up;      /* the daemon runs */
    bool full;    /* its disk: the next write of the journal fails, before or after it is done */
    bool written; /* ... after */
    int64_t next_tick_ms;
    struct enroll_job *urgent, *later; /* for the service; the one that is there is `sent` */
    struct enroll_job *sent;
    struct world_letter letters[WORLD_LETTERS];
    size_t n_letters;
    struct watch_report *seen[WORLD_LETTERS]; /* on the way from libvirt's thread to the main loop */
    size_t n_seen;
    bool look;   /* libvirt_watch_look() was called */
    uint64_t looks; /* ... so often */
    bool moving; /* ... and no look has shown since that nothing leaves */
    struct world_timer timers[WORLD_TIMERS];
    int stops; /* how often the root half was asked to stop the guest */
    int crashes;
};

extern struct world_host world_hosts[WORLD_HOSTS];
extern struct world_host *world_present; /* whose code runs */
extern int64_t world_now_ms; /* the monotonic clock; the other is that and a constant */
extern const struct vm_uuid *world_vm;

/* A call of libvirt's hook that waits, and the answer that it has got. */
struct hook_call {
    struct world_host *host;
    enum world_call answer;
    unsigned answers;
    bool alone; /* the daemon was silent */
    int64_t since_ms;
    char op[12];
};
extern struct hook_call world_calls[WORLD_CALLS]; /* all of this sequence */
extern size_t world_n_calls;

/* Folders and the event base, once. `loud`: with what the daemons log. */
void world_open(bool loud);
void world_close(void);
/* Hosts `n` of them with empty journals but for the VM, which each has had before; the daemons run. */
void world_begin(enum lease_mode mode);
/* What begins left. */
void world_end(void);

/* kill -9: what is not in the journal is lost, and so is what waits. */
void world_kill(struct world_host *host);
/* Reads the journal; a sweep is the test's to tell. */
void world_boot(struct world_host *host);

/*
 * libvirt's hook. One that waits is the answer, which may come later; NULL for others. A daemon that is down gets a
 * mark, and what the hook itself says then is the answer.
 */
struct hook_call *world_hook(struct world_host *host, const char *op);
/* The daemon ended under a call that waits: the hook's own word, and the mark. */
void world_hook_alone(struct hook_call *call);

/* To the main loop: the first report of libvirt's thread; then whatever waits in the mailbox. */
void world_take_seen(struct world_host *host);
void world_tell_seen(struct world_host *host, struct watch_report *take_report);

/* The job that is at the service, or NULL. */
struct enroll_job *world_job(struct world_host *host);
/* It is answered (job->failed, job->results are set). */
void world_job_done(struct world_host *host);

/* Time passes: timers, seconds and timeouts, each at its moment. `each` is called in between, if not NULL. */
void world_pass(int64_t ms, void (*each)(void));
/* Ends a daemon whose journal can not be written, as its loop would. */
void world_settle(struct world_host *host);
