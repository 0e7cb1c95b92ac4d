/*
 * volume.h - what lies on a partition, a logical volume or a whole disk?
 *
 * Told by signatures alone, before anything is mounted.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/common/error.h"
#include "plugin/inject/disk_reader.h"

enum { VOLUME_SIZE_MIN = 64 * 1024 };

enum volume_kind {
    VOLUME_EMPTY,
    VOLUME_UNKNOWN,
    VOLUME_OTHER, /* recognised, and no root that is written to */
    VOLUME_EXT4,
    VOLUME_XFS,
    VOLUME_BTRFS,
    VOLUME_LVM, /* a physical volume */
};

struct volume {
    enum volume_kind kind;
    uint8_t id[32]; /* the filesystem's UUID, 16 bytes and zeros, or the physical volume's */
    char problem[32]; /* "" where no root can be behind it: swap, FAT, nothing */
    char text[120];   /* what it is, for the three above */
};

/*
 * ERROR_DENIED for what forbids to write to any place of this disk: image-dirty, hibernated, image-verity.
 */
int volume_look(const struct disk_reader *place, struct volume *ret, struct error *err);

/* A filesystem that may be the root; what is in LVM is not seen yet. */
bool volume_is_filesystem(const struct volume *v);

/* The kernel's name of the filesystem: "ext4". */
const char *volume_type(enum volume_kind kind);
