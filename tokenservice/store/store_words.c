#include "config.h"

#include "tokenservice/store/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tokenservice/store/store_query.h"

int
store_mode_get(struct store *store, const struct vm_uuid *uuid, enum lease_mode *ret,
               struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    int rc;

    if (query_new(store, &q, err, "SELECT mode FROM modes WHERE uuid = ?", "b",
                  uuid->bytes, sizeof uuid->bytes) < 0)
        return -1;
    rc = query_step(store, q, err);
    if (rc < 0)
        return -1;
    *ret = rc > 0 ? (enum lease_mode)sqlite3_column_int(q, 0) : MODE_OF_HOST;
    return 0;
}

int
store_mode_put(struct store *store, const struct vm_uuid *uuid, enum lease_mode mode,
               struct error *err)
{
    if (mode == MODE_OF_HOST)
        return query_run(store, err, "DELETE FROM modes WHERE uuid = ?", "b",
                         uuid->bytes, sizeof uuid->bytes);
    return query_run(store, err, "INSERT OR REPLACE INTO modes (uuid, mode) VALUES (?, ?)",
                     "bi", uuid->bytes, sizeof uuid->bytes, (int64_t)mode);
}

int
store_hook_get(struct store *store, const char *host,
               char ret[static LEASE_HOOK_MAX + 1], struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    int rc;

    ret[0] = '\0';
    if (query_new(store, &q, err, "SELECT word FROM hooks WHERE host = ?", "t", host) < 0)
        return -1;
    rc = query_step(store, q, err);
    return rc <= 0 ? rc : query_text(q, 0, ret, LEASE_HOOK_MAX, err);
}

int
store_hook_put(struct store *store, const char *host, const char *word,
               struct error *err)
{
    return query_run(store, err, "INSERT OR REPLACE INTO hooks (host, word) VALUES (?, ?)",
                     "tt", host, word);
}

/* ---- fenced hosts: "MS ALIVE BOOT" among the settings of the service ---- */

enum { FENCE_NAME_MAX = NAME_HOST_MAX + 8 };

static void
fence_name(const char *host, char ret[static FENCE_NAME_MAX + 1])
{
    snprintf(ret, FENCE_NAME_MAX + 1, "fenced:%s", host);
}

int
store_fence_get(struct store *store, const char *host, struct store_fence *ret, struct error *err)
{
    char name[FENCE_NAME_MAX + 1], value[STORE_META_MAX + 1];
    struct error why = { 0 };
    int alive = 0;

    memset(ret, 0, sizeof *ret);
    fence_name(host, name);
    if (store_meta_get(store, name, value, &why) < 0) {
        if (why.code == ERROR_MISSING)
            return 0;
        *err = why;
        return -1;
    }
    if (sscanf(value, "%" SCNd64 " %d %36s", &ret->ms, &alive, ret->boot) < 2)
        return error_set(err, ERROR_SYSTEM, "database: the fence of host %s is not readable", host);
    ret->alive = alive != 0;
    return 0;
}

int
store_fence_put(struct store *store, const char *host, const struct store_fence *fence, struct error *err)
{
    char name[FENCE_NAME_MAX + 1], value[80];

    fence_name(host, name);
    if (fence->ms == 0)
        return query_run(store, err, "DELETE FROM meta WHERE name = ?", "t", name);
    snprintf(value, sizeof value, "%" PRId64 " %d %s", fence->ms, fence->alive, fence->boot);
    return store_meta_put(store, name, value, err);
}
