/*
 * agent_client.h - asks the running agent over its socket: for `token`, `exec`, `status` and `serve`
 */
#pragma once

#include <stddef.h>

#include "lib/common/error.h"
#include "lib/common/json.h"
#include "lib/common/secret.h"

/* The problem of a request that no agent answered. */
#define AGENT_ABSENT "no-agent"

/*
 * One request; `body` NULL: GET. A problem in the answer becomes *err with its detail.
 * ERROR_BUSY "no-agent": no agent runs there.
 */
int agent_client_ask(const char *socket_path, const char *target, const struct buf *body,
                     json_t **ret, struct error *err);
/*
 * A token for `audience`, not NUL-terminated; keeps trying for `wait_seconds`, and for what an agent takes that is
 * being restarted.
 */
int agent_client_token(const char *socket_path, const char *audience, int wait_seconds, struct secret **ret,
                       struct error *err);
/* `text` percent-encoded for a query. */
void agent_client_encode(const char *text, struct buf *into);
