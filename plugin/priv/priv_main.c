/*
 * priv_main.c - virtid-privd: the only host code that runs as root
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "lib/common/process.h"
#include "lib/common/reload.h"
#include "plugin/priv/priv_limits.h"
#include "plugin/priv/priv_server.h"
#include "plugin/priv/priv_settings.h"
#include "plugin/priv/priv_worker.h"

enum { EXIT_USAGE = 2 };

static const char usage[] =
    "Usage: virtid-privd [--config FILE] [--ready-fd N] [--check-config]\n"
    "\n"
    "The root half of virtid's host daemon: does a short table of permitted requests for\n"
    "virtid-hostd, and nothing else.\n"
    "\n"
    "  -c, --config FILE   configuration (" VIRTID_SYSCONFDIR "/privd.conf)\n"
    "  -r, --ready-fd N    write a newline to descriptor N when it serves\n"
    "  --check-config      read the configuration, say what is wrong with it, and end\n"
    "  -h, --help          this text\n"
    "  -V, --version       the version\n";

struct options {
    const char *config;
    bool config_given;
    int ready_fd;
    bool check_config;
};

static int
parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        { "config", required_argument, NULL, 'c' },
        { "ready-fd", required_argument, NULL, 'r' },
        { "check-config", no_argument, NULL, 'k' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { 0 },
    };
    char *end;

    for (int c; (c = getopt_long(argc, argv, "c:r:hV", longs, NULL)) != -1;) {
        switch (c) {
        case 'c':
            o->config = optarg;
            o->config_given = true;
            break;
        case 'r':
            o->ready_fd = (int)strtol(optarg, &end, 10);
            if (*end || o->ready_fd < 3)
                return -1;
            break;
        case 'k':
            o->check_config = true;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        case 'V':
            puts("virtid-privd " PACKAGE_VERSION);
            exit(0);
        default:
            return -1;
        }
    }
    return optind == argc ? 0 : -1;
}

/*
 * The host daemon must get through the socket's folder; who else does is turned away at the
 * socket.  A folder that neither we nor systemd for us made keeps its mode.
 */
static int
make_socket_folder(const char *socket, struct error *err)
{
    const char *folder, *systemd = getenv("RUNTIME_DIRECTORY");
    char path[256];

    if (snprintf(path, sizeof path, "%s", socket) >= (int)sizeof path)
        return error_set(err, ERROR_INPUT, "priv.socket is too long");
    folder = dirname(path);
    if (mkdir(folder, 0755) < 0) {
        if (errno != EEXIST)
            return error_sys(err, errno, "%s", folder);
        if (!systemd || strcmp(systemd, folder) != 0)
            return 0;
    }
    return chmod(folder, 0755) < 0 ? error_sys(err, errno, "%s", folder) : 0;
}

static int
open_signals(int *ret_fd, struct error *err)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return error_sys(err, errno, "signals");
    *ret_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return *ret_fd < 0 ? error_sys(err, errno, "signals") : 0;
}

static int
serve(const struct options *o, struct error *err)
{
    CLEANUP(priv_settings_clear) struct priv_settings settings = { 0 };
    CLEANUP(priv_server_free) struct priv_server *server = NULL;
    CLEANUP(fd_close) int signals = -1;

    reload_hold();
    if (priv_settings_read(o->config, !o->config_given, &settings, err) < 0)
        return -1;
    if (o->check_config) {
        printf("%s: ok\n", o->config);
        return 0;
    }
    if (make_socket_folder(settings.socket, err) < 0 || priv_worker_cache(&settings, err) < 0 ||
        open_signals(&signals, err) < 0 || priv_limits_drop(err) < 0)
        return -1;
    if (strcmp(settings.accel, "auto") == 0)
        priv_worker_probe(&settings, settings.accel);
    if (priv_server_new(&settings, &server, err) < 0)
        return -1;
    log_info("serves at %s, appliances run on %s", settings.socket, settings.accel);
    process_ready(o->ready_fd);
    return priv_server_run(server, signals, err);
}

int
main(int argc, char **argv)
{
    struct options o = { .config = VIRTID_SYSCONFDIR "/privd.conf", .ready_fd = -1 };
    struct error err;

    process_harden();
    log_open("virtid-privd", LOG_LEVEL_INFO);
    if (parse(argc, argv, &o) < 0) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    if (serve(&o, &err) < 0) {
        log_error(&err, "virtid-privd ends");
        return err.code == ERROR_SYSTEM ? 1 : (int)err.code + 1;
    }
    return 0;
}
