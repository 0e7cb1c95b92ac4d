#include "config.h"

#include "plugin/priv/priv_settings.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "lib/common/conf.h"
#include "lib/common/reload.h"

static const struct conf_key keys[] = {
    { "priv.socket", CONF_TEXT, "/run/virtid-priv/priv.sock" },
    { "priv.host_user", CONF_TEXT, "virtid" },
    { "priv.image_roots", CONF_LIST, "/var/lib/libvirt/images" },
    { "priv.swtpm_dir", CONF_TEXT, "/var/lib/libvirt/swtpm" },
    { "priv.swtpm_user", CONF_TEXT, "tss" },
    { "priv.qemu_user", CONF_TEXT, "libvirt-qemu" },
    { "priv.libvirt_run_dir", CONF_TEXT, "/run/libvirt/qemu" },
    { "priv.channel_roots", CONF_LIST,
      "/var/lib/libvirt/qemu/channel /run/libvirt/qemu/channel" },
    { "priv.save_dir", CONF_TEXT, "/var/lib/libvirt/qemu/save" },
    { "priv.inject_user", CONF_TEXT, "virtid-inject" },
    { "priv.inject_program", CONF_TEXT, VIRTID_LIBEXECDIR "/virtid-inject" },
    { "priv.cache_dir", CONF_TEXT, "/var/cache/virtid" },
    { "priv.accel", CONF_TEXT, "auto" },
    { "priv.fence_action", CONF_TEXT, "report" },
    { "priv.libvirt_uri", CONF_TEXT, "qemu:///system" },
    { "priv.virsh", CONF_TEXT, "/usr/bin/virsh" },
    { NULL, CONF_TEXT, NULL },
};

void
priv_settings_clear(struct priv_settings *s)
{
    conf_free(s->conf);
    s->conf = NULL;
}

static int
find_user(const struct conf *conf, const char *key, uid_t *ret_uid, gid_t *ret_gid,
          struct error *err)
{
    const char *name = conf_text(conf, key);
    const struct passwd *who = getpwnam(name);

    if (!who)
        return error_set(err, ERROR_MISSING, "%s: there is no user \"%s\"", key, name);
    *ret_uid = who->pw_uid;
    *ret_gid = who->pw_gid;
    return 0;
}

static int
read_users(struct priv_settings *s, struct error *err)
{
    gid_t ignored;

    if (find_user(s->conf, "priv.host_user", &s->host_uid, &s->host_gid, err) < 0 ||
        find_user(s->conf, "priv.qemu_user", &s->qemu_uid, &ignored, err) < 0 ||
        find_user(s->conf, "priv.swtpm_user", &s->swtpm_uid, &s->swtpm_gid, err) < 0 ||
        find_user(s->conf, "priv.inject_user", &s->inject_uid, &s->inject_gid, err) < 0)
        return -1;
    if (s->host_uid == 0 || s->inject_uid == 0)
        return error_set(err, ERROR_INPUT, "host_user and inject_user must not be root");
    if (s->host_uid == s->inject_uid)
        return error_set(err, ERROR_INPUT, "host_user and inject_user must be two users");
    return 0;
}

static int
read_roots(const struct conf *conf, const char *key, struct priv_roots *ret, struct error *err)
{
    const char *folder;
    size_t n = 0;

    while ((folder = conf_item(conf, key, n))) {
        size_t len = strlen(folder);

        if (folder[0] != '/' || len < 2 || folder[len - 1] == '/')
            return error_set(err, ERROR_INPUT, "%s: \"%s\" is not an absolute folder without a '/' at its end",
                             key, folder);
        if (n == PRIV_ROOTS_MAX)
            return error_set(err, ERROR_INPUT, "%s: more than %d folders", key, PRIV_ROOTS_MAX);
        ret->folders[n++] = folder;
    }
    ret->folders[n] = NULL;
    return 0;
}

static int
read_all_roots(struct priv_settings *s, struct error *err)
{
    return read_roots(s->conf, "priv.image_roots", &s->image_roots, err) < 0 ||
                   read_roots(s->conf, "priv.channel_roots", &s->channel_roots, err) < 0
               ? -1
               : 0;
}

static int
read_fence_action(struct priv_settings *s, struct error *err)
{
    static const char *const words[] = { "report", "pause", "destroy" };
    const char *word = conf_text(s->conf, "priv.fence_action");

    s->libvirt_uri = conf_text(s->conf, "priv.libvirt_uri");
    s->virsh = conf_text(s->conf, "priv.virsh");
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(words[i], word) == 0) {
            s->fence_action = (enum priv_fence_action)i;
            return 0;
        }
    }
    return error_set(err, ERROR_INPUT, "priv.fence_action: \"%s\" is neither report, pause nor destroy", word);
}

static int
read_texts(struct priv_settings *s, struct error *err)
{
    const char *accel = conf_text(s->conf, "priv.accel");

    s->socket = conf_text(s->conf, "priv.socket");
    s->swtpm_dir = conf_text(s->conf, "priv.swtpm_dir");
    s->libvirt_run_dir = conf_text(s->conf, "priv.libvirt_run_dir");
    s->save_dir = conf_text(s->conf, "priv.save_dir");
    s->cache_dir = conf_text(s->conf, "priv.cache_dir");
    s->inject_program = conf_text(s->conf, "priv.inject_program");
    if (snprintf(s->worker_dir, sizeof s->worker_dir, "%s/inject", s->cache_dir) >=
        (int)sizeof s->worker_dir)
        return error_set(err, ERROR_INPUT, "priv.cache_dir: longer than %zu characters",
                         sizeof s->worker_dir - sizeof "/inject");
    if (strcmp(accel, "auto") != 0 && strcmp(accel, "kvm") != 0 && strcmp(accel, "tcg") != 0)
        return error_set(err, ERROR_INPUT, "priv.accel: \"%s\" is neither auto, kvm nor tcg", accel);
    snprintf(s->accel, sizeof s->accel, "%s", accel);
    return read_fence_action(s, err);
}

int
priv_settings_read(const char *path, bool may_be_missing, struct priv_settings *ret,
                   struct error *err)
{
    CLEANUP(priv_settings_clear) struct priv_settings s = { .path = path, .may_be_missing = may_be_missing };

    if (conf_read(path, keys, may_be_missing, &s.conf, err) < 0)
        return -1;
    if (read_texts(&s, err) < 0 || read_users(&s, err) < 0 || read_all_roots(&s, err) < 0)
        return error_wrap(err, "%s", path);
    *ret = s;
    s.conf = NULL;
    return 0;
}

void
priv_settings_reload(struct priv_settings *s)
{
    static const char *const live[] = { "priv.image_roots", "priv.channel_roots", "priv.fence_action", NULL };
    CLEANUP(priv_settings_clear) struct priv_settings fresh = { 0 };
    struct error err;

    if (priv_settings_read(s->path, s->may_be_missing, &fresh, &err) < 0) {
        reload_refused(&err);
        return;
    }
    reload_take(s->path, s->conf, fresh.conf, live);
    (void)read_all_roots(s, &err); /* they have passed in the file that they are from */
    (void)read_fence_action(s, &err);
}
