/*
 * service_client.h - one TLS connection to the token service's guest listener: inside the channel, or over the guest's network
 *
 * HTTP/1.1 by lib/wire/http_message.h; the server's certificate must chain to the trust bundle and name the
 * bundle's guest listener.  Certificates are judged by the host's UTC: the guest's clock may be wrong.
 */
#pragma once

#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/wire/bundle.h"
#include "lib/wire/proof_msg.h"

struct service_client;

/* Connects to the bundle's guest listener over the guest's own network.  ERROR_BUSY: nobody answers there. */
int service_client_dial(const struct bundle *bundle, int64_t deadline_ms, int *ret_fd, struct error *err);
/* `take_fd` is connected to the guest listener. ERROR_BUSY: away; ERROR_DENIED: it is somebody else. */
int service_client_new(int take_fd, const struct bundle *bundle, int64_t utc_seconds,
                       int64_t deadline_ms, struct service_client **ret, struct error *err);
void service_client_free(struct service_client *client);
DEFINE_CLEANUP(struct service_client *, service_client_free);

/* EXPORTER-virtid-proof of this connection. */
void service_client_exporter(const struct service_client *client, uint8_t ret[static 32]);

/* Each fills *err from the service's problem when it refuses. */
int service_client_challenge(struct service_client *client, int64_t deadline_ms,
                             uint8_t ret_nonce[static NONCE_LEN], struct error *err);
int service_client_prove(struct service_client *client, const struct prove *prove,
                         int64_t deadline_ms, struct answer *ret, struct error *err);
