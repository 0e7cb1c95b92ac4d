#include "config.h"

#include "tpmsim/sim_host.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "lib/crypto/random.h"
#include "lib/wire/problem.h"
#include "plugin/enroll/enroll_thread.h"
#include "tpmsim/sim_join.h"
#include "tpmsim/sim_loop.h"

enum {
    PATH_ROOM = 128,
    REPORT_EVERY_SECONDS = 15,
    LEASE_MS = 60000,
    ASK_MS = 5000,
    AGAIN_MS = 500,
    END_MS = 3000,
};

struct sim_host {
    char folder[PATH_ROOM];
    struct host_identity *identity;
    struct host_channel_identity channel;
    struct enroll *enroll; /* for what the caller waits for anyway */
    struct enroll_thread *reporter;
    int done_jobs[2];      /* pipe: pointers of finished jobs */
    struct sim_loop *loop; /* borrowed */
    struct event *job_event, *tick;
    struct sim_lease *leases;
    char boot[VM_UUID_TEXT];
    uint64_t seq;
    bool renewing, told_down, fetching;
    int64_t tokens_since_ms; /* the revocation that guests were told of */
};

/* The job comes first, so that the thread's pointer is ours. */
struct errand {
    struct enroll_job job;
    struct sim_host *host;
    bool waited_for, done; /* somebody waits and frees it */
    bool for_guest;        /* a bundle for the agent of this VM, not for us */
};

/* ---- who we are ---- */

static int
load_identity(struct sim_host *host, struct error *err)
{
    struct host_identity *identity;
    struct enroll *enroll;

    if (host_identity_upgrade(host->folder, err) < 0 || host_identity_load(host->folder, &identity, err) < 0)
        return -1;
    if (enroll_new(identity, &enroll, err) < 0) {
        host_identity_free(identity);
        return -1;
    }
    enroll_free(host->enroll);
    host_identity_free(host->identity);
    host->enroll = enroll;
    host->identity = identity;
    host->channel.issuer = identity->issuer;
    host->channel.host = identity->name;
    host->channel.proof_key = identity->proof_key;
    host->channel.bundle = identity->bundle.data;
    host->channel.bundle_len = identity->bundle.len;
    host->channel.bundle_serial = identity->trust.serial;
    return 0;
}

static int
join_and_load(struct sim_host *host, const char *name, int64_t deadline_ms,
              struct error *err)
{
    return sim_join(host->folder, name, deadline_ms, err) < 0 ? -1 : load_identity(host, err);
}

/* What repairs it: the same host name and folder with another code, so that the VM stays
 * the same. */
static int
advise_join(const struct sim_host *host, struct error *err)
{
    const char *name = host->identity->name;
    struct error why;

    if (!host_identity_has_ended(host->identity, clock_realtime_ms() / 1000, &why))
        return 0;
    return error_set(err, ERROR_DENIED,
                     "%s: \"virtid host add %s\", and begin with --host %s and that "
                     "code on standard input",
                     why.text, name, name);
}

/* What a failed report says, and what repairs it. */
static void
explain(const struct sim_host *host, struct error *why)
{
    const char *name = host->identity->name;

    if (advise_join(host, why) == 0 && strcmp(why->problem, "server-untrusted") == 0)
        (void)error_set(why, ERROR_DENIED,
                        "%s: if its CA was rotated while this host was off: \"virtid host remove %s\" and \"virtid "
                        "host add %s\", remove %s, and begin with --host %s and that code on standard input",
                        problem_find(why->problem)->title, name, name, host->folder, name);
}

static int
be_somebody(struct sim_host *host, const char *name, int64_t deadline_ms,
            struct error *err)
{
    struct error why;

