/*
 * A host has certificates of ours that a restored database does not know: it shows both of them, over the TLS
 * connection that the one is for.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <string.h>

#include "lib/common/log.h"
#include "lib/crypto/hash.h"
#include "tokenservice/api/api_body.h"
#include "tokenservice/api/caller.h"
#include "tokenservice/api/decision.h"
#include "tokenservice/api/host_keys.h"
#include "tokenservice/api/recovery.h"

static int
refuse(struct error *err, const char *why)
{
    return error_problem(err, ERROR_DENIED, "refused", "host certificates: %s", why);
}

/* The pair as it would have been stored when it was made. */
static int
check_pair(struct service *s, struct api_call *call, const struct x509_info *tls, struct store_cert *ret,
           struct error *err)
{
    struct x509_info proof;

    if (call->request->client_cert_len > sizeof ret->tls_cert)
        return refuse(err, "too long");
    memcpy(ret->tls_cert, call->request->client_cert, call->request->client_cert_len);
    ret->tls_cert_len = call->request->client_cert_len;
    memcpy(ret->host, call->host.name, sizeof ret->host);
    if (x509_read(ret->proof_cert, ret->proof_cert_len, &proof, err) < 0)
        return err->code == ERROR_SYSTEM ? -1 : refuse(err, "no certificate for proofs");
    memcpy(ret->proof, proof.point, sizeof ret->proof);
    if (host_keys_verify_proof(s, ret, call->now_ms, err) < 0)
        return err->code == ERROR_SYSTEM ? -1 : refuse(err, "no certificate for proofs of this host");
    if (!recovery_is_later(s, &proof))
        return refuse(err, "the one for proofs is older than the database");
    ret->state = CERT_NEXT;
    ret->made_ms = (tls->not_before + X509_BACKDATE) * 1000;
    ret->changed_ms = call->now_ms;
    ret->ends_ms = tls->not_after * 1000;
    return hash_sha256(ret->tls_cert, ret->tls_cert_len, ret->sha256, err);
}

/* Of several that are lost the newest counts: an older one was retired when that was used first. */
static int
check_newest(struct service *s, const struct store_cert *pair, struct error *err)
{
    struct store_cert known;
    struct error why = { 0 };

    for (int state = CERT_NEXT; state <= CERT_CURRENT; state++) {
        if (store_cert_of(s->store, pair->host, (enum cert_state)state, &known, &why) < 0) {
            if (why.code != ERROR_MISSING) {
                *err = why;
                return -1;
            }
        } else if (known.made_ms / 1000 > pair->made_ms / 1000) { /* a certificate knows whole seconds */
            return refuse(err, "a newer one is known");
        }
    }
    return 0;
}

int
api_certificates(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *body = NULL;
    CLEANUP(store_abandon) struct store *txn = NULL;
    struct decision d = { .what = "certificate-taken", .seen = call->host.name };
    struct store_cert pair = { .state = CERT_NEXT };
    struct x509_info tls;

    if (api_body_read(call, "proof_cert", &body, err) < 0 ||
        json_get_bytes(body, "proof_cert", false, pair.proof_cert, sizeof pair.proof_cert, &pair.proof_cert_len, err) < 0)
        return api_body_refuse(err);
    if (service_check_clock(s, call->now_ms, err) < 0 || store_begin(s->store, &txn, err) < 0)
        return -1;
    if (caller_lost_host(s, txn, call, &tls, err) < 0 || check_pair(s, call, &tls, &pair, err) < 0 ||
        check_newest(s, &pair, err) < 0 || recovery_begin(s, call, "a host's certificate", err) < 0 ||
        store_cert_tidy(s->store, pair.host, call->now_ms, err) < 0 || store_cert_add(s->store, &pair, err) < 0 ||
        store_cert_use(s->store, pair.host, pair.sha256, call->now_ms, err) < 0 || decision_add(s, call, &d, err) < 0 ||
        store_commit(txn, err) < 0)
        return -1;
    log_notice("event=certificate-taken host=%s", pair.host);
    return api_body_answer(call, 200, json_object(), err);
}
