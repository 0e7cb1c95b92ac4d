#include "config.h"

#include "plugin/inject/disk_layout.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { SIGNATURE_AT = 510 };

/* From the weightiest: a root may well be behind it. */
static const char *const weights[] = { "image-encrypted", "image-read-only", "image-damaged",
                                       "image-layout" };

static size_t
weight(const char *problem)
{
    size_t n = sizeof weights / sizeof *weights;

    for (size_t i = 0; i < n; i++)
        if (strcmp(problem, weights[i]) == 0)
            return n - i;
    return 0;
}

int
disk_layout_refuse(const struct disk_layout *layout, const char *otherwise, const char *text,
                   struct error *err)
{
    const struct disk_place *most = NULL;
    char where[120] = "";

    for (size_t i = 0; i < layout->n; i++) {
        const struct volume *v = &layout->places[i].volume;

        if (v->problem[0] && (!most || weight(v->problem) > weight(most->volume.problem)))
            most = &layout->places[i];
    }
    if (!most)
        return error_problem(err, ERROR_DENIED, otherwise, "%s", text);
    if (most->lv[0])
        snprintf(where, sizeof where, "%.100s: ", most->lv);
    else if (most->partition.number)
        snprintf(where, sizeof where, "partition %u: ", most->partition.number);
    return error_problem(err, ERROR_DENIED, most->volume.problem, "%s%s", where, most->volume.text);
}

static int
look_at_places(const struct disk_reader *disk, struct disk_layout *l, struct error *err)
{
    bool may_hold_root = false, empty = true;

    for (size_t i = 0; i < l->n; i++) {
        struct disk_place *p = &l->places[i];
        struct disk_part part = { disk, p->partition.at };
        struct disk_reader place = disk_reader_part(&part, p->partition.len);

        if (volume_look(&place, &p->volume, err) < 0)
            return p->partition.number ? error_wrap(err, "partition %u", p->partition.number) : -1;
        may_hold_root = may_hold_root || volume_is_filesystem(&p->volume) ||
                        p->volume.kind == VOLUME_LVM;
        empty = empty && p->volume.kind == VOLUME_EMPTY;
    }
    if (may_hold_root)
        return 0;
    return disk_layout_refuse(l, empty ? "image-empty" : "image-layout", l->places[0].volume.text,
                              err);
}

int
disk_layout_find(const struct disk_reader *disk, struct disk_layout *ret, struct error *err)
{
    struct disk_layout l = { .n = 1 };
    struct partition_table table;
    uint8_t first[DISK_SECTOR];

    if (disk->size < VOLUME_SIZE_MIN)
        return error_problem(err, ERROR_DENIED, "image-empty", "smaller than any filesystem");
    l.places[0].partition = (struct partition){ 0, 0, disk->size };
    if (disk_reader_get(disk, 0, first, sizeof first, err) < 0 ||
        volume_look(disk, &l.places[0].volume, err) < 0)
        return -1;
    /* A boot sector's signature may stand in front of a filesystem that fills the whole disk. */
    if (l.places[0].volume.kind == VOLUME_UNKNOWN && disk_le(first + SIGNATURE_AT, 2) == 0xaa55) {
        if (partition_table_read(disk, first, &table, err) < 0)
            return -1;
        for (l.n = 0; l.n < table.n; l.n++)
            l.places[l.n].partition = table.parts[l.n];
    }
    if (look_at_places(disk, &l, err) < 0)
        return -1;
    *ret = l;
    return 0;
}
