#include "config.h"

#include "plugin/provision.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/log.h"
#include "lib/wire/http_message.h"
#include "plugin/lease.h"
#include "plugin/made.h"
#include "plugin/observing.h"
#include "plugin/priv_client.h"
#include "plugin/provision_steps.h"
#include "plugin/reconcile.h"
#include "plugin/starting.h"
#include "plugin/vms.h"

enum { RETRY_MS = 30 * 1000, REFUSED_MS = 600 * 1000 /* somebody has to do something first */ };

struct provision {
    struct vm *vm;
    struct mailbox *mailbox;
    struct provision_work work;
    bool started; /* the worker runs */
    int failed;
    struct error error;
};

/* ---- in the main loop ---- */

/* The worker stands still meanwhile. */
static void
copy_steps(void *context)
{
    struct provision *p = context;
    struct vm_record *to = &p->vm->record;
    const struct vm_record *from = &p->work.record;

    memcpy(to->steps, from->steps, sizeof to->steps);
    memcpy(to->ek, from->ek, sizeof to->ek);
    to->ek_len = from->ek_len;
    memcpy(to->x0, from->x0, sizeof to->x0);
    to->has_x0 = from->has_x0;
    memcpy(to->point, from->point, sizeof to->point);
    to->has_point = from->has_point;
    to->disk = from->disk;
    memcpy(to->account, from->account, sizeof to->account);
    to->account_e = from->account_e;
    p->work.lease_lost = to->e != p->work.e || clock_monotonic_ms() >= p->vm->lease_until_ms;
    vm_save(p->vm);
}

static void
end_provision(struct provision *p)
{
    struct vm *vm = p->vm;
    bool running = p->work.running, will_run = running || (vm->start && !vm_is_strict(vm));
    bool waits = will_run && strcmp(p->error.problem, "ek-changed") == 0; /* for a word that may come while it runs */
    int64_t retry = p->error.code == ERROR_DENIED && !waits ? REFUSED_MS : RETRY_MS;
    int64_t asked = http_retry_spread(p->error.retry_s * INT64_C(1000), clock_dice());

    if (retry < asked)
        retry = asked;
    vm->provision = NULL;
    if (p->started)
        vm->hostd->provisions--;
    if (p->failed < 0)
        vm->not_before_ms = clock_monotonic_ms() + retry;
    vm->inject_again_ms = clock_monotonic_ms() + REFUSED_MS;
    free(p);
    reconcile_provisioned(vm);
    if (vm->start) {
        starting_provisioned(vm);
        return;
    }
    if (!running && vm->record.e != 0 && !vm->active && !vm->record.run[0])
        lease_end(vm, VIEW_GO); /* reserved for this host until it starts */
}

/* Made and placed, or why not. */
static enum step_state
vtpm_state(const struct vm_record *r)
{
    enum step_state placed = r->steps[STEP_PLACE].state;

    return placed == STEP_OPEN ? r->steps[STEP_VTPM].state : placed;
}

static void
worker_is_done(void *context)
{
    struct provision *p = context;

    if (p->failed < 0)
        log_error(&p->error, "vm %s is not provisioned yet; going on", p->vm->record.name);
    else
        log_notice("event=provisioned vm=%s vtpm=%s secret=%s%s%s account=%s", p->vm->record.name,
                   step_state_name(vtpm_state(&p->vm->record)),
                   step_state_name(p->vm->record.steps[STEP_INJECT].state),
                   p->vm->record.steps[STEP_INJECT].problem[0] ? "/" : "",
                   p->vm->record.steps[STEP_INJECT].problem, p->vm->record.account);
    end_provision(p);
}

/* ---- the worker ---- */

static void
note_step(void *context)
{
    struct provision *p = context;

    mailbox_call(p->mailbox, copy_steps, p);
}

static void *
work(void *context)
{
    struct provision *p = context;

    p->failed = provision_steps_run(&p->work, &p->error);
    mailbox_post(p->mailbox, worker_is_done, p);
    return NULL;
}

static void
start_worker(struct provision *p)
{
    pthread_attr_t attr;
    pthread_t thread;
    int failed;

    p->work.e = p->vm->record.e;
    p->work.record = p->vm->record;
    p->work.domain = p->vm->domain;
    p->work.running = p->vm->active;
    p->started = true;
    p->vm->hostd->provisions++;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    failed = pthread_create(&thread, &attr, work, p);
    pthread_attr_destroy(&attr);
    if (!failed)
        return;
    p->failed = error_sys(&p->error, failed, "provisioning thread");
    mailbox_post(p->mailbox, worker_is_done, p);
}

/* ---- when ---- */

static struct provision *
new_provision(struct vm *vm)
{
    struct provision *p = calloc(1, sizeof *p);

    if (!p)
        return NULL;
    p->vm = vm;
    p->mailbox = vm->hostd->mailbox;
    p->work.settings = vm->hostd->settings;
    p->work.note = note_step;
    p->work.context = p;
    p->work.deadline_ms = INT64_MAX;
    vm->provision = p;
    return p;
}

