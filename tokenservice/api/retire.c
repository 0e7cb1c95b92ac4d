#include "config.h"

#include "tokenservice/api/retire.h"

#include <stdio.h>
#include <string.h>

#include "lib/common/log.h"
#include "tokenservice/api/api.h"
#include "tokenservice/api/api_body.h"
#include "tokenservice/api/decision.h"

int
retire_check(const struct vm_account *a, bool reincarnate, struct error *err)
{
    bool retired = a->id.state == ROW_RETIRED;
    char uuid[VM_UUID_TEXT];

    if (retired == reincarnate)
        return 0;
    vm_uuid_print(&a->id.uuid, uuid);
    if (reincarnate)
        return error_problem(err, ERROR_DENIED, "conflict", "the identity of %s is %s, not retired", uuid,
                             identity_row_state_name(a->id.state));
    return error_problem(err, ERROR_DENIED, "retired",
                         "the identity of %s was ended by an operator; --reincarnate begins a new one", uuid);
}

void
retire_end_lease(struct vm_account *a, const struct lease_now *now)
{
    if (!now->grace)
        lease_retire(&a->stored.lease, now);
}

int
retire_undo(struct service *s, struct api_call *call, struct vm_account *a, struct error *err)
{
    struct decision d = { .what = "reincarnated", .uuid = &a->id.uuid };
    struct identity_row *id = &a->id;
    char seen[40];

    vm_account_forget_claim(a);
    a->stored.has_ek_issued = false;
    id->state = ROW_PENDING;
    id->gen++;
    id->floor = 0;
    memset(id->owner, 0, sizeof id->owner); /* they were another identity's rights */
    memset(id->audiences, 0, sizeof id->audiences);
    memset(id->labels, 0, sizeof id->labels);
    strcpy(id->labels, "{}");
    a->stored.has_mark = a->stored.mark_vtpm = false;
    a->stored.mark_factors = 0;
    snprintf(seen, sizeof seen, "gen %llu", (unsigned long long)id->gen);
    d.seen = seen;
    log_notice("event=reincarnated uuid=%s gen=%llu", call->arg, (unsigned long long)id->gen);
    return decision_add(s, call, &d, err);
}

int
api_admin_vm_retire(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *body = NULL;
    CLEANUP(store_abandon) struct store *txn = NULL;
    struct decision d = { .what = "retired" };
    struct vm_account a;
    struct lease_now now;
    char seen[AUDIT_TEXT_MAX];

    if (api_body_read(call, "", &body, err) < 0 || store_begin(s->store, &txn, err) < 0 ||
        vm_account_find(s, call->arg, &a, err) < 0)
        return -1;
    if (a.id.state == ROW_RETIRED)
        return api_body_answer(call, 200, vm_account_show(s, &a, call->now_ms), err);
    now = vm_account_now(s, &a, call->now_ms);
    snprintf(seen, sizeof seen, "%s, %s %s epoch %llu", identity_row_state_name(a.id.state),
             lease_state_name(a.stored.lease.st), a.stored.lease.hol, (unsigned long long)a.stored.lease.ep);
    d.uuid = &a.id.uuid;
    d.seen = seen;
    if (identity_row_is_unproved(&a.id)) /* keys that nobody has shown belong to nobody */
        vm_account_forget_claim(&a);
    a.id.state = ROW_RETIRED;
    retire_end_lease(&a, &now);
    if (vm_account_save(s, &a, err) < 0 || decision_add(s, call, &d, err) < 0 || store_commit(txn, err) < 0)
        return -1;
    log_notice("event=retired uuid=%s", call->arg);
    return api_body_answer(call, 200, vm_account_show(s, &a, call->now_ms), err);
}
