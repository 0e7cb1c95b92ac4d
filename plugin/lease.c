#include "config.h"

#include "plugin/lease.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/log.h"
#include "lib/wire/http_message.h"
#include "plugin/channels.h"
#include "plugin/hook_health.h"
#include "plugin/modes.h"
#include "plugin/no_right.h"
#include "plugin/provision.h"
#include "plugin/receipts.h"
#include "plugin/reverted.h"
#include "plugin/service.h"
#include "plugin/vms.h"

enum { PROBE_EVERY_MS = 3000 /* while the service is down, or waits for its hosts (grace) or for a source */ };

/* The job comes first, so that the thread's pointer is ours. */
struct request {
    struct enroll_job job;
    struct hostd *hostd;
    struct vm *vms[LEASE_VMS_MAX];
    unsigned generation[LEASE_VMS_MAX];
    lease_acquired *done;
};

/* ---- what we say ---- */

static enum lease_view
present_view(const struct vm *vm)
{
    if (vm_is_observed(vm))
        return VIEW_OFF;
    if (vm_is_incoming(vm))
        return VIEW_INC;
    if (vm->leaving)
        return VIEW_JOB;
    if (vm->record.run_left && vm->paused)
        return VIEW_OUT;
    return vm_needs_lease(vm) ? VIEW_RUN : VIEW_OFF;
}

static void
add_vm(struct request *r, struct vm *vm)
{
    struct lease_report_vm *into = &r->job.report.vms[r->job.report.n_vms];

    into->uuid = vm->record.uuid;
    memcpy(into->ends, vm->record.ends, sizeof into->ends);
    into->n_ends = vm->record.n_ends;
    into->view = present_view(vm);
    into->k = vm->record.run_k;
    into->e = vm->record.e;
    into->ver = vm->record.receipt_ver;
    into->row_ver = vm->record.receipt_row_ver;
    into->kk = into->view == VIEW_RUN ? vm_hand_over_judged(vm) : vm->record.kn;
    into->saw = reverted_tell(vm, clock_monotonic_ms());
    into->saw_seq = vm->record.saw_seq;
    r->vms[r->job.report.n_vms] = vm;
    r->generation[r->job.report.n_vms] = vm->generation;
    r->job.report.n_vms++;
    vm->n_requests++;
    vm->dirty = false;
}

static void thread_is_done(struct enroll_job *take_job);

static struct request *
new_request(struct hostd *hostd)
{
    struct request *r = calloc(1, sizeof *r);
    struct error err;

    if (!r)
        return NULL;
    r->hostd = hostd;
    r->job.kind = ENROLL_JOB_REPORT;
    r->job.timeout_ms = REPORT_MS;
    r->job.done = thread_is_done;
    snprintf(r->job.report.host, sizeof r->job.report.host, "%s", hostd->identity->name);
    snprintf(r->job.report.hook, sizeof r->job.report.hook, "%s", hook_health_word(hostd));
    snprintf(r->job.report.boot, sizeof r->job.report.boot, "%s", hostd->boot);
    if (journal_next_seq(hostd->journal, &r->job.report.seq, &err) < 0) {
        log_error(&err, "ending, because reports need a number that was never used");
        hostd->journal_failed = true;
        event_base_loopbreak(hostd->base);
        free(r);
        return NULL;
    }
    return r;
}

/* ---- what we hear ---- */

static void
set_service(struct hostd *hostd, bool up, const struct error *why)
{
    bool changed = up != hostd->service_up || hostd->service_since_ms == 0;
    bool other_reason = !up && !changed && strcmp(hostd->service_problem_name, why->problem) != 0;

    snprintf(hostd->service_problem, sizeof hostd->service_problem, "%.299s", up ? "" : why->text);
    snprintf(hostd->service_problem_name, sizeof hostd->service_problem_name, "%s", up ? "" : why->problem);
    hostd->service_up = up;
    if (!changed && !other_reason)
        return;
    if (changed)
        hostd->service_since_ms = clock_monotonic_ms();
    if (!up) {
        log_warning("event=service-down %s; starts go on without a lease; repair: %s", why->text, service_repair(hostd));
        return;
    }
    log_notice("event=service-up %s", hostd->identity->service);
    hostd->next_report_ms = 0;
    for (struct vm *vm = hostd->vms; vm; vm = vm->next)
        vm->not_before_ms = 0;
}

