#include "config.h"

#include "tests/unit/host_libvirt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plugin/domain/libvirt_watch.h"
#include "tests/unit/host_service.h"

struct machine machines[WORLD_HOSTS];

static struct {
    enum { NO_JOB, MEMORY, SWITCHED } phase;
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
    struct watch_report report = { .kind = WATCH_DOMAIN, .persistent = true };

    report.active = m->guest != GUEST_OFF;
    report.paused = m->guest == GUEST_INCOMING || m->guest == GUEST_PAUSED;
    report.id = report.active ? m->id : -1;
    report.came_in = m->guest == GUEST_RUNS && m->came_in;
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
    m->sweep = true;
}

void
machine_libvirtd_dies(int h)
{
    if (world_hosts[h].up) {
        machine_reconnect(h);
        world_hosts[h].moving = world_hosts[h].look = false;
        machines[h].lost = true;
    }
}

/* ---- starts and ends ---- */

bool
machine_is_busy(int h)
{
    return machines[h].doing != DOING_NOTHING || (job.phase != NO_JOB && (job.from == h || job.to == h));
}

bool
machine_may_start(int h)
{
    return machines[h].guest == GUEST_OFF && !machine_is_busy(h) && !machines[h].dead;
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
    m->came_in = m->left_migrated = m->moved = false;
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
        host_model_started(h, host->up && host->vm->record.e != 0);
    host_model_note(m->call->answer == CALL_NO ? "vetoed" : m->will_fail ? "fails" : "up", h);
    if (m->call->answer == CALL_NO || m->will_fail)
        end_hooks(h);
    else
        come_up(h);
}

void
machine_go_on(int h)
{
    struct machine *m = &machines[h];

    if (m->doing == DOING_NOTHING || m->call->answer == CALL_WAITS)
        return;
    if (m->call->answer == CALL_LOST)
        world_hook_alone(m->call);
    go_on_starting(h);
}

void
machine_stop(int h, bool by_guest)
{
    struct machine *m = &machines[h];

    m->guest = GUEST_OFF;
    m->copy = false;
    end_hooks(h);
    tell_event(h, by_guest ? WATCH_STOPPED_SHUTDOWN : WATCH_STOPPED_OTHER);
}

void
machine_end_job(bool arrives)
{
    (void)arrives;
}
