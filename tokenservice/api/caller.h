/*
 * caller.h - who asks: a joined host by its certificate, an administrator by the uid of
 * the socket's peer
 *
 * Asked anew at every request, so that a removal takes effect on open connections
 * (CHECKS C13).
 */
#pragma once

#include "lib/crypto/x509.h"
#include "tokenservice/api/route.h"

/* Who still sends on a connection of before the renewal, from a long provisioning, is
 * no thief. */
enum { CALLER_RETIRED_MS = 15 * 60 * 1000 };

/*
 * Fills call->host and call->who.  The first use of a renewed certificate retires the
 * one before; use of a retired one locks the host, which is an alarm (CHECKS C37).
 * ERROR_DENIED: "no-client-certificate"; "certificate-unknown" for one that caller_lost_host() takes; or the one
 * word "refused" for all else.
 */
int caller_host(struct service *service, struct api_call *call, struct error *err);

/*
 * A certificate of ours that the database does not know and that was made after its newest record: the host that it
 * names, joined, into call->host and call->who.  Within `txn`.  ERROR_DENIED "refused": it is none of these.
 */
int caller_lost_host(struct service *service, struct store *txn, struct api_call *call, struct x509_info *ret_cert,
                     struct error *err);

/* ERROR_DENIED "not-admin": not uid 0, the service's own, or in the admin group. */
int caller_admin(struct service *service, struct api_call *call, struct error *err);
