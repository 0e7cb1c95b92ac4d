#include "config.h"

#include "plugin/observing.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/log.h"
#include "plugin/missed.h"
#include "plugin/observed.h"
#include "plugin/provision_steps.h"
#include "plugin/vms.h"

struct foresight {
    struct vm *vm;
    struct mailbox *mailbox;
    struct provision_work work;
};

static void
note(struct vm *vm, const char *step, const char *would, const char *text)
{
    struct error err;

    if (!vm->observed)
        vm->observed = calloc(1, sizeof *vm->observed);
    if (!vm->observed)
        return;
    vm_save(vm); /* by its own record the next run of the daemon finds this one */
    observed_add(vm->observed, step, would, text, clock_realtime_ms());
    log_notice("event=observed vm=%s step=%s would=%s %s", vm->record.name, step, would, text);
    if (observed_save(vm->hostd->settings.state_dir, &vm->record.uuid, vm->observed, &err) < 0)
        log_error(&err, "what would have been with vm %s is lost when this daemon ends; going on", vm->record.name);
}

/* ---- the steps while it is off ---- */

static void
note_step(struct vm *vm, const char *name, const struct step_record *s)
{
    char text[300];

    snprintf(text, sizeof text, "%s%s%s", s->problem, s->problem[0] && s->text[0] ? ": " : "", s->text);
    note(vm, name, s->state == STEP_DONE ? "done" : s->state == STEP_SKIPPED ? "skipped" : "unknown", text);
}

static void
foreseen(void *context)
{
    struct foresight *f = context;

    if (vm_is_observed(f->vm)) {
        note_step(f->vm, "vtpm", &f->work.record.steps[STEP_VTPM]);
        note_step(f->vm, "inject", &f->work.record.steps[STEP_INJECT]);
    }
    free(f);
}

static void *
foresee(void *context)
{
    struct foresight *f = context;

    provision_steps_foresee(&f->work);
    mailbox_post(f->mailbox, foreseen, f);
    return NULL;
}

static void
begin_foresight(struct vm *vm)
{
    struct foresight *f = calloc(1, sizeof *f);
    pthread_t thread;

    if (!f)
        return;
    f->vm = vm;
    f->mailbox = vm->hostd->mailbox;
    f->work.settings = vm->hostd->settings;
    f->work.record = vm->record;
    f->work.domain = vm->domain;
    if (pthread_create(&thread, NULL, foresee, f) == 0)
        pthread_detach(thread);
    else
        free(f);
}

static void
asked_while_off(struct vm *vm, enum lease_outcome outcome, const char *why)
{
    if (!vm_is_observed(vm))
        return;
    if (outcome == LEASE_GOT)
        note(vm, "lease", "done", "taken to provision it, then reserved for this host");
    else
        note(vm, "lease", outcome == LEASE_REFUSED ? "refused" : "skipped", why);
    if (outcome == LEASE_GOT)
        begin_foresight(vm);
    if (outcome == LEASE_NOBODY)
        vm->foreseen = false;
}

void
observing_consider(struct vm *vm)
{
    if (vm->foreseen || !vm->record.managed || !vm->domain.name[0] || !vm->defined || vm->active ||
        !vm->hostd->swept || vm_is_enrolled(vm) || !vm->hostd->enroll || !vm->hostd->service_up)
        return;
    vm->foreseen = true;
    lease_ask(vm, asked_while_off);
}

/* ---- a start ---- */

void
observing_answered(struct vm *vm, enum lease_outcome outcome, const char *why)
{
    char text[OBSERVED_TEXT_MAX + 1];

    if (!vm_is_observed(vm))
        return;
    switch (outcome) {
    case LEASE_GOT:
        note(vm, "start", "allowed", "with the lease");
        break;
    case LEASE_REFUSED:
        note(vm, "start", "refused", why);
        break;
    case LEASE_NOBODY:
        snprintf(text, sizeof text, "without a lease (refused in mode strict): %.180s", why);
        note(vm, "start", "allowed", text);
        break;
    }
    if (outcome == LEASE_GOT && !vm_memory_comes(vm) && !vm->record.ran && !vm_is_enrolled(vm) &&
        !missed_look(vm->hostd->settings.run_dir, &vm->record.uuid).any)
        begin_foresight(vm); /* it would have been provisioned inside */
}

void
observing_operation(struct vm *vm, const char *op)
{
    if (strcmp(op, "restore") == 0 || strcmp(op, "migrate") == 0)
        vm->memory_ms = clock_monotonic_ms();
    if (strcmp(op, "migrate") == 0)
        note(vm, "migrate", "allowed", "without a lease (refused in mode strict): it can not be handed over yet");
    else if (strcmp(op, "prepare") == 0)
        lease_ask(vm, observing_answered);
}

/* ---- the record ---- */

void
observing_load(struct vm *vm)
{
    struct error err;

    vm->observed = calloc(1, sizeof *vm->observed);
    if (!vm->observed || observed_load(vm->hostd->settings.state_dir, &vm->record.uuid, vm->observed, &err) == 0)
        return;
    if (err.code != ERROR_MISSING)
        log_error(&err, "what would have been with vm %s is forgotten", vm->record.name);
    free(vm->observed);
    vm->observed = NULL;
}

void
observing_forget(struct vm *vm)
{
    observed_forget(vm->hostd->settings.state_dir, &vm->record.uuid);
    free(vm->observed);
    vm->observed = NULL;
}
