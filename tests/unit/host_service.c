#include "config.h"

#include "tests/unit/host_service.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plugin/lease.h"
#include "plugin/vms.h"
#include "tests/unit/host_libvirt.h"

enum { GRACE_MS = 60000, PULL_WAIT_MS = 1000 };

struct host_service the_service;

void
host_service_begin(void)
{
    struct host_service *s = &the_service;

    memset(s, 0, sizeof *s);
    lease_new(&s->lease);
    s->up = true;
    s->truth = s->last_prover = NOBODY;
}

struct lease_now
host_service_now(void)
{
    return (struct lease_now){ .now_ms = world_now_ms, .since_ms = the_service.since_ms, .grace = the_service.grace };
}

void
host_service_start(void)
{
    struct host_service *s = &the_service;

    s->up = s->grace = true;
    s->since_ms = world_now_ms;
    s->grace_until_ms = world_now_ms + GRACE_MS;
    memset(s->heard, 0, sizeof s->heard);
    memset(&s->pull, 0, sizeof s->pull);
}

void
host_service_look(void)
{
    struct host_service *s = &the_service;
    bool all = true;
    struct lease_now now;

    for (int i = 0; i < WORLD_HOSTS; i++)
        all = all && s->heard[i];
    if (!s->up || !s->grace || (!all && world_now_ms < s->grace_until_ms))
        return;
    s->grace = false;
    now = host_service_now();
    lease_rejoin(&s->lease, &now);
}

/* ---- ghosts ---- */

/* What the model notes in commit(), doubt() and other(); and what must hold of every step. */
static void
note_change(const struct lease_record *before, int host, bool restarts)
{
    struct host_service *s = &the_service;
    const struct lease_record *r = &s->lease;
    bool commits = r->st == LEASE_RUNS && r->ep != before->ep;

    assert_true(r->ver >= before->ver && r->ep >= before->ep);
    /* The end of a run that nobody had heard of claims it as well. */
    if (before->st == LEASE_FREE && before->hol[0] == '\0' && r->hol[0] && s->truth != host && s->truth != NOBODY)
        s->why |= WHY_FIRST;
    if (before->st == LEASE_FREE && before->hol[0] == '\0' && r->st == LEASE_FREE && r->hol[0] && s->truth == host &&
        machines[host].came_in) /* it was that of a run before, and the first of this one is unheard elsewhere */
        s->why |= WHY_FIRST;
    if (commits && restarts && before->st == LEASE_MOVE && before->out == LEASE_OUT_DBT && s->truth != host &&
        s->truth != NOBODY && !s->arriving[host])
        s->why |= WHY_DOUBT;
    for (size_t i = 0; commits && i < before->n_seen; i++) {
        const struct lease_seen_host *was = &before->seen[i];

        if (was->seen >= SEEN_RES && was->ce != 0 && was->ce < r->ep && s->truth == was->host[0] - 'a' &&
            lease_seen_of(r, was->host) != was->seen && strcmp(r->hol, was->host) != 0)
            s->why |= WHY_ORDER;
    }
    if (r->hol[0] && (commits || before->hol[0] == '\0') && s->truth == NOBODY)
        s->truth = r->hol[0] - 'a';
}

static void
note_old_word(int host, const struct lease_view_word *w)
{
    const struct lease_record *r = &the_service.lease;
    enum lease_seen seen = lease_seen_of(r, world_hosts[host].name);
    bool on = w->view == VIEW_RUN || w->view == VIEW_JOB;

    if (on && w->k && w->e != 0 && w->e < r->ep && seen != SEEN_INC && seen != SEEN_CPY && host == the_service.truth &&
        strcmp(r->hol, world_hosts[host].name) != 0)
        the_service.why |= WHY_ORDER;
}

/* ---- as api_report.c ---- */

static void
apply_word(int host, const struct lease_view_word *w, struct lease_word *ret)
{
    struct lease_record before = the_service.lease;
    struct lease_now now = host_service_now();

    note_old_word(host, w);
    lease_report(&the_service.lease, world_hosts[host].name, w, &now, ret);
    note_change(&before, host, !w->k);
}

