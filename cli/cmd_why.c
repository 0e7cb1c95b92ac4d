/*
 * virtid why - walk the flow and say at which step a VM stands
 *
 * The host daemon knows the steps up to the guest's channel, the service those after it.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/daemon_client.h"
#include "cli/identity.h"
#include "cli/libvirt.h"

enum { WHY_MAX = 256 };

struct target {
    char uuid[VM_UUID_TEXT], name[256];
};

/* From libvirt where there is one, else from the service: `why` works on either machine. */
static int
find_targets(const struct cli *cli, char **words, size_t n_words, struct target *ret,
             size_t *ret_n, struct error *err)
{
    CLEANUP(libvirt_close) struct libvirt *libvirt = NULL;
    CLEANUP(mem_free) struct libvirt_domain *domains = NULL;
    CLEANUP(json_decref) json_t *list = NULL;
    struct error because = { 0 };
    size_t n = 0, i;
    json_t *vm;

    if (libvirt_open(cli->uri, true, &libvirt, &because) == 0 &&
        libvirt_find(libvirt, words, n_words, &domains, &n, &because) == 0) {
        for (i = 0; i < n && i < WHY_MAX; i++) {
            strcpy(ret[i].uuid, domains[i].uuid);
            strcpy(ret[i].name, domains[i].name);
        }
        *ret_n = i;
        return 0;
    }
    if (identity_find(cli, words, n_words, &list, err) < 0) {
        if (err->code == ERROR_BUSY)
            *err = because;
        return -1;
    }
    json_array_foreach(list, i, vm) {
        if (i == WHY_MAX)
            break;
        snprintf(ret[i].uuid, sizeof ret[i].uuid, "%s", daemon_text(vm, "uuid", ""));
        snprintf(ret[i].name, sizeof ret[i].name, "%s", daemon_text(vm, "name", ""));
    }
    *ret_n = i;
    return 0;
}

static void
print_detail(const char *label, const json_t *step)
{
    const char *text = daemon_text(step, label, "");

    if (*text)
        printf("        %-9s %s\n", label, text);
}

static void
print_steps(const json_t *steps)
{
    json_t *step;
    size_t i;

    json_array_foreach(steps, i, step) {
        const char *state = daemon_text(step, "state", "");
        bool good = !strcmp(state, "ok") || !strcmp(state, "done");
        bool idle = !strcmp(state, "skipped") || !strcmp(state, "waiting");

        printf("  [%s] %-10s %s\n", good ? "ok" : idle ? "--" : "!!",
               daemon_text(step, "step", ""), good ? daemon_text(step, "seen", "") : state);
        if (!good) {
            print_detail("seen", step);
            print_detail("expected", step);
            print_detail("repair", step);
        }
    }
}

/* A VM that the service does not know yet waits for an operator, where its database was restored. */
static void
add_recovery(const struct cli *cli, json_t *steps)
{
    CLEANUP(json_decref) json_t *o = NULL;
    struct error ignored;

    if (daemon_ask(cli->service_socket, "GET", "/v1/admin/recovery", NULL, &o, &ignored) == 0 &&
        json_is_true(json_object_get(o, "recovery")))
        json_array_append_new(steps, json_pack("{s:s,s:s,s:s,s:s}", "step", "recovery", "state", "waiting", "seen",
                                               "the service works with a restored database: nobody new is enrolled",
                                               "repair", "virtid recovery show, then virtid recovery finish"));
}

/* Both daemons' walks as one array; an unreachable one is a step that says so. */
static json_t *
collect(const struct cli *cli, const struct target *target)
{
    CLEANUP(json_decref) json_t *host = NULL;
    CLEANUP(json_decref) json_t *service = NULL;
    json_t *steps = json_array();
    struct error err = { 0 };
    char path[80];

    snprintf(path, sizeof path, "/v1/vms/%s", target->uuid);
    if (daemon_ask(cli->host_socket, "GET", path, NULL, &host, &err) == 0)
        json_array_extend(steps, json_object_get(host, "steps"));
    else if (err.code == ERROR_MISSING)
        json_array_append_new(
            steps, json_pack("{s:s,s:s,s:s,s:s,s:s}", "step", "enable", "state", "not managed",
                             "seen", "the domain has no marker", "expected",
                             "<virtid:identity/> in its metadata", "repair",
                             "virtid enable DOMAIN"));
    else if (access(cli->host_socket, F_OK) == 0 || access("/run/libvirt", F_OK) == 0)
        json_array_append_new(steps, json_pack("{s:s,s:s,s:s,s:s}", "step", "host", "state",
                                               "unknown", "seen", err.text, "repair",
                                               "systemctl start virtid-hostd"));
    if (identity_read(cli, target->uuid, &service, &err) == 0)
        json_array_extend(steps, json_object_get(service, "steps"));
    else /* what the host daemon heard of it last */
        json_array_extend(steps, json_object_get(host, "service_steps"));
    if (!service || strcmp(daemon_text(service, "state", ""), "pending") == 0)
        add_recovery(cli, steps);
    return steps;
}

int
cmd_why(const struct cli *cli, int argc, char **argv)
{
    CLEANUP(mem_free) struct target *targets = calloc(WHY_MAX, sizeof *targets);
    CLEANUP(json_decref) json_t *all = json_array();
    struct error err = { 0 };
    size_t n = 0;

    if (argc < 2)
        return cli_usage("which domain?");
    if (!targets || find_targets(cli, argv + 1, (size_t)argc - 1, targets, &n, &err) < 0)
        return cli_fail(&err);
    for (size_t i = 0; i < n; i++) {
        json_t *steps = collect(cli, &targets[i]);

        if (cli->json) {
            json_array_append_new(all, json_pack("{s:s,s:s,s:o}", "uuid", targets[i].uuid,
                                                 "name", targets[i].name, "steps", steps));
            continue;
        }
        printf("Domain '%s' (%s)\n", targets[i].name, targets[i].uuid);
        print_steps(steps);
        putchar('\n');
        json_decref(steps);
    }
    if (cli->json)
        (void)cli_json(all);
    return EXIT_DONE;
}
