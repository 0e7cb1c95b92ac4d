#include "config.h"

#include "plugin/enroll/enroll.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/http/http_client.h"
#include "plugin/enroll/join_message.h"

enum {
    REQUEST_MS = 5000, /* for everything nobody waits for */
    URL_MAX = 600,
    PLAIN_MS = 3600 * 1000, /* then an older service may be a newer one */
};

struct enroll {
    const struct host_identity *identity;
    struct http_client *http;
    bool has_clock;
    int64_t ahead_ms, tokens_since_ms, bundle_serial;
    int64_t plain_until_ms; /* the service is an older one: only what that reads is told meanwhile */
};

int
enroll_new(const struct host_identity *identity, struct enroll **ret, struct error *err)
{
    return enroll_new_waiting(identity, NULL, ret, err);
}

int
enroll_new_waiting(const struct host_identity *identity, const atomic_bool *cancel, struct enroll **ret,
                   struct error *err)
{
    const struct bundle *trust = &identity->trust;
    struct x509_der cas[2] = { { trust->ca_now, trust->ca_now_len }, { trust->ca_next, trust->ca_next_len } };
    struct tls_identity tls = { .key = identity->tls_key,
                                .cert_der = identity->tls_cert.data,
                                .cert_len = identity->tls_cert.len };
    struct http_client_options options = { .cas = cas, .n_cas = trust->ca_next_len > 0 ? 2 : 1, .identity = &tls, .timeout_ms = REQUEST_MS, .cancel = cancel };
    CLEANUP(enroll_free) struct enroll *enroll = calloc(1, sizeof *enroll);

    if (!enroll)
        return error_sys(err, ENOMEM, "client of the token service");
    enroll->identity = identity;
    if (http_client_new(&options, &enroll->http, err) < 0)
        return error_wrap(err, "client of the token service");
    *ret = STEAL(enroll);
    return 0;
}

void
enroll_free(struct enroll *enroll)
{
    if (!enroll)
        return;
    http_client_free(enroll->http);
    free(enroll);
}

static void
print_url(const struct enroll *enroll, const char *path, char ret[static URL_MAX])
{
    snprintf(ret, URL_MAX, "https://%s%s", enroll->identity->service, path);
}

/* One JSON request; the answer must be an object. */
static int
ask(struct enroll *enroll, const char *method, const char *path, const json_t *body,
    json_t **ret_answer, struct error *err)
{
    char url[URL_MAX];
    json_t *answer = NULL;

    print_url(enroll, path, url);
    http_client_timeout(enroll->http, REQUEST_MS);
    if (http_client_json(enroll->http, method, url, body, &answer, err) < 0)
        return error_wrap(err, "token service %s", enroll->identity->service);
    if (!json_is_object(answer)) {
        json_decref(answer);
        return error_set(err, ERROR_INPUT, "token service %s: %s: the answer is no object",
                         enroll->identity->service, path);
    }
    *ret_answer = answer;
    return 0;
}

/* The answer names a whole second; it was made about half-way between the two times. */
static void
take_clock(struct enroll *enroll, int64_t sent_ms, int64_t answered_ms)
{
    int64_t date;

    enroll->has_clock = http_client_date(enroll->http, &date) == 0;
    if (enroll->has_clock)
        enroll->ahead_ms = date * 1000 + 500 - (sent_ms + answered_ms) / 2;
}

bool
enroll_clock(const struct enroll *enroll, int64_t *ret_ahead_ms)
{
    *ret_ahead_ms = enroll->ahead_ms;
    return enroll->has_clock;
}

int64_t
enroll_tokens_since(const struct enroll *enroll)
{
    return enroll->tokens_since_ms;
}

uint64_t
enroll_bundle_serial(const struct enroll *enroll)
{
    return enroll->bundle_serial > 0 ? (uint64_t)enroll->bundle_serial : 0;
}

static int
send_report(struct enroll *enroll, const struct lease_report *report, long timeout_ms,
            struct lease_result *ret, size_t max, size_t *ret_n, struct error *err)
{
    CLEANUP(buf_clear) struct buf body = BUF(JSON_TEXT_MAX);
    CLEANUP(buf_clear) struct buf answer = BUF(JSON_TEXT_MAX);
    char url[URL_MAX], path[64];
    int64_t sent_ms = clock_realtime_ms(), locked = 0;
    int status;

