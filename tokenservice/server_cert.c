#include "config.h"

#include "tokenservice/server_cert.h"

#include "lib/crypto/key.h"
#include "lib/crypto/x509.h"

enum { RENEW_SECONDS = 24 * 60 * 60 }; /* it lives seven days */

int
server_cert_make(struct mint *mint, const struct mint_info *info,
                 struct server_cert *ret, struct error *err)
{
    CLEANUP(server_cert_clear) struct server_cert made = { .plain = NULL };
    CLEANUP(key_free) struct key *key = NULL;
    CLEANUP(buf_clear) struct buf cert = BUF(MINT_CERT_MAX);
    struct x509_der cas[MINT_CAS_MAX + 1] = { { info->host_ca, info->host_ca_len } };
    struct tls_identity identity = { .ca_der = info->host_ca,
                                     .ca_len = info->host_ca_len };
    uint8_t point[KEY_POINT_LEN];
    struct x509_info read;

    if (key_generate(&key, err) < 0)
        return -1;
    key_point(key, point);
    for (size_t i = 0; i < info->n_host_before; i++)
        cas[1 + i] = (struct x509_der){ info->host_before[i].der, info->host_before[i].len };
    if (mint_certify_server(mint, point, &cert, err) < 0 ||
        x509_read(cert.data, cert.len, &read, err) < 0)
        return error_wrap(err, "server certificate");
    made.renew_after = read.not_before + RENEW_SECONDS;
    made.ends = read.not_after;
    identity.key = key;
    identity.cert_der = cert.data;
    identity.cert_len = cert.len;
    if (tls_server_new(&identity, NULL, 0, "http/1.1", &made.plain, err) < 0 ||
        tls_server_new(&identity, cas, 1 + info->n_host_before, "http/1.1", &made.hosts, err) < 0)
        return -1;
    tls_server_own_names_only(made.plain);
    tls_server_own_names_only(made.hosts);
    *ret = made;
    made.plain = made.hosts = NULL;
    return 0;
}

void
server_cert_clear(struct server_cert *cert)
{
    tls_ctx_free(cert->plain);
    tls_ctx_free(cert->hosts);
    cert->plain = cert->hosts = NULL;
}
