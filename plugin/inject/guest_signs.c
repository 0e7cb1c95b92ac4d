#include "config.h"

#include "plugin/inject/guest_signs.h"

#include <errno.h>
#include <guestfs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "plugin/inject/guestfs_error.h"

/* Links on the way may lead anywhere within the guest; one that leads nowhere is as if nothing were there. */
static bool
is_there(guestfs_h *g, const char *path)
{
    return guestfs_exists(g, path) == 1;
}

/* The folder itself: files are written there, and never through a link. */
static bool
is_folder(guestfs_h *g, const char *path)
{
    struct guestfs_statns *st = guestfs_lstatns(g, path);
    bool folder = st && S_ISDIR(st->st_mode);

    guestfs_free_statns(st);
    return folder;
}

static int
read_init(guestfs_h *g, struct guest_signs *s, struct error *err)
{
    struct guestfs_statns *st = guestfs_lstatns(g, "/sbin/init");
    char *target;
    bool link;

    if (!st)
        return guestfs_last_errno(g) == ENOENT ? 0 : guestfs_failed(g, err, "/sbin/init");
    link = S_ISLNK(st->st_mode);
    guestfs_free_statns(st);
    s->init = true;
    if (!link)
        return 0;
    target = guestfs_readlink(g, "/sbin/init");
    if (!target)
        return guestfs_failed(g, err, "/sbin/init");
    snprintf(s->init_target, sizeof s->init_target, "%s", target);
    free(target);
    return 0;
}

/* A device or a FIFO in its place is not opened. */
static void
read_shell(guestfs_h *g, struct guest_signs *s)
{
    char *bytes;
    size_t len = 0;

    if (guestfs_is_file_opts(g, "/bin/sh", GUESTFS_IS_FILE_OPTS_FOLLOWSYMLINKS, 1, -1) != 1)
        return;
    bytes = guestfs_pread(g, "/bin/sh", sizeof s->shell, 0, &len);
    if (!bytes)
        return;
    s->shell_len = len < sizeof s->shell ? len : sizeof s->shell;
    memcpy(s->shell, bytes, s->shell_len);
    free(bytes);
}

int
guest_signs_read(guestfs_h *g, struct guest_signs *ret, struct error *err)
{
    memset(ret, 0, sizeof *ret);
    if (read_init(g, ret, err) < 0)
        return -1;
    ret->systemd = is_there(g, "/usr/lib/systemd/systemd") || is_there(g, "/lib/systemd/systemd");
    ret->glibc = is_there(g, "/lib64/ld-linux-x86-64.so.2");
    ret->openrc = (is_there(g, "/sbin/openrc-run") || is_there(g, "/usr/sbin/openrc-run")) &&
                  is_folder(g, "/etc/init.d") && is_folder(g, "/etc/runlevels/default");
    ret->sysvinit = is_folder(g, "/etc/init.d") && is_folder(g, "/etc/rc2.d");
    read_shell(g, ret);
    return 0;
}
