#include "config.h"

#include "tokenservice/api/vm_account.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/encode.h"
#include "lib/wire/problem.h"
#include "tokenservice/api/behind.h"
#include "tokenservice/api/copied.h"
#include "tokenservice/api/host_saw.h"
#include "tokenservice/api/pools.h"
#include "tokenservice/api/renewing.h"
#include "tokenservice/lease/lease_case.h"

enum { COMMAND_MAX = NAME_DOMAIN_MAX + NAME_HOST_MAX + 120 };

static json_t *
factor_names(uint8_t factors)
{
    json_t *list = json_array();

    if (factors & FACTOR_HOST)
        json_array_append_new(list, json_string("host"));
    if (factors & FACTOR_VTPM)
        json_array_append_new(list, json_string("vtpm"));
    if (factors & FACTOR_SECRET)
        json_array_append_new(list, json_string("secret"));
    return list;
}

static json_t *
audience_names(const char *text)
{
    json_t *list = json_array();

    while (*text) {
        size_t len = strcspn(text, " ");

        json_array_append_new(list, json_stringn(text, len));
        text += len + (text[len] == ' ');
    }
    return list;
}

json_t *
vm_account_show(struct service *s, const struct vm_account *a, int64_t now_ms)
{
    const struct lease_record *lease = &a->stored.lease;
    struct lease_now now = vm_account_now(s, a, now_ms);
    char uuid[VM_UUID_TEXT];
    const char *word =
        lease_lapsed(lease, &now) ? "lapsed" : lease_state_name(lease->st);
    json_t *o;

    vm_uuid_print(&a->id.uuid, uuid);
    o = json_pack("{s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:o}", "uuid", uuid, "name",
                  a->id.name, "state", identity_row_state_name(a->id.state), "host",
                  lease->hol, "lease", word, "seconds_left",
                  (json_int_t)lease_seconds_left(lease, &now), "epoch",
                  (json_int_t)lease->ep, "gen", (json_int_t)a->id.gen, "factors",
                  factor_names(a->stored.mark_factors));
    if (o && a->stored.has_mark)
        json_object_set_new(o, "last_token", json_integer(a->stored.mark_ms));
    if (o && a->id.seen.has)
        json_object_set_new(o, "behind", json_true());
    return o;
}

int
vm_account_list(struct service *s, const struct store_vm *stored, int64_t now_ms, json_t *into, struct error *err)
{
    CLEANUP(mem_free) struct vm_account *a = calloc(1, sizeof *a);
    char uuid[VM_UUID_TEXT];
    json_t *o;

    if (!a)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (vm_account_open(s, stored, a, err) == 0) {
        o = vm_account_show(s, a, now_ms);
    } else if (err->code == ERROR_DENIED) {
        vm_uuid_print(&stored->uuid, uuid);
        o = json_pack("{s:s,s:s}", "uuid", uuid, "state", "forged");
    } else {
        return -1;
    }
    return json_array_append_new(into, o) < 0 ? error_set(err, ERROR_SYSTEM, "no memory") : 0;
}

/* ---- the steps of `virtid why` that the service knows ---- */

static void
add_step(json_t *steps, const char *step, const char *state, const char *seen,
         const char *expected, const char *repair)
{
    json_array_append_new(steps, json_pack("{s:s,s:s,s:s,s:s,s:s}", "step", step,
                                           "state", state, "seen", seen, "expected",
                                           expected, "repair", repair ? repair : ""));
}

static void
add_case(json_t *steps, const char *step, const struct lease_case *c)
{
    add_step(steps, step, c->state, c->seen, c->expected, c->repair);
}

static void
add_lease_steps(json_t *steps, const struct vm_account *a, const struct lease_now *now)
{
    const struct lease_record *lease = &a->stored.lease;
    struct lease_case c;

    if (a->id.state == ROW_RETIRED) {
        add_step(steps, "lease", "retired", "no host gets it", "an identity that goes on", problem_find("retired")->repair);
        return;
    }
    lease_case(lease, now, &c);
    add_case(steps, "lease", &c);
    for (size_t i = 0; i < lease->n_seen; i++) {
        if (lease_case_other(lease, i, &c))
            add_case(steps, "other host", &c);
    }
}

struct newest {
    bool found, saw;
    struct audit_record record, host_saw;
};

/* The newest record that is about a proof, and that of what a host saw. */
static int
take_proof(void *context, const struct audit_record *record, struct error *err)
{
    struct newest *n = context;

    (void)err;
    if (!n->saw && strcmp(record->what, HOST_SAW) == 0) {
        n->saw = true;
        n->host_saw = *record;
    }
    if (!n->found &&
        (strcmp(record->what, "token") == 0 || strcmp(record->what, "extend") == 0 ||
         strcmp(record->what, "resolve") == 0 || strcmp(record->what, "refused") == 0 ||
         strcmp(record->what, "enrolled") == 0)) {
        n->found = true;
        n->record = *record;
    }
    return 0;
}

