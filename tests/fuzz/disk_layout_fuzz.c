#include "config.h"

#include <assert.h>
#include <string.h>

#include "plugin/inject/disk_layout.h"

enum { DISK = 4 << 20 };

struct input {
    const uint8_t *data;
    size_t size;
    size_t reads_left; /* then the disk fails */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input, again and again, so that a partition anywhere finds something in it. */
static int
read_input(void *self, uint64_t at, void *ret, size_t len, struct error *err)
{
    struct input *in = self;

    assert(at <= DISK && len <= DISK - at);
    if (in->reads_left-- == 0)
        return error_set(err, ERROR_SYSTEM, "input/output error");
    memset(ret, 0, len);
    for (size_t done = 0; in->size && done < len;) {
        size_t from = (at + done) % in->size, n = in->size - from;

        n = n < len - done ? n : len - done;
        memcpy((uint8_t *)ret + done, in->data + from, n);
        done += n;
    }
    return 0;
}

static void
find(const uint8_t *data, size_t size, size_t reads)
{
    struct input in = { data, size, reads };
    struct disk_reader disk = { read_input, &in, size < DISK_SECTOR ? size : DISK };
    struct disk_layout l;
    struct error err;

    if (disk_layout_find(&disk, &l, &err) < 0)
        return;
    for (size_t i = 0; i < l.n; i++)
        assert(l.places[i].partition.at < DISK &&
               l.places[i].partition.len <= DISK - l.places[i].partition.at);
    assert(disk_layout_refuse(&l, "image-no-os", "no system on it", &err) < 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    find(data, size, SIZE_MAX);
    for (size_t reads = 0; size > 0 && reads < 1u + data[size - 1] % 8; reads++)
        find(data, size, reads);
    return 0;
}
