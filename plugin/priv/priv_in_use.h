/*
 * priv_in_use.h - has anybody this file open?
 *
 * QEMU's locks alone prove little (absent during restore, on an incoming side, after
 * kill -9), a look through /proc alone is no lock: both together, and libvirt's
 * starts wait for the lease meanwhile.
 */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "lib/common/error.h"

/*
 * Take QEMU's permission and sharing bytes for writing on this open file description: no QEMU can open
 * the image until the last copy of `fd` is closed.  ERROR_DENIED, problem "image-in-use": somebody holds one.
 */
int priv_in_use_lock(int fd, struct error *err);

/* Backing files may be shared by readers; ERROR_DENIED "image-in-use": a QEMU holds it for writing. */
int priv_in_use_writers(int fd, struct error *err);

/*
 * Of a block device every name counts, and its disk and the disk's partitions too.
 * ERROR_DENIED "image-in-use": a process has the file open (with `writers_only`: for writing), or a loop
 * device is made of it.  We and the process group `except` (0: none) do not count.
 */
int priv_in_use_scan(const struct stat *file, bool writers_only, pid_t except,
                     struct error *err);
