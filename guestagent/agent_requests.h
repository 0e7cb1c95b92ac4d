/*
 * agent_requests.h - what the agent answers on its socket, once it is known who asks
 */
#pragma once

#include "guestagent/agent_socket.h"
#include "guestagent/peer.h"
#include "lib/common/buf.h"
#include "lib/wire/http_message.h"

enum { AGENT_TOKEN_MS = 25000 /* a first proof with activation, and one repetition */ };

/* The answer on its way. */
struct reply {
    int status;
    const char *type;
    struct buf body; /* BUF(JSON_TEXT_MAX) */
};

/* One request, whole. -1: agent_refuse() it. */
int agent_answer(const struct agent_socket_options *agent, const struct peer *peer, const struct http_message *message,
                 const char *body, struct reply *reply, struct error *err);
void agent_refuse(struct reply *reply, const struct error *failure);
