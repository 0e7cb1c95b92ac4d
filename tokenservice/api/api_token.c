/*
 * A proof comes in; a token, a question (ACTIVATE), a correction (RESOLVE), a step of the
 * TPM's ratchet (EXTEND) or a refusal goes out.
 *
 * Everything is read once, judged, changed and recorded in one transaction, which is
 * durable before the answer leaves.  Without a good host signature there is one answer
 * and no trace.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/log.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/key.h"
#include "lib/crypto/random.h"
#include "lib/wire/connect_msg.h"
#include "lib/wire/token.h"
#include "tokenservice/api/accepting.h"
#include "tokenservice/api/api_body.h"
#include "tokenservice/api/authority.h"
#include "tokenservice/api/behind.h"
#include "tokenservice/api/copied.h"
#include "tokenservice/api/decision.h"
#include "tokenservice/api/host_keys.h"
#include "tokenservice/api/recovery.h"
#include "tokenservice/api/renewing.h"
#include "tokenservice/api/vm_settings.h"

/* Everything about one proof. */
struct proof {
    struct prove p;
    struct vm_account vm;
    struct proof_account account; /* the same, as the judge wants it */
    struct proof_result result;
    struct ratchet_answer step;   /* what the ratchets answer, once it is accepted */
    struct store_audience audience;
    struct store_cert cert; /* of the holder or candidate: its proof key counts */
    struct store_cert next; /* it has renewed its keys, and this one not used yet */
    bool has_next;
    bool renewing;          /* it shows the new TPM of a VM that lost its own */
    uint8_t old_ek[ROW_EK_DIGEST_LEN]; /* then: of the one before */
    char uuid[VM_UUID_TEXT];
};

/* ---- in ---- */

/* A read that may find nothing: *ret_found says so; other failures are failures. */
static int
may_be_missing(int rc, const struct error *why, bool *ret_found, struct error *err)
{
    *ret_found = rc == 0;
    if (rc == 0 || why->code == ERROR_MISSING)
        return 0;
    *err = *why;
    return -1;
}

/*
 * The keys of the host whose signature counts in this epoch: the holder's, or a candidate's of a
 * hand-over. Of its current certificate, and of a renewed one that it has not used yet. For a VM that
 * is not there, or that nobody holds, the same is read and found missing (CHECKS C26).
 */
static int
read_prover(struct service *s, struct api_call *call, struct proof *proof, struct error *err)
{
    const struct lease_record *lease = &proof->vm.stored.lease;
    struct lease_now now = vm_account_now(s, &proof->vm, call->now_ms);
    const char *prover = lease_prover(lease, proof->p.epoch, &now);
    const char *name = prover ? prover : lease->hol;
    bool has_host, has_cert, has_next;
    struct store_host host;
    struct error why = { 0 };

    if (may_be_missing(store_host_find(s->store, name, &host, &why), &why, &has_host, err) < 0 ||
        may_be_missing(store_cert_of(s->store, name, CERT_CURRENT, &proof->cert, &why), &why, &has_cert, err) < 0 ||
        may_be_missing(store_cert_of(s->store, name, CERT_NEXT, &proof->next, &why), &why, &has_next, err) < 0)
        return -1;
    proof->account.epoch = lease->ep;
    if (!prover || !has_host || !has_cert || host.state != HOST_JOINED ||
        proof->cert.ends_ms <= call->now_ms)
        return 0; /* has_lease stays false */
    proof->account.has_lease = true;
    proof->account.epoch = proof->p.epoch;
    memcpy(proof->account.host, host.name, sizeof host.name);
    memcpy(proof->account.host_point, proof->cert.proof, sizeof proof->cert.proof);
    proof->has_next = has_next && proof->next.ends_ms > call->now_ms;
    return 0;
}

