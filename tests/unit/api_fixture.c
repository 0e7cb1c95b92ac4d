#include "config.h"

#include "tests/unit/api_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/wire/token.h"
#include "lib/common/clock.h"
#include "lib/common/encode.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/x509.h"
#include "lib/wire/fields.h"
#include "tokenservice/attest/credential.h"
#include "tokenservice/attest/nonce.h"

struct api_fixture the_api = { .body = BUF(JSON_TEXT_MAX) };

static int64_t
moved_clock(void)
{
    return (the_api.frozen_ms ? the_api.frozen_ms : clock_realtime_ms()) + the_api.skew_ms;
}

int
api_fixture_start(void **state)
{
    return mint_fixture_start(state);
}

int
api_fixture_stop(void **state)
{
    return mint_fixture_stop(state);
}

static void
database(char ret[static 128], const char *tail)
{
    snprintf(ret, 128, "%s/tokend.db%s", the_api.folder, tail);
}

int
api_fixture_open(struct error *err)
{
    struct service *s = &the_api.service;
    char path[128];

    memset(s, 0, sizeof *s);
    s->mint = the_mint.client;
    s->clock_ms = moved_clock;
    s->own_uid = 4711;
    s->accept_clock = the_api.accept_clock;
    s->begin_recovery = the_api.recovery;
    strcpy(s->hosts_advertised, "id.example.test:8444");
    database(path, "");
    return store_open(path, &s->store, err) < 0 || service_start(s, err) < 0 ? -1 : 0;
}

static void
open_service(void)
{
    struct error err = { 0 };

    if (api_fixture_open(&err) < 0)
        fail_msg("%s", err.text);
}

void
api_fixture_close(void)
{
    service_clear(&the_api.service);
    store_close(the_api.service.store);
    the_api.service.store = NULL;
}

int
api_fixture_new(void **state)
{
    (void)state;
    strcpy(the_api.folder, "/tmp/virtid-api-XXXXXX");
    if (!mkdtemp(the_api.folder))
        return -1;
    the_api.skew_ms = the_api.frozen_ms = 0;
    the_api.uid = 0, the_api.accept_clock = the_api.recovery = false;
    the_api.host_header = NULL;
    memset(the_api.exporter, 7, sizeof the_api.exporter);
    if (the_mint.keys) /* nothing of this store was signed yet */
        the_mint.keys->head.newest = (struct audit_head){ .line = 1 };
    open_service();
    return 0;
}

int
api_fixture_free(void **state)
{
    static const char *const TAILS[] = { "", "-wal", "-shm", ".backup" };
    char path[128];

    (void)state;
    api_fixture_close();
    buf_clear(&the_api.body);
    for (size_t i = 0; i < sizeof TAILS / sizeof TAILS[0]; i++) {
        database(path, TAILS[i]);
        unlink(path);
    }
    rmdir(the_api.folder);
    return 0;
}

void
api_restart(void)
{
    api_fixture_close();
    open_service();
}

/* ---- requests ---- */

static void
never_broken(const struct error *err)
{
    fail_msg("the service is broken: %s", err->text);
}

static void
note_problem(const char *type)
{
    static const char PREFIX[] = "urn:virtid:problem:";
    bool is_problem = type && strcmp(type, "application/problem+json") == 0 && the_api.body.len > 0;
    CLEANUP(json_decref) json_t *o = is_problem ? api_answer() : NULL;
    const char *name = o ? json_string_value(json_object_get(o, "type")) : NULL;

    the_api.problem[0] = '\0';
    if (name && strncmp(name, PREFIX, strlen(PREFIX)) == 0)
        snprintf(the_api.problem, sizeof the_api.problem, "%s", name + strlen(PREFIX));
}

