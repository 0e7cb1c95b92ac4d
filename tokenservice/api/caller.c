#include "config.h"

#include "tokenservice/api/caller.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "lib/common/log.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/x509.h"
#include "tokenservice/api/authority.h"
#include "tokenservice/api/decision.h"
#include "tokenservice/api/host_keys.h"
#include "tokenservice/api/recovery.h"

static int
refuse(struct error *err, const char *why)
{
    return error_problem(err, ERROR_DENIED, "refused", "host certificate: %s", why);
}

/* The chain, the kind, the time and the name; the same checks as at the handshake, now.
 */
static int
read_certificate(const struct service *s, const struct http_request *request,
                 int64_t now_ms, struct x509_info *ret, struct error *err)
{
    struct x509_der cas[MINT_CAS_MAX + 1];
    size_t n_cas = authority_host_cas(s, cas);
    struct error why;

    if (!request->client_cert)
        return error_problem(err, ERROR_DENIED, "no-client-certificate",
                             "this request needs a host's certificate");
    if (x509_verify(request->client_cert, request->client_cert_len, X509_HOST_TLS, cas,
                    n_cas, host_keys_now(request->client_cert, request->client_cert_len, now_ms), ret,
                    &why) < 0) {
        if (why.code != ERROR_SYSTEM)
            return refuse(err, why.text);
        *err = why; /* we could not look */
        return -1;
    }
    return 0;
}

static int
check_name(const struct service *s, const char *uri, const char *host,
           struct error *err)
{
    char expected[256];

    snprintf(expected, sizeof expected, "spiffe://%s/host/%s", s->info.trust_domain,
             host);
    return strcmp(uri, expected) == 0 ? 0 : refuse(err, "it names another host");
}

static int
lock_host(struct service *s, struct store *txn, struct api_call *call,
          struct error *err)
{
    struct decision d = { .what = "host-locked",
                          .problem = "locked",
                          .why =
                              "a retired certificate was used: its key may be copied",
                          .seen = "retired certificate",
                          .expected = "its successor" };

    call->host.state = HOST_LOCKED;
    if (store_host_put(txn, &call->host, err) < 0 ||
        decision_add(s, call, &d, err) < 0 || store_commit(txn, err) < 0)
        return -1;
    log_warning(
        "event=alarm host=%s a retired certificate was used: the host is locked; "
        "remove it and join it anew",
        call->host.name);
    return refuse(err, "retired");
}

static int
judge_certificate(struct service *s, struct store *txn, struct api_call *call,
                  const struct store_cert *cert, struct error *err)
{
    if (cert->state == CERT_CURRENT)
        return 0;
    if (cert->state == CERT_RETIRED) {
        if (call->now_ms - cert->changed_ms < CALLER_RETIRED_MS)
            return refuse(err, "its successor is in use");
        return lock_host(s, txn, call, err);
    }
    if (store_cert_use(txn, call->host.name, cert->sha256, call->now_ms, err) < 0 ||
        store_cert_tidy(txn, call->host.name, call->now_ms, err) < 0)
        return -1;
    return store_commit(txn, err);
}

/* The name in spiffe://TRUST-DOMAIN/host/NAME. */
static int
read_name(const struct service *s, const char *uri, char ret[static NAME_HOST_MAX + 1], struct error *err)
{
    char before[256];
    size_t len;

    len = (size_t)snprintf(before, sizeof before, "spiffe://%s/host/", s->info.trust_domain);
    if (strncmp(uri, before, len) != 0 || strlen(uri + len) > NAME_HOST_MAX || !name_is_host(uri + len))
        return refuse(err, "it names no host");
    strcpy(ret, uri + len);
    return 0;
}

/* It joined after the backup was made. Nobody lets it in by itself: it may have been removed since, too. */
static int
note_unknown_host(struct service *s, struct store *txn, struct api_call *call, const char *name, struct error *err)
{
    struct decision d = { .what = "host-unknown", .problem = "refused", .seen = name };
    bool is_new = false;

    snprintf(call->who, sizeof call->who, "host %s", name);
    if (recovery_begin(s, call, "a certificate of a host that is not known", err) < 0 ||
        decision_add_seldom(s, call, &d, &is_new, err) < 0 || store_commit(txn, err) < 0)
        return -1;
    if (is_new)
        log_warning("event=alarm host=%s it joined after the backup was made that this database is; virtid host add %s, "
                    "and join it anew",
                    name, name);
    return refuse(err, "the database does not know the host");
}

