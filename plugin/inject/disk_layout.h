/*
 * disk_layout.h - where on this disk may a root filesystem be?
 *
 * The whole disk, or the partitions of an MBR or GPT.  What lies inside of LVM only the appliance can tell
 * (root.h), and which of several filesystems is the root only their files.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/common/error.h"
#include "plugin/inject/disk_reader.h"
#include "plugin/inject/partition_table.h"
#include "plugin/inject/volume.h"

enum { DISK_LV_MAX = 255 };

struct disk_place {
    struct partition partition; /* number 0: the whole disk, or a logical volume */
    char lv[DISK_LV_MAX + 1];   /* "/dev/VG/LV", which root.h adds */
    struct volume volume;
};

struct disk_layout {
    struct disk_place places[PARTITIONS_MAX];
    size_t n;
};

/*
 * Reads, writes nothing.  ERROR_DENIED: the problem names of partition_table.h and volume.h; and where no
 * place can hold a root, why: image-encrypted, image-layout, image-empty and others, the weightiest of its places.
 */
int disk_layout_find(const struct disk_reader *disk, struct disk_layout *ret, struct error *err);

/*
 * The weightiest reason for which none of `n` volumes holds the root: what is in the way, or
 * `otherwise` and its text if nothing is.  Fills *err with ERROR_DENIED and returns -1.
 */
int disk_layout_refuse(const struct disk_layout *layout, const char *otherwise, const char *text,
                       struct error *err);