int
api_ask_raw(enum route_listener on, const char *method, const char *target,
            const void *body, size_t len, const uint8_t *cert, size_t cert_len)
{
    struct route_context context = { .service = &the_api.service,
                                     .listener = on,
                                     .broken = the_api.broken ? the_api.broken : never_broken };
    static struct http_message message;
    CLEANUP(buf_clear) struct buf text = BUF(HTTP_HEAD_MAX + HTTP_BODY_MAX);
    struct http_reply reply = { .body = BUF(JSON_TEXT_MAX) };
    struct http_request request = { .message = &message, .peer = "192.0.2.1" };
    struct error err = { 0 };
    bool done = false;

    http_print_request(&text, method, target,
                       the_api.host_header ? the_api.host_header : "id.example.test",
                       "", body, len);
    assert_true(buf_ok(&text));
    if (http_parse(text.data, text.len, true, HTTP_BODY_MAX, &message, &done, &err) < 0)
        fail_msg("%s %s: %s", method, target, err.text);
    assert_true(done);
    request.body = text.data + message.head_len;
    request.body_len = len;
    request.client_cert = cert;
    request.client_cert_len = cert_len;
    request.uid = on == ON_ADMIN ? the_api.uid : (uid_t)-1;
    request.gid = (gid_t)-1;
    request.came_ms = clock_monotonic_ms();
    request.again = the_api.again;
    memcpy(request.exporter, the_api.exporter, sizeof request.exporter);
    (the_api.answer ? the_api.answer : route_answer)(&context, &request, &reply);
    buf_clear(&the_api.body);
    the_api.body = reply.body;
    the_api.status = reply.status;
    the_api.park_ms = reply.park_ms;
    memcpy(the_api.headers, reply.headers, sizeof the_api.headers);
    note_problem(reply.content_type);
    return reply.status;
}

int
api_ask_json(enum route_listener on, const char *method, const char *target,
             json_t *take_body, const uint8_t *cert, size_t cert_len)
{
    CLEANUP(json_decref) json_t *body = take_body;
    CLEANUP(buf_clear) struct buf text = BUF(HTTP_BODY_MAX);
    struct error err;

    if (body)
        assert_int_equal(json_print(body, &text, &err), 0);
    return api_ask_raw(on, method, target, text.data, text.len, cert, cert_len);
}

int
api_admin(const char *method, const char *target, json_t *take_body)
{
    return api_ask_json(ON_ADMIN, method, target, take_body, NULL, 0);
}

json_t *
api_answer(void)
{
    struct error err = { 0 };
    json_t *o = NULL;

    if (json_parse((const char *)the_api.body.data, the_api.body.len, &o, &err) < 0)
        fail_msg("answer %d: %s", the_api.status, err.text);
    return o;
}

int64_t
api_audit_count(void)
{
    struct error err;
    int64_t n = 0;

    assert_int_equal(store_audit_count(the_api.service.store, &n, &err), 0);
    return n;
}

/* ---- hosts ---- */

void
sim_host_invite(struct sim_host *h, const char *name, bool automatic)
{
    CLEANUP(json_decref) json_t *answer = NULL;
    struct error err = { 0 };
    const char *code;
    size_t len;

    memset(h, 0, sizeof *h);
    strcpy(h->name, name);
    assert_int_equal(key_generate(&h->tls, &err), 0);
    assert_int_equal(key_generate(&h->proof, &err), 0);
    assert_int_equal(api_admin("POST", "/v1/admin/hosts",
                               json_pack("{s:s,s:b}", "name", name, "auto", automatic)),
                     201);
    answer = api_answer();
    code = json_string_value(json_object_get(answer, "code"));
    assert_int_equal(strncmp(code, "virtid1,id.example.test:8444,", 29), 0);
    code = strrchr(code, ',') + 1;
    assert_int_equal(b64url_decode(code, strlen(code), h->token, 32, &len, &err), 0);
}

static json_t *
signed_keys(const char *label, const char *name, const uint8_t *token,
            const struct key *tls, const struct key *proof)
{
    CLEANUP(buf_clear) struct buf message = BUF(512);
    uint8_t points[2][65], signatures[2][64];
    json_t *body = json_object();
    struct error err;

    key_point(tls, points[0]);
    key_point(proof, points[1]);
    fields_add_text(&message, label);
    fields_add_text(&message, name);
    if (token)
        fields_add(&message, token, 32);
    fields_add(&message, points[0], 65);
    fields_add(&message, points[1], 65);
    assert_int_equal(key_sign(tls, message.data, message.len, signatures[0], &err), 0);
    assert_int_equal(key_sign(proof, message.data, message.len, signatures[1], &err),
                     0);
    json_set_bytes(body, "tls", points[0], 65);
    json_set_bytes(body, "proof", points[1], 65);
    json_set_bytes(body, "sig_tls", signatures[0], 64);
    json_set_bytes(body, "sig_proof", signatures[1], 64);
    return body;
}

