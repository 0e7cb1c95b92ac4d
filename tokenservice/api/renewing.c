#include "config.h"

#include "tokenservice/api/renewing.h"

#include <stdio.h>
#include <string.h>

#include "lib/common/encode.h"
#include "lib/common/log.h"
#include "lib/crypto/hash.h"
#include "tokenservice/api/decision.h"
#include "tokenservice/api/lock.h"

enum { DIGEST_HEX = 2 * ROW_EK_DIGEST_LEN };

int
renewing_check(const struct vm_account *a, struct error *err)
{
    if (a->id.state == ROW_PENDING)
        return error_problem(err, ERROR_DENIED, "conflict",
                             "it has not proved itself yet: any TPM is taken with its first proof");
    if (lock_check(a, err) < 0)
        return -1;
    if (a->id.ek_origin == ROW_EK_NONE || (a->id.has_ek && !(a->id.floor & FACTOR_VTPM)))
        return error_problem(err, ERROR_DENIED, "conflict", "it has no TPM that could be lost");
    return 0;
}

/* "none": what it enrolled with was a copy. */
static void
print_ek(bool has, const uint8_t digest[static ROW_EK_DIGEST_LEN], char ret[static DIGEST_HEX + 1])
{
    if (has)
        hex_encode(digest, ROW_EK_DIGEST_LEN, ret);
    else
        strcpy(ret, "none");
}

static int
record_right(struct service *s, struct api_call *call, const struct vm_account *a, struct error *err)
{
    char seen[DIGEST_HEX + 1], uuid[VM_UUID_TEXT];
    struct decision d = { .what = "new-vtpm", .uuid = &a->id.uuid, .seen = seen, .expected = a->id.renewal.host };

    if (!d.expected[0])
        d.expected = "the first of its pool";
    print_ek(a->id.has_ek, a->id.ek_digest, seen);
    vm_uuid_print(&a->id.uuid, uuid);
    log_notice("event=new-vtpm uuid=%s host=%s", uuid, a->id.renewal.host[0] ? a->id.renewal.host : "-");
    return decision_add(s, call, &d, err);
}

int
renewing_give(struct service *s, struct api_call *call, struct vm_account *a, const char *host, struct error *err)
{
    struct row_renewal r = { .given = true, .ends_ms = call->now_ms + RENEWING_LIFE_MS };

    snprintf(r.host, sizeof r.host, "%s", host);
    a->id.renewal = r;
    return record_right(s, call, a, err);
}

int
renewing_bind(struct service *s, struct api_call *call, struct vm_account *a, struct error *err)
{
    struct row_renewal *r = &a->id.renewal;

    /* Not for the one that had it before, was fenced and is there: nothing died with it. */
    if (!renewing_is_open(a, call->now_ms) || r->host[0] || strcmp(a->id.host, call->host.name) == 0)
        return 0;
    snprintf(r->host, sizeof r->host, "%s", call->host.name);
    return record_right(s, call, a, err);
}

void
renewing_end(struct vm_account *a)
{
    a->id.renewal = (struct row_renewal){ .given = false };
}

bool
renewing_is_open(const struct vm_account *a, int64_t now_ms)
{
    return a->id.renewal.given && a->id.state == ROW_OK && now_ms < a->id.renewal.ends_ms;
}

/*
 * Was its secret a key of its TPM?  Every completed step makes it one; another may be the key that was written to the
 * disk, and still must be shown.
 */
static bool
key_died(const struct identity_row *id)
{
    return (id->floor & FACTOR_SECRET) && (id->ratchet & ROW_RATCHET_ON) && !(id->ratchet & ROW_RATCHET_NO_DISK) &&
           id->done_run.epoch != 0;
}

static int
record_registered(struct service *s, struct api_call *call, const struct vm_account *a, struct error *err)
{
    char seen[DIGEST_HEX + 1], uuid[VM_UUID_TEXT];
    struct decision d = { .what = "new-vtpm-registered", .uuid = &a->id.uuid, .seen = seen };

    hex_encode(a->id.renewal.ek_digest, sizeof a->id.renewal.ek_digest, seen);
    vm_uuid_print(&a->id.uuid, uuid);
    log_notice("event=new-vtpm-registered uuid=%s host=%s", uuid, call->host.name);
    return decision_add(s, call, &d, err);
}

int
renewing_register(struct service *s, struct api_call *call, struct vm_account *a, const struct renewing_claim *c,
                  struct error *err)
{
    struct row_renewal *r = &a->id.renewal;
    bool is_new = c->cur && !(a->id.has_cur && memcmp(a->id.cur, c->cur, sizeof a->id.cur) == 0);

