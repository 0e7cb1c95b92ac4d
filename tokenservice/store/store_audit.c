#include "config.h"

#include "tokenservice/store/store.h"

#include <stdio.h>
#include <string.h>

#include "lib/wire/audit_record.h"
#include "tokenservice/store/store_query.h"

#define AUDIT_COLUMNS "id, ms, who, what, uuid, problem, why, seen, expected, hash"

static int
read_record(struct sqlite3_stmt *q, struct audit_record *ret, struct error *err)
{
    bool has_hash;

    memset(ret, 0, sizeof *ret);
    ret->id = sqlite3_column_int64(q, 0);
    ret->ms = sqlite3_column_int64(q, 1);
    if (query_text(q, 2, ret->who, AUDIT_WHO_MAX, err) < 0 ||
        query_text(q, 3, ret->what, AUDIT_WORD_MAX, err) < 0 ||
        query_exact(q, 4, ret->uuid.bytes, sizeof ret->uuid.bytes, &ret->has_uuid,
                    err) < 0 ||
        query_text(q, 5, ret->problem, AUDIT_WORD_MAX, err) < 0 ||
        query_text(q, 6, ret->why, AUDIT_TEXT_MAX, err) < 0 ||
        query_text(q, 7, ret->seen, AUDIT_TEXT_MAX, err) < 0 ||
        query_text(q, 8, ret->expected, AUDIT_TEXT_MAX, err) < 0)
        return -1;
    return query_exact(q, 9, ret->hash, sizeof ret->hash, &has_hash, err);
}

static int
newest(struct store *store, int64_t *ret_id, uint8_t ret_hash[static 32],
       struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    bool has_hash;
    int rc;

    *ret_id = 0;
    memset(ret_hash, 0, 32);
    if (query_new(store, &q, err, "SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1",
                  "") < 0)
        return -1;
    rc = query_step(store, q, err);
    if (rc <= 0)
        return rc;
    *ret_id = sqlite3_column_int64(q, 0);
    return query_exact(q, 1, ret_hash, 32, &has_hash, err);
}

int
store_audit_add(struct store *store, const struct audit_record *record,
                struct error *err)
{
    struct audit_record r = *record;
    uint8_t before[32], hash[32];
    int64_t id;

    if (newest(store, &id, before, err) < 0)
        return -1;
    r.id = id + 1;
    if (audit_record_hash(before, &r, hash, err) < 0)
        return -1;
    store->added = true;
    return query_run(store, err,
                     "INSERT INTO audit (" AUDIT_COLUMNS ") "
                     "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                     "iittnttttb", r.id, r.ms, r.who, r.what, r.uuid.bytes,
                     (size_t)(r.has_uuid ? sizeof r.uuid.bytes : 0), r.problem, r.why,
                     r.seen, r.expected, hash, sizeof hash);
}

int
store_audit_since(struct store *store, const struct vm_uuid *uuid, const char *who,
                  const char *what, const char *problem, int64_t ms, bool *ret,
                  struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    int rc;

    if (uuid)
        rc = query_new(
            store, &q, err,
            "SELECT 1 FROM audit WHERE uuid = ? AND what = ? AND problem = ? AND "
            "ms > ? LIMIT 1",
            "btti", uuid->bytes, sizeof uuid->bytes, what, problem, ms);
    else
        rc = query_new(
            store, &q, err,
            "SELECT 1 FROM audit WHERE uuid IS NULL AND what = ? AND problem = ? AND "
            "ms > ? AND who = ? LIMIT 1",
            "ttit", what, problem, ms, who);
    if (rc < 0)
        return -1;
    rc = query_step(store, q, err);
    if (rc >= 0)
        *ret = rc > 0;
    return rc < 0 ? -1 : 0;
}

int
store_audit_seen(struct store *store, const char *what, const char *seen, bool *ret, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    int rc;

    if (query_new(store, &q, err, "SELECT 1 FROM audit WHERE uuid IS NULL AND what = ? AND seen = ? LIMIT 1", "tt",
                  what, seen) < 0)
        return -1;
    rc = query_step(store, q, err);
    if (rc >= 0)
        *ret = rc > 0;
    return rc < 0 ? -1 : 0;
}

