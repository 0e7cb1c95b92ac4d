/*
 * virtid - the operator's tool: one table of subcommands, shaped like virsh
 */
#include "config.h"

#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "cli/command.h"
#include "lib/common/log.h"

const struct command command_table[] = {
    { "init", "--trust-domain NAME --issuer URL [OPTION]...",
      "make a trust domain: keys, configuration, database folder",
      "  --trust-domain NAME   e.g. example.test\n"
      "  --issuer URL          https://HOST:PORT under which tokens are verified\n"
      "  --hosts HOST:PORT     where hosts reach the service (default: issuer's host, 8444)\n"
      "  --guests HOST:PORT    where guests reach it (default: issuer's host, 8445)\n"
      "  --names \"A B\"         further names and addresses of the server certificate\n"
      "  --listen ADDRESS      address to listen on (default: 0.0.0.0)\n"
      "  --config-dir DIR      default: " VIRTID_SYSCONFDIR "\n"
      "  --state-dir DIR       default: /var/lib/virtid-token\n"
      "  --key-dir DIR         default: /var/lib/virtid-signer\n"
      "  --run-dir DIR         of the admin socket; default: /run/virtid-token\n"
      "  --signer FILE         the signer program, for uninstalled runs\n"
      "  --enrol open|placed   who may enrol a VM never seen (default: open)\n"
      "  --test                a test domain: simulated TPMs are accepted\n",
      cmd_init },
    { "host add", "NAME [--auto]", "let a host join: prints its join code",
      "  --auto                approve it when it comes, without `host approve`\n", cmd_host_add },
    { "host check", "", "run on a host: is everything as VMs with an identity need it?", "", cmd_host_check },
    { "host approve", "NAME [--fingerprint HEX]", "approve a host that has joined",
      "  --fingerprint HEX     only if the host shows this fingerprint\n", cmd_host_approve },
    { "host list", "", "hosts: state, fingerprint, last seen", "", cmd_host_list },
    { "host remove", "NAME [--yes]", "end a host's certificates and rights at once",
      "  --yes                 do not ask\n", cmd_host_remove },
    { "host fence", "NAME [--to HOST] [--yes] [--dry-run]",
      "a host is dead: end its leases, so that its VMs start elsewhere",
      "  --to HOST             keep them for this host alone (default: the others of its pool, or, where it is in\n"
      "                        none, any other host); there, as in a pool, each may come with a new vTPM, within\n"
      "                        an hour, where its state died with the host\n"
      "  --yes                 do not ask\n"
      "  --dry-run             say what would happen, change nothing\n",
      cmd_host_fence },
    { "pool list", "", "pools: hosts that stand in for one another", "", cmd_pool_list },
    { "pool set", "NAME HOST...", "all hosts of a pool: its VMs move and, after a fence, start within it", "", cmd_pool_set },
    { "pool remove", "NAME [--yes]", "its hosts are in no pool any more",
      "  --yes                 do not ask\n", cmd_pool_remove },
    { "enable", "DOMAIN...|--all [--install-agent] [--dry-run]",
      "give domains what an identity needs: marker, vTPM, channel",
      "  --all                 every domain of this host; one that fails stops nothing\n"
      "  --install-agent       also put the agent into the guest's image at the next provisioning\n"
      "  --dry-run             show the change of the XML, change nothing\n",
      cmd_enable },
    { "disable", "DOMAIN... [--dry-run]", "take marker and channel away (the vTPM stays)",
      "  --dry-run             show the change of the XML, change nothing\n", cmd_disable },
    { "place", "DOMAIN HOST [--force] [--new-vtpm|--reincarnate]", "name the host that may run a VM",
      "  --force               although another host holds its lease, or this one does not answer\n"
      "  --new-vtpm            its vTPM state is lost: within an hour it may come with a new one there\n"
      "  --reincarnate         begin a new identity under the UUID of one that was retired\n",
      cmd_place },
    { "accept", "DOMAIN...|--all-behind [--yes] [--dry-run]",
      "what was refused as behind is the right state: a VM goes on from it",
      "  --all-behind          every VM whose newest proof was refused so, each for what it showed\n"
      "  --yes                 do not ask\n"
      "  --dry-run             say what was seen, change nothing\n",
      cmd_accept },
    { "lock", "DOMAIN... [--reason TEXT]", "no more tokens until `virtid unlock`; the VM itself goes on",
      "  --reason TEXT         for the audit, `virtid info` and `virtid why`\n", cmd_lock },
    { "unlock", "DOMAIN...", "tokens again, with the guest's next proof", "", cmd_unlock },
    { "retire", "DOMAIN... [--yes]", "end an identity: no more leases, no more tokens",
      "  --yes                 do not ask\n", cmd_retire },
    { "key list", "", "the signer's keys: purpose, state, age, and what happens next", "", cmd_key_list },
    { "key rotate", "[--bound|--ca [--force] [--yes]]", "let the next key sign tokens now, not only when its time has come",
      "  --bound               that of bound tokens\n"
      "  --ca                  the trust domain's CA: publish the next one; said again, let that issue\n"
      "  --force               although hosts do not have it yet: those join anew\n"
      "  --yes                 do not ask\n",
      cmd_key_rotate },
    { "key ca", "", "the CA certificates that verifiers of this service trust, in PEM: for their ca.pem", "", cmd_key_ca },
    { "key revoke", "KID|--all [--yes]", "a key is in wrong hands: drop it at once, and sign tokens with a new one",
      "  --all                 every key that signs tokens: the signer's folder was read\n"
      "  --yes                 do not ask\n", cmd_key_revoke },
    { "backup", "FILE [--recipient CERTIFICATE]", "database, keys and configuration of the token service into one sealed file",
      "  FILE                  - for standard output; the service may run meanwhile\n"
      "  --recipient FILE      who may open it, an X.509 certificate (-: stdin); without it whoever has the\n"
      "                        passphrase, which is read from standard input\n"
      "  --config FILE         of virtid-tokend, if not " VIRTID_SYSCONFDIR "/tokend.conf\n"
      "  --tokend PROGRAM      virtid-tokend, if not the installed one\n",
      cmd_backup },
    { "restore", "FILE [--key KEY]", "what `virtid backup` wrote, onto a machine that has no database and no keys",
      "  --key FILE            the private key of the recipient (-: stdin); without it the passphrase is read\n"
      "                        from standard input\n"
      "  --config FILE         of virtid-tokend, if not " VIRTID_SYSCONFDIR "/tokend.conf; one that is there stays\n",
      cmd_restore },
    { "recovery show", "[--audit FILE]", "after the service's database was restored: what it lacked, who is not heard yet",
      "  --audit FILE          a log of virtid-tokend that was kept elsewhere (-: stdin): lists what operators\n"
      "                        said after the backup was made\n",
      cmd_recovery_show },
    { "recovery finish", "[--yes]", "the restored database is in order: enrol and place VMs again",
      "  --yes                 do not ask\n", cmd_recovery_finish },
    { "list", "[DOMAIN...]", "identities: state, host, lease, factors", "", cmd_list },
    { "info", "DOMAIN...", "all that is known of an identity", "", cmd_info },
    { "why", "DOMAIN...", "walk the flow: where a VM stands, what was seen, what repairs it", "",
      cmd_why },
    { "top", "[--every SECONDS] [--once]", "the present: leases, proofs, refusals, drawn again every two seconds; q ends",
      "  --every SECONDS       draw again so often (default: 2)\n"
      "  --once                print it once, as where the output is no terminal\n",
      cmd_top },
    { "set", "DOMAIN... [OPTION]...", "set owner, labels, floor, audiences, mode, restore",
      "  --owner TEXT\n"
      "  --label NAME=VALUE    repeatable; NAME= removes it\n"
      "  --floor FACTORS       host, host+secret, host+vtpm or host+vtpm+secret; only raised\n"
      "  --audience NAME       repeatable; allow this audience; -NAME takes it away\n"
      "  --mode MODE           without a lease: loose starts, strict does not, observe is left alone;\n"
      "                        host: as its host's configuration says\n"
      "  --restore ask|auto    of a disk that was put back: wait for `virtid accept`, or take it once a day\n",
      cmd_set },
    { "audit verify", "[--key KEY] [FILE]", "do the records follow from one another and fit their signed heads; does the service have what a copy has?",
      "  FILE                  a copy that was kept elsewhere, or the service's log (-: stdin)\n"
      "  --key FILE            what `virtid audit key` printed: look at the copy alone, and ask no service\n",
      cmd_audit_verify },
    { "audit key", "", "the public key that signs the heads of the audit, to be kept where the copy is", "", cmd_audit_key },
    { "audit", "[DOMAIN] [--follow] [--all|--after ID|--last N] [--who WHO] [--what WORD]", "what the token service decided, oldest first",
      "  -f, --follow          go on with what is decided from now on, until interrupted\n"
      "  --all                 from the first record (else the last 20)\n"
      "  --after ID            from the record behind this one\n"
      "  --last N              so many of the newest, at most 64\n"
      "  --who WHO             only by 'guest', 'host NAME' or 'admin UID'\n"
      "  --what WORD           only of this kind: token, lease, moved, refused, ...\n",
      cmd_audit },
    { "report", "[DOMAIN...]", "run on a host: what would have been done with VMs in mode observe", "", cmd_report },
    { "audience add", "NAME [--all] [--bound] [--claim CLAIM]...", "declare an audience for tokens",
      "  --all                 every VM may ask for it (else: virtid set --audience)\n"
      "  --bound               its tokens count only with a proof over one connection (virtid-agent prove)\n"
      "  --claim CLAIM         repeatable; name, host or labels go into its tokens\n",
      cmd_audience_add },
    { "audience list", "", "declared audiences", "", cmd_audience_list },
    { "audience remove", "NAME", "tokens for it end with their 5 minutes", "",
      cmd_audience_remove },
    { 0 },
};

