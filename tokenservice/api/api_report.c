/*
 * A host says what runs on it; each VM of the report is judged and changed by itself,
 * all of them in one transaction (docs/PROTOCOL-lease.md, 3 to 5).
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/log.h"
#include "tokenservice/api/accepting.h"
#include "tokenservice/api/api_body.h"
#include "tokenservice/api/decision.h"
#include "tokenservice/api/host_saw.h"
#include "tokenservice/api/pending.h"
#include "tokenservice/api/pools.h"
#include "tokenservice/api/receipt.h"
#include "tokenservice/api/renewing.h"
#include "tokenservice/api/retire.h"
#include "tokenservice/api/vm_account.h"
#include "tokenservice/api/authority.h"
#include "tokenservice/api/signing_keys.h"

enum { RECEIPTS_ROOM = 36 * 1024 /* of one answer, which is JSON_TEXT_MAX at most */ };

/* One VM of a report on its way. */
struct reported {
    const struct lease_report *report;
    const struct lease_report_vm *vm;
    struct vm_account account;
    struct store_seq seq;
    struct lease_now now;
    struct lease_word word;
    bool question; /* answered, and nothing changes */
    bool asks;     /* a hand-over that waits for a report of the source */
    bool show;     /* its host has a receipt that is newer than what we have: that comes first */
};

static int
load(struct service *s, struct api_call *call, struct reported *r, struct error *err)
{
    struct error why = { 0 };

    if (vm_account_load(s, &r->vm->uuid, &r->account, &why) < 0) {
        if (why.code != ERROR_MISSING) {
            *err = why;
            return -1;
        }
        vm_account_new(&r->vm->uuid, call->now_ms, &r->account);
    }
    if (store_seq_get(s->store, &r->vm->uuid, call->host.name, &r->seq, err) < 0)
        return -1;
    /* A host that was booted anew counts from the start; its old connections are gone.
     */
    if (strcmp(r->seq.boot, r->report->boot) != 0) {
        r->seq.report = r->seq.ended = 0;
        memcpy(r->seq.boot, r->report->boot, sizeof r->seq.boot);
    }
    return 0;
}

static bool
claims(const struct reported *r)
{
    return r->vm->view == VIEW_RUN || r->vm->view == VIEW_JOB || r->report->op != LEASE_OP_REPORT;
}

/* What is true now, for a word that was heard before: nothing is applied twice. */
static void
repeat(struct reported *r, const char *host)
{
    const struct lease_record *lease = &r->account.stored.lease;
    uint64_t candidate = lease_epoch_of(lease, host);

    r->word = (struct lease_word){ .answer = LEASE_ACK };
    if (!claims(r) && r->vm->view != VIEW_INC)
        return;
    if (lease->st == LEASE_RUNS && strcmp(lease->hol, host) == 0)
        r->word = (struct lease_word){ .answer = LEASE_OK, .e = lease->ep };
    else if (lease->st == LEASE_MOVE && candidate != 0)
        r->word = (struct lease_word){ .answer = LEASE_CANDIDATE, .e = candidate };
    else
        r->word.answer = lease->st == LEASE_MOVE ? LEASE_MOVING : LEASE_FOREIGN;
}

static void
apply_ends(struct api_call *call, struct reported *r)
{
    struct lease_record *lease = &r->account.stored.lease;

    for (size_t i = 0; i < r->vm->n_ends; i++) {
        const struct lease_end *end = &r->vm->ends[i];
        struct lease_view_word w = { .view = end->view, .e = end->e };

        if (end->seq > r->seq.ended)
            lease_report(lease, call->host.name, &w, &r->now, &r->word);
    }
    if (r->vm->n_ends > 0 && r->vm->ends[r->vm->n_ends - 1].seq > r->seq.ended)
        r->seq.ended = r->vm->ends[r->vm->n_ends - 1].seq;
}

/* Its identity has ended: nothing is taken down, so that its host need not say it again. */
static void
apply_retired(struct reported *r)
{
    r->word = (struct lease_word){ .answer = LEASE_RETIRED };
    if (r->now.grace || r->question)
        return;
    retire_end_lease(&r->account, &r->now);
    if (r->vm->n_ends > 0 && r->vm->ends[r->vm->n_ends - 1].seq > r->seq.ended)
        r->seq.ended = r->vm->ends[r->vm->n_ends - 1].seq;
    if (r->report->seq > r->seq.report)
        r->seq.report = r->report->seq;
}

