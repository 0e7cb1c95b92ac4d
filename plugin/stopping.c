#include "config.h"

#include "plugin/stopping.h"

#include <event2/event.h>

#include <stdio.h>
#include <string.h>

#include "lib/common/clock.h"
#include "plugin/arriving.h"
#include "plugin/lease.h"
#include "plugin/made.h"
#include "plugin/vms.h"

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

/* libvirt tells each run's begin before its end, and both before the next one's begin: but how late, nobody knows. */
static void
expect_late_words(struct vm *vm)
{
    vm->start_owed |= vm->came_up && !vm->started_event;
    vm->unstarted = vm->came_up = vm->started_event = false;
}

/* Announced, and not begun: what libvirt tells meanwhile is of a run before it. */
static bool
is_announced(const struct vm *vm)
{
    return vm->incoming && !has_run(vm);
}

static void
end_run(struct vm *vm, enum lease_view view, bool clean)
{
    if (vm->ending)
        event_free(vm->ending);
    vm->ending = NULL;
    vm->active = vm->paused = vm->incoming = vm->leaving = false;
    vm->memory_ms = vm->arrived_ms = 0;
    vm->run_confirmed = vm->hook_seen = vm->hook_judged = vm->restart_pending = false;
    expect_late_words(vm);
    if (vm->hostd->watch)
        vm->end_look = libvirt_watch_look(vm->hostd->watch, &vm->record.uuid);
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

/* It began while nobody listened. */
static void
end_marked(struct vm *vm)
{
    const struct missed missed = missed_look(vm->hostd->settings.run_dir, &vm->record.uuid);

    if (!missed.present.is)
        return;
    stopping_gone(vm, &missed, false);
    if (!vm->hostd->journal_failed)
        missed_drop(vm->hostd->settings.run_dir, &vm->record.uuid);
}

void
stopping_hook(struct vm *vm)
{
    struct timeval wait = { .tv_sec = REASON_SECONDS };

    if (!has_run(vm) && !vm->arrival)
        end_marked(vm);
    if (!has_run(vm) && !vm->arrival) { /* it did not come, and the epoch that it would have had is nobody's */
        vm->memory_ms = 0;
        expect_late_words(vm);
        if (vm->incoming)
            arriving_failed(vm);
    }
    if (!has_run(vm) || vm->ending)
        return;
    vm->ending = evtimer_new(vm->hostd->base, on_no_reason, vm);
    if (!vm->ending || evtimer_add(vm->ending, &wait) < 0)
        end_unheard(vm);
}

bool
stopping_is_of_before(const struct vm *vm)
{
    return is_announced(vm) || vm->unstarted;
}

bool
stopping_started(struct vm *vm)
{
    bool late = vm->start_owed || is_announced(vm);

    vm->start_owed = false;
    if (late)
        return false;
    vm->unstarted = false;
    vm->started_event = true; /* the look that follows tells more, if it is still there then */
    return true;
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
    if (is_announced(vm) || (vm->came_up && vm->unstarted) || (!vm->ending && !shown && !vm->started_event))
        return;
    if (!watched && event != WATCH_STOPPED_MIGRATED)
        stopping_unwatched(vm, false);
    else
        end_run(vm, watched_end(vm, event), event == WATCH_STOPPED_SHUTDOWN);
    vm->start_owed = false; /* this was told behind it */
}

void
stopping_unwatched(struct vm *vm, bool left_migrated)
{
    enum lease_view view = left_migrated ? VIEW_GM : vm->record.run_k ? VIEW_GV : VIEW_GU;

    end_run(vm, view, false);
}

/* A run that only a mark tells of. */
static void
end_missed(struct vm *vm, bool came_in, bool left_migrated)
{
    bool let_in = vm->incoming || vm->record.run_k; /* by us, before it was missed */

    made_ran(vm);
    snprintf(vm->record.run, sizeof vm->record.run, "missed");
    vm->record.run_k = came_in || let_in;
    stopping_unwatched(vm, left_migrated);
}

void
stopping_gone(struct vm *vm, const struct missed *missed, bool left_migrated)
{
    bool marked = missed->over.is || missed->present.is, came_in = missed->over.came_in || missed->present.came_in;
    bool had_run = has_run(vm);
    bool same = strcmp(vm->record.run, RUN_STARTING) == 0; /* noted by the hook as well, when it missed our answer */

    if (had_run || vm->active) {
        vm->record.ran |= had_run;
        vm->record.run_k |= same && came_in;
        stopping_unwatched(vm, left_migrated);
    }
    /* What libvirt says of the last run holds for all of them. */
    if (marked && !(had_run && (same || left_migrated)))
        end_missed(vm, came_in, left_migrated);
}

void
stopping_before(struct vm *vm)
{
    const char *run_dir = vm->hostd->settings.run_dir;
    const struct missed missed = missed_look(run_dir, &vm->record.uuid);
    int64_t memory_ms = vm->memory_ms;

    stopping_gone(vm, &missed, false);
    if (missed.any)
        made_ran(vm);
    vm->memory_ms = missed.restores ? clock_monotonic_ms() : memory_ms;
    vm->hook_seen = true;
    if (missed.announced)
        arriving_missed(vm);
    vm_save(vm);
    if (missed.any && !vm->hostd->journal_failed)
        missed_drop(run_dir, &vm->record.uuid);
}
