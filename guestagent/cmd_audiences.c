#include "config.h"

#include "guestagent/commands.h"

#include <stdio.h>

#include "guestagent/agent_client.h"
#include "guestagent/token_files.h"
#include "lib/common/log.h"

/* One line each: the audience, and where its file is if it has one. */
static int
print_audiences(const json_t *list, const char *run_dir, struct error *err)
{
    const json_t *o;
    size_t i;

    json_array_foreach (list, i, o) {
        const char *audience = NULL, *file = NULL;

        if (json_get_string(o, "audience", false, NAME_AUDIENCE_MAX, &audience, err) < 0 ||
            json_get_string(o, "file", true, TOKEN_FILE_NAME_MAX, &file, err) < 0)
            return -1;
        if (file)
            printf("%s  %s/tokens/%s\n", audience, run_dir, file);
        else
            printf("%s\n", audience);
    }
    return 0;
}

int
cmd_audiences(const struct conf *conf)
{
    CLEANUP(json_decref) json_t *o = NULL;
    char socket_path[SOCKET_PATH_MAX];
    struct error err = { 0 };

    agent_socket_path(conf, socket_path);
    if (agent_client_ask(socket_path, "/v1/audiences", NULL, &o, &err) < 0 ||
        print_audiences(json_object_get(o, "audiences"), conf_text(conf, "agent.run_dir"), &err) < 0) {
        log_error(&err, "audiences");
        return exit_status_of(&err);
    }
    if (json_is_true(json_object_get(o, "any")))
        fputs("root may ask for any audience; named in the rules are those above\n", stderr);
    return 0;
}

int
cmd_reload(const struct conf *conf)
{
    CLEANUP(buf_clear) struct buf body = BUF(16);
    CLEANUP(json_decref) json_t *o = NULL;
    char socket_path[SOCKET_PATH_MAX];
    struct error err = { 0 };

    agent_socket_path(conf, socket_path);
    buf_add_text(&body, "{}");
    if (!buf_ok(&body))
        return 1;
    if (agent_client_ask(socket_path, "/v1/reload", &body, &o, &err) < 0) {
        log_error(&err, "the rules of before hold");
        return exit_status_of(&err);
    }
    return 0;
}