/* What moved while it is locked would be moved away from who locked it; of an observed one nothing is refused. */
static bool
is_kept_here(const struct reported *r)
{
    return r->report->op == LEASE_OP_HANDOVER && !r->question && r->account.id.state == ROW_LOCKED;
}

static void
apply_handover(struct service *s, struct api_call *call, struct reported *r)
{
    struct lease_record *lease = &r->account.stored.lease;
    bool answered = true, is_new = false;
    enum pull_state asked;

    if (!r->now.grace && lease_handover_asks(lease, call->host.name, &r->now)) {
        asked = pulls_ask(s->pulls, lease->hol, &r->vm->uuid, call->host.name, clock_monotonic_ms(), &is_new);
        if (is_new)
            service_wake(s, "pull", lease->hol);
        r->asks = asked == PULL_ASKED;
        answered = asked == PULL_ANSWERED;
    }
    if (!r->asks)
        lease_handover(lease, call->host.name, answered, &r->now, &r->word);
}

/* An operator's word waits for its run: that gets a new epoch, as one that has none, and only one. */
static void
apply_view(struct api_call *call, struct reported *r)
{
    struct lease_view_word w = { .view = r->vm->view, .k = r->vm->k, .e = r->vm->e, .kk = r->vm->kk };
    bool begins = w.view == VIEW_RUN && accepting_waits_for(&r->account, call->host.name, w.e, &r->now);

    if (begins)
        w.e = 0;
    else if (accepting_has_begun(&r->account, call->host.name, w.e)) /* its answer was lost */
        w.e = r->account.stored.lease.ep;
    lease_report(&r->account.stored.lease, call->host.name, &w, &r->now, &r->word);
    if (begins)
        accepting_begin(&r->account);
}

static void
apply(struct service *s, struct api_call *call, struct reported *r)
{
    struct lease_record *lease = &r->account.stored.lease;
    bool waits = s->enrol_placed && !r->account.stored_already;

    if (r->account.id.state == ROW_RETIRED) {
        apply_retired(r);
        return;
    }
    if (!r->now.grace && !waits && !r->question)
        apply_ends(call, r);
    if (is_kept_here(r))
        r->word = (struct lease_word){ .answer = LEASE_FOREIGN };
    else if (r->report->seq <= r->seq.report)
        repeat(r, call->host.name);
    else if (waits)
        r->word = (struct lease_word){ .answer = LEASE_FOREIGN }; /* nobody placed it yet */
    else if (r->report->op == LEASE_OP_HANDOVER && r->question)
        r->word = (struct lease_word){ .answer = LEASE_UNKNOWN };
    else if (r->report->op == LEASE_OP_HANDOVER)
        apply_handover(s, call, r);
    else if (r->report->op != LEASE_OP_REPORT)
        lease_acquire(lease, call->host.name, &r->now, &r->word);
    else
        apply_view(call, r);
    if (!r->now.grace && r->report->seq > r->seq.report)
        r->seq.report = r->report->seq;
}

/* A change is a record; a refusal only once in a while, since a host repeats itself
 * every 15 s. */
