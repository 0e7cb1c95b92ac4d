/*
 * store_query.h - one SQL statement with its parameters, for the files of this folder
 *
 *     CLEANUP(query_end) struct sqlite3_stmt *q = NULL;
 *     if (query_new(store, &q, err, "SELECT a FROM t WHERE b = ? AND c = ?", "ti",
 * text, (int64_t)n) < 0) ...
 *
 * Values are bound, never printed into the statement.  Kinds: i int64_t, t text, b blob
 * (pointer, size_t), n blob or NULL when its length is 0.
 */
#pragma once

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/common/cleanup.h"
#include "tokenservice/store/store.h"

struct store {
    sqlite3 *db;
    bool open;   /* a transaction is under way */
    bool failed; /* the disk let us down */
    store_audit_told *told; /* of what is durable; NULL: nobody is */
    int64_t told_id;        /* up to this record */
    bool added;             /* a record is, in this transaction */
};

void query_end(struct sqlite3_stmt *q);
DEFINE_CLEANUP(struct sqlite3_stmt *, query_end);

int query_new(struct store *store, struct sqlite3_stmt **ret, struct error *err,
              const char *sql, const char *kinds, ...);
/* 1: a row is there; 0: no more; -1: error. */
int query_step(struct store *store, struct sqlite3_stmt *q, struct error *err);
/* A statement that gives no row. */
int query_run(struct store *store, struct error *err, const char *sql,
              const char *kinds, ...);
/* Fill err from the connection and note what can not be mended. */
int query_error(struct store *store, int rc, const char *doing, struct error *err);

/* After a commit: records that were added are told. */
void query_tell(struct store *store);

/* A column of the present row.  ERROR_SYSTEM: longer than its bound, or not of exactly
 * `len`. */
int query_text(struct sqlite3_stmt *q, int column, char *ret, size_t max,
               struct error *err);
int query_blob(struct sqlite3_stmt *q, int column, uint8_t *ret, size_t max,
               size_t *ret_len, struct error *err);
/* *ret_has = false for NULL. */
int query_exact(struct sqlite3_stmt *q, int column, uint8_t *ret, size_t len,
                bool *ret_has, struct error *err);
