#include "config.h"

#include "tokenservice/api/service_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/log.h"
#include "lib/wire/connect_msg.h"
#include "tokenservice/api/audit_heads.h"
#include "tokenservice/api/authority.h"
#include "tokenservice/api/recovery.h"
#include "tokenservice/api/signing_keys.h"

/* What virtid-verify --connect asks for; every VM may. */
static const struct store_audience CONNECT = {
    .name = CONNECT_AUDIENCE,
    .everyone = true,
    .claims = MINT_CLAIM_NAME,
};

struct lately {
    struct service *service;
    int64_t newest_ms;
    bool failed;
};

static bool
is_awaited(const struct store_host *host)
{
    return host->state == HOST_JOINED && host->seen_ms > 0;
}

static int
find_newest(void *context, const struct store_host *host, struct error *err)
{
    struct lately *l = context;

    (void)err;
    if (is_awaited(host) && host->seen_ms > l->newest_ms)
        l->newest_ms = host->seen_ms;
    return 0;
}

/* Those that were there until the service went away. */
static int
add_awaited(void *context, const struct store_host *host, struct error *err)
{
    struct lately *l = context;
    struct service *s = l->service;

    if (!is_awaited(host) || host->seen_ms < l->newest_ms - LEASE_LIFE_MS ||
        s->n_awaited == GRACE_HOSTS_MAX)
        return 0;
    if (!s->awaited)
        s->awaited = calloc(GRACE_HOSTS_MAX, sizeof *s->awaited);
    if (!s->awaited)
        return error_set(err, ERROR_SYSTEM, "no memory");
    memcpy(s->awaited[s->n_awaited++], host->name, sizeof host->name);
    return 0;
}

static int
begin_grace(struct service *s, struct error *err)
{
    struct lately l = { .service = s };

    if (store_host_list(s->store, find_newest, &l, err) < 0 ||
        store_host_list(s->store, add_awaited, &l, err) < 0)
        return -1;
    s->started_ms = s->clock_ms();
    s->grace = s->n_awaited > 0;
    s->was_grace = true;
    if (s->grace)
        log_notice("event=grace hosts=%zu: waiting for their reports, at most %d s",
                   s->n_awaited, GRACE_MS / 1000);
    return 0;
}

/* A restored database of another trust domain is not this service's. */
static int
check_domain(struct service *s, struct error *err)
{
    char value[STORE_META_MAX + 1];

    if (store_meta_get(s->store, "issuer", value, err) == 0) {
        if (strcmp(value, s->info.issuer) != 0)
            return error_set(
                err, ERROR_DENIED,
                "the database is of issuer %s, the signer of %s: give state_dir "
                "and key_dir of one trust domain",
                value, s->info.issuer);
        return 0;
    }
    if (err->code != ERROR_MISSING)
        return -1;
    return store_meta_put(s->store, "issuer", s->info.issuer, err);
}

static int
prepare_store(struct service *s, struct error *err)
{
    CLEANUP(store_abandon) struct store *txn = NULL;

    if (store_begin(s->store, &txn, err) < 0 || check_domain(s, err) < 0 ||
        store_audience_put(s->store, &CONNECT, err) < 0)
        return -1;
    return store_commit(txn, err);
}

static int
seal_nobody(struct service *s, struct error *err)
{
    CLEANUP(buf_clear) struct buf row = BUF(ROW_MAX);
    struct identity_row nobody = { .state = ROW_PENDING };

    strcpy(nobody.labels, "{}");
    if (mint_row_seal(s->mint, &nobody, &row, s->nobody_mac, err) < 0)
        return -1;
    memcpy(s->nobody_row, row.data, row.len);
    s->nobody_len = row.len;
    return 0;
}

/*
 * From here on counts what the clock says now.  A VM that proved itself by the clock that was ahead would
 * be refused until that time has come: its proofs of then are no guide, and none of them can come again,
 * since each was made over the connection that carried it.
 */
static int
accept_clock(struct service *s, struct error *err)
{
    CLEANUP(store_abandon) struct store *txn = NULL;
    struct audit_record record = { .ms = s->clock_ms(),
                                  .who = "option --accept-clock",
                                  .what = AUDIT_CLOCK_ACCEPTED };

    if (!s->accept_clock || record.ms >= s->newest_ms)
        return 0;
    snprintf(record.seen, sizeof record.seen, "newest record before: %lld ms",
             (long long)s->newest_ms);
    if (store_begin(s->store, &txn, err) < 0 ||
        store_audit_add(s->store, &record, err) < 0 || store_vm_marks_forget(s->store, record.ms, err) < 0 ||
        store_commit(txn, err) < 0)
        return -1;
    log_warning("event=clock-accepted the newest audit record was %lld s later",
                (long long)(s->newest_ms - record.ms) / 1000);
    s->newest_ms = record.ms;
    return 0;
}

