/*
 * virtid host fence - a host is dead: its VMs may start on others
 */
#include "config.h"

#include <getopt.h>
#include <stdio.h>
#include <time.h>

#include "cli/command.h"
#include "cli/confirm.h"
#include "cli/daemon_client.h"
#include "lib/wire/names.h"

enum { PAGES_MAX = 10000, ALIVE_SECONDS = 60 };

struct fence {
    const char *host, *to;
    char pool[NAME_POOL_MAX + 1]; /* its own; "" none */
    bool yes, dry_run;
    long long vms, live, candidates, placed, new_vtpms, last_seen_ms;
};

static int
add_page(const json_t *answer, struct fence *f, struct error *err)
{
    int64_t vms, live, candidates, placed, new_vtpms = 0, seen = 0;
    const char *pool = "";

    if (json_get_int(answer, "vms", false, 0, INT64_MAX, &vms, err) < 0 ||
        json_get_int(answer, "live", false, 0, INT64_MAX, &live, err) < 0 ||
        json_get_int(answer, "candidates", false, 0, INT64_MAX, &candidates, err) < 0 ||
        json_get_int(answer, "placed", false, 0, INT64_MAX, &placed, err) < 0 ||
        json_get_int(answer, "new_vtpms", true, 0, INT64_MAX, &new_vtpms, err) < 0 ||
        json_get_string(answer, "pool", true, NAME_POOL_MAX, &pool, err) < 0 ||
        json_get_int(answer, "last_seen", true, 0, INT64_MAX, &seen, err) < 0)
        return -1;
    f->vms += vms;
    f->live += live;
    f->candidates += candidates;
    f->placed += placed;
    f->new_vtpms += new_vtpms;
    f->last_seen_ms = seen;
    snprintf(f->pool, sizeof f->pool, "%s", pool);
    return 0;
}

/* Page by page, as the service takes it; the counts are of all. */
static int
ask(const struct cli *cli, struct fence *f, bool dry_run, struct error *err)
{
    char path[120], after[40] = "";

    f->vms = f->live = f->candidates = f->placed = f->new_vtpms = 0;
    snprintf(path, sizeof path, "/v1/admin/hosts/%s/fence", f->host);
    for (int page = 0; page < PAGES_MAX; page++) {
        CLEANUP(json_decref) json_t *answer = NULL;
        CLEANUP(json_decref) json_t *body = json_pack("{s:b}", "dry_run", dry_run);
        const char *next = NULL;

        if (f->to)
            json_object_set_new(body, "to", json_string(f->to));
        if (after[0])
            json_object_set_new(body, "after", json_string(after));
        if (daemon_ask(cli->service_socket, "POST", path, body, &answer, err) < 0 ||
            add_page(answer, f, err) < 0 || json_get_string(answer, "next", true, 36, &next, err) < 0)
            return -1;
        if (!next)
            return 0;
        snprintf(after, sizeof after, "%s", next);
    }
    return error_set(err, ERROR_SYSTEM, "the service's list does not end");
}

static void
say_what(const struct fence *f)
{
    long long silent = (long long)time(NULL) - f->last_seen_ms / 1000;

    printf("Host '%s': %lld VMs are there or reserved for it, %lld of them with a lease that is live; it is where "
           "%lld others may arrive.\n",
           f->host, f->vms, f->live, f->candidates);
    if (f->last_seen_ms && silent < ALIVE_SECONDS)
        printf("It was heard %lld s ago: fence it only if you know that it is off. Its guests would run twice.\n", silent);
    if (f->to)
        printf("Their leases end now, and they may start on '%s' alone, within an hour with a new vTPM each, where the "
               "state of its own is lost.\n", f->to);
    else if (f->pool[0])
        printf("Their leases end now, and any other host of the pool '%s' may start each of them once, within an hour with "
               "a new vTPM, where the state of its own is lost.\n", f->pool);
    else
        printf("Their leases end now, and any other host may start each of them once.\n");
}

static int
read_options(struct fence *f, int argc, char **argv)
{
    static const struct option options[] = { { "yes", no_argument, NULL, 'y' },
                                             { "to", required_argument, NULL, 't' },
                                             { "dry-run", no_argument, NULL, 'n' },
                                             { 0 } };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'y')
            f->yes = true;
        else if (option == 'n')
            f->dry_run = true;
        else if (option == 't')
            f->to = optarg;
        else
            return cli_usage("wrong option");
    }
    if (argc - optind != 1 || !name_is_host(argv[optind]) || (f->to && !name_is_host(f->to)))
        return cli_usage("fence which host?");
    f->host = argv[optind];
    return EXIT_DONE;
}

static int
print_done(const struct cli *cli, const struct fence *f)
{
    if (cli->json) {
        printf("{\"name\":\"%s\",\"vms\":%lld,\"live\":%lld,\"candidates\":%lld,\"placed\":%lld,\"new_vtpms\":%lld,"
               "\"fenced\":%s}\n", f->host, f->vms, f->live, f->candidates, f->placed, f->new_vtpms, f->dry_run ? "false" : "true");
    } else if (!f->dry_run) {
        printf("Host '%s' fenced: %lld VMs may start elsewhere\n", f->host, f->vms);
        if (f->new_vtpms)
            printf("%lld of them may come with a new vTPM on %s'%s', within an hour\n", f->new_vtpms,
                   f->to ? "" : "the first host of the pool ", f->to ? f->to : f->pool);
        if (f->to && f->placed < f->vms)
            printf("%lld of them are not kept for '%s': another host claims them; virtid why says which\n",
                   f->vms - f->placed, f->to);
    }
    return EXIT_DONE;
}

int
cmd_host_fence(const struct cli *cli, int argc, char **argv)
{
    struct fence f = { 0 };
    struct error err = { 0 };
    int status = read_options(&f, argc, argv);

    if (status != EXIT_DONE)
        return status;
    if (ask(cli, &f, true, &err) < 0)
        return cli_fail(&err);
    if (!cli->json)
        say_what(&f);
    if (!f.dry_run && (confirm(f.yes, &err, "Is '%s' dead? Fence it?", f.host) < 0 || ask(cli, &f, false, &err) < 0))
        return cli_fail(&err);
    return print_done(cli, &f);
}
