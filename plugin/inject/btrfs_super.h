/*
 * btrfs_super.h - is this a btrfs filesystem of one device, with nothing left to replay?
 *
 * It does not say whether it was cleanly unmounted: who writes it must know that no VM ever ran with it.
 */
#pragma once

#include <stdint.h>

#include "lib/common/error.h"

enum { BTRFS_SUPER_AT = 65536, BTRFS_SUPER_LEN = 4096 };

struct btrfs_super {
    uint8_t uuid[16];
};

/*
 * `bytes` are those at BTRFS_SUPER_AT, `room` those of the place.  ERROR_DENIED with a problem name: image-dirty
 * (a log tree waits), image-layout (several devices), image-read-only (a seed), image-damaged (impossible sizes).
 */
int btrfs_super_check(const uint8_t bytes[static BTRFS_SUPER_LEN], uint64_t room,
                      struct btrfs_super *ret, struct error *err);
