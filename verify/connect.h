/*
 * connect.h - which VM is at the other end of this connection?
 *
 * The client of docs/PROTOCOL-connect.md.  Not here: where the connection comes from.
 */
#pragma once

#include <stdint.h>

#include "lib/common/error.h"
#include "verify/virtid-verify.h"

struct connect_question {
    struct virtid_verifier *verifier; /* of the audience CONNECT_AUDIENCE */
    const char *name;                 /* the verifier's own, 1..255 printable ASCII */
    const char *expect;               /* a UUID, in either case of letters, or else the name of a VM */
    int64_t deadline_ms;              /* clock_monotonic_ms */
};

/*
 * Ask over the connected socket.  On success *ret_identity is yours.  On failure *ret_token_error is
 * what virtid_verify said, its result VIRTID_VALID if the failure is another one:
 * ERROR_BUSY (no answer), ERROR_DENIED with problem connect-proof, connect-expect, connect-refused.
 */
int connect_ask(const struct connect_question *question, int take_fd,
                struct virtid_identity **ret_identity, struct virtid_error *ret_token_error,
                struct error *err);
