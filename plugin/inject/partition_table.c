#include "config.h"

#include "plugin/inject/partition_table.h"

#include <string.h>

enum {
    MBR_ENTRIES = 446,
    MBR_ENTRY_LEN = 16,
    MBR_PRIMARY = 4,
    MBR_SIGNATURE = 510,
    TYPE_EXTENDED = 0x05,
    TYPE_EXTENDED_LBA = 0x0f,
    TYPE_EXTENDED_LINUX = 0x85,
    TYPE_GPT = 0xee,
    FIRST_LOGICAL = 5,
    GPT_HEADER_AT = DISK_SECTOR,
    GPT_ENTRY_LEN = 128,
    GPT_ENTRY_LEN_MAX = 4096,
    GPT_ENTRIES_MAX = 1024,
    GPT_CHUNK = 16 * 1024, /* the usual 128 entries: each read is a round through the appliance */
    LEN_MIN = 64 * 1024, /* smaller ones hold no filesystem that is looked at */
};

/* First bytes of the types that say "the hashes of a root, or of a /usr, that nobody may change" (systemd, DPS). */
static const uint8_t verity_types[][16] = {
    /* 2c7357ed-ebd2-46d9-aec1-23d437ec2bf5 root-verity x86-64 */
    { 0xed, 0x57, 0x73, 0x2c, 0xd2, 0xeb, 0xd9, 0x46, 0xae, 0xc1, 0x23, 0xd4, 0x37, 0xec, 0x2b, 0xf5 },
    /* 77ff5f63-e7b6-4633-acf4-1565b864c0e6 usr-verity x86-64 */
    { 0x63, 0x5f, 0xff, 0x77, 0xb6, 0xe7, 0x33, 0x46, 0xac, 0xf4, 0x15, 0x65, 0xb8, 0x64, 0xc0, 0xe6 },
    /* df3300ce-d69f-4c92-978c-9bfb0f38d820 root-verity arm64 */
    { 0xce, 0x00, 0x33, 0xdf, 0x9f, 0xd6, 0x92, 0x4c, 0x97, 0x8c, 0x9b, 0xfb, 0x0f, 0x38, 0xd8, 0x20 },
    /* 6e11a4e7-fbca-4ded-b9e9-e1a512bb664e usr-verity arm64 */
    { 0xe7, 0xa4, 0x11, 0x6e, 0xca, 0xfb, 0xed, 0x4d, 0xb9, 0xe9, 0xe1, 0xa5, 0x12, 0xbb, 0x66, 0x4e },
};

static int
impossible(struct error *err, const char *what)
{
    return error_problem(err, ERROR_DENIED, "image-layout", "impossible partition table: %s", what);
}

/* `first` and `sectors` are what the table says. */
static int
add(const struct disk_reader *disk, struct partition_table *t, unsigned number, uint64_t first,
    uint64_t sectors, struct error *err)
{
    uint64_t all = disk->size / DISK_SECTOR, at, len;

    if (first == 0 || sectors == 0 || first > all || sectors > all - first)
        return impossible(err, "a partition that does not lie on the disk");
    at = first * DISK_SECTOR;
    len = sectors * DISK_SECTOR;
    for (size_t i = 0; i < t->n; i++)
        if (at < t->parts[i].at + t->parts[i].len && t->parts[i].at < at + len)
            return impossible(err, "partitions that overlap");
    if (len < LEN_MIN)
        return 0;
    if (t->n == PARTITIONS_MAX)
        return error_problem(err, ERROR_DENIED, "image-layout", "more than %d partitions",
                             PARTITIONS_MAX);
    t->parts[t->n++] = (struct partition){ number, at, len };
    return 0;
}

static bool
is_extended(uint8_t type)
{
    return type == TYPE_EXTENDED || type == TYPE_EXTENDED_LBA || type == TYPE_EXTENDED_LINUX;
}

/* Logical partitions: a list of tables; each has one partition and where the next table is. */
static int
read_logical(const struct disk_reader *disk, uint64_t begin, uint64_t sectors,
             struct partition_table *t, struct error *err)
{
    uint64_t at = begin;

