#include "config.h"

#include "tokenservice/api/audit_heads.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/common/log.h"
#include "tokenservice/api/decision.h"

enum { TOLD_AGAIN = 5000 };

/* In the database: for which recovery (its time, ms since 1970) a line was begun last. */
#define META "audit_line_of"

static int
look_at_newest(struct service *s, enum audit_found *ret, struct error *err)
{
    uint8_t point[KEY_POINT_LEN];
    struct audit_record record;

    *ret = AUDIT_AS_SIGNED;
    if (mint_signed(s->mint, point, &s->head, err) < 0)
        return -1;
    s->head_covered = s->head.id;
    if (s->head.id == 0)
        return 0;
    if (store_audit_get(s->store, s->head.id, &record, err) < 0) {
        if (err->code != ERROR_MISSING)
            return -1;
        log_warning("event=alarm the audit was signed up to record %" PRId64 ", which the database has not: it is an "
                    "older one, and is recovered; virtid recovery show",
                    s->head.id);
        s->begin_recovery = true;
        *ret = AUDIT_OLDER;
        return 0;
    }
    if (memcmp(record.hash, s->head.hash, sizeof record.hash) != 0)
        *ret = AUDIT_OTHER;
    else if (store_audit_get(s->store, s->head.id + 1, &record, err) == 0)
        s->head_covered += audit_head_is(&record);
    else if (err->code != ERROR_MISSING)
        return -1;
    return 0;
}

/* Whatever is signed was in the log before; a record more that stands there twice says the same. */
static int
tell_from_head(struct service *s, enum audit_found found, struct error *err)
{
    int64_t newest;

    if (store_audit_newest(s->store, &newest, err) < 0)
        return -1;
    if (found == AUDIT_AS_SIGNED && s->head.id > 0 && newest - s->head.id < TOLD_AGAIN)
        newest = s->head.id;
    store_audit_tell(s->store, newest, decision_tell);
    return 0;
}

int
audit_heads_compare(struct service *s, enum audit_found *ret, struct error *err)
{
    return look_at_newest(s, ret, err) < 0 ? -1 : tell_from_head(s, *ret, err);
}

/* The head and its record, within the caller's transaction; the record's id is the next one. */
static int
add_head(struct service *s, bool new_line, int64_t id, const uint8_t hash[static AUDIT_HASH], struct error *err)
{
    struct audit_record record = { .ms = s->clock_ms(), .who = "service" };

    if (mint_head(s->mint, new_line, id, hash, &s->head, err) < 0)
        return -1;
    if (new_line)
        strcpy(record.why, "the database was restored: a new line begins");
    else if (record.ms > s->newest_ms) /* a clock that is ahead must not be in the audit before anything was decided by it */
        record.ms = s->newest_ms;
    audit_head_put(&s->head, &record);
    return store_audit_add(s->store, &record, err);
}

static int
begin_line(struct service *s, const char *recovery, struct error *err)
{
    CLEANUP(store_abandon) struct store *txn = NULL;
    uint8_t hash[AUDIT_HASH];
    int64_t id;

    if (store_begin(s->store, &txn, err) < 0 || store_audit_end(s->store, &id, hash, err) < 0 ||
        add_head(s, true, id, hash, err) < 0 || store_meta_put(s->store, META, recovery, err) < 0 ||
        store_commit(txn, err) < 0)
        return -1;
    s->head_covered = id + 1;
    log_notice("event=audit-line line=%" PRIu64 " record=%" PRId64, s->head.line, id);
    return 0;
}

/* A line for each recovery, also for one that a host's receipt began. */
static int
follow_recovery(struct service *s, bool always, struct error *err)
{
    char wanted[24], begun[STORE_META_MAX + 1] = "";

    if (!s->recovery)
        return 0;
    snprintf(wanted, sizeof wanted, "%" PRId64, s->recovery_since_ms);
    if (store_meta_get(s->store, META, begun, err) < 0 && err->code != ERROR_MISSING)
        return -1;
    return always || strcmp(wanted, begun) != 0 ? begin_line(s, wanted, err) : 0;
}

int
audit_heads_start(struct service *s, enum audit_found found, struct error *err)
{
    if (found == AUDIT_OTHER && !s->recovery)
        return error_problem(err, ERROR_DENIED, "audit-broken",
                             "audit record %" PRId64 " is not the one that was signed: the database was changed (if it was "
                             "restored, say so: --recovery)",
                             s->head.id);
    return follow_recovery(s, found != AUDIT_AS_SIGNED, err);
}

/* Each record since the last head follows from it, whoever else can write the database. */
static int
sign_newest(struct service *s, struct error *err)
{
    CLEANUP(store_abandon) struct store *txn = NULL;
    uint8_t hash[AUDIT_HASH];
    int64_t id = s->head.id, ms;

    memcpy(hash, s->head.hash, sizeof hash);
    if (store_begin(s->store, &txn, err) < 0 || store_audit_follow(s->store, &id, hash, &ms, err) < 0 ||
        add_head(s, false, id, hash, err) < 0 || store_commit(txn, err) < 0)
        return -1;
    s->head_covered = id + 1;
    return 0;
}

static int
keep_signed(struct service *s, int64_t now_ms, struct error *err)
{
    int64_t newest;

    if (follow_recovery(s, false, err) < 0 || store_audit_newest(s->store, &newest, err) < 0)
        return -1;
    if (newest < s->head.id)
        return error_problem(err, ERROR_DENIED, "audit-broken", "the audit ends at record %" PRId64 ", and record %" PRId64
                             " was signed", newest, s->head.id);
    if (newest <= s->head_covered || (s->head_at_ms != 0 && now_ms - s->head_at_ms < HEAD_EVERY_MS &&
                                      now_ms >= s->head_at_ms && newest - s->head_covered < HEAD_RECORDS))
        return 0;
    if (sign_newest(s, err) < 0)
        return -1;
    s->head_at_ms = now_ms;
    return 0;
}

void
audit_heads_look(struct service *s)
{
    struct error trouble = { 0 };
    bool failed = keep_signed(s, s->clock_ms(), &trouble) < 0;

    if (failed && !s->head_trouble)
        log_error(&trouble, "event=alarm the audit is not signed");
    else if (!failed && s->head_trouble)
        log_notice("event=audit-signed-again");
    s->head_trouble = failed;
}
