/*
 * authority.h - which CAs count: those of the signer, whose change reaches every host before it is used
 *
 * Hosts say with each report which bundle they hold, and are told the newest.  docs/DECISIONS/030.
 */
#pragma once

#include "lib/crypto/x509.h"
#include "tokenservice/api/route.h"
#include "tokenservice/api/service_state.h"

/* A host that was silent for so long has no certificate that is good: nobody waits for it. */
enum { AUTHORITY_SEEN_MS = 25 * 3600 * 1000 };

/* CAs whose certificates are taken, borrowed from service->info; how many. */
size_t authority_host_cas(const struct service *service, struct x509_der ret[static MINT_CAS_MAX + 1]);
size_t authority_ek_cas(const struct service *service, struct x509_der ret[static MINT_CAS_MAX + 1]);

/*
 * The signer's list says that the CAs changed, or the service begins: ask what they are, record it (commits), and
 * have the listeners' certificate made anew if another CA issues.
 */
int authority_look(struct service *service, const struct api_call *call, const struct mint_keys *keys,
                   struct error *err);
/* A report of call->host: notes `?bundle=SERIAL`, and names the newest in the answer's head. */
void authority_report(struct service *service, struct api_call *call);

/*
 * How many hosts joined and were seen lately, and those of them that have not said that they hold the newest bundle:
 * an array of names.
 */
int authority_behind(struct service *service, int64_t now_ms, json_t *ret_names, size_t *ret_hosts, struct error *err);
void authority_clear(struct service *service);
