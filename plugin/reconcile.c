#include "config.h"

#include "plugin/reconcile.h"

#include <stdio.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/log.h"
#include "plugin/arriving.h"
#include "plugin/channels.h"
#include "plugin/hook_health.h"
#include "plugin/lease.h"
#include "plugin/made.h"
#include "plugin/missed.h"
#include "plugin/modes.h"
#include "plugin/no_channel.h"
#include "plugin/observing.h"
#include "plugin/provision.h"
#include "plugin/reverted.h"
#include "plugin/run_id.h"
#include "plugin/service.h"
#include "plugin/stopping.h"
#include "plugin/vms.h"

enum {
    STARTING_MS = 60 * 1000, /* from the hook's go to a run that libvirt shows */
    INCOMING_MS = 10 * 1000, /* from `migrate` to `prepare` */
};

static bool
is_starting(const struct vm *vm)
{
    return strcmp(vm->record.run, RUN_STARTING) == 0;
}

/* ---- runs ---- */

/* A run that we did not let start, or do not know any more: no epoch is its own yet. */
static void
adopt_unknown(struct vm *vm, const char *run, bool came_in, bool resumed)
{
    snprintf(vm->record.run, sizeof vm->record.run, "%s", run);
    vm->record.e = vm->record.run_e = 0;
    vm->record.run_k = came_in;
    vm->record.run_resumed = resumed;
    vm->incoming = false;
    vm->arrived_ms = came_in && resumed ? clock_monotonic_ms() : 0;
    vm->generation++;
    log_notice("event=run vm=%s known=no", vm->record.name);
}

/* Looked at before QEMU was there: a later look must not take the same run for another one. */
static void
fill_run_id(struct vm *vm)
{
    size_t len = strlen(vm->record.run);

    if (len < 2 || strcmp(vm->record.run + len - 2, "@0") != 0)
        return;
    run_id_find(&vm->record.uuid, vm->id, vm->record.run);
    vm_save(vm);
}

static void
compare_run(struct vm *vm, const struct watch_report *report, const struct missed *missed)
{
    bool was_starting = is_starting(vm), unheard = missed->over.is || missed->present.is;
    bool let_in = (was_starting || !vm->record.run[0]) && !missed->over.is && (vm->incoming || vm->record.run_k);
    bool came_in = !report->began_here && (report->came_in || missed->present.came_in || let_in);
    struct missed before = *missed;
    char run[RUN_ID_MAX + 1];

    if (vm->run_confirmed && vm->id == report->id) {
        fill_run_id(vm);
        return;
    }
    run_id_find(&vm->record.uuid, report->id, run);
    if (was_starting && !unheard) {
        snprintf(vm->record.run, sizeof vm->record.run, "%s", run); /* ours, now with its name */
    } else if (strcmp(vm->record.run, run) != 0) {
        before.present.is = before.present.came_in = false;
        stopping_gone(vm, &before, false);
        /* Announced while nobody listened, and still paused: its memory has not arrived. */
        adopt_unknown(vm, run, came_in, !(came_in && report->paused));
    }
    made_ran(vm);
    vm->run_confirmed = true;
    vm_save(vm);
}

static void
note_hook(struct vm *vm)
{
    /* Started after us and libvirt did not ask: its hook is not where libvirtd looks. */
    if (vm->started_event && !vm->hook_judged && !vm->hook_seen)
        hook_health_silent(vm->hostd, vm->record.name);
    vm->hook_judged |= vm->started_event;
}

/* The guest has the port open and says nothing: it may have missed our first word. */
static void
greet_again(struct vm *vm)
{
    struct host_channel_status status;

    if (!vm->channel || !vm->domain.channel_connected)
        return;
    host_channel_status(vm->channel, &status);
    if (status.state == HOST_CHANNEL_SILENT)
        host_channel_hello(vm->channel);
}

/* The run goes on, and not by the right that it has: that ends so. */
static void
adopt_again(struct vm *vm, enum lease_view view)
{
    char run[RUN_ID_MAX + 1];

    memcpy(run, vm->record.run, sizeof run);
    lease_end(vm, view);
    adopt_unknown(vm, run, false, true);
}

/*
 * A job that left the domain paused behind a switch-over, and is gone: it may run elsewhere, so what is here has
 * no right, also if somebody resumes it (PROTOCOL-LEASE 5).
 */
