/*
 * ext4_super.h - is this an ext4 filesystem that was cleanly unmounted?
 *
 * Looked at before any mount, because a mount with a dirty journal already
 * writes.  Not here: where on the disk it lies (disk_layout.h).
 */
#pragma once

#include <stdint.h>

#include "lib/common/error.h"

enum { EXT4_SUPER_AT = 1024, EXT4_SUPER_LEN = 1024 };

struct ext4_super {
    uint8_t uuid[16];
    uint64_t size; /* of the filesystem, in bytes */
};

/*
 * `bytes` are those at EXT4_SUPER_AT.  ERROR_DENIED with a problem name:
 * image-layout (no extents, or a journal outside), image-dirty (needs_recovery, not marked clean, or marked
 * as damaged), image-encrypted (the encrypt feature), image-verity, image-damaged (no magic, or
 * a size that cannot be).
 */
int ext4_super_check(const uint8_t bytes[static EXT4_SUPER_LEN], struct ext4_super *ret,
                     struct error *err);
