/*
 * listeners.h - where the token service listens: bound as root, served as the service's user, each within its limits
 */
#pragma once

#include <sys/types.h>

#include "lib/common/error.h"
#include "lib/http/http_server.h"
#include "tokenservice/api/route.h"
#include "tokenservice/server_cert.h"
#include "tokenservice/tokend_conf.h"

enum { LISTEN_PUBLIC, LISTEN_HOSTS, LISTEN_GUESTS, LISTEN_ADMIN, LISTEN_METRICS, LISTENERS };

struct listeners {
    int fds[LISTENERS]; /* bound, not yet given to the server; -1 */
    char addresses[LISTENERS][64]; /* "127.0.0.1:8443", "[::1]:8443"; "" nowhere */
    struct route_context contexts[LISTENERS];
};

/* First of all. */
void listeners_init(struct listeners *l);
/* Binds them all.  The admin socket, whose folder is there, is given to owner and group; (uid_t)-1, (gid_t)-1: stays. */
int listeners_open(struct listeners *l, const struct tokend_conf *conf, uid_t admin_owner, gid_t admin_group,
                   struct error *err);
/* Has `server` answer on them; all but `err` are borrowed for the server's life. */
int listeners_serve(struct listeners *l, struct http_server *server, struct service *service,
                    const struct server_cert *cert, void (*broken)(const struct error *err), struct error *err);
/* Those that were not given to the server. */
void listeners_close(struct listeners *l);
