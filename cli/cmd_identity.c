/*
 * virtid list, info, place, set - identities as the token service holds them
 */
#include "config.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/daemon_client.h"
#include "cli/identity.h"
#include "cli/libvirt.h"
#include "cli/table.h"
#include "cli/when.h"
#include "lib/wire/names.h"

/* On a host with manage=all: domains that lack the channel. They have no identity, and are shown beside those. */
static int
add_no_channel(const struct cli *cli, json_t *list)
{
    char path[80] = "/v1/no-channel";
    int added = 0;

    while (path[0]) {
        CLEANUP(json_decref) json_t *answer = NULL;
        const json_t *domains = NULL;
        const char *next = NULL;
        struct error none;
        json_t *domain;
        size_t i;

        if (daemon_ask(cli->host_socket, "GET", path, NULL, &answer, &none) < 0 ||
            json_get_array(answer, "domains", false, SIZE_MAX, &domains, &none) < 0 ||
            json_get_string(answer, "next", true, 40, &next, &none) < 0)
            break;
        json_array_foreach(domains, i, domain) {
            json_object_set_new(domain, "state", json_string("no-channel"));
            json_array_append(list, domain);
            added++;
        }
        path[0] = '\0';
        if (next)
            snprintf(path, sizeof path, "/v1/no-channel?after=%s", next);
    }
    return added;
}

int
cmd_list(const struct cli *cli, int argc, char **argv)
{
    static const char *const columns[] = { "UUID", "Name", "State", "Host", "Lease", "Factors",
                                           "Last token", NULL };
    CLEANUP(json_decref) json_t *list = NULL;
    CLEANUP(table_free) struct table *table = NULL;
    struct error err = { 0 };
    int without = 0;
    json_t *vm;
    size_t i;

    if (identity_find(cli, argv + 1, (size_t)argc - 1, &list, &err) < 0)
        return cli_fail(&err);
    if (argc == 1)
        without = add_no_channel(cli, list);
    if (cli->json)
        return cli_json(list);
    if (table_new(columns, &table, &err) < 0)
        return cli_fail(&err);
    json_array_foreach(list, i, vm) {
        char when[WHEN_MAX], factors[64];
        const char *cells[] = { daemon_text(vm, "uuid", ""),
                                daemon_text(vm, "name", ""),
                                daemon_text(vm, "state", ""),
                                daemon_text(vm, "host", ""),
                                daemon_text(vm, "lease", ""),
                                identity_join(json_object_get(vm, "factors"), factors,
                                              sizeof factors),
                                when_ago(json_object_get(vm, "last_token"), when) };

        if (table_row(table, cells, &err) < 0)
            return cli_fail(&err);
    }
    if (table_print(table, &err) < 0)
        return cli_fail(&err);
    if (without > 0)
        printf("no-channel: not managed; virtid enable DOMAIN adds what an identity needs\n");
    return EXIT_DONE;
}

/* Every member on a line of its own; members of objects as "outer inner". */
static void
print_members(const char *prefix, const json_t *object)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)object, name, value) {
        char label[64], joined[400], when[WHEN_MAX];

        snprintf(label, sizeof label, "%s%s%s", prefix, *prefix ? " " : "", name);
        for (char *at = label; *at; at++) {
            if (*at == '_')
                *at = ' ';
        }
        if (json_is_object(value))
            print_members(label, value);
        else if (json_is_array(value))
            table_pair(label, identity_join(value, joined, sizeof joined));
        else if (json_is_integer(value) && json_integer_value(value) > 1500000000000)
            table_pair(label, when_ago(value, when));
        else if (!json_is_null(value))
            table_pair(label, daemon_text(object, name, ""));
    }
}

/* Where it was and is: "on A since T until U". */
static void
print_trail(const json_t *trail, bool more)
{
    char line[200], since[WHEN_MAX], until[WHEN_MAX];
    json_t *stay;
    size_t i;

    json_array_foreach(trail, i, stay) {
        const json_t *end = json_object_get(stay, "until");

        snprintf(line, sizeof line, "%son %s since %s%s%s%s%s%s", more && i == 0 ? "... " : "",
                 daemon_text(stay, "host", ""), when_at(json_object_get(stay, "since"), since),
                 end ? " until " : "", end ? when_at(end, until) : "", end ? " (" : "",
                 end ? daemon_text(stay, "end", "") : "", end ? ")" : "");
        table_pair("trail", line);
    }
}

