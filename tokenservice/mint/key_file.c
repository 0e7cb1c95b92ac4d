#include "config.h"

#include "tokenservice/mint/key_file.h"

int
key_file_make(int dir, const char *name, const struct key_rings *rings, struct error *err)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(KEY_RING_BYTES_MAX);
    int rc = key_rings_encode(rings, 1, &bytes, err);

    if (rc == 0)
        rc = slot_file_make(dir, name, KEY_SLOT_LEN, &bytes, err);
    return rc;
}

int
key_file_read(struct slot_file *file, struct key_rings *ret, struct error *err)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(KEY_RING_BYTES_MAX);
    uint64_t seq;
    int rc;

    file->slot_len = KEY_SLOT_LEN;
    rc = slot_file_read(file, &bytes, err);
    if (rc == 0)
        rc = key_rings_decode(bytes.data, bytes.len, ret, &seq, err);
    return rc;
}

int
key_file_write(struct slot_file *file, const struct key_rings *rings, struct error *err)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(KEY_RING_BYTES_MAX);
    int rc = key_rings_encode(rings, file->seq + 1, &bytes, err);

    if (rc == 0)
        rc = slot_file_write(file, &bytes, err);
    return rc;
}

int
key_file_even(struct slot_file *file, const struct key_rings *rings, struct error *err)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(KEY_RING_BYTES_MAX);
    int rc = 0;

    if (!slot_file_is_even(file))
        rc = key_rings_encode(rings, file->seq, &bytes, err);
    if (rc == 0)
        rc = slot_file_even(file, &bytes, err);
    return rc;
}
