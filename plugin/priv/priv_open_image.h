/*
 * priv_open_image.h - a disk image by the name that somebody gave us
 */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/wire/priv_msg.h"
#include "plugin/priv/priv_settings.h"

struct priv_image {
    char path[PRIV_PATH_MAX + 1];
    int read_fd;
    int write_fd; /* -1: opened read-only */
    struct stat st;
};
#define PRIV_IMAGE() ((struct priv_image){ .read_fd = -1, .write_fd = -1 })

/*
 * The top of a chain: opened for reading and writing, locked, open nowhere else.  ERROR_DENIED, problem:
 * image-path (outside of the roots, a link on the way, no regular file, hard links, foreign owner; below /dev:
 * no block device),
 * image-read-only, image-in-use, image-backing (other images are built upon it); ERROR_MISSING.
 */
int priv_open_image_top(const struct priv_settings *s, const char *path, struct priv_image *ret,
                        struct error *err);

/*
 * A backing file, by the name that stands in the header of `parent`: the same rules, read-only,
 * and nobody has it open for writing.  Further: image-chain for json: and protocol names.
 */
int priv_open_image_backing(const struct priv_settings *s, const struct priv_image *parent,
                            const char *name, struct priv_image *ret, struct error *err);

/* Once more, right before writing: nobody but the process group `except` has it open now. */
int priv_open_image_check(const struct priv_image *image, pid_t except, struct error *err);

void priv_open_image_close(struct priv_image *image);
#define priv_open_image_close_at priv_open_image_close
