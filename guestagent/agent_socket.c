#include "config.h"

#include "guestagent/agent_socket.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "guestagent/peer_check.h"
#include "lib/common/clock.h"
#include "lib/common/error_map.h"
#include "lib/common/fdio.h"
#include "lib/common/json.h"
#include "lib/common/log.h"
#include "lib/crypto/hash.h"
#include "lib/wire/connect_msg.h"
#include "lib/wire/http_message.h"
#include "lib/wire/problem.h"
#include "lib/wire/transcript.h"

enum {
    CONNECTIONS_MAX = 16,
    REQUEST_MS = 5000,
    TOKEN_MS = 25000, /* a first proof with activation, and one repetition */
    BODY_MAX = 2048,
};

struct agent_socket {
    struct agent_socket_options options;
    int listener;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned connections;
};

struct connection {
    struct agent_socket *socket;
    int fd;
};

/* The answer on its way. */
struct reply {
    int status;
    const char *type;
    struct buf body; /* BUF(JSON_TEXT_MAX) */
};

static void
refuse(struct reply *reply, const struct error *failure)
{
    const struct problem *p = problem_find(failure->problem);

    buf_clear(&reply->body);
    reply->status = p ? p->status : error_http_status(failure->code);
    reply->type = "application/problem+json";
    /* Root asks: the text may say what is wrong. */
    if (problem_body(failure, failure->text, &reply->body) < 0)
        buf_clear(&reply->body);
}

static int
finish_json(json_t *take_object, struct reply *reply, struct error *err)
{
    CLEANUP(json_decref) json_t *o = take_object;

    if (!o)
        return error_sys(err, ENOMEM, "answer");
    return json_print(o, &reply->body, err);
}

static int
serve_token(struct agent_socket *s, const struct http_message *m, struct reply *reply,
            struct error *err)
{
    CLEANUP(secret_free) struct secret *token = NULL;
    char audience[NAME_AUDIENCE_MAX + 1];
    int64_t expires_in = 0;

    if (http_query(m, "audience", audience, NAME_AUDIENCE_MAX, err) < 0)
        return error_set(err, ERROR_INPUT, "GET /v1/token?audience=NAME");
    if (refresher_token(s->options.refresher, audience, clock_monotonic_ms() + TOKEN_MS,
                        &token, &expires_in, err) < 0)
        return -1;
    return finish_json(json_pack("{s:s%, s:I}", "token", (const char *)token->bytes,
                                 token->len, "expires_in", (json_int_t)expires_in),
                       reply, err);
}

/* The signature with which this VM says to one verifier, over one connection: the token is mine. */
static int
sign_pop(struct agent_socket *s, const struct secret *token, const char *verifier,
         const uint8_t nonce[32], const uint8_t exporter[32], uint8_t ret[64],
         struct error *err)
{
    CLEANUP(buf_clear) struct buf message = BUF(1024);
    uint8_t hash[32];

    if (hash_sha256(token->bytes, token->len, hash, err) < 0 ||
        transcript_pop_message(hash, verifier, nonce, exporter, &message, err) < 0)
        return -1;
    return key_sign(s->options.cnf, message.data, message.len, ret, err);
}

static int
read_pop(const char *body, size_t len, json_t **ret, const char **ret_verifier,
         uint8_t nonce[32], uint8_t exporter[32], struct error *err)
{
    size_t nonce_len, exporter_len;

    if (json_parse(body, len, ret, err) < 0 ||
        json_only(*ret, "verifier nonce exporter", err) < 0 ||
        json_get_string(*ret, "verifier", false, CONNECT_VERIFIER_MAX, ret_verifier, err) < 0 ||
        json_get_bytes(*ret, "nonce", false, nonce, 32, &nonce_len, err) < 0 ||
        json_get_bytes(*ret, "exporter", false, exporter, 32, &exporter_len, err) < 0)
        return -1;
    if (nonce_len != 32 || exporter_len != 32)
        return error_set(err, ERROR_INPUT, "nonce and exporter have 32 bytes");
    return 0;
}

