/*
 * virtid accept - what a VM showed and was refused for is the right state: its proof may go on from it
 */
#include "config.h"

#include <getopt.h>
#include <stdio.h>

#include "cli/command.h"
#include "cli/confirm.h"
#include "cli/daemon_client.h"
#include "cli/identity.h"
#include "cli/when.h"

struct wish {
    bool yes, dry_run, all_behind;
};

static const char *
name_of(const json_t *vm)
{
    const char *name = daemon_text(vm, "name", "");

    return *name ? name : daemon_text(vm, "uuid", "");
}

static void
print_thumbprint(const char *label, const json_t *seen, const char *member)
{
    const char *hex = daemon_text(seen, member, "");

    printf("  %-10s %.16s\n", label, *hex ? hex : "none");
}

static void
say_what(const json_t *seen)
{
    char halves[32], when[WHEN_MAX];

    printf("Domain '%s' (%s) on host '%s'\n", name_of(seen), daemon_text(seen, "uuid", ""), daemon_text(seen, "host", ""));
    printf("  %-10s %s\n", "behind", identity_join(json_object_get(seen, "behind"), halves, sizeof halves));
    printf("  %-10s %s\n", "step", daemon_text(seen, "step", ""));
    printf("  %-10s %s\n", "first seen", when_ago(json_object_get(seen, "seen"), when));
    print_thumbprint("secret", seen, "cur");
    print_thumbprint("next", seen, "new");
    print_thumbprint("index", seen, "x");
}

static int
post(const struct cli *cli, const json_t *vm, const json_t *body, json_t **ret, struct error *err)
{
    char path[80];

    snprintf(path, sizeof path, "/v1/admin/vms/%.36s/accept", daemon_text(vm, "uuid", ""));
    return daemon_ask(cli->service_socket, "POST", path, body, ret, err);
}

/* Exactly what was shown is what is accepted. */
static int
give(const struct cli *cli, const json_t *seen, json_t **ret, struct error *err)
{
    CLEANUP(json_decref)
    json_t *body = json_pack("{s:O,s:O,s:O}", "cur", json_object_get(seen, "cur"), "new", json_object_get(seen, "new"),
                             "x", json_object_get(seen, "x"));

    if (!body)
        return error_set(err, ERROR_SYSTEM, "the service's answer does not say what was seen");
    return post(cli, seen, body, ret, err);
}

static int
accept_one(const struct cli *cli, const json_t *vm, const struct wish *wish, json_t *results, struct error *err)
{
    CLEANUP(json_decref) json_t *question = json_pack("{s:b}", "dry_run", 1);
    CLEANUP(json_decref) json_t *seen = NULL;
    CLEANUP(json_decref) json_t *answer = NULL;

    if (post(cli, vm, question, &seen, err) < 0)
        return error_wrap(err, "domain '%s'", name_of(vm));
    if (!cli->json)
        say_what(seen);
    if (wish->dry_run) {
        json_array_append(results, seen);
        return 0;
    }
    if (confirm(wish->yes, err, "Is that the state that it is to go on from? Older or copied ones are then refused. Accept it?") < 0 ||
        give(cli, seen, &answer, err) < 0)
        return error_wrap(err, "domain '%s'", name_of(vm));
    json_array_append(results, answer);
    if (!cli->json)
        printf("Domain '%s' accepted: its guest has 10 minutes to prove it; `virtid why` shows that\n", name_of(seen));
    return 0;
}

static int
read_options(int argc, char **argv, struct wish *ret)
{
    static const struct option options[] = { { "yes", no_argument, NULL, 'y' },
                                             { "dry-run", no_argument, NULL, 'n' },
                                             { "all-behind", no_argument, NULL, 'a' },
                                             { 0 } };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'y')
            ret->yes = true;
        else if (option == 'n')
            ret->dry_run = true;
        else if (option == 'a')
            ret->all_behind = true;
        else
            return cli_usage("wrong option");
    }
    if (ret->all_behind != (optind == argc))
        return cli_usage(ret->all_behind ? "--all-behind takes no domain" : "accept which domain?");
    return EXIT_DONE;
}

int
cmd_accept(const struct cli *cli, int argc, char **argv)
{
    CLEANUP(json_decref) json_t *list = NULL;
    CLEANUP(json_decref) json_t *results = json_array();
    struct wish wish = { .yes = false };
    struct error err = { 0 };
    int status = read_options(argc, argv, &wish);
    json_t *vm;
    size_t i;

    if (status != EXIT_DONE)
        return status;
    if (identity_find(cli, argv + optind, (size_t)(argc - optind), &list, &err) < 0)
        return cli_fail(&err);
    json_array_foreach(list, i, vm) {
        if (wish.all_behind && !json_is_true(json_object_get(vm, "behind")))
            continue;
        if (accept_one(cli, vm, &wish, results, &err) < 0)
            status = cli_fail(&err);
    }
    if (cli->json)
        (void)cli_json(results);
    return status;
}
