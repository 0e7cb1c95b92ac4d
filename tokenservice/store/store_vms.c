#include "config.h"

#include "tokenservice/store/store.h"

#include <string.h>

#include "tokenservice/store/store_query.h"

#define VM_COLUMNS                                                                     \
    "uuid, row, mac, name, pending, ek_sha256, cur, ek, ek_issued, st, hol, ep, nx, "  \
    "out, "                                                                            \
    "placed, ver, seen, renewed_ms, mark_nonce, mark_vtpm, mark_reset, mark_restart, " \
    "mark_clock, mark_ms, mark_factors, made_ms, next, row_ver, pool"

/* Held by or reserved for host ?1; or nobody's, and that host was the first to speak of
 * it.  No host's name has a sign that LIKE would read. */
#define CLAIMED_BY "(hol = ?1 OR (hol = '' AND seen LIKE ?1 || '=%'))"

static int
read_lease(struct sqlite3_stmt *q, struct lease_record *ret, struct error *err)
{
    char seen[LEASE_SEEN_TEXT_MAX + 1];

    if (query_text(q, 10, ret->hol, NAME_HOST_MAX, err) < 0 ||
        query_text(q, 28, ret->pool, NAME_POOL_MAX, err) < 0 ||
        query_text(q, 16, seen, LEASE_SEEN_TEXT_MAX, err) < 0 ||
        lease_seen_parse(seen, ret, err) < 0)
        return -1;
    ret->st = (enum lease_state)sqlite3_column_int(q, 9);
    ret->ep = (uint64_t)sqlite3_column_int64(q, 11);
    ret->nx = (uint64_t)sqlite3_column_int64(q, 12);
    ret->out = (enum lease_out)sqlite3_column_int(q, 13);
    ret->placed = sqlite3_column_int(q, 14) != 0;
    ret->ver = (uint64_t)sqlite3_column_int64(q, 15);
    ret->renewed_ms = sqlite3_column_int64(q, 17);
    return 0;
}

static int
read_mark(struct sqlite3_stmt *q, struct store_vm *ret, struct error *err)
{
    if (query_exact(q, 18, ret->mark_nonce, NONCE_LEN, &ret->has_mark, err) < 0)
        return -1;
    ret->mark_vtpm = sqlite3_column_int(q, 19) != 0;
    ret->mark_reset = (uint32_t)sqlite3_column_int64(q, 20);
    ret->mark_restart = (uint32_t)sqlite3_column_int64(q, 21);
    ret->mark_clock = (uint64_t)sqlite3_column_int64(q, 22);
    ret->mark_ms = sqlite3_column_int64(q, 23);
    ret->mark_factors = (uint8_t)sqlite3_column_int(q, 24);
    return 0;
}

static int
read_vm(struct sqlite3_stmt *q, struct store_vm *ret, struct error *err)
{
    bool has_uuid, has_mac;

    memset(ret, 0, sizeof *ret);
    if (query_exact(q, 0, ret->uuid.bytes, sizeof ret->uuid.bytes, &has_uuid, err) <
            0 ||
        query_blob(q, 1, ret->row, ROW_MAX, &ret->row_len, err) < 0 ||
        query_exact(q, 2, ret->mac, ROW_MAC_LEN, &has_mac, err) < 0 ||
        query_blob(q, 7, ret->ek, EK_PUBLIC_MAX, &ret->ek_len, err) < 0 ||
        query_exact(q, 8, ret->ek_issued, 32, &ret->has_ek_issued, err) < 0 ||
        read_lease(q, &ret->lease, err) < 0 || read_mark(q, ret, err) < 0)
        return -1;
    if (!has_uuid || !has_mac)
        return error_set(err, ERROR_SYSTEM, "database: a VM without uuid or MAC");
    ret->made_ms = sqlite3_column_int64(q, 25);
    ret->row_ver = (uint64_t)sqlite3_column_int64(q, 27);
    return 0;
}

int
store_vm_find(struct store *store, const struct vm_uuid *uuid, struct store_vm *ret,
              struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    int rc;

    if (query_new(store, &q, err, "SELECT " VM_COLUMNS " FROM vms WHERE uuid = ?", "b",
                  uuid->bytes, sizeof uuid->bytes) < 0)
        return -1;
    rc = query_step(store, q, err);
    if (rc == 0)
        return error_set(err, ERROR_MISSING, "no such VM");
    return rc < 0 ? -1 : read_vm(q, ret, err);
}

