/*
 * virtid-hostd: follows libvirt, answers its hook, serves the guests' channel,
 * speaks with the token service.  What it is told on the command line and in
 * hostd.conf; the daemon's life is in hostd_loop.c.
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/common/error_map.h"
#include "lib/common/fdio.h"
#include "lib/common/json.h"
#include "lib/common/log.h"
#include "lib/common/process.h"
#include "lib/common/reload.h"
#include "plugin/enroll/host_identity.h"
#include "plugin/hostd_conf.h"
#include "plugin/hostd_loop.h"
#include "plugin/join.h"

enum { JOIN_WAIT_SECONDS = 900 };

static const char usage[] =
    "Usage: virtid-hostd [--config FILE] [--ready-fd N] [--check-config]\n"
    "       virtid-hostd join [--config FILE] [--wait SECONDS] < JOIN-CODE\n"
    "\n"
    "  --config FILE   configuration (" VIRTID_SYSCONFDIR "/hostd.conf)\n"
    "  --ready-fd N    write a line to descriptor N when ready\n"
    "  --check-config  read the configuration, say what is wrong with it, and end\n"
    "  --wait SECONDS  join: how long to wait for approval (900)\n"
    "  --help, --version\n";

struct options {
    const char *config;
    int ready_fd, wait_seconds;
    bool join, check_config;
};

/* 0: go on; else exit with *ret_status. */
static int
read_options(int argc, char **argv, struct options *o, int *ret_status)
{
    static const struct option longs[] = {
        { "config", required_argument, NULL, 'c' }, { "ready-fd", required_argument, NULL, 'r' },
        { "wait", required_argument, NULL, 'w' },   { "check-config", no_argument, NULL, 'k' },
        { "help", no_argument, NULL, 'h' },         { "version", no_argument, NULL, 'V' },
        { NULL, 0, NULL, 0 },
    };
    int c;

    while ((c = getopt_long(argc, argv, "c:hV", longs, NULL)) != -1) {
        if (c == 'c') {
            o->config = optarg;
        } else if (c == 'r') {
            o->ready_fd = atoi(optarg);
        } else if (c == 'w') {
            o->wait_seconds = atoi(optarg);
        } else if (c == 'k') {
            o->check_config = true;
        } else if (c == 'h' || c == 'V') {
            c == 'h' ? (void)fputs(usage, stdout) : (void)printf("virtid-hostd %s\n", PACKAGE_VERSION);
            *ret_status = EXIT_SUCCESS;
            return -1;
        } else {
            *ret_status = 2;
            return -1;
        }
    }
    if (optind < argc && strcmp(argv[optind], "join") == 0) {
        o->join = true;
        optind++;
    }
    if (optind != argc || o->wait_seconds < 0) {
        fputs(usage, stderr);
        *ret_status = 2;
        return -1;
    }
    return 0;
}

/* As root: folders for the user we are about to be. */
static int
make_folder(const char *path, mode_t mode, const char *user, struct error *err)
{
    const struct passwd *who = geteuid() == 0 ? getpwnam(user) : NULL;

    if (geteuid() == 0 && !who)
        return error_set(err, ERROR_MISSING, "there is no user \"%s\"", user);
    if (dir_make(path, mode, err) < 0)
        return -1;
    if (who && (chown(path, who->pw_uid, who->pw_gid) < 0 || chmod(path, mode) < 0))
        return error_sys(err, errno, "%s for %s", path, user);
    return 0;
}

static int
become_user(const struct hostd_settings *s, struct error *err)
{
    if (make_folder(s->state_dir, 0750, s->user, err) < 0 ||
        make_folder(s->strict_dir, 0755, s->user, err) < 0 ||
        make_folder(s->run_dir, 0755, s->user, err) < 0)
        return -1;
    return process_become(s->user, err);
}

static int
run(const struct options *o, struct error *err)
{
    CLEANUP(hostd_conf_clear) struct hostd_conf conf = { .file = NULL };

    if (!o->join)
        reload_hold();
    if (hostd_conf_read(o->config, &conf, err) < 0)
        return error_wrap(err, "configuration");
    if (o->check_config) {
        printf("%s: ok\n", o->config);
        return 0;
    }
    if (become_user(&conf.settings, err) < 0 || host_identity_upgrade(conf.settings.state_dir, err) < 0)
        return -1;
    if (o->join)
        return join_run(conf.settings.state_dir, conf.name, o->wait_seconds, err);
    return hostd_loop(&conf, o->ready_fd, err);
}

int
main(int argc, char **argv)
{
    struct options o = { .config = VIRTID_SYSCONFDIR "/hostd.conf", .ready_fd = -1, .wait_seconds = JOIN_WAIT_SECONDS };
    struct error err = { 0 };
    int status;

    process_harden();
    json_watch_memory();
    log_open("virtid-hostd", LOG_LEVEL_INFO);
    if (read_options(argc, argv, &o, &status) < 0)
        return status;
    if (run(&o, &err) == 0)
        return EXIT_SUCCESS;
    log_error(&err, o.join ? "not joined" : "virtid-hostd ends");
    return err.code == ERROR_INPUT ? 2 : EXIT_FAILURE;
}
