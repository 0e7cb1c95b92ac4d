#include "config.h"

#include "plugin/arriving.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/log.h"
#include "plugin/lease.h"
#include "plugin/missed.h"
#include "plugin/stopping.h"
#include "plugin/vms.h"

enum { HOOK_SECONDS = (HANDOVER_MS + 999) / 1000 + 1 };

/* The hook's call that waits for the service's answer; one per VM. */
struct arrival {
    struct vm *vm;
    struct hook_call *call;
};

/* Between `migrate` and `prepare`, for a daemon that is new by then: a run that came in, and has not begun. */
static void
remember(struct vm *vm, bool incoming)
{
    vm->record.run_k = incoming;
    vm_save(vm);
}

static void
answer(struct arrival *a, enum hook_verdict verdict, const char *why)
{
    struct vm *vm = a->vm;

    vm->arrival = NULL;
    snprintf(vm->start_problem, sizeof vm->start_problem, "%.*s", HOOK_REASON_MAX, why);
    if (verdict == HOOK_NO)
        vm->incoming = false;
    if (!vm->record.run[0])
        remember(vm, verdict == HOOK_GO);
    log_notice("event=arrival vm=%s verdict=%s epoch=%llu%s%s", vm->record.name, verdict == HOOK_GO ? "go" : "no",
               (unsigned long long)vm->record.e, why[0] ? " reason=" : "", why);
    vm_answer_hook(vm, a->call, verdict, vm->start_problem);
    free(a);
}

static void
handed_over(struct vm *vm, enum lease_outcome outcome, const char *why)
{
    struct arrival *a = vm->arrival;
    char reason[HOOK_REASON_MAX + 1];

    if (!a)
        return;
    if (outcome == LEASE_GOT) {
        answer(a, HOOK_GO, "");
    } else if (outcome == LEASE_REFUSED) {
        answer(a, HOOK_NO, why);
    } else if (vm->hostd->dismissed) { /* that is an answer, and nobody's absence: here it would never have a token */
        snprintf(reason, sizeof reason, "it would have no identity here: %.220s", why);
        answer(a, HOOK_NO, reason);
    } else if (vm_is_strict(vm)) {
        snprintf(reason, sizeof reason, "it is strict and its lease can not be handed over: %.200s", why);
        answer(a, HOOK_NO, reason);
    } else {
        answer(a, HOOK_GO, why); /* the lease follows when the source has reported */
    }
}

/* By what libvirt has shown, or, if it was not looked at yet, by the journal. */
static bool
runs_here(const struct vm *vm)
{
    bool shown = vm->active || vm->record.run[0];

    return vm->start || (shown && !missed_look(vm->hostd->settings.run_dir, &vm->record.uuid).ended);
}

void
arriving_begin(struct vm *vm, struct hook_call *call)
{
    struct arrival *a;

    if (vm->provision) { /* its disk may be open; the source runs on untouched */
        hook_call_answer(call, HOOK_NO, "it is being provisioned on this host; migrate it again in a minute");
        return;
    }
    if (vm->arrival) { /* libvirt asks once per migration: the earlier hook is dead */
        hook_call_answer(vm->arrival->call, HOOK_GO, "");
        vm->arrival->call = call;
        hook_call_wait(call, HOOK_SECONDS);
        return;
    }
    if (runs_here(vm)) { /* libvirt asks us first and refuses then; that run has not come in, whatever follows */
        hook_call_answer(call, HOOK_NO, "it runs on this host; if it does not, migrate it again in a minute");
        return;
    }
    a = calloc(1, sizeof *a);
    if (!a) {
        hook_call_answer(call, HOOK_GO, "");
        return;
    }
    stopping_before(vm);
    if (vm->record.e != 0 && !vm->record.run[0])
        lease_end(vm, VIEW_GI); /* one was let in before, and libvirt never said that it does not come */
    a->vm = vm;
    a->call = call;
    vm->arrival = a;
    vm->incoming = true;
    vm->memory_ms = clock_monotonic_ms();
    hook_call_wait(call, HOOK_SECONDS);
    lease_hand_over(vm, handed_over);
}

/*
 * What is made before a first start was made where it started.  Here its disk and its TPM are never touched for
 * that, also when it is off.
 */
static void
skip_steps(struct vm *vm)
{
    for (int i = STEP_VTPM; i <= STEP_INJECT; i++) {
        struct step_record *s = &vm->record.steps[i];

        if (s->state == STEP_DONE || s->state == STEP_SKIPPED)
            continue;
        *s = (struct step_record){ .state = STEP_SKIPPED };
        snprintf(s->problem, sizeof s->problem, "came-in");
        snprintf(s->text, sizeof s->text, "it came here by migration with what was made for it elsewhere");
    }
}

void
arriving_prepare(struct vm *vm, struct hook_call *call)
{
    snprintf(vm->record.run, sizeof vm->record.run, "%s", RUN_STARTING);
    vm->record.run_e = vm->record.e;
    vm->record.run_k = true;
    vm->record.run_resumed = vm->record.run_switched = vm->record.run_left = false;
    vm->record.ran = true;
    vm->record.clean = false;
    vm->unstarted = true;
    vm->came_up = false;
    skip_steps(vm);
    vm->starting_since_ms = clock_monotonic_ms();
    vm_save(vm);
    vm_answer_hook(vm, call, HOOK_GO, "");
    lease_report_soon(vm);
}

void
arriving_missed(struct vm *vm)
{
    if (vm->provision || vm->record.run[0] || vm_is_observed(vm) || vm_is_strict(vm))
        return; /* the last the hook has refused */
    if (vm->record.e != 0)
        lease_end(vm, VIEW_GI); /* of one that was let in before */
    vm->incoming = true;
    vm->memory_ms = clock_monotonic_ms();
    remember(vm, true);
}

void
arriving_loaded(struct vm *vm)
{
    if (vm->record.run[0] || !vm->record.run_k)
        return;
    vm->incoming = true;
    vm->memory_ms = clock_monotonic_ms();
}

void
arriving_failed(struct vm *vm)
{
    vm->incoming = false;
    if (!vm->record.run[0])
        remember(vm, false);
    if (vm->record.e != 0 && !vm->record.run[0])
        lease_end(vm, VIEW_GI);
    else
        lease_report_soon(vm);
}

void
arriving_defined(struct vm *vm)
{
    if (!vm->incoming || vm->arrival || vm->record.run[0])
        return;
    vm->memory_ms = 0;
    log_notice("event=arrived-off vm=%s", vm->record.name);
    arriving_failed(vm);
}

void
arriving_unasked(struct vm *vm)
{
    vm->record.run_k = true;
    vm->record.run_resumed = false;
    vm_save(vm);
    lease_report_soon(vm);
}

void
arriving_resumed(struct vm *vm)
{
    if (!vm_is_incoming(vm)) {
        /* At the source, when libvirt gave a migration up: it never stopped being this run, and is behind no switch-over. */
        vm->record.run_switched = false;
        vm_save(vm);
        return;
    }
    vm->incoming = false;
    vm->record.run_k = vm->record.run_resumed = true;
    vm->arrived_ms = clock_monotonic_ms();
    vm_save(vm);
    log_notice("event=arrived vm=%s epoch=%llu", vm->record.name, (unsigned long long)vm->record.e);
    lease_report_soon(vm);
}