static int
each_record(struct store *store, struct sqlite3_stmt *q, store_audit_each *each, void *context,
            struct error *err)
{
    struct audit_record r;
    int rc;

    while ((rc = query_step(store, q, err)) > 0) {
        if (read_record(q, &r, err) < 0 || each(context, &r, err) < 0)
            return -1;
    }
    return rc;
}

/* "+id": sorted, since the index by id would walk through all the tokens between them. */
#define OF_KINDS(words)                                                                    \
    "SELECT " AUDIT_COLUMNS " FROM audit WHERE uuid = ? AND problem = '' AND what IN (" words \
    ") ORDER BY +id DESC LIMIT ?"

static int
list_kinds(struct store *store, const char *sql, const struct vm_uuid *uuid, size_t limit,
           store_audit_each *each, void *context, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;

    if (query_new(store, &q, err, sql, "bi", uuid->bytes, sizeof uuid->bytes, (int64_t)limit) < 0)
        return -1;
    return each_record(store, q, each, context, err);
}

int
store_audit_list_places(struct store *store, const struct vm_uuid *uuid, size_t limit,
                        store_audit_each *each, void *context, struct error *err)
{
    return list_kinds(store, OF_KINDS("'lease', 'moved', 'placed', 'fenced', 'retired'"), uuid, limit, each,
                      context, err);
}

int
store_audit_list_locks(struct store *store, const struct vm_uuid *uuid, size_t limit,
                       store_audit_each *each, void *context, struct error *err)
{
    return list_kinds(store, OF_KINDS("'locked'"), uuid, limit, each, context, err);
}

int
store_audit_list_copies(struct store *store, const struct vm_uuid *uuid, size_t limit,
                        store_audit_each *each, void *context, struct error *err)
{
    return list_kinds(store, OF_KINDS("'copied-vtpm'"), uuid, limit, each, context, err);
}

int
store_audit_list_steps(struct store *store, const struct vm_uuid *uuid, size_t limit,
                       store_audit_each *each, void *context, struct error *err)
{
    return list_kinds(store, OF_KINDS("'stepped'"), uuid, limit, each, context, err);
}

int
store_audit_list(struct store *store, const struct store_audit_query *query,
                 store_audit_each *each, void *context, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    const char *who = query->who ? query->who : "", *what = query->what ? query->what : "";
    int64_t limit = query->limit > 0 ? (int64_t)query->limit : -1, after = query->after, last = INT64_MAX, top;
    bool scans = *who || *what;
    char sql[300];

    if (scans && query->oldest_first) {
        last = after < INT64_MAX - AUDIT_SCAN ? after + AUDIT_SCAN : INT64_MAX;
    } else if (scans) {
        if (store_audit_newest(store, &top, err) < 0)
            return -1;
        after = top - AUDIT_SCAN > after ? top - AUDIT_SCAN : after;
    }
    snprintf(sql, sizeof sql,
             "SELECT " AUDIT_COLUMNS " FROM audit WHERE %s id > ? AND id <= ? AND "
             "(? = '' OR who = ?) AND (? = '' OR what = ?) ORDER BY id %s LIMIT ?",
             query->uuid ? "uuid = ? AND" : "", query->oldest_first ? "ASC" : "DESC");
    if ((query->uuid ? query_new(store, &q, err, sql, "biitttti", query->uuid->bytes,
                                 sizeof query->uuid->bytes, after, last, who, who, what, what, limit)
                     : query_new(store, &q, err, sql, "iitttti", after, last, who, who, what, what,
                                 limit)) < 0)
        return -1;
    return each_record(store, q, each, context, err);
}

int
store_audit_list_refusals(struct store *store, size_t limit, store_audit_each *each, void *context,
                          struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;

    if (query_new(store, &q, err,
                  "SELECT " AUDIT_COLUMNS " FROM audit WHERE problem <> '' AND "
                  "id > (SELECT max(id) FROM audit) - 2000 ORDER BY id DESC LIMIT ?",
                  "i", (int64_t)limit) < 0)
        return -1;
    return each_record(store, q, each, context, err);
}