static void
fill_account(struct proof *proof)
{
    const struct identity_row *id = &proof->vm.id;
    const struct store_vm *stored = &proof->vm.stored;
    struct proof_account *a = &proof->account;

    a->known = true;
    a->pending = id->state == ROW_PENDING;
    a->locked = id->state != ROW_PENDING && id->state != ROW_OK;
    a->floor = id->floor;
    a->has_ek = id->has_ek;
    a->ek_ca = id->ek_origin == ROW_EK_CA;
    memcpy(a->ek, stored->ek, stored->ek_len);
    a->ek_len = stored->ek_len;
    a->has_ak = id->has_ak;
    memcpy(a->ak_name, id->ak_name, sizeof a->ak_name);
    a->no_disk = (id->ratchet & ROW_RATCHET_NO_DISK) != 0;
    vm_account_ratchet(id, &a->ratchet);
    a->has_mark = stored->has_mark;
    memcpy(a->mark_nonce, stored->mark_nonce, sizeof a->mark_nonce);
    a->has_mark_counters = stored->mark_vtpm;
    a->mark_reset = stored->mark_reset;
    a->mark_restart = stored->mark_restart;
    a->mark_clock = stored->mark_clock;
}

static int
read_account(struct service *s, struct api_call *call, struct proof *proof, struct error *err)
{
    struct error why = { 0 };

    if (vm_account_load(s, &proof->p.uuid, &proof->vm, &why) == 0) {
        fill_account(proof);
        proof->vm.yields = service_in_grace(s, call->now_ms, NULL);
    } else if (strcmp(why.problem, "row-forged") == 0) {
        memset(&proof->vm, 0, sizeof proof->vm); /* as if there were none */
    } else if (why.code != ERROR_MISSING) {
        *err = why;
        return -1;
    }
    if (read_prover(s, call, proof, err) < 0 || copied_look(s, &proof->p, &proof->account, err) < 0)
        return -1;
    proof->renewing = renewing_judges(&proof->vm, &proof->p, proof->account.host, call->now_ms, &proof->account);
    return 0;
}

/* The signature is good; is the key the host's?  Asked now, so that a stranger's proof costs one signature check. */
static int
check_proof_key(struct service *s, struct api_call *call, struct proof *proof, const struct store_cert *cert,
                struct error *err)
{
    struct proof_result *r = &proof->result;
    struct error why = { 0 };

    if (host_keys_verify_proof(s, cert, call->now_ms, &why) == 0)
        return 0;
    if (why.code == ERROR_SYSTEM) {
        *err = why;
        return -1;
    }
    log_warning("event=alarm host=%s its proof key in the database: %s", cert->host,
                why.text);
    memset(r, 0, sizeof *r);
    strcpy(r->problem, "refused");
    strcpy(r->check, "host-signature");
    return 0;
}

static int
judge(struct service *s, struct api_call *call, struct proof *proof, struct error *err)
{
    struct x509_der cas[MINT_CAS_MAX + 1];
    struct proof_service service = { .issuer = s->info.issuer,
                                     .now_ms = call->now_ms,
                                     .ek_cas = cas, .n_ek_cas = authority_ek_cas(s, cas) };
    const struct service_subkeys *keys;
    uint64_t hour;

    /* Before any look at the store: an impossible time costs nothing. */
    if (nonce_hour(proof->p.nonce, call->now_ms, &hour, err) < 0 ||
        service_subkeys(s, hour, &keys, err) < 0 ||
        read_account(s, call, proof, err) < 0)
        return -1;
    service.nonce_key = keys->nonce;
    service.activate_key = keys->activate;
    if (proof_check(&proof->p, call->request->exporter, &service, &proof->account,
                    &proof->result, err) < 0)
        return -1;
    if (proof->result.from_holder)
        return check_proof_key(s, call, proof, &proof->cert, err);
    /* Between a renewal and its first use over TLS the guest may bring the new key's signature. */
    if (!proof->has_next || strcmp(proof->result.problem, "refused") != 0)
        return 0;
    memcpy(proof->account.host_point, proof->next.proof, sizeof proof->next.proof);
    if (proof_check(&proof->p, call->request->exporter, &service, &proof->account,
                    &proof->result, err) < 0)
        return -1;
    return proof->result.from_holder ? check_proof_key(s, call, proof, &proof->next, err) : 0;
}

/* ---- refused ---- */

/* The judge's word for the check, as the problem the guest may see. */
static const char *
problem_name(const char *word)
{
    static const char *const NAMES[][2] = {
        { "activation", "activation-failed" },
        { "quote", "quote-invalid" },
        { "certify", "certify-invalid" },
        { "proof-malformed", "bad-request" },
    };

    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        if (strcmp(word, NAMES[i][0]) == 0)
            return NAMES[i][1];
    }
    return word;
}

