#include "config.h"

#include "plugin/hostd_conf.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/common/conf.h"
#include "lib/common/error_map.h"
#include "lib/common/reload.h"
#include "lib/http/http_server.h"

enum { START_WAIT_MAX = 100 /* seconds; libvirt's hook gives up at 120 */ };

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

/* What can be taken while it runs.  The name is what the next `virtid-hostd join` asks for. */
static const char *const live[] = { "host.name", "host.start_wait", "host.inject", "host.manage", "host.mode", NULL };

static bool
one_of(const char *value, const char *a, const char *b, bool *ret_is_a)
{
    *ret_is_a = strcmp(value, a) == 0;
    return *ret_is_a || strcmp(value, b) == 0;
}

static int
read_settings(struct hostd_conf *c, struct error *err)
{
    struct hostd_settings *s = &c->settings;
    const struct conf *conf = c->file;
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
        return error_set(err, ERROR_INPUT, "[host] start_wait is 1 to %d seconds", START_WAIT_MAX);
    if (!one_of(conf_text(conf, "host.inject"), "auto", "never", &s->inject))
        return error_set(err, ERROR_INPUT, "[host] inject is auto or never");
    if (!one_of(conf_text(conf, "host.manage"), "enabled", "all", &enabled))
        return error_set(err, ERROR_INPUT, "[host] manage is enabled or all");
    s->manage_all = !enabled;
    if (lease_mode_find(conf_text(conf, "host.mode"), &s->mode, err) < 0 || s->mode == MODE_OF_HOST)
        return error_set(err, ERROR_INPUT, "[host] mode is loose, strict or observe");
    if (strlen(s->state_dir) > 200 || strlen(s->run_dir) > 80)
        return error_set(err, ERROR_INPUT, "[host] state_dir or run_dir is too long for a socket or file below it");
    snprintf(c->strict_dir, sizeof c->strict_dir, "%s/strict", s->state_dir);
    if (!s->strict_dir[0])
        s->strict_dir = c->strict_dir;
    if (s->metrics[0] && http_metrics_check(s->metrics, err) < 0)
        return error_wrap(err, "[host]");
    if (s->admin_group[0] && !getgrnam(s->admin_group))
        return error_set(err, ERROR_MISSING, "[host] admin_group: there is no group \"%s\"", s->admin_group);
    return 0;
}

/* "Web1.Example" is "web1.example" in certificates. */
static int
find_name(const struct conf *conf, char ret[static NAME_HOST_MAX + 1], struct error *err)
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

int
hostd_conf_read(const char *path, struct hostd_conf *ret, struct error *err)
{
    *ret = (struct hostd_conf){ .path = path };
    if (conf_read(path, keys, true, &ret->file, err) < 0)
        return -1;
    if (read_settings(ret, err) == 0 && find_name(ret->file, ret->name, err) == 0)
        return 0;
    hostd_conf_clear(ret);
    return error_wrap(err, "%s", path);
}

void
hostd_conf_take(struct hostd_conf *running, struct hostd_conf *fresh)
{
    struct error ignored;

    reload_take(running->path, running->file, fresh->file, live);
    (void)read_settings(running, &ignored); /* each of them has passed in one file or the other */
}

void
hostd_conf_clear(struct hostd_conf *c)
{
    conf_free(c->file);
    c->file = NULL;
}
