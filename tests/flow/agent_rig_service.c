#include "config.h"

#include "tests/flow/agent_rig_service.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/encode.h"
#include "lib/common/json.h"
#include "lib/crypto/random.h"
#include "lib/crypto/tls.h"
#include "lib/wire/http_message.h"
#include "lib/wire/problem.h"
#include "tokenservice/attest/nonce.h"

enum { SERVICE_MS = 60000 };

struct session {
    struct rig *r;
    struct tls *tls;
    uint8_t exporter[TLS_EXPORTER_LEN];
    int64_t deadline;
    bool lost; /* the answer */
};

static int64_t
service_clock(const struct rig *r)
{
    return clock_realtime_ms() + r->wish.ahead * 1000;
}

static void
make_nonce(const struct rig *r, const struct nonce_bind *bind, uint8_t ret[NONCE_LEN])
{
    uint8_t random[NONCE_RANDOM_LEN];
    struct error err = { 0 };

    assert(random_bytes(random, sizeof random, &err) == 0);
    assert(nonce_make(r->nonce_key, RIG_ISSUER, service_clock(r), random, bind, ret, &err) == 0);
}

static void
answer_challenge(struct session *s, struct buf *body)
{
    CLEANUP(json_decref) json_t *o = json_object();
    uint8_t nonce[NONCE_LEN];
    struct error err = { 0 };

    pthread_mutex_lock(&s->r->lock);
    s->r->challenges++;
    pthread_mutex_unlock(&s->r->lock);
    make_nonce(s->r, NULL, nonce);
    json_set_bytes(o, "nonce", nonce, sizeof nonce);
    assert(json_print(o, body, &err) == 0);
}

static int
refuse(const char *problem, struct buf *body)
{
    struct error err = { .code = ERROR_DENIED };

    snprintf(err.problem, sizeof err.problem, "%s", problem);
    assert(problem_body(&err, NULL, body) == 0);
    return problem_find(problem) ? problem_find(problem)->status : 403;
}

static void
store(struct rig *r, const struct prove *p, const struct proof_result *result)
{
    struct proof_account *a = &r->account;

    a->pending = false;
    if (result->take_ek) {
        memcpy(a->ek, result->ek, result->ek_len);
        a->ek_len = result->ek_len;
        a->has_ek = true;
    }
    if (result->take_ak) {
        memcpy(a->ak_name, result->ak_name, sizeof a->ak_name);
        a->has_ak = true;
    }
    if (result->take_cur) {
        memcpy(a->ratchet.cur, p->cur, sizeof a->ratchet.cur);
        a->ratchet.has_cur = true;
    }
    if (result->take_x) {
        memcpy(a->ratchet.xcur, p->x, sizeof a->ratchet.xcur);
        a->ratchet.has_x = true;
    }
    a->floor |= result->factors;
    a->has_mark = true;
    memcpy(a->mark_nonce, p->nonce, sizeof a->mark_nonce);
    if (result->has_vtpm) {
        a->has_mark_counters = true;
        a->mark_reset = result->reset_count;
        a->mark_restart = result->restart_count;
        a->mark_clock = result->clock;
    }
    r->cleared += result->tpm_cleared;
    r->accepted++;
}

/* As the service makes them for an audience that was declared bound; nobody looks at the rest of it here. */
static void
make_bound(const char *audience, char *ret, size_t size)
{
    char claims[400], text[B64URL_LEN(sizeof claims) + 1];
    int len = snprintf(claims, sizeof claims, "{\"iss\":\"" RIG_ISSUER "/bound\",\"aud\":\"pop:%.200s\"}", audience);

    b64url_encode((const uint8_t *)claims, (size_t)len, text);
    snprintf(ret, size, "e30.%s.e30", text);
}

