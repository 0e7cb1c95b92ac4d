/*
 * virtid lock, unlock - an identity is withheld for a while; the machine goes on
 */
#include "config.h"

#include <getopt.h>
#include <stdio.h>

#include "cli/command.h"
#include "cli/daemon_client.h"
#include "cli/identity.h"

enum word { LOCK, UNLOCK };

static int
say(const struct cli *cli, const json_t *vm, enum word word, const char *reason, json_t *results,
    struct error *err)
{
    CLEANUP(json_decref) json_t *answer = NULL;
    CLEANUP(json_decref) json_t *body = json_object();
    const char *name = daemon_text(vm, "name", ""), *uuid = daemon_text(vm, "uuid", ""), *done, *was;
    char path[80];

    if (!*name)
        name = uuid;
    if (reason && json_object_set_new(body, "reason", json_string(reason)) < 0)
        return error_set(err, ERROR_INPUT, "the reason is no UTF-8");
    snprintf(path, sizeof path, "/v1/admin/vms/%.36s/%s", uuid, word == LOCK ? "lock" : "unlock");
    if (daemon_ask(cli->service_socket, "POST", path, body, &answer, err) < 0)
        return -1;
    json_array_append(results, answer);
    if (cli->json)
        return 0;
    done = word == LOCK ? "locked" : "unlocked";
    was = word == LOCK ? "was locked already" : "was not locked";
    printf("Domain '%s' %s\n", name, json_is_true(json_object_get(answer, "changed")) ? done : was);
    return 0;
}

static int
run(const struct cli *cli, enum word word, const char *reason, char **words, size_t n_words)
{
    CLEANUP(json_decref) json_t *list = NULL;
    CLEANUP(json_decref) json_t *results = json_array();
    struct error err = { 0 };
    int status = EXIT_DONE;
    json_t *vm;
    size_t i;

    if (identity_find(cli, words, n_words, &list, &err) < 0)
        return cli_fail(&err);
    json_array_foreach(list, i, vm) {
        if (say(cli, vm, word, reason, results, &err) < 0)
            status = cli_fail(&err);
    }
    if (cli->json)
        (void)cli_json(results);
    return status;
}

int
cmd_lock(const struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = { { "reason", required_argument, NULL, 'r' }, { 0 } };
    const char *reason = NULL;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'r')
            return cli_usage("wrong option");
        reason = optarg;
    }
    if (optind == argc)
        return cli_usage("lock which domain?");
    return run(cli, LOCK, reason, argv + optind, (size_t)(argc - optind));
}

int
cmd_unlock(const struct cli *cli, int argc, char **argv)
{
    if (argc < 2)
        return cli_usage("unlock which domain?");
    return run(cli, UNLOCK, NULL, argv + 1, (size_t)argc - 1);
}
