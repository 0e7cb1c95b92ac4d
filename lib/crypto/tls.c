#include "config.h"

#include "lib/crypto/tls.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "lib/common/clock.h"
#include "lib/crypto/crypto_error.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/random.h"

DEFINE_CLEANUP(X509_STORE *, X509_STORE_free);

void
tls_ctx_free(struct ssl_ctx_st *ctx)
{
    SSL_CTX_free(ctx);
}

static int
parse(const uint8_t *der, size_t len, X509 **ret, struct error *err)
{
    const unsigned char *at = der;

    if (len == 0 || len > X509_DER_MAX || !(*ret = d2i_X509(NULL, &at, (long)len)) ||
        at != der + len)
        return crypto_error(err, ERROR_INPUT, "TLS: no DER certificate");
    return 0;
}

/* TLS 1.3 alone; nothing that resumes; the curves and signatures that our keys are. */
static int
restrict_ctx(SSL_CTX *ctx, struct error *err)
{
    if (!SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) ||
        !SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) ||
        !SSL_CTX_set1_groups_list(ctx, "X25519:P-256") ||
        !SSL_CTX_set1_sigalgs_list(ctx, "ECDSA+SHA256") ||
        !SSL_CTX_set_num_tickets(ctx, 0) || !SSL_CTX_set_max_early_data(ctx, 0) ||
        !SSL_CTX_set_recv_max_early_data(ctx, 0))
        return crypto_error(err, ERROR_SYSTEM, "TLS context");
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_NO_COMPRESSION);
    /* A chain here is a leaf under a root of ours. */
    SSL_CTX_set_verify_depth(ctx, 0);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return 0;
}

static int
new_ctx(const SSL_METHOD *method, SSL_CTX **ret, struct error *err)
{
    CLEANUP(tls_ctx_free) SSL_CTX *ctx = SSL_CTX_new(method);

    if (!ctx)
        return crypto_error(err, ERROR_SYSTEM, "TLS context");
    if (restrict_ctx(ctx, err) < 0)
        return -1;
    *ret = STEAL(ctx);
    return 0;
}

static int
use_identity(SSL_CTX *ctx, const struct tls_identity *identity, struct error *err)
{
    CLEANUP(X509_free) X509 *cert = NULL, *ca = NULL;

    if (parse(identity->cert_der, identity->cert_len, &cert, err) < 0)
        return -1;
    if (!SSL_CTX_use_certificate(ctx, cert) ||
        !SSL_CTX_use_PrivateKey(ctx, key_evp(identity->key)) ||
        !SSL_CTX_check_private_key(ctx))
        return crypto_error(err, ERROR_INPUT, "TLS: certificate and key do not fit");
    if (!identity->ca_der)
        return 0;
    if (parse(identity->ca_der, identity->ca_len, &ca, err) < 0)
        return -1;
    if (!SSL_CTX_add1_chain_cert(ctx, ca))
        return crypto_error(err, ERROR_SYSTEM, "TLS: chain");
    return 0;
}

static int
trust(SSL_CTX *ctx, const struct x509_der *cas, size_t n_cas, bool server,
      struct error *err)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);

    for (size_t i = 0; i < n_cas; i++) {
        CLEANUP(X509_free) X509 *ca = NULL;

        if (parse(cas[i].bytes, cas[i].len, &ca, err) < 0)
            return -1;
        if (!X509_STORE_add_cert(store, ca) ||
            (server && !SSL_CTX_add_client_CA(ctx, ca)))
            return crypto_error(err, ERROR_SYSTEM, "TLS: CA");
    }
    return 0;
}

