/*
 * root.h - which filesystem of this disk is the guest's root?
 *
 * The one with an /etc and an os-release: exactly one, whether on a partition, in LVM or in a btrfs
 * subvolume.  Logical volumes are looked for in the appliance, which has no disk but this one: their names
 * mean nothing to the host.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/common/error.h"
#include "plugin/inject/appliance.h"
#include "plugin/inject/disk_layout.h"

struct root {
    struct disk_place place;
    uint64_t subvolume; /* of btrfs */
};

/*
 * On a disk that is attached read-only; mounts and unmounts.  ERROR_DENIED, problem: no-os, two-roots, image-unmarked
 * (btrfs, and not `never_ran`), image-read-only, image-damaged (cannot be mounted), those of volume.h for a
 * logical volume, and what disk_layout_refuse() knows.
 */
int root_find(struct appliance *a, const char *device, const struct disk_layout *layout,
              bool never_ran, struct root *ret, struct error *err);

/*
 * Mount the root that was found, on a disk that was attached since as `device`, at "/".  Looked at once more first:
 * ERROR_DENIED image-layout if another filesystem is there.
 */
int root_mount(struct appliance *a, const char *device, const struct root *root, bool writable,
               struct error *err);

/* Unmount, and let the disk go. */
int root_unmount(struct appliance *a, const struct root *root, struct error *err);
