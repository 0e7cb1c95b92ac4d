#include "config.h"

#include "tokenservice/mint/key_file.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "lib/crypto/hash.h"

enum { SUMMED_LEN = KEY_SLOT_LEN - SHA256_LEN, HEAD_LEN = 2 };

/* length(2) ‖ rings ‖ zeros ‖ SHA-256 of all that. */
static int
make_slot(const struct key_rings *rings, uint64_t seq, uint8_t ret[static KEY_SLOT_LEN], struct error *err)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(KEY_RING_BYTES_MAX);

    if (key_rings_encode(rings, seq, &bytes, err) < 0)
        return -1;
    memset(ret, 0, KEY_SLOT_LEN);
    ret[0] = (uint8_t)(bytes.len >> 8);
    ret[1] = (uint8_t)bytes.len;
    memcpy(ret + HEAD_LEN, bytes.data, bytes.len);
    explicit_bzero(bytes.data, bytes.len);
    return hash_sha256(ret, SUMMED_LEN, ret + SUMMED_LEN, err);
}

static int
read_slot(const uint8_t slot[static KEY_SLOT_LEN], struct key_rings *ret, uint64_t *ret_seq, struct error *err)
{
    uint8_t sum[SHA256_LEN];
    size_t len = (size_t)slot[0] << 8 | slot[1];

    if (hash_sha256(slot, SUMMED_LEN, sum, err) < 0)
        return -1;
    if (len > KEY_RING_BYTES_MAX || memcmp(sum, slot + SUMMED_LEN, sizeof sum) != 0)
        return error_set(err, ERROR_INPUT, "keys: half written");
    return key_rings_decode(slot + HEAD_LEN, len, ret, ret_seq, err);
}

int
key_file_make(int dir, const char *name, const struct key_rings *rings, struct error *err)
{
    uint8_t both[KEY_FILE_LEN];
    int rc = make_slot(rings, 1, both, err);

    if (rc == 0) {
        memcpy(both + KEY_SLOT_LEN, both, KEY_SLOT_LEN);
        rc = file_replace_at(dir, name, both, sizeof both, 0600, err);
    }
    explicit_bzero(both, sizeof both);
    return rc;
}

static int
read_both(struct key_file *file, const uint8_t both[static KEY_FILE_LEN], struct key_rings *ret, struct error *err)
{
    struct key_rings found[2];
    uint64_t seq[2] = { 0 };
    bool whole[2];
    size_t newest;

    for (size_t i = 0; i < 2; i++)
        whole[i] = read_slot(both + i * KEY_SLOT_LEN, &found[i], &seq[i], err) == 0;
    newest = whole[1] && (!whole[0] || seq[1] > seq[0]);
    for (size_t i = 0; i < 2; i++)
        file->good[i] = whole[i] && seq[i] == seq[newest];
    file->seq = seq[newest];
    if (whole[newest])
        *ret = found[newest];
    explicit_bzero(found, sizeof found);
    return whole[newest] ? 0 : -1;
}

int
key_file_read(struct key_file *file, struct key_rings *ret, struct error *err)
{
    uint8_t both[KEY_FILE_LEN];
    int rc;

    if (lseek(file->fd, 0, SEEK_SET) < 0)
        return error_sys(err, errno, "keys");
    rc = fd_read_all(file->fd, both, sizeof both, err);
    if (rc == 0)
        rc = read_both(file, both, ret, err);
    else if (err->code == ERROR_MISSING)
        err->code = ERROR_INPUT; /* shorter than it was made */
    explicit_bzero(both, sizeof both);
    return rc;
}

static int
write_slot(int fd, const uint8_t slot[static KEY_SLOT_LEN], off_t at, struct error *err)
{
    size_t done = 0;

    while (done < KEY_SLOT_LEN) {
        ssize_t n = pwrite(fd, slot + done, KEY_SLOT_LEN - done, at + (off_t)done);

        if (n < 0 && errno != EINTR)
            return error_sys(err, errno, "write keys");
        done += n < 0 ? 0 : (size_t)n;
    }
    while (fdatasync(fd) < 0) {
        if (errno != EINTR)
            return error_sys(err, errno, "sync keys");
    }
    return 0;
}

static int
write_at(struct key_file *file, size_t i, const struct key_rings *rings, uint64_t seq, struct error *err)
{
    uint8_t slot[KEY_SLOT_LEN];
    int rc = make_slot(rings, seq, slot, err);

    file->good[i] = false;
    if (rc == 0)
        rc = write_slot(file->fd, slot, (off_t)(i * KEY_SLOT_LEN), err);
    explicit_bzero(slot, sizeof slot);
    file->good[i] = rc == 0;
    return rc;
}

int
key_file_write(struct key_file *file, const struct key_rings *rings, struct error *err)
{
    size_t first = file->good[0] && !file->good[1]; /* what alone is good must not be written over */
    struct error later;

    if (write_at(file, first, rings, file->seq + 1, err) < 0)
        return -1;
    file->seq++;
    (void)write_at(file, 1 - first, rings, file->seq, &later); /* key_file_is_even() tells */
    return 0;
}

bool
key_file_is_even(const struct key_file *file)
{
    return file->good[0] && file->good[1];
}

int
key_file_even(struct key_file *file, const struct key_rings *rings, struct error *err)
{
    return key_file_is_even(file) ? 0 : write_at(file, file->good[0], rings, file->seq, err);
}