static int
select_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_len,
            const unsigned char *offered, unsigned offered_len, void *arg)
{
    const char *ours = arg;
    size_t len = strlen(ours);

    (void)ssl;
    for (unsigned at = 0; at < offered_len; at += 1u + offered[at]) {
        if (offered[at] == len && at + 1 + len <= offered_len &&
            memcmp(offered + at + 1, ours, len) == 0) {
            *ret = offered + at + 1;
            *ret_len = (unsigned char)len;
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_NOACK;
}

/*
 * A client's certificate is by a CA of ours, which dates what it makes with the present: one that is still
 * to begin says that the clock here is behind.  Who runs must not lose its lease by that.
 */
static int
take_early(int good, X509_STORE_CTX *store_ctx)
{
    if (good || X509_STORE_CTX_get_error(store_ctx) != X509_V_ERR_CERT_NOT_YET_VALID)
        return good;
    X509_STORE_CTX_set_error(store_ctx, X509_V_OK);
    return 1;
}

int
tls_server_new(const struct tls_identity *identity, const struct x509_der *client_cas,
               size_t n_cas, const char *alpn, struct ssl_ctx_st **ret_ctx,
               struct error *err)
{
    CLEANUP(tls_ctx_free) SSL_CTX *ctx = NULL;

    if (new_ctx(TLS_server_method(), &ctx, err) < 0 ||
        use_identity(ctx, identity, err) < 0 ||
        trust(ctx, client_cas, n_cas, true, err) < 0)
        return -1;
    if (n_cas > 0)
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, take_early);
    if (alpn)
        SSL_CTX_set_alpn_select_cb(ctx, select_alpn, (void *)(uintptr_t)alpn);
    *ret_ctx = STEAL(ctx);
    return 0;
}

static int
check_name(SSL *ssl, int *ret_alert, void *arg)
{
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    X509 *own = SSL_CTX_get0_certificate(SSL_get_SSL_CTX(ssl));

    (void)arg;
    if (!name || X509_check_host(own, name, 0, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT,
                                 NULL) == 1)
        return SSL_TLSEXT_ERR_OK;
    *ret_alert = SSL_AD_UNRECOGNIZED_NAME;
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

void
tls_server_own_names_only(struct ssl_ctx_st *ctx)
{
    SSL_CTX_set_tlsext_servername_callback(ctx, check_name);
}

int
tls_client_setup(struct ssl_ctx_st *ctx, const struct x509_der *cas, size_t n_cas,
                 const struct tls_identity *identity, struct error *err)
{
    CLEANUP(X509_STORE_free) X509_STORE *store = X509_STORE_new();

    if (!store)
        return error_sys(err, ENOMEM, "TLS context");
    SSL_CTX_set_cert_store(ctx, STEAL(store)); /* empty: nobody else's CAs */
    if (restrict_ctx(ctx, err) < 0 || trust(ctx, cas, n_cas, false, err) < 0)
        return -1;
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    return identity ? use_identity(ctx, identity, err) : 0;
}

int
tls_client_new(const struct x509_der *cas, size_t n_cas,
               const struct tls_identity *identity, struct ssl_ctx_st **ret_ctx,
               struct error *err)
{
    CLEANUP(tls_ctx_free) SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    if (!ctx)
        return crypto_error(err, ERROR_SYSTEM, "TLS context");
    if (tls_client_setup(ctx, cas, n_cas, identity, err) < 0)
        return -1;
    *ret_ctx = STEAL(ctx);
    return 0;
}

/* A pinned fingerprint lives as long as its context: in a slot of the context's extra
 * data. */
static int pin_slot = -1;
static pthread_once_t pin_once = PTHREAD_ONCE_INIT;

static void
free_pin(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int slot, long argl, void *argp)
{
    (void)parent;
    (void)ad;
    (void)slot;
    (void)argl;
    (void)argp;
    free(ptr);
}

static void
make_pin_slot(void)
{
    pin_slot = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_pin);
}

static X509 *
find_pinned(STACK_OF(X509) * sent, const uint8_t sha256[static SHA256_LEN])
{
    for (int i = 0; i < sk_X509_num(sent) && i < X509_CHAIN_MAX; i++) {
        X509 *cert = sk_X509_value(sent, i);
        uint8_t digest[SHA256_LEN];
        unsigned len = 0;

        /* memcmp: a fingerprint is public */
        if (X509_digest(cert, EVP_sha256(), digest, &len) && len == sizeof digest &&
            memcmp(digest, sha256, sizeof digest) == 0 &&
            X509_self_signed(cert, 1) == 1)
            return cert;
    }
    return NULL;
}

/* The pinned certificate becomes the one root; all else is OpenSSL's own verification.
 */
static int
verify_pinned(X509_STORE_CTX *store_ctx, void *arg)
{
    X509 *root = find_pinned(X509_STORE_CTX_get0_untrusted(store_ctx), arg);
    STACK_OF(X509) * roots;
    int verified;

    if (!root) {
        X509_STORE_CTX_set_error(store_ctx, X509_V_ERR_CERT_UNTRUSTED);
        return 0;
    }
    roots = sk_X509_new_null();
    if (!roots || !sk_X509_push(roots, root)) {
        sk_X509_free(roots);
        X509_STORE_CTX_set_error(store_ctx, X509_V_ERR_OUT_OF_MEM);
        return 0;
    }
    X509_STORE_CTX_set0_trusted_stack(store_ctx, roots);
    verified = X509_verify_cert(store_ctx);
    X509_STORE_CTX_set0_trusted_stack(store_ctx, NULL);
    sk_X509_free(roots);
    return verified;
}

int
tls_client_setup_pinned(struct ssl_ctx_st *ctx, const uint8_t ca_sha256[static 32],
                        struct error *err)
{
    CLEANUP(mem_free) uint8_t *pin = NULL;

    if (tls_client_setup(ctx, NULL, 0, NULL, err) < 0)
        return -1;
    if (pthread_once(&pin_once, make_pin_slot) != 0 || pin_slot < 0)
        return crypto_error(err, ERROR_SYSTEM, "TLS context");
    pin = malloc(SHA256_LEN);
    if (!pin)
        return error_sys(err, ENOMEM, "TLS context");
    memcpy(pin, ca_sha256, SHA256_LEN);
    if (!SSL_CTX_set_ex_data(ctx, pin_slot, pin))
        return crypto_error(err, ERROR_SYSTEM, "TLS context");
    SSL_CTX_set_cert_verify_callback(ctx, verify_pinned, STEAL(pin));
    return 0;
}

int
tls_client_pinned_new(const uint8_t ca_sha256[static 32], struct ssl_ctx_st **ret_ctx,
                      struct error *err)
{
    CLEANUP(tls_ctx_free) SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    if (!ctx)
        return crypto_error(err, ERROR_SYSTEM, "TLS context");
    if (tls_client_setup_pinned(ctx, ca_sha256, err) < 0)
        return -1;
    *ret_ctx = STEAL(ctx);
    return 0;
}

void
tls_ctx_now(struct ssl_ctx_st *ctx, int64_t now)
{
    X509_VERIFY_PARAM_set_time(SSL_CTX_get0_param(ctx), (time_t)now);
}

int
tls_client_blind_new(struct ssl_ctx_st **ret_ctx, struct error *err)
{
    CLEANUP(tls_ctx_free) SSL_CTX *ctx = NULL;

    if (new_ctx(TLS_client_method(), &ctx, err) < 0)
        return -1;
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    *ret_ctx = STEAL(ctx);
    return 0;
}

/* One certificate of `kind` for `subject`, signed by `ca_key`. */
static int
compose(enum x509_kind kind, const char *name, const struct key *subject,
        const struct key *ca_key, const struct buf *ca, struct buf *into,
        struct error *err)
{
    CLEANUP(buf_clear) struct buf spki = BUF(256);
    uint8_t serial[16], point[KEY_POINT_LEN];
    struct x509_request request = { .kind = kind, .name = name, .serial = serial };

    key_point(subject, point);
    if (random_bytes(serial, sizeof serial, err) < 0 ||
        x509_spki_of_point(point, &spki, err) < 0)
        return -1;
    serial[0] = (serial[0] & 0x7f) | 0x40;
    request.spki = spki.data;
    request.spki_len = spki.len;
    request.now = clock_realtime_ms() / 1000;
    return x509_compose(&request, ca_key, ca ? ca->data : NULL, ca ? ca->len : 0, into,
                        err);
}

int
tls_server_throwaway_new(struct ssl_ctx_st **ret_ctx, struct error *err)
{
    CLEANUP(key_free) struct key *ca_key = NULL, *key = NULL;
    CLEANUP(buf_clear) struct buf ca = BUF(X509_DER_MAX), cert = BUF(X509_DER_MAX);
    struct tls_identity identity = { 0 };

    if (key_generate(&ca_key, err) < 0 || key_generate(&key, err) < 0 ||
        compose(X509_CA_HOST, "throwaway", ca_key, ca_key, NULL, &ca, err) < 0 ||
        compose(X509_SERVER, "virtid-connect", key, ca_key, &ca, &cert, err) < 0)
        return -1;
    identity.key = key;
    identity.cert_der = cert.data;
    identity.cert_len = cert.len;
    return tls_server_new(&identity, NULL, 0, NULL, ret_ctx, err);
}

int
tls_exporter(struct ssl_st *ssl, const char *label,
             uint8_t ret[static TLS_EXPORTER_LEN], struct error *err)
{
    if (!SSL_is_init_finished(ssl) || SSL_version(ssl) != TLS1_3_VERSION)
        return error_set(err, ERROR_INPUT,
                         "TLS exporter before the end of the handshake");
    if (SSL_export_keying_material(ssl, ret, TLS_EXPORTER_LEN, label, strlen(label),
                                   NULL, 0, 0) != 1)
        return crypto_error(err, ERROR_SYSTEM, "TLS exporter");
    return 0;
}

int
tls_peer_cert(struct ssl_st *ssl, uint8_t ret_der[static X509_DER_MAX], size_t *ret_len,
              struct error *err)
{
    X509 *cert = SSL_get0_peer_certificate(ssl);
    uint8_t *to = ret_der;
    int len;

    if (!cert)
        return error_set(err, ERROR_MISSING, "the peer gave no certificate");
    if (SSL_get_verify_result(ssl) != X509_V_OK)
        return error_set(err, ERROR_DENIED, "the peer's certificate was not verified");
    len = i2d_X509(cert, NULL);
    if (len <= 0 || len > X509_DER_MAX || i2d_X509(cert, &to) != len)
        return crypto_error(err, ERROR_INPUT, "the peer's certificate");
    *ret_len = (size_t)len;
    return 0;
}

const char *
tls_failure(long verify, const char *words)
{
    switch (verify) {
    case X509_V_OK:
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return "server-not-yet";
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "server-expired";
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
    case X509_V_ERR_CERT_UNTRUSTED:
    case X509_V_ERR_CERT_CHAIN_TOO_LONG: /* an issuer that we do not know is one too many */
        return "server-untrusted";
    default:
        return "";
    }
    if (strstr(words, "alert certificate expired"))
        return "client-expired";
    if (strstr(words, "alert unknown ca"))
        return "client-untrusted";
    return strstr(words, "alert bad certificate") ? "client-not-yet" : "";
}