int
cli_json(const struct json_t *value)
{
    json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
    putchar('\n');
    return EXIT_DONE;
}

int
cli_fail(const struct error *err)
{
    fprintf(stderr, "error: %s\n", err->text);
    return err->code == ERROR_BUSY ? EXIT_UNREACHABLE : EXIT_FAILED;
}

int
cli_usage(const char *fmt, ...)
{
    va_list ap;

    fputs("error: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputs("; see virtid --help\n", stderr);
    return EXIT_USAGE;
}

static void
print_help(void)
{
    puts("Usage: virtid [-c URI] [--output table|json] COMMAND [ARGUMENT]...\n"
         "Identities of libvirt's virtual machines.  DOMAIN is an id, UUID, name or pattern.\n");
    for (const struct command *c = command_table; c->name; c++)
        printf("  %-16s %s\n", c->name, c->what);
    puts("\n  -c, --connect URI     libvirt connection (default: libvirt's own)\n"
         "      --service SOCKET  tokend's admin socket\n"
         "      --host SOCKET     the host daemon's socket\n"
         "      --output FORMAT   table or json\n"
         "  -h, --help            also behind a command\n"
         "  -V, --version\n\n"
         "Exit status: 0 done, 1 failed, 2 wrong usage, 3 daemon or libvirt not reachable.");
}

static void
print_command_help(const struct command *c)
{
    printf("Usage: virtid %s%s%s\n%s.\n", c->name, *c->args ? " " : "", c->args, c->what);
    if (*c->help)
        printf("\n%s", c->help);
}

/* The command whose words begin argv; *ret_words says how many. */
static const struct command *
find_command(int argc, char **argv, int *ret_words)
{
    for (const struct command *c = command_table; c->name; c++) {
        const char *space = strchr(c->name, ' ');
        size_t first = space ? (size_t)(space - c->name) : strlen(c->name);

        if (strlen(argv[0]) != first || strncmp(argv[0], c->name, first) != 0)
            continue;
        *ret_words = space ? 2 : 1;
        if (!space || (argc > 1 && strcmp(argv[1], space + 1) == 0))
            return c;
    }
    return NULL;
}

static bool
asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
            return true;
    }
    return false;
}

