/*
 * signer_claims.h - what a token says: composed from the checked row, never from a caller's text
 */
#pragma once

#include "lib/common/error.h"
#include "lib/common/json.h"
#include "tokenservice/mint/mint_msg.h"

/*
 * The claims of docs/PROTOCOL-service.md; *ret is yours.  ERROR_DENIED: the row's state is not ok, it has
 * no grant, the factors do not hold its floor or are not in it.  ERROR_INPUT: audience or flags.
 */
int signer_claims(const struct mint_info *info, const struct identity_row *row,
                  const struct mint_token_request *request, json_t **ret, struct error *err);
