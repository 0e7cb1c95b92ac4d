/*
 * virtid host add, approve, list, remove - who may run VMs of this trust domain
 */
#include "config.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/confirm.h"
#include "cli/daemon_client.h"
#include "cli/table.h"
#include "cli/when.h"
#include "lib/wire/names.h"

static int
ask_about(const struct cli *cli, const char *method, const char *name, const char *tail,
          const json_t *body, json_t **ret_answer, struct error *err)
{
    char path[200];

    if (!name_is_host(name))
        return error_set(err, ERROR_INPUT, "\"%.80s\" is no host name", name);
    snprintf(path, sizeof path, "/v1/admin/hosts/%s%s", name, tail);
    return daemon_ask(cli->service_socket, method, path, body, ret_answer, err);
}

int
cmd_host_add(const struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = { { "auto", no_argument, NULL, 'a' }, { 0 } };
    CLEANUP(json_decref) json_t *answer = NULL;
    CLEANUP(json_decref) json_t *body = NULL;
    struct error err = { 0 };
    bool automatic = false;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'a')
            return cli_usage("wrong option");
        automatic = true;
    }
    if (argc - optind != 1 || !name_is_host(argv[optind]))
        return cli_usage("host add takes one name of [a-z0-9.-]");
    body = json_pack("{s:s, s:b}", "name", argv[optind], "auto", automatic);
    if (daemon_ask(cli->service_socket, "POST", "/v1/admin/hosts", body, &answer, &err) < 0)
        return cli_fail(&err);
    if (cli->json)
        return cli_json(answer);
    printf("%s\n", daemon_text(answer, "code", ""));
    if (isatty(STDERR_FILENO))
        fprintf(stderr,
                "\nGive this line within 15 minutes to:  virtid-hostd join\non host %s%s.\n",
                argv[optind], automatic ? "" : ", then run  virtid host approve");
    return EXIT_DONE;
}

int
cmd_host_approve(const struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = { { "fingerprint", required_argument, NULL, 'f' },
                                             { 0 } };
    CLEANUP(json_decref) json_t *answer = NULL;
    CLEANUP(json_decref) json_t *body = json_object();
    struct error err = { 0 };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'f')
            return cli_usage("wrong option");
        json_object_set_new(body, "fingerprint", json_string(optarg));
    }
    if (argc - optind != 1)
        return cli_usage("approve which host?");
    if (ask_about(cli, "POST", argv[optind], "/approve", body, &answer, &err) < 0)
        return cli_fail(&err);
    printf("Host '%s' approved\n", argv[optind]);
    return EXIT_DONE;
}

/* "fenced" until it comes back in another boot; with a word more if it was not dead. */
static const char *
state_word(const json_t *host)
{
    if (!json_object_get(host, "fenced"))
        return daemon_text(host, "state", "");
    return json_is_true(json_object_get(host, "fenced_alive")) ? "fenced, alive" : "fenced";
}

int
cmd_host_list(const struct cli *cli, int argc, char **argv)
{
    static const char *const columns[] = { "Name", "State", "Fingerprint", "Last seen", "Pool", "VMs", "Hook", NULL };
    CLEANUP(json_decref) json_t *answer = NULL;
    CLEANUP(table_free) struct table *table = NULL;
    const json_t *hosts = NULL;
    json_t *host;
    struct error err = { 0 };
    size_t i;

    (void)argv;
    if (argc != 1)
        return cli_usage("host list takes no argument");
    if (daemon_ask(cli->service_socket, "GET", "/v1/admin/hosts", NULL, &answer, &err) < 0 ||
        json_get_array(answer, "hosts", false, SIZE_MAX, &hosts, &err) < 0)
        return cli_fail(&err);
    if (cli->json)
        return cli_json(hosts);
    if (table_new(columns, &table, &err) < 0)
        return cli_fail(&err);
    json_array_foreach(hosts, i, host) {
        char when[WHEN_MAX];
        const char *cells[] = { daemon_text(host, "name", ""), state_word(host),
                                daemon_text(host, "fingerprint", ""),
                                when_ago(json_object_get(host, "last_seen"), when),
                                daemon_text(host, "pool", ""), daemon_text(host, "vms", ""),
                                daemon_text(host, "hook", "") };

        if (table_row(table, cells, &err) < 0)
            return cli_fail(&err);
    }
    return table_print(table, &err) < 0 ? cli_fail(&err) : EXIT_DONE;
}

int
cmd_host_remove(const struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = { { "yes", no_argument, NULL, 'y' }, { 0 } };
    CLEANUP(json_decref) json_t *answer = NULL;
    struct error err = { 0 };
    bool yes = false;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'y')
            return cli_usage("wrong option");
        yes = true;
    }
    if (argc - optind != 1)
        return cli_usage("remove which host?");
    if (confirm(yes, &err, "Host '%s' loses its certificates; its VMs run on but get no tokens. Remove it?",
                argv[optind]) < 0)
        return cli_fail(&err);
    if (ask_about(cli, "DELETE", argv[optind], "", NULL, &answer, &err) < 0)
        return cli_fail(&err);
    printf("Host '%s' removed\n", argv[optind]);
    return EXIT_DONE;
}