    enroll->has_clock = false;
    enroll->tokens_since_ms = enroll->bundle_serial = 0;
    snprintf(path, sizeof path, "/v1/host/report?bundle=%llu", (unsigned long long)enroll->identity->trust.serial);
    print_url(enroll, path, url);
    http_client_timeout(enroll->http, timeout_ms);
    if (lease_report_encode(report, &body, err) < 0 ||
        http_client_send(enroll->http, "POST", url, "Content-Type: application/json", body.data,
                         body.len, &status, &answer, err) < 0)
        return error_wrap(err, "token service %s: report", enroll->identity->service);
    take_clock(enroll, sent_ms, clock_realtime_ms());
    (void)http_client_number(enroll->http, HTTP_TOKENS_SINCE, &enroll->tokens_since_ms);
    (void)http_client_number(enroll->http, HTTP_BUNDLE, &enroll->bundle_serial);
    if (status != 200) {
        http_client_problem(enroll->http, status, &answer, err);
        return error_wrap(err, "token service %s: report", enroll->identity->service);
    }
    if (lease_results_decode((const char *)answer.data, answer.len, ret, max, ret_n, err) < 0)
        return -1;
    (void)http_client_number(enroll->http, HTTP_LOCKED, &locked);
    if (report->op == LEASE_OP_HANDOVER && *ret_n == 1)
        ret[0].locked = locked == 1;
    return 0;
}

/* Has it nothing that a service of before does not read? */
static bool
is_plain(const struct lease_report *report)
{
    for (size_t i = 0; i < report->n_vms; i++) {
        const struct lease_report_vm *vm = &report->vms[i];

        if (vm->saw != 0 || vm->ver != 0 || vm->row_ver != 0)
            return false;
    }
    return true;
}

static int
send_plain(struct enroll *enroll, const struct lease_report *report, long timeout_ms, struct lease_result *ret,
           size_t max, size_t *ret_n, struct error *err)
{
    CLEANUP(mem_free) struct lease_report *plain = malloc(sizeof *plain);

    if (!plain)
        return error_sys(err, ENOMEM, "report");
    *plain = *report;
    for (size_t i = 0; i < plain->n_vms; i++) {
        plain->vms[i].saw = 0;
        plain->vms[i].ver = plain->vms[i].row_ver = 0;
    }
    return send_report(enroll, plain, timeout_ms, ret, max, ret_n, err);
}

int
enroll_report(struct enroll *enroll, const struct lease_report *report, long timeout_ms,
              struct lease_result *ret, size_t max, size_t *ret_n, struct error *err)
{
    if (is_plain(report))
        return send_report(enroll, report, timeout_ms, ret, max, ret_n, err);
    if (clock_monotonic_ms() >= enroll->plain_until_ms) {
        if (send_report(enroll, report, timeout_ms, ret, max, ret_n, err) == 0)
            return 0;
        if (strcmp(err->problem, "bad-request") != 0)
            return -1;
        enroll->plain_until_ms = clock_monotonic_ms() + PLAIN_MS;
    }
    /* A lease must not wait for evidence. */
    return send_plain(enroll, report, timeout_ms, ret, max, ret_n, err);
}

int
enroll_pull(struct enroll *enroll, uint64_t after, struct lease_pull *ret, struct error *err)
{
    CLEANUP(buf_clear) struct buf answer = BUF(JSON_TEXT_MAX);
    char url[URL_MAX], path[64];
    int status;

    snprintf(path, sizeof path, "/v1/host/pull?after=%llu", (unsigned long long)after);
    print_url(enroll, path, url);
    http_client_timeout(enroll->http, ENROLL_PULL_MS);
    if (http_client_send(enroll->http, "GET", url, NULL, NULL, 0, &status, &answer, err) < 0)
        return -1;
    if (status != 200) {
        http_client_problem(enroll->http, status, &answer, err);
        return -1;
    }
    return lease_pull_decode((const char *)answer.data, answer.len, ret, err);
}

/* {"uuid","epoch"}, with more to come. */
static json_t *
about_vm(const struct vm_uuid *uuid, uint64_t epoch)
{
    char text[VM_UUID_TEXT];

    vm_uuid_print(uuid, text);
    return json_pack("{s:s,s:I}", "uuid", text, "epoch", (json_int_t)epoch);
}

int
enroll_ek_cert(struct enroll *enroll, const struct vm_uuid *uuid, uint64_t epoch,
               const uint8_t *ek, size_t ek_len, uint8_t ret_der[static ENROLL_CERT_MAX],
               size_t *ret_len, struct error *err)
{
    CLEANUP(json_decref) json_t *body = about_vm(uuid, epoch);
    CLEANUP(json_decref) json_t *answer = NULL;

    if (!body || json_set_bytes(body, "ek", ek, ek_len) < 0)
        return error_sys(err, ENOMEM, "EK certificate");
    if (ask(enroll, "POST", "/v1/host/ek-cert", body, &answer, err) < 0)
        return -1;
    return json_get_bytes(answer, "cert", false, ret_der, ENROLL_CERT_MAX, ret_len, err);
}