/* What the row keeps is newer than a record that is made once an hour. */
static void
take_seen(const struct vm_account *a, struct newest *n)
{
    const struct row_seen *seen = &a->id.seen;
    bool disk = (seen->behind & RATCHET_KEY) != 0;
    const char *problem = disk ? "disk-behind" : "tpm-behind";
    char ago[BEHIND_AGO_MAX], thumbprint[17];

    if (!seen->has || (n->found && (n->record.ms > seen->ms ||
                                    (n->record.ms == seen->ms && strcmp(n->record.problem, problem) == 0))))
        return;
    n->found = true;
    strcpy(n->record.problem, problem);
    behind_print_ago(seen->ago, ago);
    hex_encode(disk ? seen->shown.cur : seen->shown.x, 8, thumbprint);
    snprintf(n->record.seen, sizeof n->record.seen, "%s, %s", thumbprint, ago);
    proof_print_thumbprint(disk ? a->id.cur : a->id.x, disk ? sizeof a->id.cur : sizeof a->id.x, n->record.expected);
}

/* What an operator says when its TPM is lost: of that very VM, on the host that has it. */
static char *
new_vtpm_command(const struct vm_account *a, char ret[static COMMAND_MAX])
{
    const char *host = a->stored.lease.hol[0] ? a->stored.lease.hol : "HOST";
    char uuid[VM_UUID_TEXT];

    vm_uuid_print(&a->id.uuid, uuid);
    snprintf(ret, COMMAND_MAX, "start it with its own vTPM state; if that is lost: `virtid place %s %s --new-vtpm`",
             a->id.name[0] ? a->id.name : uuid, host);
    return ret;
}

static void
add_renewal_step(json_t *steps, const struct vm_account *a, int64_t now_ms)
{
    const struct row_renewal *r = &a->id.renewal;
    char seen[120], ends[60];

    if (!renewing_is_open(a, now_ms))
        return;
    snprintf(seen, sizeof seen, r->has_ek ? "registered by %s" : "none registered by %s yet",
             r->host[0] ? r->host : "the first host of its pool");
    snprintf(ends, sizeof ends, "a proof with it, within %lld min", (long long)(r->ends_ms - now_ms + 59999) / 60000);
    add_step(steps, "new vtpm", "waiting", seen, ends, "start it there, where its vTPM state is lost");
}

static char *
unlock_command(const struct vm_account *a, char ret[static COMMAND_MAX])
{
    char uuid[VM_UUID_TEXT];

    vm_uuid_print(&a->id.uuid, uuid);
    snprintf(ret, COMMAND_MAX, "virtid unlock %s", a->id.name[0] ? a->id.name : uuid);
    return ret;
}

static void
add_account_step(json_t *steps, const struct vm_account *a)
{
    const char *name = identity_row_state_name(a->id.state);
    char command[COMMAND_MAX];

    if (a->id.state == ROW_PENDING)
        add_step(steps, "account", "waiting", name, "ok, by the first accepted proof",
                 "start the VM; its agent must run");
    else if (a->id.state == ROW_LOCKED)
        add_step(steps, "account", name, "locked by an operator", "ok", unlock_command(a, command));
    else if (a->id.state == ROW_RETIRED)
        add_step(steps, "account", name, "an operator ended this identity", "ok", problem_find("retired")->repair);
    else
        add_step(steps, "account", a->id.state == ROW_OK ? "ok" : name, name, "ok", NULL);
}

static void
add_proof_steps(json_t *steps, const struct vm_account *a, const struct newest *n)
{
    const struct problem *p =
        n->found && n->record.problem[0] ? problem_find(n->record.problem) : NULL;
    char command[COMMAND_MAX];

    add_account_step(steps, a);
    if (n->found && strcmp(n->record.problem, "locked") == 0 && a->id.state != ROW_LOCKED)
        add_step(steps, "proof", "waiting", "none since it was unlocked", "a proof by the guest's agent, within 5 minutes",
                 "wait; if it stays so, see virtid-agent's log in the guest");
    else if (!n->found)
        add_step(steps, "proof", "waiting", "none yet", "a proof by the guest's agent",
                 "see the steps before this one");
    else if (n->record.problem[0])
        add_step(steps, "proof", n->record.problem, n->record.seen, n->record.expected,
                 strcmp(n->record.problem, "ek-changed") == 0 ? new_vtpm_command(a, command)
                 : p                                          ? p->repair
                                                              : NULL);
    else if (strcmp(n->record.what, "extend") == 0 || strcmp(n->record.what, "resolve") == 0)
        add_step(steps, "proof", "stepping", "the first proof of this run", "the one that shows the step",
                 "wait; if it stays so, see virtid-agent's log in the guest");
    else
        add_step(steps, "proof", "ok", n->record.why, "", NULL);
}

