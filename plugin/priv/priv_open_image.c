#include "config.h"

#include "plugin/priv/priv_open_image.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "lib/common/fdio.h"
#include "plugin/priv/priv_in_use.h"
#include "plugin/priv/priv_overlays.h"
#include "plugin/priv/priv_path.h"

static int
refuse(struct error *err, const char *path, const char *why)
{
    return error_problem(err, ERROR_DENIED, "image-path", "%.200s %s", path, why);
}

static int
check_kind(const struct priv_settings *s, const char *path, const struct stat *st, struct error *err)
{
    bool device = priv_path_is_device(path);

    if (device ? !S_ISBLK(st->st_mode) : !S_ISREG(st->st_mode))
        return refuse(err, path, device ? "is no block device" : "is no regular file");
    if (!device && st->st_nlink != 1)
        return refuse(err, path, "has other names (hard links)");
    if (st->st_uid != 0 && st->st_uid != s->qemu_uid)
        return refuse(err, path, "belongs neither to root nor to QEMU's user");
    return 0;
}

static int
open_checked(const struct priv_settings *s, const char *path, int *ret_fd, struct priv_image *image,
             struct error *err)
{
    CLEANUP(fd_close) int fd = -1;

    if (priv_path_open(&s->image_roots, path, &fd, &image->st, err) < 0 ||
        check_kind(s, path, &image->st, err) < 0)
        return -1;
    snprintf(image->path, sizeof image->path, "%s", path);
    if (priv_path_reopen(fd, O_RDONLY, &image->read_fd, err) < 0)
        return -1;
    *ret_fd = fd_steal(&fd);
    return 0;
}

void
priv_open_image_close(struct priv_image *image)
{
    fd_close(image->read_fd);
    fd_close(image->write_fd);
    *image = PRIV_IMAGE();
}

int
priv_open_image_top(const struct priv_settings *s, const char *path, struct priv_image *ret,
                    struct error *err)
{
    CLEANUP(priv_open_image_close) struct priv_image image = PRIV_IMAGE();
    CLEANUP(fd_close) int fd = -1;
    int flags = O_RDWR;

    if (open_checked(s, path, &fd, &image, err) < 0)
        return -1;
    /* The kernel's own uses of a device (mounts, LVM, swap) are in no list of open files, but exclude ours. */
    if (S_ISBLK(image.st.st_mode))
        flags |= O_EXCL;
    if ((image.st.st_mode & 0222) == 0)
        return error_problem(err, ERROR_DENIED, "image-read-only", "%.200s has no write permission",
                             path);
    if (priv_path_reopen(fd, flags, &image.write_fd, err) < 0 ||
        priv_in_use_lock(image.write_fd, err) < 0 ||
        priv_in_use_scan(&image.st, false, 0, err) < 0 ||
        priv_overlays_none(&s->image_roots, &image.st, err) < 0)
        return error_wrap(err, "%.100s", path);
    *ret = image;
    image = PRIV_IMAGE();
    return 0;
}

/* "json:{...}", "nbd://host", "rbd:pool": QEMU takes a colon before any '/' for a protocol. */
static bool
names_a_protocol(const char *name)
{
    const char *colon = strchr(name, ':'), *slash = strchr(name, '/');

    return colon && (!slash || colon < slash);
}

int
priv_open_image_backing(const struct priv_settings *s, const struct priv_image *parent,
                        const char *name, struct priv_image *ret, struct error *err)
{
    CLEANUP(priv_open_image_close) struct priv_image image = PRIV_IMAGE();
    CLEANUP(fd_close) int fd = -1;
    char path[PRIV_PATH_MAX + 1];

    if (names_a_protocol(name))
        return error_problem(err, ERROR_DENIED, "image-chain", "a backing file is no plain file");
    if (priv_path_beside(parent->path, name, path, sizeof path, err) < 0 ||
        open_checked(s, path, &fd, &image, err) < 0 ||
        priv_in_use_writers(image.read_fd, err) < 0 ||
        priv_in_use_scan(&image.st, true, 0, err) < 0)
        return error_wrap(err, "backing file");
    *ret = image;
    image = PRIV_IMAGE();
    return 0;
}

int
priv_open_image_check(const struct priv_image *image, pid_t except, struct error *err)
{
    return priv_in_use_scan(&image->st, image->write_fd < 0, except, err);
}
