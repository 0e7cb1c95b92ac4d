#include "config.h"

#include "tests/flow/service_rig.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/common/encode.h"
#include "lib/common/fdio.h"
#include "lib/common/process.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/x509.h"
#include "lib/wire/fields.h"
#include "lib/wire/http_message.h"

#define ISSUER "https://localhost:18443"
#define HOST "a.example"
#define BOOT "0a5e8b2c-1111-4222-8333-944455566677"

enum { WAIT_MS = 30000 };

static void
must(int rc, const struct error *err)
{
    if (rc < 0)
        fail_msg("%s", err->text);
}

/* ---- processes ---- */

static void
run_signer_init(const char *keys)
{
    const char *argv[] = { "./virtid-signer", "--init",
                           "--key-dir",       keys,
                           "--trust-domain",  "example.test",
                           "--issuer",        ISSUER,
                           "--names",         "localhost 127.0.0.1",
                           "--guests",        "localhost:18445",
                           "--test",          NULL };
    struct process_spawn spawn = PROCESS_SPAWN(argv);
    struct error err = { 0 };
    pid_t pid;

    spawn.stderr_fd = STDERR_FILENO;
    must(process_start(&spawn, &pid, &err), &err);
    must(process_wait(pid, clock_monotonic_ms() + WAIT_MS, &err), &err);
}

static void
write_conf(struct service_rig *r)
{
    CLEANUP(buf_clear) struct buf text = BUF(4096);
    struct error err = { 0 };
    char path[128], here[2048];

    assert_non_null(getcwd(here, sizeof here));
    snprintf(path, sizeof path, "%s/tokend.conf", r->folder);
    buf_printf(
        &text,
        "[service]\ntrust_domain = example.test\nissuer = " ISSUER "\n"
        "names = localhost 127.0.0.1\nstate_dir = %s/state\nkey_dir = %s/keys\n"
        "signer_program = %s/virtid-signer\ntest = yes\n"
        "[listen]\npublic = 127.0.0.1:0\nhosts = 127.0.0.1:0\nguests = 127.0.0.1:0\n"
        "admin = %s/run/admin.sock\n[users]\nservice = root\nsigner = root\n",
        r->folder, r->folder, here, r->folder);
    must(file_replace(path, text.data, text.len, 0600, &err), &err);
}

static void
read_ready(struct service_rig *r, int fd)
{
    CLEANUP(buf_clear) struct buf line = BUF(1024);
    CLEANUP(json_decref) json_t *o = NULL;
    const char *public_, *hosts, *guests, *admin;
    struct error err = { 0 };

    must(fd_read_to_end(fd, &line, &err), &err);
    must(json_parse((char *)line.data, line.len, &o, &err), &err);
    assert_int_equal(json_unpack(o, "{s:s,s:s,s:s,s:s}", "public", &public_, "hosts",
                                 &hosts, "guests", &guests, "admin", &admin),
                     0);
    snprintf(r->public_, sizeof r->public_, "%s", public_);
    snprintf(r->hosts, sizeof r->hosts, "%s", hosts);
    snprintf(r->guests, sizeof r->guests, "%s", guests);
    snprintf(r->admin, sizeof r->admin, "%s", admin);
}

void
service_rig_start(struct service_rig *r)
{
    char conf[128];
    const char *argv[] = {
        "./virtid-tokend", "--config", conf, "--ready-fd", "3", NULL
    };
    struct process_spawn spawn = PROCESS_SPAWN(argv);
    struct error err = { 0 };
    int ready[2];

    snprintf(conf, sizeof conf, "%s/tokend.conf", r->folder);
    assert_int_equal(pipe2(ready, 02000000 /* O_CLOEXEC */), 0);
    spawn.fds = &ready[1];
    spawn.n_fds = 1;
    spawn.stderr_fd = getenv("VERBOSE") ? STDERR_FILENO : -1;
    must(process_start(&spawn, &r->pid, &err), &err);
    close(ready[1]);
    read_ready(r, ready[0]);
    close(ready[0]);
}

