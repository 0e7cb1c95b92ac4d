/*
 * hookd.h - libvirt's questions arrive: the hook's socket
 *
 * One connection, one message, one verdict.  While somebody works on it the
 * last `wait` is repeated, so that the hook knows us alive.
 *
 * Not here: what the verdict is (starting.h, stopping.h).
 */
#pragma once

#include <sys/types.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/wire/hook_msg.h"

struct event_base;
struct hookd;
struct hook_call;

struct hookd_owner {
    void *context;
    /* Called once per message; for one that waits, exactly one hook_call_answer() must follow. */
    void (*message)(void *context, struct hook_call *call, const struct hook_msg *msg);
};

/* Listen on `path` (0600). The peer must be uid 0, or our own. */
int hookd_new(struct event_base *base, const char *path, const struct hookd_owner *owner,
              struct hookd **ret, struct error *err);
/* Nobody new is let in; how many still wait for an answer. */
unsigned hookd_drain(struct hookd *hookd);
void hookd_free(struct hookd *hookd);
DEFINE_CLEANUP(struct hookd *, hookd_free);

/* The hook's process, for as long as it waits. */
pid_t hook_call_peer(const struct hook_call *call);

/* "wait SECONDS" now and every 200 ms. */
void hook_call_wait(struct hook_call *call, unsigned seconds);
/* The verdict; `call` is gone afterwards. `reason` counts for HOOK_NO. */
void hook_call_answer(struct hook_call *call, enum hook_verdict verdict, const char *reason);