int
service_start(struct service *s, struct error *err)
{
    enum audit_found found;
    struct error behind;

    if (rates_new(&s->rates, err) < 0 || pulls_new(s->clock_ms(), &s->pulls, err) < 0 ||
        mint_ask_info(s->mint, &s->info, err) < 0 || seal_nobody(s, err) < 0 ||
        store_audit_check(s->store, &s->newest_ms, err) < 0 ||
        prepare_store(s, err) < 0 || audit_heads_compare(s, &found, err) < 0 || accept_clock(s, err) < 0 ||
        recovery_start(s, err) < 0 || audit_heads_start(s, found, err) < 0 || signing_keys_start(s, err) < 0)
        return -1;
    (void)service_check_clock(s, s->clock_ms(), &behind); /* says so in the log */
    reserve_look(s);
    return begin_grace(s, err);
}

int
service_look(struct service *s, struct error *err)
{
    reserve_look(s);
    audit_heads_look(s);
    return store_failed(s->store) ? error_set(err, ERROR_SYSTEM, "the database's disk failed") : signing_keys_look(s, err);
}

void
service_clear(struct service *s)
{
    free(s->awaited);
    s->awaited = NULL;
    s->n_awaited = 0;
    rates_free(s->rates);
    s->rates = NULL;
    pulls_free(s->pulls);
    s->pulls = NULL;
    authority_clear(s);
    explicit_bzero(s->subkeys, sizeof s->subkeys);
}

int
service_subkeys(struct service *s, uint64_t hour, const struct service_subkeys **ret,
                struct error *err)
{
    struct service_subkeys *slot = &s->subkeys[hour % SERVICE_SUBKEYS_MAX];

    if (!slot->known || slot->hour != hour) {
        slot->known = false;
        if (mint_subkey(s->mint, MINT_PURPOSE_NONCE, hour, slot->nonce, err) < 0 ||
            mint_subkey(s->mint, MINT_PURPOSE_ACTIVATE, hour, slot->activate, err) < 0)
            return -1;
        slot->hour = hour;
        slot->known = true;
    }
    *ret = slot;
    return 0;
}

bool
service_in_grace(struct service *s, int64_t now_ms, const char *host)
{
    for (size_t i = 0; s->grace && host && i < s->n_awaited; i++) {
        if (strcmp(s->awaited[i], host) == 0) {
            s->n_awaited--;
            memmove(s->awaited[i], s->awaited[s->n_awaited], sizeof s->awaited[i]);
            break;
        }
    }
    if (now_ms < s->started_ms) /* the clock went back: count from there */
        s->started_ms = now_ms;
    if (s->grace && (s->n_awaited == 0 || now_ms - s->started_ms >= GRACE_MS)) {
        s->grace = false;
        log_notice("event=grace-over silent=%zu", s->n_awaited);
    }
    return s->grace;
}

int
service_totals(struct service *s, int64_t now_ms, struct store_totals *ret, struct error *err)
{
    bool may_lapse = now_ms - s->started_ms >= LEASE_LIFE_MS;

    return store_totals(s->store, may_lapse ? now_ms - LEASE_LIFE_MS : INT64_MIN, ret, err);
}

int
service_check_clock(struct service *s, int64_t now_ms, struct error *err)
{
    long long seconds = (s->newest_ms - now_ms) / 1000;
    bool behind = now_ms < s->newest_ms - CLOCK_BACK_MS;

    if (behind && !s->clock_behind)
        log_warning("event=alarm the clock is %lld s behind the newest audit record: "
                    "nothing is granted; set the clock, or, if it is right and was ahead "
                    "before, start virtid-tokend once with --accept-clock",
                    seconds);
    else if (!behind && s->clock_behind)
        log_notice("event=clock-in-order");
    s->clock_behind = behind;
    return behind ? error_problem(err, ERROR_BUSY, "clock",
                                  "the clock is %lld s behind the newest audit record",
                                  seconds)
                  : 0;
}

void
service_wake(struct service *s, const char *what, const char *host)
{
    char key[PARK_KEY_MAX + 1];

    snprintf(key, sizeof key, "%s %s", what, host);
    if (s->wake)
        s->wake(s->wake_context, key);
}

int
service_health(struct service *s, struct error *err)
{
    if (store_failed(s->store))
        return error_set(err, ERROR_SYSTEM, "the database's disk failed");
    if (mint_row_check(s->mint, s->nobody_row, s->nobody_len, s->nobody_mac, err) < 0)
        return error_wrap(err, "signer");
    return 0;
}
