#include "config.h"

#include "tests/unit/host_libvirt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plugin/domain/libvirt_watch.h"
#include "plugin/vms.h"
#include "tests/unit/host_service.h"

struct machine machines[WORLD_HOSTS];

static struct {
    enum { NO_JOB, ASKED, MEMORY, SWITCHED } phase;
    int from, to;
} job;
static int last_id;

void
machines_begin(void)
{
    memset(machines, 0, sizeof machines);
    memset(&job, 0, sizeof job);
    last_id = 0;
    for (int h = 0; h < WORLD_HOSTS; h++)
        machine_reconnect(h);
}

/* ---- what the daemon is told ---- */

static void
tell_event(int h, enum watch_event event)
{
    struct machine *m = &machines[h];

    if (!world_hosts[h].up)
        return;
    assert_true(m->n_events < MACHINE_EVENTS);
    m->events[m->n_events++] = event;
    m->changed = true;
}

static void
send_report(int h, struct watch_report report)
{
    struct watch_report *copy = malloc(sizeof *copy);

    *copy = report;
    world_tell_seen(&world_hosts[h], copy);
}

static void
look_now(int h)
{
    struct world_host *host = &world_hosts[h];
    const struct machine *m = &machines[h];
    struct watch_report report = { .kind = WATCH_DOMAIN, .persistent = true, .looks = host->looks };

    report.active = m->guest != GUEST_OFF;
    report.paused = m->guest == GUEST_INCOMING || m->guest == GUEST_PAUSED;
    report.id = report.active ? m->id : -1;
    report.came_in = m->guest == GUEST_RUNS && m->came_in;
    report.began_here = m->guest == GUEST_RUNS && m->began_here;
    report.left_migrated = m->guest == GUEST_OFF && m->left_migrated;
    report.stopped_to_move = report.paused;
    if (host->moving) {
        report.job_known = true;
        report.leaving = job.phase != NO_JOB && job.from == h;
        report.arriving = m->guest == GUEST_INCOMING;
        host->moving = report.leaving;
    }
    send_report(h, report);
}

void
machine_watch(int h, bool look_first)
{
    struct world_host *host = &world_hosts[h];
    struct machine *m = &machines[h];

    if (!host->up || host->n_seen > WORLD_LETTERS - 6)
        return;
    if (m->lost) {
        m->lost = false;
        send_report(h, (struct watch_report){ .kind = WATCH_LOST });
    } else if (m->found) {
        m->found = false;
        send_report(h, (struct watch_report){ .kind = WATCH_FOUND });
    } else if (m->n_events > 0 && !look_first) {
        send_report(h, (struct watch_report){ .kind = WATCH_EVENT, .event = m->events[0] });
        m->n_events--;
        memmove(m->events, m->events + 1, m->n_events * sizeof m->events[0]);
    } else if (m->changed || host->look) {
        m->changed = m->n_events > 0;
        host->look = false;
        look_now(h);
    } else if (m->sweep || world_now_ms >= m->next_sweep_ms) {
        m->sweep = false;
        m->next_sweep_ms = world_now_ms + WATCH_SWEEP_SECONDS * 1000;
        send_report(h, (struct watch_report){ .kind = WATCH_SWEEP_BEGINS });
        look_now(h);
        send_report(h, (struct watch_report){ .kind = WATCH_SWEEP_ENDS });
    }
}

void
machine_reconnect(int h)
{
    struct machine *m = &machines[h];

    m->n_events = 0;
    m->changed = m->lost = false;
    m->sweep = m->found = true;
}

/* ---- starts ---- */

bool
machine_is_busy(int h)
{
    return machines[h].doing != DOING_NOTHING || (job.phase != NO_JOB && (job.from == h || job.to == h));
}

bool
machine_may_stop(int h)
{
    return machines[h].guest == GUEST_RUNS && (!machine_is_busy(h) || (job.phase == MEMORY && job.from == h));
}

bool
machine_may_start(int h)
{
    return machines[h].guest == GUEST_OFF && !machine_is_busy(h);
}

void
machine_start(int h, bool restore, bool fails)
{
    struct machine *m = &machines[h];

    m->doing = STARTING;
    m->will_fail = fails;
    m->call = world_hook(&world_hosts[h], restore ? "restore" : "prepare");
}

static void
end_hooks(int h)
{
    (void)world_hook(&world_hosts[h], "stopped");
    (void)world_hook(&world_hosts[h], "release");
}

static void
come_up(int h)
{
    struct machine *m = &machines[h];

    m->guest = GUEST_RUNS;
    m->id = ++last_id;
    m->began_here = true;
    m->came_in = m->left_migrated = false;
    if (the_service.truth == NOBODY)
        the_service.truth = h;
    m->copy = the_service.truth != h;
    (void)world_hook(&world_hosts[h], "started");
    tell_event(h, WATCH_STARTED);
}

static void
go_on_starting(int h)
{
    struct machine *m = &machines[h];
    struct world_host *host = &world_hosts[h];

    if (m->call->answer == CALL_GO && strcmp(m->call->op, "restore") == 0) {
        m->call = world_hook(host, "prepare");
        return;
    }
    m->doing = DOING_NOTHING;
    if (m->call->answer == CALL_GO)
        host_model_started(h, host->up && !m->call->alone && !vm_is_incoming(host->vm) && host->vm->record.e != 0);
    host_model_note(m->call->answer == CALL_NO ? "vetoed" : m->will_fail ? "fails" : "up", h);
    if (m->call->answer == CALL_NO || m->will_fail)
        end_hooks(h);
    else
        come_up(h);
}