const char *
lease_service_word(const struct hostd *hostd)
{
    if (!hostd->identity)
        return "not-joined";
    return hostd->service_up ? "up" : "down";
}

static bool
drop_acknowledged(struct vm *vm, uint64_t acked_seq)
{
    struct vm_record *r = &vm->record;
    size_t keep = 0;

    for (size_t i = 0; i < r->n_ends; i++) {
        if (r->ends[i].seq > acked_seq)
            r->ends[keep++] = r->ends[i];
    }
    if (keep == r->n_ends)
        return false;
    r->n_ends = keep;
    return true;
}

/* A hand-over goes on until libvirt shows that nothing leaves. */
static void
look_for_job(const struct vm *vm)
{
    if (vm->looked != vm->record.kn && vm->active && vm->hostd->watch)
        libvirt_watch_look(vm->hostd->watch, &vm->record.uuid);
}

/* ok or candidate, and still the run that asked. */
static bool
take_epoch(struct vm *vm, const struct lease_result *result, const struct enroll_job *job, bool *ret_new)
{
    bool changed = !vm->record.known || vm->record.kn != result->nx;

    vm->record.known = true;
    if (vm->record.kn != result->nx && vm->active && !vm_is_incoming(vm) && vm->hostd->watch)
        vm->look_asked = libvirt_watch_look(vm->hostd->watch, &vm->record.uuid);
    vm->record.kn = result->nx;
    *ret_new = result->e != vm->record.e;
    vm->lease_until_ms = job->sent_ms + LEASE_MS;
    vm->epoch_seq = job->report.seq;
    if (!*ret_new)
        return changed;
    vm_begin_epoch(vm, result->e);
    return true;
}

/* The run it was said of is still there, and nothing newer has asked for its epoch or given one. */
static bool
is_still_asked(const struct request *r, size_t at)
{
    return r->vms[at]->generation == r->generation[at] && r->job.report.seq >= r->vms[at]->epoch_seq;
}

static void
take_result(const struct request *r, size_t at, const struct lease_result *result)
{
    struct vm *vm = r->vms[at];
    enum lease_view view = r->job.report.vms[at].view;
    bool granted = result->answer == LEASE_OK || result->answer == LEASE_CANDIDATE;
    bool is_news = vm->record.kn != result->nx; /* a hand-over we had not heard of: our word was made before it */
    bool had = vm->record.e != 0 && clock_monotonic_ms() < vm->lease_until_ms;
    bool new_epoch = false, save;

    save = drop_acknowledged(vm, result->acked_seq);
    save |= receipts_take(vm, result);
    save |= reverted_acknowledged(vm, result->acked_seq);
    vm->answer = result->answer;
    modes_take(vm, result->mode);
    vm->holder_seconds = result->seconds_left;
    memcpy(vm->holder, result->holder, sizeof vm->holder);
    if (granted && result->e != 0 && view != VIEW_OFF && is_still_asked(r, at))
        save |= take_epoch(vm, result, &r->job, &new_epoch);
    if (save)
        vm_save(vm);
    if (granted && is_news && view == VIEW_RUN)
        vm->dirty = true;
    if (granted && view == VIEW_RUN)
        look_for_job(vm);
    if (new_epoch)
        log_notice("event=lease vm=%s epoch=%llu", vm->record.name, (unsigned long long)vm->record.e);
    if (vm->channel && (new_epoch || (granted && !had)))
        host_channel_hello(vm->channel);
    no_right_consider(vm, view);
    /* An operator gave it to another host, or to none: what has not touched the disk yet ends. */
    if (vm->provision && (result->answer == LEASE_FOREIGN || result->answer == LEASE_MOVING ||
                          result->answer == LEASE_RETIRED)) {
        vm->lease_until_ms = 0;
        provision_hurry(vm);
    }
    provision_consider(vm);
}

static const struct lease_result *
find_result(const struct request *r, const struct vm *vm)
{
    for (size_t i = 0; i < r->job.n_results; i++) {
        if (vm_uuid_equal(&r->job.results[i].uuid, &vm->record.uuid))
            return &r->job.results[i];
    }
    return NULL;
}

static void
take_results(struct request *r)
{
    for (size_t i = 0; i < r->job.report.n_vms; i++) {
        const struct lease_result *result = r->vms[i] ? find_result(r, r->vms[i]) : NULL;

        if (!r->vms[i]) /* it was asked for, and is none of ours */
            continue;
        r->vms[i]->n_requests--;
        if (r->job.failed == 0 && result)
            take_result(r, i, result);
        if ((r->job.failed == 0 || r->done) && r->vms[i]->dirty)
            lease_report_soon(r->vms[i]); /* news that came while this was under way; a report is tried again anyway */
    }
}

