/*
 * daemon_client.h - one request to tokend's admin socket or to the host daemon
 *
 * Not here: what the requests are (docs/PROTOCOL-service.md).
 */
#pragma once

#include "cli/command.h"
#include "lib/common/json.h"

/*
 * Ask `socket` (a path).  `path` is the request's target, e.g. "/v1/admin/vms".
 * ERROR_BUSY names the daemon that does not answer and how to start it.
 * *ret_answer is NULL for an empty answer.
 */
int daemon_ask(const char *socket, const char *method, const char *path,
               const json_t *body, json_t **ret_answer, struct error *err);

/* The text of a member, or `fallback`. Integers and booleans are printed into a small static ring. */
const char *daemon_text(const json_t *object, const char *name, const char *fallback);