/* A certificate of ours that is not in the database: whose, and can it be that the database is older? */
static int
look_for_lost(struct service *s, struct store *txn, struct api_call *call, const struct x509_info *info,
              struct store_host *ret, struct error *err)
{
    char name[NAME_HOST_MAX + 1];
    struct error why = { 0 };

    if (!recovery_is_later(s, info))
        return refuse(err, "not one of a joined host");
    if (read_name(s, info->uri, name, err) < 0)
        return -1;
    if (store_host_find(s->store, name, ret, &why) < 0) {
        if (why.code != ERROR_MISSING) {
            *err = why;
            return -1;
        }
        return note_unknown_host(s, txn, call, name, err);
    }
    return ret->state == HOST_JOINED ? 0 : refuse(err, "the host is not joined (any more)");
}

int
caller_lost_host(struct service *s, struct store *txn, struct api_call *call, struct x509_info *ret_cert,
                 struct error *err)
{
    const struct http_request *request = call->request;
    uint8_t sha256[SHA256_LEN];
    struct store_cert cert;
    struct error why = { 0 };

    if (read_certificate(s, request, call->now_ms, ret_cert, err) < 0 ||
        hash_sha256(request->client_cert, request->client_cert_len, sha256, err) < 0)
        return -1;
    if (store_cert_find(s->store, sha256, &cert, &why) == 0)
        return refuse(err, "it is known");
    if (why.code != ERROR_MISSING) {
        *err = why;
        return -1;
    }
    if (look_for_lost(s, txn, call, ret_cert, &call->host, err) < 0)
        return -1;
    snprintf(call->who, sizeof call->who, "host %s", call->host.name);
    return 0;
}

static int
find_host(struct service *s, struct store *txn, struct api_call *call, const struct x509_info *info,
          const uint8_t sha256[static 32], struct store_cert *ret_cert, struct error *err)
{
    struct error why = { 0 };
    struct store_host lost;

    if (store_cert_find(s->store, sha256, ret_cert, &why) < 0 ||
        store_host_find(s->store, ret_cert->host, &call->host, &why) < 0) {
        memset(&call->host, 0, sizeof call->host);
        if (why.code != ERROR_MISSING) {
            *err = why;
            return -1;
        }
        if (look_for_lost(s, txn, call, info, &lost, err) < 0)
            return -1;
        return error_problem(err, ERROR_DENIED, "certificate-unknown", "host %s has newer certificates than the database",
                             lost.name);
    }
    return 0;
}

static int
identify(struct service *s, struct api_call *call, struct error *err)
{
    const struct http_request *request = call->request;
    CLEANUP(store_abandon) struct store *txn = NULL;
    struct store_cert cert;
    struct x509_info info;
    uint8_t sha256[SHA256_LEN];

    if (read_certificate(s, request, call->now_ms, &info, err) < 0 ||
        hash_sha256(request->client_cert, request->client_cert_len, sha256, err) < 0 ||
        store_begin(s->store, &txn, err) < 0 ||
        find_host(s, txn, call, &info, sha256, &cert, err) < 0 ||
        check_name(s, info.uri, cert.host, err) < 0)
        return -1;
    if (call->host.state != HOST_JOINED)
        return refuse(err, "the host is not joined (any more)");
    snprintf(call->who, sizeof call->who, "host %s", call->host.name);
    return judge_certificate(s, txn, call, &cert, err);
}

int
caller_host(struct service *s, struct api_call *call, struct error *err)
{
    if (identify(s, call, err) == 0)
        return 0;
    memset(&call->host, 0, sizeof call->host); /* nobody who is told why */
    return -1;
}

static bool
is_in_group(uid_t uid, gid_t gid, gid_t wanted)
{
    struct passwd *who = getpwuid(uid);
    gid_t groups[256];
    int n = 256;

    if (gid == wanted)
        return true;
    if (!who || getgrouplist(who->pw_name, gid, groups, &n) < 0)
        return false;
    for (int i = 0; i < n; i++) {
        if (groups[i] == wanted)
            return true;
    }
    return false;
}

int
caller_admin(struct service *s, struct api_call *call, struct error *err)
{
    uid_t uid = call->request->uid;

    if (uid == (uid_t)-1 ||
        (uid != 0 && uid != s->own_uid &&
         !(s->has_admin_group && is_in_group(uid, call->request->gid, s->admin_group))))
        return error_problem(
            err, ERROR_DENIED, "not-admin",
            "uid %ld may not administer this service: be root, or a member "
            "of admin_group in tokend.conf",
            (long)uid);
    snprintf(call->who, sizeof call->who, "admin uid %ld", (long)uid);
    return 0;
}