/* A refusal whose host signature was good: the VM's own business, once an hour in the audit. */
static int
refuse_known(struct service *s, struct api_call *call, struct proof *proof, struct store *txn, struct error *err)
{
    const struct proof_result *r = &proof->result;
    const char *problem = problem_name(r->problem);
    struct decision d = { .what = "refused",
                          .uuid = &proof->p.uuid,
                          .problem = problem,
                          .why = r->check,
                          .seen = r->seen,
                          .expected = r->expected };
    bool is_new = false;

    if (strcmp(problem, "stale") != 0 &&
        (decision_add_seldom(s, call, &d, &is_new, err) < 0 ||
         store_commit(txn, err) < 0))
        return -1;
    if (is_new)
        log_notice("event=refused uuid=%s problem=%s check=%s", proof->uuid, problem,
                   r->check);
    return error_problem(err, ERROR_DENIED, problem, "the check %s failed", r->check);
}

static int
refuse_with(struct service *s, struct api_call *call, struct proof *proof, struct store *txn,
            const char *problem, const char *check, const char *expected, struct error *err)
{
    struct proof_result *r = &proof->result;

    strcpy(r->problem, problem);
    strcpy(r->check, check);
    memset(r->seen, 0, sizeof r->seen);
    memcpy(r->seen, proof->p.audience, strnlen(proof->p.audience, sizeof r->seen - 1));
    memset(r->expected, 0, sizeof r->expected);
    memcpy(r->expected, expected, strnlen(expected, sizeof r->expected - 1));
    return refuse_known(s, call, proof, txn, err);
}

/* ---- accepted ---- */

/* 0: may have it; 1: refused, and recorded so in *err; -1: failed. */
static int
check_audience(struct service *s, struct api_call *call, struct proof *proof, struct store *txn, struct error *err)
{
    struct error why = { 0 };

    if (store_audience_find(s->store, proof->p.audience, &proof->audience, &why) == 0 &&
        (proof->audience.everyone || vm_settings_list_audience(&proof->vm.id, proof->p.audience))) {
        if (!(proof->audience.claims & MINT_BOUND) || proof->p.has_cnf)
            return 0;
        return refuse_with(s, call, proof, txn, "bound-key", "cnf", "the key that a bound token names", err);
    }
    if (why.code != ERROR_NONE && why.code != ERROR_MISSING) {
        *err = why;
        return -1;
    }
    return refuse_with(s, call, proof, txn, "audience-not-allowed", "audience",
                       "an audience of all VMs, or one that this VM lists", err);
}

static int
check_secret(struct service *s, const struct proof *proof, const uint8_t *point, bool has, bool *used, struct error *err)
{
    return !has || *used ? 0 : store_vm_cur_used(s->store, point, &proof->p.uuid, used, err);
}

/* The EK and the keys that the row has now are no other VM's. */
static int
check_unique(struct service *s, struct api_call *call, struct proof *proof, struct store *txn, struct error *err)
{
    const struct proof_result *r = &proof->result;
    const struct identity_row *id = &proof->vm.id;
    bool used = false;

    if (r->has_vtpm &&
        store_vm_ek_used(s->store, r->ek_digest, &proof->p.uuid, &used, err) < 0)
        return -1;
    if (used)
        return refuse_with(s, call, proof, txn, "ek-known", "ek",
                           "an EK of no other VM", err);
    if (check_secret(s, proof, id->cur, id->has_cur, &used, err) < 0 ||
        check_secret(s, proof, id->next, id->has_next, &used, err) < 0)
        return -1;
    if (used)
        return refuse_with(s, call, proof, txn, "secret-known", "secret",
                           "a secret of no other VM", err);
    return 0;
}

