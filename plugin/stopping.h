/*
 * stopping.h - a VM is gone: which kind of end was it?
 *
 * libvirt's hook (stopped, release) and its event come in either order; only
 * the event says why.  So the hook waits for the event for a moment.
 */
#pragma once

#include "plugin/hostd.h"
#include "plugin/missed.h"

/* Hook `stopped` or `release`. */
void stopping_hook(struct vm *vm);
/* Event Started: is it of the present run, or, late, of one that has ended? */
bool stopping_started(struct vm *vm);
/* libvirt has not told yet that the run began which the hook let begin: another event is, late, of one before it. */
bool stopping_is_of_before(const struct vm *vm);
/* Event Stopped. */
void stopping_event(struct vm *vm, enum watch_event event);
/* The reason did not come, or can not be waited for. */
void stopping_settle(struct vm *vm);
/* Found gone by a sweep: nobody watched. */
void stopping_unwatched(struct vm *vm, bool left_migrated);
/* So is what the journal or the hook's mark tells of: nothing of it runs any more. */
void stopping_gone(struct vm *vm, const struct missed *missed, bool left_migrated);
/*
 * libvirt begins another run: whatever runs the journal and the hook's mark tell of are over, though nothing has shown
 * it yet. Their ends are journalled, so that the request which this start makes says them first.
 */
void stopping_before(struct vm *vm);