int
cmd_info(const struct cli *cli, int argc, char **argv)
{
    CLEANUP(json_decref) json_t *list = NULL;
    CLEANUP(json_decref) json_t *full = json_array();
    struct error err = { 0 };
    json_t *vm;
    size_t i;

    if (argc < 2)
        return cli_usage("which domain?");
    if (identity_find(cli, argv + 1, (size_t)argc - 1, &list, &err) < 0)
        return cli_fail(&err);
    json_array_foreach(list, i, vm) {
        json_t *one = NULL;

        if (identity_read(cli, daemon_text(vm, "uuid", ""), &one, &err) < 0)
            return cli_fail(&err);
        json_array_append_new(full, one);
    }
    if (cli->json)
        return cli_json(full);
    json_array_foreach(full, i, vm) {
        json_t *trail = json_incref(json_object_get(vm, "trail"));
        bool more = json_is_true(json_object_get(vm, "trail_more"));

        json_object_del(vm, "trail");
        json_object_del(vm, "trail_more");
        print_members("", vm);
        print_trail(trail, more);
        json_decref(trail);
        putchar('\n');
    }
    return EXIT_DONE;
}

int
cmd_place(const struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = { { "force", no_argument, NULL, 'f' },
                                             { "reincarnate", no_argument, NULL, 'r' },
                                             { "new-vtpm", no_argument, NULL, 'v' },
                                             { 0 } };
    CLEANUP(json_decref) json_t *list = NULL;
    CLEANUP(json_decref) json_t *answer = NULL;
    CLEANUP(json_decref) json_t *body = NULL;
    struct error err = { 0 };
    bool force = false, reincarnate = false, new_vtpm = false;
    char path[80];
    const char *uuid;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'f' && option != 'r' && option != 'v')
            return cli_usage("wrong option");
        *(option == 'f' ? &force : option == 'r' ? &reincarnate : &new_vtpm) = true;
    }
    if (argc - optind != 2 || !name_is_host(argv[optind + 1]))
        return cli_usage("place takes one domain and one host");
    if (reincarnate && new_vtpm)
        return cli_usage("--reincarnate takes any vTPM: say one of both");
    /* A UUID never seen can be placed too, before its first claim. */
    if (identity_find(cli, argv + optind, 1, &list, &err) < 0 &&
        (err.code != ERROR_MISSING || strlen(argv[optind]) != 36))
        return cli_fail(&err);
    if (list && json_array_size(list) != 1)
        return cli_usage("place one domain at a time");
    uuid = list ? daemon_text(json_array_get(list, 0), "uuid", "") : argv[optind];
    snprintf(path, sizeof path, "/v1/admin/vms/%.36s/place", uuid);
    body = json_pack("{s:s, s:b, s:b}", "host", argv[optind + 1], "force", force, "reincarnate", reincarnate);
    if (new_vtpm) /* an older service knows no such member */
        json_object_set_new(body, "new_vtpm", json_true());
    if (daemon_ask(cli->service_socket, "POST", path, body, &answer, &err) < 0)
        return cli_fail(&err);
    printf("Domain '%s' placed on host '%s'\n", argv[optind], argv[optind + 1]);
    if (new_vtpm)
        printf("If its vTPM state is not there, it may come with a new one, within an hour: start it on '%s'\n",
               argv[optind + 1]);
    return EXIT_DONE;
}

/* The wishes of `set`: members of a PATCH body, filled from options. */
static int
read_wishes(int argc, char **argv, json_t *body, json_t *labels, json_t *audiences)
{
    static const struct option options[] = { { "owner", required_argument, NULL, 'o' },
                                             { "label", required_argument, NULL, 'l' },
                                             { "floor", required_argument, NULL, 'f' },
                                             { "audience", required_argument, NULL, 'a' },
                                             { "mode", required_argument, NULL, 'm' },
                                             { "restore", required_argument, NULL, 'r' },
                                             { 0 } };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'm') {
            json_object_set_new(body, "mode", json_string(optarg));
        } else if (option == 'r') {
            json_object_set_new(body, "restore", json_string(optarg));
        } else if (option == 'o') {
            json_object_set_new(body, "owner", json_string(optarg));
        } else if (option == 'a') {
            json_array_append_new(audiences, json_string(optarg));
        } else if (option == 'l') {
            char *equals = strchr(optarg, '=');

            if (!equals)
                return -1;
            *equals = '\0';
            json_object_set_new(labels, optarg, json_string(equals + 1));
        } else if (option == 'f') {
            json_t *floor = json_array();
            char *save = NULL;

            for (char *word = strtok_r(optarg, "+,", &save); word;
                 word = strtok_r(NULL, "+,", &save))
                json_array_append_new(floor, json_string(word));
            json_object_set_new(body, "floor", floor);
        } else {
            return -1;
        }
    }
    return 0;
}

/* What it has now, with the wished names added or (written -NAME) taken away. */
static json_t *
change_audiences(const json_t *has, const json_t *wishes)
{
    json_t *result = json_is_array(has) ? json_copy((json_t *)(uintptr_t)has) : json_array();
    json_t *wish;
    size_t i;

    json_array_foreach(wishes, i, wish) {
        const char *name = json_string_value(wish);
        bool take = name[0] == '-';

        for (size_t k = json_array_size(result); k-- > 0;) {
            if (!strcmp(json_string_value(json_array_get(result, k)), name + take))
                json_array_remove(result, k);
        }
        if (!take)
            json_array_append(result, wish);
    }
    return result;
}

