#include "config.h"

#include "tokenservice/api/vm_account.h"

#include <string.h>

#include "lib/common/log.h"
#include "lib/crypto/hash.h"

/* The EK lies beside the row, bound to it by its digest. */
static int
check_ek(const struct vm_account *a, struct error *err)
{
    uint8_t digest[SHA256_LEN];

    if (!a->id.has_ek)
        return 0;
    if (hash_sha256(a->stored.ek, a->stored.ek_len, digest, err) < 0)
        return -1;
    if (memcmp(digest, a->id.ek_digest, sizeof digest) != 0) /* both are public */
        return error_problem(err, ERROR_DENIED, "row-forged",
                             "the EK is not the row's");
    return 0;
}

/* Who holds the lease, and in which epoch, is in the row since the newest grant. */
static bool
fits_lease(const struct vm_account *a)
{
    const struct lease_record *lease = &a->stored.lease;

    return lease->ep == a->id.epoch &&
           (lease->st != LEASE_RUNS || strcmp(lease->hol, a->id.host) == 0);
}

int
vm_account_open(struct service *s, const struct store_vm *stored,
                struct vm_account *ret, struct error *err)
{
    struct error why = { 0 };
    char uuid[VM_UUID_TEXT];

    if (&ret->stored != stored)
        ret->stored = *stored;
    ret->stored_already = true;
    if (mint_row_open(s->mint, stored->row, stored->row_len, stored->mac, &ret->id,
                      &why) == 0 &&
        vm_uuid_equal(&ret->id.uuid, &stored->uuid) && fits_lease(ret) &&
        check_ek(ret, &why) == 0)
        return 0;
    if (why.code == ERROR_SYSTEM || why.code == ERROR_BUSY) { /* we could not look */
        *err = why;
        return -1;
    }
    vm_uuid_print(&stored->uuid, uuid);
    log_warning(
        "event=alarm uuid=%s its row in the database is not what this service wrote",
        uuid);
    return error_problem(err, ERROR_DENIED, "row-forged",
                         "the row of %s is not what this service wrote", uuid);
}

int
vm_account_load(struct service *s, const struct vm_uuid *uuid, struct vm_account *ret,
                struct error *err)
{
    struct identity_row nobody;
    struct error ignored;

    memset(ret, 0, sizeof *ret);
    if (store_vm_find(s->store, uuid, &ret->stored, err) < 0) {
        /* The same work as for a VM that is there. */
        mint_row_open(s->mint, s->nobody_row, s->nobody_len, s->nobody_mac, &nobody,
                      &ignored);
        return -1;
    }
    return vm_account_open(s, &ret->stored, ret, err);
}

int
vm_account_find(struct service *s, const char *uuid_or_name, struct vm_account *ret,
                struct error *err)
{
    struct error why = { 0 };
    struct vm_uuid uuid;
    int rc;

    memset(ret, 0, sizeof *ret);
    if (vm_uuid_parse(uuid_or_name, &uuid, &why) == 0)
        rc = store_vm_find(s->store, &uuid, &ret->stored, err);
    else
        rc = store_vm_find_name(s->store, uuid_or_name, &ret->stored, err);
    if (rc < 0)
        return err->code == ERROR_MISSING
                   ? error_problem(err, ERROR_MISSING, "not-found",
                                   "no identity \"%.80s\"", uuid_or_name)
                   : -1;
    return vm_account_open(s, &ret->stored, ret, err);
}

void
vm_account_new(const struct vm_uuid *uuid, int64_t now_ms, struct vm_account *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->stored.uuid = *uuid;
    ret->stored.made_ms = now_ms;
    lease_new(&ret->stored.lease);
    ret->id.uuid = *uuid;
    ret->id.state = ROW_PENDING;
    strcpy(ret->id.labels, "{}");
}

void
vm_account_ratchet(const struct identity_row *id, struct ratchet *ret)
{
    *ret = (struct ratchet){ .on = (id->ratchet & ROW_RATCHET_ON) != 0,
                             .has_cur = id->has_cur,
                             .has_x = id->has_x,
                             .has_next = id->has_next,
                             .has_xnext = id->has_xnext,
                             .pend_run = id->pend_run,
                             .done_run = id->done_run,
                             .grant = { .given = id->grant.given,
                                        .epoch = id->grant.epoch,
                                        .ends_ms = id->grant.ends_ms,
                                        .shown = id->grant.shown } };
    memcpy(ret->cur, id->cur, sizeof ret->cur);
    memcpy(ret->next, id->next, sizeof ret->next);
    memcpy(ret->xcur, id->x, sizeof ret->xcur);
    memcpy(ret->xnext, id->xnext, sizeof ret->xnext);
    memcpy(ret->v, id->v, sizeof ret->v);
}