int
service_rig_end(struct service_rig *r, int sig)
{
    int status;

    if (sig)
        kill(r->pid, sig);
    assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
    r->pid = 0;
    http_client_free(r->host);
    r->host = NULL;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int
service_rig_run(struct service_rig *r, const char *option)
{
    char conf[128];
    const char *argv[] = { "./virtid-tokend", "--config", conf, option, NULL };
    struct process_spawn spawn = PROCESS_SPAWN(argv);
    struct error err = { 0 };
    int status;
    pid_t pid;

    snprintf(conf, sizeof conf, "%s/tokend.conf", r->folder);
    must(process_start(&spawn, &pid, &err), &err);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WEXITSTATUS(status);
}

static void
read_ca(struct service_rig *r)
{
    CLEANUP(buf_clear) struct buf pem = BUF(8192);
    struct error err = { 0 };
    char path[128];

    snprintf(path, sizeof path, "%s/keys/ca.pem", r->folder);
    must(file_read(path, &pem, &err), &err);
    must(x509_from_pem((char *)pem.data, pem.len, &r->ca, &err), &err);
}

void
service_rig_new(struct service_rig *r)
{
    struct error err = { 0 };
    char path[128];

    memset(r, 0, sizeof *r);
    r->ca = BUF(4096);
    r->cert = BUF(4096);
    strcpy(r->folder, "/tmp/virtid-flow-XXXXXX");
    assert_non_null(mkdtemp(r->folder));
    snprintf(path, sizeof path, "%s/keys", r->folder);
    run_signer_init(path);
    write_conf(r);
    read_ca(r);
    must(key_generate(&r->tls, &err), &err);
    must(key_generate(&r->proof, &err), &err);
    must(key_generate(&r->secret, &err), &err);
    memset(r->uuid.bytes, 0x4a, sizeof r->uuid.bytes);
    vm_uuid_print(&r->uuid, r->uuid_text);
    service_rig_start(r);
}

void
service_rig_free(struct service_rig *r)
{
    const char *argv[] = { "/bin/rm", "-rf", r->folder, NULL };
    struct process_spawn spawn = PROCESS_SPAWN(argv);
    struct error err = { 0 };
    pid_t pid;

    if (r->pid)
        service_rig_end(r, SIGKILL);
    key_free(r->tls);
    key_free(r->proof);
    key_free(r->secret);
    buf_clear(&r->ca);
    buf_clear(&r->cert);
    http_client_free(r->host);
    if (process_start(&spawn, &pid, &err) == 0)
        process_wait(pid, clock_monotonic_ms() + WAIT_MS, &err);
}

/* ---- requests ---- */

static int
ask(struct service_rig *r, struct http_client *client, const char *method,
    const char *url, json_t *take_body, json_t **ret_answer)
{
    CLEANUP(json_decref) json_t *body = take_body;
    CLEANUP(json_decref) json_t *answer = NULL;
    CLEANUP(buf_clear) struct buf text = BUF(HTTP_BODY_MAX), into = BUF(JSON_TEXT_MAX);
    struct error err = { 0 };
    const char *type;

    if (body)
        must(json_print(body, &text, &err), &err);
    must(http_client_send(client, method, url, NULL, body ? text.data : NULL, text.len,
                          &r->status, &into, &err),
         &err);
    must(json_parse((char *)into.data, into.len, &answer, &err), &err);
    type = json_string_value(json_object_get(answer, "type"));
    snprintf(r->problem, sizeof r->problem, "%s",
             type && strlen(type) > 19 && r->status >= 400 ? type + 19 : "");
    if (ret_answer)
        *ret_answer = STEAL(answer);
    return r->status;
}

int
service_rig_admin(struct service_rig *r, const char *method, const char *path,
                  json_t *take_body, json_t **ret_answer)
{
    struct http_client_options options = { .unix_path = r->admin,
                                           .timeout_ms = WAIT_MS };
    CLEANUP(http_client_free) struct http_client *client = NULL;
    struct error err = { 0 };
    char url[300];

    must(http_client_new(&options, &client, &err), &err);
    snprintf(url, sizeof url, "http://localhost%s", path);
    return ask(r, client, method, url, take_body, ret_answer);
}

int64_t
service_rig_audit(struct service_rig *r)
{
    CLEANUP(json_decref) json_t *answer = NULL;

    assert_int_equal(service_rig_admin(r, "GET", "/v1/admin/status", NULL, &answer),
                     200);
    return json_integer_value(json_object_get(answer, "audit"));
}

int
service_rig_public(struct service_rig *r, const char *path, struct buf *into)
{
    struct x509_der ca = { r->ca.data, r->ca.len };
    struct http_client_options options = { .cas = &ca,
                                           .n_cas = 1,
                                           .timeout_ms = WAIT_MS };
    CLEANUP(http_client_free) struct http_client *client = NULL;
    struct error err = { 0 };
    char url[300];

    must(http_client_new(&options, &client, &err), &err);
    snprintf(url, sizeof url, "https://%s%s", r->public_, path);
    must(http_client_send(client, "GET", url, NULL, NULL, 0, &r->status, into, &err),
         &err);
    return r->status;
}

/* ---- the host ---- */

static json_t *
join_body(struct service_rig *r, const uint8_t token[static 32])
{
    CLEANUP(buf_clear) struct buf message = BUF(512);
    uint8_t tls[65], proof[65], sig[64];
    json_t *body = json_pack("{s:s,s:b}", "name", HOST, "simulated", 1);
    struct error err = { 0 };

    key_point(r->tls, tls);
    key_point(r->proof, proof);
    fields_add_text(&message, "virtid-join-1");
    fields_add_text(&message, HOST);
    fields_add(&message, token, 32);
    fields_add(&message, tls, sizeof tls);
    fields_add(&message, proof, sizeof proof);
    json_set_bytes(body, "token", token, 32);
    json_set_bytes(body, "tls", tls, sizeof tls);
    json_set_bytes(body, "proof", proof, sizeof proof);
    must(key_sign(r->tls, message.data, message.len, sig, &err), &err);
    json_set_bytes(body, "sig_tls", sig, sizeof sig);
    must(key_sign(r->proof, message.data, message.len, sig, &err), &err);
    json_set_bytes(body, "sig_proof", sig, sizeof sig);
    return body;
}

void
service_rig_join(struct service_rig *r)
{
    CLEANUP(json_decref) json_t *invited = NULL;
    CLEANUP(json_decref) json_t *joined = NULL;
    CLEANUP(http_client_free) struct http_client *client = NULL;
    uint8_t pin[32], token[32];
    struct http_client_options options = { .pin_ca_sha256 = pin,
                                           .timeout_ms = WAIT_MS };
    struct error err = { 0 };
    const char *code, *pem;
    char url[128];
    size_t len;

    assert_int_equal(service_rig_admin(r, "POST", "/v1/admin/hosts",
                                       json_pack("{s:s,s:b}", "name", HOST, "auto", 1),
                                       &invited),
                     201);
    code = strrchr(json_string_value(json_object_get(invited, "code")), ',') + 1;
    must(b64url_decode(code, strlen(code), token, sizeof token, &len, &err), &err);
    must(hash_sha256(r->ca.data, r->ca.len, pin, &err), &err);
    must(http_client_new(&options, &client, &err), &err);
    snprintf(url, sizeof url, "https://%s/v1/join", r->hosts);
    assert_int_equal(ask(r, client, "POST", url, join_body(r, token), &joined), 200);
    pem = json_string_value(json_object_get(joined, "tls_cert"));
    must(x509_from_pem(pem, strlen(pem), &r->cert, &err), &err);
    service_rig_host_connect(r);
}

void
service_rig_host_connect(struct service_rig *r)
{
    struct x509_der ca = { r->ca.data, r->ca.len };
    struct tls_identity identity = { .key = r->tls,
                                     .cert_der = r->cert.data,
                                     .cert_len = r->cert.len };
    struct http_client_options options = {
        .cas = &ca, .n_cas = 1, .identity = &identity, .timeout_ms = WAIT_MS
    };
    struct error err = { 0 };

    http_client_free(r->host);
    r->host = NULL;
    must(http_client_new(&options, &r->host, &err), &err);
}

int
service_rig_host(struct service_rig *r, const char *method, const char *path,
                 json_t *take_body, json_t **ret_answer)
{
    char url[300];

    snprintf(url, sizeof url, "https://%s%s", r->hosts, path);
    return ask(r, r->host, method, url, take_body, ret_answer);
}

struct lease_result
service_rig_report(struct service_rig *r, enum lease_view view, bool acquire)
{
    static struct lease_report report;
    CLEANUP(buf_clear) struct buf text = BUF(HTTP_BODY_MAX), into = BUF(JSON_TEXT_MAX);
    struct lease_result result;
    struct error err = { 0 };
    char url[128];
    size_t n;

    memset(&report, 0, sizeof report);
    strcpy(report.host, HOST);
    strcpy(report.boot, BOOT);
    report.seq = ++r->seq;
    report.op = acquire ? LEASE_OP_ACQUIRE : LEASE_OP_REPORT;
    report.n_vms = 1;
    report.vms[0].uuid = r->uuid;
    report.vms[0].view = view;
    report.vms[0].e = r->epoch;
    must(lease_report_encode(&report, &text, &err), &err);
    snprintf(url, sizeof url, "https://%s/v1/host/report", r->hosts);
    must(http_client_send(r->host, "POST", url, NULL, text.data, text.len, &r->status,
                          &into, &err),
         &err);
    assert_int_equal(r->status, 200);
    must(lease_results_decode((char *)into.data, into.len, &result, 1, &n, &err), &err);
    if (result.answer == LEASE_OK)
        r->epoch = result.e;
    return result;
}

int
service_rig_account(struct service_rig *r)
{
    json_t *body = json_pack("{s:s,s:I,s:s}", "uuid", r->uuid_text, "epoch",
                             (json_int_t)r->epoch, "name", "web1");
    uint8_t point[65];

    key_point(r->secret, point);
    json_set_bytes(body, "secret", point, sizeof point);
    return service_rig_host(r, "POST", "/v1/host/account", body, NULL);
}

/* ---- the guest ---- */

struct tls *
service_rig_guest(struct service_rig *r)
{
    struct x509_der ca = { r->ca.data, r->ca.len };
    CLEANUP(tls_ctx_free) struct ssl_ctx_st *ctx = NULL;
    struct sockaddr_in to = { .sin_family = AF_INET };
    struct error err = { 0 };
    struct tls *tls = NULL;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    to.sin_port = htons((uint16_t)atoi(strrchr(r->guests, ':') + 1));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    must(tls_client_new(&ca, 1, NULL, &ctx, &err), &err);
    must(tls_connect(ctx, fd, "localhost", clock_monotonic_ms() + WAIT_MS, &tls, &err),
         &err);
    return tls;
}

int
service_rig_guest_post(struct service_rig *r, struct tls *tls, const char *path,
                       const void *body, size_t len, struct buf *into)
{
    CLEANUP(buf_clear) struct buf text = BUF(HTTP_HEAD_MAX + HTTP_BODY_MAX);
    CLEANUP(buf_clear) struct buf got = BUF(HTTP_HEAD_MAX + HTTP_BODY_MAX);
    static struct http_message message;
    int64_t deadline = clock_monotonic_ms() + WAIT_MS;
    struct error err = { 0 };
    bool done = false;

    http_print_request(&text, "POST", path, "localhost", "", body, len);
    if (tls_write(tls, text.data, text.len, deadline, &err) < 0)
        return r->status = 0;
    while (!done) {
        uint8_t *room = buf_room(&got, 4096);
        size_t n;

        assert_non_null(room);
        if (tls_read(tls, room, 4096, &n, deadline, &err) < 0 || n == 0)
            return r->status = 0;
        buf_grew(&got, n);
        must(http_parse(got.data, got.len, false, HTTP_BODY_MAX, &message, &done, &err),
             &err);
    }
    buf_clear(into);
    buf_add(into, got.data + message.head_len, message.body_len);
    return r->status = message.status;
}

static void
sign(struct service_rig *r, const uint8_t exporter[static 32])
{
    CLEANUP(buf_clear) struct buf message = BUF(1024);
    struct transcript t;
    struct error err = { 0 };
    uint8_t h[32];

    must(prove_transcript(&r->p, ISSUER, exporter, &t, &err), &err);
    must(transcript_hash(&t, h, &err), &err);
    must(transcript_host_message(ISSUER, HOST, &r->uuid, r->p.epoch, h, &message, &err),
         &err);
    must(key_sign(r->proof, message.data, message.len, r->p.hostsig, &err), &err);
    buf_clear(&message);
    must(transcript_secret_message(h, &message, &err), &err);
    must(key_sign(r->secret, message.data, message.len, r->p.cur_sig, &err), &err);
}

void
service_rig_prove(struct service_rig *r, struct tls *tls, const char *audience)
{
    CLEANUP(buf_clear) struct buf into = BUF(HTTP_BODY_MAX);
    CLEANUP(json_decref) json_t *o = NULL;
    struct error err = { 0 };
    uint8_t exporter[32];
    size_t len;

    assert_int_equal(service_rig_guest_post(r, tls, "/v1/challenge", "{}", 2, &into),
                     200);
    must(json_parse((char *)into.data, into.len, &o, &err), &err);
    memset(&r->p, 0, sizeof r->p);
    must(json_get_bytes(o, "nonce", false, r->p.nonce, NONCE_LEN, &len, &err), &err);
    r->p.uuid = r->uuid;
    r->p.epoch = r->epoch;
    r->p.factors = FACTOR_HOST | FACTOR_SECRET;
    strcpy(r->p.audience, audience);
    strcpy(r->p.host, HOST);
    r->p.has_cur = true;
    key_point(r->secret, r->p.cur);
    must(tls_exporter(tls_ssl(tls), "EXPORTER-virtid-proof", exporter, &err), &err);
    sign(r, exporter);
}

int
service_rig_send(struct service_rig *r, struct tls *tls)
{
    CLEANUP(buf_clear) struct buf text = BUF(PROVE_BODY_MAX), into = BUF(HTTP_BODY_MAX);
    CLEANUP(json_decref) json_t *o = NULL;
    struct error err = { 0 };
    const char *type;

    must(prove_encode(&r->p, &text, &err), &err);
    service_rig_guest_post(r, tls, "/v1/token", text.data, text.len, &into);
    if (r->status == 200) {
        must(answer_decode((char *)into.data, into.len, &r->answer, &err), &err);
        return 200;
    }
    must(json_parse((char *)into.data, into.len, &o, &err), &err);
    type = json_string_value(json_object_get(o, "type"));
    snprintf(r->problem, sizeof r->problem, "%s", type ? type + 19 : "");
    return r->status;
}