static void
repeat_word(int host, const struct lease_report *report, struct lease_word *ret)
{
    const struct lease_record *r = &the_service.lease;
    enum lease_view view = report->vms[0].view;
    uint64_t candidate = lease_epoch_of(r, world_hosts[host].name);

    the_service.repeats++;
    *ret = (struct lease_word){ .answer = LEASE_ACK };
    if (view != VIEW_RUN && view != VIEW_JOB && view != VIEW_INC && report->op == LEASE_OP_REPORT)
        return;
    if (r->st == LEASE_RUNS && strcmp(r->hol, world_hosts[host].name) == 0)
        *ret = (struct lease_word){ .answer = LEASE_OK, .e = r->ep };
    else if (r->st == LEASE_MOVE && candidate != 0)
        *ret = (struct lease_word){ .answer = LEASE_CANDIDATE, .e = candidate };
    else
        ret->answer = r->st == LEASE_MOVE ? LEASE_MOVING : LEASE_FOREIGN;
}

static void
apply_all_ends(int host, const struct lease_report_vm *vm, struct lease_word *ret)
{
    uint64_t *ended = &the_service.seq[host].ended;

    for (size_t i = 0; i < vm->n_ends; i++) {
        struct lease_view_word w = { .view = vm->ends[i].view, .e = vm->ends[i].e };

        if (vm->ends[i].seq > *ended)
            apply_word(host, &w, ret);
    }
    if (vm->n_ends > 0 && vm->ends[vm->n_ends - 1].seq > *ended)
        *ended = vm->ends[vm->n_ends - 1].seq;
}

/* False: the source is asked first. */
static bool
apply_hand_over(int host, struct lease_word *ret)
{
    struct host_service *s = &the_service;
    struct lease_record before = s->lease;
    struct lease_now now = host_service_now();
    bool answered = true;

    if (!s->grace && lease_handover_asks(&s->lease, world_hosts[host].name, &now)) {
        if (!s->pull.asked) {
            s->pull.asker = host;
            s->pull.source = s->lease.hol[0] - 'a';
            s->pull.asked = true;
            s->pull.answered = s->pull.told = false;
            s->pull.number = ++s->last_pull;
            s->pull.until_ms = world_now_ms + PULL_WAIT_MS;
        }
        if (s->pull.asker == host && !s->pull.answered && world_now_ms < s->pull.until_ms)
            return false;
        answered = s->pull.asker == host && s->pull.answered;
    }
    if (s->pull.asker == host)
        s->pull.asked = false;
    lease_handover(&s->lease, world_hosts[host].name, answered, &now, ret);
    note_change(&before, host, false);
    return true;
}

static bool
judge_one(int host, const struct lease_report *report, struct lease_word *ret)
{
    struct host_service *s = &the_service;
    const struct lease_report_vm *vm = &report->vms[0];
    const struct lease_view_word w = { .view = vm->view, .k = vm->k, .e = vm->e, .kk = vm->kk };
    struct lease_record before;
    struct lease_now now = host_service_now();

    if (strcmp(s->seq[host].boot, report->boot) != 0) {
        s->seq[host].report = s->seq[host].ended = 0;
        memcpy(s->seq[host].boot, report->boot, sizeof report->boot);
    }
    if (!s->grace)
        apply_all_ends(host, vm, ret);
    if (report->seq <= s->seq[host].report) {
        repeat_word(host, report, ret);
    } else if (report->op == LEASE_OP_HANDOVER) {
        if (!apply_hand_over(host, ret))
            return false;
    } else if (report->op == LEASE_OP_ACQUIRE) {
        before = s->lease;
        lease_acquire(&s->lease, world_hosts[host].name, &now, ret);
        note_change(&before, host, true);
    } else {
        apply_word(host, &w, ret);
    }
    if (report->seq > s->seq[host].report)
        s->seq[host].report = report->seq;
    return true;
}

static void
answer_one(const struct lease_report *report, int host, const struct lease_word *word, struct lease_result *ret)
{
    const struct lease_record *r = &the_service.lease;
    struct lease_now now = host_service_now();

    *ret = (struct lease_result){ .uuid = report->vms[0].uuid, .answer = word->answer, .e = word->e, .nx = r->nx,
                                  .acked_seq = the_service.seq[host].ended };
    if (word->answer == LEASE_FOREIGN || word->answer == LEASE_MOVING) {
        memcpy(ret->holder, r->hol, sizeof ret->holder);
        ret->seconds_left = lease_seconds_left(r, &now);
    }
    the_service.answers[word->answer]++;
}

