/*
 * server_cert.h - the service's own TLS certificate: a key in memory, renewed every day
 */
#pragma once

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/crypto/tls.h"
#include "tokenservice/mint/mint_client.h"

/* One context for listeners that ask for no client certificate, one for the hosts'. */
struct server_cert {
    struct ssl_ctx_st *plain, *hosts;
    int64_t renew_after, ends; /* UTC, seconds */
};

/* A fresh key, a certificate of the signer, both contexts. */
int server_cert_make(struct mint *mint, const struct mint_info *info,
                     struct server_cert *ret, struct error *err);
/* Connections that use them go on. */
void server_cert_clear(struct server_cert *cert);
#define server_cert_clear_at server_cert_clear
