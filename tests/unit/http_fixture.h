/*
 * http_fixture.h - a server in a thread of its own, with short deadlines and a small PKI
 *
 * Listeners: plain on a Unix socket, another one, urgent, with room for FIXTURE_SMALL connections, TLS with
 * client certificates on a free port.  The handler
 * answers "METHOD PATH BODY"; "/nothing" sets no status, "/who" tells the Unix peer, "/cert" the URI
 * of the client's certificate, "/exporter" the exporter in hex; "/v1/host/report" is that of an old token service.  Every helper asserts.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/crypto/key.h"
#include "lib/crypto/tls.h"
#include "lib/crypto/x509.h"

enum { FIXTURE_DEADLINE_MS = 600, FIXTURE_PER_ADDRESS = 20, FIXTURE_SMALL = 2 };

struct fixture_pki {
    struct key *ca_key, *other_ca_key, *server_key, *client_key;
    struct buf ca, other_ca, server, client, stranger; /* DER; stranger: client_key by other_ca */
};

struct fixture;

struct fixture *fixture_start(void);
void fixture_stop(struct fixture *f);
const struct fixture_pki *fixture_pki(const struct fixture *f);
const char *fixture_unix_path(const struct fixture *f);
unsigned fixture_port(const struct fixture *f);
unsigned fixture_served(struct fixture *f);      /* requests that a handler has seen */
void fixture_hold(struct fixture *f, bool hold); /* the next handler waits while held */
void fixture_drain(struct fixture *f, unsigned bound_ms); /* the server begins to; fixture_stop() as always */
void fixture_wait_drained(struct fixture *f);
bool fixture_post_and_wait(struct fixture *f);   /* a job ran on the worker */

int fixture_connect_unix(const struct fixture *f);
int fixture_connect_small(const struct fixture *f);
int fixture_connect_tcp(const struct fixture *f);
void fixture_send(int fd, const char *text);
/* Until `text` has been read. */
void fixture_read_until(int fd, const char *text);
/* Until end of file or reset; NUL-terminated. */
size_t fixture_read_end(int fd, char *ret, size_t room);
/* Until at least one can be read. */
void fixture_wait_any(const int *fds, size_t n);
/* Until the handler has had so many requests parked since the last call. */
void fixture_wait_parked(struct fixture *f, unsigned n);
/* Is there anything to be read, within 50 ms? */
int fixture_read_ready(int fd);
