/*
 * The holder of the lease says what the VM has: name, EK, first value of the index,
 * secret's point, whether its disk keeps what is written. While the account is pending the newest word is all that counts: what
 * it leaves out is forgotten.  Afterwards only the name may change, and, where an operator gave that right to this
 * very host, another TPM be registered (renewing.h).
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <string.h>

#include "lib/common/log.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/key.h"
#include "lib/tpm/tpm_data.h"
#include "tokenservice/api/api_body.h"
#include "tokenservice/api/decision.h"
#include "tokenservice/api/lock.h"
#include "tokenservice/api/recovery.h"
#include "tokenservice/api/renewing.h"

struct claim {
    struct vm_uuid uuid;
    uint64_t epoch;
    const char *name;
    bool has_ek, has_x0, has_secret, transient;
    uint8_t ek[EK_PUBLIC_MAX], ek_digest[SHA256_LEN], x0[32], secret[KEY_POINT_LEN];
    size_t ek_len;
};

static int
read_ek(const json_t *body, struct claim *c, struct error *err)
{
    struct credential_ek ek;

    if (json_get_bytes(body, "ek", true, c->ek, sizeof c->ek, &c->ek_len, err) < 0)
        return -1;
    c->has_ek = json_object_get(body, "ek") != NULL;
    if (!c->has_ek)
        return 0;
    if (tpm_ek_check(c->ek, c->ek_len, &ek, err) < 0)
        return -1;
    return hash_sha256(c->ek, c->ek_len, c->ek_digest, err);
}

static int
read_secret(const json_t *body, struct claim *c, struct error *err)
{
    CLEANUP(key_free) struct key *key = NULL;

    if (api_body_bytes(body, "secret", c->secret, sizeof c->secret, true,
                       &c->has_secret, err) < 0)
        return -1;
    return c->has_secret ? key_from_point(c->secret, &key, err) : 0;
}

static int
read_claim(const json_t *body, struct claim *c, struct error *err)
{
    memset(c, 0, sizeof *c);
    if (api_body_uuid(body, &c->uuid, err) < 0 ||
        api_body_epoch(body, &c->epoch, err) < 0 ||
        json_get_string(body, "name", false, NAME_DOMAIN_MAX, &c->name, err) < 0 ||
        read_ek(body, c, err) < 0 || read_secret(body, c, err) < 0 ||
        api_body_bytes(body, "x0", c->x0, sizeof c->x0, true, &c->has_x0, err) < 0 ||
        json_get_bool(body, "transient", true, &c->transient, err) < 0)
        return api_body_refuse(err);
    if (!name_is_domain(c->name))
        return error_problem(err, ERROR_INPUT, "bad-request",
                             "\"name\" is no domain's name");
    return 0;
}

static enum row_ek_origin
origin_of(const struct vm_account *a, const struct claim *c)
{
    return a->stored.has_ek_issued && memcmp(a->stored.ek_issued, c->ek_digest, SHA256_LEN) == 0 ? ROW_EK_CA
                                                                                                 : ROW_EK_HOST;
}

/* EK and secret belong to one account that is not pending (CHECKS C38: nothing is
 * inherited). */
static int
check_unique(struct service *s, const struct claim *c, struct error *err)
{
    bool used = false;

    if (c->has_ek && store_vm_ek_used(s->store, c->ek_digest, &c->uuid, &used, err) < 0)
        return -1;
    if (used)
        return error_problem(err, ERROR_DENIED, "ek-known", "another VM has this EK");
    if (c->has_secret &&
        store_vm_cur_used(s->store, c->secret, &c->uuid, &used, err) < 0)
        return -1;
    if (used)
        return error_problem(err, ERROR_DENIED, "secret-known",
                             "another VM has this secret");
    return 0;
}

/*
 * All of it, and nothing of before: a disk or TPM that was replaced before the first
 * proof must not leave its keys behind.
 */
static void
take(struct vm_account *a, const struct claim *c)
{
    struct identity_row *id = &a->id;

    vm_account_forget_claim(a);
    if (c->has_ek) {
        id->has_ek = true;
        memcpy(id->ek_digest, c->ek_digest, sizeof id->ek_digest);
        id->ek_origin = origin_of(a, c);
        memcpy(a->stored.ek, c->ek, sizeof a->stored.ek);
        a->stored.ek_len = c->ek_len;
    }
    if (c->has_x0) {
        id->has_x = true;
        memcpy(id->x, c->x0, sizeof id->x);
    }
    if (c->has_secret) {
        id->has_cur = true;
        memcpy(id->cur, c->secret, sizeof id->cur);
    }
}

/* The account is settled: what is said must be what is there. */
static int
compare(const struct vm_account *a, const struct claim *c, struct error *err)
{
    const struct identity_row *id = &a->id;

    if (c->has_x0 && !id->has_x)
        return error_problem(err, ERROR_DENIED, "ek-changed",
                             "the VM is registered with another TPM");
    /* A host repeats what it once made: what has stepped on since is no longer that. */
    if (c->has_secret && !(id->ratchet & ROW_RATCHET_ON) &&
        (!id->has_cur || memcmp(id->cur, c->secret, KEY_POINT_LEN) != 0))
        return error_problem(err, ERROR_DENIED, "secret-changed",
                             "the VM is registered with another secret");
    return 0;
}

