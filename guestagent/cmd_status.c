#include "config.h"

#include "guestagent/commands.h"

#include <stdio.h>

#include "guestagent/agent_client.h"
#include "lib/common/log.h"

static void
print_text(const json_t *o, const char *name, const char *shown)
{
    struct error ignored;
    const char *text = NULL;

    if (json_get_string(o, name, true, 1024, &text, &ignored) == 0 && text)
        printf("%-9s%s\n", shown, text);
}

static void
print_number(const json_t *o, const char *name, const char *shown)
{
    const json_t *v = json_object_get(o, name);

    if (json_is_integer(v))
        printf("%-9s%lld\n", shown, (long long)json_integer_value(v));
}

/* Exit status 0: proved; 5: not yet. */
int
cmd_status(const struct conf *conf)
{
    CLEANUP(json_decref) json_t *o = NULL;
    char socket_path[SOCKET_PATH_MAX];
    struct error err = { 0 };
    const char *state = "";

    agent_socket_path(conf, socket_path);
    if (agent_client_ask(socket_path, "/v1/status", NULL, &o, &err) < 0 ||
        json_get_string(o, "state", false, 32, &state, &err) < 0) {
        log_error(&err, "status");
        return exit_status_of(&err);
    }
    print_text(o, "state", "State:");
    print_text(o, "uuid", "UUID:");
    print_text(o, "issuer", "Issuer:");
    print_number(o, "epoch", "Epoch:");
    print_number(o, "proofs", "Proofs:");
    print_number(o, "tokens", "Tokens:");
    print_text(o, "problem", "Problem:");
    print_text(o, "detail", "Detail:");
    print_text(o, "rules", "Rules:");
    print_text(o, "files", "Files:");
    return json_object_get(o, "problem") ? 5 : 0;
}
