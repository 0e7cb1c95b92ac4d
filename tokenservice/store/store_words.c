#include "config.h"

#include "tokenservice/store/store.h"

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
