#include "config.h"

#include "plugin/inject/xfs_super.h"

#include <stdlib.h>
#include <string.h>

#include "lib/common/cleanup.h"

/* Offsets of "XFS Algorithms & Data Structures", superblock and log record header (Linux: xfs_log_format.h). */
enum {
    SUPER_LEN = 512,
    AT_BLOCK_SIZE = 4,
    AT_BLOCKS = 8,
    AT_REALTIME_BLOCKS = 16,
    AT_UUID = 32,
    AT_LOG_START = 48,
    AT_AG_BLOCKS = 84,
    AT_AG_COUNT = 88,
    AT_LOG_BLOCKS = 96,
    AT_VERSION = 100,
    AT_AG_BLOCK_LOG = 124,
    AT_IN_PROGRESS = 126,
    AT_INCOMPATIBLE = 216,
    VERSION_MASK = 0xf,
    NEEDS_REPAIR = 0x10,

    RECORD_CYCLE = 4,
    RECORD_VERSION = 8,
    RECORD_LEN = 12,
    RECORD_OPS = 40,
    RECORD_SIZE = 320,
    RECORD_VERSION_2 = 2,
    RECORD_HEADER_COVERS = 32 * 1024, /* of a record's bytes, one header sector does */
    OP_FLAGS = 9,
    OP_UNMOUNT = 0x20,
    LOOK_BACK = 1024, /* sectors: more than the longest record has */
};

static const uint32_t RECORD_MAGIC = 0xfeedbabe;

struct log {
    const struct disk_reader *place;
    uint64_t at, sectors;
};

static int
refuse(struct error *err, const char *problem, const char *what)
{
    return error_problem(err, ERROR_DENIED, problem, "xfs: %s", what);
}

static int
not_clean(struct error *err)
{
    return refuse(err, "image-dirty",
                  "its log was not closed by an unmount; start the guest and shut it down cleanly");
}

/* Every sector of the log begins with the number of the round it was written in. */
static int
read_cycle(const struct log *log, uint64_t sector, uint32_t *ret, struct error *err)
{
    uint8_t bytes[8];

    if (disk_reader_get(log->place, log->at + sector * DISK_SECTOR, bytes, sizeof bytes, err) < 0)
        return -1;
    *ret = (uint32_t)disk_be(bytes, 4);
    if (*ret == RECORD_MAGIC)
        *ret = (uint32_t)disk_be(bytes + RECORD_CYCLE, 4);
    return 0;
}

/* The sector that would be written next: the first one that is not of the newest round. */
static int
find_head(const struct log *log, uint64_t *ret_head, bool *ret_unused, struct error *err)
{
    uint64_t low = 0, high = log->sectors - 1;
    uint32_t first, last, cycle;

    if (read_cycle(log, low, &first, err) < 0 || read_cycle(log, high, &last, err) < 0)
        return -1;
    *ret_unused = first == 0 && last == 0;
    *ret_head = 0;
    if (first == last)
        return 0;
    while (low + 1 < high) {
        uint64_t middle = low + (high - low) / 2;

        if (read_cycle(log, middle, &cycle, err) < 0)
            return -1;
        if (cycle == first)
            low = middle;
        else
            high = middle;
    }
    *ret_head = high;
    return 0;
}

/* `n` sectors before `head`, round the log's end. */
static int
read_before(const struct log *log, uint64_t head, uint8_t *ret, uint64_t n, struct error *err)
{
    uint64_t straight = head < n ? head : n, rest = n - straight;

    if (rest > 0 && disk_reader_get(log->place, log->at + (log->sectors - rest) * DISK_SECTOR, ret,
                                    rest * DISK_SECTOR, err) < 0)
        return -1;
    return straight == 0 ? 0
                         : disk_reader_get(log->place, log->at + (head - straight) * DISK_SECTOR,
                                           ret + rest * DISK_SECTOR, straight * DISK_SECTOR, err);
}