/* What the first proofs bring, and the mark of every one. */
static void
take_proof(struct proof *proof, int64_t now_ms)
{
    const struct proof_result *r = &proof->result;
    struct identity_row *id = &proof->vm.id;
    struct store_vm *stored = &proof->vm.stored;

    memcpy(proof->old_ek, id->ek_digest, sizeof proof->old_ek);
    if (proof->renewing)
        renewing_take(&proof->vm, &proof->p, r);
    else if (r->behind) /* an operator's word has let it in: a jump in its history */
        id->gen++;
    renewing_end(&proof->vm); /* what it had before proves it: that was not lost */
    if (r->take_ek) {
        memcpy(stored->ek, r->ek, r->ek_len);
        stored->ek_len = r->ek_len;
        memcpy(id->ek_digest, r->ek_digest, sizeof id->ek_digest);
        id->has_ek = true;
        id->ek_origin = r->ek_ca ? ROW_EK_CA : ROW_EK_HOST;
    }
    if (r->take_ak) {
        memcpy(id->ak_name, r->ak_name, sizeof id->ak_name);
        id->has_ak = true;
    }
    if (r->take_cur) {
        memcpy(id->cur, proof->p.cur, sizeof id->cur);
        id->has_cur = true;
    }
    if (r->take_x) {
        memcpy(id->x, proof->p.x, sizeof id->x);
        id->has_x = true;
    }
    if (id->state == ROW_PENDING) {
        id->state = ROW_OK;
        id->floor = r->factors;
    }
    stored->has_mark = true;
    memcpy(stored->mark_nonce, proof->p.nonce, sizeof stored->mark_nonce);
    if (r->has_vtpm) {
        stored->mark_vtpm = true;
        stored->mark_reset = r->reset_count;
        stored->mark_restart = r->restart_count;
        stored->mark_clock = r->clock;
    }
    id->seen = (struct row_seen){ .has = false };
    stored->mark_ms = now_ms;
    stored->mark_factors = r->factors;
}

/* S1 to S6, upon the row as the proof has left it. */
static int
step(struct proof *proof, struct error *err)
{
    struct ratchet_shown shown;
    uint8_t random[32];
    unsigned halves;

    fill_account(proof);
    halves = proof_ratchet(&proof->p, &proof->account, &proof->result, &shown);
    if (proof->result.behind)
        ratchet_accept(&proof->account.ratchet, proof->result.behind, &shown);
    if (random_bytes(random, sizeof random, err) < 0 ||
        ratchet_step(&proof->account.ratchet, halves, &shown, random, &proof->step, err) < 0)
        return -1;
    vm_account_take_ratchet(&proof->vm.id, &proof->account.ratchet);
    return 0;
}

static int
record(struct service *s, struct api_call *call, const struct proof *proof, bool enrolled, struct error *err)
{
    const struct proof_result *r = &proof->result;
    const char *factors = counts_factors_name(counts_factors_place(r->factors));
    struct decision d = { .uuid = &proof->p.uuid, .why = proof->p.audience, .seen = factors };

    if (enrolled) {
        d.what = "enrolled";
        if (decision_add(s, call, &d, err) < 0)
            return -1;
        log_notice("event=enrolled uuid=%s factors=%s", proof->uuid, factors);
    }
    if (r->tpm_cleared) {
        d.what = "tpm-cleared";
        if (decision_add(s, call, &d, err) < 0)
            return -1;
        log_notice("event=tpm-cleared uuid=%s", proof->uuid);
    }
    if (proof->renewing && renewing_record(s, call, &proof->vm, proof->old_ek, err) < 0)
        return -1;
    if (r->behind && accepting_record(s, call, &proof->vm, err) < 0)
        return -1;
    if (proof->step.completed && behind_record_step(s, call, &proof->vm, proof->step.stepped, err) < 0)
        return -1;
    d.what = proof->step.type == ANSWER_TOKEN     ? "token"
             : proof->step.type == ANSWER_RESOLVE ? "resolve"
                                                  : "extend";
    return decision_add(s, call, &d, err);
}

/* The guest has decided: the candidate through which it proved itself holds the lease now. */
static int
hand_over(struct service *s, struct api_call *call, struct proof *proof, struct error *err)
{
    struct lease_record *lease = &proof->vm.stored.lease;
    struct lease_now now = vm_account_now(s, &proof->vm, call->now_ms);
    char seen[AUDIT_TEXT_MAX], from[NAME_HOST_MAX + 1];
    struct decision d = { .uuid = &proof->p.uuid, .what = "moved", .seen = seen };

    memcpy(from, lease->hol, sizeof from);
    lease_proved(lease, proof->p.epoch, &now);
    if (strcmp(from, lease->hol) == 0)
        return 0;
    snprintf(seen, sizeof seen, "from %s to %s, epoch %llu", from[0] ? from : "any host", lease->hol,
             (unsigned long long)lease->ep);
    log_notice("event=moved uuid=%s from=%s to=%s epoch=%llu", proof->uuid, from, lease->hol,
               (unsigned long long)lease->ep);
    return decision_add(s, call, &d, err);
}