static int
audit(struct service *s, struct api_call *call, const struct reported *r,
      const struct lease_record *before, struct error *err)
{
    const struct lease_record *lease = &r->account.stored.lease;
    char seen[AUDIT_TEXT_MAX], uuid[VM_UUID_TEXT];
    struct decision d = { .uuid = &r->vm->uuid, .what = "lease", .seen = seen };
    bool is_new = true;

    vm_uuid_print(&r->vm->uuid, uuid);
    snprintf(seen, sizeof seen, "%s %s %s epoch %llu",
             lease_op_name(r->report->op), lease_view_name(r->vm->view),
             lease_state_name(lease->st), (unsigned long long)lease->ep);
    d.expected = lease->hol; /* whose it is: vm_trail.c reads it */
    if (lease->st != before->st || lease->ep != before->ep ||
        strcmp(lease->hol, before->hol) != 0) {
        log_notice("event=lease uuid=%s host=%s state=%s epoch=%llu", uuid, lease->hol,
                   lease_state_name(lease->st), (unsigned long long)lease->ep);
        return decision_add(s, call, &d, err);
    }
    if (r->word.answer != LEASE_FOREIGN && r->word.answer != LEASE_MOVING && r->word.answer != LEASE_RETIRED)
        return 0;
    d.what = "lease-refused";
    d.problem = is_kept_here(r)                                          ? "locked"
                : r->now.outside && r->word.answer != LEASE_RETIRED ? "not-placed"
                                                                    : lease_answer_name(r->word.answer);
    if (decision_add_seldom(s, call, &d, &is_new, err) < 0)
        return -1;
    if (is_new)
        log_notice("event=lease-refused uuid=%s host=%s problem=%s holder=%s", uuid,
                   call->host.name, d.problem, lease->hol);
    return 0;
}

/* What the host has not got yet, as far as there is room in this answer; the rest with its next report. */
static int
add_receipt(struct service *s, const struct api_call *call, const struct reported *r, size_t *room,
            struct lease_result *ret, struct error *err)
{
    const struct store_vm *stored = &r->account.stored;
    bool with_account = receipt_has_account(&r->account, call->host.name);
    CLEANUP(buf_clear) struct buf receipt = BUF(RECEIPT_MAX);

    /* A pending account is forgotten when nobody needs it: it is none that could be lost. */
    if (identity_row_is_unproved(&r->account.id) ||
        (r->vm->ver >= stored->lease.ver && (!with_account || r->vm->row_ver >= stored->row_ver)))
        return 0;
    if (receipt_make(s, &r->account, with_account, &receipt, err) < 0)
        return -1;
    if (receipt.len > *room)
        return 0;
    *room -= receipt.len;
    memcpy(ret->receipt, receipt.data, receipt.len);
    ret->receipt_len = receipt.len;
    ret->ver = stored->lease.ver;
    ret->row_ver = with_account ? stored->row_ver : 0;
    return 0;
}

static int
answer_vm(struct service *s, const struct api_call *call, const struct reported *r, size_t *room,
          struct lease_result *ret, struct error *err)
{
    const struct lease_record *lease = &r->account.stored.lease;

    ret->uuid = r->vm->uuid;
    ret->answer = r->word.answer;
    if (store_mode_get(s->store, &r->vm->uuid, &ret->mode, err) < 0)
        return -1;
    ret->e = r->question ? 0 : r->word.e;
    ret->nx = lease->nx;
    ret->acked_seq = r->seq.ended;
    ret->show = r->show;
    ret->locked = is_kept_here(r) && ret->answer == LEASE_FOREIGN;
    if (ret->answer == LEASE_FOREIGN || ret->answer == LEASE_MOVING) {
        memcpy(ret->holder, lease->hol, sizeof ret->holder);
        ret->seconds_left = lease_seconds_left(lease, &r->now);
    }
    /* Nothing is known of it, or it was only asked: there is no record to sign. */
    if (!r->account.stored_already || r->question || r->show)
        return 0;
    return add_receipt(s, call, r, room, ret, err);
}

/* The database was restored: what is said now counts for the newer record, and that its host shows first. */
static bool
host_knows_better(const struct reported *r)
{
    return !r->question && (r->vm->ver > r->account.stored.lease.ver || r->vm->row_ver > r->account.stored.row_ver);
}

/* A VM that is only observed is claimed by nobody, also while its host does not know that yet. */
static int
look_for_question(struct service *s, const struct api_call *call, struct reported *r, struct error *err)
{
    const struct lease_record *lease = &r->account.stored.lease;
    bool holds = lease->st == LEASE_RUNS && strcmp(lease->hol, call->host.name) == 0;
    bool takes = r->report->op != LEASE_OP_REPORT || (!holds && claims(r));
    enum lease_mode mode;

    if (store_mode_get(s->store, &r->vm->uuid, &mode, err) < 0)
        return -1;
    r->question = r->report->op == LEASE_OP_ASK || (takes && mode == MODE_OBSERVE);
    return 0;
}