static void
take_cert(struct sim_host *h)
{
    CLEANUP(json_decref) json_t *answer = api_answer();
    CLEANUP(buf_clear) struct buf der = BUF(sizeof h->cert);
    const char *pem = json_string_value(json_object_get(answer, "tls_cert"));
    struct error err;

    assert_non_null(pem);
    assert_int_equal(x509_from_pem(pem, strlen(pem), &der, &err), 0);
    memcpy(h->cert, der.data, der.len);
    h->cert_len = der.len;
}

int
sim_host_join(struct sim_host *h)
{
    json_t *body = signed_keys("virtid-join-1", h->name, h->token, h->tls, h->proof);

    json_object_set_new(body, "name", json_string(h->name));
    json_object_set_new(body, "simulated", json_true());
    json_set_bytes(body, "token", h->token, 32);
    if (api_ask_json(ON_HOSTS, "POST", "/v1/join", body, NULL, 0) == 200)
        take_cert(h);
    return the_api.status;
}

void
sim_host_new(struct sim_host *h, const char *name)
{
    sim_host_invite(h, name, true);
    assert_int_equal(sim_host_join(h), 200);
    /* The first use of the certificate puts it, and the proof key, in force. */
    assert_int_equal(sim_host_ask(h, "GET", "/v1/host/bundle", NULL), 200);
}

void
sim_host_clear(struct sim_host *h)
{
    key_free(h->tls);
    key_free(h->proof);
    h->tls = h->proof = NULL;
}

int
sim_host_ask(struct sim_host *h, const char *method, const char *target,
             json_t *take_body)
{
    return api_ask_json(ON_HOSTS, method, target, take_body, h->cert, h->cert_len);
}

int
sim_host_renew(struct sim_host *h)
{
    struct key *tls = NULL, *proof = NULL;
    struct error err;

    assert_int_equal(key_generate(&tls, &err), 0);
    assert_int_equal(key_generate(&proof, &err), 0);
    sim_host_ask(h, "POST", "/v1/host/renew",
                 signed_keys("virtid-renew-1", h->name, NULL, tls, proof));
    if (the_api.status == 200) {
        sim_host_clear(h);
        h->tls = tls;
        h->proof = proof;
        take_cert(h);
        return 200;
    }
    key_free(tls);
    key_free(proof);
    return the_api.status;
}

struct lease_result
sim_host_say(struct sim_host *h, const struct vm_uuid *uuid, enum lease_view view,
             uint64_t e, bool acquire)
{
    struct sim_word word = { .view = view, .e = e, .op = acquire ? LEASE_OP_ACQUIRE : LEASE_OP_REPORT };

    return sim_host_say_all(h, uuid, &word);
}

struct lease_result
sim_host_say_all(struct sim_host *h, const struct vm_uuid *uuid, const struct sim_word *word)
{
    static struct lease_report report;
    CLEANUP(buf_clear) struct buf text = BUF(HTTP_BODY_MAX);
    struct lease_result result = { .answer = 0 };
    bool is_end = word->view == VIEW_OUT || word->view >= VIEW_GO;
    struct error err = { 0 };
    size_t n;

    memset(&report, 0, sizeof report);
    strcpy(report.host, h->name);
    strcpy(report.boot, word->boot ? word->boot : "0a5e8b2c-1111-4222-8333-944455566677");
    report.seq = word->same_seq ? the_api.seq : ++the_api.seq;
    report.op = word->op;
    report.pull = word->pull;
    report.n_vms = 1;
    report.vms[0] = (struct lease_report_vm){ .uuid = *uuid, .view = is_end ? VIEW_OFF : word->view, .k = word->k,
                                              .e = word->e, .kk = word->kk, .ver = word->ver,
                                              .row_ver = word->row_ver, .saw = word->saw, .saw_seq = word->saw_seq };
    if (is_end) {
        report.vms[0].n_ends = 1;
        report.vms[0].ends[0] =
            (struct lease_end){ .view = word->view, .e = word->e, .seq = ++the_api.seq };
        report.seq++;
        the_api.seq++;
    }
    assert_int_equal(lease_report_encode(&report, &text, &err), 0);
    if (api_ask_raw(ON_HOSTS, "POST", "/v1/host/report", text.data, text.len, h->cert,
                    h->cert_len) == 200 &&
        lease_results_decode((const char *)the_api.body.data, the_api.body.len, &result,
                             1, &n, &err) < 0)
        fail_msg("%s", err.text);
    return result;
}