static void
make_answer(struct rig *r, const struct prove *p, const struct proof_result *result,
            const struct ratchet_answer *step, struct answer *ret)
{
    struct nonce_bind bind = { p->uuid, p->epoch, p->has_ak, { 0 } };

    memcpy(bind.ak_name, result->ak_name, sizeof bind.ak_name);
    make_nonce(r, &bind, ret->nonce);
    ret->expires_in = r->wish.life ? r->wish.life : 300;
    snprintf(ret->token, sizeof ret->token, "token-%llu.%.200s.factors-%u%s%s",
             (unsigned long long)++r->token_count, p->audience, result->factors,
             p->has_cnf && strcmp(p->audience, "virtid-connect") == 0 ? ".cnf" : "", step->stepped ? ".fresh" : "");
    if (strncmp(p->audience, "bound-", 6) == 0)
        make_bound(p->audience, ret->token, sizeof ret->token);
    r->tokens++;
    r->stepped = step->stepped;
}

/* What the ratchets say to an accepted proof, or the order that a test wished for. */
static void
answer_accepted(struct rig *r, const struct prove *p, const struct proof_result *result,
                struct answer *ret)
{
    struct ratchet *ratchet = &r->account.ratchet;
    struct ratchet_answer step;
    struct ratchet_shown shown;
    struct error err = { 0 };
    uint8_t random[32];
    unsigned halves = proof_ratchet(p, &r->account, result, &shown);

    assert(random_bytes(random, sizeof random, &err) == 0);
    if (r->wish.no_steps) /* a service of before there were ratchets */
        shown.fresh = shown.has_new = false;
    if (result->behind) {
        ratchet_accept(ratchet, result->behind, &shown);
        r->granted++;
    }
    assert(ratchet_step(ratchet, halves, &shown, random, &step, &err) == 0);
    r->steps += step.completed;
    ret->type = atomic_exchange(&r->wish.resolve, false) ? ANSWER_RESOLVE : step.type;
    ret->has_kid = step.has_kid;
    memcpy(ret->kid, step.kid, sizeof ret->kid);
    memcpy(ret->from, step.from, sizeof ret->from);
    memcpy(ret->to, ratchet->xnext, sizeof ret->to);
    memcpy(ret->v, ratchet->v, sizeof ret->v);
    if (ret->type == ANSWER_EXTEND) {
        r->extends++;
        if (atomic_exchange(&r->wish.wrong_from, false))
            ret->from[0] ^= 1;
    }
    if (ret->type == ANSWER_RESOLVE)
        r->resolves++;
    if (ret->type == ANSWER_TOKEN)
        make_answer(r, p, result, &step, ret);
}

/* Under the lock: HTTP status. */
static int
judge(struct session *s, const struct prove *p, struct buf *body)
{
    struct rig *r = s->r;
    CLEANUP(mem_free) struct proof_result *result = calloc(1, sizeof *result);
    CLEANUP(mem_free) struct answer *answer = calloc(1, sizeof *answer);
    struct proof_service service = { .issuer = RIG_ISSUER,
                                     .now_ms = service_clock(r),
                                     .nonce_key = r->nonce_key,
                                     .activate_key = r->activate_key };
    struct error err = { 0 };

    assert(result && answer);
    r->proofs++;
    if (r->wish.stale > 0) {
        r->wish.stale--;
        return refuse("stale", body);
    }
    r->account.epoch = r->epoch;
    assert(proof_check(p, s->exporter, &service, &r->account, result, &err) == 0);
    if (result->verdict == PROOF_REFUSED) {
        snprintf(r->refusal, sizeof r->refusal, "%s %s", result->check, result->problem);
        if (result->behind)
            r->shown = result->shown;
        /* As the service: "stale" is about the nonce alone and no secret. */
        return refuse(result->from_holder || strcmp(result->problem, "stale") == 0 ? result->problem
                                                                                    : "refused",
                      body);
    }
    if (result->verdict == PROOF_ACTIVATE) {
        r->activations++;
        answer->type = ANSWER_ACTIVATE;
        memcpy(answer->id_object, result->blob.id_object, result->blob.id_object_len);
        answer->id_object_len = result->blob.id_object_len;
        memcpy(answer->seed, result->blob.seed, result->blob.seed_len);
        answer->seed_len = result->blob.seed_len;
    } else {
        store(r, p, result);
        answer_accepted(r, p, result, answer);
    }
    assert(answer_encode(answer, body, &err) == 0);
    return 200;
}

