#include "config.h"

#include "guestagent/commands.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "guestagent/agent_client.h"
#include "lib/common/clock.h"
#include "lib/common/error_map.h"
#include "lib/common/log.h"

/* An agent that is being restarted, by an upgrade for example, is back by then. */
enum { RESTART_MS = 3000 };

static int
ask_once(const char *socket_path, const char *target, struct error *err)
{
    CLEANUP(json_decref) json_t *o = NULL;
    const char *token = NULL;

    if (agent_client_ask(socket_path, target, NULL, &o, err) < 0 ||
        json_get_string(o, "token", false, JSON_STRING_MAX, &token, err) < 0)
        return -1;
    if (printf("%s\n", token) < 0 || fflush(stdout) != 0)
        return error_set(err, ERROR_SYSTEM, "the token could not be written");
    return 0;
}

int
cmd_token(const struct conf *conf, const char *audience, int wait_seconds)
{
    int64_t began = clock_monotonic_ms(), until = began + wait_seconds * (int64_t)1000;
    CLEANUP(buf_clear) struct buf target = BUF(1024);
    char socket_path[SOCKET_PATH_MAX];
    struct error err = { 0 };

    agent_socket_path(conf, socket_path);
    buf_add_text(&target, "/v1/token?audience=");
    agent_client_encode(audience, &target);
    if (!buf_text(&target)) {
        error_set(&err, ERROR_INPUT, "audience is too long");
        log_error(&err, "token");
        return exit_status_of(&err);
    }
    for (;;) {
        struct timespec pause = { 0, 250000000 };
        bool absent;

        err = (struct error){ 0 };
        if (ask_once(socket_path, buf_text(&target), &err) == 0)
            return 0;
        /* A refusal may end too: the host may still be registering this VM. */
        absent = strcmp(err.problem, AGENT_ABSENT) == 0;
        if (err.code == ERROR_INPUT ||
            clock_monotonic_ms() >= (absent && until < began + RESTART_MS ? began + RESTART_MS : until))
            break;
        if (!absent)
            pause = (struct timespec){ 1, 0 };
        (void)nanosleep(&pause, NULL);
    }
    log_error(&err, "no token for %s", audience);
    return exit_status_of(&err);
}
