/*
 * prover.h - one proof of this VM, from the greeting to the token: steps G1 to G5
 *
 * docs/PROTOCOL-proof.md, 3.  Blocking and sequential; one thread.  Which factors it shows is decided by what
 * is there: host always, vtpm where there is a TPM, secret always.  A TPM that was there and is not now is
 * an error, never a proof with less.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "guestagent/guest_channel.h"
#include "guestagent/slots.h"
#include "guestagent/trust.h"
#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/common/secret.h"

struct prover;

struct prover_options { /* borrowed for ever */
    struct guest_channel *channel;
    struct trust *trust;
    struct slots *slots;
    const char *tcti; /* "auto": device:/dev/tpmrm0 if there is one; "none"; or a TCTI configuration */
    const char *password_file; /* of the endorsement hierarchy's password; "": none */
    bool direct; /* the service is reached over the guest's own network; the host's signature never is */
    const uint8_t *cnf; /* point of the key that bound tokens, and those for virtid-connect, name */
};

struct proof_token {
    struct secret *text; /* not NUL-terminated; yours */
    int64_t asked_ms;    /* clock_monotonic_ms before the request: life counts from here */
    int64_t answered_ms; /* when the answer came: the next proof's nonce is good from half a life after it */
    int64_t expires_in;  /* seconds */
    int64_t asked_utc_ms;
    uint64_t epoch;
};

int prover_new(const struct prover_options *options, struct prover **ret, struct error *err);
void prover_free(struct prover *prover);
DEFINE_CLEANUP(struct prover *, prover_free);

/*
 * A token for `audience`.  Problems besides the service's own: no-channel, unavailable, tpm-gone,
 * tpm-endorsement-auth, no-sync, sync-failed.  ERROR_BUSY and ERROR_SYSTEM: try again later.
 */
int prover_token(struct prover *prover, const char *audience, struct proof_token *ret,
                 struct error *err);

/* Facts for `virtid-agent status`: "host", "host+vtpm", "host+secret", "host+vtpm+secret", or "" before the first proof. */
const char *prover_factors(const struct prover *prover);
