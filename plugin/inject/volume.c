#include "config.h"

#include "plugin/inject/volume.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/cleanup.h"
#include "plugin/inject/btrfs_super.h"
#include "plugin/inject/ext4_super.h"
#include "plugin/inject/xfs_super.h"

enum {
    FRONT_LEN = 128 * 1024, /* all signatures at a place's front lie in it */
    LVM_LABELS = 4,         /* the label is in one of the first four sectors */
    LVM_HEADER_OFFSET = 20,
    LVM_ID_LEN = 32,
    RAID_BLOCK = 64 * 1024,
};

struct magic {
    uint32_t at;
    const char *bytes;
    const char *problem, *name;
};

/* Signatures as libblkid knows them; swap ends its first page, of 4, 8, 16 or 64 KiB. */
static const struct magic magics[] = {
    { 0, "LUKS\xba\xbe", "image-encrypted", "LUKS encryption" },
    { 0, "verity", "image-verity", "hashes of a sealed filesystem" },
#define SLEPT(page)                                                                                \
    { (page)-10, "S1SUSPEND", "hibernated", "a hibernated guest" },                                \
        { (page)-10, "S2SUSPEND", "hibernated", "a hibernated guest" },                            \
        { (page)-10, "ULSUSPEND", "hibernated", "a hibernated guest" },                            \
        { (page)-10, "LINHIB0001", "hibernated", "a hibernated guest" },                           \
        { (page)-10, "SWAPSPACE2", "", "swap space" }, { (page)-10, "SWAP-SPACE", "", "swap space" }
    SLEPT(4096),
    SLEPT(8192),
    SLEPT(16384),
    SLEPT(65536),
    { 3, "NTFS    ", "image-layout", "NTFS" },
    { 3, "-FVE-FS-", "image-encrypted", "BitLocker" },
    { 3, "EXFAT   ", "", "exFAT" },
    { 82, "FAT32", "", "FAT" },
    { 54, "FAT1", "", "FAT" },
    { 0, "hsqs", "image-layout", "squashfs" },
    { 0x400, "\xe2\xe1\xf5\xe0", "image-layout", "erofs" },
    { 0x400, "\x10\x20\xf5\xf2", "image-layout", "f2fs" },
    { 0x10034, "ReIsEr", "image-layout", "reiserfs" },
    { 0x8001, "CD001", "image-layout", "a CD image" },
    { 0, "\xfc\x4e\x2b\xa9", "image-layout", "a RAID member" },
    { 4096, "\xfc\x4e\x2b\xa9", "image-layout", "a RAID member" },
    { 0x1018, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca", "image-layout", "a bcache device" },
    { 0, "integrt", "image-layout", "dm-integrity" },
};

bool
volume_is_filesystem(const struct volume *v)
{
    return v->kind == VOLUME_EXT4 || v->kind == VOLUME_XFS || v->kind == VOLUME_BTRFS;
}

const char *
volume_type(enum volume_kind kind)
{
    return kind == VOLUME_XFS ? "xfs" : kind == VOLUME_BTRFS ? "btrfs" : "ext4";
}

static const struct magic *
find_magic(const uint8_t *front, size_t len)
{
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
        size_t n = strlen(magics[i].bytes);

        if (magics[i].at + n <= len && memcmp(front + magics[i].at, magics[i].bytes, n) == 0)
            return &magics[i];
    }
    return NULL;
}

/* Mirrors with their superblock at the end look like the filesystem that they hold. */
static int
is_raid_member(const struct disk_reader *place, bool *ret, struct error *err)
{
    uint64_t old = place->size / RAID_BLOCK * RAID_BLOCK - RAID_BLOCK;
    uint64_t end = (place->size / DISK_SECTOR - 16) / 8 * 8 * DISK_SECTOR;
    uint8_t bytes[4];

    if (disk_reader_get(place, old, bytes, sizeof bytes, err) < 0)
        return -1;
    *ret = disk_le(bytes, 4) == 0xa92b4efc;
    if (disk_reader_get(place, end, bytes, sizeof bytes, err) < 0)
        return -1;
    *ret = *ret || disk_le(bytes, 4) == 0xa92b4efc;
    return 0;
}

