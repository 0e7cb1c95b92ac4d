/*
 * virtid-tokend: options, signer, privileges, listeners, loop: a list that one can read
 * aloud
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/common/json.h"
#include "lib/common/log.h"
#include "lib/common/process.h"
#include "lib/common/reload.h"
#include "tokenservice/tokend.h"

enum { EXIT_DONE, EXIT_FAILED, EXIT_USAGE };

struct options {
    const char *config;
    int ready_fd;
    bool check_config, copy_database, accept_clock, recovery, verbose;
};

static void
print_help(void)
{
    puts(
        "Usage: virtid-tokend [--config FILE] [--ready-fd N] [--check-config] "
        "[--verbose]\n"
        "\n"
        "The token service of a virtid trust domain: enrols hosts and virtual "
        "machines, keeps\n"
        "their leases, checks proofs and issues identity tokens.\n"
        "\n"
        "  --config FILE   instead of " VIRTID_SYSCONFDIR "/tokend.conf\n"
        "  --ready-fd N    write the addresses it listens on there, as one JSON line\n"
        "  --check-config  read the configuration, say what is wrong with it, and end\n"
        "  --copy-database make backup.db in the state folder, a copy of the database, and end; a service\n"
        "                  that runs goes on (for \"virtid backup\")\n"
        "  --accept-clock  the clock is right, although it was ahead when the newest audit\n"
        "                  record was made: grant again\n"
        "  --recovery      the database was restored from a backup: enrol and place nobody before\n"
        "                  \"virtid recovery finish\"\n"
        "  --verbose       also log what is of use to developers only\n"
        "  --help, --version\n"
        "\n"
        "Exit status: 0 ended by SIGTERM, 1 failed, 2 usage or configuration.\n"
        "See virtid-tokend(8).");
}

static int
read_number(const char *text, int *ret)
{
    char *end;
    long n;

    errno = 0;
    n = strtol(text, &end, 10);
    if (errno || end == text || *end || n < 0 || n > 1023)
        return -1;
    *ret = (int)n;
    return 0;
}

/* -1: go on; else the exit status. */
static int
read_options(int argc, char **argv, struct options *ret)
{
    static const struct option known[] = {
        { "config", required_argument, NULL, 'c' },
        { "ready-fd", required_argument, NULL, 'r' },
        { "check-config", no_argument, NULL, 'k' },
        { "copy-database", no_argument, NULL, 'd' },
        { "accept-clock", no_argument, NULL, 'a' },
        { "recovery", no_argument, NULL, 'R' },
        { "verbose", no_argument, NULL, 'v' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { NULL, 0, NULL, 0 },
    };
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == 'h') {
            print_help();
            return EXIT_DONE;
        }
        if (option == 'V') {
            puts("virtid-tokend " PACKAGE_VERSION);
            return EXIT_DONE;
        }
        if (option == 'c')
            ret->config = optarg;
        else if (option == 'k')
            ret->check_config = true;
        else if (option == 'd')
            ret->copy_database = true;
        else if (option == 'a')
            ret->accept_clock = true;
        else if (option == 'R')
            ret->recovery = true;
        else if (option == 'v')
            ret->verbose = true;
        else if (option != 'r' || read_number(optarg, &ret->ready_fd) < 0)
            return EXIT_USAGE;
    }
    if (optind == argc)
        return -1;
    fprintf(stderr, "virtid-tokend: unexpected \"%s\"\n", argv[optind]);
    return EXIT_USAGE;
}

int
main(int argc, char **argv)
{
    struct options options = { .config = VIRTID_SYSCONFDIR "/tokend.conf",
                               .ready_fd = -1 };
    CLEANUP(tokend_conf_clear) struct tokend_conf conf = { .file = NULL };
    CLEANUP(tokend_free) struct tokend *tokend = NULL;
    struct error err = { 0 };
    int status;

    process_harden();
    reload_hold();
    json_watch_memory();
    status = read_options(argc, argv, &options);
    if (status >= 0)
        return status;
    log_open("virtid-tokend", options.verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
    if (tokend_conf_read(options.config, &conf, &err) < 0) {
        log_error(&err, "configuration");
        return EXIT_USAGE;
    }
    if (options.check_config) {
        printf("%s: ok\n", options.config);
        return EXIT_DONE;
    }
    if (options.copy_database) {
        if (tokend_copy_database(&conf, &err) == 0)
            return EXIT_DONE;
        log_error(&err, "copy");
        return EXIT_FAILED;
    }
    conf.accept_clock = options.accept_clock;
    conf.recovery = options.recovery;
    if (tokend_new(&conf, &tokend, &err) < 0 ||
        tokend_run(tokend, options.ready_fd, &err) < 0) {
        log_error(&err, "virtid-tokend ends");
        return EXIT_FAILED;
    }
    log_notice("event=stopped");
    return EXIT_DONE;
}
