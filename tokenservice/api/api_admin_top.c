/*
 * Operators: the present in one answer, for `virtid top`: what was answered since the start, what there
 * is, which leases need a look first, and who was refused lately.  Bounded, however many VMs there are.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <string.h>

#include "tokenservice/api/api_body.h"
#include "tokenservice/api/vm_account.h"

enum { TOP_VMS = 64, TOP_REFUSALS = 16, TOP_HOSTS = 64 /* together they fit into one answer */ };

struct top_host {
    char name[NAME_HOST_MAX + 1];
    int64_t seen_ms;
};

struct top {
    struct service *service;
    int64_t now_ms;
    json_t *vms, *refusals, *hosts;
    int64_t joined;
    size_t n_silent;
    struct top_host silent[TOP_HOSTS]; /* longest silent first */
};

static int
add_vm(void *context, const struct store_vm *stored, struct error *err)
{
    struct top *t = context;

    return vm_account_list(t->service, stored, t->now_ms, t->vms, err);
}

static int
add_refusal(void *context, const struct audit_record *record, struct error *err)
{
    struct top *t = context;

    return audit_record_append(t->refusals, record, err);
}

static int
take_host(void *context, const struct store_host *host, struct error *err)
{
    struct top *t = context;
    size_t at;

    (void)err;
    if (host->state != HOST_JOINED)
        return 0;
    t->joined++;
    if (t->n_silent == TOP_HOSTS && t->silent[TOP_HOSTS - 1].seen_ms <= host->seen_ms)
        return 0;
    if (t->n_silent < TOP_HOSTS)
        t->n_silent++;
    for (at = t->n_silent - 1; at > 0 && t->silent[at - 1].seen_ms > host->seen_ms; at--)
        t->silent[at] = t->silent[at - 1];
    memcpy(t->silent[at].name, host->name, sizeof host->name);
    t->silent[at].seen_ms = host->seen_ms;
    return 0;
}

static int
add_host(struct top *t, const struct top_host *host, struct error *err)
{
    char hook[LEASE_HOOK_MAX + 1];
    int64_t vms;
    json_t *o;

    if (store_host_vms(t->service->store, host->name, &vms, err) < 0 ||
        store_hook_get(t->service->store, host->name, hook, err) < 0)
        return -1;
    o = json_pack("{s:s,s:I,s:s}", "name", host->name, "vms", (json_int_t)vms, "hook", hook);
    if (o && host->seen_ms)
        json_object_set_new(o, "last_seen", json_integer((json_int_t)host->seen_ms));
    return json_array_append_new(t->hosts, o) < 0 ? error_set(err, ERROR_SYSTEM, "no memory") : 0;
}

static int
add_hosts(struct top *t, struct error *err)
{
    if (store_host_list(t->service->store, take_host, t, err) < 0)
        return -1;
    for (size_t i = 0; i < t->n_silent; i++) {
        if (add_host(t, &t->silent[i], err) < 0)
            return -1;
    }
    return 0;
}

static json_t *
show_proofs(const struct counts *c)
{
    json_t *o = json_object();

    for (int i = 0; i <= ANSWER_ACTIVATE; i++)
        json_object_set_new(o, counts_answer_name((enum answer_type)i), json_integer((json_int_t)c->proofs[i]));
    json_object_set_new(o, "refused", json_integer((json_int_t)c->proofs_refused));
    return o;
}

/* Words that came, and how often: of proofs, and of what hosts asked. */
static json_t *
show_words(const uint64_t *counts)
{
    const struct problem *problems = problem_table();
    json_t *o = json_object();

    for (size_t i = 0; problems[i].name; i++) {
        if (counts[i])
            json_object_set_new(o, problems[i].name, json_integer((json_int_t)counts[i]));
    }
    return o;
}

static json_t *
show_lease_answers(const struct counts *c)
{
    json_t *o = json_object();

    for (int answer = LEASE_ACK; answer <= LEASE_RETIRED; answer++) {
        uint64_t n = 0;

        for (int op = LEASE_OP_REPORT; op < LEASE_OP_ASK; op++) /* a question changes nothing */
            n += c->leases[op][answer];
        json_object_set_new(o, lease_answer_name((enum lease_answer)answer), json_integer((json_int_t)n));
    }
    return o;
}

int
api_admin_top(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *o = json_object();
    struct top t = { .service = s, .now_ms = call->now_ms };
    struct store_totals totals;
    struct error behind;

    if (json_object_set_new(o, "vms", t.vms = json_array()) < 0 ||
        json_object_set_new(o, "refusals", t.refusals = json_array()) < 0 ||
        json_object_set_new(o, "hosts", t.hosts = json_array()) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (service_totals(s, call->now_ms, &totals, err) < 0 ||
        store_vm_list_held(s->store, TOP_VMS, add_vm, &t, err) < 0 ||
        store_audit_list_refusals(s->store, TOP_REFUSALS, add_refusal, &t, err) < 0 ||
        add_hosts(&t, err) < 0)
        return -1;
    json_object_set_new(o, "trust_domain", json_string(s->info.trust_domain));
    json_object_set_new(o, "time", json_integer((json_int_t)call->now_ms));
    json_object_set_new(o, "since", json_integer((json_int_t)s->process_started_ms));
    json_object_set_new(o, "grace", json_boolean(service_in_grace(s, call->now_ms, NULL)));
    json_object_set_new(o, "recovery", json_boolean(s->recovery));
    json_object_set_new(o, "clock_behind", json_boolean(service_check_clock(s, call->now_ms, &behind) < 0));
    json_object_set_new(o, "joined", json_integer((json_int_t)t.joined));
    json_object_set_new(o, "leases", json_pack("{s:I,s:I,s:I,s:I}", "runs",
                                               (json_int_t)(totals.leases[LEASE_RUNS] - totals.lapsed), "lapsed",
                                               (json_int_t)totals.lapsed, "move", (json_int_t)totals.leases[LEASE_MOVE],
                                               "free", (json_int_t)totals.leases[LEASE_FREE]));
    json_object_set_new(o, "proofs", show_proofs(&s->counts));
    json_object_set_new(o, "proofs_refused", show_words(s->counts.refused));
    json_object_set_new(o, "lease_answers", show_lease_answers(&s->counts));
    json_object_set_new(o, "hosts_refused", show_words(s->counts.refusals[ON_HOSTS]));
    return api_body_answer(call, 200, STEAL(o), err);
}
