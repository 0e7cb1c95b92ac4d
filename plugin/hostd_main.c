/*
 * virtid-hostd: follows libvirt, answers its hook, serves the guests' channel,
 * speaks with the token service.  What it is told on the command line and in
 * hostd.conf; the daemon's life is in hostd_loop.c.
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/common/conf.h"
#include "lib/common/error_map.h"
#include "lib/common/fdio.h"
#include "lib/common/json.h"
#include "lib/common/log.h"
#include "lib/common/process.h"
#include "lib/wire/names.h"
#include "plugin/enroll/host_identity.h"
#include "plugin/hostd_loop.h"
#include "plugin/join.h"

enum { START_WAIT_MAX = 100 /* seconds; libvirt's hook gives up at 120 */, JOIN_WAIT_SECONDS = 900 };

static const struct conf_key keys[] = {
    { "host.name", CONF_TEXT, "" },
    { "host.libvirt_uri", CONF_TEXT, "qemu:///system" },
    { "host.state_dir", CONF_TEXT, VIRTID_STATE_DIR },
    { "host.run_dir", CONF_TEXT, VIRTID_RUN_DIR },
    { "host.priv_socket", CONF_TEXT, VIRTID_PRIV_SOCKET },
    { "host.strict_dir", CONF_TEXT, "" },
    { "host.start_wait", CONF_INT, "30" },
    { "host.inject", CONF_TEXT, "auto" },
    { "host.manage", CONF_TEXT, "enabled" },
    { "host.mode", CONF_TEXT, "loose" },
    { "host.agent_program", CONF_TEXT, VIRTID_GUEST_AGENT },
    { "host.swtpm_dir", CONF_TEXT, "/var/lib/libvirt/swtpm" },
    { "host.hook_dir", CONF_TEXT, VIRTID_HOOK_DIR },
    { "host.libvirt_run_dir", CONF_TEXT, "/run" },
    { "host.admin_group", CONF_TEXT, "" },
    { "host.metrics", CONF_TEXT, "" },
    { "users.host", CONF_TEXT, "virtid" },
    { NULL, CONF_TEXT, NULL },
};

static const char usage[] =
    "Usage: virtid-hostd [--config FILE] [--ready-fd N]\n"
    "       virtid-hostd join [--config FILE] [--wait SECONDS] < JOIN-CODE\n"
    "\n"
    "  --config FILE   configuration (" VIRTID_SYSCONFDIR "/hostd.conf)\n"
    "  --ready-fd N    write a line to descriptor N when ready\n"
    "  --wait SECONDS  join: how long to wait for approval (900)\n"
    "  --help, --version\n";

struct options {
    const char *config;
    int ready_fd, wait_seconds;
    bool join;
};

/* 0: go on; else exit with *ret_status. */
static int
read_options(int argc, char **argv, struct options *o, int *ret_status)
{
    static const struct option longs[] = {
        { "config", required_argument, NULL, 'c' }, { "ready-fd", required_argument, NULL, 'r' },
        { "wait", required_argument, NULL, 'w' },   { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },      { NULL, 0, NULL, 0 },
    };
    int c;

    while ((c = getopt_long(argc, argv, "c:hV", longs, NULL)) != -1) {
        if (c == 'c') {
            o->config = optarg;
        } else if (c == 'r') {
            o->ready_fd = atoi(optarg);
        } else if (c == 'w') {
            o->wait_seconds = atoi(optarg);
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

static bool
one_of(const char *value, const char *a, const char *b, bool *ret_is_a)
{
    *ret_is_a = strcmp(value, a) == 0;
    return *ret_is_a || strcmp(value, b) == 0;
}

static int
read_settings(const struct conf *conf, struct hostd_settings *s, struct error *err)
{
    static char strict_dir[4096];
    bool enabled;

    s->libvirt_uri = conf_text(conf, "host.libvirt_uri");
    s->state_dir = conf_text(conf, "host.state_dir");
    s->run_dir = conf_text(conf, "host.run_dir");
    s->priv_socket = conf_text(conf, "host.priv_socket");
    s->strict_dir = conf_text(conf, "host.strict_dir");
    s->agent_program = conf_text(conf, "host.agent_program");
    s->swtpm_dir = conf_text(conf, "host.swtpm_dir");
    s->hook_dir = conf_text(conf, "host.hook_dir");
    s->libvirt_run_dir = conf_text(conf, "host.libvirt_run_dir");
    s->admin_group = conf_text(conf, "host.admin_group");
    s->metrics = conf_text(conf, "host.metrics");
    s->user = conf_text(conf, "users.host");
    s->start_wait_ms = conf_int(conf, "host.start_wait") * 1000;
    if (s->start_wait_ms < 1000 || s->start_wait_ms > START_WAIT_MAX * 1000)
        return error_set(err, ERROR_INPUT, "start_wait is 1 to %d seconds", START_WAIT_MAX);
    if (!one_of(conf_text(conf, "host.inject"), "auto", "never", &s->inject))
        return error_set(err, ERROR_INPUT, "inject is auto or never");
    if (!one_of(conf_text(conf, "host.manage"), "enabled", "all", &enabled))
        return error_set(err, ERROR_INPUT, "manage is enabled or all");
    s->manage_all = !enabled;
    if (lease_mode_find(conf_text(conf, "host.mode"), &s->mode, err) < 0 || s->mode == MODE_OF_HOST)
        return error_set(err, ERROR_INPUT, "mode is loose, strict or observe");
    if (strlen(s->state_dir) > 200 || strlen(s->run_dir) > 80)
        return error_set(err, ERROR_INPUT, "state_dir or run_dir is too long for a socket or file below it");
    snprintf(strict_dir, sizeof strict_dir, "%s/strict", s->state_dir);
    if (!s->strict_dir[0])
        s->strict_dir = strict_dir;
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

/* "Web1.Example" is "web1.example" in certificates. */
static int
host_name(const struct conf *conf, char ret[static NAME_HOST_MAX + 1], struct error *err)
{
    const char *given = conf_text(conf, "host.name");

    if (given[0])
        snprintf(ret, NAME_HOST_MAX + 1, "%s", given);
    else if (gethostname(ret, NAME_HOST_MAX) < 0)
        return error_sys(err, errno, "host name");
    ret[NAME_HOST_MAX] = '\0';
    for (char *at = ret; !given[0] && *at; at++) {
        if (*at >= 'A' && *at <= 'Z')
            *at = (char)(*at - 'A' + 'a');
    }
    if (!name_is_host(ret))
        return error_set(err, ERROR_INPUT, "\"%s\" is no host name; set [host] name", ret);
    return 0;
}

static int
run(const struct options *o, struct error *err)
{
    CLEANUP(conf_free) struct conf *conf = NULL;
    struct hostd_settings settings = { 0 };
    char name[NAME_HOST_MAX + 1];

    if (conf_read(o->config, keys, true, &conf, err) < 0 || read_settings(conf, &settings, err) < 0)
        return error_wrap(err, "configuration");
    if (host_name(conf, name, err) < 0 || become_user(&settings, err) < 0)
        return -1;
    if (host_identity_upgrade(settings.state_dir, err) < 0)
        return -1;
    if (o->join)
        return join_run(settings.state_dir, name, o->wait_seconds, err);
    return hostd_loop(&settings, o->ready_fd, err);
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
