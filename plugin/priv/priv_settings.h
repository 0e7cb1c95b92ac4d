/*
 * priv_settings.h - privd.conf, with its users looked up
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"

enum { PRIV_ROOTS_MAX = 16 };

/* Folders under which a request may name a file; ends with NULL. */
struct priv_roots {
    const char *folders[PRIV_ROOTS_MAX + 1];
};

/* What is done with a guest that another host has since this one was fenced. */
enum priv_fence_action { PRIV_FENCE_REPORT, PRIV_FENCE_PAUSE, PRIV_FENCE_DESTROY };

struct conf;

struct priv_settings {
    struct conf *conf; /* the texts below live in it */
    const char *path;  /* the caller's */
    bool may_be_missing;
    const char *socket, *swtpm_dir, *libvirt_run_dir, *save_dir, *cache_dir, *inject_program;
    const char *libvirt_uri, *virsh;
    enum priv_fence_action fence_action;
    struct priv_roots image_roots, channel_roots;
    char worker_dir[64]; /* cache_dir/inject: leaves room for the names of sockets below it */
    char accel[8]; /* "kvm" or "tcg", never "auto" after priv_settings_probe() */
    uid_t host_uid, qemu_uid, swtpm_uid, inject_uid;
    gid_t host_gid, swtpm_gid, inject_gid;
};

/* ERROR_INPUT: file and line; ERROR_MISSING: a user that is not there, by the name of its key. */
int priv_settings_read(const char *path, bool may_be_missing, struct priv_settings *ret,
                       struct error *err);
/*
 * SIGHUP: the file again, of which image_roots, channel_roots and fence_action are taken; the rest stays until a restart.
 * A file that is wrong is refused as a whole.  Logs what came of it.
 */
void priv_settings_reload(struct priv_settings *s);
void priv_settings_clear(struct priv_settings *s);
#define priv_settings_clear_at priv_settings_clear
