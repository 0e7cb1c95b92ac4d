/*
 * Operators: which hosts may run VMs of this trust domain.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <stdio.h>
#include <string.h>

#include "lib/common/encode.h"
#include "lib/common/log.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/random.h"
#include "tokenservice/api/api_body.h"
#include "tokenservice/api/decision.h"

enum { JOIN_CODE_MS = 15 * 60 * 1000, JOIN_TOKEN_LEN = 32, JOIN_CODE_TEXT = 512 };

static int
print_code(const struct service *s, const uint8_t token[static JOIN_TOKEN_LEN],
           char ret[static JOIN_CODE_TEXT], struct error *err)
{
    char ca[B64URL_LEN(SHA256_LEN) + 1], secret[B64URL_LEN(JOIN_TOKEN_LEN) + 1];
    uint8_t digest[SHA256_LEN];

    if (hash_sha256(s->info.host_ca, s->info.host_ca_len, digest, err) < 0)
        return -1;
    b64url_encode(digest, sizeof digest, ca);
    b64url_encode(token, JOIN_TOKEN_LEN, secret);
    snprintf(ret, JOIN_CODE_TEXT, "virtid1,%s,%s,%s", s->hosts_advertised, ca, secret);
    explicit_bzero(secret, sizeof secret);
    return 0;
}

/* Has it a certificate that is good, or a code that is not spent?  1: yes; 0: no. */
static int
is_member(struct service *s, const struct store_host *host, int64_t now_ms,
          struct error *err)
{
    if (host->state != HOST_JOINED || host->code_ends_ms > now_ms)
        return host->state == HOST_JOINED;
    for (int state = CERT_NEXT; state <= CERT_CURRENT; state++) {
        struct error why = { 0 };
        struct store_cert cert;

        if (store_cert_of(s->store, host->name, (enum cert_state)state, &cert, &why) ==
            0) {
            if (cert.ends_ms > now_ms)
                return 1;
        } else if (why.code != ERROR_MISSING) {
            *err = why;
            return -1;
        }
    }
    return 0;
}

/* A name can be invited again while its code waits, after it was removed or locked, and
 * after its certificates ended. */
static int
invite(struct service *s, const char *name, int64_t now_ms, struct store_host *host,
       struct error *err)
{
    struct error why = { 0 };
    int member;

    if (store_host_find(s->store, name, host, &why) == 0) {
        member = is_member(s, host, now_ms, err);
        if (member < 0)
            return -1;
        if (member)
            return error_problem(err, ERROR_DENIED, "conflict",
                                 "host %s has joined; \"virtid host remove\" it first",
                                 name);
        if (store_cert_drop_all(s->store, name, err) < 0)
            return -1;
    } else if (why.code != ERROR_MISSING) {
        *err = why;
        return -1;
    }
    memset(host, 0, sizeof *host);
    memcpy(host->name, name, strlen(name));
    host->state = HOST_INVITED;
    return 0;
}

int
api_admin_hosts_add(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *body = NULL;
    CLEANUP(store_abandon) struct store *txn = NULL;
    struct decision d = { .what = "host-invited" };
    uint8_t token[JOIN_TOKEN_LEN];
    char code[JOIN_CODE_TEXT];
    struct store_host host;
    bool automatic = false;
    const char *name;
    json_t *answer;

    if (api_body_read(call, "name auto", &body, err) < 0 ||
        json_get_string(body, "name", false, NAME_HOST_MAX, &name, err) < 0 ||
        json_get_bool(body, "auto", true, &automatic, err) < 0)
        return api_body_refuse(err);
    if (!name_is_host(name))
        return error_problem(err, ERROR_INPUT, "bad-request",
                             "a host's name is [a-z0-9.-]{1,63}");
    if (store_begin(s->store, &txn, err) < 0 || invite(s, name, call->now_ms, &host, err) < 0 ||
        random_bytes(token, sizeof token, err) < 0 ||
        hash_sha256(token, sizeof token, host.code_sha256, err) < 0 ||
        print_code(s, token, code, err) < 0)
        return -1;
    explicit_bzero(token, sizeof token);
    host.automatic = automatic;
    host.made_ms = call->now_ms;
    host.code_ends_ms = call->now_ms + JOIN_CODE_MS;
    d.seen = host.name;
    if (store_host_put(s->store, &host, err) < 0 ||
        decision_add(s, call, &d, err) < 0 || store_commit(txn, err) < 0)
        return -1;
    log_notice("event=host-invited host=%s", host.name);
    answer =
        json_pack("{s:s,s:I}", "code", code, "expires", (json_int_t)host.code_ends_ms);
    explicit_bzero(code, sizeof code);
    return api_body_answer(call, 201, answer, err);
}