/* ---- VMs ---- */

void
sim_vm_new(struct sim_vm *vm, uint8_t number, int has)
{
    struct error err;

    memset(vm, 0, sizeof *vm);
    memset(vm->uuid.bytes, number, sizeof vm->uuid.bytes);
    vm->uuid.bytes[6] = 0x40;
    vm->uuid.bytes[8] = 0x80;
    vm_uuid_print(&vm->uuid, vm->text);
    vm->has = has;
    strcpy(vm->audience, "virtid-connect");
    assert_int_equal(key_generate(&vm->secret, &err), 0);
    soft_tpm_new(&vm->tpm);
    /* Each VM a TPM of its own. */
    vm->tpm.x[0] ^= number;
}

void
sim_vm_clear(struct sim_vm *vm)
{
    key_free(vm->secret);
    soft_tpm_clear(&vm->tpm);
}

int
sim_vm_account(struct sim_vm *vm, struct sim_host *h)
{
    json_t *body = json_pack("{s:s,s:I,s:s}", "uuid", vm->text, "epoch",
                             (json_int_t)vm->epoch, "name", "web1");
    uint8_t point[65];

    key_point(vm->secret, point);
    if (vm->has & SIM_SECRET)
        json_set_bytes(body, "secret", point, sizeof point);
    if (vm->has & SIM_TPM) {
        json_set_bytes(body, "ek", vm->tpm.ek, sizeof vm->tpm.ek);
        json_set_bytes(body, "x0", vm->tpm.x, sizeof vm->tpm.x);
    }
    return sim_host_ask(h, "POST", "/v1/host/account", body);
}

static void
ask_nonce(uint8_t ret[static NONCE_LEN])
{
    CLEANUP(json_decref) json_t *answer = NULL;
    struct error err;
    size_t len;

    assert_int_equal(
        api_ask_json(ON_GUESTS, "POST", "/v1/challenge", json_object(), NULL, 0), 200);
    answer = api_answer();
    assert_int_equal(json_get_bytes(answer, "nonce", false, ret, NONCE_LEN, &len, &err),
                     0);
    assert_int_equal(len, NONCE_LEN);
}

void
sim_vm_sign(struct sim_vm *vm, const struct sim_host *h)
{
    CLEANUP(buf_clear) struct buf message = BUF(1024);
    struct transcript t;
    struct error err;
    uint8_t hash[32];

    assert_int_equal(
        prove_transcript(&vm->p, the_mint.info.issuer, the_api.exporter, &t, &err), 0);
    assert_int_equal(transcript_hash(&t, hash, &err), 0);
    assert_int_equal(transcript_host_message(the_mint.info.issuer, h->name, &vm->p.uuid,
                                             vm->p.epoch, hash, &message, &err),
                     0);
    assert_int_equal(key_sign(h->proof, message.data, message.len, vm->p.hostsig, &err),
                     0);
    buf_clear(&message);
    assert_int_equal(transcript_secret_message(hash, &message, &err), 0);
    assert_int_equal(
        key_sign(vm->secret, message.data, message.len, vm->p.cur_sig, &err), 0);
    if (!(vm->has & SIM_TPM))
        return;
    soft_quote(&vm->tpm, hash, vm->p.quote);
    vm->p.quote_len = SOFT_QUOTE_LEN;
    soft_sign(&vm->tpm, vm->p.quote, vm->p.quote_len, vm->p.quote_sig);
    soft_certify(&vm->tpm, hash, vm->p.certify);
    vm->p.certify_len = SOFT_CERTIFY_LEN;
    soft_sign(&vm->tpm, vm->p.certify, vm->p.certify_len, vm->p.certify_sig);
}

void
sim_vm_prove(struct sim_vm *vm, const struct sim_host *h)
{
    struct prove *p = &vm->p;

    memset(p, 0, sizeof *p);
    p->uuid = vm->uuid;
    p->epoch = vm->epoch;
    p->factors = FACTOR_HOST;
    ask_nonce(p->nonce);
    strcpy(p->audience, vm->audience);
    strcpy(p->host, h->name);
    if (vm->has & SIM_SECRET) {
        p->factors |= FACTOR_SECRET;
        p->has_cur = true;
        key_point(vm->secret, p->cur);
    }
    if (vm->has & SIM_TPM) {
        p->factors |= FACTOR_VTPM;
        p->has_ak = p->has_x = true;
        memcpy(p->ak, vm->tpm.ak_public, sizeof p->ak);
        memcpy(p->x, vm->tpm.x, sizeof p->x);
        memcpy(p->ek, vm->tpm.ek, sizeof vm->tpm.ek);
        p->ek_len = sizeof vm->tpm.ek;
    }
    sim_vm_sign(vm, h);
}

