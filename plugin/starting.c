#include "config.h"

#include "plugin/starting.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/log.h"
#include "plugin/arriving.h"
#include "plugin/lease.h"
#include "plugin/made.h"
#include "plugin/missed.h"
#include "plugin/modes.h"
#include "plugin/observing.h"
#include "plugin/provision.h"
#include "plugin/reverted.h"
#include "plugin/stopping.h"
#include "plugin/vms.h"

enum {
    ACQUIRE_WAIT_MS = 480,      /* a little more than the request itself */
    FINISH_WAIT_MS = 110 * 1000 /* an injection that has mounted is not killed; the hook ends at 120 s */
};

enum phase {
    WAITING_FOR_PROVISION, /* begun when the VM was defined; or for a look at what was made then */
    ACQUIRING,
    PROVISIONING_INSIDE,
};

struct start {
    struct vm *vm;
    struct hook_call *call;
    struct event *timer;
    enum phase phase;
    bool hurried;
};

static void
set_timer(struct start *start, int64_t ms)
{
    struct timeval wait = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

    evtimer_add(start->timer, &wait);
}

/*
 * Was our TPM placed or not?  From here on libvirt may make its own where there is none, so nobody can
 * tell later: whichever is there is registered at first proof.
 */
static void
forget_unplaced(struct vm *vm)
{
    struct step_record *place = &vm->record.steps[STEP_PLACE];

    if (place->state != STEP_BEGUN && place->state != STEP_FAILED)
        return;
    *place = (struct step_record){ .state = STEP_OPEN };
    vm->record.ek_len = 0;
    vm->record.has_x0 = false;
}

/* The one way out: journal, answer, forget. */
static void
finish(struct start *start, enum hook_verdict verdict, const char *reason)
{
    struct vm *vm = start->vm;
    struct hook_call *call = start->call;

    vm->start = NULL;
    event_free(start->timer);
    free(start);
    snprintf(vm->start_problem, sizeof vm->start_problem, "%s", reason);
    if (verdict == HOOK_GO) {
        forget_unplaced(vm);
        snprintf(vm->record.run, sizeof vm->record.run, "%s", RUN_STARTING);
        vm->record.run_e = vm->record.e;
        vm->record.run_k = vm->incoming;
        vm->record.run_resumed = !vm->incoming;
        vm->starting_since_ms = clock_monotonic_ms();
        vm->unstarted = true;
        vm->came_up = false;
        vm_save(vm);
    } else if (vm->record.e != 0 && !vm->provision) {
        lease_end(vm, VIEW_GO); /* taken for a start that will not be; a disk being written keeps it */
    }
    log_notice("event=start vm=%s verdict=%s epoch=%llu%s%s", vm->record.name,
               verdict == HOOK_GO ? "go" : "no", (unsigned long long)vm->record.e,
               reason[0] ? " reason=" : "", reason);
    vm_answer_hook(vm, call, verdict, reason);
    lease_report_soon(vm);
}

/* No lease to be had now: loose VMs go, strict ones do not. */
static void
finish_without_lease(struct start *start, const char *why)
{
    char reason[HOOK_REASON_MAX + 1];

    if (!vm_is_strict(start->vm)) {
        finish(start, HOOK_GO, why);
        return;
    }
    snprintf(reason, sizeof reason, "it is strict and there is no lease: %.220s", why);
    finish(start, HOOK_NO, reason);
}

/* With a TPM that the service does not take it can prove nothing: loose VMs go, strict ones do not. */
static void
finish_with_lease(struct start *start)
{
    const struct step_record *account = &start->vm->record.steps[STEP_ACCOUNT];
    char reason[NAME_DOMAIN_MAX + NAME_HOST_MAX + 120];

    if (start->phase != PROVISIONING_INSIDE || account->state != STEP_FAILED || !vm_is_strict(start->vm) ||
        strcmp(account->problem, "ek-changed") != 0) {
        finish(start, HOOK_GO, "");
        return;
    }
    snprintf(reason, sizeof reason,
             "it is strict, and its vTPM is not the one that is registered; if that is lost: virtid place %s %s --new-vtpm",
             start->vm->record.name, start->vm->hostd->identity->name);
    finish(start, HOOK_NO, reason);
}

static void
finish_observed(struct start *start, enum lease_outcome outcome, const char *why)
{
    struct vm *vm = start->vm;

    hook_call_answer(start->call, HOOK_GO, "");
    vm->start = NULL;
    event_free(start->timer);
    free(start);
    observing_answered(vm, outcome, why);
}

static bool
may_provision_inside(const struct vm *vm)
{
    /* A run that nobody watched, perhaps with memory behind it, is still to be taken in. */
    return !vm_memory_comes(vm) && !vm->managed_save && (!vm->record.ran || made_tpm_anew(vm)) && !vm_is_enrolled(vm) &&
           !missed_look(vm->hostd->settings.run_dir, &vm->record.uuid).any;
}

