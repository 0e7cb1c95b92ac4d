#include "config.h"

#include "plugin/stopping.h"

#include <event2/event.h>

#include "plugin/arriving.h"
#include "plugin/lease.h"

enum { REASON_SECONDS = 2 };

/* The tables of PROTOCOL-LEASE 5. */
static enum lease_view
watched_end(const struct vm *vm, enum watch_event event)
{
    if (event == WATCH_STOPPED_MIGRATED)
        return VIEW_GM;
    if (vm->record.run_k && !vm->record.run_resumed)
        return VIEW_GI;
    if (vm->record.run_switched)
        return VIEW_GU;
    return vm->record.run_k ? VIEW_GR : VIEW_GO;
}

static bool
has_run(const struct vm *vm)
{
    return vm->record.run[0] != '\0';
}

static void
end_run(struct vm *vm, enum lease_view view, bool clean)
{
    if (vm->ending)
        event_free(vm->ending);
    vm->ending = NULL;
    vm->active = vm->paused = vm->incoming = vm->leaving = false;
    vm->memory_ms = vm->arrived_ms = 0;
    vm->run_confirmed = vm->hook_seen = vm->started_event = vm->hook_judged = vm->restart_pending = false;
    vm->unstarted = vm->came_up = false;
    vm->id = -1;
    host_channel_free(vm->channel);
    vm->channel = NULL;
    if (!has_run(vm))
        return;
    vm->record.clean = clean;
    lease_end(vm, view);
}

static void
on_no_reason(int fd, short what, void *context)
{
    (void)fd;
    (void)what;
    stopping_settle(context);
}

/*
 * The hook alone, which says the same of one that was moved: that it arrived and was switched over may be on its way
 * to us as well.  Of a QEMU that did not come up libvirt tells nothing else.
 */
static void
end_unheard(struct vm *vm)
{
    bool was_up = vm->came_up || !vm->unstarted;

    end_run(vm, !was_up ? watched_end(vm, WATCH_STOPPED_OTHER) : vm->record.run_k ? VIEW_GV : VIEW_GU, false);
}

void
stopping_settle(struct vm *vm)
{
    if (vm->ending)
        end_unheard(vm);
}

void
stopping_hook(struct vm *vm)
{
    struct timeval wait = { .tv_sec = REASON_SECONDS };

    if (!has_run(vm) && !vm->arrival) { /* it did not come, and the epoch that it would have had is nobody's */
        vm->memory_ms = 0;
        if (vm->incoming)
            arriving_failed(vm);
    }
    if (!has_run(vm) || vm->ending)
        return;
    vm->ending = evtimer_new(vm->hostd->base, on_no_reason, vm);
    if (!vm->ending || evtimer_add(vm->ending, &wait) < 0)
        end_unheard(vm);
}

void
stopping_event(struct vm *vm, enum watch_event event)
{
    bool shown = vm->active && !vm->unstarted;
    /* Else we have just started, or libvirt has, and what came before the end was told to nobody. */
    bool watched = vm->run_confirmed || vm->started_event || vm->unstarted;

    /*
     * An event of the run before the one that is starting now says nothing about it: a revert ends and begins one in
     * the same breath, and a sweep may show the new one first.
     */
    if (!vm->ending && !shown && !vm->started_event)
        return;
    if (!watched && event != WATCH_STOPPED_MIGRATED)
        stopping_unwatched(vm, false);
    else
        end_run(vm, watched_end(vm, event), event == WATCH_STOPPED_SHUTDOWN);
}

void
stopping_unwatched(struct vm *vm, bool left_migrated)
{
    enum lease_view view = left_migrated ? VIEW_GM : vm->record.run_k ? VIEW_GV : VIEW_GU;

    end_run(vm, view, false);
}
