/*
 * provision.h - lease, vTPM, secret, account: what a VM gets before it first runs
 *
 * Under the lease, in a worker thread, each step journalled before and after.
 * A step that is done is not done again; one that was begun is finished.
 *
 * Not here: the steps themselves (provision_steps.h).
 */
#pragma once

#include <stdbool.h>

#include "plugin/hostd.h"

/* Does this VM, as it is now, still want provisioning?  If so, begin when it is time. */
void provision_consider(struct vm *vm);

/*
 * Begin at once, inside a start that holds the lease: everything by `deadline_ms` (monotonic).
 * False: nothing to do.  starting_provisioned() follows.
 */
bool provision_inside_start(struct vm *vm, int64_t deadline_ms);

/* A start waits: end the injection if it has not mounted yet. */
void provision_hurry(struct vm *vm);
