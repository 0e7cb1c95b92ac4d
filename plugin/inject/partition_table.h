/*
 * partition_table.h - the partitions of an MBR or GPT, numbered as Linux numbers them
 *
 * Not here: what lies on them (volume.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/error.h"
#include "plugin/inject/disk_reader.h"

enum { PARTITIONS_MAX = 32 };

struct partition {
    unsigned number;  /* as in /dev/sda5 */
    uint64_t at, len; /* in bytes, inside the disk */
};

struct partition_table {
    struct partition parts[PARTITIONS_MAX];
    size_t n;
};

/*
 * `first` is the disk's first sector, which ends in 55 aa.  ERROR_DENIED, problem: image-layout (impossible,
 * overlapping, none, or more than PARTITIONS_MAX partitions), image-verity (a partition of a type that names it).
 */
int partition_table_read(const struct disk_reader *disk, const uint8_t first[static DISK_SECTOR],
                         struct partition_table *ret, struct error *err);
