#include "config.h"

#include "tokenservice/store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "tokenservice/store/store_query.h"

enum { LOG_FRAMES = 1000 }; /* then the log is brought into the database */

extern const char store_schema_first[], store_schema_words[], store_schema_ratchet[], store_schema_receipts[],
    store_schema_pools[];

enum { SCHEMA_VERSION = 5 };

/* A quota that is used up is a full disk too, for which SQLite has no word of its own.  sqlite3_system_errno() does not
 * know of it in a commit; the database's log, which is written there, does. */
static bool
is_over_quota(struct store *store)
{
    sqlite3_file *log = NULL;
    int number = 0;

    return sqlite3_file_control(store->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) == SQLITE_OK && log &&
           log->pMethods && log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &number) == SQLITE_OK &&
           number == EDQUOT;
}

int
query_error(struct store *store, int rc, const char *doing, struct error *err)
{
    int kind = rc & 0xff;

    if (kind == SQLITE_BUSY || kind == SQLITE_LOCKED)
        return error_set(err, ERROR_BUSY, "database: %s: %s", doing,
                         sqlite3_errmsg(store->db));
    if (kind == SQLITE_FULL || (rc == SQLITE_IOERR_WRITE && is_over_quota(store)))
        return error_problem(err, ERROR_SYSTEM, "disk-full",
                             "database: %s: no space left", doing);
    if (kind == SQLITE_CONSTRAINT)
        return error_set(err, ERROR_DENIED, "database: %s: %s", doing,
                         sqlite3_errmsg(store->db));
    /* An fsync that failed may have lost what came before it: never go on from there.
     */
    if (kind == SQLITE_IOERR || kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB ||
        kind == SQLITE_READONLY || kind == SQLITE_CANTOPEN)
        store->failed = true;
    return error_set(err, ERROR_SYSTEM, "database: %s: %s (%d)", doing,
                     sqlite3_errmsg(store->db), rc);
}

void
query_end(struct sqlite3_stmt *q)
{
    sqlite3_finalize(q);
}

static int
bind_next(struct sqlite3_stmt *q, int at, char kind, va_list *args)
{
    if (kind == 'i')
        return sqlite3_bind_int64(q, at, va_arg(*args, int64_t));
    if (kind == 't')
        return sqlite3_bind_text(q, at, va_arg(*args, const char *), -1,
                                 SQLITE_TRANSIENT);
    if (kind == 'b' || kind == 'n') {
        const void *bytes = va_arg(*args, const void *);
        size_t len = va_arg(*args, size_t);

        if (kind == 'n' && len == 0)
            return sqlite3_bind_null(q, at);
        return sqlite3_bind_blob64(q, at, bytes, len, SQLITE_TRANSIENT);
    }
    return SQLITE_MISUSE;
}

static int
query_newv(struct store *store, struct sqlite3_stmt **ret, struct error *err,
           const char *sql, const char *kinds, va_list *args)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    int rc = sqlite3_prepare_v2(store->db, sql, -1, &q, NULL);

    if (rc == SQLITE_OK && sqlite3_bind_parameter_count(q) != (int)strlen(kinds))
        rc = SQLITE_MISUSE;
    for (int i = 0; rc == SQLITE_OK && kinds[i]; i++)
        rc = bind_next(q, i + 1, kinds[i], args);
    if (rc != SQLITE_OK)
        return query_error(store, rc, sql, err);
    *ret = STEAL(q);
    return 0;
}

int
query_new(struct store *store, struct sqlite3_stmt **ret, struct error *err,
          const char *sql, const char *kinds, ...)
{
    va_list args;
    int rc;

    va_start(args, kinds);
    rc = query_newv(store, ret, err, sql, kinds, &args);
    va_end(args);
    return rc;
}

int
query_step(struct store *store, struct sqlite3_stmt *q, struct error *err)
{
    int rc = sqlite3_step(q);

    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE)
        return 0;
    return query_error(store, rc, sqlite3_sql(q), err);
}

int
query_run(struct store *store, struct error *err, const char *sql, const char *kinds,
          ...)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    va_list args;
    int rc;

    va_start(args, kinds);
    rc = query_newv(store, &q, err, sql, kinds, &args);
    va_end(args);
    return rc < 0 || query_step(store, q, err) < 0 ? -1 : 0;
}