/* The same for labels; an empty value takes one away. */
static json_t *
change_labels(const json_t *has, const json_t *wishes)
{
    json_t *result = json_is_object(has) ? json_copy((json_t *)(uintptr_t)has) : json_object();
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)wishes, name, value) {
        if (*json_string_value(value))
            json_object_set(result, name, value);
        else
            json_object_del(result, name);
    }
    return result;
}

static int
set_one(const struct cli *cli, const char *uuid, const json_t *body, const json_t *labels,
        const json_t *audiences, struct error *err)
{
    bool adds = json_array_size(audiences) > 0 || json_object_size(labels) > 0;
    CLEANUP(json_decref) json_t *now = NULL;
    CLEANUP(json_decref) json_t *patch = json_copy((json_t *)(uintptr_t)body);
    CLEANUP(json_decref) json_t *answer = NULL;
    char path[80];

    if (adds && identity_read(cli, uuid, &now, err) < 0)
        return -1;
    if (json_array_size(audiences) > 0)
        json_object_set_new(patch, "audiences",
                            change_audiences(json_object_get(now, "audiences"), audiences));
    if (json_object_size(labels) > 0)
        json_object_set_new(patch, "labels",
                            change_labels(json_object_get(now, "labels"), labels));
    snprintf(path, sizeof path, "/v1/admin/vms/%s", uuid);
    return daemon_ask(cli->service_socket, "PATCH", path, patch, &answer, err);
}

/*
 * A mode can be set before a VM's first claim: then the service does not know it, and it is named by its
 * UUID, or by libvirt where this is one of its hosts.
 */
static int
find_unclaimed(const struct cli *cli, char **words, size_t n_words, json_t **ret_list, struct error *err)
{
    CLEANUP(libvirt_close) struct libvirt *libvirt = NULL;
    CLEANUP(json_decref) json_t *list = json_array();
    struct error why;

    (void)libvirt_open(cli->uri, true, &libvirt, &why);
    for (size_t i = 0; i < n_words; i++) {
        CLEANUP(mem_free) struct libvirt_domain *domains = NULL;
        CLEANUP(json_decref) json_t *known = NULL;
        struct vm_uuid uuid;
        size_t n = 0;

        if (identity_find(cli, &words[i], 1, &known, err) == 0) {
            json_array_extend(list, known);
            continue;
        }
        if (err->code != ERROR_MISSING)
            return -1;
        if (libvirt && libvirt_find(libvirt, &words[i], 1, &domains, &n, &why) == 0) {
            for (size_t k = 0; k < n; k++)
                json_array_append_new(list, json_pack("{s:s,s:s}", "uuid", domains[k].uuid, "name", domains[k].name));
        } else if (vm_uuid_parse(words[i], &uuid, &why) == 0) {
            json_array_append_new(list, json_pack("{s:s,s:s}", "uuid", words[i], "name", words[i]));
        } else {
            return -1;
        }
    }
    *ret_list = STEAL(list);
    return 0;
}

static int
find_to_set(const struct cli *cli, char **words, size_t n_words, bool mode_alone, json_t **ret_list,
            struct error *err)
{
    if (mode_alone)
        return find_unclaimed(cli, words, n_words, ret_list, err);
    return identity_find(cli, words, n_words, ret_list, err);
}

int
cmd_set(const struct cli *cli, int argc, char **argv)
{
    CLEANUP(json_decref) json_t *list = NULL;
    CLEANUP(json_decref) json_t *body = json_object();
    CLEANUP(json_decref) json_t *labels = json_object();
    CLEANUP(json_decref) json_t *audiences = json_array();
    struct error err = { 0 };
    int status = EXIT_DONE;
    json_t *vm;
    size_t i;

    if (read_wishes(argc, argv, body, labels, audiences) < 0)
        return cli_usage("wrong option of set");
    if (optind == argc)
        return cli_usage("which domain?");
    if (!json_object_size(body) && !json_object_size(labels) && !json_array_size(audiences))
        return cli_usage("set what?");
    if (find_to_set(cli, argv + optind, (size_t)(argc - optind),
                    json_object_size(body) == 1 && json_object_get(body, "mode") && !json_object_size(labels) &&
                        !json_array_size(audiences),
                    &list, &err) < 0)
        return cli_fail(&err);
    json_array_foreach(list, i, vm) {
        if (set_one(cli, daemon_text(vm, "uuid", ""), body, labels, audiences, &err) < 0)
            status = cli_fail(&err);
        else
            printf("Domain '%s' changed\n", daemon_text(vm, "name", ""));
    }
    return status;
}
