#include "config.h"

#include "plugin/inject/disk_reader.h"

#include <string.h>

static int
read_part(void *self, uint64_t at, void *ret, size_t len, struct error *err)
{
    const struct disk_part *part = self;

    return part->disk->read(part->disk->self, part->at + at, ret, len, err);
}

struct disk_reader
disk_reader_part(struct disk_part *part, uint64_t len)
{
    return (struct disk_reader){ .read = read_part, .self = part, .size = len };
}

int
disk_reader_get(const struct disk_reader *disk, uint64_t at, void *ret, size_t len,
                struct error *err)
{
    if (at > disk->size || len > disk->size - at)
        return error_problem(err, ERROR_DENIED, "image-damaged",
                             "something lies behind the end of the disk");
    return disk->read(disk->self, at, ret, len, err);
}

uint64_t
disk_le(const uint8_t *at, size_t n)
{
    uint64_t v = 0;

    while (n-- > 0)
        v = v << 8 | at[n];
    return v;
}

uint64_t
disk_be(const uint8_t *at, size_t n)
{
    uint64_t v = 0;

    for (size_t i = 0; i < n; i++)
        v = v << 8 | at[i];
    return v;
}

bool
disk_is_zero(const uint8_t *bytes, size_t len)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}