/* All hooks of the destination come before any memory. */
static void
go_on_arriving(int h)
{
    struct machine *m = &machines[h];
    bool asked = strcmp(m->call->op, "migrate") == 0;

    if (asked && m->call->answer == CALL_GO && !m->will_fail) {
        m->call = world_hook(&world_hosts[h], "prepare");
        return;
    }
    m->doing = DOING_NOTHING;
    if (m->call->answer == CALL_NO || m->will_fail) {
        host_model_note(m->call->answer == CALL_NO ? "not-let-in" : "never-came", h);
        job.phase = NO_JOB;
        if (!asked)
            end_hooks(h);
        return;
    }
    host_model_note("incoming", h);
    job.phase = MEMORY;
    m->guest = GUEST_INCOMING;
    m->id = ++last_id;
    m->left_migrated = false;
    (void)world_hook(&world_hosts[h], "started");
    tell_event(h, WATCH_STARTED_MIGRATED);
}

void
machine_go_on(int h)
{
    struct machine *m = &machines[h];

    if (m->doing == DOING_NOTHING || m->call->answer == CALL_WAITS)
        return;
    if (m->call->answer == CALL_LOST)
        world_hook_alone(m->call);
    if (m->doing == STARTING)
        go_on_starting(h);
    else
        go_on_arriving(h);
}

/* ---- migrations ---- */

bool
machine_may_migrate(int from, int to)
{
    return job.phase == NO_JOB && machines[from].guest == GUEST_RUNS && !machines[from].copy && !machine_is_busy(from) &&
           machine_may_start(to);
}

void
machine_migrate(int from, int to, bool fails)
{
    job.phase = ASKED;
    job.from = from;
    job.to = to;
    machines[to].doing = ARRIVING;
    machines[to].will_fail = fails;
    machines[to].call = world_hook(&world_hosts[to], "migrate");
}

static void
memory_arrived(void)
{
    struct machine *from = &machines[job.from], *to = &machines[job.to];

    host_model_note("switched", job.to);
    job.phase = SWITCHED;
    from->guest = GUEST_PAUSED;
    from->began_here = to->began_here = false;
    to->guest = GUEST_RUNS;
    to->came_in = true;
    to->copy = from->copy;
    if (!from->copy)
        the_service.truth = job.to;
    from->copy = false;
    tell_event(job.from, WATCH_SUSPENDED_MIGRATED);
    tell_event(job.to, WATCH_RESUMED_MIGRATED);
}

/* `late`: the source had been stopped for the switch-over, and goes on. */
static void
memory_failed(bool late)
{
    host_model_note(late ? "failed-late" : "failed", job.to);
    job.phase = NO_JOB;
    machines[job.to].guest = GUEST_OFF;
    end_hooks(job.to);
    tell_event(job.to, WATCH_STOPPED_OTHER);
    if (late) {
        machines[job.from].began_here = false;
        tell_event(job.from, WATCH_SUSPENDED_MIGRATED);
        tell_event(job.from, WATCH_RESUMED_MIGRATED);
    }
}

static void
source_ends(void)
{
    struct machine *from = &machines[job.from];

    host_model_note("migrated", job.from);
    job.phase = NO_JOB;
    from->guest = GUEST_OFF;
    from->left_migrated = true;
    end_hooks(job.from);
    tell_event(job.from, WATCH_STOPPED_MIGRATED);
}

bool
machine_job_goes_on(bool arrives, bool late)
{
    bool arrived = job.phase == MEMORY && arrives;

    if (arrived)
        memory_arrived();
    else if (job.phase == MEMORY)
        memory_failed(late);
    else if (job.phase == SWITCHED)
        source_ends();
    return arrived;
}

/* The libvirtd of the source has died in the middle: what is paused behind the switch-over stays so. */
static void
cut_job(void)
{
    if (job.phase == MEMORY)
        memory_failed(false);
    if (job.phase == SWITCHED)
        host_model_note("left-over", job.from);
    job.phase = NO_JOB;
}

int
machine_source(void)
{
    return job.phase == MEMORY || job.phase == SWITCHED ? job.from : NOBODY;
}

void
machine_libvirtd_dies(int h)
{
    if (machine_source() == h)
        cut_job();
    machines[h].left_migrated = false; /* it does not keep why a domain is off */
    machine_reconnect(h);
    machines[h].lost = world_hosts[h].up;
}

void
machine_end_left_over(int h, bool resume)
{
    struct machine *m = &machines[h];

    host_model_note(resume ? "left-over-resumed" : "left-over-destroyed", h);
    if (!resume) {
        if (machine_source() == h)
            job.phase = NO_JOB;
        m->guest = GUEST_OFF;
        end_hooks(h);
        tell_event(h, WATCH_STOPPED_OTHER);
        return;
    }
    m->guest = GUEST_RUNS;
    m->came_in = false;
    m->copy = the_service.truth != h;
    if (m->copy && !(world_hosts[h].up && world_hosts[h].vm->record.run_left))
        the_service.why |= WHY_LEFT; /* before the sweep */
    tell_event(h, WATCH_RESUMED);
}

/* ---- ends ---- */

void
machine_stop(int h, bool by_guest)
{
    struct machine *m = &machines[h];

    if (machine_source() == h)
        memory_failed(false);
    m->guest = GUEST_OFF;
    m->copy = false;
    end_hooks(h);
    tell_event(h, by_guest ? WATCH_STOPPED_SHUTDOWN : WATCH_STOPPED_OTHER);
}