/* For the completion script: the words that may follow. */
static int
print_words(void)
{
    for (const struct command *c = command_table; c->name; c++)
        puts(c->name);
    return EXIT_DONE;
}

static int
run_command(const struct cli *cli, int argc, char **argv)
{
    const struct command *command;
    int words = 1;

    if (strcmp(argv[0], "complete-words") == 0)
        return print_words();
    command = find_command(argc, argv, &words);
    if (!command)
        return cli_usage("unknown command \"%s%s%s\"", argv[0], argc > 1 ? " " : "",
                         argc > 1 ? argv[1] : "");
    argc -= words - 1;
    argv += words - 1;
    if (asks_for_help(argc, argv)) {
        print_command_help(command);
        return EXIT_DONE;
    }
    optind = 0; /* glibc: start again, also with its permutation */
    return command->run(cli, argc, argv);
}

int
main(int argc, char **argv)
{
    static const struct option options[] = { { "connect", required_argument, NULL, 'c' },
                                             { "service", required_argument, NULL, 's' },
                                             { "host", required_argument, NULL, 'H' },
                                             { "output", required_argument, NULL, 'o' },
                                             { "help", no_argument, NULL, 'h' },
                                             { "version", no_argument, NULL, 'V' },
                                             { 0 } };
    struct cli cli = { .service_socket = "/run/virtid-token/admin.sock",
                       .host_socket = "/run/virtid/hostd.sock" };
    int option;

    setlocale(LC_ALL, "");
    signal(SIGPIPE, SIG_IGN);
    log_open("virtid", LOG_LEVEL_WARNING);
    while ((option = getopt_long(argc, argv, "+c:hV", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            cli.uri = optarg;
            break;
        case 's':
            cli.service_socket = optarg;
            break;
        case 'H':
            cli.host_socket = optarg;
            break;
        case 'o':
            if (strcmp(optarg, "json") && strcmp(optarg, "table"))
                return cli_usage("--output is table or json, not \"%s\"", optarg);
            cli.json = strcmp(optarg, "json") == 0;
            break;
        case 'h':
            print_help();
            return EXIT_DONE;
        case 'V':
            puts(PACKAGE_STRING);
            return EXIT_DONE;
        default:
            return cli_usage("wrong option");
        }
    }
    if (optind == argc)
        return cli_usage("a command is missing");
    return run_command(&cli, argc - optind, argv + optind);
}
