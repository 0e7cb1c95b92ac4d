#include "config.h"

#include "guestagent/commands.h"

#include <stdio.h>

#include "guestagent/agent_client.h"
#include "lib/common/log.h"

int
cmd_token(const struct conf *conf, const char *audience, int wait_seconds)
{
    CLEANUP(secret_free) struct secret *token = NULL;
    char socket_path[SOCKET_PATH_MAX];
    struct error err = { 0 };

    agent_socket_path(conf, socket_path);
    if (agent_client_token(socket_path, audience, wait_seconds, &token, &err) < 0) {
        log_error(&err, "no token for %s", audience);
        return exit_status_of(&err);
    }
    if (printf("%.*s\n", (int)token->len, (const char *)token->bytes) < 0 || fflush(stdout) != 0) {
        error_set(&err, ERROR_SYSTEM, "the token could not be written");
        log_error(&err, "token");
        return exit_status_of(&err);
    }
    return 0;
}