/* The nonce for the next proof of this VM. */
static int
next_nonce(struct service *s, struct api_call *call, const struct proof *proof,
           uint8_t ret[static NONCE_LEN], struct error *err)
{
    const struct identity_row *id = &proof->vm.id;
    struct nonce_bind bind = { .uuid = id->uuid, .epoch = proof->p.epoch };
    const struct service_subkeys *keys;
    uint8_t random[NONCE_RANDOM_LEN];

    /* As the next proof will name it: without an AK there is none to bind to. */
    bind.has_ak = proof->p.has_ak;
    memcpy(bind.ak_name, proof->result.ak_name, sizeof bind.ak_name);
    if (service_subkeys(s, nonce_hour_now(call->now_ms), &keys, err) < 0 ||
        random_bytes(random, sizeof random, err) < 0)
        return -1;
    return nonce_make(keys->nonce, s->info.issuer, call->now_ms, random, &bind, ret,
                      err);
}

/* An agent gives its key with every proof; named in a bearer token, RFC 9449 would want a proof that no bearer has. */
static bool
names_key(const struct proof *proof)
{
    return proof->p.has_cnf &&
           ((proof->audience.claims & MINT_BOUND) || strcmp(proof->p.audience, CONNECT_AUDIENCE) == 0);
}

static int
make_token(struct service *s, struct api_call *call, struct proof *proof, struct answer *ret, struct error *err)
{
    CLEANUP(buf_clear) struct buf token = BUF(MINT_TOKEN_MAX);
    struct mint_token_request request = { .flags = proof->audience.claims,
                                          .factors = proof->result.factors,
                                          .has_cnf = names_key(proof),
                                          .now = call->now_ms / 1000 };
    bool used = false;

    if (proof->step.stepped & RATCHET_INDEX)
        request.flags |= MINT_FRESH_VTPM;
    if (proof->step.stepped & RATCHET_KEY)
        request.flags |= MINT_FRESH_SECRET;
    /* A host may call its VMs as it likes: a name that two have names neither. */
    if (store_vm_name_used(s->store, proof->vm.id.name, &proof->vm.id.uuid, &used, err) < 0)
        return -1;
    if (used)
        request.flags &= (uint8_t)~MINT_CLAIM_NAME;
    strcpy(request.audience, proof->p.audience);
    if (request.has_cnf && key_thumbprint(proof->p.cnf, request.cnf, err) < 0)
        return -1;
    if (mint_token(s->mint, proof->vm.stored.row, proof->vm.stored.row_len,
                   proof->vm.stored.mac, &request, &token, err) < 0)
        return error_wrap(err, "token");
    if (next_nonce(s, call, proof, ret->nonce, err) < 0)
        return -1;
    ret->expires_in = TOKEN_LIFE_SECONDS;
    memcpy(ret->token, token.data, token.len);
    return 0;
}

static int
fill_answer(struct service *s, struct api_call *call, struct proof *proof, struct answer *ret, struct error *err)
{
    const struct ratchet *r = &proof->account.ratchet;

    ret->type = proof->step.type;
    ret->has_kid = proof->step.has_kid;
    memcpy(ret->kid, proof->step.kid, sizeof ret->kid);
    if (ret->type == ANSWER_TOKEN)
        return make_token(s, call, proof, ret, err);
    memcpy(ret->from, proof->step.from, sizeof ret->from);
    memcpy(ret->to, r->xnext, sizeof ret->to);
    memcpy(ret->v, r->v, sizeof ret->v);
    return 0;
}

static int
accept_proof(struct service *s, struct api_call *call, struct proof *proof, struct store *txn, struct answer *ret,
             struct error *err)
{
    bool enrolled = proof->vm.id.state == ROW_PENDING;

