#include "config.h"

#include "tokenservice/api/lock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/common/log.h"
#include "tokenservice/api/api.h"
#include "tokenservice/api/api_body.h"
#include "tokenservice/api/decision.h"
#include "tokenservice/api/retire.h"

enum { SHOWN_MAX = AUDIT_WHO_MAX + AUDIT_TEXT_MAX + 80 };

int
lock_check(const struct vm_account *a, struct error *err)
{
    char uuid[VM_UUID_TEXT];

    if (a->id.state == ROW_PENDING || a->id.state == ROW_OK)
        return 0;
    vm_uuid_print(&a->id.uuid, uuid);
    if (a->id.state == ROW_RETIRED)
        return error_problem(err, ERROR_DENIED, "retired", "the identity is retired");
    return error_problem(err, ERROR_DENIED, "locked", "the identity is %s; virtid unlock %s ends that",
                         identity_row_state_name(a->id.state), a->id.name[0] ? a->id.name : uuid);
}

/* ---- who said so ---- */

static int
take_record(void *context, const struct audit_record *record, struct error *err)
{
    struct audit_record *ret = context;

    (void)err;
    *ret = *record;
    return 0;
}

int
lock_since(struct service *s, const struct vm_uuid *uuid, int64_t *ret_ms, struct error *err)
{
    struct audit_record record = { .ms = 0 };

    if (store_audit_list_locks(s->store, uuid, 1, take_record, &record, err) < 0)
        return -1;
    *ret_ms = record.ms;
    return 0;
}

static void
set(struct vm_account *a)
{
    a->id.state = ROW_LOCKED;
    a->id.grant = (struct row_grant){ .given = false }; /* a right to a new vTPM ends with every state but `ok` */
}

int
lock_keep(struct service *s, const struct identity_row *before, uint64_t receipt_ver, struct vm_account *a,
          struct error *err)
{
    int64_t since_ms;

    if (before->state != ROW_LOCKED || a->id.state == ROW_RETIRED)
        return 0;
    if (lock_since(s, &a->id.uuid, &since_ms, err) < 0)
        return -1;
    if (since_ms > 0 && (uint64_t)since_ms > receipt_ver)
        set(a);
    return 0;
}

static void
print_shown(const struct audit_record *r, char ret[static SHOWN_MAX])
{
    time_t when = r->ms / 1000;
    char at[40] = "";
    struct tm tm;

    if (r->ms == 0 || !gmtime_r(&when, &tm)) { /* it came by a receipt */
        snprintf(ret, SHOWN_MAX, "locked by an operator; by whom, and why, is in the service's log of then");
        return;
    }
    strftime(at, sizeof at, "%Y-%m-%d %H:%M:%S UTC", &tm);
    snprintf(ret, SHOWN_MAX, "locked since %s by %s%s%s", at, r->who, r->why[0] ? ": " : "", r->why);
}

int
lock_show(struct service *s, const struct vm_account *a, json_t *answer, struct error *err)
{
    struct audit_record record = { .ms = 0 };
    char seen[SHOWN_MAX];
    json_t *step;
    size_t i;

    if (a->id.state != ROW_LOCKED)
        return 0;
    if (store_audit_list_locks(s->store, &a->id.uuid, 1, take_record, &record, err) < 0)
        return -1;
    print_shown(&record, seen);
    json_array_foreach(json_object_get(answer, "steps"), i, step) {
        const char *name = json_string_value(json_object_get(step, "step"));

        if (name && strcmp(name, "account") == 0 && json_object_set_new(step, "seen", json_string(seen)) < 0)
            return error_set(err, ERROR_SYSTEM, "no memory");
    }
    if (record.ms == 0)
        return 0;
    if (json_object_set_new(answer, "locked_since", json_integer(record.ms)) < 0 ||
        json_object_set_new(answer, "locked_by", json_string(record.who)) < 0 ||
        json_object_set_new(answer, "locked_reason", json_string(record.why)) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    return 0;
}

/* ---- lock, unlock ---- */

/* It stands between quotation marks in the log. */
static bool
is_reason(const char *text)
{
    for (; *text; text++) {
        if (*text < 0x20 || *text > 0x7e || *text == '"' || *text == '\\')
            return false;
    }
    return true;
}

static int
read_reason(struct api_call *call, json_t **ret_body, const char **ret, struct error *err)
{
    *ret = "";
    if (api_body_read(call, "reason", ret_body, err) < 0)
        return -1;
    if (json_get_string(*ret_body, "reason", true, AUDIT_TEXT_MAX, ret, err) < 0 || !is_reason(*ret))
        return error_problem(err, ERROR_INPUT, "bad-request",
                             "a reason is at most %d printable ASCII characters, without quotation mark and backslash",
                             AUDIT_TEXT_MAX);
    return 0;
}

static int
answer(struct service *s, struct api_call *call, const struct vm_account *a, bool changed, struct error *err)
{
    CLEANUP(json_decref) json_t *o = vm_account_show(s, a, call->now_ms);

    if (!o || json_object_set_new(o, "changed", json_boolean(changed)) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    return api_body_answer(call, 200, STEAL(o), err);
}

int
api_admin_vm_lock(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *body = NULL;
    CLEANUP(store_abandon) struct store *txn = NULL;
    struct decision d = { .what = "locked" };
    struct vm_account a;

    if (read_reason(call, &body, &d.why, err) < 0 || store_begin(s->store, &txn, err) < 0 ||
        vm_account_find(s, call->arg, &a, err) < 0 || retire_check(&a, false, err) < 0)
        return -1;
    if (a.id.state == ROW_LOCKED)
        return answer(s, call, &a, false, err);
    d.uuid = &a.id.uuid;
    d.seen = identity_row_state_name(a.id.state);
    set(&a);
    a.yields = true; /* a newer row in a receipt is taken all the same, and lock_keep() keeps this word */
    if (vm_account_save(s, &a, err) < 0 || decision_add(s, call, &d, err) < 0 || store_commit(txn, err) < 0)
        return -1;
    log_notice("event=locked uuid=%s", call->arg);
    return answer(s, call, &a, true, err);
}

int
api_admin_vm_unlock(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *body = NULL;
    CLEANUP(store_abandon) struct store *txn = NULL;
    struct decision d = { .what = "unlocked" };
    struct vm_account a;

    if (api_body_read(call, "", &body, err) < 0 || store_begin(s->store, &txn, err) < 0 ||
        vm_account_find(s, call->arg, &a, err) < 0 || retire_check(&a, false, err) < 0)
        return -1;
    if (a.id.state != ROW_LOCKED)
        return answer(s, call, &a, false, err);
    d.uuid = &a.id.uuid;
    a.id.state = identity_row_is_unproved(&a.id) ? ROW_PENDING : ROW_OK;
    d.seen = identity_row_state_name(a.id.state);
    a.yields = s->recovery || service_in_grace(s, call->now_ms, NULL);
    if (vm_account_save(s, &a, err) < 0 || decision_add(s, call, &d, err) < 0 || store_commit(txn, err) < 0)
        return -1;
    log_notice("event=unlocked uuid=%s", call->arg);
    return answer(s, call, &a, true, err);
}
