#include "config.h"

#include "tokenservice/api/audit_heads.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/common/log.h"
#include "tokenservice/api/decision.h"

enum { TOLD_AGAIN = 5000 };

/* In the database: for which recovery (its time, ms since 1970; 0: for none) a line was begun last, and that line. */
#define META "audit_line_of"
#define META_LINE "audit_line"

/* A database without one record is a lost one or, more often, one that is elsewhere: its folder is not mounted. */
static int
refuse_empty(struct service *s, struct error *err)
{
    int64_t newest;

    if (store_audit_newest(s->store, &newest, err) < 0)
        return -1;
    if (newest > 0 || s->begin_recovery)
        return 0;
    return error_problem(err, ERROR_DENIED, "audit-broken",
                         "the database is empty, and the audit was signed up to record %" PRId64 ": is state_dir mounted? (if "
                         "the database is lost, say so: --recovery)",
                         s->head.id);
}

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
        if (err->code != ERROR_MISSING || refuse_empty(s, err) < 0)
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

/* The head and its record, within the caller's transaction; `why`, if not NULL, begins a line.  The record's id is the next. */
static int
add_head(struct service *s, const char *why, int64_t id, const uint8_t hash[static AUDIT_HASH], struct error *err)
{
    struct audit_record record = { .ms = s->clock_ms(), .who = "service" };

    if (mint_head(s->mint, why != NULL, id, hash, &s->head, err) < 0)
        return -1;
    if (why)
        snprintf(record.why, sizeof record.why, "%s: a new line begins", why);
    else if (record.ms > s->newest_ms) /* a clock that is ahead must not be in the audit before anything was decided by it */
        record.ms = s->newest_ms;
    audit_head_put(&s->head, &record);
    return store_audit_add(s->store, &record, err);
}

static int
keep_line(struct service *s, struct error *err)
{
    char of[24], line[24];

    snprintf(of, sizeof of, "%" PRId64, s->recovery ? s->recovery_since_ms : 0);
    snprintf(line, sizeof line, "%" PRIu64, s->head.line);
    return store_meta_put(s->store, META, of, err) < 0 ? -1 : store_meta_put(s->store, META_LINE, line, err);
}

static int
begin_line(struct service *s, const char *why, struct error *err)
{
    CLEANUP(store_abandon) struct store *txn = NULL;
    uint8_t hash[AUDIT_HASH];
    int64_t id;

    if (store_begin(s->store, &txn, err) < 0 || store_audit_end(s->store, &id, hash, err) < 0 ||
        add_head(s, why, id, hash, err) < 0 || keep_line(s, err) < 0 || store_commit(txn, err) < 0)
        return -1;
    s->head_covered = id + 1;
    log_notice("event=audit-line line=%" PRIu64 " record=%" PRId64, s->head.line, id);
    return 0;
}

/* 0: there is none. */
static int
meta_number(struct service *s, const char *name, uint64_t *ret, struct error *err)
{
    char value[STORE_META_MAX + 1] = "";

    *ret = 0;
    if (store_meta_get(s->store, name, value, err) < 0)
        return err->code == ERROR_MISSING ? 0 : -1;
    (void)sscanf(value, "%" SCNu64, ret);
    return 0;
}

/* A line for each recovery, also for one that a host's receipt began. */
static int
follow_recovery(struct service *s, bool always, struct error *err)
{
    uint64_t begun;

    if (!s->recovery)
        return 0;
    if (meta_number(s, META, &begun, err) < 0)
        return -1;
    return always || begun != (uint64_t)s->recovery_since_ms ? begin_line(s, "the database was restored", err) : 0;
}

/* No head of an older line stands behind one of a newer. */
static int
follow_signer(struct service *s, struct error *err)
{
    uint64_t line;

    if (meta_number(s, META_LINE, &line, err) < 0)
        return -1;
    return s->head.line < line ? begin_line(s, "the signer's folder was restored", err) : 0;
}

int
audit_heads_start(struct service *s, enum audit_found found, struct error *err)
{
    /* What the database says of itself, that it is in recovery, is no operator's word. */
    if (found == AUDIT_OTHER && !s->begin_recovery)
        return error_problem(err, ERROR_DENIED, "audit-broken",
                             "audit record %" PRId64 " is not the one that was signed: the database was changed (if it was "
                             "restored, say so: --recovery)",
                             s->head.id);
    if (follow_recovery(s, found != AUDIT_AS_SIGNED || s->begin_recovery, err) < 0)
        return -1;
    return follow_signer(s, err);
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
        add_head(s, NULL, id, hash, err) < 0 || store_commit(txn, err) < 0)
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
    if (service_in_grace(s, now_ms, NULL)) /* a host may still show that the database is older, which begins another line */
        return 0;
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
    int64_t now_ms = s->clock_ms();
    bool failed;

    if (s->head_trouble && now_ms >= s->head_at_ms && now_ms - s->head_at_ms < HEAD_EVERY_MS)
        return;
    failed = keep_signed(s, now_ms, &trouble) < 0;
    if (failed)
        s->head_at_ms = now_ms;
    if (failed && !s->head_trouble)
        log_error(&trouble, "event=alarm the audit is not signed");
    else if (!failed && s->head_trouble)
        log_notice("event=audit-signed-again");
    s->head_trouble = failed;
}