    if (load_identity(host, err) < 0 &&
        (err->code != ERROR_MISSING || join_and_load(host, name, deadline_ms, err) < 0))
        return -1;
    if (name && strcmp(name, host->identity->name) != 0)
        return error_set(err, ERROR_INPUT, "%s joined as \"%s\", not as \"%s\"",
                         host->folder, host->identity->name, name);
    if (name && host_identity_has_ended(host->identity, clock_realtime_ms() / 1000, &why) &&
        join_and_load(host, name, deadline_ms, err) < 0)
        return error_wrap(err, "%s", why.text);
    if (advise_join(host, err) < 0)
        return -1;
    return host_channel_resolve(host->identity->guest_listener, &host->channel.service,
                                &host->channel.service_len, err);
}

/* ---- reports ---- */

/* On the reporter's thread; the write is atomic, and the loop reads it whole. */
static void
job_is_done(struct enroll_job *take_job)
{
    struct errand *errand = (struct errand *)take_job;
    struct error ignored;

    (void)fd_write_all(errand->host->done_jobs[1], &errand, sizeof errand, &ignored);
}

static struct errand *
new_errand(struct sim_host *host, enum enroll_job_kind kind)
{
    struct errand *errand = calloc(1, sizeof *errand);

    if (!errand)
        return NULL;
    errand->host = host;
    errand->job.kind = kind;
    errand->job.timeout_ms = ASK_MS;
    errand->job.done = job_is_done;
    snprintf(errand->job.report.host, sizeof errand->job.report.host, "%s",
             host->identity->name);
    memcpy(errand->job.report.boot, host->boot, sizeof host->boot);
    errand->job.report.seq = ++host->seq;
    return errand;
}

static struct lease_report_vm *
add_lease(struct errand *errand, const struct sim_lease *lease, enum lease_view view)
{
    struct lease_report_vm *vm = &errand->job.report.vms[errand->job.report.n_vms++];

    vm->uuid = lease->uuid;
    vm->view = view;
    vm->e = view == VIEW_OFF ? 0 : lease->epoch;
    return vm;
}

static struct sim_lease *
find_lease(struct sim_host *host, const struct vm_uuid *uuid)
{
    for (struct sim_lease *lease = host->leases; lease; lease = lease->next) {
        if (vm_uuid_equal(&lease->uuid, uuid))
            return lease;
    }
    return NULL;
}

static void
take_result(struct sim_host *host, const struct lease_result *result, int64_t sent_ms)
{
    struct sim_lease *lease = find_lease(host, &result->uuid);
    char uuid[VM_UUID_TEXT];
    bool lapsed;

    if (!lease)
        return;
    vm_uuid_print(&lease->uuid, uuid);
    if (result->answer != LEASE_OK) {
        if (result->answer != LEASE_GRACE && result->answer != LEASE_ACK)
            log_warning("event=lease-refused uuid=%s answer=%s", uuid,
                        lease_answer_name(result->answer));
        return;
    }
    lapsed = clock_monotonic_ms() >= lease->until_ms;
    lease->until_ms = sent_ms + LEASE_MS;
    if (result->e == lease->epoch && !lapsed)
        return;
    lease->epoch = result->e;
    log_notice("event=lease uuid=%s epoch=%llu", uuid,
               (unsigned long long)lease->epoch);
    if (lease->renewed)
        lease->renewed(lease->context);
}

static void
tell_stale(struct sim_host *host, int64_t since_ms)
{
    host->tokens_since_ms = since_ms;
    for (struct sim_lease *lease = host->leases; lease; lease = lease->next) {
        if (lease->stale)
            lease->stale(lease->context);
    }
}

static void
fetch_bundle(struct sim_host *host, const struct vm_uuid *for_guest, uint64_t after)
{
    struct errand *errand = for_guest || !host->fetching ? new_errand(host, ENROLL_JOB_BUNDLE) : NULL;

    if (!errand)
        return;
    errand->for_guest = for_guest != NULL;
    if (for_guest)
        errand->job.uuid = *for_guest;
    else
        host->fetching = true;
    errand->job.after = after;
    enroll_thread_submit(host->reporter, &errand->job);
}

void
sim_host_step_bundle(struct sim_host *host, const struct sim_lease *lease, uint64_t serial)
{
    fetch_bundle(host, &lease->uuid, serial);
}