int
store_vm_find_name(struct store *store, const char *name, struct store_vm *ret,
                   struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    int rc;

    if (query_new(store, &q, err,
                  "SELECT " VM_COLUMNS " FROM vms WHERE name = ? LIMIT 2", "t",
                  name) < 0)
        return -1;
    rc = query_step(store, q, err);
    if (rc == 0)
        return error_set(err, ERROR_MISSING, "no VM of this name");
    if (rc < 0 || read_vm(q, ret, err) < 0)
        return -1;
    rc = query_step(store, q, err);
    if (rc > 0)
        return error_set(err, ERROR_INPUT, "several VMs have this name; use the UUID");
    return rc;
}

int
store_vm_put(struct store *store, const struct store_vm *v,
             const struct identity_row *id, struct error *err)
{
    char seen[LEASE_SEEN_TEXT_MAX + 1];

    lease_seen_print(&v->lease, seen);
    return query_run(
        store, err,
        "INSERT INTO vms (" VM_COLUMNS ") VALUES "
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
        "?, ?, ?, ?) "
        "ON CONFLICT (uuid) DO UPDATE SET row = excluded.row, mac = excluded.mac, "
        "name = excluded.name, pending = excluded.pending, "
        "ek_sha256 = excluded.ek_sha256, cur = excluded.cur, ek = excluded.ek, "
        "ek_issued = excluded.ek_issued, st = excluded.st, hol = excluded.hol, "
        "ep = excluded.ep, nx = excluded.nx, out = excluded.out, "
        "placed = excluded.placed, ver = excluded.ver, seen = excluded.seen, "
        "renewed_ms = excluded.renewed_ms, mark_nonce = excluded.mark_nonce, "
        "mark_vtpm = excluded.mark_vtpm, mark_reset = excluded.mark_reset, "
        "mark_restart = excluded.mark_restart, mark_clock = excluded.mark_clock, "
        "mark_ms = excluded.mark_ms, mark_factors = excluded.mark_factors, "
        "made_ms = excluded.made_ms, next = excluded.next, row_ver = excluded.row_ver, "
        "pool = excluded.pool",
        "bbbtinnnnitiiiiitiniiiiiiinit", v->uuid.bytes, sizeof v->uuid.bytes, v->row,
        v->row_len, v->mac, (size_t)ROW_MAC_LEN,
        id->state == ROW_RETIRED ? "" : id->name, /* free for another VM */
        (int64_t)identity_row_is_unproved(id), id->ek_digest,
        (size_t)(id->has_ek ? 32 : 0), id->cur, (size_t)(id->has_cur ? 65 : 0), v->ek,
        v->ek_len, v->ek_issued, (size_t)(v->has_ek_issued ? 32 : 0),
        (int64_t)v->lease.st, v->lease.hol, (int64_t)v->lease.ep, (int64_t)v->lease.nx,
        (int64_t)v->lease.out, (int64_t)v->lease.placed, (int64_t)v->lease.ver, seen,
        v->lease.renewed_ms, v->mark_nonce, (size_t)(v->has_mark ? NONCE_LEN : 0),
        (int64_t)v->mark_vtpm, (int64_t)v->mark_reset, (int64_t)v->mark_restart,
        (int64_t)v->mark_clock, v->mark_ms, (int64_t)v->mark_factors, v->made_ms,
        id->next, (size_t)(id->has_next ? ROW_POINT_LEN : 0), (int64_t)v->row_ver,
        v->lease.pool);
}

static int
each_vm(struct store *store, struct sqlite3_stmt *q, store_vm_each *each, void *context,
        struct error *err)
{
    struct store_vm vm;
    int rc;

    while ((rc = query_step(store, q, err)) > 0) {
        if (read_vm(q, &vm, err) < 0 || each(context, &vm, err) < 0)
            return -1;
    }
    return rc;
}

int
store_vm_list_idle(struct store *store, const char *host, size_t limit,
                   store_vm_each *each, void *context, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;

    if (query_new(store, &q, err,
                  "SELECT " VM_COLUMNS " FROM vms WHERE pending = 1 AND st = 0 AND "
                  "placed = 0 AND " CLAIMED_BY
                  " ORDER BY renewed_ms, made_ms LIMIT ?2",
                  "ti", host, (int64_t)limit) < 0)
        return -1;
    return each_vm(store, q, each, context, err);
}

static int
list_page(struct store *store, const char *sql, const struct vm_uuid *after, size_t limit,
          store_vm_each *each, void *context, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;

    if (query_new(store, &q, err, sql, "bi", after ? (const void *)after->bytes : "",
                  after ? sizeof after->bytes : (size_t)0, (int64_t)limit) < 0)
        return -1;
    return each_vm(store, q, each, context, err);
}

int
store_vm_list(struct store *store, const struct vm_uuid *after, size_t limit,
              store_vm_each *each, void *context, struct error *err)
{
    return list_page(store, "SELECT " VM_COLUMNS " FROM vms WHERE uuid > ? ORDER BY uuid LIMIT ?",
                     after, limit, each, context, err);
}

