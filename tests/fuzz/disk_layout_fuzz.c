#include "config.h"

#include <assert.h>
#include <string.h>

#include "plugin/inject/disk_layout.h"

enum { DISK = 4 << 20 };

struct input {
    const uint8_t *data;
    size_t size;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input, again and again, so that a partition anywhere finds something in it. */
static int
read_input(void *self, uint64_t at, void *ret, size_t len, struct error *err)
{
    const struct input *in = self;

    (void)err;
    assert(at <= DISK && len <= DISK - at);
    memset(ret, 0, len);
    for (size_t done = 0; in->size && done < len;) {
        size_t from = (at + done) % in->size, n = in->size - from;

        n = n < len - done ? n : len - done;
        memcpy((uint8_t *)ret + done, in->data + from, n);
        done += n;
    }
    return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = { data, size };
    struct disk_reader disk = { read_input, &in, DISK };
    struct disk_layout l;
    struct error err;

    if (disk_layout_find(&disk, &l, &err) == 0)
        for (size_t i = 0; i < l.n; i++)
            assert(l.places[i].partition.at < DISK &&
                   l.places[i].partition.len <= DISK - l.places[i].partition.at);
    return 0;
}