int
query_text(struct sqlite3_stmt *q, int column, char *ret, size_t max, struct error *err)
{
    const unsigned char *text = sqlite3_column_text(q, column);
    size_t len = text ? (size_t)sqlite3_column_bytes(q, column) : 0;

    if (!text || len > max || strlen((const char *)text) != len)
        return error_set(err, ERROR_SYSTEM, "database: column %s is out of bounds",
                         sqlite3_column_name(q, column));
    memset(ret, 0, max + 1);
    memcpy(ret, text, len);
    return 0;
}

int
query_blob(struct sqlite3_stmt *q, int column, uint8_t *ret, size_t max,
           size_t *ret_len, struct error *err)
{
    const void *bytes = sqlite3_column_blob(q, column);
    size_t len = bytes ? (size_t)sqlite3_column_bytes(q, column) : 0;

    if (len > max)
        return error_set(err, ERROR_SYSTEM, "database: column %s is out of bounds",
                         sqlite3_column_name(q, column));
    if (len)
        memcpy(ret, bytes, len);
    *ret_len = len;
    return 0;
}

int
query_exact(struct sqlite3_stmt *q, int column, uint8_t *ret, size_t len, bool *ret_has,
            struct error *err)
{
    size_t found = 0;

    if (query_blob(q, column, ret, len, &found, err) < 0)
        return -1;
    if (found != 0 && found != len)
        return error_set(err, ERROR_SYSTEM, "database: column %s has %zu bytes",
                         sqlite3_column_name(q, column), found);
    *ret_has = found == len;
    return 0;
}

/* ---- open ---- */

static int
execute(struct store *store, const char *sql, struct error *err)
{
    int rc = sqlite3_exec(store->db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? 0 : query_error(store, rc, "set up", err);
}

static int
read_number(struct store *store, const char *pragma, int64_t *ret, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    int rc;

    if (query_new(store, &q, err, pragma, "") < 0)
        return -1;
    rc = query_step(store, q, err);
    if (rc <= 0)
        return rc < 0
                   ? -1
                   : error_set(err, ERROR_SYSTEM, "database: %s says nothing", pragma);
    *ret = sqlite3_column_int64(q, 0);
    return 0;
}

static int
migrate(struct store *store, struct error *err)
{
    CLEANUP(store_abandon) struct store *txn = NULL;
    int64_t version;

    if (store_begin(store, &txn, err) < 0 ||
        read_number(store, "PRAGMA user_version", &version, err) < 0)
        return -1;
    if (version > SCHEMA_VERSION)
        return error_set(
            err, ERROR_SYSTEM,
            "database has schema %lld, made by a newer virtid-tokend; this one "
            "knows %d: install that version",
            (long long)version, SCHEMA_VERSION);
    if (version == 0 && (execute(store, store_schema_first, err) < 0 ||
                         execute(store, "PRAGMA user_version = 1", err) < 0))
        return -1;
    if (version < 2 && (execute(store, store_schema_words, err) < 0 ||
                        execute(store, "PRAGMA user_version = 2", err) < 0))
        return -1;
    if (version < 3 && (execute(store, store_schema_ratchet, err) < 0 ||
                        execute(store, "PRAGMA user_version = 3", err) < 0))
        return -1;
    if (version < 4 && (execute(store, store_schema_receipts, err) < 0 ||
                        execute(store, "PRAGMA user_version = 4", err) < 0))
        return -1;
    if (version < 5 && (execute(store, store_schema_pools, err) < 0 ||
                        execute(store, "PRAGMA user_version = 5", err) < 0))
        return -1;
    return store_commit(txn, err);
}

/* SQLite's own rule, which says nothing of a disk that fails.  What was committed is durable in the
 * log and may be answered; nothing is behind it. */
static int
bring_in(void *context, sqlite3 *db, const char *name, int frames)
{
    struct store *store = context;
    int rc = frames < LOG_FRAMES
                 ? SQLITE_OK
                 : sqlite3_wal_checkpoint_v2(db, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);

    if ((rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CORRUPT)
        store->failed = true;
    return SQLITE_OK;
}

/* SQLite passes over a folder that can not be synced: the names of the database and of its log, which
 * stays as long as it is open, must last before anything is answered. */
static int
sync_names(const char *path, struct error *err)
{
    CLEANUP(fd_close) int dir = -1;
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');

    if (slash && slash - path >= (int)sizeof folder - 2)
        return error_set(err, ERROR_INPUT, "its path is too long");
    snprintf(folder, sizeof folder, "%.*s/.", slash ? (int)(slash - path) : 1, slash ? path : ".");
    dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || fsync(dir) < 0)
        return error_sys(err, errno, "fsync %s", folder);
    return 0;
}

int
store_open(const char *path, struct store **ret_store, struct error *err)
{
    CLEANUP(store_close) struct store *store = calloc(1, sizeof *store);
    mode_t mask;
    int rc;

    if (!store)
        return error_set(err, ERROR_SYSTEM, "no memory");
    mask = umask(077);
    rc = sqlite3_open_v2(
        path, &store->db,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, NULL);
    umask(mask);
    if (rc != SQLITE_OK)
        return error_set(err, ERROR_SYSTEM, "database %s: %s", path,
                         sqlite3_errstr(rc));
    sqlite3_extended_result_codes(store->db, 1);
    sqlite3_busy_timeout(store->db, 2000);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    if (execute(store,
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; "
                "PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON",
                err) < 0 ||
        migrate(store, err) < 0 || sync_names(path, err) < 0)
        return error_wrap(err, "%s", path);
    sqlite3_wal_hook(store->db, bring_in, store);
    *ret_store = STEAL(store);
    return 0;
}

int
store_copy(const char *path, const char *to, struct error *err)
{
    CLEANUP(store_close) struct store *store = calloc(1, sizeof *store);
    int rc;

    if (!store)
        return error_set(err, ERROR_SYSTEM, "no memory");
    rc = sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE, NULL);
    if (rc != SQLITE_OK)
        return error_set(err, ERROR_SYSTEM, "database %s: %s", path, sqlite3_errstr(rc));
    sqlite3_busy_timeout(store->db, 2000);
    if (query_run(store, err, "VACUUM INTO ?", "t", to) < 0)
        return error_wrap(err, "%s", to);
    return 0;
}

