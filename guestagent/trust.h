/*
 * trust.h - the trust bundle this guest holds, and whose greetings it answers
 *
 * The bundle lies in <state_dir>/bundle as it was signed.  The first one is taken on trust in the
 * host (which is the VM anyway) and logged; afterwards only a higher serial signed under the one held.
 * Issuer and UUID never change while the process runs.  Thread-safe.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/wire/bundle.h"
#include "lib/wire/frame.h"

struct trust;

/*
 * Read what is there.  A missing bundle is no error; a damaged one (not decodable, not signed by
 * itself) is set aside as "bundle.bad" and counts as missing, with a line in the log.
 */
int trust_open(const char *state_dir, struct trust **ret, struct error *err);
void trust_free(struct trust *trust);
DEFINE_CLEANUP(struct trust *, trust_free);

/*
 * Judge a HELLO: 0 and the serial held, after taking its bundle if it may be taken (durable before
 * this returns).  ERROR_DENIED: problem "bundle-missing", "issuer-changed" or "uuid-changed".
 */
int trust_offer(struct trust *trust, const struct hello *hello, uint64_t *ret_serial,
                struct error *err);

/* A copy of the bundle held. ERROR_MISSING: none yet. */
int trust_bundle(struct trust *trust, struct bundle *ret, struct error *err);
