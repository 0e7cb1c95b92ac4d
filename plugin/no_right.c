#include "config.h"

#include "plugin/no_right.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/log.h"
#include "plugin/priv_client.h"
#include "plugin/vms.h"

enum { STOPS_MAX = 32 /* at once: the root half does one after the other, and has others to serve */ };

static void
say_so(const struct vm *vm)
{
    if (vm->answer == LEASE_RETIRED)
        log_warning("event=no-right vm=%s its identity was retired; it runs on here, without tokens", vm->record.name);
    else
        log_warning("event=no-right vm=%s holder=%s it must not go on here, and gets no tokens: "
                    "destroy it here, or virtid place %s %s --force",
                    vm->record.name, vm->holder[0] ? vm->holder : "-", vm->record.name, vm->hostd->identity->name);
}

/* ---- the root half: what root's configuration says is done ---- */

struct stop {
    struct hostd *hostd; /* for the main loop alone */
    struct mailbox *mailbox;
    unsigned generation;
    const char *priv_socket;
    struct priv_request request;
    struct priv_answer answer;
    int failed;
    struct error error;
};

static void
stopped(void *context)
{
    CLEANUP(mem_free) struct stop *s = context;
    struct vm *vm = vms_find(s->hostd, &s->request.uuid);

    s->hostd->stops--;
    if (!vm)
        return;
    vm->fence_asked = false;
    if (s->failed < 0) {
        log_error(&s->error, "event=fenced-guest vm=%s; asked again with the next report", vm->record.name);
        return;
    }
    if (strcmp(vm->fence_done, s->answer.result) != 0)
        log_warning("event=fenced-guest vm=%s action=%s", vm->record.name, s->answer.result);
    if (vm->generation == s->generation)
        snprintf(vm->fence_done, sizeof vm->fence_done, "%s", s->answer.result);
}

static void *
stop_thread(void *context)
{
    struct stop *s = context;

    s->failed = priv_client_ask(s->priv_socket, &s->request, -1, clock_monotonic_ms() + PRIV_CLIENT_MS, &s->answer, NULL,
                                0, &s->error);
    mailbox_post(s->mailbox, stopped, s);
    return NULL;
}

static bool
begin_stop(struct vm *vm)
{
    struct stop *s = vm->hostd->stops < STOPS_MAX ? calloc(1, sizeof *s) : NULL;
    pthread_t thread;

    if (!s)
        return false;
    *s = (struct stop){ .hostd = vm->hostd, .mailbox = vm->hostd->mailbox, .generation = vm->generation,
                        .priv_socket = vm->hostd->settings.priv_socket,
                        .request = { .op = PRIV_STOP_GUEST, .uuid = vm->record.uuid } };
    snprintf(s->request.name, sizeof s->request.name, "%s", vm->domain.name);
    if (pthread_create(&thread, NULL, stop_thread, s) == 0) {
        pthread_detach(thread);
        vm->hostd->stops++;
        return true;
    }
    free(s);
    return false;
}

/* ---- the service: was it a fence? ---- */

struct fence_question {
    struct enroll_job job;
    struct hostd *hostd;
    unsigned generation;
};

/* Nothing but this very answer is a reason: not silence, not an error, not that another host has it. */
static bool
is_fenced(const struct fence_question *q, const struct vm *vm)
{
    return q->job.failed < 0 && strcmp(q->job.error.problem, "fenced") == 0 && vm->generation == q->generation &&
           vm->told_no_right && vm->active && vm->record.e == q->job.epoch;
}

static void
fence_answered(void *context)
{
    struct fence_question *q = context;
    struct vm *vm = vms_find(q->hostd, &q->job.uuid);

    if (vm)
        vm->fence_asked = is_fenced(q, vm) && begin_stop(vm);
    json_decref(q->job.vm);
    free(q);
}

static void
fence_was_asked(struct enroll_job *take_job)
{
    struct fence_question *q = (struct fence_question *)take_job;

    mailbox_post(q->hostd->mailbox, fence_answered, q);
}

/* With each report until something was done: once, so that what an operator lets go on afterwards goes on. */
static void
ask_about_fence(struct vm *vm)
{
    bool done = vm->fence_done[0] && strcmp(vm->fence_done, "report") != 0;
    struct fence_question *q;

    if (vm->answer != LEASE_FOREIGN || vm->record.e == 0 || vm->fence_asked || done)
        return;
    if (!vm->record.managed || vm_mode(vm) == MODE_OBSERVE)
        return;
    q = calloc(1, sizeof *q);
    if (!q)
        return;
    q->hostd = vm->hostd;
    q->generation = vm->generation;
    q->job.kind = ENROLL_JOB_VM;
    q->job.uuid = vm->record.uuid;
    q->job.epoch = vm->record.e;
    q->job.done = fence_was_asked;
    vm->fence_asked = true;
    enroll_thread_submit(vm->hostd->enroll, &q->job);
}

void
no_right_consider(struct vm *vm, enum lease_view view)
{
    bool runs = (vm->active || vm->record.run[0]) && !vm->start && (view == VIEW_RUN || view == VIEW_JOB);
    bool refused = vm->answer == LEASE_FOREIGN || vm->answer == LEASE_MOVING || vm->answer == LEASE_RETIRED;
    bool told = vm->told_no_right;

    if (vm->answer == LEASE_GRACE)
        return;
    vm->told_no_right = runs && refused;
    if (!vm->told_no_right) {
        vm->fence_done[0] = '\0';
        return;
    }
    if (!told)
        say_so(vm);
    ask_about_fence(vm);
}