static int
answer_token(struct session *s, const char *text, size_t len, struct buf *body)
{
    CLEANUP(mem_free) struct prove *p = calloc(1, sizeof *p);
    struct error err = { 0 };
    int status;

    assert(p);
    if (prove_decode(text, len, p, &err) < 0) {
        fprintf(stderr, "rig: PROVE is not one: %s\n", err.text);
        return refuse("bad-request", body);
    }
    pthread_mutex_lock(&s->r->lock);
    status = judge(s, p, body);
    rig_event(s->r);
    s->lost = atomic_exchange(&s->r->wish.lose_answer, false);
    pthread_cond_broadcast(&s->r->changed);
    pthread_mutex_unlock(&s->r->lock);
    return status;
}

/* -1: end. */
static int
serve_one(struct session *s)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(HTTP_HEAD_MAX + HTTP_BODY_MAX);
    CLEANUP(buf_clear) struct buf body = BUF(HTTP_BODY_MAX), out = BUF(32768);
    CLEANUP(mem_free) struct http_message *m = calloc(1, sizeof *m);
    struct error err = { 0 };
    bool done = false;
    int status = 200;

    assert(m);
    while (!done) {
        uint8_t chunk[4096];
        size_t n = 0;

        if (tls_read(s->tls, chunk, sizeof chunk, &n, s->deadline, &err) < 0 || n == 0)
            return -1;
        buf_add(&bytes, chunk, n);
        if (http_parse(bytes.data, bytes.len, true, HTTP_BODY_MAX, m, &done, &err) < 0)
            return -1;
    }
    if (strcmp(m->path, "/v1/challenge") == 0)
        answer_challenge(s, &body);
    else if (s->r->wish.hang_up)
        return -1;
    else
        status = answer_token(s, (const char *)bytes.data + m->head_len, m->body_len, &body);
    if (s->lost)
        return -1;
    http_print_response(&out, status, "application/json", "", true, body.data, body.len);
    return tls_write(s->tls, out.data, out.len, s->deadline, &err);
}

struct start {
    struct rig *r;
    int fd;
};

static void *
run(void *context)
{
    struct start *start = context;
    struct rig *r = start->r;
    CLEANUP(tls_ctx_free) struct ssl_ctx_st *ctx = NULL;
    CLEANUP(tls_free) struct tls *tls = NULL;
    struct session s = { .r = r, .deadline = clock_monotonic_ms() + SERVICE_MS };
    bool other = r->wish.false_service;
    struct tls_identity identity = { .key = r->server_key,
                                     .cert_der = other ? r->other_server : r->server,
                                     .cert_len = other ? r->other_server_len : r->server_len };
    struct error err = { 0 };
    int fd = start->fd;

    free(start);
    assert(tls_server_new(&identity, NULL, 0, NULL, &ctx, &err) == 0);
    if (tls_accept(ctx, fd, s.deadline, &tls, &err) == 0 &&
        tls_exporter(tls_ssl(tls), "EXPORTER-virtid-proof", s.exporter, &err) == 0) {
        s.tls = tls;
        while (serve_one(&s) == 0)
            ;
    }
    tls_free(STEAL(tls));
    r->services--;
    return NULL;
}

void
rig_service_start(struct rig *r, int take_fd)
{
    struct start *start = malloc(sizeof *start);
    pthread_attr_t attr;
    pthread_t thread;

    assert(start);
    *start = (struct start){ r, take_fd };
    r->services++;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    assert(pthread_create(&thread, &attr, run, start) == 0);
    pthread_attr_destroy(&attr);
}

void
rig_service_wait(struct rig *r)
{
    while (r->services > 0)
        usleep(10000);
}
