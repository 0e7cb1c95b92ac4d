#include "config.h"

#include "plugin/enroll/enroll.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/http/http_client.h"
#include "plugin/enroll/join_message.h"

enum { POLL_MS = 1000, JOIN_REQUEST_MS = 10000 };

struct join {
    const char *state_dir, *name;
    struct join_code code;
    struct key *tls, *proof;
    struct http_client *http;
    json_t *body;
    char url[HOST_ADDRESS_MAX + 32];
    char fingerprint[33];
};

static void
join_clear_at(struct join *j)
{
    key_free(j->tls);
    key_free(j->proof);
    http_client_free(j->http);
    json_decref(j->body);
    explicit_bzero(&j->code, sizeof j->code);
}

static int
prepare(struct join *j, bool simulated, struct error *err)
{
    struct http_client_options options = { .pin_ca_sha256 = j->code.ca_sha256, .timeout_ms = JOIN_REQUEST_MS };

    snprintf(j->url, sizeof j->url, "https://%s/v1/join", j->code.service);
    /* Kept from an earlier try: a token is redeemed by one pair of keys only. */
    if (host_identity_join_keys(j->state_dir, &j->tls, &j->proof, err) < 0 ||
        join_fingerprint(j->name, j->code.token, j->tls, j->proof, j->fingerprint, err) < 0 ||
        http_client_new(&options, &j->http, err) < 0)
        return -1;
    j->body = json_pack("{s:s,s:b}", "name", j->name, "simulated", simulated);
    if (!j->body || json_set_bytes(j->body, "token", j->code.token, JOIN_TOKEN_LEN) < 0)
        return error_sys(err, ENOMEM, "join");
    return join_message_sign(JOIN_LABEL_JOIN, j->name, j->code.token, j->tls, j->proof, j->body, err);
}

/* 1: joined; 0: pending; -1: refused for good or not reachable. */
static int
try_once(struct join *j, struct error *err)
{
    CLEANUP(json_decref) json_t *answer = NULL;
    const char *state;

    if (http_client_json(j->http, "POST", j->url, j->body, &answer, err) < 0)
        return error_wrap(err, "token service %s", j->code.service);
    if (json_get_string(answer, "state", false, ENROLL_STATE_MAX, &state, err) < 0)
        return error_wrap(err, "token service %s", j->code.service);
    if (strcmp(state, "joined") != 0)
        return 0;
    if (host_identity_store(j->state_dir, j->name, j->code.service, j->code.ca_sha256, j->tls, j->proof, answer, err) < 0)
        return -1;
    return 1;
}

int
enroll_join(const char *state_dir, const char *name, const char *code, bool simulated,
            int64_t deadline_ms, void (*waiting)(void *context, const char *fingerprint),
            void *context, struct error *err)
{
    __attribute__((cleanup(join_clear_at))) struct join j = { .state_dir = state_dir, .name = name };
    bool told = false;

    if (!name_is_host(name))
        return error_set(err, ERROR_INPUT, "\"%s\" is no host name: [a-z0-9.-], at most %d characters", name, NAME_HOST_MAX);
    if (join_code_parse(code, &j.code, err) < 0 || prepare(&j, simulated, err) < 0)
        return -1;
    for (;;) {
        int got = try_once(&j, err);

        if (got != 0)
            return got < 0 ? -1 : 0;
        if (!told && waiting)
            waiting(context, j.fingerprint);
        told = true;
        if (clock_monotonic_ms() + POLL_MS >= deadline_ms)
            return error_set(err, ERROR_BUSY, "nobody approved this host yet; \"virtid host approve %s\" and join again", name);
        (void)poll(NULL, 0, POLL_MS);
    }
}
