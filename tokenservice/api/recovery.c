#include "config.h"

#include "tokenservice/api/recovery.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/common/log.h"
#include "tokenservice/api/api.h"
#include "tokenservice/api/api_body.h"
#include "tokenservice/api/decision.h"
#include "tokenservice/api/lock.h"

/* In the database: "SINCE LAST", both in ms since 1970; "" when it is over. */
#define META "recovery"

static int
store_recovery(struct service *s, int64_t since_ms, struct error *err)
{
    char value[64];

    snprintf(value, sizeof value, "%" PRId64 " %" PRId64, since_ms, s->restored_ms);
    if (store_meta_put(s->store, META, value, err) < 0)
        return -1;
    s->recovery = true;
    s->recovery_since_ms = since_ms;
    return 0;
}

static int
begin_at_start(struct service *s, struct error *err)
{
    CLEANUP(store_abandon) struct store *txn = NULL;
    struct audit_record record = { .ms = s->clock_ms(), .who = "option --recovery", .what = "recovery" };
    int64_t newest;

    if (store_begin(s->store, &txn, err) < 0 || store_audit_newest(s->store, &newest, err) < 0)
        return -1;
    if (newest < s->head.id) { /* audit_heads_compare() saw it */
        strcpy(record.who, "service");
        strcpy(record.seen, "the audit was signed further than the database goes");
    }
    if (store_recovery(s, record.ms, err) < 0 || store_audit_add(s->store, &record, err) < 0)
        return -1;
    return store_commit(txn, err);
}

int
recovery_start(struct service *s, struct error *err)
{
    char value[STORE_META_MAX + 1];
    struct error why = { 0 };

    s->restored_ms = s->newest_ms;
    if (store_meta_get(s->store, META, value, &why) < 0 && why.code != ERROR_MISSING) {
        *err = why;
        return -1;
    }
    s->recovery = why.code != ERROR_MISSING &&
                  sscanf(value, "%" SCNd64 " %" SCNd64, &s->recovery_since_ms, &s->restored_ms) == 2;
    if (!s->recovery && s->begin_recovery && begin_at_start(s, err) < 0)
        return -1;
    if (s->recovery)
        log_warning("event=recovery the database was restored: nobody is enrolled and nothing is placed before an "
                    "operator says so; virtid recovery show");
    return 0;
}

int
recovery_check(const struct service *s, struct error *err)
{
    if (!s->recovery)
        return 0;
    return error_problem(err, ERROR_BUSY, "recovery", "the service works with a restored database");
}

int
recovery_begin(struct service *s, struct api_call *call, const char *what, struct error *err)
{
    struct decision d = { .what = "recovery", .seen = what };

    if (s->recovery)
        return 0;
    log_warning("event=alarm the database is older than what hosts can show (%s): it was restored; virtid recovery show",
                what);
    return store_recovery(s, call->now_ms, err) < 0 ? -1 : decision_add(s, call, &d, err);
}

bool
recovery_is_later(const struct service *s, const struct x509_info *cert)
{
    return (cert->not_before + X509_BACKDATE + 1) * 1000 > s->restored_ms;
}

/* EK and keys belong to one account that is not pending; another may have got them since the backup was made. */
static int
check_unique(struct service *s, const struct receipt *r, bool *ret_used, struct error *err)
{
    const struct identity_row *id = &r->id;

    *ret_used = false;
    if (r->row_ver == 0)
        return 0;
    if (id->has_ek && store_vm_ek_used(s->store, id->ek_digest, &r->uuid, ret_used, err) < 0)
        return -1;
    if (!*ret_used && id->has_cur && store_vm_cur_used(s->store, id->cur, &r->uuid, ret_used, err) < 0)
        return -1;
    if (!*ret_used && id->has_next && store_vm_cur_used(s->store, id->next, &r->uuid, ret_used, err) < 0)
        return -1;
    return 0;
}

static void
take_account(struct vm_account *a, const struct receipt *r)
{
    struct store_vm *stored = &a->stored;

    a->id = r->id;
    memcpy(stored->row, r->row, r->row_len);
    stored->row_len = r->row_len;
    memcpy(stored->mac, r->mac, sizeof stored->mac);
    stored->row_ver = r->row_ver;
    memcpy(stored->ek, r->ek, r->ek_len);
    stored->ek_len = r->ek_len;
    a->stored_already = true; /* the row is sealed as it is */
}

