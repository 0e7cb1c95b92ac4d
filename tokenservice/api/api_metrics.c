/*
 * What Prometheus asks for.  Totals, and one line for each host, key and word: nothing of a single
 * VM, of which a trust domain has any number (the hosts tell of their own), and no secret.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "tokenservice/api/signing_keys.h"

enum { HOSTS_MAX = 1000 /* the rest is counted */ };

/* ---- what was answered ---- */

static void
add_proofs(struct metrics *m, const struct counts *c)
{
    const struct problem *problems = problem_table();

    metrics_begin(m, "virtid_proofs_total", METRIC_COUNTER, "Proofs by what they were answered.");
    for (int i = 0; i <= ANSWER_ACTIVATE; i++)
        metrics_add(m, (int64_t)c->proofs[i], "result", counts_answer_name((enum answer_type)i), NULL);
    metrics_add(m, (int64_t)c->proofs_refused, "result", "refused", NULL);
    metrics_begin(m, "virtid_proofs_refused_total", METRIC_COUNTER,
                  "Proofs that were refused, by the word of the refusal; a word that never came is not here.");
    for (size_t i = 0; problems[i].name; i++) {
        if (c->refused[i])
            metrics_add(m, (int64_t)c->refused[i], "problem", problems[i].name, NULL);
    }
    metrics_begin(m, "virtid_tokens_issued_total", METRIC_COUNTER, "Tokens by their kind and factors.");
    for (size_t i = 0; i < 2 * COUNT_FACTORS; i++) {
        bool bound = i >= COUNT_FACTORS;

        metrics_add(m, (int64_t)c->tokens[bound][i % COUNT_FACTORS], "kind", bound ? "bound" : "bearer", "factors",
                    counts_factors_name(i % COUNT_FACTORS), NULL);
    }
}

static void
add_lease_answers(struct metrics *m, const struct counts *c)
{
    metrics_begin(m, "virtid_lease_answers_total", METRIC_COUNTER,
                  "Answers to what hosts said of a VM, by what they asked for; a report that is answered ok renews.");
    for (int op = LEASE_OP_REPORT; op <= LEASE_OP_ASK; op++) {
        for (int answer = LEASE_ACK; answer <= LEASE_RETIRED; answer++)
            metrics_add(m, (int64_t)c->leases[op][answer], "op", lease_op_name((enum lease_op)op), "answer",
                        lease_answer_name((enum lease_answer)answer), NULL);
    }
}

static void
add_requests(struct metrics *m, const struct counts *c)
{
    const struct problem *problems = problem_table();

    metrics_begin(m, "virtid_request_duration_seconds", METRIC_HISTOGRAM,
                  "From a whole request to its answer, with the time in the queue; without those made to wait.");
    for (int on = ON_PUBLIC; on <= ON_METRICS; on++)
        metrics_add_histogram(m, &c->took[on], "listener", route_listener_name((enum route_listener)on));
    metrics_begin(m, "virtid_refusals_total", METRIC_COUNTER,
                  "Requests that were refused or failed, by the word; a word that never came is not here.");
    for (int on = ON_PUBLIC; on <= ON_METRICS; on++) {
        for (size_t i = 0; problems[i].name; i++) {
            if (c->refusals[on][i])
                metrics_add(m, (int64_t)c->refusals[on][i], "listener",
                            route_listener_name((enum route_listener)on), "problem", problems[i].name, NULL);
        }
    }
}

/* ---- what there is ---- */

static int
add_vms(struct metrics *m, struct service *s, int64_t now_ms, struct error *err)
{
    struct store_totals t;

    if (service_totals(s, now_ms, &t, err) < 0)
        return -1;
    metrics_begin(m, "virtid_leases", METRIC_GAUGE,
                  "Leases by state; lapsed: of a VM that runs, whose host is silent.");
    metrics_add(m, t.leases[LEASE_FREE], "state", lease_state_name(LEASE_FREE), NULL);
    metrics_add(m, t.leases[LEASE_RUNS] - t.lapsed, "state", lease_state_name(LEASE_RUNS), NULL);
    metrics_add(m, t.leases[LEASE_MOVE], "state", lease_state_name(LEASE_MOVE), NULL);
    metrics_add(m, t.lapsed, "state", "lapsed", NULL);
    metrics_begin(m, "virtid_accounts", METRIC_GAUGE, "VMs with an account; pending: never proved itself.");
    metrics_add(m, t.pending, "state", "pending", NULL);
    metrics_add(m, t.proved, "state", "proved", NULL);
    return 0;
}

