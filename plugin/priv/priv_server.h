/*
 * priv_server.h - the socket, its clients and the loop
 *
 * One request at a time per connection; its answer comes before the next is read.  Who
 * wants to cancel an injection opens a second connection.
 */
#pragma once

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "plugin/priv/priv_settings.h"

struct priv_server;

/* Listens at s->socket, which belongs to host_user; `s` is borrowed for life. */
int priv_server_new(struct priv_settings *s, struct priv_server **ret, struct error *err);
void priv_server_free(struct priv_server *server);
DEFINE_CLEANUP(struct priv_server *, priv_server_free);

/*
 * Until `signal_fd` says anything but SIGHUP; a write that has begun is finished first.  At SIGHUP the settings that
 * priv_server_new() was given are read again, between two requests.
 */
int priv_server_run(struct priv_server *server, int signal_fd, struct error *err);
