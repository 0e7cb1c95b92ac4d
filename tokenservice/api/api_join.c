/*
 * How a host comes in, with a code that an operator gave it, and how it stays.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <string.h>

#include "lib/common/log.h"
#include "lib/common/secret.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/key.h"
#include "lib/crypto/x509.h"
#include "lib/wire/fields.h"
#include "tokenservice/api/api_body.h"
#include "tokenservice/api/decision.h"
#include "tokenservice/api/host_keys.h"

struct joining {
    const char *name;
    uint8_t token[32], token_sha256[32];
    bool simulated;
    struct host_keys keys;
};

static int
read_join(const json_t *body, struct joining *j, struct error *err)
{
    bool has_token;

    if (json_get_string(body, "name", false, NAME_HOST_MAX, &j->name, err) < 0 ||
        api_body_bytes(body, "token", j->token, sizeof j->token, false, &has_token,
                       err) < 0 ||
        json_get_bool(body, "simulated", false, &j->simulated, err) < 0)
        return api_body_refuse(err);
    if (!name_is_host(j->name))
        return error_problem(err, ERROR_INPUT, "bad-request",
                             "\"name\" is no host name");
    if (host_keys_read(body, &j->keys, err) < 0 ||
        host_keys_check(&j->keys, "virtid-join-1", j->name, j->token, err) < 0)
        return -1;
    return hash_sha256(j->token, sizeof j->token, j->token_sha256, err);
}

static bool
is_same_pair(const struct store_host *host, const struct host_keys *keys)
{
    return host->has_keys && memcmp(host->tls, keys->tls, sizeof host->tls) == 0 &&
           memcmp(host->proof, keys->proof, sizeof host->proof) == 0;
}

/* Whoever does not know the code gets one answer, whether the name is known or not. */
static int
check_code(struct service *s, const struct joining *j, struct store_host *ret,
           struct error *err)
{
    struct error why = { 0 };
    int rc = store_host_find(s->store, j->name, ret, &why);

    if (rc < 0 && why.code != ERROR_MISSING) {
        *err = why;
        return -1;
    }
    if (rc < 0)
        memset(ret, 0, sizeof *ret);
    if (!secret_equal(ret->code_sha256, j->token_sha256, sizeof ret->code_sha256) ||
        rc < 0 || ret->state == HOST_REMOVED || ret->state == HOST_LOCKED)
        return error_problem(err, ERROR_DENIED, "refused", "no such join code");
    return 0;
}

static int
redeem(struct service *s, struct api_call *call, const struct joining *j,
       struct store_host *host, struct error *err)
{
    struct decision d = { .what = "join-asked", .seen = host->fingerprint };

    if (host->has_keys)
        return is_same_pair(host, &j->keys)
                   ? 0
                   : error_problem(err, ERROR_DENIED, "join-used",
                                   "another pair of keys redeemed this code");
    if (call->now_ms >= host->code_ends_ms)
        return error_problem(err, ERROR_DENIED, "join-expired",
                             "the join code is older than 15 minutes");
    if (j->simulated && !s->info.test)
        return error_problem(err, ERROR_DENIED, "not-a-test-domain",
                             "simulated hosts are for a trust domain made with --test");
    host->has_keys = true;
    host->simulated = j->simulated;
    memcpy(host->tls, j->keys.tls, sizeof host->tls);
    memcpy(host->proof, j->keys.proof, sizeof host->proof);
    host->state = host->automatic ? HOST_JOINED : HOST_PENDING;
    host->joined_ms = host->automatic ? call->now_ms : 0;
    if (host_keys_fingerprint(&j->keys, host->name, j->token, host->fingerprint, err) <
        0)
        return -1;
    log_notice("event=join-asked host=%s fingerprint=%s", host->name,
               host->fingerprint);
    if (store_host_put(s->store, host, err) < 0 || decision_add(s, call, &d, err) < 0)
        return -1;
    if (host->state != HOST_JOINED)
        return 0;
    d.what = "joined";
    log_notice("event=joined host=%s", host->name);
    return decision_add(s, call, &d, err);
}

