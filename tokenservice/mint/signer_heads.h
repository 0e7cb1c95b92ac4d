/*
 * signer_heads.h - heads of the audit: each record once, and never back
 */
#pragma once

#include "tokenservice/mint/signer_keys.h"

/*
 * Signs that the audit's newest record is the one of `request`, once that is durable.  ERROR_DENIED "audit-broken": a
 * later one was signed in this line, or another of this number.  A new line is given to whoever asks for one, and
 * stands in each head: it is seen, and says when it began.
 */
int signer_head(struct signer_keys *keys, const struct mint_request *request, int64_t now, struct audit_head *ret,
                struct error *err);
