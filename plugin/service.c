#include "config.h"

#include "plugin/service.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/log.h"
#include "lib/wire/bundle.h"
#include "lib/wire/problem.h"
#include "plugin/channels.h"
#include "plugin/lease.h"
#include "plugin/vms.h"

enum {
    BUNDLE_EVERY_MS = 3600 * 1000,
    RENEW_RETRY_MS = 60 * 1000,
    RESOLVE_EVERY_MS = 300 * 1000,
    RESOLVE_RETRY_MS = 5 * 1000,
    ASK_EVERY_MS = 5 * 1000, /* a guest that says something new all the time costs no more */
    ASKS_MAX = 2, /* at once: guests never delay this host's renewals */
    SERVICE_STEPS_MAX = 32,
    CLOCK_OFF_S = 5, /* a nonce is good for 30 s, a token from the second it is made */
};

/* ---- address of the guest listener ---- */

struct resolving {
    struct hostd *hostd;
    char guest_listener[HOST_ADDRESS_MAX + 1];
    struct sockaddr_storage address;
    socklen_t len;
};

static void
resolved(void *context)
{
    struct resolving *r = context;
    struct hostd *hostd = r->hostd;

    hostd->resolving = false;
    hostd->next_resolve_ms = clock_monotonic_ms() + (r->len ? RESOLVE_EVERY_MS : RESOLVE_RETRY_MS);
    if (r->len) { /* an old address is better than none */
        hostd->channel_identity.service = r->address;
        hostd->channel_identity.service_len = r->len;
    }
    free(r);
}

static void *
resolve(void *context)
{
    struct resolving *r = context;
    struct error err;

    if (host_channel_resolve(r->guest_listener, &r->address, &r->len, &err) < 0)
        r->len = 0;
    mailbox_post(r->hostd->mailbox, resolved, r);
    return NULL;
}

static void
begin_resolve(struct hostd *hostd)
{
    struct resolving *r = calloc(1, sizeof *r);
    pthread_t thread;

    if (!r)
        return;
    r->hostd = hostd;
    memcpy(r->guest_listener, hostd->identity->guest_listener, sizeof r->guest_listener);
    hostd->resolving = true;
    if (pthread_create(&thread, NULL, resolve, r) == 0) {
        pthread_detach(thread);
        return;
    }
    hostd->resolving = false;
    free(r);
}

/* ---- who we are ---- */

static void
use_identity(struct hostd *hostd, struct host_identity *take_identity)
{
    struct host_channel_identity *c = &hostd->channel_identity;

    host_identity_free(hostd->identity);
    hostd->identity = take_identity;
    c->issuer = take_identity->issuer;
    c->host = take_identity->name;
    c->proof_key = take_identity->proof_key;
    c->bundle = take_identity->bundle.data;
    c->bundle_len = take_identity->bundle.len;
    c->bundle_serial = take_identity->trust.serial;
    hostd->next_resolve_ms = 0;
}

static void
load_identity(struct hostd *hostd)
{
    struct host_identity *identity;
    struct error err;

    if (host_identity_load(hostd->settings.state_dir, &identity, &err) == 0)
        use_identity(hostd, identity);
    else if (err.code != ERROR_MISSING)
        log_error(&err, "this host's identity");
}

/* ---- the service asks ---- */

struct pulled {
    struct hostd *hostd;
    struct lease_pull pull;
};

/* libvirt is looked at first: a job that began a moment ago has told nobody. */
static void
answer_pull(void *context)
{
    struct pulled *p = context;

    for (size_t i = 0; i < p->pull.n; i++) {
        struct vm *vm = vms_find(p->hostd, &p->pull.uuids[i]);

        if (!vm || !vm->record.managed) {
            lease_answer_unknown(p->hostd, &p->pull.uuids[i], p->pull.pull);
            continue;
        }
        vm->pull = p->pull.pull;
        vm->pull_look = libvirt_watch_look(p->hostd->watch, &vm->record.uuid);
    }
    free(p);
}

