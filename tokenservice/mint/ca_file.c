#include "config.h"

#include "tokenservice/mint/ca_file.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "lib/common/log.h"

enum { HEAD_LEN = 2 };

int
ca_file_make(int dir, const char *name, const struct ca_set *set, struct error *err)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(CA_SET_BYTES_MAX);

    return ca_set_encode(set, 1, &bytes, err) < 0 ? -1 : slot_file_make(dir, name, CA_SLOT_LEN, &bytes, err);
}

int
ca_file_read(struct slot_file *file, struct ca_set *ret, struct error *err)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(CA_SET_BYTES_MAX);

    file->slot_len = CA_SLOT_LEN;
    return slot_file_read(file, &bytes, err) < 0 ? -1 : ca_set_decode(bytes.data, bytes.len, ret, err);
}

static off_t
place_of(uint64_t link)
{
    return 2 * CA_SLOT_LEN + (off_t)link * CA_LINK_LEN;
}

static int
write_link(struct slot_file *file, const struct buf *link, uint64_t number, struct error *err)
{
    uint8_t bytes[CA_LINK_LEN] = { (uint8_t)(link->len >> 8), (uint8_t)link->len };

    memcpy(bytes + HEAD_LEN, link->data, link->len); /* BUNDLE_MAX at most */
    return fd_write_at(file->fd, bytes, sizeof bytes, place_of(number), err) < 0 ? error_wrap(err, "keys") : 0;
}

int
ca_file_write(struct slot_file *file, const struct buf *link, const struct ca_set *set, struct error *err)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(CA_SET_BYTES_MAX);

    if (link && write_link(file, link, set->links - 1, err) < 0)
        return -1;
    return ca_set_encode(set, file->seq + 1, &bytes, err) < 0 ? -1 : slot_file_write(file, &bytes, err);
}

int
ca_file_even(struct slot_file *file, const struct ca_set *set, struct error *err)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(CA_SET_BYTES_MAX);

    if (slot_file_is_even(file))
        return 0;
    return ca_set_encode(set, file->seq, &bytes, err) < 0 ? -1 : slot_file_even(file, &bytes, err);
}

static int
read_link(const struct slot_file *file, uint64_t link, struct buf *into, struct bundle *ret, struct error *err)
{
    uint8_t bytes[CA_LINK_LEN];
    size_t len, done = 0;

    while (done < sizeof bytes) {
        ssize_t n = pread(file->fd, bytes + done, sizeof bytes - done, place_of(link) + (off_t)done);

        if (n == 0 || (n < 0 && errno != EINTR))
            return n < 0 ? error_sys(err, errno, "read a link") : error_set(err, ERROR_SYSTEM, "a link is cut off");
        done += n < 0 ? 0 : (size_t)n;
    }
    len = (size_t)bytes[0] << 8 | bytes[1];
    if (len > sizeof bytes - HEAD_LEN || bundle_decode(bytes + HEAD_LEN, len, ret, err) < 0)
        return error_set(err, ERROR_SYSTEM, "a link is damaged");
    buf_add(into, bytes + HEAD_LEN, len);
    return buf_ok(into) ? 0 : error_set(err, ERROR_SYSTEM, "no memory for a link");
}

int
ca_file_next(const struct slot_file *file, const struct ca_set *set, uint64_t serial, struct buf *into,
             struct error *err)
{
    CLEANUP(buf_clear) struct buf next = BUF(BUNDLE_MAX);

    buf_add(&next, set->bundle, set->bundle_len);
    /* From the newest: most are one behind, if any.  Whoever needs one that is damaged can go no further; others can. */
    for (uint64_t i = set->links; i-- > 0;) {
        CLEANUP(buf_clear) struct buf link = BUF(BUNDLE_MAX);
        struct bundle bundle;
        struct error why;

        if (read_link(file, i, &link, &bundle, &why) < 0) {
            log_error(&why, "ca-keys: link %llu", (unsigned long long)i + 1);
            continue;
        }
        if (bundle.serial <= serial)
            break;
        buf_clear(&next);
        buf_add(&next, link.data, link.len);
    }
    buf_add(into, next.data, next.len);
    return buf_ok(&next) && buf_ok(into) ? 0 : error_set(err, ERROR_SYSTEM, "no memory for a bundle");
}
