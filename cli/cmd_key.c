/*
 * virtid key - which keys there are and what comes next; another one signs tokens, in order or at once
 */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/confirm.h"
#include "cli/daemon_client.h"
#include "cli/table.h"
#include "cli/when.h"

static int
ask(const struct cli *cli, json_t **ret, struct error *err)
{
    return daemon_ask(cli->service_socket, "GET", "/v1/admin/keys", NULL, ret, err);
}

static int
print_keys(const struct cli *cli, const json_t *answer, struct error *err)
{
    static const char *const COLUMNS[] = { "Kid", "Purpose", "State", "Made", "Next", NULL };
    CLEANUP(table_free) struct table *table = NULL;
    json_t *key;
    size_t i;

    if (cli->json) {
        (void)cli_json(answer);
        return 0;
    }
    if (table_new(COLUMNS, &table, err) < 0)
        return -1;
    json_array_foreach(json_object_get(answer, "keys"), i, key) {
        char made[WHEN_MAX], at[WHEN_MAX], in[WHEN_MAX], next[3 * WHEN_MAX] = "-";
        const json_t *next_at = json_object_get(key, "next_at");
        const char *cells[] = { daemon_text(key, "kid", "-"), daemon_text(key, "purpose", "-"),
                                daemon_text(key, "state", "-"), when_ago(json_object_get(key, "made"), made), next };

        if (!next_at && json_object_get(key, "next"))
            snprintf(next, sizeof next, "%.20s by your word", daemon_text(key, "next", "-"));
        if (next_at)
            snprintf(next, sizeof next, "%.20s %s (%s)", daemon_text(key, "next", "-"), when_ago(next_at, in),
                     when_at(next_at, at));
        if (table_row(table, cells, err) < 0)
            return -1;
    }
    return table_print(table, err);
}

int
cmd_key_list(const struct cli *cli, int argc, char **argv)
{
    CLEANUP(json_decref) json_t *answer = NULL;
    struct error err = { 0 };

    if (argc > 1)
        return cli_usage("unexpected \"%s\"", argv[1]);
    return ask(cli, &answer, &err) < 0 || print_keys(cli, answer, &err) < 0 ? cli_fail(&err) : EXIT_DONE;
}

int
cmd_key_rotate(const struct cli *cli, int argc, char **argv)
{
    bool bound = argc > 1 && strcmp(argv[1], "--bound") == 0;
    CLEANUP(json_decref) json_t *answer = NULL, *body = json_pack("{s:b}", "bound", bound);
    struct error err = { 0 };

    if (argc > 1 && strcmp(argv[1], "--ca") == 0)
        return cmd_key_rotate_ca(cli, argc, argv);
    if (argc > 1 + bound)
        return cli_usage("unexpected \"%s\"", argv[1 + bound]);
    if (daemon_ask(cli->service_socket, "POST", "/v1/admin/keys/rotate", body, &answer, &err) < 0)
        return cli_fail(&err);
    if (cli->json)
        return print_keys(cli, answer, &err) < 0 ? cli_fail(&err) : EXIT_DONE;
    printf("Key '%s' signs %stokens now; the one before stays published until its last token has ended\n",
           daemon_text(answer, bound ? "bound_kid" : "kid", "-"), bound ? "bound " : "");
    return EXIT_DONE;
}

/* The key that signs tokens and is named so, or NULL. */
static const json_t *
find_key(const json_t *answer, const char *kid)
{
    const json_t *key;
    size_t i;

    json_array_foreach(json_object_get(answer, "keys"), i, key) {
        const char *purpose = daemon_text(key, "purpose", "");

        if (strcmp(daemon_text(key, "kid", ""), kid) == 0 &&
            (strcmp(purpose, "token") == 0 || strcmp(purpose, "bound") == 0))
            return key;
    }
    return NULL;
}

static void
say_what_follows(const json_t *answer, const char *kid)
{
    const char *state = kid ? daemon_text(find_key(answer, kid), "state", "") : "";

    if (!kid)
        puts("All keys that sign tokens are dropped from the published set at once, and new ones are made.");
    else
        printf("Key '%s' (%s) is dropped from the published set at once, and destroyed.\n", kid, state);
    if (kid && strcmp(state, "next") == 0) {
        puts("It has signed nothing. Another one is published in its place.");
        return;
    }
    if (!kid || strcmp(state, "active") == 0)
        puts("A new key signs at once. Verifiers that do not fetch keys again for an unknown kid refuse its tokens "
             "until they do.");
    printf("Tokens that it signed fail at every verifier that has fetched the keys again: at most %s s from now "
           "(Cache-Control),\nor when they end, 5 minutes after they were made. Agents are told, and have new ones within 4 minutes. "
           "Verifiers that were\ngiven the keys as a file need the new ones: ISSUER/.well-known/jwks.json, for bound tokens ISSUER/bound/.well-known/jwks.json\n",
           daemon_text(answer, "max_age", "300"));
    if (kid)
        puts("If others may have read the signer's folder, they have all its keys: virtid key revoke --all, and see "
             "virtid-signer(8).");
}

static int
revoke(const struct cli *cli, const char *kid, bool yes, struct error *err)
{
    CLEANUP(json_decref) json_t *before = NULL, *answer = NULL;
    CLEANUP(json_decref) json_t *body = kid ? json_pack("{s:s}", "kid", kid) : json_pack("{s:b}", "all", true);

    if (ask(cli, &before, err) < 0)
        return -1;
    if (kid && !find_key(before, kid))
        return error_set(err, ERROR_MISSING, "no key that signs tokens is named \"%.50s\": virtid key list", kid);
    if (!cli->json)
        say_what_follows(before, kid);
    if (confirm(yes, err, "Revoke %s?", kid ? "it" : "all of them") < 0 ||
        daemon_ask(cli->service_socket, "POST", "/v1/admin/keys/revoke", body, &answer, err) < 0)
        return -1;
    if (cli->json)
        return print_keys(cli, answer, err);
    printf("Revoked; key '%s' signs tokens, '%s' bound ones\n", daemon_text(answer, "kid", "-"),
           daemon_text(answer, "bound_kid", "-"));
    return 0;
}

/* A kid may begin with "-", as base64url does: no getopt here. */
int
cmd_key_revoke(const struct cli *cli, int argc, char **argv)
{
    const char *kid = NULL;
    bool yes = false, all = false;
    struct error err = { 0 };

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--yes") == 0)
            yes = true;
        else if (strcmp(argv[i], "--all") == 0)
            all = true;
        else if (kid || strncmp(argv[i], "--", 2) == 0)
            return cli_usage("unexpected \"%s\"", argv[i]);
        else
            kid = argv[i];
    }
    if (all == (kid != NULL))
        return cli_usage("revoke which key? virtid key list names them; or --all");
    return revoke(cli, kid, yes, &err) < 0 ? cli_fail(&err) : EXIT_DONE;
}
