#include "config.h"

#include "tokenservice/store/store.h"

#include "tokenservice/store/store_query.h"

int
store_pool_of(struct store *store, const char *host, char ret[static NAME_POOL_MAX + 1], struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    int rc;

    ret[0] = '\0';
    if (query_new(store, &q, err, "SELECT pool FROM pool_hosts WHERE host = ?", "t", host) < 0)
        return -1;
    rc = query_step(store, q, err);
    return rc <= 0 ? rc : query_text(q, 0, ret, NAME_POOL_MAX, err);
}

int
store_pool_put(struct store *store, const char *host, const char *pool, struct error *err)
{
    if (pool[0] == '\0')
        return query_run(store, err, "DELETE FROM pool_hosts WHERE host = ?", "t", host);
    return query_run(store, err, "INSERT OR REPLACE INTO pool_hosts (host, pool) VALUES (?, ?)", "tt", host, pool);
}

int
store_pool_list(struct store *store, const char *pool, store_pool_each *each, void *context, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    struct store_pool_host one;
    int rc;

    if (query_new(store, &q, err,
                  "SELECT pool, host FROM pool_hosts WHERE pool = ?1 OR ?1 = '' ORDER BY pool, host", "t",
                  pool ? pool : "") < 0)
        return -1;
    while ((rc = query_step(store, q, err)) > 0) {
        if (query_text(q, 0, one.pool, NAME_POOL_MAX, err) < 0 || query_text(q, 1, one.host, NAME_HOST_MAX, err) < 0 ||
            each(context, &one, err) < 0)
            return -1;
    }
    return rc;
}

int
store_pool_vms(struct store *store, const char *pool, int64_t *ret, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    int rc;

    if (query_new(store, &q, err, "SELECT count(*) FROM vms WHERE pool = ?", "t", pool) < 0)
        return -1;
    rc = query_step(store, q, err);
    if (rc <= 0)
        return rc < 0 ? -1 : error_set(err, ERROR_SYSTEM, "database: no count");
    *ret = sqlite3_column_int64(q, 0);
    return 0;
}
