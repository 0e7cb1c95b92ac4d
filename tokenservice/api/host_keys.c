#include "config.h"

#include "tokenservice/api/host_keys.h"

#include <stdio.h>
#include <string.h>

#include "lib/common/encode.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/key.h"
#include "lib/crypto/x509.h"
#include "lib/wire/fields.h"
#include "tokenservice/api/api_body.h"
#include "tokenservice/api/authority.h"

int
host_keys_read(const json_t *body, struct host_keys *ret, struct error *err)
{
    bool has;

    if (api_body_bytes(body, "tls", ret->tls, sizeof ret->tls, false, &has, err) < 0 ||
        api_body_bytes(body, "proof", ret->proof, sizeof ret->proof, false, &has, err) <
            0 ||
        api_body_bytes(body, "sig_tls", ret->sig_tls, sizeof ret->sig_tls, false, &has,
                       err) < 0 ||
        api_body_bytes(body, "sig_proof", ret->sig_proof, sizeof ret->sig_proof, false,
                       &has, err) < 0)
        return -1;
    return 0;
}

static void
compose(const struct host_keys *keys, const char *label, const char *name,
        const uint8_t *token, struct buf *into)
{
    fields_add_text(into, label);
    fields_add_text(into, name);
    if (token)
        fields_add(into, token, 32);
    fields_add(into, keys->tls, sizeof keys->tls);
    fields_add(into, keys->proof, sizeof keys->proof);
}

static int
check_one(const uint8_t point[static 65], const struct buf *message,
          const uint8_t signature[static 64], struct error *err)
{
    CLEANUP(key_free) struct key *key = NULL;

    if (key_from_point(point, &key, err) < 0)
        return api_body_refuse(err);
    if (key_verify(key, message->data, message->len, signature, err) < 0)
        return err->code == ERROR_SYSTEM
                   ? -1
                   : error_problem(err, ERROR_DENIED, "refused",
                                   "a key did not sign for itself");
    return 0;
}

int
host_keys_check(const struct host_keys *keys, const char *label, const char *name,
                const uint8_t *token, struct error *err)
{
    CLEANUP(buf_clear) struct buf message = BUF(512);

    compose(keys, label, name, token, &message);
    if (!buf_ok(&message))
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (memcmp(keys->tls, keys->proof, sizeof keys->tls) == 0)
        return error_problem(err, ERROR_DENIED, "refused", "one key for two purposes");
    if (check_one(keys->tls, &message, keys->sig_tls, err) < 0 ||
        check_one(keys->proof, &message, keys->sig_proof, err) < 0)
        return -1;
    return 0;
}

int
host_keys_fingerprint(const struct host_keys *keys, const char *name,
                      const uint8_t token[static 32],
                      char ret[static HOST_FINGERPRINT_TEXT], struct error *err)
{
    CLEANUP(buf_clear) struct buf message = BUF(512);
    uint8_t digest[SHA256_LEN];

    compose(keys, "virtid-join-1", name, token, &message);
    if (!buf_ok(&message))
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (hash_sha256(message.data, message.len, digest, err) < 0)
        return -1;
    hex_encode(digest, 16, ret);
    return 0;
}

static int
keep(const struct buf *cert, uint8_t ret[static STORE_CERT_MAX], size_t *ret_len,
     struct error *err)
{
    if (!buf_ok(cert) || cert->len > STORE_CERT_MAX)
        return error_set(err, ERROR_SYSTEM, "host certificate of %zu bytes", cert->len);
    memcpy(ret, cert->data, cert->len);
    *ret_len = cert->len;
    return 0;
}

int
host_keys_certify(struct service *s, const char *name, const struct host_keys *keys,
                  int64_t now_ms, struct store_cert *ret, struct error *err)
{
    CLEANUP(buf_clear) struct buf tls = BUF(MINT_CERT_MAX);
    CLEANUP(buf_clear) struct buf proof = BUF(MINT_CERT_MAX);
    struct x509_info info;

    memset(ret, 0, sizeof *ret);
    if (mint_certify_host_tls(s->mint, name, keys->tls, &tls, err) < 0 ||
        mint_certify_host_proof(s->mint, name, keys->proof, &proof, err) < 0 ||
        keep(&tls, ret->tls_cert, &ret->tls_cert_len, err) < 0 ||
        keep(&proof, ret->proof_cert, &ret->proof_cert_len, err) < 0 ||
        x509_read(ret->tls_cert, ret->tls_cert_len, &info, err) < 0 ||
        hash_sha256(ret->tls_cert, ret->tls_cert_len, ret->sha256, err) < 0)
        return -1;
    memcpy(ret->host, name, strlen(name));
    memcpy(ret->proof, keys->proof, sizeof ret->proof);
    ret->state = CERT_NEXT;
    ret->made_ms = ret->changed_ms = now_ms;
    ret->ends_ms = info.not_after * 1000;
    return store_cert_add(s->store, ret, err);
}

int64_t
host_keys_now(const uint8_t *cert, size_t len, int64_t now_ms)
{
    struct x509_info info;
    struct error ignored;
    int64_t now = now_ms / 1000;

    return x509_read(cert, len, &info, &ignored) == 0 && info.not_before > now ? info.not_before : now;
}

int
host_keys_verify_proof(const struct service *s, const struct store_cert *cert,
                       int64_t now_ms, struct error *err)
{
    struct x509_der cas[MINT_CAS_MAX + 1];
    size_t n_cas = authority_host_cas(s, cas);
    struct x509_info info;
    char uri[256];

    if (x509_verify(cert->proof_cert, cert->proof_cert_len, X509_HOST_PROOF, cas, n_cas,
                    host_keys_now(cert->proof_cert, cert->proof_cert_len, now_ms), &info, err) < 0)
        return -1;
    snprintf(uri, sizeof uri, "spiffe://%s/host/%s", s->info.trust_domain, cert->host);
    if (strcmp(info.uri, uri) != 0 ||
        memcmp(info.point, cert->proof, sizeof info.point) != 0) /* public */
        return error_set(err, ERROR_DENIED, "the proof key is not the certificate's");
    return 0;
}

static int
add_pem(json_t *object, const char *name, const uint8_t *der, size_t len,
        struct error *err)
{
    CLEANUP(buf_clear) struct buf pem = BUF(16384);
    const char *text;

    if (x509_to_pem(der, len, &pem, err) < 0)
        return -1;
    text = buf_text(&pem);
    if (!text || json_object_set_new(object, name, json_string(text)) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory for an answer");
    return 0;
}

int
host_keys_answer(struct service *s, struct api_call *call,
                 const struct store_cert *cert, struct error *err)
{
    CLEANUP(json_decref)
    json_t *o = json_pack("{s:s,s:s,s:s,s:s}", "state", "joined", "issuer",
                          s->info.issuer, "trust_domain", s->info.trust_domain,
                          "guest_listener", s->info.guests);

    if (!o || json_set_bytes(o, "bundle", s->info.bundle, s->info.bundle_len) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory for an answer");
    if (add_pem(o, "tls_cert", cert->tls_cert, cert->tls_cert_len, err) < 0 ||
        add_pem(o, "proof_cert", cert->proof_cert, cert->proof_cert_len, err) < 0 ||
        add_pem(o, "ca", s->info.host_ca, s->info.host_ca_len, err) < 0)
        return -1;
    return api_body_answer(call, 200, STEAL(o), err);
}
