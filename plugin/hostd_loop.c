#include "config.h"

#include "plugin/hostd_loop.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "lib/common/process.h"
#include "lib/common/reload.h"
#include "plugin/channels.h"
#include "plugin/hook_health.h"
#include "plugin/hookd.h"
#include "plugin/host_metrics.h"
#include "plugin/hostd_admin.h"
#include "plugin/lease.h"
#include "plugin/missed.h"
#include "plugin/modes.h"
#include "plugin/no_channel.h"
#include "plugin/provision.h"
#include "plugin/reconcile.h"
#include "plugin/service.h"
#include "plugin/starting.h"
#include "plugin/stopping.h"
#include "plugin/vms.h"

enum { DRAIN_MS = 2500 /* a hand-over takes 1800; virtid-hostd(8) says it */, DRAIN_LOOK_MS = 20 };

/* ---- libvirt's hook ---- */

static void
take_hook(void *context, struct hook_call *call, const struct hook_msg *msg)
{
    struct hostd *hostd = context;
    struct vm_uuid uuid;
    struct error err;
    struct vm *vm;

    hook_health_called(hostd, hook_call_peer(call));
    if (hook_op_waits(msg->op)) {
        starting_begin(hostd, call, msg);
        return;
    }
    vm = vm_uuid_parse(msg->uuid, &uuid, &err) == 0 ? vms_find(hostd, &uuid) : NULL;
    if (!vm || !vm->record.managed)
        return;
    if (strcmp(msg->op, "stopped") == 0 || strcmp(msg->op, "release") == 0)
        stopping_hook(vm);
    else if (strcmp(msg->op, "started") == 0)
        vm->hook_seen = vm->came_up = true;
}

/* ---- libvirt ---- */

struct carried {
    struct hostd *hostd;
    struct watch_report *report;
};

static void
deliver(void *context)
{
    struct carried *c = context;

    reconcile_take(c->hostd, c->report);
    free(c);
}

/* On the watching thread. */
static void
carry(void *context, struct watch_report *take_report)
{
    struct carried *c = malloc(sizeof *c);
    struct hostd *hostd = context;

    if (!c) { /* the next sweep says it again */
        watch_report_free(take_report);
        return;
    }
    *c = (struct carried){ hostd, take_report };
    mailbox_post(hostd->mailbox, deliver, c);
}

/* ---- time ---- */

static void
on_tick(int fd, short what, void *context)
{
    struct hostd *hostd = context;
    int64_t now = clock_monotonic_ms();

    (void)fd;
    (void)what;
    service_tick(hostd, now);
    hook_health_tick(hostd, now);
    lease_tick(hostd, now);
    for (struct vm *vm = hostd->vms; vm; vm = vm->next)
        provision_consider(vm);
}

static void
on_report_soon(int fd, short what, void *context)
{
    (void)fd;
    (void)what;
    lease_report_now(context);
}

/* ---- signals ---- */

static void
note_drained(void *context)
{
    struct hostd *hostd = context;

    hostd->http_drained = true;
}

static void
look_drained(int fd, short what, void *context)
{
    struct hostd *hostd = context;

    (void)fd;
    (void)what;
    if ((hookd_drain(hostd->hookd) == 0 && hostd->http_drained) || clock_monotonic_ms() >= hostd->drain_until_ms)
        event_base_loopbreak(hostd->base);
}

/*
 * Hooks that wait for a lease have its answer, or go by their VM's mode, within DRAIN_MS.  A start that waits for its
 * disk waits for no write that has not begun; one that has is finished by the root half, and its hook goes by itself.
 */
static void
begin_drain(struct hostd *h)
{
    struct timeval often = { .tv_usec = DRAIN_LOOK_MS * 1000 };

    h->drain = event_new(h->base, -1, EV_PERSIST, look_drained, h);
    if (!h->drain || event_add(h->drain, &often) < 0) {
        event_base_loopbreak(h->base);
        return;
    }
    log_info("event=draining");
    h->drain_until_ms = clock_monotonic_ms() + DRAIN_MS;
    for (struct vm *vm = h->vms; vm; vm = vm->next) {
        if (vm->start && vm->provision)
            provision_hurry(vm);
    }
    http_server_drain(h->http, DRAIN_MS, note_drained, h);
    look_drained(-1, 0, h);
}

static void
on_end(int number, short what, void *context)
{
    struct hostd *hostd = context;

    (void)number;
    (void)what;
    if (hostd->drain)
        event_base_loopbreak(hostd->base);
    else
        begin_drain(hostd);
}

static void
take_settings(struct hostd *h)
{
    struct hostd_settings before = h->settings;

    h->settings = h->conf->settings;
    h->settings.mode = before.mode;
    modes_of_host(h, h->conf->settings.mode);
    if (h->settings.manage_all == before.manage_all)
        return;
    no_channel_free(h);
    libvirt_watch_sweep(h->watch);
}

