#include "config.h"

#include "guestagent/agent_requests.h"

#include <errno.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/error_map.h"
#include "lib/common/json.h"
#include "lib/crypto/hash.h"
#include "lib/wire/connect_msg.h"
#include "lib/wire/problem.h"
#include "lib/wire/transcript.h"

void
agent_refuse(struct reply *reply, const struct error *failure)
{
    const struct problem *p = problem_find(failure->problem);

    buf_clear(&reply->body);
    reply->status = p ? p->status : error_http_status(failure->code);
    reply->type = "application/problem+json";
    /* Whoever asks is of this guest: the text may say what is wrong. */
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
serve_token(const struct agent_socket_options *s, const struct peer *peer, const struct http_message *m,
            struct reply *reply, struct error *err)
{
    CLEANUP(secret_free) struct secret *token = NULL;
    char audience[NAME_AUDIENCE_MAX + 1];
    int64_t expires_in = 0;

    if (http_query(m, "audience", audience, NAME_AUDIENCE_MAX, err) < 0)
        return error_set(err, ERROR_INPUT, "GET /v1/token?audience=NAME");
    if (rulebook_allow(s->rules, peer, audience, err) < 0 ||
        refresher_token(s->refresher, audience, clock_monotonic_ms() + AGENT_TOKEN_MS,
                        &token, &expires_in, err) < 0)
        return -1;
    return finish_json(json_pack("{s:s%, s:I}", "token", (const char *)token->bytes,
                                 token->len, "expires_in", (json_int_t)expires_in),
                       reply, err);
}

/* The signature with which this VM says to one verifier, over one connection: the token is mine. */
static int
sign_pop(const struct agent_socket_options *s, const struct secret *token, const char *verifier,
         const uint8_t nonce[32], const uint8_t exporter[32], uint8_t ret[64],
         struct error *err)
{
    CLEANUP(buf_clear) struct buf message = BUF(1024);
    uint8_t hash[32];

    if (hash_sha256(token->bytes, token->len, hash, err) < 0 ||
        transcript_pop_message(hash, verifier, nonce, exporter, &message, err) < 0)
        return -1;
    return key_sign(s->cnf, message.data, message.len, ret, err);
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
serve_pop(const struct agent_socket_options *s, const char *body, size_t len, struct reply *reply,
          struct error *err)
{
    CLEANUP(secret_free) struct secret *token = NULL;
    CLEANUP(json_decref) json_t *ask = NULL;
    json_t *answer;
    const char *verifier = NULL;
    uint8_t nonce[32], exporter[32], point[KEY_POINT_LEN], signature[KEY_SIGNATURE_LEN];
    int64_t expires_in;

    if (read_pop(body, len, &ask, &verifier, nonce, exporter, err) < 0 ||
        refresher_token(s->refresher, CONNECT_AUDIENCE,
                        clock_monotonic_ms() + AGENT_TOKEN_MS, &token, &expires_in, err) < 0 ||
        sign_pop(s, token, verifier, nonce, exporter, signature, err) < 0)
        return -1;
    key_point(s->cnf, point);
    answer = json_pack("{s:s%}", "token", (const char *)token->bytes, token->len);
    if (!answer || json_set_bytes(answer, "cnf", point, sizeof point) < 0 ||
        json_set_bytes(answer, "signature", signature, sizeof signature) < 0) {
        json_decref(answer);
        return error_sys(err, ENOMEM, "answer");
    }
    return finish_json(answer, reply, err);
}

static int
serve_status(const struct agent_socket_options *s, struct reply *reply, struct error *err)
{
    struct refresher_status status;
    struct greeting greeting;
    struct error down = { 0 }, rules, files;
    char uuid[VM_UUID_TEXT];
    json_t *o;

    refresher_status(s->refresher, &status);
    o = json_pack("{s:I, s:i}", "proofs", (json_int_t)status.proofs, "tokens",
                  (int)status.valid);
    if (!o)
        return error_sys(err, ENOMEM, "answer");
    if (guest_channel_wait(s->channel, 0, &greeting, &down) == 0) {
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
    rulebook_failure(s->rules, &rules);
    token_files_failure(s->files, &files);
    if (rules.code != ERROR_NONE)
        json_object_set_new(o, "rules", json_string(rules.text));
    if (files.code != ERROR_NONE)
        json_object_set_new(o, "files", json_string(files.text));
    return finish_json(o, reply, err);
}

static void
add_audience_named(void *context, const char *audience, bool has_file)
{
    char name[TOKEN_FILE_NAME_MAX + 1];
    json_t *o = json_pack("{s:s}", "audience", audience);

    if (o && has_file && token_file_name(audience, name) == 0)
        json_object_set_new(o, "file", json_string(name));
    (void)json_array_append_new(context, o);
}

static int
serve_audiences(const struct agent_socket_options *s, const struct peer *peer, struct reply *reply, struct error *err)
{
    json_t *list = json_array(), *o = json_pack("{s:b, s:O?}", "any", peer->owner, "audiences", list);

    if (list)
        rulebook_list(s->rules, peer, add_audience_named, list);
    json_decref(list);
    return finish_json(o, reply, err);
}

static int
serve_reload(const struct agent_socket_options *s, struct reply *reply, struct error *err)
{
    if (rulebook_reload(s->rules, err) < 0)
        return -1;
    return finish_json(json_object(), reply, err);
}

/* What only the owner may ask. */
static int
answer_owner(const struct agent_socket_options *s, const struct http_message *m, const char *body,
             struct reply *reply, struct error *err)
{
    bool post = strcmp(m->method, "POST") == 0;

    if (post && strcmp(m->path, "/v1/pop") == 0)
        return serve_pop(s, body, m->body_len, reply, err);
    if (post && strcmp(m->path, "/v1/reload") == 0)
        return serve_reload(s, reply, err);
    return error_problem(err, ERROR_MISSING, "not-found", "no such request: %s", m->path);
}

int
agent_answer(const struct agent_socket_options *s, const struct peer *peer, const struct http_message *m,
             const char *body, struct reply *reply, struct error *err)
{
    const char *mark = http_header(m, "x-virtid");
    bool get = strcmp(m->method, "GET") == 0;

    if (!mark || strcmp(mark, "1") != 0)
        return error_problem(err, ERROR_DENIED, "bad-request",
                             "the header \"X-Virtid: 1\" is missing");
    if (get && strcmp(m->path, "/v1/token") == 0)
        return serve_token(s, peer, m, reply, err);
    if (get && strcmp(m->path, "/v1/status") == 0)
        return serve_status(s, reply, err);
    if (get && strcmp(m->path, "/v1/audiences") == 0)
        return serve_audiences(s, peer, reply, err);
    if (!peer->owner)
        return error_problem(err, ERROR_DENIED, "workload-audience", "only root may ask for %s", m->path);
    return answer_owner(s, m, body, reply, err);
}
