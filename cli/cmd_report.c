/*
 * virtid report - what would have been done with the VMs of this host that are only observed
 */
#include "config.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/daemon_client.h"
#include "cli/table.h"
#include "cli/when.h"

enum { PAGES_MAX = 10000 };

static bool
is_named(const json_t *vm, const char *word)
{
    const char *name = daemon_text(vm, "name", "");

    return !strcmp(word, name) || !strcmp(word, daemon_text(vm, "uuid", "")) ||
           (strpbrk(word, "*?[") && fnmatch(word, name, 0) == 0);
}

static bool
is_wanted(const json_t *vm, char *const *words, size_t n_words)
{
    bool wanted = false;

    /* Without words those of which there is something to tell. */
    if (n_words == 0)
        return !strcmp(daemon_text(vm, "mode", ""), "observe") || json_array_size(json_object_get(vm, "observed")) > 0;
    for (size_t i = 0; i < n_words; i++)
        wanted |= is_named(vm, words[i]);
    return wanted;
}

static int
read_all(const struct cli *cli, char *const *words, size_t n_words, json_t **ret_list, struct error *err)
{
    CLEANUP(json_decref) json_t *list = json_array();
    char path[120] = "/v1/observed";

    for (int page = 0; page < PAGES_MAX; page++) {
        CLEANUP(json_decref) json_t *answer = NULL;
        const json_t *vms = NULL;
        const char *next = NULL;
        json_t *vm;
        size_t i;

        if (daemon_ask(cli->host_socket, "GET", path, NULL, &answer, err) < 0 ||
            json_get_array(answer, "vms", false, SIZE_MAX, &vms, err) < 0 ||
            json_get_string(answer, "next", true, 40, &next, err) < 0)
            return -1;
        json_array_foreach(vms, i, vm) {
            if (is_wanted(vm, words, n_words))
                json_array_append(list, vm);
        }
        if (!next)
            break;
        snprintf(path, sizeof path, "/v1/observed?after=%s", next);
    }
    *ret_list = STEAL(list);
    return 0;
}

static int
add_rows(struct table *table, const json_t *vm, struct error *err)
{
    const json_t *words = json_object_get(vm, "observed");
    json_t *word;
    size_t i;

    if (json_array_size(words) == 0) {
        const char *cells[] = { daemon_text(vm, "name", ""), daemon_text(vm, "mode", ""), "", "", "", "nothing yet" };

        return table_row(table, cells, err);
    }
    json_array_foreach(words, i, word) {
        char when[WHEN_MAX];
        const char *cells[] = { daemon_text(vm, "name", ""), daemon_text(vm, "mode", ""),
                                when_ago(json_object_get(word, "ms"), when), daemon_text(word, "step", ""),
                                daemon_text(word, "would", ""), daemon_text(word, "text", "") };

        if (table_row(table, cells, err) < 0)
            return -1;
    }
    return 0;
}

int
cmd_report(const struct cli *cli, int argc, char **argv)
{
    static const char *const columns[] = { "Name", "Mode", "When", "Step", "Would be", "Because", NULL };
    CLEANUP(table_free) struct table *table = NULL;
    CLEANUP(json_decref) json_t *list = NULL;
    struct error err = { 0 };
    json_t *vm;
    size_t i;

    if (read_all(cli, argv + 1, (size_t)argc - 1, &list, &err) < 0)
        return cli_fail(&err);
    if (cli->json)
        return cli_json(list);
    if (table_new(columns, &table, &err) < 0)
        return cli_fail(&err);
    json_array_foreach(list, i, vm) {
        if (add_rows(table, vm, &err) < 0)
            return cli_fail(&err);
    }
    return table_print(table, &err) < 0 ? cli_fail(&err) : EXIT_DONE;
}