static void
acquired(struct vm *vm, enum lease_outcome outcome, const char *why)
{
    struct start *start = vm->start;
    int64_t wait_ms = vm->hostd->settings.start_wait_ms;

    if (!start || start->phase != ACQUIRING)
        return; /* it went without; the lease is kept by the next report, or reported as ended */
    if (vm_is_observed(vm)) { /* so the answer says */
        finish_observed(start, outcome, why);
        return;
    }
    if (outcome == LEASE_NOBODY) {
        finish_without_lease(start, why);
        return;
    }
    if (outcome == LEASE_REFUSED) {
        finish(start, HOOK_NO, why);
        return;
    }
    if (!may_provision_inside(vm)) {
        finish_with_lease(start);
        return;
    }
    start->phase = PROVISIONING_INSIDE;
    set_timer(start, wait_ms);
    hook_call_wait(start->call, (unsigned)(wait_ms / 1000));
    if (!provision_inside_start(vm, clock_monotonic_ms() + wait_ms))
        finish_with_lease(start);
}

static void
begin_acquire(struct start *start)
{
    start->phase = ACQUIRING;
    set_timer(start, ACQUIRE_WAIT_MS);
    hook_call_wait(start->call, 1);
    lease_claim(start->vm, acquired);
}

void
starting_provisioned(struct vm *vm)
{
    struct start *start = vm->start;

    if (!start || start->phase == ACQUIRING)
        return;
    if (vm->record.e != 0)
        finish_with_lease(start);
    else
        begin_acquire(start);
}

static void
on_timer(int fd, short what, void *context)
{
    struct start *start = context;

    (void)fd;
    (void)what;
    if (start->phase == ACQUIRING) {
        finish_without_lease(start, "the token service did not answer in time");
    } else if (!start->hurried) {
        start->hurried = true;
        provision_hurry(start->vm);
        set_timer(start, FINISH_WAIT_MS - start->vm->hostd->settings.start_wait_ms);
    } else {
        finish(start, HOOK_NO, "its disk is being written and that does not end; see virtid-privd's log");
    }
}

static void
begin_prepare(struct vm *vm, struct hook_call *call)
{
    struct start *start = vm->start;

    if (start) { /* libvirt asks once per start: the earlier hook is dead */
        hook_call_answer(start->call, HOOK_GO, "");
        start->call = call;
        hook_call_wait(call, (unsigned)(vm->hostd->settings.start_wait_ms / 1000));
        return;
    }
    start = calloc(1, sizeof *start);
    if (start)
        start->timer = evtimer_new(vm->hostd->base, on_timer, start);
    if (!start || !start->timer) {
        free(start);
        hook_call_answer(call, HOOK_GO, "");
        return;
    }
    start->vm = vm;
    start->call = call;
    vm->start = start;
    start->phase = WAITING_FOR_PROVISION;
    made_doubt_tpm(vm);
    if (!vm->provision && !made_look(vm)) {
        begin_acquire(start);
        return;
    }
    set_timer(start, vm->hostd->settings.start_wait_ms);
    hook_call_wait(call, (unsigned)(vm->hostd->settings.start_wait_ms / 1000));
}

static void
begin_operation(struct vm *vm, struct hook_call *call, const char *op)
{
    stopping_settle(vm); /* an end whose reason we still waited for */
    vm->hook_seen = true;
    if (vm_is_observed(vm) && !vm->start) {
        hook_call_answer(call, HOOK_GO, "");
        observing_operation(vm, op);
        return;
    }
    if (strcmp(op, "migrate") == 0) {
        arriving_begin(vm, call);
        return;
    }
    if (strcmp(op, "restore") == 0) {
        if (vm->incoming && !vm->arrival && !vm->record.run[0])
            arriving_failed(vm);
        vm->memory_ms = clock_monotonic_ms();
        reverted_note(vm, SAW_RESTORE);
        hook_call_answer(call, HOOK_GO, ""); /* prepare follows and takes the lease */
        return;
    }
    if (!vm->start)
        stopping_before(vm);
    if (vm->incoming) {
        arriving_prepare(vm, call);
        return;
    }
    begin_prepare(vm, call);
}

/* The VM this call is about, or NULL: not ours. */
static struct vm *
find_managed(struct hostd *hostd, const struct hook_msg *msg)
{
    struct domain domain;
    struct vm_uuid uuid;
    struct vm *vm = NULL;
    struct error err;
    bool parsed = domain_parse(msg->xml, msg->xml_len, &domain, &err) == 0;

    if (parsed)
        uuid = domain.uuid;
    else if (vm_uuid_parse(msg->uuid, &uuid, &err) < 0)
        return NULL;
    vm = vms_find(hostd, &uuid);
    if (!vms_wants(hostd, vm, parsed ? &domain : NULL))
        return NULL;
    if (!vm && vms_add(hostd, &uuid, &vm, &err) < 0) {
        log_error(&err, "vm %s starts without identity", msg->name);
        return NULL;
    }
    if (parsed)
        vm->domain = domain;
    if (!vm->record.managed) {
        vm->record.managed = true;
        modes_mark(vm);
    }
    snprintf(vm->record.name, sizeof vm->record.name, "%s", msg->name);
    return vm;
}

void
starting_begin(struct hostd *hostd, struct hook_call *call, const struct hook_msg *msg)
{
    struct vm *vm = find_managed(hostd, msg);

    if (!vm)
        hook_call_answer(call, HOOK_GO, "");
    else
        begin_operation(vm, call, msg->op);
}