static void
acquired(struct vm *vm, enum lease_outcome outcome, const char *why)
{
    struct provision *p = vm->provision;
    struct step_record *s = &vm->record.steps[STEP_LEASE];

    if (!p || p->started)
        return;
    s->state = outcome == LEASE_GOT ? STEP_DONE : STEP_FAILED;
    snprintf(s->problem, sizeof s->problem, "%s",
             outcome == LEASE_GOT ? "" : outcome == LEASE_REFUSED ? "foreign" : "unavailable");
    snprintf(s->text, sizeof s->text, "%.199s", why);
    vm_save(vm);
    if (outcome == LEASE_GOT && !vm->active) {
        start_worker(p);
        return;
    }
    p->failed = -1;
    end_provision(p);
}

/* Enrolled, but this lease is new: the service may have lost or voided what it was told. */
static bool
is_told(const struct vm *vm)
{
    return vm_is_enrolled(vm) && (!vm->active || vm->record.account_e == vm->record.e);
}

static bool
wants(const struct vm *vm, int64_t now_ms)
{
    const struct hostd *hostd = vm->hostd;

    return vm->record.managed && !vm_is_observed(vm) && vm->domain.name[0] && !is_told(vm) && !vm->provision &&
           !vm->start && !vm->ending && hostd->enroll && hostd->service_up && now_ms >= vm->not_before_ms &&
           hostd->provisions < PROVISIONS_MAX;
}

/* The disk was left alone for what passes: the image was open elsewhere, or a start could not wait. */
static bool
inject_is_due(const struct vm *vm)
{
    const struct step_record *s = &vm->record.steps[STEP_INJECT];

    return s->state == STEP_SKIPPED && clock_monotonic_ms() >= vm->inject_again_ms &&
           (strcmp(s->problem, "image-in-use") == 0 || strcmp(s->problem, "took-too-long") == 0);
}

/* A second injection makes a second secret: so only while no proof has made the first one count. */
static bool
may_inject_again(const struct vm *vm)
{
    return !vm->active && !vm->provision && !vm->start && !vm->record.run[0] &&
           (!vm->record.ran || vm->record.clean) && strcmp(vm->record.account, "ok") != 0;
}

/* Another than the one that was written: made.c.  Here: the agent was asked for after that, or nothing was. */
static void
consider_disk_again(struct vm *vm)
{
    struct step_record open = { .state = STEP_OPEN };

    if (!may_inject_again(vm) || !(vm->record.agent_due || inject_is_due(vm)))
        return;
    vm->record.agent_due = false;
    vm->record.steps[STEP_INJECT] = vm->record.steps[STEP_ACCOUNT] = open;
    vm->not_before_ms = 0;
    vm_save(vm);
}

void
provision_consider(struct vm *vm)
{
    struct provision *p;

    if (vm_is_observed(vm)) {
        observing_consider(vm);
        return;
    }
    consider_disk_again(vm);
    made_compare_disk(vm);
    if (vm->in_doubt)
        (void)made_look(vm);
    if (!wants(vm, clock_monotonic_ms()))
        return;
    if (vm->active) { /* enabled while it ran, or started while the service was away */
        /* One that is to be started again anyway gets more when it is off. */
        if (vm->record.e == 0 || vm_is_incoming(vm) || vm->answer != LEASE_OK || vm->restart_pending)
            return;
        p = new_provision(vm);
        if (p)
            start_worker(p);
        return;
    }
    if (!vm->defined || !vm->hostd->swept || vm->managed_save || vm->record.run[0] ||
        vm_memory_comes(vm))
        return;
    p = new_provision(vm);
    if (p)
        lease_claim(vm, acquired);
}

bool
provision_inside_start(struct vm *vm, int64_t deadline_ms)
{
    struct provision *p;

    if (vm->provision || vm_is_enrolled(vm) || !vm->domain.name[0])
        return false;
    p = new_provision(vm);
    if (!p)
        return false;
    vm->record.steps[STEP_LEASE] = (struct step_record){ .state = STEP_DONE };
    p->work.inside_start = true;
    p->work.deadline_ms = deadline_ms;
    start_worker(p);
    return true;
}

/* ---- hurry ---- */

struct hurry {
    struct vm_uuid uuid;
    const char *priv_socket;
};

static void *
cancel(void *context)
{
    struct hurry *h = context;
    struct priv_request request = { .op = PRIV_CANCEL, .uuid = h->uuid };
    struct priv_answer answer;
    struct error err;

    /* Too late or nothing there: the worker then finishes, or is past it. */
    (void)priv_client_ask(h->priv_socket, &request, -1, clock_monotonic_ms() + PRIV_CLIENT_MS, &answer,
                          NULL, 0, &err);
    free(h);
    return NULL;
}

void
provision_hurry(struct vm *vm)
{
    struct hurry *h = malloc(sizeof *h);
    pthread_t thread;

    if (vm->provision)
        vm->provision->work.hurry = true;
    if (!h)
        return;
    h->uuid = vm->record.uuid;
    h->priv_socket = vm->hostd->settings.priv_socket;
    if (pthread_create(&thread, NULL, cancel, h) != 0)
        free(h);
    else
        pthread_detach(thread);
}