static bool
find_lvm(const uint8_t *front, struct volume *v)
{
    for (size_t i = 0; i < LVM_LABELS; i++) {
        const uint8_t *label = front + i * DISK_SECTOR;
        uint64_t at = disk_le(label + LVM_HEADER_OFFSET, 4);

        if (memcmp(label, "LABELONE", 8) != 0)
            continue;
        v->kind = VOLUME_LVM;
        if (at <= DISK_SECTOR - LVM_ID_LEN)
            memcpy(v->id, label + at, LVM_ID_LEN);
        return true;
    }
    return false;
}

static int
look_ext4(const uint8_t *front, uint64_t room, struct volume *v, struct error *err)
{
    struct ext4_super super;

    if (ext4_super_check(front + EXT4_SUPER_AT, &super, err) < 0)
        return -1;
    if (super.size > room)
        return error_problem(err, ERROR_DENIED, "image-damaged",
                             "ext4: the filesystem is larger than the place it lies in");
    v->kind = VOLUME_EXT4;
    memcpy(v->id, super.uuid, sizeof super.uuid);
    return 0;
}

static int
look_xfs(const struct disk_reader *place, struct volume *v, struct error *err)
{
    struct xfs_super super;

    if (xfs_super_check(place, &super, err) < 0)
        return -1;
    v->kind = VOLUME_XFS;
    memcpy(v->id, super.uuid, sizeof super.uuid);
    return 0;
}

static int
look_btrfs(const uint8_t *front, uint64_t room, struct volume *v, struct error *err)
{
    struct btrfs_super super;

    if (btrfs_super_check(front + BTRFS_SUPER_AT, room, &super, err) < 0)
        return -1;
    v->kind = VOLUME_BTRFS;
    memcpy(v->id, super.uuid, sizeof super.uuid);
    return 0;
}

static bool
has_ext4_magic(const uint8_t *front)
{
    return disk_le(front + EXT4_SUPER_AT + 0x38, 2) == 0xef53;
}

/* `front` is FRONT_LEN bytes, zeros behind the place's end. */
static int
look_at_front(const struct disk_reader *place, const uint8_t *front, struct volume *v,
              struct error *err)
{
    const struct magic *magic = find_magic(front, FRONT_LEN);
    bool raid;

    if (magic)
        return error_problem(err, ERROR_DENIED, magic->problem, "there is %s", magic->name);
    if (is_raid_member(place, &raid, err) < 0)
        return -1;
    if (raid)
        return error_problem(err, ERROR_DENIED, "image-layout", "there is a RAID member");
    if (find_lvm(front, v))
        return 0;
    if (memcmp(front, "XFSB", 4) == 0)
        return look_xfs(place, v, err);
    if (memcmp(front + BTRFS_SUPER_AT + 0x40, "_BHRfS_M", 8) == 0)
        return look_btrfs(front, place->size, v, err);
    if (has_ext4_magic(front))
        return look_ext4(front, place->size, v, err);
    v->kind = disk_is_zero(front, FRONT_LEN) ? VOLUME_EMPTY : VOLUME_UNKNOWN;
    snprintf(v->text, sizeof v->text, "%s",
             v->kind == VOLUME_EMPTY ? "nothing is on it yet" : "no filesystem that is known here");
    return 0;
}

static bool
concerns_the_whole_disk(const struct error *err)
{
    return strcmp(err->problem, "image-dirty") == 0 || strcmp(err->problem, "hibernated") == 0 ||
           strcmp(err->problem, "image-verity") == 0;
}

int
volume_look(const struct disk_reader *place, struct volume *ret, struct error *err)
{
    CLEANUP(mem_free) uint8_t *front = calloc(1, FRONT_LEN);
    struct volume v = { .kind = VOLUME_EMPTY };
    size_t len = place->size < FRONT_LEN ? (size_t)place->size : FRONT_LEN;

    if (!front)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    if (place->size < VOLUME_SIZE_MIN) {
        snprintf(v.text, sizeof v.text, "smaller than any filesystem");
    } else if (disk_reader_get(place, 0, front, len, err) < 0) {
        return -1;
    } else if (look_at_front(place, front, &v, err) < 0) {
        if (err->code != ERROR_DENIED || concerns_the_whole_disk(err))
            return -1;
        v.kind = VOLUME_OTHER;
        memcpy(v.problem, err->problem, sizeof v.problem);
        snprintf(v.text, sizeof v.text, "%.*s", (int)sizeof v.text - 1, err->text);
    }
    *ret = v;
    return 0;
}
