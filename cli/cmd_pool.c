/*
 * virtid pool list, set, remove - which hosts stand in for one another
 */
#include "config.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/confirm.h"
#include "cli/daemon_client.h"
#include "cli/table.h"
#include "lib/wire/names.h"

enum { POOL_TEXT = 800 };

/* "a b c", and "..." where there are more than fit. */
static const char *
join_hosts(const json_t *hosts, char *ret, size_t size)
{
    size_t len = 0, i;
    json_t *host;

    ret[0] = '\0';
    json_array_foreach(hosts, i, host) {
        const char *name = json_string_value(host);

        if (!name || len + strlen(name) + sizeof " ..." > size) {
            snprintf(ret + len, size - len, "%s", i > 0 ? " ..." : "...");
            break;
        }
        len += (size_t)snprintf(ret + len, size - len, "%s%s", i > 0 ? " " : "", name);
    }
    return ret;
}

int
cmd_pool_list(const struct cli *cli, int argc, char **argv)
{
    static const char *const columns[] = { "Pool", "Hosts", "VMs that wait", NULL };
    CLEANUP(json_decref) json_t *answer = NULL;
    CLEANUP(table_free) struct table *table = NULL;
    const json_t *pools = NULL;
    struct error err = { 0 };
    json_t *pool;
    size_t i;

    (void)argv;
    if (argc != 1)
        return cli_usage("pool list takes no argument");
    if (daemon_ask(cli->service_socket, "GET", "/v1/admin/pools", NULL, &answer, &err) < 0 ||
        json_get_array(answer, "pools", false, SIZE_MAX, &pools, &err) < 0)
        return cli_fail(&err);
    if (cli->json)
        return cli_json(pools);
    if (table_new(columns, &table, &err) < 0)
        return cli_fail(&err);
    json_array_foreach(pools, i, pool) {
        char hosts[POOL_TEXT];
        const char *cells[] = { daemon_text(pool, "name", ""),
                                join_hosts(json_object_get(pool, "hosts"), hosts, sizeof hosts),
                                daemon_text(pool, "waiting", "") };

        if (table_row(table, cells, &err) < 0)
            return cli_fail(&err);
    }
    return table_print(table, &err) < 0 ? cli_fail(&err) : EXIT_DONE;
}

static void
print_hosts(const char *label, const json_t *hosts)
{
    char text[POOL_TEXT];

    if (json_array_size(hosts) > 0)
        printf("  %s: %s\n", label, join_hosts(hosts, text, sizeof text));
}

/* Who comes in, who leaves, and which fenced VMs wait for one of its hosts. */
static int
print_change(const struct cli *cli, const json_t *answer, const char *what)
{
    const json_t *added = json_object_get(answer, "added"), *removed = json_object_get(answer, "removed");
    int64_t waiting = json_integer_value(json_object_get(answer, "waiting"));

    if (cli->json)
        return cli_json(answer);
    if (json_array_size(added) + json_array_size(removed) == 0)
        what = "is as it was";
    printf("Pool '%s' %s\n", daemon_text(answer, "name", ""), what);
    print_hosts("comes in", added);
    print_hosts("leaves", removed);
    if (waiting > 0)
        printf("  %lld VMs of a host that was fenced wait for a host of it; virtid place names another\n",
               (long long)waiting);
    return EXIT_DONE;
}

int
cmd_pool_set(const struct cli *cli, int argc, char **argv)
{
    CLEANUP(json_decref) json_t *hosts = json_array();
    CLEANUP(json_decref) json_t *body = NULL;
    CLEANUP(json_decref) json_t *answer = NULL;
    struct error err = { 0 };

    if (argc < 3 || !name_is_pool(argv[1]))
        return cli_usage("pool set takes a name of [a-z0-9.-] and all of its hosts");
    for (int i = 2; i < argc; i++) {
        if (!name_is_host(argv[i]))
            return cli_usage("\"%.80s\" is no host name", argv[i]);
        json_array_append_new(hosts, json_string(argv[i]));
    }
    body = json_pack("{s:s, s:O}", "name", argv[1], "hosts", hosts);
    if (daemon_ask(cli->service_socket, "POST", "/v1/admin/pools", body, &answer, &err) < 0)
        return cli_fail(&err);
    return print_change(cli, answer, "is set");
}

int
cmd_pool_remove(const struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = { { "yes", no_argument, NULL, 'y' }, { 0 } };
    CLEANUP(json_decref) json_t *body = NULL;
    CLEANUP(json_decref) json_t *answer = NULL;
    struct error err = { 0 };
    bool yes = false;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'y')
            return cli_usage("wrong option");
        yes = true;
    }
    if (argc - optind != 1 || !name_is_pool(argv[optind]))
        return cli_usage("remove which pool?");
    if (confirm(yes, &err, "The VMs of the hosts of '%s' may then move to any host. Remove it?", argv[optind]) < 0)
        return cli_fail(&err);
    body = json_pack("{s:s}", "name", argv[optind]);
    if (daemon_ask(cli->service_socket, "POST", "/v1/admin/pools/remove", body, &answer, &err) < 0)
        return cli_fail(&err);
    return print_change(cli, answer, "is removed");
}