int
store_audit_count_of(struct store *store, const char *what, int64_t since_ms, int64_t *ret, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;

    if (query_new(store, &q, err, "SELECT count(*) FROM audit WHERE what = ? AND ms >= ?", "ti", what, since_ms) < 0 ||
        query_step(store, q, err) < 0)
        return -1;
    *ret = sqlite3_column_int64(q, 0);
    return 0;
}

int
store_audit_count(struct store *store, int64_t *ret, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    int rc;

    if (query_new(store, &q, err, "SELECT count(*) FROM audit", "") < 0)
        return -1;
    rc = query_step(store, q, err);
    if (rc > 0)
        *ret = sqlite3_column_int64(q, 0);
    return rc > 0   ? 0
           : rc < 0 ? -1
                    : error_set(err, ERROR_SYSTEM, "database: no count");
}

int
store_audit_newest(struct store *store, int64_t *ret_id, struct error *err)
{
    uint8_t hash[32];

    return newest(store, ret_id, hash, err);
}

int
store_audit_end(struct store *store, int64_t *ret_id, uint8_t ret_hash[static AUDIT_HASH], struct error *err)
{
    return newest(store, ret_id, ret_hash, err);
}

int
store_audit_get(struct store *store, int64_t id, struct audit_record *ret, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    int rc;

    if (query_new(store, &q, err, "SELECT " AUDIT_COLUMNS " FROM audit WHERE id = ?", "i", id) < 0)
        return -1;
    rc = query_step(store, q, err);
    if (rc == 0)
        return error_set(err, ERROR_MISSING, "the audit has no record %lld", (long long)id);
    return rc < 0 ? -1 : read_record(q, ret, err);
}

int
store_audit_follow(struct store *store, int64_t *id, uint8_t hash[static AUDIT_HASH], int64_t *ret_newest_ms,
                   struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    uint8_t expected[AUDIT_HASH];
    struct audit_record r;
    int rc;

    *ret_newest_ms = 0;
    if (query_new(store, &q, err, "SELECT " AUDIT_COLUMNS " FROM audit WHERE id > ? ORDER BY id", "i", *id) < 0)
        return -1;
    while ((rc = query_step(store, q, err)) > 0) {
        if (read_record(q, &r, err) < 0 || audit_record_hash(hash, &r, expected, err) < 0)
            return -1;
        /* Public values: an ordinary comparison tells nobody anything. */
        if (r.id != *id + 1 || memcmp(r.hash, expected, sizeof expected) != 0)
            return error_problem(
                err, ERROR_DENIED, "audit-broken",
                "audit record %lld does not follow from the one before it",
                (long long)r.id);
        *id = r.id;
        memcpy(hash, r.hash, AUDIT_HASH);
        if (r.ms > *ret_newest_ms || strcmp(r.what, AUDIT_CLOCK_ACCEPTED) == 0)
            *ret_newest_ms = r.ms;
    }
    return rc;
}

int
store_audit_check(struct store *store, int64_t *ret_newest_ms, struct error *err)
{
    uint8_t hash[AUDIT_HASH] = { 0 };
    int64_t id = 0;

    return store_audit_follow(store, &id, hash, ret_newest_ms, err);
}

static int
tell_one(void *context, const struct audit_record *r, struct error *err)
{
    struct store *store = context;

    (void)err;
    store->told(r);
    store->told_id = r->id;
    return 0;
}

/* What can not be read now is told with the next one. */
void
query_tell(struct store *store)
{
    struct store_audit_query rest = { .oldest_first = true, .after = store->told_id };
    struct error ignored;

    if (!store->told || !store->added)
        return;
    if (store_audit_list(store, &rest, tell_one, store, &ignored) == 0)
        store->added = false;
}

void
store_audit_tell(struct store *store, int64_t after, store_audit_told *told)
{
    store->told = told;
    store->told_id = after;
    store->added = true;
    query_tell(store);
}
