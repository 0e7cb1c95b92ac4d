/*
 * stopping.h - a VM is gone: which kind of end was it?
 *
 * libvirt's hook (stopped, release) and its event come in either order; only
 * the event says why.  So the hook waits for the event for a moment.
 */
#pragma once

#include "plugin/hostd.h"

/* Hook `stopped` or `release`. */
void stopping_hook(struct vm *vm);
/* Event Stopped. */
void stopping_event(struct vm *vm, enum watch_event event);
/* The reason did not come, or can not be waited for. */
void stopping_settle(struct vm *vm);
/* Found gone by a sweep: nobody watched. */
void stopping_unwatched(struct vm *vm, bool left_migrated);
