/*
 * virtid retire - an identity ends, by an operator's word alone
 */
#include "config.h"

#include <getopt.h>
#include <stdio.h>

#include "cli/command.h"
#include "cli/confirm.h"
#include "cli/daemon_client.h"
#include "cli/identity.h"

static int
retire_one(const struct cli *cli, const json_t *vm, bool yes, json_t *results, struct error *err)
{
    CLEANUP(json_decref) json_t *answer = NULL;
    CLEANUP(json_decref) json_t *body = json_object();
    const char *name = daemon_text(vm, "name", ""), *uuid = daemon_text(vm, "uuid", "");
    char path[80];

    if (confirm(yes, err, "Domain '%s' (%s): its identity ends; it gets no more tokens, and no start with this UUID. "
                "Its guest, its disk and its TPM are left alone. Retire it?", name, uuid) < 0)
        return -1;
    snprintf(path, sizeof path, "/v1/admin/vms/%.36s/retire", uuid);
    if (daemon_ask(cli->service_socket, "POST", path, body, &answer, err) < 0)
        return -1;
    json_array_append(results, answer);
    if (!cli->json)
        printf("Domain '%s' retired\n", *name ? name : uuid);
    return 0;
}

int
cmd_retire(const struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = { { "yes", no_argument, NULL, 'y' }, { 0 } };
    CLEANUP(json_decref) json_t *list = NULL;
    CLEANUP(json_decref) json_t *results = json_array();
    struct error err = { 0 };
    int option, status = EXIT_DONE;
    bool yes = false;
    json_t *vm;
    size_t i;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'y')
            return cli_usage("wrong option");
        yes = true;
    }
    if (optind == argc)
        return cli_usage("retire which domain?");
    if (identity_find(cli, argv + optind, (size_t)(argc - optind), &list, &err) < 0)
        return cli_fail(&err);
    json_array_foreach(list, i, vm) {
        if (retire_one(cli, vm, yes, results, &err) < 0)
            status = cli_fail(&err);
    }
    if (cli->json)
        (void)cli_json(results);
    return status;
}
