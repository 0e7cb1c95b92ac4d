#include "config.h"

#include "cli/identity.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "cli/daemon_client.h"

enum { PAGES_MAX = 10000 };

int
identity_list(const struct cli *cli, json_t **ret_list, struct error *err)
{
    CLEANUP(json_decref) json_t *list = json_array();
    char path[120] = "/v1/admin/vms";

    for (int page = 0; page < PAGES_MAX; page++) {
        CLEANUP(json_decref) json_t *answer = NULL;
        const json_t *vms = NULL;
        const char *next = NULL;

        if (daemon_ask(cli->service_socket, "GET", path, NULL, &answer, err) < 0 ||
            json_get_array(answer, "vms", false, SIZE_MAX, &vms, err) < 0 ||
            json_get_string(answer, "next", true, 40, &next, err) < 0)
            return -1;
        json_array_extend(list, (json_t *)(uintptr_t)vms);
        if (!next || json_array_size(vms) == 0)
            break;
        snprintf(path, sizeof path, "/v1/admin/vms?after=%s", next);
    }
    *ret_list = STEAL(list);
    return 0;
}

static bool
is_named(const json_t *vm, const char *word)
{
    const char *name = daemon_text(vm, "name", ""), *uuid = daemon_text(vm, "uuid", "");

    return !strcmp(word, name) || !strcmp(word, uuid) ||
           (strpbrk(word, "*?[") && fnmatch(word, name, 0) == 0);
}

int
identity_find(const struct cli *cli, char *const *words, size_t n_words, json_t **ret_list,
              struct error *err)
{
    CLEANUP(json_decref) json_t *all = NULL;
    CLEANUP(json_decref) json_t *named = json_array();
    json_t *vm;
    size_t i;

    if (identity_list(cli, &all, err) < 0)
        return -1;
    if (n_words == 0) {
        *ret_list = STEAL(all);
        return 0;
    }
    for (size_t w = 0; w < n_words; w++) {
        bool found = false;

        json_array_foreach(all, i, vm)
            found |= is_named(vm, words[w]);
        if (!found)
            return error_set(err, ERROR_MISSING, "no identity '%s' (virtid list shows them)",
                             words[w]);
    }
    json_array_foreach(all, i, vm) {
        bool wanted = false;

        for (size_t w = 0; w < n_words; w++)
            wanted |= is_named(vm, words[w]);
        if (wanted)
            json_array_append(named, vm);
    }
    *ret_list = STEAL(named);
    return 0;
}

int
identity_read(const struct cli *cli, const char *uuid, json_t **ret, struct error *err)
{
    char path[80];

    snprintf(path, sizeof path, "/v1/admin/vms/%s", uuid);
    return daemon_ask(cli->service_socket, "GET", path, NULL, ret, err);
}

const char *
identity_join(const json_t *array, char *ret, size_t room)
{
    size_t i, used = 0;
    json_t *word;

    ret[0] = '\0';
    json_array_foreach(array, i, word) {
        int n = snprintf(ret + used, room - used, "%s%s", i ? "+" : "",
                         json_is_string(word) ? json_string_value(word) : "?");

        if (n < 0 || (size_t)n >= room - used)
            break;
        used += (size_t)n;
    }
    return ret;
}