/* The certificates of the pair that joined, if they are still good: 1, else 0. */
static int
find_certs(struct service *s, const struct api_call *call,
           const struct store_host *host, struct store_cert *ret, struct error *err)
{
    for (int state = CERT_CURRENT; state >= CERT_NEXT; state--) {
        struct error why = { 0 };

        if (store_cert_of(s->store, host->name, (enum cert_state)state, ret, &why) <
            0) {
            if (why.code == ERROR_MISSING)
                continue;
            *err = why;
            return -1;
        }
        if (memcmp(ret->proof, host->proof, sizeof host->proof) == 0 &&
            ret->ends_ms > call->now_ms)
            return 1;
    }
    return 0;
}

/*
 * Made once, shown again to whoever repeats the request.  A second time they are not
 * made: whoever copied code and keys would have a certificate beside the renewed one.
 */
static int
find_or_make_certs(struct service *s, struct api_call *call, struct store_host *host,
                   const struct joining *j, struct store_cert *ret, struct error *err)
{
    int found = find_certs(s, call, host, ret, err);

    if (found != 0)
        return found < 0 ? -1 : 0;
    if (host->code_ends_ms == 0)
        return error_problem(err, ERROR_DENIED, "join-used",
                             "the certificates of this code were renewed or have "
                             "ended; \"virtid host remove\" and \"add\" it again");
    host->code_ends_ms = 0; /* spent */
    if (store_host_put(s->store, host, err) < 0)
        return -1;
    return host_keys_certify(s, host->name, &j->keys, call->now_ms, ret, err);
}

static int
answer_joined(struct service *s, struct api_call *call, struct store *txn,
              struct store_host *host, const struct joining *j, struct error *err)
{
    struct store_cert cert;

    if (find_or_make_certs(s, call, host, j, &cert, err) < 0 ||
        store_commit(txn, err) < 0)
        return -1;
    return host_keys_answer(s, call, &cert, err);
}

int
api_join(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *body = NULL;
    CLEANUP(store_abandon) struct store *txn = NULL;
    struct joining j = { .simulated = false };
    struct store_host host;

    if (api_body_read(call, "name token tls proof sig_tls sig_proof simulated", &body,
                      err) < 0 ||
        read_join(body, &j, err) < 0 ||
        service_check_clock(s, call->now_ms, err) < 0 ||
        store_begin(s->store, &txn, err) < 0 ||
        check_code(s, &j, &host, err) < 0)
        return -1;
    memcpy(call->who, "host ", 6);
    memcpy(call->who + 5, host.name, sizeof host.name);
    if (redeem(s, call, &j, &host, err) < 0)
        return -1;
    if (host.state == HOST_JOINED)
        return answer_joined(s, call, txn, &host, &j, err);
    if (store_commit(txn, err) < 0)
        return -1;
    return api_body_answer(
        call, 202,
        json_pack("{s:s,s:s}", "state", "pending", "fingerprint", host.fingerprint),
        err);
}

int
api_renew(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *body = NULL;
    CLEANUP(store_abandon) struct store *txn = NULL;
    struct decision d = { .what = "host-renewed", .seen = call->host.name };
    struct host_keys keys;
    struct store_cert cert;

    if (api_body_read(call, "tls proof sig_tls sig_proof", &body, err) < 0 ||
        host_keys_read(body, &keys, err) < 0 ||
        host_keys_check(&keys, "virtid-renew-1", call->host.name, NULL, err) < 0 ||
        decision_allowed(s, call, err) < 0 || store_begin(s->store, &txn, err) < 0 ||
        store_cert_tidy(s->store, call->host.name, call->now_ms, err) < 0 ||
        host_keys_certify(s, call->host.name, &keys, call->now_ms, &cert, err) < 0 ||
        store_cert_tidy(s->store, call->host.name, call->now_ms, err) < 0 ||
        decision_add(s, call, &d, err) < 0 || store_commit(txn, err) < 0)
        return -1;
    log_notice("event=host-renewed host=%s", call->host.name);
    return host_keys_answer(s, call, &cert, err);
}
