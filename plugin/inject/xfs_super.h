/*
 * xfs_super.h - is this an xfs filesystem that was cleanly unmounted?
 *
 * Looked at before any mount: the superblock has no flag for it, the log must end in an unmount record.
 * The appliance's kernel looks once more, on a device that it cannot write.
 */
#pragma once

#include <stdint.h>

#include "lib/common/error.h"
#include "plugin/inject/disk_reader.h"

struct xfs_super {
    uint8_t uuid[16];
};

/*
 * `place` begins with the superblock.  ERROR_DENIED with a problem name: image-dirty (the log does not end in an
 * unmount record, or marked for repair), image-layout (a log or realtime device outside), image-damaged (impossible sizes).
 */
int xfs_super_check(const struct disk_reader *place, struct xfs_super *ret, struct error *err);