int
store_vm_list_moves(struct store *store, const struct vm_uuid *after, size_t limit,
                    store_vm_each *each, void *context, struct error *err)
{
    return list_page(store,
                     "SELECT " VM_COLUMNS " FROM vms WHERE uuid > ? AND st = 2 ORDER BY uuid LIMIT ?",
                     after, limit, each, context, err);
}

int
store_vm_list_of_host(struct store *store, const char *host, const struct vm_uuid *after, size_t limit,
                      store_vm_each *each, void *context, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;

    if (query_new(store, &q, err,
                  "SELECT " VM_COLUMNS " FROM vms WHERE uuid > ?2 AND (hol = ?1 OR seen LIKE ?1 || '=%' OR "
                  "seen LIKE '% ' || ?1 || '=%') ORDER BY uuid LIMIT ?3",
                  "tbi", host, after ? (const void *)after->bytes : "",
                  after ? sizeof after->bytes : (size_t)0, (int64_t)limit) < 0)
        return -1;
    return each_vm(store, q, each, context, err);
}

static int
read_count(struct store *store, struct sqlite3_stmt *q, int64_t *ret, struct error *err)
{
    int rc = query_step(store, q, err);

    if (rc <= 0)
        return rc < 0 ? -1 : error_set(err, ERROR_SYSTEM, "database: no count");
    *ret = sqlite3_column_int64(q, 0);
    return 0;
}

int
store_vm_count(struct store *store, int64_t *ret, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;

    if (query_new(store, &q, err, "SELECT count(*) FROM vms", "") < 0)
        return -1;
    return read_count(store, q, ret, err);
}

int
store_vm_list_held(struct store *store, size_t limit, store_vm_each *each, void *context, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;

    if (query_new(store, &q, err,
                  "SELECT " VM_COLUMNS " FROM vms WHERE st <> 0 ORDER BY st DESC, renewed_ms, uuid LIMIT ?", "i",
                  (int64_t)limit) < 0)
        return -1;
    return each_vm(store, q, each, context, err);
}

int
store_totals(struct store *store, int64_t lapsed_ms, struct store_totals *ret, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    int rc;

    memset(ret, 0, sizeof *ret);
    if (query_new(store, &q, err,
                  "SELECT st, pending, st = 1 AND renewed_ms <= ?, count(*) FROM vms GROUP BY 1, 2, 3", "i",
                  lapsed_ms) < 0)
        return -1;
    while ((rc = query_step(store, q, err)) > 0) {
        int64_t n = sqlite3_column_int64(q, 3);

        ret->leases[sqlite3_column_int(q, 0)] += n; /* 0 to 2, says the schema */
        *(sqlite3_column_int(q, 1) ? &ret->pending : &ret->proved) += n;
        if (sqlite3_column_int(q, 2))
            ret->lapsed += n;
    }
    return rc;
}

int
store_host_vms(struct store *store, const char *name, int64_t *ret, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;

    if (query_new(store, &q, err, "SELECT count(*) FROM vms WHERE hol = ?", "t", name) <
        0)
        return -1;
    return read_count(store, q, ret, err);
}

int
store_host_pending(struct store *store, const char *name, int64_t *ret,
                   struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;

    if (query_new(store, &q, err,
                  "SELECT count(*) FROM vms WHERE pending = 1 AND " CLAIMED_BY, "t",
                  name) < 0)
        return -1;
    return read_count(store, q, ret, err);
}

int
store_vm_drop(struct store *store, const struct vm_uuid *uuid, struct error *err)
{
    if (query_run(store, err, "DELETE FROM seqs WHERE uuid = ?", "b", uuid->bytes,
                  sizeof uuid->bytes) < 0)
        return -1;
    return query_run(store, err, "DELETE FROM vms WHERE uuid = ?", "b", uuid->bytes,
                     sizeof uuid->bytes);
}

int
store_vm_marks_forget(struct store *store, int64_t since_ms, struct error *err)
{
    return query_run(store, err, "UPDATE vms SET mark_nonce = NULL WHERE mark_ms > ?", "i", since_ms);
}

static int
is_used(struct store *store, const char *sql, const void *value, size_t len,
        const struct vm_uuid *but, bool *ret, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    int rc;

    if (query_new(store, &q, err, sql, "bb", value, len, but->bytes,
                  sizeof but->bytes) < 0)
        return -1;
    rc = query_step(store, q, err);
    if (rc >= 0)
        *ret = rc > 0;
    return rc < 0 ? -1 : 0;
}