static int
serve_pop(struct agent_socket *s, const char *body, size_t len, struct reply *reply,
          struct error *err)
{
    CLEANUP(secret_free) struct secret *token = NULL;
    CLEANUP(json_decref) json_t *ask = NULL;
    json_t *answer;
    const char *verifier = NULL;
    uint8_t nonce[32], exporter[32], point[KEY_POINT_LEN], signature[KEY_SIGNATURE_LEN];
    int64_t expires_in;

    if (read_pop(body, len, &ask, &verifier, nonce, exporter, err) < 0 ||
        refresher_token(s->options.refresher, CONNECT_AUDIENCE,
                        clock_monotonic_ms() + TOKEN_MS, &token, &expires_in, err) < 0 ||
        sign_pop(s, token, verifier, nonce, exporter, signature, err) < 0)
        return -1;
    key_point(s->options.cnf, point);
    answer = json_pack("{s:s%}", "token", (const char *)token->bytes, token->len);
    if (!answer || json_set_bytes(answer, "cnf", point, sizeof point) < 0 ||
        json_set_bytes(answer, "signature", signature, sizeof signature) < 0) {
        json_decref(answer);
        return error_sys(err, ENOMEM, "answer");
    }
    return finish_json(answer, reply, err);
}

static int
serve_status(struct agent_socket *s, struct reply *reply, struct error *err)
{
    struct refresher_status status;
    struct greeting greeting;
    struct error down = { 0 };
    char uuid[VM_UUID_TEXT];
    json_t *o;

    refresher_status(s->options.refresher, &status);
    o = json_pack("{s:I, s:i}", "proofs", (json_int_t)status.proofs, "tokens",
                  (int)status.valid);
    if (!o)
        return error_sys(err, ENOMEM, "answer");
    if (guest_channel_wait(s->options.channel, 0, &greeting, &down) == 0) {
        vm_uuid_print(&greeting.uuid, uuid);
        json_object_set_new(o, "uuid", json_string(uuid));
        json_object_set_new(o, "epoch", json_integer((json_int_t)greeting.epoch));
        json_object_set_new(o, "issuer", json_string(greeting.issuer));
        down = status.failure;
    }
    json_object_set_new(o, "state", json_string(down.code == ERROR_NONE ? "ok" : "waiting"));
    if (down.code != ERROR_NONE) {
        json_object_set_new(o, "problem",
                            json_string(down.problem[0] ? down.problem : "internal"));
        json_object_set_new(o, "detail", json_string(down.text));
    }
    return finish_json(o, reply, err);
}

static int
route(struct agent_socket *s, const struct http_message *m, const char *body,
      struct reply *reply, struct error *err)
{
    const char *mark = http_header(m, "x-virtid");
    bool get = strcmp(m->method, "GET") == 0;

    if (!mark || strcmp(mark, "1") != 0)
        return error_problem(err, ERROR_DENIED, "bad-request",
                             "the header \"X-Virtid: 1\" is missing");
    if (get && strcmp(m->path, "/v1/token") == 0)
        return serve_token(s, m, reply, err);
    if (get && strcmp(m->path, "/v1/status") == 0)
        return serve_status(s, reply, err);
    if (strcmp(m->method, "POST") == 0 && strcmp(m->path, "/v1/pop") == 0)
        return serve_pop(s, body, m->body_len, reply, err);
    return error_problem(err, ERROR_MISSING, "not-found", "no such request: %s", m->path);
}

/* Until the whole request is here, or its time is over. */
static int
read_request(int fd, struct buf *bytes, struct http_message *m, struct error *err)
{
    int64_t deadline = clock_monotonic_ms() + REQUEST_MS;

    for (;;) {
        bool done = false;
        uint8_t chunk[1024];
        ssize_t n;

        if (bytes->len > 0 &&
            http_parse(bytes->data, bytes->len, true, BODY_MAX, m, &done, err) < 0)
            return -1;
        if (done)
            return 0;
        if (clock_monotonic_ms() >= deadline)
            return error_set(err, ERROR_BUSY, "the request took too long");
        n = recv(fd, chunk, sizeof chunk, 0); /* SO_RCVTIMEO bounds each */
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_sys(err, errno, "request");
        if (n == 0)
            return error_set(err, ERROR_MISSING, "closed");
        buf_add(bytes, chunk, (size_t)n);
        if (!buf_ok(bytes))
            return error_set(err, buf_error_code(bytes), "request too long");
    }
}