/* ---- list ---- */

struct listing {
    struct service *service;
    json_t *hosts;
};

static int
add_host(void *context, const struct store_host *host, struct error *err)
{
    struct listing *l = context;
    json_t *o =
        json_pack("{s:s,s:s,s:s,s:b,s:b}", "name", host->name, "state",
                  store_host_state_name(host->state), "fingerprint", host->fingerprint,
                  "auto", host->automatic, "simulated", host->simulated);
    char hook[LEASE_HOOK_MAX + 1], pool[NAME_POOL_MAX + 1];
    struct store_fence fence;
    int64_t vms = 0;

    if (!o || json_array_append_new(l->hosts, o) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (store_host_vms(l->service->store, host->name, &vms, err) < 0 ||
        store_hook_get(l->service->store, host->name, hook, err) < 0 ||
        store_pool_of(l->service->store, host->name, pool, err) < 0 ||
        store_fence_get(l->service->store, host->name, &fence, err) < 0)
        return -1;
    if (fence.ms) {
        json_object_set_new(o, "fenced", json_integer(fence.ms));
        json_object_set_new(o, "fenced_alive", json_boolean(fence.alive));
    }
    if (hook[0])
        json_object_set_new(o, "hook", json_string(hook));
    if (pool[0])
        json_object_set_new(o, "pool", json_string(pool));
    json_object_set_new(o, "vms", json_integer(vms));
    if (host->seen_ms)
        json_object_set_new(o, "last_seen", json_integer(host->seen_ms));
    return 0;
}

int
api_admin_hosts(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *o = json_object();
    struct listing l = { .service = s, .hosts = json_array() };

    if (json_object_set_new(o, "hosts", l.hosts) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (store_host_list(s->store, add_host, &l, err) < 0)
        return -1;
    return api_body_answer(call, 200, STEAL(o), err);
}

/* ---- approve, remove ---- */

static int
find_host(struct service *s, const char *name, struct store_host *ret,
          struct error *err)
{
    if (store_host_find(s->store, name, ret, err) < 0)
        return err->code == ERROR_MISSING
                   ? error_problem(err, ERROR_MISSING, "not-found", "no host \"%.63s\"",
                                   name)
                   : -1;
    return 0;
}

static int
store_decided(struct service *s, struct api_call *call, struct store *txn,
              const char *what, const struct store_host *host, struct error *err)
{
    struct decision d = { .what = what,
                          .seen = host->name,
                          .expected = host->fingerprint };

    if (store_host_put(s->store, host, err) < 0 || decision_add(s, call, &d, err) < 0 ||
        store_commit(txn, err) < 0)
        return -1;
    log_notice("event=%s host=%s", what, host->name);
    return api_body_answer(call, 200,
                           json_pack("{s:s,s:s}", "name", host->name, "state",
                                     store_host_state_name(host->state)),
                           err);
}

int
api_admin_host_approve(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *body = NULL;
    CLEANUP(store_abandon) struct store *txn = NULL;
    const char *fingerprint = NULL;
    struct store_host host;

    if (api_body_read(call, "fingerprint", &body, err) < 0 ||
        json_get_string(body, "fingerprint", true, 64, &fingerprint, err) < 0)
        return api_body_refuse(err);
    if (store_begin(s->store, &txn, err) < 0 || find_host(s, call->arg, &host, err) < 0)
        return -1;
    if (host.state != HOST_PENDING)
        return error_problem(err, ERROR_DENIED, "conflict",
                             "host %s is %s, not pending", host.name,
                             store_host_state_name(host.state));
    if (fingerprint && strcmp(fingerprint, host.fingerprint) != 0)
        return error_problem(
            err, ERROR_DENIED, "conflict",
            "host %s has the fingerprint %s: if that is not what its console "
            "shows, remove it",
            host.name, host.fingerprint);
    host.state = HOST_JOINED;
    host.joined_ms = call->now_ms;
    return store_decided(s, call, txn, "joined", &host, err);
}

int
api_admin_host_remove(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(store_abandon) struct store *txn = NULL;
    struct store_host host;

    if (store_begin(s->store, &txn, err) < 0 || find_host(s, call->arg, &host, err) < 0)
        return -1;
    /* Its leases lapse by themselves; its signatures and requests count no more from
     * now on. It leaves its pool, for which VMs that wait for that go on waiting. */
    host.state = HOST_REMOVED;
    if (store_pool_put(s->store, host.name, "", err) < 0)
        return -1;
    return store_decided(s, call, txn, "host-removed", &host, err);
}
