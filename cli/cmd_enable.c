/*
 * virtid enable, virtid disable - what the operator's own libvirt rights are needed for
 */
#include "config.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/daemon_client.h"
#include "cli/domain_edit.h"
#include "cli/libvirt.h"

enum { DEFINITION_MAX = 4 << 20 };

struct choice {
    bool enable, dry_run, install_agent, all;
};

static void
print_change(const struct libvirt_domain *domain, const struct choice *choice,
             const struct domain_change *change)
{
    char sign = choice->enable ? '+' : '-';

    printf("Domain '%s'\n", domain->name);
    if (change->marker)
        printf("%c <metadata><virtid:identity xmlns:virtid='urn:virtid:domain:1'/></metadata>\n",
               sign);
    if (change->tpm)
        printf("%c <tpm model='tpm-crb'><backend type='emulator' version='2.0' "
               "persistent_state='yes'/></tpm>\n",
               sign);
    if (change->channel)
        printf("%c <channel type='unix'><target type='virtio' name='org.virtid.0'/></channel>\n",
               sign);
    if (!change->marker && !change->tpm && !change->channel)
        printf("  (no change)\n");
    if (change->foreign_tpm)
        printf("  its <tpm> is no emulator: the identity will have no factor vtpm\n");
}

/* The host daemon is told what the XML may not say; it may be away, then the sweep finds the marker. */
static int
tell_host(const struct cli *cli, const struct libvirt_domain *domain,
          const struct choice *choice, struct error *err)
{
    CLEANUP(json_decref) json_t *answer = NULL;
    CLEANUP(json_decref) json_t *body = NULL;
    char path[128];

    snprintf(path, sizeof path, "/v1/vms/%s%s", domain->uuid, choice->enable ? "" : "/disable");
    body = choice->enable ? json_pack("{s:b}", "install_agent", choice->install_agent)
                          : json_object();
    if (!body)
        return error_set(err, ERROR_SYSTEM, "no memory");
    return daemon_ask(cli->host_socket, "POST", path, body, &answer, err);
}

/* How one domain ended. */
enum ending { ENDED_CHANGED, ENDED_SAME, ENDED_SKIPPED, ENDED_FAILED, ENDINGS };

static int
change_one(const struct cli *cli, struct libvirt *libvirt, const struct libvirt_domain *domain,
           const struct choice *choice, enum ending *ret_ending, struct error *err)
{
    CLEANUP(buf_clear) struct buf edited = BUF(DEFINITION_MAX);
    CLEANUP(mem_free) char *xml = NULL;
    struct domain_change change;
    bool changed;

    if (!domain->persistent)
        return error_set(err, ERROR_DENIED,
                         "domain '%s' is transient: put the marker into the XML that creates it",
                         domain->name);
    if (libvirt_definition(libvirt, domain, &xml, err) < 0)
        return -1;
    if ((choice->enable ? domain_edit_enable(xml, &edited, &change, err)
                        : domain_edit_disable(xml, &edited, &change, err)) < 0)
        return error_wrap(err, "domain '%s'", domain->name);
    changed = change.marker || change.tpm || change.channel;
    *ret_ending = changed ? ENDED_CHANGED : ENDED_SAME;
    if (choice->dry_run) {
        print_change(domain, choice, &change);
        return 0;
    }
    /* First the wish, then the marker: the daemon acts when it sees the marker. */
    if (choice->install_agent && tell_host(cli, domain, choice, err) < 0)
        return error_wrap(err, "domain '%s': --install-agent", domain->name);
    if (changed && libvirt_define(libvirt, (const char *)edited.data, err) < 0)
        return error_wrap(err, "domain '%s'", domain->name);
    if (!choice->enable && tell_host(cli, domain, choice, err) < 0)
        return error_wrap(err, "domain '%s'", domain->name);
    printf("Domain '%s' %s%s\n", domain->name, choice->enable ? "enabled" : "disabled",
           changed && domain->id >= 0 ? "; takes effect when it is shut off and started again"
                                      : "");
    if (change.foreign_tpm)
        printf("  its <tpm> is no emulator: the identity will have no factor vtpm\n");
    return 0;
}

static int
change_all(const struct cli *cli, const struct choice *choice, char **words, size_t n_words)
{
    CLEANUP(libvirt_close) struct libvirt *libvirt = NULL;
    CLEANUP(mem_free) struct libvirt_domain *domains = NULL;
    size_t n = 0;
    size_t ended[ENDINGS] = { 0 };
    int status = EXIT_DONE;
    struct error err = { 0 };

    if (libvirt_open(cli->uri, false, &libvirt, &err) < 0 ||
        libvirt_find(libvirt, words, n_words, &domains, &n, &err) < 0)
        return cli_fail(&err);
    for (size_t i = 0; i < n; i++) {
        enum ending ending = ENDED_FAILED;

        if (choice->all)
            printf("[%zu/%zu] ", i + 1, n);
        fflush(stdout);
        if (choice->all && !domains[i].persistent) {
            printf("Domain '%s' skipped: it is transient\n", domains[i].name);
            ending = ENDED_SKIPPED;
        } else if (change_one(cli, libvirt, &domains[i], choice, &ending, &err) < 0) {
            ending = ENDED_FAILED;
            status = cli_fail(&err);
        }
        ended[ending]++;
    }
    if (choice->all)
        printf("%zu %s, %zu were so already, %zu skipped, %zu failed\n", ended[ENDED_CHANGED],
               choice->dry_run ? "would be enabled" : "enabled", ended[ENDED_SAME], ended[ENDED_SKIPPED],
               ended[ENDED_FAILED]);
    return status;
}

static int
run(const struct cli *cli, bool enable, int argc, char **argv)
{
    static const struct option options[] = { { "install-agent", no_argument, NULL, 'a' },
                                             { "all", no_argument, NULL, 'A' },
                                             { "dry-run", no_argument, NULL, 'n' },
                                             { 0 } };
    struct choice choice = { .enable = enable };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'a' && enable)
            choice.install_agent = true;
        else if (option == 'A' && enable)
            choice.all = true;
        else if (option == 'n')
            choice.dry_run = true;
        else
            return cli_usage("wrong option");
    }
    if (choice.all && optind != argc)
        return cli_usage("--all, or the names of domains");
    if (optind == argc && !choice.all)
        return cli_usage("which domain?");
    return change_all(cli, &choice, argv + optind, (size_t)(argc - optind));
}

int
cmd_enable(const struct cli *cli, int argc, char **argv)
{
    return run(cli, true, argc, argv);
}

int
cmd_disable(const struct cli *cli, int argc, char **argv)
{
    return run(cli, false, argc, argv);
}
