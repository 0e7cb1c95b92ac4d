/*
 * serve.h - answers virtid-verify --connect: TLS, a nonce, the token, and that it is ours
 *
 * docs/PROTOCOL-connect.md.  Holds no key that counts: the running agent makes the proof of possession over
 * the exporter of each connection.  At most 32 connections, 10 s each.
 */
#pragma once

#include "lib/common/cleanup.h"
#include "lib/common/error.h"

struct server;

/* "ADDRESS:PORT", "[ADDRESS]:PORT"; port 0: any. `agent_socket` is borrowed for ever. */
int server_new(const char *address, const char *agent_socket, struct server **ret,
               struct error *err);
/* Accept until `stop_fd` is readable. */
int server_run(struct server *server, int stop_fd, struct error *err);
void server_free(struct server *server);
DEFINE_CLEANUP(struct server *, server_free);
/* Where it listens, for the log. */
const char *server_address(const struct server *server);