static void
take_pull(void *context, const struct lease_pull *pull)
{
    struct hostd *hostd = context;
    struct pulled *p = malloc(sizeof *p);

    if (!p) /* a hand-over goes on without an answer */
        return;
    *p = (struct pulled){ hostd, *pull };
    mailbox_post(hostd->mailbox, answer_pull, p);
}

static void
say_joined(const struct hostd *hostd)
{
    log_notice("event=joined host=%s service=%s", hostd->identity->name, hostd->identity->service);
}

static void
join_service(struct hostd *hostd)
{
    struct error err;

    load_identity(hostd);
    if (!hostd->identity)
        return;
    if (enroll_thread_start(hostd->settings.state_dir, &hostd->enroll, &err) < 0) {
        log_error(&err, "no token service");
        return;
    }
    if (pull_thread_start(hostd->settings.state_dir, take_pull, hostd, &hostd->pulls, &err) < 0)
        log_error(&err, "no hand-over of leases: the service can not ask");
    say_joined(hostd);
}

/* `virtid-hostd join` was run beside us; the enroll thread sees it by itself. */
static void
look_for_join(struct hostd *hostd)
{
    if (hostd->renewing || !host_identity_is_old(hostd->settings.state_dir, hostd->identity))
        return;
    load_identity(hostd);
    say_joined(hostd);
    hostd->next_report_ms = hostd->next_bundle_ms = 0;
    channels_hello_all(hostd);
}

const char *
service_repair(const struct hostd *hostd)
{
    const struct problem *problem = hostd->service_problem_name[0] ? problem_find(hostd->service_problem_name) : NULL;

    if (hostd->must_join)
        return "virtid host add NAME, then virtid-hostd join";
    return problem && problem->repair ? problem->repair : "see that virtid-tokend runs and is reachable";
}

/* ---- the time ---- */

/* By the service's clock, if it is known to differ: its certificates are dated by that. */
static int64_t
service_now_s(const struct hostd *hostd)
{
    return (clock_realtime_ms() + hostd->channel_identity.clock_ahead_ms) / 1000;
}

void
service_take_clock(struct hostd *hostd, int64_t ahead_ms)
{
    long long off = (ahead_ms < 0 ? -ahead_ms : ahead_ms) / 1000;
    bool differed = hostd->channel_identity.clock_ahead_ms != 0;
    bool differs = off >= (differed ? CLOCK_OFF_S - 1 : CLOCK_OFF_S); /* at the edge it is said once */

    hostd->has_clock = true;
    hostd->clock_ahead_ms = ahead_ms;
    hostd->channel_identity.clock_ahead_ms = differs ? ahead_ms : 0;
    if (differs == differed)
        return;
    if (differs)
        log_warning("event=clock state=off the clock of this host is %lld s %s that of the token service; set the wrong "
                    "one: systemctl enable --now systemd-timesyncd (or chrony)", off, ahead_ms > 0 ? "behind" : "ahead of");
    else
        log_notice("event=clock state=right it agrees with that of the token service");
    channels_hello_all(hostd); /* guests go by the time that we tell them */
}

void
service_explain(struct hostd *hostd, struct error *why)
{
    const char *name = hostd->identity->name;
    struct error end;

    /* A server whose certificate does not fit says nothing of ours; the clock may be what is wrong. */
    hostd->must_join = strncmp(why->problem, "server-", 7) != 0 &&
                       host_identity_has_ended(hostd->identity, service_now_s(hostd), &end);
    if (hostd->must_join) {
        *why = end;
    } else if (strncmp(why->problem, "server-", 7) == 0 || strncmp(why->problem, "client-", 7) == 0) {
        error_wrap(why, "%s", problem_find(why->problem)->title); /* OpenSSL's own words are no help alone */
    } else if (strcmp(why->problem, "refused") == 0) {
        hostd->must_join = hostd->dismissed = true;
        error_set(why, ERROR_DENIED, "the token service takes the certificate of host %s no more: the host was "
                  "removed, or locked because of a copy of its keys", name);
    }
    if (hostd->must_join && !hostd->told_end)
        log_warning("event=certificates-refused host=%s %s; \"virtid host add %s\" at the service, then "
                    "\"virtid-hostd join\" here", name, why->text, name);
    hostd->told_end = hostd->must_join;
}