struct seen_host {
    char name[NAME_HOST_MAX + 1];
    int64_t seen_ms, cert_ends_ms;
    bool hook_bad;
};

struct seen_hosts {
    struct service *service;
    int64_t by_state[HOST_LOCKED + 1];
    size_t n;
    struct seen_host of[HOSTS_MAX];
};

/* Words of hook_health.h, as the host said last. */
static bool
is_bad_hook(const char *word)
{
    return *word && strcmp(word, "ok") != 0 && strcmp(word, "unproven") != 0 && strcmp(word, "unknown") != 0;
}

static int
look_at_host(void *context, const struct store_host *host, struct error *err)
{
    struct seen_hosts *all = context;
    struct seen_host *into = &all->of[all->n];
    char word[LEASE_HOOK_MAX + 1];
    struct store_cert cert;
    struct error why = { 0 };

    all->by_state[host->state]++;
    if (host->state != HOST_JOINED || host->seen_ms == 0 || all->n == HOSTS_MAX)
        return 0;
    if (store_hook_get(all->service->store, host->name, word, err) < 0)
        return -1;
    if (store_cert_of(all->service->store, host->name, CERT_CURRENT, &cert, &why) == 0)
        into->cert_ends_ms = cert.ends_ms;
    else if (why.code != ERROR_MISSING) {
        *err = why;
        return -1;
    }
    memcpy(into->name, host->name, sizeof into->name);
    into->seen_ms = host->seen_ms;
    into->hook_bad = is_bad_hook(word);
    all->n++;
    return 0;
}

static int
add_hosts(struct metrics *m, struct service *s, struct error *err)
{
    CLEANUP(mem_free) struct seen_hosts *all = calloc(1, sizeof *all);

    if (!all)
        return error_set(err, ERROR_SYSTEM, "no memory");
    all->service = s;
    if (store_host_list(s->store, look_at_host, all, err) < 0)
        return -1;
    metrics_begin(m, "virtid_hosts", METRIC_GAUGE, "Hosts by state.");
    for (int state = HOST_INVITED; state <= HOST_LOCKED; state++)
        metrics_add(m, all->by_state[state], "state", store_host_state_name((enum host_state)state), NULL);
    metrics_begin(m, "virtid_host_report_timestamp_seconds", METRIC_GAUGE,
                  "When a joined host reported last, since 1970.");
    for (size_t i = 0; i < all->n; i++)
        metrics_add_ms(m, all->of[i].seen_ms, "host", all->of[i].name, NULL);
    metrics_begin(m, "virtid_host_certificate_end_timestamp_seconds", METRIC_GAUGE,
                  "When the certificate that a host uses ends, since 1970; it renews it after half of its day.");
    for (size_t i = 0; i < all->n; i++) {
        if (all->of[i].cert_ends_ms)
            metrics_add_ms(m, all->of[i].cert_ends_ms, "host", all->of[i].name, NULL);
    }
    metrics_begin(m, "virtid_host_hook_dead", METRIC_GAUGE,
                  "1: libvirt does not call our hook on that host (virtid host list says why).");
    for (size_t i = 0; i < all->n; i++)
        metrics_add(m, all->of[i].hook_bad, "host", all->of[i].name, NULL);
    return 0;
}

static int
add_keys(struct metrics *m, struct service *s, struct error *err)
{
    struct mint_keys keys;

    if (mint_keys(s->mint, &keys, err) < 0)
        return -1;
    metrics_begin(m, "virtid_key_since_timestamp_seconds", METRIC_GAUGE,
                  "Since when a key of the signer is in its state, since 1970.");
    for (size_t i = 0; i < keys.n; i++) {
        const struct mint_key *k = &keys.keys[i];

        if (k->since)
            metrics_add(m, k->since, "purpose", key_purpose_name(k->purpose), "state", key_state_name(k->state), "kid",
                        k->kid, NULL);
    }
    metrics_begin(m, "virtid_key_step_timestamp_seconds", METRIC_GAUGE,
                  "When the next thing happens to it (it signs, retires, is destroyed; a CA's ends), since 1970.");
    for (size_t i = 0; i < keys.n; i++) {
        const struct mint_key *k = &keys.keys[i];

        if (k->step)
            metrics_add(m, k->step, "purpose", key_purpose_name(k->purpose), "state", key_state_name(k->state), "kid",
                        k->kid, NULL);
    }
    return 0;
}