int
enroll_account(struct enroll *enroll, const struct enroll_account *account,
               char ret_state[static ENROLL_STATE_MAX + 1], struct error *err)
{
    CLEANUP(json_decref) json_t *body = about_vm(&account->uuid, account->epoch);
    CLEANUP(json_decref) json_t *answer = NULL;
    const char *state;

    if (!body || json_object_set_new(body, "name", json_string(account->name)) < 0 ||
        (account->ek_len && json_set_bytes(body, "ek", account->ek, account->ek_len) < 0) ||
        (account->has_x0 && json_set_bytes(body, "x0", account->x0, sizeof account->x0) < 0) ||
        (account->has_secret && json_set_bytes(body, "secret", account->secret, sizeof account->secret) < 0) ||
        (account->transient && json_object_set_new(body, "transient", json_true()) < 0))
        return error_sys(err, ENOMEM, "account");
    if (ask(enroll, "POST", "/v1/host/account", body, &answer, err) < 0 ||
        json_get_string(answer, "state", false, ENROLL_STATE_MAX, &state, err) < 0)
        return error_wrap(err, "account");
    snprintf(ret_state, ENROLL_STATE_MAX + 1, "%s", state);
    return 0;
}

int
enroll_bundle(struct enroll *enroll, uint64_t after, uint8_t ret[static BUNDLE_MAX], size_t *ret_len,
              struct error *err)
{
    CLEANUP(json_decref) json_t *answer = NULL;
    char path[64];

    snprintf(path, sizeof path, "/v1/host/bundle?after=%llu", (unsigned long long)after);
    if (ask(enroll, "GET", path, NULL, &answer, err) < 0)
        return -1;
    return json_get_bytes(answer, "bundle", false, ret, BUNDLE_MAX, ret_len, err);
}

int
enroll_vm(struct enroll *enroll, const struct vm_uuid *uuid, uint64_t epoch, json_t **ret, struct error *err)
{
    char path[120], text[VM_UUID_TEXT], run[32] = "";

    vm_uuid_print(uuid, text);
    if (epoch)
        snprintf(run, sizeof run, "&epoch=%llu", (unsigned long long)epoch);
    snprintf(path, sizeof path, "/v1/host/vm?uuid=%s%s", text, run);
    return ask(enroll, "GET", path, NULL, ret, err);
}

static json_t *
receipts_body(const struct enroll_receipts *r)
{
    CLEANUP(json_decref) json_t *body = json_object();
    json_t *list = json_array();

    if (!body || json_object_set_new(body, "receipts", list) < 0)
        return NULL;
    for (size_t i = 0; i < r->n; i++) {
        CLEANUP(json_decref) json_t *one = json_object();

        if (!one || json_set_bytes(one, "bytes", r->of[i].bytes, r->of[i].len) < 0 ||
            json_array_append(list, json_object_get(one, "bytes")) < 0)
            return NULL;
    }
    return STEAL(body);
}

int
enroll_show_receipts(struct enroll *enroll, struct enroll_receipts *r, struct error *err)
{
    CLEANUP(json_decref) json_t *body = receipts_body(r);
    CLEANUP(json_decref) json_t *answer = NULL;
    const json_t *words;

    if (!body)
        return error_sys(err, ENOMEM, "receipts");
    if (ask(enroll, "POST", "/v1/host/receipts", body, &answer, err) < 0 ||
        json_get_array(answer, "receipts", false, ENROLL_RECEIPTS_MAX, &words, err) < 0)
        return error_wrap(err, "receipts");
    if (json_array_size(words) != r->n)
        return error_set(err, ERROR_INPUT, "receipts: %zu answers to %zu", json_array_size(words), r->n);
    for (size_t i = 0; i < r->n; i++) {
        const char *word = json_string_value(json_array_get(words, i));

        r->of[i].refused = word && strcmp(word, "refused") == 0;
    }
    return 0;
}

int
enroll_show_certificates(struct enroll *enroll, struct error *err)
{
    const struct buf *proof = &enroll->identity->proof_cert;
    CLEANUP(json_decref) json_t *body = json_object();
    CLEANUP(json_decref) json_t *answer = NULL;

    if (!body || json_set_bytes(body, "proof_cert", proof->data, proof->len) < 0)
        return error_sys(err, ENOMEM, "certificates");
    return ask(enroll, "POST", "/v1/host/certificates", body, &answer, err) < 0 ? error_wrap(err, "certificates") : 0;
}

int
enroll_renew(struct enroll *enroll, const char *state_dir, struct error *err)
{
    const struct host_identity *id = enroll->identity;
    CLEANUP(key_free) struct key *tls = NULL;
    CLEANUP(key_free) struct key *proof = NULL;
    CLEANUP(json_decref) json_t *body = json_object();
    CLEANUP(json_decref) json_t *answer = NULL;

    /* In memory until certified: a crash leaves the old pair, which still works. */
    if (!body || key_generate(&tls, err) < 0 || key_generate(&proof, err) < 0 ||
        join_message_sign(JOIN_LABEL_RENEW, id->name, NULL, tls, proof, body, err) < 0 ||
        ask(enroll, "POST", "/v1/host/renew", body, &answer, err) < 0 ||
        host_identity_renew(state_dir, id, tls, proof, answer, err) < 0)
        return error_wrap(err, "renewing this host's certificates");
    return 0;
}