int
sim_vm_send(struct sim_vm *vm, struct answer *ret)
{
    CLEANUP(buf_clear) struct buf text = BUF(PROVE_BODY_MAX);
    struct error err = { 0 };

    if (prove_encode(&vm->p, &text, &err) < 0)
        fail_msg("%s", err.text);
    if (api_ask_raw(ON_GUESTS, "POST", "/v1/token", text.data, text.len, NULL, 0) ==
            200 &&
        answer_decode((const char *)the_api.body.data, the_api.body.len, ret, &err) < 0)
        fail_msg("%s", err.text);
    return the_api.status;
}

/* What a TPM would have opened: our TPM has no private EK. */
static void
activate(struct sim_vm *vm)
{
    const struct service_subkeys *keys;
    struct transcript t;
    struct error err;
    uint8_t hash[32], digest[32];
    uint64_t hour;
    struct credential_about about = { .issuer = the_mint.info.issuer,
                                      .nonce = vm->p.nonce,
                                      .uuid = vm->uuid,
                                      .epoch = vm->p.epoch,
                                      .ak_name = vm->tpm.ak_name,
                                      .ek_digest = digest,
                                      .h = hash };

    assert_int_equal(nonce_hour(vm->p.nonce, moved_clock(), &hour, &err), 0);
    assert_int_equal(service_subkeys(&the_api.service, hour, &keys, &err), 0);
    assert_int_equal(
        prove_transcript(&vm->p, the_mint.info.issuer, the_api.exporter, &t, &err), 0);
    assert_int_equal(transcript_hash(&t, hash, &err), 0);
    assert_int_equal(hash_sha256(vm->tpm.ek, sizeof vm->tpm.ek, digest, &err), 0);
    assert_int_equal(credential_secret(keys->activate, &about, vm->p.activation, &err),
                     0);
    vm->p.has_activation = true;
}

int
sim_vm_token(struct sim_vm *vm, const struct sim_host *h, struct answer *ret)
{
    sim_vm_prove(vm, h);
    if (sim_vm_send(vm, ret) != 200 || ret->type != ANSWER_ACTIVATE)
        return the_api.status;
    activate(vm);
    return sim_vm_send(vm, ret);
}

void
sim_vm_enrolled(struct sim_vm *vm, uint8_t number, int has, struct sim_host *h)
{
    static struct answer answer;
    struct lease_result result;

    sim_vm_new(vm, number, has);
    result = sim_host_say(h, &vm->uuid, VIEW_RUN, 0, true);
    assert_int_equal(result.answer, LEASE_OK);
    vm->epoch = result.e;
    if (sim_vm_account(vm, h) != 200 || sim_vm_token(vm, h, &answer) != 200)
        fail_msg("%d %s", the_api.status, the_api.problem);
    assert_int_equal(answer.type, ANSWER_TOKEN);
}

void
sim_vm_check_token(const struct sim_vm *vm, const struct answer *answer, const char *audience,
                   int factors)
{
    CLEANUP(jwks_free) struct jwks *jwks = NULL;
    CLEANUP(token_clear) struct token token;
    struct error err = { 0 };
    size_t n;

    memset(&token, 0, sizeof token);
    assert_int_equal(answer->type, ANSWER_TOKEN);
    assert_int_equal(
        jwks_parse(the_mint.info.jwks, strlen(the_mint.info.jwks), &jwks, &err), 0);
    if (token_verify(answer->token, strlen(answer->token), jwks, the_mint.info.issuer,
                     audience, clock_realtime_ms() / 1000, &token, &err) < 0)
        fail_msg("%s", err.text);
    assert_true(vm_uuid_equal(&token.uuid, &vm->uuid));
    assert_true(token.epoch == vm->epoch);
    n = json_array_size(
        json_object_get(json_object_get(token.claims, "virtid"), "factors"));
    assert_int_equal(n, factors);
}