static bool
is_another_tpm(const struct identity_row *id, const struct claim *c)
{
    return c->has_ek && (!id->has_ek || memcmp(id->ek_digest, c->ek_digest, SHA256_LEN) != 0);
}

static int
compare_or_renew(struct service *s, struct api_call *call, struct vm_account *a, const struct claim *c,
                 struct error *err)
{
    const struct renewing_claim made = { .ek_digest = c->ek_digest,
                                         .x = c->has_x0 ? c->x0 : NULL,
                                         .cur = c->has_secret ? c->secret : NULL,
                                         .ek_origin = origin_of(a, c) };

    if (!is_another_tpm(&a->id, c))
        return compare(a, c, err);
    return recovery_check(s, err) < 0 ? -1 : renewing_register(s, call, a, &made, err);
}

/* The disk as it is now, but not in the middle of a step of it. */
static void
take_disk(struct identity_row *id, const struct claim *c)
{
    if (c->transient && !id->has_next)
        id->ratchet |= ROW_RATCHET_NO_DISK;
    else if (!c->transient && (id->ratchet & ROW_RATCHET_NO_DISK)) {
        id->ratchet &= (uint8_t)~ROW_RATCHET_NO_DISK;
        id->done_run = (struct proof_run){ .epoch = 0 }; /* the key has not stepped in this run */
    }
}

/* Repeats are harmless: only what changes is stored and recorded. */
static int
settle(struct service *s, struct api_call *call, struct vm_account *a,
       const struct claim *c, struct error *err)
{
    struct identity_row before = a->id;
    struct decision d = { .what = "account", .uuid = &c->uuid, .why = c->name };
    char uuid[VM_UUID_TEXT];

    if (a->id.state == ROW_PENDING)
        take(a, c);
    else if (compare_or_renew(s, call, a, c, err) < 0)
        return -1;
    take_disk(&a->id, c);
    memset(a->id.name, 0, sizeof a->id.name);
    memcpy(a->id.name, c->name, strlen(c->name));
    if (memcmp(&before, &a->id, sizeof before) == 0)
        return 0;
    vm_uuid_print(&c->uuid, uuid);
    if (vm_account_save(s, a, err) < 0 || decision_add(s, call, &d, err) < 0)
        return -1;
    log_notice("event=account uuid=%s host=%s state=%s", uuid, call->host.name,
               identity_row_state_name(a->id.state));
    return 0;
}

/* The refusal is an event of its own transaction: nothing else has changed. */
static int
record_refusal(struct service *s, struct api_call *call, const struct claim *c,
               const struct error *refusal, struct error *err)
{
    CLEANUP(store_abandon) struct store *txn = NULL;
    struct decision d = { .what = "account-refused",
                          .uuid = &c->uuid,
                          .problem = refusal->problem,
                          .why = refusal->text };
    char uuid[VM_UUID_TEXT];
    bool is_new;

    if (store_begin(s->store, &txn, err) < 0 ||
        decision_add_seldom(s, call, &d, &is_new, err) < 0 ||
        store_commit(txn, err) < 0)
        return -1;
    vm_uuid_print(&c->uuid, uuid);
    if (is_new)
        log_warning("event=account-refused uuid=%s host=%s problem=%s", uuid,
                    call->host.name, refusal->problem);
    *err = *refusal;
    return -1;
}

static int
decide(struct service *s, struct api_call *call, const struct claim *c,
       struct vm_account *a, struct error *err)
{
    CLEANUP(store_abandon) struct store *txn = NULL;

    if (store_begin(s->store, &txn, err) < 0)
        return -1;
    if (vm_account_load(s, &c->uuid, a, err) < 0)
        return err->code == ERROR_MISSING
                   ? error_problem(err, ERROR_DENIED, "foreign",
                                   "this host has no lease of it")
                   : -1;
    if (vm_account_check_holder(s, a, call->host.name, c->epoch, call->now_ms, err) < 0)
        return -1;
    if (service_in_grace(s, call->now_ms, NULL))
        return error_problem(err, ERROR_BUSY, "grace",
                             "waiting for the hosts' reports");
    if (lock_check(a, err) < 0)
        return -1;
    if (a->id.state == ROW_PENDING && recovery_check(s, err) < 0)
        return -1;
    if (check_unique(s, c, err) < 0 || settle(s, call, a, c, err) < 0)
        return -1;
    return store_commit(txn, err);
}

int
api_account(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *body = NULL;
    struct error refusal = { 0 };
    struct vm_account a = { .stored_already = false };
    struct claim c;

    if (api_body_read(call, "uuid epoch name ek x0 secret transient", &body, err) < 0 ||
        read_claim(body, &c, err) < 0 || decision_allowed(s, call, err) < 0)
        return -1;
    if (decide(s, call, &c, &a, &refusal) < 0) {
        /* A VM that is not there has no events: UUIDs can be made up. */
        if (refusal.code == ERROR_DENIED && refusal.problem[0] && a.stored_already)
            return record_refusal(s, call, &c, &refusal, err);
        *err = refusal;
        return -1;
    }
    return api_body_answer(
        call, 200, json_pack("{s:s}", "state", identity_row_state_name(a.id.state)),
        err);
}
