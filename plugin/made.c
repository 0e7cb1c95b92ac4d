#include "config.h"

#include "plugin/made.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/log.h"
#include "plugin/priv_client.h"
#include "plugin/provision.h"
#include "plugin/provision_steps.h"
#include "plugin/starting.h"
#include "plugin/vms.h"

enum { RETRY_MS = 10 * 1000 };

static bool
is_settled(const struct vm *vm)
{
    return strcmp(vm->record.account, "ok") == 0;
}

void
made_doubt(struct vm *vm)
{
    vm->in_doubt = !is_settled(vm) && vm->record.steps[STEP_PLACE].state == STEP_DONE;
    vm->next_look_ms = 0;
}

void
made_doubt_tpm(struct vm *vm)
{
    enum step_state placed = vm->record.steps[STEP_PLACE].state;

    if (vm->domain.tpm != DOMAIN_TPM_EMULATOR || vm->managed_save || vm_memory_comes(vm) ||
        (!is_settled(vm) && placed != STEP_DONE && placed != STEP_SKIPPED)) /* it has never had one */
        return;
    vm->in_doubt = true;
    vm->next_look_ms = 0;
}

bool
made_tpm_anew(const struct vm *vm)
{
    const struct step_record *account = &vm->record.steps[STEP_ACCOUNT];

    return account->state != STEP_DONE &&
           (is_settled(vm) || vm->tpm_lost || strcmp(account->problem, "ek-changed") == 0);
}

void
made_ran(struct vm *vm)
{
    struct step_record *place = &vm->record.steps[STEP_PLACE];

    vm->record.ran = true;
    vm->record.clean = false;
    if (place->state != STEP_BEGUN || vm->provision)
        return;
    *place = (struct step_record){ .state = STEP_OPEN };
    vm->record.ek_len = 0;
    vm->record.has_x0 = false;
}

/* Only that: its disk is not ours to write any more. */
static void
reopen_tpm(struct vm *vm)
{
    const struct step_record open = { .state = STEP_OPEN };
    struct vm_record *r = &vm->record;

    r->steps[STEP_VTPM] = r->steps[STEP_PLACE] = r->steps[STEP_ACCOUNT] = open;
    r->ek_len = 0;
    r->has_x0 = r->has_point = false; /* what was written once has stepped on, or went with the TPM */
    vm->not_before_ms = 0;
    vm_save(vm);
}

static void
reopen(struct vm *vm)
{
    struct vm_record *r = &vm->record;

    for (int i = STEP_VTPM; i < STEP_COUNT; i++)
        r->steps[i] = (struct step_record){ .state = STEP_OPEN };
    r->ek_len = 0;
    r->has_x0 = r->has_point = false;
    r->disk = 0;
    vm->gone = vm->in_doubt = false;
    vm->not_before_ms = 0;
    vm_save(vm);
}

void
made_forget(struct vm *vm)
{
    const struct vm_record *r = &vm->record;

    if (r->run[0] || is_settled(vm))
        return;
    if (r->ran) { /* the guest may keep its TPM, and what it did with it */
        made_doubt(vm);
        return;
    }
    if (vm->provision) /* its worker has a copy of all this */
        vm->gone = true;
    else
        reopen(vm);
}

void
made_compare_disk(struct vm *vm)
{
    struct vm_record *r = &vm->record;
    const struct step_record open = { .state = STEP_OPEN };
    uint64_t disk = provision_disk_number(&vm->domain);

    if (r->disk == 0 || vm->active || vm->provision || vm->start || r->run[0] || is_settled(vm) ||
        disk == 0 || disk == r->disk)
        return;
    log_notice("event=made-again vm=%s the disk that was written is not its disk any more", r->name);
    r->steps[STEP_INJECT] = r->steps[STEP_ACCOUNT] = open;
    r->has_point = false;
    r->disk = 0;
    vm->not_before_ms = 0;
    vm_save(vm);
}

/* ---- asking ---- */

struct look {
    struct vm *vm;
    struct mailbox *mailbox;
    const char *priv_socket;
    struct vm_uuid uuid;
    unsigned generation;
    bool answered, there;
};

static void
take_answer(struct vm *vm, const struct look *look)
{
    if (!look->answered) {
        vm->next_look_ms = clock_monotonic_ms() + RETRY_MS;
        return;
    }
    vm->in_doubt = false;
    if (look->there)
        return;
    vm->tpm_lost = true;
    if (is_settled(vm)) {
        log_warning("event=tpm-lost vm=%s its TPM state is not there: a new one is made", vm->record.name);
        reopen_tpm(vm);
        return;
    }
    log_notice("event=made-again vm=%s its TPM is gone: it was undefined meanwhile", vm->record.name);
    reopen(vm);
}

static void
looked(void *context)
{
    struct look *look = context;
    struct vm *vm = look->vm;

    vm->looking = false;
    vm->hostd->looks--;
    /* What began meanwhile knows better, or will be asked about again when it has ended. */
    if (vm->in_doubt && !vm->active && !vm->provision && !vm->record.run[0] && vm->generation == look->generation)
        take_answer(vm, look);
    free(look);
    if (vm->start)
        starting_provisioned(vm);
    provision_consider(vm);
    for (struct vm *next = vm->hostd->vms; next && vm->hostd->looks == 0; next = next->next)
        (void)made_look(next);
}

static void *
ask(void *context)
{
    struct look *look = context;
    struct priv_request request = { .op = PRIV_VTPM_STATE, .uuid = look->uuid };
    struct priv_answer answer;
    struct error err;

    look->answered = priv_client_ask(look->priv_socket, &request, -1, clock_monotonic_ms() + PRIV_CLIENT_MS, &answer,
                                     NULL, 0, &err) == 0;
    look->there = look->answered && strcmp(answer.result, "absent") != 0;
    mailbox_post(look->mailbox, looked, look);
    return NULL;
}

bool
made_look(struct vm *vm)
{
    struct hostd *hostd = vm->hostd;
    struct look *look;
    pthread_t thread;

    if (vm->looking)
        return true;
    if (hostd->looks > 0 && !vm->start) /* one after the other, unless a hook waits */
        return false;
    if (!vm->in_doubt || vm->active || vm->provision || vm->record.run[0] || clock_monotonic_ms() < vm->next_look_ms)
        return false;
    look = calloc(1, sizeof *look);
    if (!look)
        return false;
    *look = (struct look){ .vm = vm, .mailbox = hostd->mailbox, .priv_socket = hostd->settings.priv_socket,
                           .uuid = vm->record.uuid, .generation = vm->generation };
    if (pthread_create(&thread, NULL, ask, look) != 0) {
        free(look);
        return false;
    }
    pthread_detach(thread);
    vm->looking = true;
    hostd->looks++;
    return true;
}
