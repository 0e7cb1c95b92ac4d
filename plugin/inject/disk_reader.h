/*
 * disk_reader.h - bytes of a disk, wherever they come from
 *
 * A raw file answers by pread, a qcow2 chain through the appliance's device.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/error.h"

enum { DISK_SECTOR = 512 };

struct disk_reader {
    /* All `len` bytes at `at`, or an error. */
    int (*read)(void *self, uint64_t at, void *ret, size_t len, struct error *err);
    void *self;
    uint64_t size; /* of the disk, in bytes */
};

/* A part of a disk, as a disk of its own: `part` is its self, both are borrowed. */
struct disk_part {
    const struct disk_reader *disk;
    uint64_t at;
};
struct disk_reader disk_reader_part(struct disk_part *part, uint64_t len);

/* Reads within the disk; ERROR_DENIED, problem image-damaged, for a place outside of it. */
int disk_reader_get(const struct disk_reader *disk, uint64_t at, void *ret, size_t len,
                    struct error *err);

/* Numbers of `n` bytes, least or most significant first. */
uint64_t disk_le(const uint8_t *at, size_t n);
uint64_t disk_be(const uint8_t *at, size_t n);

bool disk_is_zero(const uint8_t *bytes, size_t len);