static void
take_report(struct sim_host *host, const struct enroll_job *job)
{
    struct error why = job->error;

    if (job->failed < 0 && !host->told_down) {
        explain(host, &why);
        log_warning("event=service-down %s", why.text);
    }
    host->told_down = job->failed < 0;
    for (size_t i = 0; job->failed == 0 && i < job->n_results; i++)
        take_result(host, &job->results[i], job->sent_ms);
    if (job->bundle_serial != 0 && job->bundle_serial != host->identity->trust.serial)
        fetch_bundle(host, NULL, host->identity->trust.serial);
    if (job->tokens_since_ms != 0 && job->tokens_since_ms != host->tokens_since_ms)
        tell_stale(host, job->tokens_since_ms);
}

static void
report_all(struct sim_host *host)
{
    for (struct sim_lease *lease = host->leases; lease;) {
        struct errand *errand = new_errand(host, ENROLL_JOB_REPORT);

        if (!errand)
            return;
        for (; lease && errand->job.report.n_vms < LEASE_VMS_MAX; lease = lease->next)
            add_lease(errand, lease, VIEW_RUN);
        enroll_thread_submit(host->reporter, &errand->job);
    }
}

static void
take_renewal(struct sim_host *host, const struct enroll_job *job)
{
    struct error err = job->error;

    host->renewing = false;
    if (job->failed < 0 || load_identity(host, &err) < 0) {
        log_error(&err, "this host's certificates are not renewed yet");
        return;
    }
    log_notice("event=certificates-renewed");
    report_all(host); /* the old ones retire when these are used */
    for (struct sim_lease *lease = host->leases; lease; lease = lease->next) {
        if (lease->renewed)
            lease->renewed(lease->context);
    }
}

static void
take_bundle(struct sim_host *host, const struct enroll_job *job)
{
    uint64_t serial, held = host->identity->trust.serial;
    struct error err = job->error;

    host->fetching = false;
    if (job->failed < 0 ||
        host_identity_take_bundle(host->folder, host->identity, job->bundle, job->bundle_len, &serial, &err) < 0 ||
        (serial != held && load_identity(host, &err) < 0)) {
        log_error(&err, "the service's trust bundle is not taken");
        return;
    }
    if (serial == held)
        return;
    log_notice("event=bundle serial=%llu", (unsigned long long)serial);
    for (struct sim_lease *lease = host->leases; lease; lease = lease->next) {
        if (lease->offer)
            lease->offer(lease->context, NULL, 0);
    }
    report_all(host); /* the service waits to hear of it */
}

static void
take_step(struct sim_host *host, const struct enroll_job *job)
{
    const struct sim_lease *lease = find_lease(host, &job->uuid);

    if (job->failed < 0)
        log_error(&job->error, "no bundle for a guest that was off for long");
    else if (lease && lease->offer)
        lease->offer(lease->context, job->bundle, job->bundle_len);
}

static void
on_job(evutil_socket_t fd, short what, void *context)
{
    struct sim_host *host = context;
    struct errand *errand;
    struct error err;

    (void)what;
    if (fd_read_all(fd, &errand, sizeof errand, &err) < 0)
        return;
    errand->done = true;
    if (errand->waited_for)
        return;
    if (errand->job.kind == ENROLL_JOB_RENEW)
        take_renewal(host, &errand->job);
    else if (errand->job.kind == ENROLL_JOB_BUNDLE && errand->for_guest)
        take_step(host, &errand->job);
    else if (errand->job.kind == ENROLL_JOB_BUNDLE)
        take_bundle(host, &errand->job);
    else
        take_report(host, &errand->job);
    free(errand);
}

