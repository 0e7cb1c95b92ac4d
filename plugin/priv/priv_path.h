/*
 * priv_path.h - open a name from outside, below a folder from our configuration
 *
 * No symbolic link and no magic link is followed on the way (below /dev: udev's links, which must
 * stay in /dev), the folder is never left, and nothing is opened for use before it was looked at: what comes
 * back is O_PATH, which a FIFO, a device or a socket does not notice.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "lib/common/error.h"
#include "plugin/priv/priv_settings.h"

/*
 * *ret_fd is yours (O_PATH), *ret_st its fstat.  A file whose st_nlink is 1 there has no name but `path`: one that
 * lost this name meanwhile is refused.  ERROR_DENIED, problem "image-path": below none of the folders, a link on
 * the way, or replaced; ERROR_MISSING: it is not there.
 */
int priv_path_open(const struct priv_roots *roots, const char *path, int *ret_fd,
                   struct stat *ret_st, struct error *err);

/* Below /dev: may end, through udev's links, at a device, and at nothing else. */
bool priv_path_is_device(const char *path);

/* The same file, or the same block device under whatever name. */
bool priv_path_same(const struct stat *a, const struct stat *b);

/* A descriptor for use of the same file. */
int priv_path_reopen(int path_fd, int flags, int *ret_fd, struct error *err);

/* `name` as it stands in the file at `parent`: itself if absolute, else beside the parent. ERROR_DENIED: too long. */
int priv_path_beside(const char *parent, const char *name, char *ret, size_t size,
                     struct error *err);
