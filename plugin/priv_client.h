/*
 * priv_client.h - asking virtid-privd, one request on one connection
 *
 * Blocking: for worker threads, never for the main loop.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/common/error.h"
#include "lib/wire/priv_msg.h"

enum { PRIV_CLIENT_MS = 5000 };

/*
 * `fd` (or -1) goes with the request; `n_fds` descriptors are wanted back (0..2) and are yours.
 * ERROR_BUSY: privd is not there or did not answer by `deadline_ms` (clock_monotonic_ms); a refusal
 * of its own is *err as it came.
 */
int priv_client_ask(const char *socket, const struct priv_request *request, int fd,
                    int64_t deadline_ms, struct priv_answer *ret, int *ret_fds, size_t n_fds,
                    struct error *err);