static void
on_tick(evutil_socket_t fd, short what, void *context)
{
    struct sim_host *host = context;
    const struct host_identity *id = host->identity;
    struct errand *errand;

    (void)fd;
    (void)what;
    report_all(host);
    if (host->renewing || clock_realtime_ms() / 1000 <
                              id->not_before + (id->not_after - id->not_before) / 2)
        return;
    errand = new_errand(host, ENROLL_JOB_RENEW);
    if (!errand)
        return;
    host->renewing = true;
    enroll_thread_submit(host->reporter, &errand->job);
}

/* ---- acquire and end ---- */

/* 0: done, *ret_again: ask again later. */
static int
judge_acquire(const struct sim_host *host, struct sim_lease *lease, const struct enroll_job *job, bool *ret_again,
              struct error *err)
{
    const struct lease_result *result = job->n_results ? &job->results[0] : NULL;

    *ret_again = false;
    if (job->failed < 0) {
        *err = job->error;
        explain(host, err);
        *ret_again = err->code == ERROR_BUSY || err->code == ERROR_SYSTEM;
        return -1;
    }
    if (result && result->answer == LEASE_OK) {
        lease->epoch = result->e;
        lease->until_ms = job->sent_ms + LEASE_MS;
        return 0;
    }
    if (result && (result->answer == LEASE_FOREIGN || result->answer == LEASE_MOVING))
        return error_problem(
            err, ERROR_DENIED, "foreign",
            "%s has the lease (%lld s left); if that is over: virtid place",
            result->holder[0] ? result->holder : "another host",
            (long long)result->seconds_left);
    if (result && result->answer == LEASE_RETIRED)
        return error_problem(err, ERROR_DENIED, "retired",
                             "the identity was retired: virtid place --reincarnate begins a new one");
    *ret_again = result && result->answer == LEASE_GRACE;
    return error_set(err, ERROR_BUSY, "the token service answered \"%s\"",
                     result ? lease_answer_name(result->answer) : "nothing");
}

static int
ask_for_lease(struct sim_host *host, struct sim_lease *lease, bool *ret_again,
              struct error *err)
{
    struct errand *errand = new_errand(host, ENROLL_JOB_REPORT);
    int failed;

    *ret_again = false;
    if (!errand)
        return error_sys(err, ENOMEM, "lease");
    errand->job.report.op = LEASE_OP_ACQUIRE;
    errand->job.urgent = errand->waited_for = true;
    add_lease(errand, lease, VIEW_RUN);
    enroll_thread_submit(host->reporter, &errand->job);
    /* The job's own limit ends it: until then it is the thread's. */
    (void)sim_loop_finish(host->loop, &errand->done, err);
    failed = judge_acquire(host, lease, &errand->job, ret_again, err);
    free(errand);
    return failed;
}

int
sim_host_acquire(struct sim_host *host, const struct vm_uuid *uuid, int64_t deadline_ms,
                 struct sim_lease **ret, struct error *err)
{
    static const bool never = false;
    CLEANUP(mem_free) struct sim_lease *lease = calloc(1, sizeof *lease);
    struct error why;
    bool again;

    if (!lease)
        return error_sys(err, ENOMEM, "lease");
    lease->uuid = *uuid;
    while (ask_for_lease(host, lease, &again, err) < 0) {
        int64_t now = clock_monotonic_ms();

        if (!again || now + AGAIN_MS >= deadline_ms)
            return -1;
        /* A pause, unless something ends it. */
        if (sim_loop_wait(host->loop, &never, now + AGAIN_MS, &why) < 0 &&
            clock_monotonic_ms() < now + AGAIN_MS)
            return -1;
    }
    lease->next = host->leases;
    host->leases = lease;
    *ret = STEAL(lease);
    return 0;
}