static void
leave_behind(struct vm *vm)
{
    adopt_again(vm, VIEW_OUT);
    vm->record.run_left = true;
    vm->record.run_switched = false;
    vm_save(vm);
}

/* What was let in never came, and this is a start, which libvirt's `prepare` does not tell apart: it has not asked. */
static void
take_for_start(struct vm *vm)
{
    adopt_again(vm, VIEW_GI);
    vm_save(vm);
}

/*
 * Paused behind a switch-over that we saw, or that libvirt remembers.  It says the same of what is being restored,
 * until that goes on.
 */
static bool
is_left_over(const struct vm *vm, const struct watch_report *report)
{
    bool remembered = report->stopped_to_move && !vm_memory_comes(vm);

    return report->paused && (vm->record.run_switched || remembered) && !vm->record.run_left && !vm_is_incoming(vm);
}

static void
see_migration(struct vm *vm, const struct watch_report *report)
{
    bool was_leaving = vm->leaving, was_looked = vm->looked == vm->record.kn;

    if (report->arriving && vm->record.e == 0 && !vm->record.run_k)
        arriving_unasked(vm);
    if (vm_is_incoming(vm) && report->began_here)
        take_for_start(vm);
    if (vm_is_incoming(vm) && !report->paused) /* its event was missed */
        arriving_resumed(vm);
    if (!report->paused && !vm->incoming)
        vm->memory_ms = 0; /* it is here */
    if (is_left_over(vm, report)) /* whose event came while we were away; it may end before its job is looked at */
        vm->record.run_switched = true;
    if (report->job_known) {
        vm->leaving = report->leaving;
        if (report->looks >= vm->look_asked) /* not from before that hand-over was heard of */
            vm->looked = vm->record.kn;
    }
    if (is_left_over(vm, report) && report->job_known && !report->leaving)
        leave_behind(vm);
    /* A daemon that has just started: what became of the job that its journal tells of? */
    if (!report->job_known && vm->hostd->watch && !vm_is_incoming(vm) && (!was_looked || is_left_over(vm, report)))
        libvirt_watch_look(vm->hostd->watch, &vm->record.uuid);
    if (was_leaving != vm->leaving || (vm->looked == vm->record.kn && !was_looked))
        lease_report_soon(vm);
    vm_save(vm);
}

static void
see_active(struct vm *vm, const struct watch_report *report, const struct missed *missed, const struct domain *next)
{
    bool was_active = vm->active;

    vm->hook_seen |= missed->any;
    compare_run(vm, report, missed);
    reverted_see_genid(vm, &vm->domain, next);
    vm->id = report->id;
    vm->active = true;
    vm->paused = report->paused;
    note_hook(vm);
    see_migration(vm, report);
    channels_consider(vm);
    greet_again(vm);
    if (vm_is_enrolled(vm) && strcmp(vm->record.account, "ok") != 0)
        service_ask_vm(vm);
    if (!was_active || vm->record.e == 0)
        lease_report_soon(vm);
}

/* A mark tells that it begins and not that it ended, and libvirt does not show it yet: its end is told to us. */
static void
expect_missed(struct vm *vm, bool came_in)
{
    bool let_in = vm->incoming || vm->record.run_k;

    made_ran(vm);
    adopt_unknown(vm, RUN_STARTING, came_in || let_in, !(came_in || let_in));
    vm->starting_since_ms = clock_monotonic_ms();
    vm->unstarted = true;
    vm_save(vm);
    lease_report_soon(vm);
}

static void
see_inactive(struct vm *vm, const struct watch_report *report, const struct missed *missed)
{
    int64_t age = clock_monotonic_ms() - vm->starting_since_ms;
    struct missed before = *missed;
    bool came_up = vm->came_up, start_owed = vm->start_owed;

    vm->paused = false;
    /* An offline migration announces itself and brings no run. */
    if (vm->incoming && !vm->arrival && !vm->record.run[0] && clock_monotonic_ms() - vm->memory_ms > INCOMING_MS)
        arriving_failed(vm);
    /* Saved into a file before we knew it: its memory may come back, with that disk in it. */
    if (report->left_saved && !vm->record.ran) {
        vm->record.ran = true;
        vm->record.clean = false;
        vm_save(vm);
    }
    if (missed->over.is || missed->present.is) /* came and went while nobody looked, behind the one whose end we await */
        stopping_settle(vm);
    if (vm->ending || vm->start || (is_starting(vm) && age < STARTING_MS && !missed->any))
        return; /* the last is between prepare and QEMU */
    before.present.is = before.present.came_in = false;
    stopping_gone(vm, &before, report->left_migrated);
    if (missed->present.is) {
        expect_missed(vm, missed->present.came_in);
        vm->came_up = came_up; /* said of it: the one before was over when it began */
        vm->start_owed = start_owed;
    }
    if (missed->announced)
        arriving_missed(vm);
}

