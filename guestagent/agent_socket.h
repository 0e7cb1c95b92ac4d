/*
 * agent_socket.h - tokens for the workloads of this guest, on <run_dir>/agent.sock
 *
 * HTTP/1.1, one request per connection, header "X-Virtid: 1" required (a confused proxy can not send it).
 * The owner is served, and whom the rules name (peer.h, workloads.h).  The last two are for the owner alone.
 *
 *   GET  /v1/token?audience=A            -> {"token","expires_in"}
 *   GET  /v1/audiences                   -> {"any","audiences":[{"audience","file"?}]}
 *   GET  /v1/status                      -> {"state","problem"?,"detail"?,"uuid"?,"epoch"?,"proofs","tokens","rules"?,"files"?}
 *   POST /v1/pop {"verifier","nonce","exporter"} -> {"token","cnf","signature"}
 *   POST /v1/reload                      -> {}
 *
 * Refusals are problems (RFC 9457).  A connection by which systemd loads a credential is known by its address
 * (systemd.exec(5), LoadCredential=) and gets the token alone.
 */
#pragma once

#include "guestagent/guest_channel.h"
#include "guestagent/refresher.h"
#include "guestagent/rulebook.h"
#include "guestagent/token_files.h"
#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/crypto/key.h"

struct agent_socket;

struct agent_socket_options { /* borrowed for ever */
    const char *path;
    struct refresher *refresher;
    struct rulebook *rules;
    struct token_files *files;
    struct guest_channel *channel;
    const struct key *cnf;
};

/* Listens; each connection has a thread of its own, at most 16. */
int agent_socket_new(const struct agent_socket_options *options, struct agent_socket **ret,
                     struct error *err);
/* Accept until `stop_fd` is readable. */
int agent_socket_run(struct agent_socket *socket, int stop_fd, struct error *err);
/* Waits for the connections that are open (at most their deadline). */
void agent_socket_free(struct agent_socket *socket);
DEFINE_CLEANUP(struct agent_socket *, agent_socket_free);