static void
end_leases(struct sim_host *host)
{
    while (host->leases) {
        struct errand *errand = new_errand(host, ENROLL_JOB_REPORT);
        struct error err;

        if (!errand)
            return;
        errand->waited_for = errand->job.urgent = true;
        errand->job.timeout_ms = END_MS;
        while (host->leases && errand->job.report.n_vms < LEASE_VMS_MAX) {
            struct sim_lease *lease = host->leases;
            struct lease_report_vm *vm = add_lease(errand, lease, VIEW_OFF);

            vm->ends[vm->n_ends++] = (struct lease_end){
                .view = VIEW_GO, .e = lease->epoch, .seq = errand->job.report.seq
            };
            host->leases = lease->next;
            free(lease);
        }
        errand->job.report.seq = ++host->seq; /* above its ends */
        enroll_thread_submit(host->reporter, &errand->job);
        (void)sim_loop_finish(host->loop, &errand->done, &err);
        if (errand->job.failed < 0)
            log_warning("event=end-unheard %s", errand->job.error.text);
        free(errand);
    }
}

/* ---- open and close ---- */

static int
join_loop(struct sim_host *host, struct error *err)
{
    struct event_base *base = sim_loop_base(host->loop);
    struct timeval period = { .tv_sec = REPORT_EVERY_SECONDS };

    if (pipe2(host->done_jobs, O_CLOEXEC) < 0) {
        host->done_jobs[0] = host->done_jobs[1] = -1;
        return error_sys(err, errno, "pipe");
    }
    host->job_event =
        event_new(base, host->done_jobs[0], EV_READ | EV_PERSIST, on_job, host);
    host->tick = event_new(base, -1, EV_PERSIST, on_tick, host);
    if (!host->job_event || !host->tick || event_add(host->job_event, NULL) < 0 ||
        event_add(host->tick, &period) < 0)
        return error_set(err, ERROR_SYSTEM, "event loop");
    return 0;
}

static int
name_this_boot(struct sim_host *host, struct error *err)
{
    struct vm_uuid boot;

    if (random_bytes(boot.bytes, sizeof boot.bytes, err) < 0)
        return -1;
    boot.bytes[6] = (boot.bytes[6] & 0x0f) | 0x40; /* RFC 9562, 5.4 */
    boot.bytes[8] = (boot.bytes[8] & 0x3f) | 0x80;
    vm_uuid_print(&boot, host->boot);
    return 0;
}

int
sim_host_open(struct sim_loop *loop, const char *folder, const char *name,
              int64_t deadline_ms, struct sim_host **ret, struct error *err)
{
    CLEANUP(sim_host_close) struct sim_host *host = calloc(1, sizeof *host);

    if (!host)
        return error_sys(err, ENOMEM, "host");
    host->loop = loop;
    host->done_jobs[0] = host->done_jobs[1] = -1;
    if ((size_t)snprintf(host->folder, sizeof host->folder, "%s/host", folder) >=
        sizeof host->folder)
        return error_set(err, ERROR_INPUT, "%s is too long", folder);
    if (dir_make(host->folder, 0700, err) < 0 || name_this_boot(host, err) < 0 ||
        be_somebody(host, name, deadline_ms, err) < 0 || join_loop(host, err) < 0 ||
        enroll_thread_start(host->folder, &host->reporter, err) < 0)
        return -1;
    *ret = STEAL(host);
    return 0;
}

static bool
is_readable(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };

    return poll(&p, 1, 0) == 1;
}

void
sim_host_close(struct sim_host *host)
{
    if (!host)
        return;
    if (host->reporter)
        end_leases(host);
    enroll_thread_stop(host->reporter);
    if (host->job_event) {
        /* What was answered while we ended. */
        while (event_base_loop(sim_loop_base(host->loop), EVLOOP_NONBLOCK) == 0 &&
               is_readable(host->done_jobs[0]))
            ;
        event_free(host->job_event);
    }
    if (host->tick)
        event_free(host->tick);
    fd_close(host->done_jobs[0]);
    fd_close(host->done_jobs[1]);
    enroll_free(host->enroll);
    host_identity_free(host->identity);
    free(host);
}

struct sim_loop *
sim_host_loop(struct sim_host *host)
{
    return host->loop;
}

const struct host_channel_identity *
sim_host_identity(struct sim_host *host)
{
    return &host->channel;
}

struct enroll *
sim_host_enroll(struct sim_host *host)
{
    return host->enroll;
}