/* libvirt leaves it behind when it moves a domain that is off. */
static const char *
without_tpm(const struct vm *vm)
{
    return vm->domain.tpm == DOMAIN_TPM_EMULATOR ? ", with --new-vtpm if its vTPM state did not come along" : "";
}

static void
tell_acquirer(struct request *r)
{
    struct vm *vm = r->vms[0];
    const struct lease_result *result = find_result(r, vm);
    char why[768];

    if (r->job.failed < 0) {
        r->done(vm, LEASE_NOBODY, r->job.error.text);
        return;
    }
    if ((vm->answer == LEASE_OK || vm->answer == LEASE_CANDIDATE) && (vm->record.e != 0 || vm_is_observed(vm))) {
        r->done(vm, LEASE_GOT, "");
        return;
    }
    if (vm->answer == LEASE_NOT_MIGRATING) {
        snprintf(why, sizeof why, "the host that has %s says that it does not migrate it; if it is off, and is to move so: "
                 "virtid place %s %s first", vm->record.name, vm->record.name, r->hostd->identity->name);
        r->done(vm, LEASE_REFUSED, why);
        return;
    }
    if (vm->answer == LEASE_RETIRED) {
        snprintf(why, sizeof why, "its identity was retired; virtid place %s %s --reincarnate begins a new one, virtid "
                 "disable lets it start without",
                 vm->record.name, r->hostd->identity->name);
        r->done(vm, LEASE_REFUSED, why);
        return;
    }
    if (vm->answer != LEASE_FOREIGN && vm->answer != LEASE_MOVING) {
        snprintf(why, sizeof why, "the token service answered \"%s\"",
                 vm->answer ? lease_answer_name(vm->answer) : "nothing");
        r->done(vm, LEASE_NOBODY, why);
        return;
    }
    if (result && result->locked) {
        snprintf(why, sizeof why, "locked: an operator locked its identity, and it is not migrated before virtid unlock %s",
                 vm->record.name);
        r->done(vm, LEASE_REFUSED, why);
        return;
    }
    if (!vm->holder[0]) { /* it was fenced, and is for another pool or claimed by others; or enrol=placed */
        snprintf(why, sizeof why, "not-placed: it is given to this host only when an operator says so: virtid place %s %s%s",
                 vm->record.name, r->hostd->identity->name, without_tpm(vm));
        r->done(vm, LEASE_REFUSED, why);
        return;
    }
    if (r->job.report.op == LEASE_OP_HANDOVER && vm->answer == LEASE_FOREIGN) { /* else a source answers, or nobody */
        snprintf(why, sizeof why, "not-placed: %s is of %s's pool, and this host is not: virtid pool set takes it in; or, with "
                 "the VM off: virtid place %s %s",
                 vm->record.name, vm->holder, vm->record.name, r->hostd->identity->name);
        r->done(vm, LEASE_REFUSED, why);
        return;
    }
    if (vm->answer == LEASE_FOREIGN && vm->holder_seconds == 0) { /* lapsed, or off and reserved */
        snprintf(why, sizeof why, "it is %s's, which had it last; to run it here: virtid place %s %s%s", vm->holder,
                 vm->record.name, r->hostd->identity->name, without_tpm(vm));
        r->done(vm, LEASE_REFUSED, why);
        return;
    }
    snprintf(why, sizeof why, "%s %s it (%lld s left); if that is over: virtid place %s %s",
             vm->holder,
             vm->answer == LEASE_FOREIGN ? "holds the lease of" : "is moving",
             (long long)vm->holder_seconds, vm->record.name, r->hostd->identity->name);
    r->done(vm, LEASE_REFUSED, why);
}

/* A word said in grace was not taken down: it is said again before the next renewal is due. */
static bool
is_said_again(const struct request *r)
{
    for (size_t i = 0; r->job.failed == 0 && i < r->job.n_results; i++) {
        if (r->job.results[i].answer == LEASE_GRACE)
            return true;
    }
    for (size_t i = 0; r->job.failed == 0 && i < r->job.report.n_vms; i++) {
        if (r->vms[i] && vm_waits_for_source(r->vms[i], clock_monotonic_ms()))
            return true;
    }
    return false;
}

