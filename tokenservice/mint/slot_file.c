#include "config.h"

#include "tokenservice/mint/slot_file.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "lib/crypto/hash.h"
#include "lib/wire/fields.h"

enum { HEAD_LEN = 2, LABEL_MAX = 31 };

static size_t
summed_len(size_t slot_len)
{
    return slot_len - SHA256_LEN;
}

static int
make_slot(const struct buf *bytes, size_t slot_len, uint8_t *ret, struct error *err)
{
    size_t summed = summed_len(slot_len);

    if (!buf_ok(bytes) || bytes->len > summed - HEAD_LEN)
        return error_set(err, ERROR_SYSTEM, "keys: no room for them");
    memset(ret, 0, slot_len);
    ret[0] = (uint8_t)(bytes->len >> 8);
    ret[1] = (uint8_t)bytes->len;
    memcpy(ret + HEAD_LEN, bytes->data, bytes->len);
    return hash_sha256(ret, summed, ret + summed, err);
}

static int
read_slot(const uint8_t *slot, size_t slot_len, uint64_t *ret_seq, struct error *err)
{
    uint8_t sum[SHA256_LEN];
    char label[LABEL_MAX + 1];
    struct fields f = { .at = slot + HEAD_LEN, .left = (size_t)slot[0] << 8 | slot[1] };

    if (hash_sha256(slot, summed_len(slot_len), sum, err) < 0)
        return -1;
    if (f.left > summed_len(slot_len) - HEAD_LEN || memcmp(sum, slot + summed_len(slot_len), sizeof sum) != 0)
        return error_set(err, ERROR_INPUT, "keys: half written");
    return fields_take_text(&f, 1, LABEL_MAX, label, err) < 0 || fields_take_u64(&f, ret_seq, err) < 0 ? -1 : 0;
}

int
slot_file_make(int dir, const char *name, size_t slot_len, const struct buf *bytes, struct error *err)
{
    CLEANUP(buf_clear) struct buf both = BUF(2 * slot_len);
    uint8_t *room = buf_room(&both, 2 * slot_len);

    if (!room)
        return error_sys(err, ENOMEM, "keys");
    if (make_slot(bytes, slot_len, room, err) < 0)
        return -1;
    memcpy(room + slot_len, room, slot_len);
    return file_replace_at(dir, name, room, 2 * slot_len, 0600, err);
}

int
slot_file_read(struct slot_file *file, struct buf *into, struct error *err)
{
    CLEANUP(buf_clear) struct buf both = BUF(2 * file->slot_len);
    uint8_t *room = buf_room(&both, 2 * file->slot_len);
    uint64_t seq[2] = { 0 };
    const uint8_t *slot;
    bool whole[2];
    size_t newest;

    if (lseek(file->fd, 0, SEEK_SET) < 0)
        return error_sys(err, errno, "keys");
    if (!room)
        return error_sys(err, ENOMEM, "keys");
    if (fd_read_all(file->fd, room, 2 * file->slot_len, err) < 0) {
        if (err->code == ERROR_MISSING)
            err->code = ERROR_INPUT; /* shorter than it was made */
        return -1;
    }
    for (size_t i = 0; i < 2; i++)
        whole[i] = read_slot(room + i * file->slot_len, file->slot_len, &seq[i], err) == 0;
    newest = whole[1] && (!whole[0] || seq[1] > seq[0]);
    for (size_t i = 0; i < 2; i++)
        file->good[i] = whole[i] && seq[i] == seq[newest];
    file->seq = seq[newest];
    if (!whole[newest])
        return -1;
    slot = room + newest * file->slot_len;
    buf_add(into, slot + HEAD_LEN, (size_t)slot[0] << 8 | slot[1]);
    return buf_ok(into) ? 0 : error_set(err, buf_error_code(into), "keys: too long");
}

static int
write_at(struct slot_file *file, size_t i, const struct buf *bytes, struct error *err)
{
    CLEANUP(buf_clear) struct buf slot = BUF(file->slot_len);
    uint8_t *room = buf_room(&slot, file->slot_len);

    if (!room)
        return error_sys(err, ENOMEM, "keys");
    if (make_slot(bytes, file->slot_len, room, err) < 0)
        return -1;
    file->good[i] = false;
    if (fd_write_at(file->fd, room, file->slot_len, (int64_t)(i * file->slot_len), err) < 0)
        return error_wrap(err, "keys");
    file->good[i] = true;
    return 0;
}

int
slot_file_write(struct slot_file *file, const struct buf *bytes, struct error *err)
{
    size_t first = file->good[0] && !file->good[1]; /* what alone is good must not be written over */
    struct error later;

    if (write_at(file, first, bytes, err) < 0)
        return -1;
    file->seq++;
    file->good[1 - first] = false; /* of the number before, until it is written */
    (void)write_at(file, 1 - first, bytes, &later); /* slot_file_is_even() tells */
    return 0;
}

bool
slot_file_is_even(const struct slot_file *file)
{
    return file->good[0] && file->good[1];
}

int
slot_file_even(struct slot_file *file, const struct buf *bytes, struct error *err)
{
    return slot_file_is_even(file) ? 0 : write_at(file, file->good[0], bytes, err);
}
