#include "config.h"

#include "guestagent/agent_requests.h"

#include <errno.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/error_map.h"
#include "lib/common/json.h"
#include "lib/wire/connect_msg.h"
#include "lib/wire/pop.h"
#include "lib/wire/problem.h"

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

/* A question to this VM; the texts are borrowed from the body. */
struct pop_ask {
    json_t *body;
    const char *name;
    uint8_t nonce[POP_NONCE_LEN], exporter[POP_EXPORTER_LEN];
};

/* `member` is where the asker names itself. */
static int
read_ask(const char *body, size_t len, const char *member, const char *members, struct pop_ask *ret, struct error *err)
{
    size_t nonce_len, exporter_len;

    if (json_parse(body, len, &ret->body, err) < 0 || json_only(ret->body, members, err) < 0 ||
        json_get_string(ret->body, member, false, CONNECT_VERIFIER_MAX, &ret->name, err) < 0 ||
        json_get_bytes(ret->body, "nonce", false, ret->nonce, sizeof ret->nonce, &nonce_len, err) < 0 ||
        json_get_bytes(ret->body, "exporter", false, ret->exporter, sizeof ret->exporter, &exporter_len, err) < 0)
        return -1;
    if (nonce_len != sizeof ret->nonce || exporter_len != sizeof ret->exporter)
        return error_set(err, ERROR_INPUT, "nonce and exporter have 32 bytes");
    return 0;
}

/* With this the VM says to one verifier, over one connection: the token is mine. */
static int
make_pop(const struct agent_socket_options *s, const char *audience, const struct pop_ask *ask, struct pop *ret,
         int64_t *ret_expires_in, struct error *err)
{
    struct pop_place place = { .verifier = ask->name, .nonce = ask->nonce, .exporter = ask->exporter };
    CLEANUP(secret_free) struct secret *token = NULL;

    if (refresher_token(s->refresher, audience, clock_monotonic_ms() + AGENT_TOKEN_MS, &token, ret_expires_in, err) < 0)
        return -1;
    if (token->len > TOKEN_TEXT_MAX)
        return error_set(err, ERROR_SYSTEM, "a token of %zu bytes", token->len);
    memcpy(ret->token, token->bytes, token->len);
    ret->token[token->len] = '\0';
    return pop_sign(ret, s->cnf, &place, err);
}

static int
serve_pop(const struct agent_socket_options *s, const char *body, size_t len, struct reply *reply,
          struct error *err)
{
    CLEANUP(json_decref) json_t *answer = NULL;
    struct pop_ask ask = { .body = NULL };
    struct pop pop;
    int64_t expires_in;
    int rc = read_ask(body, len, "verifier", "verifier nonce exporter", &ask, err);

    if (rc == 0)
        rc = make_pop(s, CONNECT_AUDIENCE, &ask, &pop, &expires_in, err);
    json_decref(ask.body);
    if (rc < 0)
        return -1;
    answer = json_pack("{s:s}", "token", pop.token);
    if (!answer || json_set_bytes(answer, "cnf", pop.point, sizeof pop.point) < 0 ||
        json_set_bytes(answer, "signature", pop.signature, sizeof pop.signature) < 0)
        return error_sys(err, ENOMEM, "answer");
    return finish_json(STEAL(answer), reply, err);
}

/* A bearer token is no more with a proof than without; and that of virtid-connect must prove for `serve` alone. */
static int
check_bound(const struct pop *pop, const char *audience, struct error *err)
{
    char iss[NAME_ISSUER_MAX + 1], aud[NAME_AUDIENCE_MAX + 1];
    size_t mark = strlen(TOKEN_BOUND_AUDIENCE);

    if (token_peek(pop->token, strlen(pop->token), iss, aud, err) == 0 &&
        strncmp(aud, TOKEN_BOUND_AUDIENCE, mark) == 0 && strcmp(aud + mark, audience) == 0)
        return 0;
    return error_problem(err, ERROR_DENIED, "not-bound", "the tokens for %.255s are bearer tokens", audience);
}

static int
serve_prove(const struct agent_socket_options *s, const struct peer *peer, const char *body, size_t len,
            struct reply *reply, struct error *err)
{
    CLEANUP(buf_clear) struct buf text = BUF(POP_TEXT_MAX);
    struct pop_ask ask = { .body = NULL };
    struct pop pop;
    int64_t expires_in = 0;
    int rc = read_ask(body, len, "audience", "audience nonce exporter", &ask, err);

    if (rc == 0)
        rc = rulebook_allow(s->rules, peer, ask.name, err);
    if (rc == 0)
        rc = make_pop(s, ask.name, &ask, &pop, &expires_in, err);
    if (rc == 0)
        rc = check_bound(&pop, ask.name, err);
    json_decref(ask.body);
    if (rc < 0 || pop_print(&pop, &text, err) < 0)
        return -1;
    return finish_json(json_pack("{s:s%, s:I}", "proof", (const char *)text.data, text.len, "expires_in",
                                 (json_int_t)expires_in),
                       reply, err);
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
    if (strcmp(m->method, "POST") == 0 && strcmp(m->path, "/v1/prove") == 0)
        return serve_prove(s, peer, body, m->body_len, reply, err);
    if (get && strcmp(m->path, "/v1/status") == 0)
        return serve_status(s, reply, err);
    if (get && strcmp(m->path, "/v1/audiences") == 0)
        return serve_audiences(s, peer, reply, err);
    if (!peer->owner)
        return error_problem(err, ERROR_DENIED, "workload-audience", "only root may ask for %s", m->path);
    return answer_owner(s, m, body, reply, err);
}
