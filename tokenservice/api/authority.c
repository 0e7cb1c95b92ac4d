#include "config.h"

#include "tokenservice/api/authority.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/log.h"
#include "lib/wire/lease_msg.h"
#include "tokenservice/api/decision.h"

enum { HELD_MAX = 100000 }; /* hosts; more than a service has */

struct held {
    char host[NAME_HOST_MAX + 1];
    uint64_t serial;
};

static size_t
list_cas(const uint8_t *now, size_t now_len, const struct mint_ca *before, size_t n_before,
         struct x509_der ret[static MINT_CAS_MAX + 1])
{
    size_t n = 0;

    ret[n++] = (struct x509_der){ now, now_len };
    for (size_t i = 0; i < n_before; i++)
        ret[n++] = (struct x509_der){ before[i].der, before[i].len };
    return n;
}

size_t
authority_host_cas(const struct service *s, struct x509_der ret[static MINT_CAS_MAX + 1])
{
    return list_cas(s->info.host_ca, s->info.host_ca_len, s->info.host_before, s->info.n_host_before, ret);
}

size_t
authority_ek_cas(const struct service *s, struct x509_der ret[static MINT_CAS_MAX + 1])
{
    return list_cas(s->info.ek_ca, s->info.ek_ca_len, s->info.ek_before, s->info.n_ek_before, ret);
}

/* ---- what the signer says ---- */

static const char *
kid_of(const struct mint_keys *keys, enum mint_key_state state)
{
    for (size_t i = 0; i < keys->n; i++) {
        if (keys->keys[i].purpose == MINT_KEY_HOST_CA && keys->keys[i].state == state)
            return keys->keys[i].kid;
    }
    return "";
}

/* By the database's name of each: the CA that was recorded last.  The first one of all is no change. */
static int
record_ca(struct service *s, const struct api_call *call, const char *what, const char *meta, const char *kid,
          bool is_first_change, struct error *err)
{
    char recorded[STORE_META_MAX + 1] = "";
    struct decision d = { .what = what, .seen = kid, .expected = recorded };

    if (store_meta_get(s->store, meta, recorded, err) < 0 && err->code != ERROR_MISSING)
        return -1;
    if (kid[0] == '\0' || strcmp(recorded, kid) == 0)
        return 0;
    if (recorded[0] || is_first_change) {
        if (decision_add(s, call, &d, err) < 0)
            return -1;
        log_notice("event=%s kid=%s before=%s", what, kid, recorded);
    }
    return store_meta_put(s->store, meta, kid, err);
}

static int
record_cas(struct service *s, const struct api_call *call, const struct mint_keys *keys, struct error *err)
{
    CLEANUP(store_abandon) struct store *txn = NULL;

    if (store_begin(s->store, &txn, err) < 0 ||
        record_ca(s, call, "ca-published", "ca_next", kid_of(keys, MINT_KEY_NEXT), true, err) < 0 ||
        record_ca(s, call, "ca-turned", "ca_now", kid_of(keys, MINT_KEY_ACTIVE), false, err) < 0)
        return -1;
    return store_commit(txn, err);
}

/* What is of the CAs; the rest of it is the service's. */
static void
take_cas(struct mint_info *into, const struct mint_info *from)
{
    memcpy(into->host_ca, from->host_ca, from->host_ca_len);
    into->host_ca_len = from->host_ca_len;
    memcpy(into->ek_ca, from->ek_ca, from->ek_ca_len);
    into->ek_ca_len = from->ek_ca_len;
    memcpy(into->host_before, from->host_before, sizeof into->host_before);
    into->n_host_before = from->n_host_before;
    memcpy(into->ek_before, from->ek_before, sizeof into->ek_before);
    into->n_ek_before = from->n_ek_before;
    memcpy(into->bundle, from->bundle, from->bundle_len);
    into->bundle_len = from->bundle_len;
    into->bundle_serial = from->bundle_serial;
    into->ca_change = from->ca_change;
}

int
authority_look(struct service *s, const struct api_call *call, const struct mint_keys *keys, struct error *err)
{
    CLEANUP(mem_free) struct mint_info *info = NULL;
    bool another;

    if (s->recorded_cas == keys->ca_change)
        return 0;
    info = malloc(sizeof *info);
    if (!info)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (mint_ask_info(s->mint, info, err) < 0 || record_cas(s, call, keys, err) < 0)
        return -1;
    another = info->host_ca_len != s->info.host_ca_len ||
              memcmp(info->host_ca, s->info.host_ca, info->host_ca_len) != 0;
    take_cas(&s->info, info);
    /* The listeners first: who takes the new bundle from us comes back to them. */
    if (another && s->recertify)
        s->recertify(s->wake_context);
    s->recorded_cas = keys->ca_change;
    return 0;
}

/* ---- what hosts hold ---- */

static struct held *
find_held(const struct service *s, const char *host)
{
    for (size_t i = 0; i < s->n_held; i++) {
        if (strcmp(s->held[i].host, host) == 0)
            return &s->held[i];
    }
    return NULL;
}

/* Without memory it is not known, and waited for. */
static void
note_held(struct service *s, const char *host, uint64_t serial)
{
    struct held *held = find_held(s, host);

    if (!held) {
        struct held *more = s->n_held < HELD_MAX ? realloc(s->held, (s->n_held + 1) * sizeof *more) : NULL;

        if (!more)
            return;
        s->held = more;
        held = &s->held[s->n_held++];
        snprintf(held->host, sizeof held->host, "%s", host);
    }
    held->serial = serial;
}

void
authority_report(struct service *s, struct api_call *call)
{
    size_t len = strlen(call->reply->headers);
    struct error none;
    char text[24];

    if (http_query(call->request->message, "bundle", text, sizeof text - 1, &none) == 0 && text[0] &&
        text[strspn(text, "0123456789")] == '\0')
        note_held(s, call->host.name, strtoull(text, NULL, 10));
    snprintf(call->reply->headers + len, sizeof call->reply->headers - len, HTTP_BUNDLE ": %llu\r\n",
             (unsigned long long)s->info.bundle_serial);
}

struct behind {
    struct service *service;
    int64_t since_ms;
    json_t *names;
    size_t hosts;
};

static int
look_at_host(void *context, const struct store_host *host, struct error *err)
{
    struct behind *b = context;
    const struct held *held = find_held(b->service, host->name);
    int64_t seen_ms = host->joined_ms > host->seen_ms ? host->joined_ms : host->seen_ms;

    /* One that has joined holds the bundle of then. */
    if (host->state != HOST_JOINED || seen_ms < b->since_ms)
        return 0;
    b->hosts++;
    if (held && held->serial >= b->service->info.bundle_serial)
        return 0;
    return json_array_append_new(b->names, json_string(host->name)) < 0 ? error_set(err, ERROR_SYSTEM, "no memory") : 0;
}

int
authority_behind(struct service *s, int64_t now_ms, json_t *ret_names, size_t *ret_hosts, struct error *err)
{
    struct behind b = { .service = s, .since_ms = now_ms - AUTHORITY_SEEN_MS, .names = ret_names };

    if (store_host_list(s->store, look_at_host, &b, err) < 0)
        return -1;
    *ret_hosts = b.hosts;
    return 0;
}

void
authority_clear(struct service *s)
{
    free(s->held);
    s->held = NULL;
    s->n_held = 0;
}