static int
judge_vm(struct service *s, struct api_call *call, const struct lease_report *report,
         size_t i, size_t *room, struct lease_result *ret, bool *ret_asks, struct error *err)
{
    CLEANUP(mem_free) struct reported *r = calloc(1, sizeof *r);
    struct lease_record before;
    bool changed, has_room = true;
    struct error why;
    uint64_t heard;

    if (!r)
        return error_set(err, ERROR_SYSTEM, "no memory");
    r->report = report;
    r->vm = &report->vms[i];
    if (load(s, call, r, err) < 0 || look_for_question(s, call, r, err) < 0)
        return -1;
    r->now = vm_account_now(s, &r->account, call->now_ms);
    if (pools_keep_out(s, &r->account.stored.lease, call->host.name, &r->now.outside, err) < 0)
        return -1;
    r->show = host_knows_better(r);
    if (r->show) {
        r->word.answer = LEASE_GRACE;
        return answer_vm(s, call, r, room, ret, err);
    }
    /* As in grace: its renewals go on, all else is to be said again.  One that a restored database does not know
     * may be another host's. */
    if (decision_allowed(s, call, &why) < 0 || (s->recovery && !r->account.stored_already))
        r->now.grace = true;
    before = r->account.stored.lease;
    heard = r->seq.ended;
    apply(s, call, r);
    *ret_asks = r->asks;
    if (r->asks)
        return 0; /* nothing is kept of this try */
    if (r->question)
        return answer_vm(s, call, r, room, ret, err);
    if (before.pool[0] && r->word.answer == LEASE_OK && renewing_bind(s, call, &r->account, err) < 0)
        return -1;
    changed = memcmp(&before, &r->account.stored.lease, sizeof before) != 0;
    if (changed && !r->account.stored_already &&
        pending_make_room(s, call, &has_room, err) < 0)
        return -1;
    if (!has_room) {
        r->account.stored.lease = before;
        r->word = (struct lease_word){ .answer = LEASE_GRACE };
        changed = false;
    }
    if (changed && vm_account_save(s, &r->account, err) < 0)
        return -1;
    /* A VM that nobody has stays unwritten: "off" of one never seen is no news. */
    if (r->account.stored_already && !r->now.grace &&
        host_saw_take(s, call, r->vm, &r->account.stored.lease, heard, &r->seq, err) < 0)
        return -1;
    if (r->account.stored_already &&
        store_seq_put(s->store, &r->vm->uuid, call->host.name, &r->seq, err) < 0)
        return -1;
    if (r->account.stored_already && audit(s, call, r, &before, err) < 0)
        return -1;
    return answer_vm(s, call, r, room, ret, err);
}

/* A dead hook is the operator's to see: on this host VMs start without anybody asking. */
static int
note_hook(struct service *s, struct api_call *call, const char *word, struct error *err)
{
    char before[LEASE_HOOK_MAX + 1];

    if (store_hook_get(s->store, call->host.name, before, err) < 0)
        return -1;
    if (strcmp(before, word) == 0)
        return 0;
    log_notice("event=hook host=%s state=%s before=%s", call->host.name,
               word[0] ? word : "-", before[0] ? before : "-");
    return store_hook_put(s->store, call->host.name, word, err);
}

/* An operator said that it was dead. In another boot it has come back; in the same it was alive all the time. */
static int
note_fence(struct service *s, struct api_call *call, const struct lease_report *report, struct error *err)
{
    struct decision d = { .what = "host-back", .seen = call->host.name };
    struct store_fence fence;

    if (store_fence_get(s->store, call->host.name, &fence, err) < 0)
        return -1;
    if (fence.ms == 0 || (fence.alive && strcmp(fence.boot, report->boot) == 0))
        return 0;
    if (strcmp(fence.boot, report->boot) == 0) {
        fence.alive = true;
        d.what = "host-not-dead";
        log_warning("event=alarm host=%s it was fenced and reports in the same boot: it was not dead, and what "
                    "runs on it may run twice",
                    call->host.name);
    } else {
        fence.ms = 0;
        log_notice("event=host-back host=%s", call->host.name);
    }
    if (store_fence_put(s->store, call->host.name, &fence, err) < 0)
        return -1;
    return decision_add(s, call, &d, err);
}

