#include "config.h"

#include "plugin/inject/ext4_super.h"

#include <string.h>

#include "plugin/inject/disk_reader.h"

/* Offsets and bits of Documentation/filesystems/ext4/super.rst (Linux). */
enum {
    AT_BLOCKS_LOW = 0x4,
    AT_LOG_BLOCK_SIZE = 0x18,
    AT_MAGIC = 0x38,
    AT_STATE = 0x3a,
    AT_COMPATIBLE = 0x5c,
    AT_INCOMPATIBLE = 0x60,
    AT_READ_ONLY_COMPATIBLE = 0x64,
    AT_UUID = 0x68,
    AT_LAST_ORPHAN = 0xe8,
    AT_BLOCKS_HIGH = 0x150,
    MAGIC = 0xef53,
    STATE_CLEAN = 1,
    STATE_ERRORS = 2,
    STATE_ORPHANS = 4,
    LOG_BLOCK_SIZE_MAX = 6, /* 64 KiB */
};

static const uint32_t NEEDS_RECOVERY = 0x4, JOURNAL_DEVICE = 0x8, EXTENTS = 0x40, BIT64 = 0x80,
                      ENCRYPT = 0x10000, VERITY = 0x8000, READ_ONLY = 0x1000,
                      ORPHANS_PRESENT = 0x10000;

static uint32_t
le32(const uint8_t *at)
{
    return (uint32_t)disk_le(at, 4);
}

static uint16_t
le16(const uint8_t *at)
{
    return (uint16_t)disk_le(at, 2);
}

static int
refuse(struct error *err, const char *problem, const char *what)
{
    return error_problem(err, ERROR_DENIED, problem, "%s", what);
}

static int
check_clean(const uint8_t *bytes, struct error *err)
{
    uint16_t state = le16(bytes + AT_STATE);

    if (le32(bytes + AT_INCOMPATIBLE) & NEEDS_RECOVERY)
        return refuse(err, "image-dirty", "ext4: the journal needs recovery; start the guest and "
                                          "shut it down cleanly");
    if (state & STATE_ERRORS)
        return refuse(err, "image-dirty", "ext4: marked as damaged; run e2fsck in the guest");
    if (!(state & STATE_CLEAN))
        return refuse(err, "image-dirty", "ext4: not cleanly unmounted");
    if ((state & STATE_ORPHANS) || le32(bytes + AT_LAST_ORPHAN) != 0 ||
        (le32(bytes + AT_READ_ONLY_COMPATIBLE) & ORPHANS_PRESENT))
        return refuse(err, "image-dirty", "ext4: deleted files still wait to be cleaned up");
    return 0;
}

static int
check_features(const uint8_t *bytes, struct error *err)
{
    uint32_t incompatible = le32(bytes + AT_INCOMPATIBLE);
    uint32_t read_only = le32(bytes + AT_READ_ONLY_COMPATIBLE);

    if (!(incompatible & EXTENTS))
        return refuse(err, "image-layout", "the filesystem is ext2 or ext3, not ext4");
    if (incompatible & JOURNAL_DEVICE)
        return refuse(err, "image-layout", "ext4: its journal lies on another device");
    if (incompatible & ENCRYPT)
        return refuse(err, "image-encrypted", "ext4: uses encryption");
    if (read_only & VERITY)
        return refuse(err, "image-verity", "ext4: uses verity");
    if (read_only & READ_ONLY)
        return refuse(err, "image-read-only", "ext4: marked read-only");
    return 0;
}

static int
take_size(const uint8_t *bytes, struct ext4_super *s, struct error *err)
{
    uint32_t log = le32(bytes + AT_LOG_BLOCK_SIZE);
    uint64_t blocks = le32(bytes + AT_BLOCKS_LOW);

    if (le32(bytes + AT_INCOMPATIBLE) & BIT64)
        blocks |= (uint64_t)le32(bytes + AT_BLOCKS_HIGH) << 32;
    if (log > LOG_BLOCK_SIZE_MAX || blocks == 0 || blocks > UINT64_MAX >> (10 + log))
        return refuse(err, "image-damaged", "ext4: impossible size");
    s->size = blocks << (10 + log);
    return 0;
}

int
ext4_super_check(const uint8_t bytes[static EXT4_SUPER_LEN], struct ext4_super *ret,
                 struct error *err)
{
    struct ext4_super s;

    if (le16(bytes + AT_MAGIC) != MAGIC)
        return refuse(err, "image-layout", "no ext4 filesystem where one is looked for");
    if (check_features(bytes, err) < 0 || check_clean(bytes, err) < 0 ||
        take_size(bytes, &s, err) < 0)
        return -1;
    memcpy(s.uuid, bytes + AT_UUID, sizeof s.uuid);
    *ret = s;
    return 0;
}