    if ((enrolled || proof->renewing) && service_in_grace(s, call->now_ms, NULL))
        return error_problem(err, ERROR_BUSY, "grace", "waiting for the hosts' reports");
    if ((enrolled || proof->renewing) && recovery_check(s, err) < 0)
        return -1;
    if (check_audience(s, call, proof, txn, err) != 0)
        return -1;
    take_proof(proof, call->now_ms);
    if (enrolled && proof->result.copied && copied_take(s, call, &proof->vm, &proof->result.owner, err) < 0)
        return -1;
    if (step(proof, err) < 0 || check_unique(s, call, proof, txn, err) != 0 ||
        hand_over(s, call, proof, err) < 0 || vm_account_save(s, &proof->vm, err) < 0 ||
        record(s, call, proof, enrolled, err) < 0 || fill_answer(s, call, proof, ret, err) < 0)
        return -1;
    if (store_commit(txn, err) < 0)
        return -1;
    if (ret->type == ANSWER_TOKEN)
        log_notice("event=token uuid=%s host=%s epoch=%llu audience=%s", proof->uuid, proof->account.host,
                   (unsigned long long)proof->p.epoch, proof->p.audience);
    else
        log_notice("event=proof uuid=%s answer=%s", proof->uuid, counts_answer_name(ret->type));
    return 0;
}

/* A refusal of the VM itself: kept as far as an operator may be asked about it. */
static int
refuse_holder(struct service *s, struct api_call *call, struct proof *proof, struct store *txn, struct error *err)
{
    bool restored = false;

    if (behind_note(s, &proof->p, call->now_ms, &proof->vm, &proof->result, err) < 0 ||
        (proof->result.behind && accepting_by_itself(s, call, &proof->vm, &restored, err) < 0))
        return -1;
    (void)refuse_known(s, call, proof, txn, err);
    if (restored && err->code == ERROR_DENIED) /* it is stored */
        accepting_tell(s, &proof->vm);
    return -1;
}

static int
decide(struct service *s, struct api_call *call, struct proof *proof, struct answer *ret, struct error *err)
{
    CLEANUP(store_abandon) struct store *txn = NULL;
    const struct proof_result *r = &proof->result;

    if (store_begin(s->store, &txn, err) < 0 || judge(s, call, proof, err) < 0)
        return -1;
    /* Strangers are not counted: they could use a VM's measure up. */
    if (r->from_holder &&
        rate_take(s->rates, RATE_VM_PROOF, proof->p.uuid.bytes,
                  sizeof proof->p.uuid.bytes, call->now_ms, err) < 0)
        return -1;
    if (r->verdict == PROOF_ACCEPTED && r->from_holder)
        return accept_proof(s, call, proof, txn, ret, err);
    if (r->verdict == PROOF_ACTIVATE && r->from_holder) {
        ret->type = ANSWER_ACTIVATE;
        memcpy(ret->id_object, r->blob.id_object, r->blob.id_object_len);
        ret->id_object_len = r->blob.id_object_len;
        memcpy(ret->seed, r->blob.seed, r->blob.seed_len);
        ret->seed_len = r->blob.seed_len;
        return 0;
    }
    if (r->from_holder)
        return refuse_holder(s, call, proof, txn, err);
    log_debug("refused: check %s, seen %s", r->check, r->seen);
    /* One word for all that strangers do; "stale" is no secret: it is about the nonce
     * alone. */
    return error_problem(err, ERROR_DENIED,
                         strcmp(r->problem, "stale") == 0 ? "stale" : "refused",
                         "refused");
}

int
api_token(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(mem_free) struct proof *proof = calloc(1, sizeof *proof);
    CLEANUP(mem_free) struct answer *answer = calloc(1, sizeof *answer);

    if (!proof || !answer)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (prove_decode((const char *)call->request->body, call->request->body_len,
                     &proof->p, err) < 0)
        return api_body_refuse(err);
    vm_uuid_print(&proof->p.uuid, proof->uuid);
    if (service_check_clock(s, call->now_ms, err) < 0)
        return -1;
    if (decide(s, call, proof, answer, err) < 0)
        return counts_proof_refused(&s->counts, err);
    counts_proof(&s->counts, answer->type, proof->audience.claims & MINT_BOUND, proof->result.factors);
    if (answer_encode(answer, &call->reply->body, err) < 0)
        return -1;
    call->reply->status = 200;
    return 0;
}