static int
judge_report(struct service *s, struct api_call *call,
             const struct lease_report *report, struct lease_result *ret,
             bool *ret_asks, struct error *err)
{
    CLEANUP(store_abandon) struct store *txn = NULL;
    size_t room = RECEIPTS_ROOM;

    *ret_asks = false;
    if (store_begin(s->store, &txn, err) < 0)
        return -1;
    for (size_t i = 0; i < report->n_vms && !*ret_asks; i++) {
        if (judge_vm(s, call, report, i, &room, &ret[i], ret_asks, err) < 0)
            return -1;
    }
    if (*ret_asks)
        return 0;
    if (note_hook(s, call, report->hook, err) < 0 || note_fence(s, call, report, err) < 0)
        return -1;
    call->host.seen_ms = call->now_ms;
    memcpy(call->host.boot, report->boot, sizeof call->host.boot);
    if (store_host_put(s->store, &call->host, err) < 0)
        return -1;
    return store_commit(txn, err);
}

/* Has it shown all that it knows better? */
static bool
has_said_all(const struct lease_result *results, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (results[i].show)
            return false;
    }
    return true;
}

static void
wake_asker(void *context, const char *asker)
{
    service_wake(context, "handover", asker);
}

static void
park(struct api_call *call, const char *what, unsigned ms)
{
    call->reply->park_ms = ms;
    snprintf(call->reply->park_key, sizeof call->reply->park_key, "%s %s", what, call->host.name);
}

static void
add_header(struct api_call *call, const char *line)
{
    size_t len = strlen(call->reply->headers);

    snprintf(call->reply->headers + len, sizeof call->reply->headers - len, "%s", line);
}

int
api_report(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(mem_free) struct lease_report *report = malloc(sizeof *report);
    CLEANUP(mem_free)
    struct lease_result *results = calloc(LEASE_VMS_MAX, sizeof *results);
    bool asks;

    if (!report || !results)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (lease_report_decode((const char *)call->request->body, call->request->body_len,
                            report, err) < 0)
        return api_body_refuse(err);
    if (strcmp(report->host, call->host.name) != 0)
        return error_problem(err, ERROR_DENIED, "wrong-host",
                             "the report says \"%s\", the certificate \"%s\"",
                             report->host, call->host.name);
    if (judge_report(s, call, report, results, &asks, err) < 0)
        return -1;
    if (asks) {
        park(call, "handover", PULL_MS);
        return 0;
    }
    /* Only now: what this host said during grace was answered by the old record. */
    if (has_said_all(results, report->n_vms)) {
        pulls_take(s->pulls, report, wake_asker, s);
        service_in_grace(s, call->now_ms, call->host.name);
    }
    if (lease_results_encode(results, report->n_vms, &call->reply->body, err) < 0)
        return -1;
    counts_leases(&s->counts, report->op, results, report->n_vms);
    signing_keys_tell(s, call);
    authority_report(s, call);
    if (report->op == LEASE_OP_HANDOVER && results[0].locked)
        add_header(call, HTTP_LOCKED ": 1\r\n");
    call->reply->status = 200;
    return 0;
}

int
api_pull(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(mem_free) struct lease_pull *wanted = malloc(sizeof *wanted);
    int64_t waited = clock_monotonic_ms() - call->request->came_ms;
    char text[24];
    uint64_t after;

    if (!wanted)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (http_query(call->request->message, "after", text, sizeof text - 1, err) < 0 ||
        text[0] == '\0' || text[strspn(text, "0123456789")] != '\0')
        return error_problem(err, ERROR_INPUT, "bad-request", "?after=NUMBER");
    after = strtoull(text, NULL, 10);
    pulls_wanted(s->pulls, call->host.name, after, wanted);
    if (wanted->n == 0 && waited < PULL_POLL_MS && !call->request->draining) {
        park(call, "pull", (unsigned)(PULL_POLL_MS - waited));
        return 0;
    }
    if (lease_pull_encode(wanted, &call->reply->body, err) < 0)
        return -1;
    call->reply->status = 200;
    return 0;
}