/* ---- certificates and bundle ---- */

struct errand {
    struct enroll_job job;
    struct hostd *hostd;
};

static void
take_bundle(struct hostd *hostd, const struct enroll_job *job)
{
    uint64_t serial, held = hostd->identity->trust.serial;
    struct error err;

    if (host_identity_take_bundle(hostd->settings.state_dir, hostd->identity, job->bundle, job->bundle_len, &serial,
                                  &err) < 0) {
        log_error(&err, "the service's trust bundle is not taken");
        return;
    }
    if (serial == held)
        return;
    hostd->told_serial = 0; /* it may have been a step */
    load_identity(hostd);
    log_notice("event=bundle serial=%llu", (unsigned long long)serial);
    channels_hello_all(hostd);
    hostd->next_report_ms = 0; /* the service waits to hear of it */
}

static void
errand_done(void *context)
{
    struct errand *e = context;
    struct hostd *hostd = e->hostd;
    int64_t now = clock_monotonic_ms();

    if (e->job.kind == ENROLL_JOB_BUNDLE) {
        hostd->next_bundle_ms = now + (e->job.failed == 0 ? BUNDLE_EVERY_MS : RENEW_RETRY_MS);
        if (e->job.failed == 0)
            take_bundle(hostd, &e->job);
    } else {
        hostd->renewing = false;
        hostd->next_renew_ms = now + RENEW_RETRY_MS;
        if (e->job.failed < 0)
            log_error(&e->job.error, "this host's certificates are not renewed yet");
        else {
            load_identity(hostd);
            log_notice("event=certificates-renewed");
            hostd->next_report_ms = 0; /* the old ones retire when these are used */
            channels_hello_all(hostd);
        }
    }
    free(e);
}

static void
errand_ran(struct enroll_job *take_job)
{
    struct errand *e = (struct errand *)take_job;

    mailbox_post(e->hostd->mailbox, errand_done, e);
}

static void
send_errand(struct hostd *hostd, enum enroll_job_kind kind)
{
    struct errand *e = calloc(1, sizeof *e);

    if (!e)
        return;
    e->hostd = hostd;
    e->job.kind = kind;
    e->job.after = hostd->identity->trust.serial;
    e->job.done = errand_ran;
    enroll_thread_submit(hostd->enroll, &e->job);
}

/* ---- what the service knows of a VM ---- */

struct question {
    struct enroll_job job;
    struct vm *vm;
};

static void
take_vm(struct vm *vm, const json_t *known)
{
    const char *state;
    const json_t *steps;
    struct error err;

    if (json_get_string(known, "state", false, RECORD_WORD_MAX, &state, &err) == 0 &&
        vm_is_enrolled(vm)) {
        snprintf(vm->record.account, sizeof vm->record.account, "%s", state);
        snprintf(vm->record.steps[STEP_ACCOUNT].text, sizeof vm->record.steps[STEP_ACCOUNT].text, "%s", state);
        vm_save(vm);
    }
    if (json_get_array(known, "steps", false, SERVICE_STEPS_MAX, &steps, &err) < 0)
        return;
    json_decref(vm->service_steps);
    vm->service_steps = json_deep_copy(steps);
}

static void
vm_answered(void *context)
{
    struct question *q = context;

    q->vm->asking = false;
    q->vm->hostd->asks--;
    if (q->job.failed == 0)
        take_vm(q->vm, q->job.vm);
    json_decref(q->job.vm);
    free(q);
}