static void
report_within(struct hostd *hostd, int64_t ms)
{
    int64_t then = clock_monotonic_ms() + ms;

    if (hostd->next_report_ms > then)
        hostd->next_report_ms = then;
}

/* The service is there, and has had enough of us for now. */
static bool
is_too_much(const struct request *r)
{
    return r->job.failed < 0 && strcmp(r->job.error.problem, "rate-limited") == 0;
}

/* Leases must not lapse by it: hardly longer than from one renewal to the next. */
static int64_t
retry_ms(const struct error *failure)
{
    int64_t ms = failure->retry_s * INT64_C(1000);

    if (ms > REPORT_EVERY_SECONDS * 1000)
        ms = REPORT_EVERY_SECONDS * 1000;
    return http_retry_spread(ms > PROBE_EVERY_MS ? ms : PROBE_EVERY_MS, clock_dice());
}

static void
request_is_done(void *context)
{
    struct request *r = context;
    struct hostd *hostd = r->hostd;

    if (r->done)
        r->vms[0]->answer = 0; /* an old word is no answer to this */
    if (r->job.failed < 0)
        service_explain(hostd, &r->job.error);
    else
        hostd->must_join = hostd->told_end = hostd->dismissed = false;
    if (r->job.has_clock)
        service_take_clock(hostd, r->job.ahead_ms);
    channels_tell_stale(hostd, r->job.tokens_since_ms);
    service_take_bundle_serial(hostd, r->job.bundle_serial);
    take_results(r);
    receipts_show(hostd);
    /* A refusal of the whole request (our certificate, a bad clock) is as good as no service. */
    set_service(hostd, r->job.failed == 0 || is_too_much(r), &r->job.error);
    if (r->done)
        tell_acquirer(r);
    else if (r->job.failed < 0)
        hostd->next_report_ms = clock_monotonic_ms() + retry_ms(&r->job.error);
    if (is_said_again(r))
        report_within(hostd, PROBE_EVERY_MS);
    free(r);
}

static void
thread_is_done(struct enroll_job *take_job)
{
    struct request *r = (struct request *)take_job;

    mailbox_post(r->hostd->mailbox, request_is_done, r);
}

/* ---- acquire, end, report ---- */

static void
ask_for(struct vm *vm, enum lease_op op, lease_acquired *done)
{
    struct hostd *hostd = vm->hostd;
    bool dirty = vm->dirty;
    struct request *r;

    /* Before the first word from the service it is asked; after a bad one nobody waits. */
    if (!hostd->enroll || (!hostd->service_up && hostd->service_since_ms != 0)) {
        done(vm, LEASE_NOBODY, hostd->enroll ? hostd->service_problem : "this host has not joined a token service");
        return;
    }
    r = new_request(hostd);
    if (!r) {
        done(vm, LEASE_NOBODY, "no memory");
        return;
    }
    add_vm(r, vm);
    r->job.report.op = op;
    r->job.report.vms[0].view = op == LEASE_OP_HANDOVER ? VIEW_INC : VIEW_RUN;
    r->job.urgent = op != LEASE_OP_ASK;
    r->job.timeout_ms = op == LEASE_OP_HANDOVER ? HANDOVER_MS : ACQUIRE_MS;
    if (op == LEASE_OP_ASK) { /* a question tells nothing */
        r->job.timeout_ms = REPORT_MS;
        r->job.report.vms[0].n_ends = 0;
        r->job.report.vms[0].saw = 0;
        vm->dirty = dirty;
    } else {
        vm->epoch_seq = r->job.report.seq;
    }
    r->done = done;
    enroll_thread_submit(hostd->enroll, &r->job);
}

void
lease_claim(struct vm *vm, lease_acquired *done)
{
    ask_for(vm, LEASE_OP_ACQUIRE, done);
}

void
lease_ask(struct vm *vm, lease_acquired *done)
{
    ask_for(vm, LEASE_OP_ASK, done);
}

void
lease_hand_over(struct vm *vm, lease_acquired *done)
{
    ask_for(vm, LEASE_OP_HANDOVER, done);
}

void
lease_answer_pull(struct vm *vm)
{
    struct request *r = vm->hostd->enroll ? new_request(vm->hostd) : NULL;

    if (r) {
        add_vm(r, vm);
        r->job.report.pull = vm->pull;
        r->job.urgent = true;
        enroll_thread_submit(vm->hostd->enroll, &r->job);
    }
    vm->pull = 0;
}