static void
on_reload(int number, short what, void *context)
{
    CLEANUP(hostd_conf_clear) struct hostd_conf fresh = { .file = NULL };
    struct hostd *hostd = context;
    struct error err;

    (void)number;
    (void)what;
    if (hostd_conf_read(hostd->conf->path, &fresh, &err) < 0) {
        reload_refused(&err);
        return;
    }
    hostd_conf_take(hostd->conf, &fresh);
    take_settings(hostd);
}

/* ---- opening ---- */

static int
read_boot_id(char ret[static 37], struct error *err)
{
    CLEANUP(buf_clear) struct buf text = BUF(64);

    if (file_read("/proc/sys/kernel/random/boot_id", &text, err) < 0)
        return error_wrap(err, "boot id");
    if (text.len < 36)
        return error_set(err, ERROR_SYSTEM, "boot id of %zu characters", text.len);
    memcpy(ret, text.data, 36);
    ret[36] = '\0';
    return 0;
}

static int
open_loop(struct hostd *h, struct error *err)
{
    evthread_use_pthreads();
    h->base = event_base_new();
    if (!h->base)
        return error_sys(err, ENOMEM, "event loop");
    if (mailbox_new(h->base, &h->mailbox, err) < 0)
        return -1;
    h->tick = event_new(h->base, -1, EV_PERSIST, on_tick, h);
    h->report_soon = evtimer_new(h->base, on_report_soon, h);
    if (!h->tick || !h->report_soon)
        return error_sys(err, ENOMEM, "timers");
    return 0;
}

static int
open_hook(struct hostd *h, struct error *err)
{
    struct hookd_owner owner = { h, take_hook };
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/hook.sock", h->settings.run_dir);
    if (missed_open(h->settings.run_dir, err) < 0)
        return -1;
    return hookd_new(h->base, path, &owner, &h->hookd, err);
}

static int
open_all(struct hostd *h, struct error *err)
{
    struct timeval second = { .tv_sec = 1 };

    if (read_boot_id(h->boot, err) < 0 || open_loop(h, err) < 0 ||
        journal_open(h->settings.state_dir, &h->journal, err) < 0 || reconcile_load(h, err) < 0)
        return -1;
    if (h->journal_bad)
        log_warning("%u journal files could not be read and are put aside as *.bad; going on", h->journal_bad);
    service_tick(h, clock_monotonic_ms());
    hook_health_open(h);
    if (open_hook(h, err) < 0 || hostd_admin_open(h, err) < 0 || host_metrics_open(h, err) < 0 ||
        libvirt_watch_start(h->settings.libvirt_uri, carry, h, &h->watch, err) < 0)
        return -1;
    lease_tick(h, clock_monotonic_ms());
    if (event_add(h->tick, &second) < 0)
        return error_sys(err, ENOMEM, "timers");
    return 0;
}

static void
free_event(struct event *event)
{
    if (event)
        event_free(event);
}

/*
 * Provisioning that is under way is left as a crash would leave it: each step
 * is journalled, and the next start of the daemon finishes it.
 */
static void
close_all(struct hostd *h)
{
    if (h->mailbox)
        mailbox_close(h->mailbox);
    hook_health_close(h);
    libvirt_watch_stop(h->watch);
    http_server_free(h->http);
    hookd_free(h->hookd);
    service_close(h);
    vms_free(h);
    free_event(h->tick);
    free_event(h->report_soon);
    free_event(h->drain);
    journal_close(h->journal);
}

static int
loop(struct hostd *h, int ready_fd, struct error *err)
{
    struct event *term = evsignal_new(h->base, SIGTERM, on_end, h);
    struct event *quit = evsignal_new(h->base, SIGINT, on_end, h);
    struct event *hup = evsignal_new(h->base, SIGHUP, on_reload, h);

    if (!term || !quit || !hup || event_add(term, NULL) < 0 || event_add(quit, NULL) < 0 || event_add(hup, NULL) < 0)
        return error_sys(err, ENOMEM, "signals");
    process_ready(ready_fd);
    reload_let();
    log_info("ready; hook on %s/hook.sock", h->settings.run_dir);
    event_base_dispatch(h->base);
    event_free(term);
    event_free(quit);
    event_free(hup);
    if (h->journal_failed)
        return error_set(err, ERROR_SYSTEM, "the journal in %s can not be written", h->settings.state_dir);
    return 0;
}

int
hostd_loop(struct hostd_conf *conf, int ready_fd, struct error *err)
{
    static struct hostd hostd; /* other threads may outlive our stack frame at the end */
    int result;

    hostd.settings = conf->settings;
    hostd.conf = conf;
    result = open_all(&hostd, err) < 0 ? -1 : loop(&hostd, ready_fd, err);
    close_all(&hostd);
    return result;
}
