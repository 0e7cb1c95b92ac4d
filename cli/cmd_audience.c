/*
 * virtid audience add, list, remove - for whom tokens may be made
 */
#include "config.h"

#include <getopt.h>
#include <stdio.h>

#include "cli/command.h"
#include "cli/daemon_client.h"
#include "cli/identity.h"
#include "cli/table.h"
#include "lib/wire/names.h"

int
cmd_audience_add(const struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = { { "all", no_argument, NULL, 'a' },
                                             { "bound", no_argument, NULL, 'b' },
                                             { "claim", required_argument, NULL, 'c' },
                                             { 0 } };
    CLEANUP(json_decref) json_t *claims = json_array();
    CLEANUP(json_decref) json_t *body = NULL;
    CLEANUP(json_decref) json_t *answer = NULL;
    struct error err = { 0 };
    bool all = false, bound = false;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'a')
            all = true;
        else if (option == 'b')
            bound = true;
        else if (option == 'c')
            json_array_append_new(claims, json_string(optarg));
        else
            return cli_usage("wrong option");
    }
    if (argc - optind != 1 || !name_is_audience(argv[optind]))
        return cli_usage("an audience is 1 to 255 printable characters without space");
    body = json_pack("{s:s, s:b, s:b, s:O}", "name", argv[optind], "all", all, "bound", bound, "claims", claims);
    if (daemon_ask(cli->service_socket, "POST", "/v1/admin/audiences", body, &answer, &err) < 0)
        return cli_fail(&err);
    printf("Audience '%s' declared%s%s\n", argv[optind], bound ? ": its tokens count with a proof only" : "",
           all ? "" : "; allow it to a VM with: virtid set DOMAIN --audience NAME");
    return EXIT_DONE;
}

int
cmd_audience_list(const struct cli *cli, int argc, char **argv)
{
    static const char *const columns[] = { "Audience", "Tokens", "Allowed to", "Claims", NULL };
    CLEANUP(json_decref) json_t *answer = NULL;
    CLEANUP(table_free) struct table *table = NULL;
    const json_t *audiences = NULL;
    struct error err = { 0 };
    json_t *one;
    size_t i;

    (void)argv;
    if (argc != 1)
        return cli_usage("audience list takes no argument");
    if (daemon_ask(cli->service_socket, "GET", "/v1/admin/audiences", NULL, &answer, &err) < 0 ||
        json_get_array(answer, "audiences", false, SIZE_MAX, &audiences, &err) < 0)
        return cli_fail(&err);
    if (cli->json)
        return cli_json(audiences);
    if (table_new(columns, &table, &err) < 0)
        return cli_fail(&err);
    json_array_foreach(audiences, i, one) {
        char claims[100];
        const char *cells[] = { daemon_text(one, "name", ""),
                                json_is_true(json_object_get(one, "bound")) ? "bound" : "bearer",
                                json_is_true(json_object_get(one, "all")) ? "every VM"
                                                                           : "VMs that list it",
                                identity_join(json_object_get(one, "claims"), claims,
                                              sizeof claims) };

        if (table_row(table, cells, &err) < 0)
            return cli_fail(&err);
    }
    return table_print(table, &err) < 0 ? cli_fail(&err) : EXIT_DONE;
}

int
cmd_audience_remove(const struct cli *cli, int argc, char **argv)
{
    CLEANUP(json_decref) json_t *body = NULL;
    CLEANUP(json_decref) json_t *answer = NULL;
    struct error err = { 0 };

    if (argc != 2)
        return cli_usage("remove which audience?");
    body = json_pack("{s:s}", "name", argv[1]);
    if (!body)
        return cli_usage("an audience is printable text");
    if (daemon_ask(cli->service_socket, "POST", "/v1/admin/audiences/remove", body, &answer,
                   &err) < 0)
        return cli_fail(&err);
    printf("Audience '%s' removed\n", argv[1]);
    return EXIT_DONE;
}