int
store_vm_ek_owner(struct store *store, const uint8_t ek_sha256[static 32], const struct vm_uuid *but,
                  struct vm_uuid *ret_owner, bool *ret, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    int rc;

    *ret = false;
    if (query_new(store, &q, err, "SELECT uuid FROM vms WHERE ek_sha256 = ? AND pending = 0 AND uuid <> ?", "bb",
                  ek_sha256, (size_t)32, but->bytes, sizeof but->bytes) < 0)
        return -1;
    rc = query_step(store, q, err);
    return rc <= 0 ? rc : query_exact(q, 0, ret_owner->bytes, sizeof ret_owner->bytes, ret, err);
}

int
store_vm_ek_used(struct store *store, const uint8_t ek_sha256[static 32],
                 const struct vm_uuid *but, bool *ret, struct error *err)
{
    struct vm_uuid owner;

    return store_vm_ek_owner(store, ek_sha256, but, &owner, ret, err);
}

int
store_vm_cur_used(struct store *store, const uint8_t cur[static 65],
                  const struct vm_uuid *but, bool *ret, struct error *err)
{
    return is_used(store,
                   "SELECT 1 FROM vms WHERE (cur = ?1 OR next = ?1) AND pending = 0 AND "
                   "uuid <> ?2",
                   cur, 65, but, ret, err);
}

int
store_vm_name_used(struct store *store, const char *name, const struct vm_uuid *but,
                   bool *ret, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    int rc;

    if (query_new(store, &q, err,
                  "SELECT 1 FROM vms WHERE name = ? AND pending = 0 AND uuid <> ?",
                  "tb", name, but->bytes, sizeof but->bytes) < 0)
        return -1;
    rc = query_step(store, q, err);
    if (rc >= 0)
        *ret = rc > 0;
    return rc < 0 ? -1 : 0;
}

/* ---- what a host has said of a VM ---- */

int
store_seq_get(struct store *store, const struct vm_uuid *uuid, const char *host,
              struct store_seq *ret, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    int rc;

    memset(ret, 0, sizeof *ret);
    if (query_new(store, &q, err,
                  "SELECT boot, report, ended FROM seqs WHERE uuid = ? AND host = ?",
                  "bt", uuid->bytes, sizeof uuid->bytes, host) < 0)
        return -1;
    rc = query_step(store, q, err);
    if (rc <= 0)
        return rc;
    ret->report = (uint64_t)sqlite3_column_int64(q, 1);
    ret->ended = (uint64_t)sqlite3_column_int64(q, 2);
    return query_text(q, 0, ret->boot, VM_UUID_TEXT - 1, err);
}

int
store_seq_put(struct store *store, const struct vm_uuid *uuid, const char *host,
              const struct store_seq *seq, struct error *err)
{
    return query_run(store, err,
                     "INSERT OR REPLACE INTO seqs (uuid, host, boot, report, ended) "
                     "VALUES (?, ?, ?, ?, ?)",
                     "bttii", uuid->bytes, sizeof uuid->bytes, host, seq->boot,
                     (int64_t)seq->report, (int64_t)seq->ended);
}

/* ---- audiences ---- */

static int
read_audience(struct sqlite3_stmt *q, struct store_audience *ret, struct error *err)
{
    memset(ret, 0, sizeof *ret);
    ret->everyone = sqlite3_column_int(q, 1) != 0;
    ret->claims = (uint8_t)sqlite3_column_int(q, 2);
    return query_text(q, 0, ret->name, NAME_AUDIENCE_MAX, err);
}

int
store_audience_find(struct store *store, const char *name, struct store_audience *ret,
                    struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    int rc;

    if (query_new(store, &q, err,
                  "SELECT name, everyone, claims FROM audiences WHERE name = ?", "t",
                  name) < 0)
        return -1;
    rc = query_step(store, q, err);
    if (rc == 0)
        return error_set(err, ERROR_MISSING, "no such audience");
    return rc < 0 ? -1 : read_audience(q, ret, err);
}

int
store_audience_put(struct store *store, const struct store_audience *a,
                   struct error *err)
{
    return query_run(store, err,
                     "INSERT OR REPLACE INTO audiences (name, everyone, claims) "
                     "VALUES (?, ?, ?)",
                     "tii", a->name, (int64_t)a->everyone, (int64_t)a->claims);
}

int
store_audience_remove(struct store *store, const char *name, struct error *err)
{
    if (query_run(store, err, "DELETE FROM audiences WHERE name = ?", "t", name) < 0)
        return -1;
    if (sqlite3_changes(store->db) == 0)
        return error_set(err, ERROR_MISSING, "no such audience");
    return 0;
}

int
store_audience_list(struct store *store, store_audience_each *each, void *context,
                    struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    struct store_audience a;
    int rc;

    if (query_new(store, &q, err,
                  "SELECT name, everyone, claims FROM audiences ORDER BY name", "") < 0)
        return -1;
    while ((rc = query_step(store, q, err)) > 0) {
        if (read_audience(q, &a, err) < 0 || each(context, &a, err) < 0)
            return -1;
    }
    return rc;
}
