#include "config.h"

#include "tokenservice/store/store.h"

#include <string.h>

#include "tokenservice/store/store_query.h"

#define HOST_COLUMNS                                                             \
    "name, state, automatic, simulated, code_sha256, code_ends_ms, tls, proof, " \
    "made_ms, "                                                                  \
    "joined_ms, seen_ms, boot, fingerprint"
#define CERT_COLUMNS \
    "sha256, host, state, tls_cert, proof_cert, proof, made_ms, ends_ms, changed_ms"

const char *
store_host_state_name(enum host_state state)
{
    static const char *const NAMES[] = {
        [HOST_INVITED] = "invited", [HOST_PENDING] = "pending",
        [HOST_JOINED] = "joined",   [HOST_REMOVED] = "removed",
        [HOST_LOCKED] = "locked",
    };

    return NAMES[state];
}

static int
read_host(struct sqlite3_stmt *q, struct store_host *ret, struct error *err)
{
    bool has_code, has_tls, has_proof;

    memset(ret, 0, sizeof *ret);
    if (query_text(q, 0, ret->name, NAME_HOST_MAX, err) < 0 ||
        query_exact(q, 4, ret->code_sha256, 32, &has_code, err) < 0 ||
        query_exact(q, 6, ret->tls, 65, &has_tls, err) < 0 ||
        query_exact(q, 7, ret->proof, 65, &has_proof, err) < 0 ||
        query_text(q, 11, ret->boot, VM_UUID_TEXT - 1, err) < 0 ||
        query_text(q, 12, ret->fingerprint, HOST_FINGERPRINT_TEXT - 1, err) < 0)
        return -1;
    ret->state = (enum host_state)sqlite3_column_int(q, 1);
    ret->automatic = sqlite3_column_int(q, 2) != 0;
    ret->simulated = sqlite3_column_int(q, 3) != 0;
    ret->code_ends_ms = sqlite3_column_int64(q, 5);
    ret->has_keys = has_tls && has_proof;
    ret->made_ms = sqlite3_column_int64(q, 8);
    ret->joined_ms = sqlite3_column_int64(q, 9);
    ret->seen_ms = sqlite3_column_int64(q, 10);
    return 0;
}

int
store_host_find(struct store *store, const char *name, struct store_host *ret,
                struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    int rc;

    if (query_new(store, &q, err, "SELECT " HOST_COLUMNS " FROM hosts WHERE name = ?",
                  "t", name) < 0)
        return -1;
    rc = query_step(store, q, err);
    if (rc == 0)
        return error_set(err, ERROR_MISSING, "no host of this name");
    return rc < 0 ? -1 : read_host(q, ret, err);
}

int
store_host_put(struct store *store, const struct store_host *h, struct error *err)
{
    size_t point = h->has_keys ? 65 : 0;

    return query_run(
        store, err,
        "INSERT INTO hosts (" HOST_COLUMNS ") VALUES "
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
        "state = excluded.state, automatic = excluded.automatic, "
        "simulated = excluded.simulated, code_sha256 = excluded.code_sha256, "
        "code_ends_ms = excluded.code_ends_ms, tls = excluded.tls, "
        "proof = excluded.proof, made_ms = excluded.made_ms, "
        "joined_ms = excluded.joined_ms, seen_ms = excluded.seen_ms, "
        "boot = excluded.boot, fingerprint = excluded.fingerprint",
        "tiiibinniiitt", h->name, (int64_t)h->state, (int64_t)h->automatic,
        (int64_t)h->simulated, h->code_sha256, (size_t)32, h->code_ends_ms, h->tls,
        point, h->proof, point, h->made_ms, h->joined_ms, h->seen_ms, h->boot,
        h->fingerprint);
}

int
store_host_list(struct store *store, store_host_each *each, void *context,
                struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    struct store_host host;
    int rc;

    if (query_new(store, &q, err, "SELECT " HOST_COLUMNS " FROM hosts ORDER BY name",
                  "") < 0)
        return -1;
    while ((rc = query_step(store, q, err)) > 0) {
        if (read_host(q, &host, err) < 0 || each(context, &host, err) < 0)
            return -1;
    }
    return rc;
}

/* ---- certificates ---- */