/* Is the record in `bytes`, the last `sectors` of the log, one unmount and nothing else? */
static bool
is_unmount(const uint8_t *bytes, uint64_t sectors)
{
    uint64_t len = disk_be(bytes + RECORD_LEN, 4), size = disk_be(bytes + RECORD_SIZE, 4);
    uint64_t headers = 1;

    if ((disk_be(bytes + RECORD_VERSION, 4) & RECORD_VERSION_2) && size > RECORD_HEADER_COVERS)
        headers = (size + RECORD_HEADER_COVERS - 1) / RECORD_HEADER_COVERS;
    return headers < sectors && headers + (len + DISK_SECTOR - 1) / DISK_SECTOR == sectors &&
           disk_be(bytes + RECORD_OPS, 4) == 1 &&
           (bytes[headers * DISK_SECTOR + OP_FLAGS] & OP_UNMOUNT);
}

static int
check_log(const struct log *log, struct error *err)
{
    CLEANUP(mem_free) uint8_t *bytes = malloc((size_t)LOOK_BACK * DISK_SECTOR);
    uint64_t n = log->sectors < LOOK_BACK ? log->sectors : LOOK_BACK, head;
    bool unused;

    if (!bytes)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    if (find_head(log, &head, &unused, err) < 0)
        return -1;
    if (unused)
        return 0;
    if (read_before(log, head, bytes, n, err) < 0)
        return -1;
    for (uint64_t back = 1; back <= n; back++) {
        const uint8_t *record = bytes + (n - back) * DISK_SECTOR;

        if (disk_be(record, 4) == RECORD_MAGIC)
            return is_unmount(record, back) ? 0 : not_clean(err);
    }
    return not_clean(err);
}

/* Where the log lies: its start is (allocation group, block in it). */
static int
find_log(const struct disk_reader *place, const uint8_t *super, struct log *ret, struct error *err)
{
    uint64_t block = disk_be(super + AT_BLOCK_SIZE, 4), start = disk_be(super + AT_LOG_START, 8);
    uint64_t in_group = disk_be(super + AT_AG_BLOCKS, 4), groups = disk_be(super + AT_AG_COUNT, 4);
    uint64_t blocks = disk_be(super + AT_BLOCKS, 8), len = disk_be(super + AT_LOG_BLOCKS, 4), at;
    uint8_t shift = super[AT_AG_BLOCK_LOG];

    if (block < DISK_SECTOR || block > 65536 || (block & (block - 1)) != 0 || shift >= 32 ||
        blocks == 0 || blocks > place->size / block)
        return refuse(err, "image-damaged", "impossible sizes");
    if (start == 0)
        return refuse(err, "image-layout", "its log lies on another device");
    if ((start >> shift) >= groups)
        return refuse(err, "image-damaged", "its log lies nowhere");
    at = (start >> shift) * in_group + (start & ((UINT64_C(1) << shift) - 1));
    if (len == 0 || at > blocks || len > blocks - at)
        return refuse(err, "image-damaged", "its log lies nowhere");
    *ret = (struct log){ place, at * block, len * block / DISK_SECTOR };
    return 0;
}

int
xfs_super_check(const struct disk_reader *place, struct xfs_super *ret, struct error *err)
{
    uint8_t super[SUPER_LEN];
    uint64_t version;
    struct log log = { 0 };

    if (disk_reader_get(place, 0, super, sizeof super, err) < 0)
        return -1;
    version = disk_be(super + AT_VERSION, 2) & VERSION_MASK;
    if (memcmp(super, "XFSB", 4) != 0 || (version != 4 && version != 5))
        return refuse(err, "image-damaged", "unknown version");
    if (super[AT_IN_PROGRESS] != 0)
        return refuse(err, "image-damaged", "mkfs did not finish");
    if (disk_be(super + AT_REALTIME_BLOCKS, 8) != 0)
        return refuse(err, "image-layout", "it has a realtime device");
    if (version == 5 && (disk_be(super + AT_INCOMPATIBLE, 4) & NEEDS_REPAIR))
        return refuse(err, "image-dirty", "marked for repair; run xfs_repair in the guest");
    if (find_log(place, super, &log, err) < 0 || check_log(&log, err) < 0)
        return -1;
    memcpy(ret->uuid, super + AT_UUID, sizeof ret->uuid);
    return 0;
}
