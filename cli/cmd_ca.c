/*
 * virtid key rotate --ca, virtid key ca - the trust domain's CA turns in two steps; whom to trust meanwhile
 */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/confirm.h"
#include "cli/daemon_client.h"

/* The host CA in this state, or "". */
static const char *
find_ca(const json_t *keys, const char *state)
{
    const json_t *key;
    size_t i;

    json_array_foreach(json_object_get(keys, "keys"), i, key) {
        if (strcmp(daemon_text(key, "purpose", ""), "host-ca") == 0 && strcmp(daemon_text(key, "state", ""), state) == 0)
            return json_string_value(json_object_get(key, "kid"));
    }
    return "";
}

static int
ask_keys(const struct cli *cli, json_t **ret, struct error *err)
{
    return daemon_ask(cli->service_socket, "GET", "/v1/admin/keys", NULL, ret, err);
}

static int
ask_step(const struct cli *cli, const json_t *body, json_t **ret, struct error *err)
{
    return daemon_ask(cli->service_socket, "POST", "/v1/admin/ca/rotate", body, ret, err);
}

static int
publish(const struct cli *cli, struct error *err)
{
    CLEANUP(json_decref) json_t *answer = NULL, *keys = NULL, *body = json_object();

    if (ask_step(cli, body, &answer, err) < 0 || ask_keys(cli, &keys, err) < 0)
        return -1;
    if (cli->json)
        return cli_json(answer) == EXIT_DONE ? 0 : -1;
    printf("Next CA '%s' is published; nothing is by it yet. Hosts take it with their next reports, their guests from them.\n"
           "Give it to whoever has a copy of ca.pem (virtid key ca, or ISSUER/.well-known/virtid-ca.pem), and make a\n"
           "backup, which has its key (virtid backup). Then let it issue: virtid key rotate --ca\n",
           find_ca(keys, "next"));
    return 0;
}

static int
turn(const struct cli *cli, const char *kid, bool force, bool yes, struct error *err)
{
    CLEANUP(json_decref) json_t *answer = NULL;
    CLEANUP(json_decref) json_t *body = json_pack("{s:s,s:b}", "kid", kid, "force", force);

    if (!cli->json)
        printf("CA '%s' issues from now on; the key of the one before is destroyed. Whoever trusts that one alone does not "
               "connect any more:\nrelying parties with a copy of ca.pem of before%s.\n",
               kid, force ? ", and hosts that do not have the next CA: those join anew" : "");
    if (confirm(yes, err, "Let it issue?") < 0 || ask_step(cli, body, &answer, err) < 0)
        return -1;
    if (cli->json)
        return cli_json(answer) == EXIT_DONE ? 0 : -1;
    printf("CA '%s' issues now. Hosts renew their certificates as ever; those by the one before are taken for 25 hours\n",
           kid);
    return 0;
}

int
cmd_key_rotate_ca(const struct cli *cli, int argc, char **argv)
{
    CLEANUP(json_decref) json_t *keys = NULL;
    bool yes = false, force = false;
    const char *next;
    struct error err = { 0 };
    int failed;

    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--yes") == 0)
            yes = true;
        else if (strcmp(argv[i], "--force") == 0)
            force = true;
        else
            return cli_usage("unexpected \"%s\"", argv[i]);
    }
    if (ask_keys(cli, &keys, &err) < 0)
        return cli_fail(&err);
    next = find_ca(keys, "next");
    failed = next[0] ? turn(cli, next, force, yes, &err) : publish(cli, &err);
    return failed < 0 ? cli_fail(&err) : EXIT_DONE;
}

int
cmd_key_ca(const struct cli *cli, int argc, char **argv)
{
    CLEANUP(json_decref) json_t *answer = NULL;
    struct error err = { 0 };

    if (argc > 1)
        return cli_usage("unexpected \"%s\"", argv[1]);
    if (daemon_ask(cli->service_socket, "GET", "/v1/admin/ca", NULL, &answer, &err) < 0)
        return cli_fail(&err);
    if (cli->json)
        return cli_json(answer);
    fputs(daemon_text(answer, "pem", ""), stdout);
    return EXIT_DONE;
}
