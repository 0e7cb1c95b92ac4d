/*
 * slot_file.h - a few bytes on disk, twice the same, written through one descriptor
 *
 * Two slots of `slot_len` bytes, each length(2) ‖ bytes ‖ zeros ‖ SHA-256 of all that; the bytes begin with
 * F(label, number(8), ...), and of two whole slots the higher number counts.  A change is made when the first of
 * them is written and synced, and then comes the other.  So a crash at any moment leaves one whole slot, what is
 * gone is overwritten in both, and no name, no new file and no room is needed: behind its filter the signer opens
 * nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/error.h"

struct slot_file {
    int fd;          /* open for reading and writing; yours to close */
    size_t slot_len; /* as it was made */
    uint64_t seq;
    bool good[2]; /* that slot is whole and the newest */
};

/* The file NAME of the folder with these bytes (number 1), 0600, durable; an older one is replaced. */
int slot_file_make(int dir, const char *name, size_t slot_len, const struct buf *bytes, struct error *err);
/* The newest bytes, appended to `into`; fills the rest of *file.  ERROR_INPUT: neither slot is whole. */
int slot_file_read(struct slot_file *file, struct buf *into, struct error *err);
/*
 * `bytes` have the number file->seq + 1.  0: they are durable, in one slot at least.  -1: what stood there stands,
 * or else they do, which slot_file_read() then finds in one slot alone.
 */
int slot_file_write(struct slot_file *file, const struct buf *bytes, struct error *err);
/* Not the same in both slots, after a crash or a failure?  Then slot_file_even() with the bytes that are there. */
bool slot_file_is_even(const struct slot_file *file);
int slot_file_even(struct slot_file *file, const struct buf *bytes, struct error *err);
