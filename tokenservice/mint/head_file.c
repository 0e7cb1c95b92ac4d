#include "config.h"

#include "tokenservice/mint/head_file.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "lib/crypto/hash.h"
#include "lib/wire/fields.h"

#define LABEL "virtid-audit-state-1"

enum { SUMMED_LEN = HEAD_SLOT_LEN - SHA256_LEN };

static int
make_slot(int64_t made, const struct audit_head *head, uint8_t ret[static HEAD_SLOT_LEN], struct error *err)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(SUMMED_LEN);

    fields_add_text(&bytes, LABEL);
    fields_add_u64(&bytes, (uint64_t)made);
    fields_add_u64(&bytes, head->line);
    fields_add_u64(&bytes, (uint64_t)head->id);
    fields_add(&bytes, head->hash, sizeof head->hash);
    if (!buf_ok(&bytes))
        return error_set(err, ERROR_SYSTEM, "no memory");
    memset(ret, 0, HEAD_SLOT_LEN);
    memcpy(ret, bytes.data, bytes.len);
    return hash_sha256(ret, SUMMED_LEN, ret + SUMMED_LEN, err);
}

static int
read_slot(const uint8_t slot[static HEAD_SLOT_LEN], int64_t *ret_made, struct audit_head *ret, struct error *err)
{
    struct fields f = { .at = slot, .left = SUMMED_LEN };
    char label[sizeof LABEL];
    uint8_t sum[SHA256_LEN];
    uint64_t made, id;

    if (hash_sha256(slot, SUMMED_LEN, sum, err) < 0)
        return -1;
    if (memcmp(sum, slot + SUMMED_LEN, sizeof sum) != 0)
        return error_set(err, ERROR_INPUT, "head of the audit: half written");
    memset(ret, 0, sizeof *ret);
    if (fields_take_text(&f, 1, sizeof label - 1, label, err) < 0 || fields_take_u64(&f, &made, err) < 0 ||
        fields_take_u64(&f, &ret->line, err) < 0 || fields_take_u64(&f, &id, err) < 0 ||
        fields_take_exact(&f, ret->hash, sizeof ret->hash, err) < 0)
        return -1;
    if (strcmp(label, LABEL) != 0 || made > INT64_MAX / 2000 || id > INT64_MAX)
        return error_set(err, ERROR_INPUT, "head of the audit: not written here");
    *ret_made = (int64_t)made;
    ret->id = (int64_t)id;
    return 0;
}

int
head_file_make(int dir, const char *name, int64_t now, struct error *err)
{
    const struct audit_head none = { .line = (uint64_t)now };
    uint8_t both[HEAD_FILE_LEN];

    if (make_slot(now, &none, both, err) < 0)
        return -1;
    memcpy(both + HEAD_SLOT_LEN, both, HEAD_SLOT_LEN);
    return file_replace_at(dir, name, both, sizeof both, 0600, err);
}

static bool
is_later(const struct audit_head *a, const struct audit_head *b)
{
    return a->line > b->line || (a->line == b->line && a->id > b->id);
}

int
head_file_read(struct head_file *file, struct error *err)
{
    uint8_t both[HEAD_FILE_LEN];
    struct audit_head found[2];
    bool whole[2];

    if (lseek(file->fd, 0, SEEK_SET) < 0)
        return error_sys(err, errno, "head of the audit");
    if (fd_read_all(file->fd, both, sizeof both, err) < 0) {
        if (err->code == ERROR_MISSING)
            err->code = ERROR_INPUT; /* shorter than it was made */
        return -1;
    }
    for (unsigned i = 0; i < 2; i++)
        whole[i] = read_slot(both + i * HEAD_SLOT_LEN, &file->made, &found[i], err) == 0;
    if (!whole[0] && !whole[1])
        return -1;
    file->slot = whole[1] && (!whole[0] || is_later(&found[1], &found[0]));
    file->newest = found[file->slot];
    return 0;
}

int
head_file_write(struct head_file *file, const struct audit_head *head, struct error *err)
{
    unsigned slot = 1 - file->slot;
    uint8_t bytes[HEAD_SLOT_LEN];

    if (make_slot(file->made, head, bytes, err) < 0 ||
        fd_write_at(file->fd, bytes, sizeof bytes, (int64_t)slot * HEAD_SLOT_LEN, err) < 0)
        return -1;
    file->slot = slot;
    file->newest = *head;
    return 0;
}