static void
add_reserve(struct metrics *m, const struct service *s)
{
    int64_t seconds = reserve_lasts(s);

    metrics_begin(m, "virtid_audit_reserve_bytes", METRIC_GAUGE,
                  "What is kept for the audit when the disk is full; 0: it is full, and that is used.");
    metrics_add(m, s->reserve.held ? s->reserve.size : 0, NULL);
    if (seconds < 0)
        return;
    metrics_begin(m, "virtid_audit_room_seconds", METRIC_GAUGE,
                  "For how long the disk, with the reserve, takes records as they came in the last minutes; not here: none came.");
    metrics_add(m, seconds, NULL);
}

static int
add_state(struct metrics *m, struct service *s, struct error *err)
{
    struct statvfs disk;
    int64_t records;

    if (store_audit_newest(s->store, &records, err) < 0)
        return -1;
    metrics_begin(m, "virtid_audit_records_total", METRIC_COUNTER, "Records in the audit.");
    metrics_add(m, records, NULL);
    metrics_begin(m, "virtid_audit_unsigned_records", METRIC_GAUGE, "Records behind the newest signed head.");
    metrics_add(m, records > s->head_covered ? records - s->head_covered : 0, NULL);
    metrics_begin(m, "virtid_audit_head_timestamp_seconds", METRIC_GAUGE,
                  "When the newest head was signed, since 1970; 0: not since the start.");
    metrics_add_ms(m, s->head.ms, NULL);
    if (!s->state_dir || statvfs(s->state_dir, &disk) < 0)
        return 0;
    metrics_begin(m, "virtid_state_free_bytes", METRIC_GAUGE,
                  "What the service may still write where its database and audit are.");
    metrics_add(m, (int64_t)disk.f_bavail * (int64_t)disk.f_frsize, NULL);
    metrics_begin(m, "virtid_state_size_bytes", METRIC_GAUGE, "The size of that filesystem.");
    metrics_add(m, (int64_t)disk.f_blocks * (int64_t)disk.f_frsize, NULL);
    add_reserve(m, s);
    return 0;
}

static void
add_flags(struct metrics *m, struct service *s, int64_t now_ms)
{
    struct error behind;

    metrics_flag(m, "virtid_clock_behind",
             "1: the clock is behind the newest audit record, and nothing is granted.",
             service_check_clock(s, now_ms, &behind) < 0);
    metrics_flag(m, "virtid_recovery", "1: the database was restored and nobody has said that it is in order.", s->recovery);
    metrics_flag(m, "virtid_grace", "1: it waits for the hosts' reports behind its start.", service_in_grace(s, now_ms, NULL));
    if (s->server_cert_ends) {
        metrics_begin(m, "virtid_server_certificate_end_timestamp_seconds", METRIC_GAUGE,
                      "When the certificate of the listeners ends, since 1970; it is renewed every day.");
        metrics_add(m, s->server_cert_ends, NULL);
    }
}

int
api_metrics(struct service *s, struct api_call *call, struct error *err)
{
    struct metrics m = { .into = &call->reply->body };

    metrics_add_program(&m, "virtid-tokend", PACKAGE_VERSION, s->process_started_ms);
    add_proofs(&m, &s->counts);
    add_lease_answers(&m, &s->counts);
    add_requests(&m, &s->counts);
    add_flags(&m, s, call->now_ms);
    if (add_vms(&m, s, call->now_ms, err) < 0 || add_hosts(&m, s, err) < 0 || add_keys(&m, s, err) < 0 ||
        add_state(&m, s, err) < 0)
        return -1;
    if (!buf_ok(m.into))
        return error_set(err, ERROR_SYSTEM, "no memory for the page");
    call->reply->content_type = METRICS_TYPE;
    call->reply->status = 200;
    return 0;
}