static void
answer(struct agent_socket *s, int fd)
{
    CLEANUP(mem_free) struct http_message *m = calloc(1, sizeof *m);
    CLEANUP(buf_clear) struct buf bytes = BUF(HTTP_HEAD_MAX + BODY_MAX);
    CLEANUP(buf_clear) struct buf out = BUF(JSON_TEXT_MAX + 1024);
    struct reply reply = { 200, "application/json", BUF(JSON_TEXT_MAX) };
    struct error failure = { 0 }, ignored = { 0 };

    if (!m)
        return;
    if (peer_check(fd, &failure) < 0) {
        log_warning("event=peer-refused %s: going on", failure.text);
        refuse(&reply, &failure);
    } else if (read_request(fd, &bytes, m, &failure) < 0) {
        if (failure.code == ERROR_MISSING)
            return;
        refuse(&reply, &failure);
    } else if (route(s, m, (const char *)bytes.data + m->head_len, &reply, &failure) < 0) {
        refuse(&reply, &failure);
    }
    http_print_response(&out, reply.status, reply.type, "Cache-Control: no-store\r\n", false,
                        reply.body.data, reply.body.len);
    if (buf_ok(&out))
        (void)fd_write_all(fd, out.data, out.len, &ignored);
    buf_clear(&reply.body);
    /* So that an answer is not lost when the request was never read. */
    (void)shutdown(fd, SHUT_WR);
}

static void *
run_connection(void *context)
{
    struct connection *c = context;
    struct agent_socket *s = c->socket;

    answer(s, c->fd);
    close(c->fd);
    free(c);
    pthread_mutex_lock(&s->lock);
    s->connections--;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void
start_connection(struct agent_socket *s, int fd)
{
    struct connection *c = calloc(1, sizeof *c);
    struct timeval limit = { REQUEST_MS / 1000, 0 };
    pthread_attr_t attr;
    pthread_t thread;
    bool started = false;

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_mutex_lock(&s->lock);
    if (c && s->connections < CONNECTIONS_MAX) {
        *c = (struct connection){ s, fd };
        started = pthread_create(&thread, &attr, run_connection, c) == 0;
        s->connections += started;
    }
    pthread_mutex_unlock(&s->lock);
    pthread_attr_destroy(&attr);
    if (started)
        return;
    free(c);
    close(fd); /* too many at once: a client tries again */
}

int
agent_socket_new(const struct agent_socket_options *options, struct agent_socket **ret,
                 struct error *err)
{
    struct agent_socket *s = calloc(1, sizeof *s);

    if (!s)
        return error_sys(err, ENOMEM, "agent socket");
    s->options = *options;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    /* Everybody may connect and is told why not: the peer check decides. */
    if (unix_listen(options->path, SOCK_STREAM, 0666, &s->listener, err) < 0) {
        s->listener = -1;
        agent_socket_free(s);
        return -1;
    }
    *ret = s;
    return 0;
}

int
agent_socket_run(struct agent_socket *s, int stop_fd, struct error *err)
{
    for (;;) {
        struct pollfd p[2] = { { .fd = s->listener, .events = POLLIN },
                               { .fd = stop_fd, .events = POLLIN } };
        int fd;

        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return error_sys(err, errno, "poll");
        if (p[1].revents)
            return 0;
        if (!(p[0].revents & POLLIN))
            continue;
        fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            start_connection(s, fd);
        else if (errno != EINTR && errno != EAGAIN && errno != ECONNABORTED)
            (void)poll(NULL, 0, 100); /* out of descriptors: wait for some */
    }
}

void
agent_socket_free(struct agent_socket *s)
{
    if (!s)
        return;
    if (s->listener >= 0)
        (void)unlink(s->options.path);
    fd_close(s->listener);
    pthread_mutex_lock(&s->lock);
    while (s->connections > 0)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