void
lease_answer_unknown(struct hostd *hostd, const struct vm_uuid *uuid, uint64_t pull)
{
    struct request *r = hostd->enroll ? new_request(hostd) : NULL;

    if (!r)
        return;
    r->job.report.vms[0] = (struct lease_report_vm){ .uuid = *uuid, .view = VIEW_OFF };
    r->job.report.n_vms = 1;
    r->job.report.pull = pull;
    r->job.urgent = true;
    enroll_thread_submit(hostd->enroll, &r->job);
}

/*
 * Sixteen ends that nobody has heard: a long time without service.  Equal ones
 * say nothing new; otherwise the last becomes doubt, which is never wrong.
 */
static void
append_end(struct vm_record *r, struct lease_end end)
{
    struct lease_end *last = r->n_ends ? &r->ends[r->n_ends - 1] : NULL;

    if (last && last->view == end.view && last->e == end.e && end.e == 0) {
        last->seq = end.seq;
    } else if (r->n_ends < LEASE_ENDS_MAX) {
        r->ends[r->n_ends++] = end;
    } else {
        end.view = VIEW_GU;
        *last = end;
    }
}

void
lease_end(struct vm *vm, enum lease_view view)
{
    struct lease_end end = { .view = view, .e = vm->record.e };
    struct error err;

    if (journal_next_seq(vm->hostd->journal, &end.seq, &err) < 0) {
        log_error(&err, "ending");
        vm->hostd->journal_failed = true;
        event_base_loopbreak(vm->hostd->base);
        return;
    }
    /* A run that nobody was told of has no end to tell. */
    if (!vm_is_observed(vm))
        append_end(&vm->record, end);
    vm->generation++;
    vm->lease_until_ms = 0;
    vm->record.e = vm->record.run_e = 0;
    vm->record.run[0] = '\0';
    vm->record.run_k = vm->record.run_resumed = vm->record.run_switched = vm->record.run_left = false;
    vm_save(vm);
    log_notice("event=end vm=%s view=%s epoch=%llu", vm->record.name, lease_view_name(view),
               (unsigned long long)end.e);
    lease_report_soon(vm);
}

static bool
wants_report(const struct vm *vm)
{
    if (vm->n_requests > 0) /* its answer may be the epoch that this one would ask for */
        return false;
    if (!vm->record.managed) /* disabled: what ended with that is said, and no more */
        return vm->record.n_ends > 0;
    /* One that is observed says "not here": the answer tells when that is over, or begins again. */
    return vm->record.known || vm->record.n_ends > 0 || vm->record.e != 0 || vm->active || vm_is_observed(vm) ||
           vm->record.mode != MODE_OF_HOST;
}

/* One request of up to LEASE_VMS_MAX VMs that have not been in one of this round. */
static bool
submit_some(struct hostd *hostd, bool only_dirty)
{
    struct request *r = new_request(hostd);

    if (!r)
        return false;
    for (struct vm *vm = hostd->vms; vm && r->job.report.n_vms < LEASE_VMS_MAX; vm = vm->next) {
        if (wants_report(vm) && (vm->dirty || !only_dirty))
            add_vm(r, vm);
    }
    enroll_thread_submit(hostd->enroll, &r->job);
    return true;
}

static bool
is_left(const struct hostd *hostd, bool only_dirty)
{
    for (const struct vm *vm = hostd->vms; vm; vm = vm->next) {
        if (wants_report(vm) && (vm->dirty || !only_dirty))
            return true;
    }
    return false;
}

void
lease_report_now(struct hostd *hostd)
{
    if (!hostd->enroll)
        return;
    while (is_left(hostd, true) && submit_some(hostd, true))
        ;
}

void
lease_report_soon(struct vm *vm)
{
    struct timeval soon = { .tv_usec = 10000 }; /* several changes of one moment travel together */

    vm->dirty = true;
    if (vm->hostd->report_soon && !evtimer_pending(vm->hostd->report_soon, NULL))
        evtimer_add(vm->hostd->report_soon, &soon);
}

void
lease_tick(struct hostd *hostd, int64_t now_ms)
{
    if (!hostd->enroll || now_ms < hostd->next_report_ms)
        return;
    hostd->next_report_ms = now_ms + REPORT_EVERY_SECONDS * 1000;
    /* An empty report tells that the service is there, and that we are. */
    while (submit_some(hostd, false) && is_left(hostd, false))
        ;
}