void
vm_account_take_ratchet(struct identity_row *id, const struct ratchet *r)
{
    id->ratchet = (uint8_t)((id->ratchet & ~ROW_RATCHET_ON) | (r->on ? ROW_RATCHET_ON : 0));
    id->has_next = r->has_next;
    id->has_xnext = r->has_xnext;
    id->pend_run = r->pend_run;
    id->done_run = r->done_run;
    if (!r->grant.given) /* nothing here gives one */
        id->grant = (struct row_grant){ .given = false };
    memcpy(id->cur, r->cur, sizeof id->cur);
    memcpy(id->next, r->next, sizeof id->next);
    memcpy(id->x, r->xcur, sizeof id->x);
    memcpy(id->xnext, r->xnext, sizeof id->xnext);
    memcpy(id->v, r->v, sizeof id->v);
}

void
vm_account_forget_claim(struct vm_account *a)
{
    struct identity_row *id = &a->id;

    id->has_ek = id->has_ak = id->has_cur = id->has_x = false;
    id->ek_origin = ROW_EK_NONE;
    vm_account_take_ratchet(id, &(struct ratchet){ .on = false });
    id->ratchet = 0;
    id->seen = (struct row_seen){ .has = false };
    id->restored_ms = 0;
    memset(id->ek_digest, 0, sizeof id->ek_digest);
    memset(id->ak_name, 0, sizeof id->ak_name);
    a->stored.ek_len = 0;
    memset(a->stored.ek, 0, sizeof a->stored.ek);
}

/* As the lease's versions: above the last, and not below the clock, so that it rises over a restored database too. */
static uint64_t
next_row_ver(const struct service *s, const struct vm_account *a)
{
    uint64_t next = a->stored.row_ver + 1, now = (uint64_t)s->clock_ms();

    return next < now && !a->yields ? now : next;
}

int
vm_account_save(struct service *s, struct vm_account *a, struct error *err)
{
    CLEANUP(buf_clear) struct buf row = BUF(ROW_MAX);

    if (a->stored.lease.ep > a->id.epoch) {
        if (identity_row_is_unproved(&a->id) && a->id.host[0] &&
            strcmp(a->id.host, a->stored.lease.hol) != 0) {
            /* Another host than the one that made the account has it now. */
            vm_account_forget_claim(a);
            a->stored.has_ek_issued = false;
        }
        a->id.epoch = a->stored.lease.ep;
        a->id.seen = (struct row_seen){ .has = false };
        if (a->id.grant.epoch != a->id.epoch) /* one ends with its epoch, or with the one in which it did not begin */
            a->id.grant = (struct row_grant){ .given = false };
        memcpy(a->id.host, a->stored.lease.hol, sizeof a->id.host);
    }
    if (a->id.state != ROW_OK || (a->id.epoch == a->stored.lease.ep && a->stored.lease.st == LEASE_RUNS &&
                                  strcmp(a->id.host, a->id.renewal.host) != 0))
        a->id.renewal = (struct row_renewal){ .given = false }; /* it is another host's VM, or nobody's */
    if (identity_row_encode(&a->id, &row, err) < 0)
        return -1;
    /* A renewal changes nothing in it: then it is not worth a question to the signer.
     */
    if (!a->stored_already || row.len != a->stored.row_len ||
        memcmp(row.data, a->stored.row, row.len) != 0) {
        buf_clear(&row);
        if (mint_row_seal(s->mint, &a->id, &row, a->stored.mac, err) < 0)
            return -1;
        memcpy(a->stored.row, row.data, row.len);
        a->stored.row_len = row.len;
        a->stored.row_ver = next_row_ver(s, a);
    }
    a->stored_already = true;
    return store_vm_put(s->store, &a->stored, &a->id, err);
}

struct lease_now
vm_account_now(struct service *s, const struct vm_account *a, int64_t now_ms)
{
    struct error why;
    bool behind = service_check_clock(s, now_ms, &why) < 0;

    return (struct lease_now){ .now_ms = now_ms,
                               .since_ms = s->started_ms,
                               .grace = service_in_grace(s, now_ms, NULL) || behind,
                               .host_only = a->id.floor == FACTOR_HOST /* also while it is locked: no proof comes later */ };
}

int
vm_account_check_holder(struct service *s, const struct vm_account *a, const char *host,
                        uint64_t epoch, int64_t now_ms, struct error *err)
{
    const struct lease_record *lease = &a->stored.lease;
    struct lease_now now = vm_account_now(s, a, now_ms);

    if (lease_held(lease, host, epoch, &now))
        return 0;
    if (strcmp(lease->hol, host) == 0)
        return error_problem(
            err, ERROR_DENIED, "stale-epoch",
            "epoch %llu is not that of a live lease of this host (%s, %llu)",
            (unsigned long long)epoch, lease_state_name(lease->st),
            (unsigned long long)lease->ep);
    return error_problem(err, ERROR_DENIED,
                         identity_row_is_unproved(&a->id) ? "claimed" : "foreign",
                         "the VM is %s host %s; \"virtid place\" settles it",
                         lease->st == LEASE_RUNS ? "held by" : "reserved for",
                         lease->hol[0] ? lease->hol : "(none)");
}
