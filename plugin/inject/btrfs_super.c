#include "config.h"

#include "plugin/inject/btrfs_super.h"

#include <string.h>

#include "plugin/inject/disk_reader.h"

/* Offsets of the btrfs on-disk format (Linux: include/uapi/linux/btrfs_tree.h). */
enum {
    AT_UUID = 0x20,
    AT_ADDRESS = 0x30,
    AT_FLAGS = 0x38,
    AT_MAGIC = 0x40,
    AT_LOG_ROOT = 0x60,
    AT_TOTAL = 0x70,
    AT_DEVICES = 0x88,
};

static const uint64_t SEEDING = UINT64_C(1) << 32;

static int
refuse(struct error *err, const char *problem, const char *what)
{
    return error_problem(err, ERROR_DENIED, problem, "btrfs: %s", what);
}

int
btrfs_super_check(const uint8_t bytes[static BTRFS_SUPER_LEN], uint64_t room,
                  struct btrfs_super *ret, struct error *err)
{
    if (memcmp(bytes + AT_MAGIC, "_BHRfS_M", 8) != 0 ||
        disk_le(bytes + AT_ADDRESS, 8) != BTRFS_SUPER_AT)
        return refuse(err, "image-damaged", "this is not its first superblock");
    if (disk_le(bytes + AT_DEVICES, 8) != 1)
        return refuse(err, "image-layout", "it lies on several devices");
    if (disk_le(bytes + AT_TOTAL, 8) == 0 || disk_le(bytes + AT_TOTAL, 8) > room)
        return refuse(err, "image-damaged",
                      "the filesystem is larger than the place it lies in");
    if (disk_le(bytes + AT_FLAGS, 8) & SEEDING)
        return refuse(err, "image-read-only", "marked as a seed");
    if (disk_le(bytes + AT_LOG_ROOT, 8) != 0)
        return refuse(err, "image-dirty", "a log waits to be replayed; start the guest and shut it "
                                          "down cleanly");
    memcpy(ret->uuid, bytes + AT_UUID, sizeof ret->uuid);
    return 0;
}