    for (unsigned number = FIRST_LOGICAL; number < FIRST_LOGICAL + PARTITIONS_MAX; number++) {
        uint8_t bytes[DISK_SECTOR];
        const uint8_t *entry = bytes + MBR_ENTRIES, *next = entry + MBR_ENTRY_LEN;

        if (at >= disk->size / DISK_SECTOR)
            return impossible(err, "a logical partition behind the end of the disk");
        if (disk_reader_get(disk, at * DISK_SECTOR, bytes, sizeof bytes, err) < 0)
            return -1;
        if (disk_le(bytes + MBR_SIGNATURE, 2) != 0xaa55)
            return number == FIRST_LOGICAL ? 0 : impossible(err, "a broken list of logical partitions");
        if (entry[4] != 0 && add(disk, t, number, at + disk_le(entry + 8, 4),
                                 disk_le(entry + 12, 4), err) < 0)
            return -1;
        if (next[4] == 0)
            return 0;
        /* Forward only: a list that turns back has no end. */
        if (!is_extended(next[4]) || disk_le(next + 8, 4) >= sectors ||
            begin + disk_le(next + 8, 4) <= at)
            return impossible(err, "a list of logical partitions that leads nowhere");
        at = begin + disk_le(next + 8, 4);
    }
    return error_problem(err, ERROR_DENIED, "image-layout", "more than %d partitions",
                         PARTITIONS_MAX);
}

static int
read_mbr(const struct disk_reader *disk, const uint8_t *first, struct partition_table *t,
         struct error *err)
{
    for (unsigned i = 0; i < MBR_PRIMARY; i++) {
        const uint8_t *entry = first + MBR_ENTRIES + (size_t)i * MBR_ENTRY_LEN;
        uint64_t at = disk_le(entry + 8, 4), sectors = disk_le(entry + 12, 4);
        int failed;

        if (entry[4] == 0)
            continue;
        failed = is_extended(entry[4]) ? read_logical(disk, at, sectors, t, err)
                                       : add(disk, t, i + 1, at, sectors, err);
        if (failed < 0)
            return -1;
    }
    return 0;
}

static bool
is_verity(const uint8_t *type)
{
    for (size_t i = 0; i < sizeof verity_types / sizeof *verity_types; i++)
        if (memcmp(type, verity_types[i], sizeof *verity_types) == 0)
            return true;
    return false;
}

static int
read_gpt_entry(const struct disk_reader *disk, const uint8_t *entry, unsigned number,
               struct partition_table *t, struct error *err)
{
    uint64_t first = disk_le(entry + 32, 8), last = disk_le(entry + 40, 8);

    if (disk_is_zero(entry, 16))
        return 0;
    if (is_verity(entry))
        return error_problem(err, ERROR_DENIED, "image-verity",
                             "partition %u holds the hashes of a sealed filesystem", number);
    if (last < first || last == UINT64_MAX)
        return impossible(err, "a partition that ends before it begins");
    return add(disk, t, number, first, last - first + 1, err);
}

static int
read_gpt(const struct disk_reader *disk, struct partition_table *t, struct error *err)
{
    uint8_t header[DISK_SECTOR], entries[GPT_CHUNK];
    uint64_t table, n, len;

    if (disk_reader_get(disk, GPT_HEADER_AT, header, sizeof header, err) < 0)
        return -1;
    if (memcmp(header, "EFI PART", 8) != 0)
        return impossible(err, "a protective MBR without its GPT");
    table = disk_le(header + 72, 8);
    n = disk_le(header + 80, 4);
    len = disk_le(header + 84, 4);
    if (len < GPT_ENTRY_LEN || len > GPT_ENTRY_LEN_MAX || n > GPT_ENTRIES_MAX ||
        table > disk->size / DISK_SECTOR || n * len > disk->size - table * DISK_SECTOR)
        return impossible(err, "the GPT's entries do not lie on the disk");
    for (uint64_t i = 0, more; i < n; i += more) {
        more = n - i < GPT_CHUNK / len ? n - i : GPT_CHUNK / len;
        if (disk_reader_get(disk, table * DISK_SECTOR + i * len, entries, more * len, err) < 0)
            return -1;
        for (uint64_t k = 0; k < more; k++)
            if (read_gpt_entry(disk, entries + k * len, (unsigned)(i + k + 1), t, err) < 0)
                return -1;
    }
    return 0;
}

static bool
is_protective(const uint8_t *first)
{
    for (size_t i = 0; i < MBR_PRIMARY; i++)
        if (first[MBR_ENTRIES + i * MBR_ENTRY_LEN + 4] == TYPE_GPT)
            return true;
    return false;
}

int
partition_table_read(const struct disk_reader *disk, const uint8_t first[static DISK_SECTOR],
                     struct partition_table *ret, struct error *err)
{
    struct partition_table t = { .n = 0 };

    if ((is_protective(first) ? read_gpt(disk, &t, err) : read_mbr(disk, first, &t, err)) < 0)
        return -1;
    if (t.n == 0)
        return error_problem(err, ERROR_DENIED, "image-layout", "there is no partition");
    *ret = t;
    return 0;
}