/* ---- reports ---- */

static struct vm *
find_or_manage(struct hostd *hostd, const struct watch_report *report, const struct domain *domain,
               const struct domain *next)
{
    struct vm *vm = vms_find(hostd, &report->uuid);
    struct error err;

    if (!vms_wants(hostd, vm, domain) && !vms_wants(hostd, vm, next)) {
        if (hostd->settings.manage_all)
            no_channel_see(hostd, domain);
        return NULL;
    }
    no_channel_drop(hostd, &report->uuid);
    if (!vm && vms_add(hostd, &report->uuid, &vm, &err) < 0) {
        log_error(&err, "vm %s stays without identity", report->name);
        return NULL;
    }
    if (!vm->record.managed || strcmp(vm->record.name, report->name) != 0) {
        if (!vm->record.managed)
            log_notice("event=managed vm=%s", report->name);
        vm->record.managed = true;
        modes_mark(vm);
        snprintf(vm->record.name, sizeof vm->record.name, "%s", report->name);
        vm_save(vm);
    }
    return vm;
}

/* What it will be when it is started again; false: what it is. */
static bool
parse_next(const struct watch_report *report, struct domain *ret)
{
    struct error err;

    return report->next_xml && domain_parse(report->next_xml, strlen(report->next_xml), ret, &err) == 0;
}

static void
drop_mark(const struct vm *vm, const struct missed *missed)
{
    if (missed->any && !vm->hostd->journal_failed)
        missed_drop(vm->hostd->settings.run_dir, &vm->record.uuid);
}

static void
take_domain(struct hostd *hostd, const struct watch_report *report)
{
    struct domain domain, next;
    bool differs = parse_next(report, &next);
    struct missed missed;
    struct error err;
    struct vm *vm = vms_find(hostd, &report->uuid);

    if (domain_parse(report->xml, strlen(report->xml), &domain, &err) < 0) {
        log_error(&err, "the XML of domain %s is passed over", report->name);
        if (!vm || !vm->record.managed)
            return;
        domain = vm->domain; /* it is there and has a state, whatever its XML is */
    }
    vm = find_or_manage(hostd, report, &domain, differs ? &next : NULL);
    if (!vm)
        return;
    vm->restart_pending = differs && ((next.channel && !domain.channel) ||
                                      (next.tpm != DOMAIN_TPM_NONE && domain.tpm == DOMAIN_TPM_NONE));
    vm->domain = domain;
    vm->seen = vm->defined = true;
    vm->persistent = report->persistent;
    vm->managed_save = report->managed_save;
    missed = missed_look(hostd->settings.run_dir, &vm->record.uuid);
    if (report->active && report->looks < vm->end_look)
        return; /* from before that end, or hardly behind it: another follows */
    if (report->active)
        see_active(vm, report, &missed, differs ? &next : NULL);
    else
        see_inactive(vm, report, &missed);
    drop_mark(vm, &missed);
    if (vm->pull != 0 && report->looks >= vm->pull_look && (report->job_known || !report->active))
        lease_answer_pull(vm);
    provision_consider(vm);
}

void
reconcile_provisioned(struct vm *vm)
{
    if (vm->gone)
        made_forget(vm);
}

static void
take_gone(struct vm *vm)
{
    struct watch_report nothing = { 0 };
    struct missed missed = missed_look(vm->hostd->settings.run_dir, &vm->record.uuid);

    vm->defined = false;
    if (vm->pull != 0)
        lease_answer_pull(vm);
    if (vm->active && !vm->ending)
        stopping_unwatched(vm, false);
    else
        see_inactive(vm, &nothing, &missed);
    drop_mark(vm, &missed);
    if (!vm->start) /* a transient one is shown when it runs */
        made_forget(vm);
}