/* Nothing is latched: a VM is behind as long as its newest proof was. */
static bool
is_behind(const struct vm_account *a, const struct newest *n)
{
    return a->id.state == ROW_OK && n->found &&
           (strcmp(n->record.problem, "disk-behind") == 0 ||
            strcmp(n->record.problem, "tpm-behind") == 0);
}

/* Evidence, beside what the proof shows; without that only of the run that is there. */
static void
add_host_saw(json_t *steps, const struct vm_account *a, const struct newest *n)
{
    char epoch[HOST_SAW_EPOCH_MAX];

    host_saw_print_epoch(a->stored.lease.ep, epoch);
    if (n->saw && (is_behind(a, n) || strcmp(n->host_saw.why, epoch) == 0))
        host_saw_step(&n->host_saw, steps);
}

static int
add_steps(struct service *s, const struct vm_account *a, int64_t now_ms, json_t *o,
          struct error *err)
{
    struct lease_now now = vm_account_now(s, a, now_ms);
    const struct store_audit_query query = { .uuid = &a->id.uuid, .limit = 50 };
    struct newest newest = { .found = false };
    json_t *steps = json_array();
    char uuid[VM_UUID_TEXT], command[COMMAND_MAX];

    vm_uuid_print(&a->id.uuid, uuid);

    if (json_object_set_new(o, "steps", steps) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (store_audit_list(s->store, &query, take_proof, &newest, err) < 0)
        return -1;
    take_seen(a, &newest);
    add_lease_steps(steps, a, &now);
    add_renewal_step(steps, a, now_ms);
    add_proof_steps(steps, a, &newest);
    if (copied_step(s, a, steps, err) < 0)
        return -1;
    add_host_saw(steps, a, &newest);
    if (a->id.state == ROW_LOCKED)
        json_object_set_new(o, "repair", json_string(unlock_command(a, command)));
    if (is_behind(a, &newest)) {
        json_object_set_new(o, "state", json_string(newest.record.problem));
        json_object_set_new(o, "repair", json_sprintf("virtid accept %s", a->id.name[0] ? a->id.name : uuid));
    }
    return 0;
}

static const char *
ratchet_word(uint8_t ratchet)
{
    if (!(ratchet & ROW_RATCHET_ON))
        return "off";
    return ratchet & ROW_RATCHET_NO_DISK ? "on, but for its transient disk" : "on";
}

int
vm_account_show_all(struct service *s, const struct vm_account *a, int64_t now_ms,
                    json_t **ret, struct error *err)
{
    CLEANUP(json_decref) json_t *o = vm_account_show(s, a, now_ms);
    char hex[HEX_LEN(32) + 1], pool[NAME_POOL_MAX + 1];
    enum lease_mode mode;

    if (!o)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (store_mode_get(s->store, &a->id.uuid, &mode, err) < 0 ||
        pools_of_vm(s, &a->stored.lease, pool, err) < 0)
        return -1;
    if (pool[0])
        json_object_set_new(o, "pool", json_string(pool));
    json_object_set_new(o, "mode", json_string(lease_mode_name(mode)));
    json_object_set_new(o, "owner", json_string(a->id.owner));
    json_object_set_new(o, "labels", json_loads(a->id.labels, 0, NULL));
    json_object_set_new(o, "floor", factor_names(a->id.floor));
    json_object_set_new(o, "audiences", audience_names(a->id.audiences));
    if (a->id.has_ek) {
        hex_encode(a->id.ek_digest, 32, hex);
        json_object_set_new(o, "ek_sha256", json_string(hex));
        json_object_set_new(o, "ek_origin",
                            json_string(a->id.ek_origin == ROW_EK_CA ? "ca" : "host"));
    }
    json_object_set_new(o, "has_secret", json_boolean(a->id.has_cur));
    json_object_set_new(o, "has_index", json_boolean(a->id.has_x));
    json_object_set_new(o, "ratchet", json_string(ratchet_word(a->id.ratchet)));
    json_object_set_new(o, "restore", json_string(a->id.ratchet & ROW_RATCHET_AUTO ? "auto" : "ask"));
    if (a->id.grant.given && now_ms < a->id.grant.ends_ms)
        json_object_set_new(o, "accepted_until", json_integer(a->id.grant.ends_ms));
    if (renewing_is_open(a, now_ms)) {
        json_object_set_new(o, "new_vtpm_until", json_integer(a->id.renewal.ends_ms));
        json_object_set_new(o, "new_vtpm_host", json_string(a->id.renewal.host[0] ? a->id.renewal.host : "first of the pool"));
    }
    json_object_set_new(o, "placed", json_boolean(a->stored.lease.placed));
    if (add_steps(s, a, now_ms, o, err) < 0)
        return -1;
    *ret = STEAL(o);
    return 0;
}
