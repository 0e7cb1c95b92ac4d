#include "config.h"

#include "plugin/vms.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/log.h"
#include "plugin/no_channel.h"

enum {
    MEMORY_COMES_MS = 600 * 1000, /* from migrate or restore to prepare, behind other people's hooks */
    ARRIVED_MS = 60 * 1000,       /* that long a source may take to say that the VM has left it */
};

struct vm *
vms_find(struct hostd *hostd, const struct vm_uuid *uuid)
{
    for (struct vm *vm = hostd->vms; vm; vm = vm->next) {
        if (vm_uuid_equal(&vm->record.uuid, uuid))
            return vm;
    }
    return NULL;
}

int
vms_add(struct hostd *hostd, const struct vm_uuid *uuid, struct vm **ret, struct error *err)
{
    struct vm *vm = vms_find(hostd, uuid);

    if (!vm) {
        if (hostd->n_vms >= VMS_MAX)
            return error_set(err, ERROR_BUSY, "more than %d managed VMs on one host", VMS_MAX);
        vm = calloc(1, sizeof *vm);
        if (!vm)
            return error_sys(err, ENOMEM, "VM");
        vm->hostd = hostd;
        vm->record.uuid = *uuid;
        vm->id = -1;
        vm->next = hostd->vms;
        hostd->vms = vm;
        hostd->n_vms++;
    }
    *ret = vm;
    return 0;
}

static void
vm_free(struct vm *vm)
{
    if (vm->ending)
        event_free(vm->ending);
    if (vm->channel_retry)
        event_free(vm->channel_retry);
    host_channel_free(vm->channel);
    json_decref(vm->service_steps);
    free(vm->observed);
    free(vm);
}

void
vms_drop(struct vm *vm)
{
    struct vm **at = &vm->hostd->vms;

    while (*at != vm)
        at = &(*at)->next;
    *at = vm->next;
    vm->hostd->n_vms--;
    vm_free(vm);
}

void
vms_free(struct hostd *hostd)
{
    no_channel_free(hostd);
    while (hostd->vms)
        vms_drop(hostd->vms);
}

bool
vms_wants(const struct hostd *hostd, const struct vm *vm, const struct domain *domain)
{
    if (vm && vm->record.managed)
        return true;
    return domain && (domain->marker || (hostd->settings.manage_all && domain->channel));
}

enum lease_mode
vm_mode(const struct vm *vm)
{
    return vm->record.mode != MODE_OF_HOST ? vm->record.mode : vm->hostd->settings.mode;
}

bool
vm_is_strict(const struct vm *vm)
{
    return vm_mode(vm) == MODE_STRICT;
}

bool
vm_is_observed(const struct vm *vm)
{
    return vm_mode(vm) == MODE_OBSERVE && vm->record.e == 0;
}

bool
vm_is_incoming(const struct vm *vm)
{
    return vm->incoming || (vm->record.run[0] && vm->record.run_k && !vm->record.run_resumed);
}

bool
vm_needs_lease(const struct vm *vm)
{
    return !vm_is_observed(vm) &&
           ((vm->active && !vm->incoming) || vm->provision || vm->start || vm->record.run[0]);
}

bool
vm_memory_comes(const struct vm *vm)
{
    return vm->incoming ||
           (vm->memory_ms != 0 && clock_monotonic_ms() - vm->memory_ms < MEMORY_COMES_MS);
}

bool
vm_is_enrolled(const struct vm *vm)
{
    return vm->record.steps[STEP_ACCOUNT].state == STEP_DONE;
}

uint64_t
vm_hand_over_judged(const struct vm *vm)
{
    return vm->looked == vm->record.kn ? vm->record.kn : 0;
}

bool
vm_waits_for_source(const struct vm *vm, int64_t now_ms)
{
    return vm->record.run_k && vm->record.e == 0 && vm->arrived_ms != 0 && now_ms - vm->arrived_ms < ARRIVED_MS;
}

void
vm_begin_epoch(struct vm *vm, uint64_t e)
{
    vm->record.e = vm->record.run_e = e;
    vm->record.run_left = false;
}

const char *
vm_state_word(const struct vm *vm)
{
    if (vm->incoming)
        return "incoming";
    if (vm->active)
        return vm->paused ? "paused" : "running";
    if (vm->provision)
        return "provisioning";
    if (vm->start || vm->record.run[0])
        return "starting";
    return vm->defined ? "off" : "absent";
}

void
vm_save(struct vm *vm)
{
    struct error err;

    /* At each start of the daemon every VM is looked at: an fsync each would keep the hook waiting. */
    if (vm->hostd->journal_failed ||
        (vm->is_saved && memcmp(&vm->saved, &vm->record, sizeof vm->saved) == 0))
        return;
    vm->is_saved = journal_save(vm->hostd->journal, &vm->record, &err) == 0;
    if (vm->is_saved)
        memcpy(&vm->saved, &vm->record, sizeof vm->saved);
    if (vm->is_saved)
        return;
    log_error(&err, "ending, because nothing may be acknowledged that is not journalled");
    vm->hostd->journal_failed = true;
    event_base_loopbreak(vm->hostd->base);
}

void
vm_answer_hook(const struct vm *vm, struct hook_call *call, enum hook_verdict verdict, const char *reason)
{
    if (vm->hostd->journal_failed) /* its connection ends with us */
        return;
    vm->hostd->hook_answers[verdict]++;
    hook_call_answer(call, verdict, reason);
}

uint64_t
vm_may_sign(const struct vm *vm, int64_t now_ms, const char **ret_reason)
{
    *ret_reason = "";
    if (vm->record.e == 0)
        *ret_reason = "no-lease";
    else if (vm->record.n_ends > 0)
        *ret_reason = "end-unreported";
    else if (now_ms >= vm->lease_until_ms)
        *ret_reason = "lease-lapsed";
    else
        return vm->record.e;
    return 0;
}