static void
end_sweep(struct hostd *hostd)
{
    bool first = !hostd->swept;

    no_channel_sweep_ends(hostd);
    hostd->swept = true;
    for (struct vm *vm = hostd->vms; vm; vm = vm->next) {
        if (!vm->seen && vm->record.managed)
            take_gone(vm);
        if (first)
            provision_consider(vm);
    }
}

static void
take_event(struct vm *vm, const struct watch_report *report)
{
    if (report->from_snapshot)
        reverted_note(vm, SAW_SNAPSHOT);
    switch (report->event) {
    case WATCH_STARTED:
    case WATCH_STARTED_MIGRATED:
        /* With a mark it may have come, and ended, before this one: the look that follows sorts it out. */
        if (stopping_started(vm) && report->event == WATCH_STARTED && vm_is_incoming(vm) &&
            !missed_look(vm->hostd->settings.run_dir, &vm->record.uuid).any)
            take_for_start(vm);
        made_ran(vm);
        vm_save(vm);
        break;
    case WATCH_RESUMED_MIGRATED:
        if (!stopping_is_of_before(vm))
            arriving_resumed(vm);
        break;
    case WATCH_SUSPENDED_MIGRATED:
        if (stopping_is_of_before(vm))
            break;
        vm->record.run_switched = true;
        vm_save(vm);
        libvirt_watch_look(vm->hostd->watch, &vm->record.uuid); /* until it is known how that ended */
        break;
    case WATCH_STOPPED_SHUTDOWN:
    case WATCH_STOPPED_MIGRATED:
    case WATCH_STOPPED_SAVED:
    case WATCH_STOPPED_OTHER:
        stopping_event(vm, report->event);
        break;
    case WATCH_DEFINED:
        vm->foreseen = false;
        arriving_defined(vm); /* of one that comes running that follows its `prepare` */
        break;
    case WATCH_RESUMED:
        /* Perhaps with another memory, put back under libvirt (`loadvm`): that knows of no greeting since. */
        if (vm->active && vm->channel)
            host_channel_hello(vm->channel);
        break;
    case WATCH_OTHER:
        break;
    }
}

static void
lose_libvirt(struct hostd *hostd)
{
    log_warning("event=libvirt-lost going on; the next sweep says what happened meanwhile");
    for (struct vm *vm = hostd->vms; vm; vm = vm->next) {
        vm->run_confirmed = vm->started_event = vm->unstarted = vm->came_up = vm->start_owed = false;
        made_doubt(vm);
    }
}

/* A run whose begin the hook has told, before us: libvirt's word of that went to nobody, and is not waited for. */
static void
find_libvirt(struct hostd *hostd)
{
    for (struct vm *vm = hostd->vms; vm; vm = vm->next)
        vm->unstarted = vm->came_up = vm->start_owed = false;
}

void
reconcile_take(struct hostd *hostd, struct watch_report *take_report)
{
    CLEANUP(watch_report_free) struct watch_report *report = take_report;
    struct vm *vm = vms_find(hostd, &report->uuid);

    switch (report->kind) {
    case WATCH_SWEEP_BEGINS:
        for (struct vm *each = hostd->vms; each; each = each->next)
            each->seen = false;
        no_channel_sweep_begins(hostd);
        break;
    case WATCH_DOMAIN:
        take_domain(hostd, report);
        break;
    case WATCH_SWEEP_ENDS:
        end_sweep(hostd);
        break;
    case WATCH_GONE:
        no_channel_drop(hostd, &report->uuid);
        if (vm && vm->record.managed)
            take_gone(vm);
        break;
    case WATCH_EVENT:
        if (vm && vm->record.managed)
            take_event(vm, report);
        break;
    case WATCH_FOUND:
        find_libvirt(hostd);
        break;
    case WATCH_LOST:
        lose_libvirt(hostd);
        break;
    }
}

static int
load_one(void *context, const struct vm_record *record, struct error *err)
{
    struct hostd *hostd = context;
    struct vm *vm;

    if (vms_add(hostd, &record->uuid, &vm, err) < 0)
        return -1;
    vm->record = vm->saved = *record;
    vm->is_saved = true;
    made_doubt(vm);
    vm->starting_since_ms = vm->saw_ms = clock_monotonic_ms();
    arriving_loaded(vm);
    modes_mark(vm); /* the host's own mode may be another now */
    observing_load(vm);
    return 0;
}

int
reconcile_load(struct hostd *hostd, struct error *err)
{
    return journal_load(hostd->journal, load_one, hostd, &hostd->journal_bad, err);
}