static void
vm_was_asked(struct enroll_job *take_job)
{
    struct question *q = (struct question *)take_job;

    mailbox_post(q->vm->hostd->mailbox, vm_answered, q);
}

void
service_ask_vm(struct vm *vm)
{
    int64_t now = clock_monotonic_ms();
    struct question *q;

    if (!vm->hostd->enroll || !vm->hostd->service_up || vm->asking || now < vm->next_ask_ms ||
        vm->hostd->asks >= ASKS_MAX)
        return;
    q = calloc(1, sizeof *q);
    if (!q)
        return;
    q->vm = vm;
    q->job.kind = ENROLL_JOB_VM;
    q->job.uuid = vm->record.uuid;
    q->job.done = vm_was_asked;
    vm->asking = true;
    vm->hostd->asks++;
    vm->next_ask_ms = now + ASK_EVERY_MS;
    enroll_thread_submit(vm->hostd->enroll, &q->job);
}

/* ---- bundles ---- */

static void
stepped(void *context)
{
    struct errand *e = context;
    struct vm *vm = vms_find(e->hostd, &e->job.uuid);

    if (vm)
        vm->stepping = false;
    if (e->job.failed < 0)
        log_error(&e->job.error, "no bundle for a guest that was off for long");
    else if (vm && vm->channel)
        host_channel_offer(vm->channel, e->job.bundle, e->job.bundle_len);
    free(e);
}

static void
step_ran(struct enroll_job *take_job)
{
    struct errand *e = (struct errand *)take_job;

    mailbox_post(e->hostd->mailbox, stepped, e);
}

void
service_step_bundle(struct vm *vm, uint64_t serial)
{
    struct errand *e = vm->hostd->enroll && !vm->stepping ? calloc(1, sizeof *e) : NULL;

    if (!e)
        return;
    vm->stepping = true;
    e->hostd = vm->hostd;
    e->job.kind = ENROLL_JOB_BUNDLE;
    e->job.uuid = vm->record.uuid;
    e->job.after = serial;
    e->job.done = step_ran;
    enroll_thread_submit(vm->hostd->enroll, &e->job);
}

void
service_take_bundle_serial(struct hostd *hostd, uint64_t serial)
{
    /* One errand at a time: a report may be answered meanwhile, or the bundle be none that we may take. */
    if (serial == 0 || serial == hostd->told_serial || serial == hostd->identity->trust.serial)
        return;
    hostd->told_serial = serial;
    hostd->next_bundle_ms = 0;
}

static bool
is_half_over(const struct hostd *hostd)
{
    const struct host_identity *id = hostd->identity;

    return service_now_s(hostd) > id->not_before + (id->not_after - id->not_before) / 2;
}

void
service_tick(struct hostd *hostd, int64_t now_ms)
{
    if (!hostd->enroll)
        join_service(hostd);
    if (!hostd->enroll)
        return;
    look_for_join(hostd);
    if (!hostd->resolving && now_ms >= hostd->next_resolve_ms)
        begin_resolve(hostd);
    if (!hostd->service_up)
        return;
    if (!hostd->renewing && now_ms >= hostd->next_renew_ms && is_half_over(hostd)) {
        hostd->renewing = true;
        send_errand(hostd, ENROLL_JOB_RENEW);
    }
    if (now_ms >= hostd->next_bundle_ms) {
        hostd->next_bundle_ms = now_ms + BUNDLE_EVERY_MS;
        send_errand(hostd, ENROLL_JOB_BUNDLE);
    }
    channels_look(hostd);
}

void
service_close(struct hostd *hostd)
{
    pull_thread_stop(hostd->pulls);
    hostd->pulls = NULL;
    enroll_thread_stop(hostd->enroll);
    hostd->enroll = NULL;
    host_identity_free(hostd->identity);
    hostd->identity = NULL;
}