static int
read_cert(struct sqlite3_stmt *q, struct store_cert *ret, struct error *err)
{
    bool has_sha, has_proof;

    memset(ret, 0, sizeof *ret);
    if (query_exact(q, 0, ret->sha256, 32, &has_sha, err) < 0 ||
        query_text(q, 1, ret->host, NAME_HOST_MAX, err) < 0 ||
        query_blob(q, 3, ret->tls_cert, STORE_CERT_MAX, &ret->tls_cert_len, err) < 0 ||
        query_blob(q, 4, ret->proof_cert, STORE_CERT_MAX, &ret->proof_cert_len, err) <
            0 ||
        query_exact(q, 5, ret->proof, 65, &has_proof, err) < 0)
        return -1;
    ret->state = (enum cert_state)sqlite3_column_int(q, 2);
    ret->made_ms = sqlite3_column_int64(q, 6);
    ret->ends_ms = sqlite3_column_int64(q, 7);
    ret->changed_ms = sqlite3_column_int64(q, 8);
    return 0;
}

static int
read_one_cert(struct store *store, struct sqlite3_stmt *q, struct store_cert *ret,
              struct error *err)
{
    int rc = query_step(store, q, err);

    if (rc == 0)
        return error_set(err, ERROR_MISSING, "no such host certificate");
    return rc < 0 ? -1 : read_cert(q, ret, err);
}

int
store_cert_find(struct store *store, const uint8_t sha256[static 32],
                struct store_cert *ret, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;

    if (query_new(store, &q, err,
                  "SELECT " CERT_COLUMNS " FROM host_certs WHERE sha256 = ?", "b",
                  sha256, (size_t)32) < 0)
        return -1;
    return read_one_cert(store, q, ret, err);
}

int
store_cert_of(struct store *store, const char *host, enum cert_state state,
              struct store_cert *ret, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;

    if (query_new(store, &q, err,
                  "SELECT " CERT_COLUMNS
                  " FROM host_certs WHERE host = ? AND state = ? "
                  "ORDER BY made_ms DESC LIMIT 1",
                  "ti", host, (int64_t)state) < 0)
        return -1;
    return read_one_cert(store, q, ret, err);
}

static int
check_room(struct store *store, const char *host, struct error *err)
{
    CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
    int rc;

    if (query_new(store, &q, err, "SELECT count(*) FROM host_certs WHERE host = ?", "t",
                  host) < 0)
        return -1;
    rc = query_step(store, q, err);
    if (rc < 0 || sqlite3_column_int(q, 0) < STORE_CERTS_MAX)
        return rc < 0 ? -1 : 0;
    return error_problem(err, ERROR_BUSY, "rate-limited",
                         "host %s has %d certificates that have not ended", host,
                         STORE_CERTS_MAX);
}

int
store_cert_add(struct store *store, const struct store_cert *c, struct error *err)
{
    if (check_room(store, c->host, err) < 0)
        return -1;
    return query_run(store, err,
                     "INSERT INTO host_certs (" CERT_COLUMNS ") "
                     "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                     "btibbbiii", c->sha256, (size_t)32, c->host, (int64_t)c->state,
                     c->tls_cert, c->tls_cert_len, c->proof_cert, c->proof_cert_len,
                     c->proof, (size_t)65, c->made_ms, c->ends_ms, c->changed_ms);
}

int
store_cert_use(struct store *store, const char *host, const uint8_t sha256[static 32],
               int64_t now_ms, struct error *err)
{
    if (query_run(store, err,
                  "UPDATE host_certs SET state = 3, changed_ms = ? "
                  "WHERE host = ? AND state <> 3",
                  "it", now_ms, host) < 0)
        return -1;
    return query_run(store, err,
                     "UPDATE host_certs SET state = 2, changed_ms = ? "
                     "WHERE host = ? AND sha256 = ?",
                     "itb", now_ms, host, sha256, (size_t)32);
}

int
store_cert_tidy(struct store *store, const char *host, int64_t ms, struct error *err)
{
    if (query_run(store, err, "DELETE FROM host_certs WHERE ends_ms < ?", "i", ms) < 0)
        return -1;
    return query_run(
        store, err,
        "DELETE FROM host_certs WHERE host = ?1 AND state = 1 AND sha256 NOT IN "
        "(SELECT sha256 FROM host_certs WHERE host = ?1 AND state = 1 "
        "ORDER BY made_ms DESC LIMIT ?2)",
        "ti", host, (int64_t)STORE_CERTS_NEXT_MAX);
}

int
store_cert_drop_all(struct store *store, const char *host, struct error *err)
{
    return query_run(store, err, "DELETE FROM host_certs WHERE host = ?", "t", host);
}