void
store_close(struct store *store)
{
    if (!store)
        return;
    sqlite3_close(store->db);
    free(store);
}

bool
store_failed(const struct store *store)
{
    return store->failed;
}

int
store_begin(struct store *store, struct store **ret_txn, struct error *err)
{
    if (store->failed)
        return error_set(err, ERROR_SYSTEM, "database: failed before");
    if (query_run(store, err, "BEGIN IMMEDIATE", "") < 0)
        return -1;
    store->open = true;
    *ret_txn = store;
    return 0;
}

int
store_commit(struct store *txn, struct error *err)
{
    if (query_run(txn, err, "COMMIT", "") < 0)
        return -1;
    txn->open = false;
    query_tell(txn);
    return 0;
}

void
store_abandon(struct store *txn)
{
    struct error ignored;

    if (!txn || !txn->open)
        return;
    /* Where SQLite has undone it already there is none; where it can not be undone, without memory,
     * nothing could be begun ever after, and reads would see what was not decided. */
    if (query_run(txn, &ignored, "ROLLBACK", "") < 0 && !sqlite3_get_autocommit(txn->db))
        txn->failed = true;
    txn->open = false;
}

int
store_meta_get(struct store *store, const char *name,
               char ret[static STORE_META_MAX + 1], struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    int rc;

    if (query_new(store, &q, err, "SELECT value FROM meta WHERE name = ?", "t", name) <
        0)
        return -1;
    rc = query_step(store, q, err);
    if (rc == 0)
        return error_set(err, ERROR_MISSING, "no %s in the database", name);
    return rc < 0 ? -1 : query_text(q, 0, ret, STORE_META_MAX, err);
}

int
store_meta_put(struct store *store, const char *name, const char *value,
               struct error *err)
{
    return query_run(store, err,
                     "INSERT INTO meta (name, value) VALUES (?, ?) "
                     "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                     "tt", name, value);
}