/* In the words of the wire, both ways. */
static bool
judge_all(int host, const struct lease_report *said, struct enroll_job *job)
{
    static struct lease_report report;
    static struct lease_result result;
    CLEANUP(buf_clear) struct buf text = BUF(JSON_TEXT_MAX), back = BUF(JSON_TEXT_MAX);
    struct lease_word word = { .answer = LEASE_ACK };
    struct lease_record before = the_service.lease;
    struct host_seq heard = the_service.seq[host];
    struct error err;

    if (lease_report_encode(said, &text, &err) < 0 ||
        lease_report_decode((const char *)text.data, text.len, &report, &err) < 0)
        fail_msg("%s", err.text);
    if (report.n_vms > 0 && !judge_one(host, &report, &word)) {
        the_service.lease = before; /* nothing is kept of this try */
        the_service.seq[host] = heard;
        return false;
    }
    if (report.n_vms > 0)
        answer_one(&report, host, &word, &result);
    if (the_service.pull.asked && the_service.pull.source == host && report.pull == the_service.pull.number)
        the_service.pull.answered = true;
    the_service.heard[host] = true;
    if (job && (lease_results_encode(&result, report.n_vms, &back, &err) < 0 ||
                lease_results_decode((const char *)back.data, back.len, job->results, LEASE_VMS_MAX, &job->n_results,
                                     &err) < 0))
        fail_msg("%s", err.text);
    return true;
}

static bool
is_on_its_way(int host, const struct enroll_job *job)
{
    return job && job->kind == ENROLL_JOB_REPORT && the_service.no_answer[host] == job->report.seq;
}

bool
host_service_take(int host, bool answered)
{
    struct enroll_job *job = world_job(&world_hosts[host]);

    host_service_look();
    if (!job || is_on_its_way(host, job))
        return true;
    /* A question for a fence: there is none, so nothing is known. */
    if (job->kind == ENROLL_JOB_REPORT && !judge_all(host, &job->report, job))
        return false;
    if (answered)
        world_job_done(&world_hosts[host]);
    else
        the_service.no_answer[host] = job->report.seq;
    return true;
}

void
host_service_lose(int host, bool late)
{
    struct enroll_job *job = world_job(&world_hosts[host]);

    if (!job || job->kind != ENROLL_JOB_REPORT || is_on_its_way(host, job))
        return;
    the_service.no_answer[host] = job->report.seq;
    if (late)
        the_service.late[host] = job->report;
}

void
host_service_take_late(int host)
{
    if (the_service.late[host].seq != 0)
        (void)judge_all(host, &the_service.late[host], NULL);
    the_service.late[host].seq = 0;
}

/* As service.c takes it. */
void
host_service_pull(void)
{
    struct host_service *s = &the_service;
    struct world_host *source = &world_hosts[s->pull.source];

    if (!s->pull.asked || s->pull.told || !source->up)
        return;
    s->pull.told = true;
    s->pulls++;
    source->vm->pull = s->pull.number;
    source->vm->pull_look = ++source->looks;
    source->look = source->moving = true;
}

/* ---- proofs ---- */

bool
host_service_prove(int host, bool copy)
{
    struct host_service *s = &the_service;
    struct lease_now now = host_service_now();
    struct lease_record before = s->lease;
    const char *reason, *prover;
    bool heard = world_hosts[host].up && world_hosts[host].vm->active; /* else nobody holds its channel */
    uint64_t e = heard ? vm_may_sign(world_hosts[host].vm, world_now_ms, &reason) : 0;

    if (e == 0)
        return false;
    prover = lease_prover(&s->lease, e, &now);
    if (!prover || strcmp(prover, world_hosts[host].name) != 0) {
        s->refused_proofs++;
        return false;
    }
    lease_proved(&s->lease, e, &now);
    note_change(&before, host, false);
    if (s->last_prover != NOBODY && s->last_prover != host && e <= s->last_epoch)
        host_model_fails("S1: a proof in an epoch that is not above that of another host's");
    if (s->last_prover == host && e < s->last_epoch)
        host_model_fails("S1: epochs fall");
    if (copy && s->why == 0)
        host_model_fails("S2: a proof of a stale copy is accepted");
    s->last_prover = host;
    s->last_epoch = e;
    s->proofs++;
    return true;
}