/* Behind the grace, which gives them to all: candidates of a MOVE sign in epochs that nobody else was given. */
static void
take_lease(struct vm_account *a, const struct receipt *r, const struct lease_now *now)
{
    a->stored.lease = r->lease;
    a->stored.lease.renewed_ms = now->now_ms; /* its holder has one lease to speak up */
    if (!now->grace && r->lease.st == LEASE_MOVE)
        lease_rejoin(&a->stored.lease, now);
}

static int
record(struct service *s, struct api_call *call, const struct vm_account *a, const char *why,
       const struct lease_record *before, const char *problem, struct error *err)
{
    const struct lease_record *lease = &a->stored.lease;
    char seen[AUDIT_TEXT_MAX], expected[AUDIT_TEXT_MAX];
    struct decision d = { .what = problem ? "receipt-refused" : "receipt-taken", .uuid = &a->id.uuid,
                          .problem = problem, .why = why, .seen = seen, .expected = expected };

    snprintf(seen, sizeof seen, "%s %s epoch %llu", lease_state_name(lease->st), lease->hol[0] ? lease->hol : "-",
             (unsigned long long)lease->ep);
    snprintf(expected, sizeof expected, "%s %s epoch %llu", lease_state_name(before->st),
             before->hol[0] ? before->hol : "-", (unsigned long long)before->ep);
    return decision_add(s, call, &d, err);
}

static int
find_account(struct service *s, struct api_call *call, const struct vm_uuid *uuid, struct vm_account *ret,
             struct error *err)
{
    if (vm_account_load(s, uuid, ret, err) == 0)
        return 0;
    if (err->code != ERROR_MISSING)
        return -1;
    vm_account_new(uuid, call->now_ms, ret);
    return 0;
}

int
recovery_take(struct service *s, struct api_call *call, const struct receipt *r, enum recovery_taken *ret,
              struct error *err)
{
    struct vm_account a;
    struct lease_record before;
    struct identity_row was;
    bool lease_newer, row_newer, used = false;
    struct lease_now now;

    if (find_account(s, call, &r->uuid, &a, err) < 0)
        return -1;
    before = a.stored.lease;
    lease_newer = r->lease.ver > before.ver;
    row_newer = r->row_ver > a.stored.row_ver;
    /* Without an account a lease is nobody's: whoever holds it shows both. */
    *ret = a.stored_already || row_newer ? RECOVERY_KNOWN : RECOVERY_REFUSED;
    if ((!lease_newer && !row_newer) || *ret == RECOVERY_REFUSED)
        return 0;
    if (row_newer && check_unique(s, r, &used, err) < 0)
        return -1;
    if (recovery_begin(s, call, "a receipt", err) < 0)
        return -1;
    if (used) {
        *ret = RECOVERY_REFUSED;
        return record(s, call, &a, "its keys are another VM's by now", &before, "secret-known", err);
    }
    was = a.id;
    if (row_newer) {
        take_account(&a, r);
        if (lock_keep(s, &was, r->row_ver, &a, err) < 0)
            return -1;
    }
    now = vm_account_now(s, &a, call->now_ms);
    if (lease_newer)
        take_lease(&a, r, &now);
    a.yields = true; /* another host may have a newer one */
    if (vm_account_save(s, &a, err) < 0)
        return -1;
    *ret = RECOVERY_TAKEN;
    log_notice("event=receipt-taken host=%s holder=%s state=%s epoch=%llu", call->host.name, a.stored.lease.hol,
               lease_state_name(a.stored.lease.st), (unsigned long long)a.stored.lease.ep);
    return record(s, call, &a, !row_newer ? "lease" : !lease_newer ? "account" : "lease and account", &before, NULL, err);
}

int
recovery_end(struct service *s, struct error *err)
{
    return store_meta_put(s->store, META, "", err);
}

void
recovery_ended(struct service *s, int64_t now_ms)
{
    s->recovery = false;
    s->restored_ms = now_ms;
}