    if (!renewing_is_open(a, call->now_ms) || strcmp(r->host, call->host.name) != 0 || !c->x)
        return error_problem(err, ERROR_DENIED, "ek-changed",
                             "if its own is lost: virtid place %s %s --new-vtpm",
                             a->id.name, call->host.name);
    if (r->has_ek && (memcmp(r->ek_digest, c->ek_digest, sizeof r->ek_digest) != 0 ||
                      memcmp(r->x, c->x, sizeof r->x) != 0))
        return error_problem(err, ERROR_DENIED, "ek-changed",
                             "a new one is registered already; if that is lost: virtid place %s %s --new-vtpm",
                             a->id.name, call->host.name);
    if ((is_new && !key_died(&a->id)) ||
        (r->has_ek && (r->has_cur != is_new || (is_new && memcmp(r->cur, c->cur, sizeof r->cur) != 0))))
        return error_problem(err, ERROR_DENIED, "secret-changed", "the VM is registered with another secret");
    if (r->has_ek)
        return 0;
    r->has_ek = true;
    memcpy(r->ek_digest, c->ek_digest, sizeof r->ek_digest);
    memcpy(r->x, c->x, sizeof r->x);
    r->ek_origin = c->ek_origin;
    r->has_cur = is_new;
    if (is_new)
        memcpy(r->cur, c->cur, sizeof r->cur);
    return record_registered(s, call, a, err);
}

bool
renewing_judges(const struct vm_account *a, const struct prove *p, const char *prover, int64_t now_ms,
                struct proof_account *into)
{
    const struct row_renewal *r = &a->id.renewal;
    uint8_t digest[ROW_EK_DIGEST_LEN];
    struct error why;

    /* The same work for every proof: nobody's signature was looked at yet. */
    if (hash_sha256(p->ek, p->ek_len, digest, &why) < 0 || !renewing_is_open(a, now_ms) || !r->has_ek ||
        strcmp(r->host, prover) != 0 || memcmp(digest, r->ek_digest, sizeof digest) != 0)
        return false;
    into->has_ek = true;
    into->floor |= FACTOR_VTPM;
    memcpy(into->ek, p->ek, p->ek_len);
    into->ek_len = p->ek_len;
    into->ek_ca = r->ek_origin == ROW_EK_CA;
    into->has_ak = false;
    into->has_mark_counters = false; /* another TPM's */
    into->ratchet.has_x = true;
    into->ratchet.has_xnext = false;
    memcpy(into->ratchet.xcur, r->x, sizeof into->ratchet.xcur);
    into->key_died = !r->has_cur && key_died(&a->id);
    if (r->has_cur) {
        into->ratchet.has_cur = true;
        into->ratchet.has_next = false;
        memcpy(into->ratchet.cur, r->cur, sizeof into->ratchet.cur);
    }
    return true;
}

static void
forget_next(struct identity_row *id)
{
    id->has_next = false;
    memset(id->next, 0, sizeof id->next);
}

void
renewing_take(struct vm_account *a, const struct prove *p, const struct proof_result *result)
{
    struct identity_row *id = &a->id;
    const struct row_renewal r = id->renewal;

    memcpy(a->stored.ek, p->ek, p->ek_len);
    a->stored.ek_len = p->ek_len;
    memcpy(id->ek_digest, r.ek_digest, sizeof id->ek_digest);
    id->has_ek = true;
    id->ek_origin = result->ek_ca ? ROW_EK_CA : ROW_EK_HOST;
    id->floor |= FACTOR_VTPM;
    id->has_x = true;
    memcpy(id->x, r.x, sizeof id->x);
    id->has_xnext = false;
    memset(id->xnext, 0, sizeof id->xnext);
    memset(id->v, 0, sizeof id->v);
    if (r.has_cur) {
        id->has_cur = true;
        memcpy(id->cur, r.cur, sizeof id->cur);
    }
    if (r.has_cur || result->take_cur)
        forget_next(id);
    id->pend_run = id->done_run = (struct proof_run){ .epoch = 0 };
    id->grant = (struct row_grant){ .given = false };
    id->gen++;
}

int
renewing_record(struct service *s, struct api_call *call, const struct vm_account *a,
                const uint8_t old_ek[static ROW_EK_DIGEST_LEN], struct error *err)
{
    static const uint8_t no_ek[ROW_EK_DIGEST_LEN];
    char seen[DIGEST_HEX + 1], expected[DIGEST_HEX + 1], why[40], uuid[VM_UUID_TEXT];
    struct decision d = { .what = "renewed", .uuid = &a->id.uuid, .seen = seen, .expected = expected, .why = why };

    hex_encode(a->id.ek_digest, sizeof a->id.ek_digest, seen);
    print_ek(memcmp(old_ek, no_ek, ROW_EK_DIGEST_LEN) != 0, old_ek, expected);
    snprintf(why, sizeof why, "gen %llu", (unsigned long long)a->id.gen);
    vm_uuid_print(&a->id.uuid, uuid);
    log_notice("event=renewed uuid=%s gen=%llu ek=%s before=%s", uuid, (unsigned long long)a->id.gen, seen, expected);
    return decision_add(s, call, &d, err);
}
