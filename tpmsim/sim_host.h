/*
 * sim_host.h - the host of simulated VMs: who it is, and its leases
 *
 * Joins the token service as virtid-hostd does and keeps the leases of its VMs renewed;
 * the reports leave on a thread of their own, so that a service that hangs holds up no
 * channel.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/wire/vm_uuid.h"
#include "plugin/channel/host_channel.h"
#include "plugin/enroll/enroll.h"

struct sim_host;
struct sim_loop;

/* The lease of one VM; the host's, until it is closed. */
struct sim_lease {
    struct vm_uuid uuid;
    uint64_t epoch;   /* 0: none */
    int64_t until_ms; /* clock_monotonic_ms */
    void (*renewed)(
        void *context); /* it has a new epoch, or counts again; may be NULL */
    void (*stale)(void *context); /* a key was revoked: its guest gets new tokens; may be NULL */
    void (*offer)(void *context, const uint8_t *bundle, size_t len); /* NULL: ours is another one now; may be NULL */
    void *context;
    struct sim_lease *next;
};

/*
 * The host whose identity lies in `folder`/host; with none there it joins as `name`
 * with the code on standard input.  `loop` is borrowed.  `name` may be NULL for a host
 * that has joined; another one than it joined as is ERROR_INPUT.  Waits for the
 * operator's approval until `deadline_ms`.
 */
int sim_host_open(struct sim_loop *loop, const char *folder, const char *name,
                  int64_t deadline_ms, struct sim_host **ret, struct error *err);
/* Ends the leases that are left: tells the service, and waits for its answer at most 3
 * s. */
void sim_host_close(struct sim_host *host);
DEFINE_CLEANUP(struct sim_host *, sim_host_close);

struct sim_loop *sim_host_loop(struct sim_host *host);
const struct host_channel_identity *sim_host_identity(struct sim_host *host);
struct enroll *sim_host_enroll(struct sim_host *host);

/* Its guest holds an older bundle: ask for what comes behind that, for lease->offer. */
void sim_host_step_bundle(struct sim_host *host, const struct sim_lease *lease, uint64_t serial);

/*
 * Take the lease of `uuid`; *ret is borrowed.  A service that is away or in its grace
 * period is asked again until `deadline_ms`. ERROR_DENIED: another host has it.
 */
int sim_host_acquire(struct sim_host *host, const struct vm_uuid *uuid,
                     int64_t deadline_ms, struct sim_lease **ret, struct error *err);
