/*
 * key_file.h - the rings of keys on disk: one file, twice the same, written through one descriptor
 *
 * token-keys: two slots of KEY_SLOT_LEN bytes, each the rings with their number and a SHA-256 behind it; of two
 * whole ones the higher number counts.  A change is made when the first of them is written and synced, and
 * then comes the other.  So a crash at any moment leaves one whole slot, a key that is gone is overwritten in
 * both, and no name, no new file and no room is needed: behind its filter the signer opens nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/common/error.h"
#include "tokenservice/mint/key_ring.h"

enum { KEY_SLOT_LEN = 4096, KEY_FILE_LEN = 2 * KEY_SLOT_LEN };

struct key_file {
    int fd; /* open for reading and writing; yours to close */
    uint64_t seq;
    bool good[2]; /* that slot is whole and the newest */
};

/* The file NAME of the folder with these rings, 0600, durable; an older one is replaced. */
int key_file_make(int dir, const char *name, const struct key_rings *rings, struct error *err);
/* Fills the rest of *file by what is in file->fd.  ERROR_INPUT: neither slot is whole. */
int key_file_read(struct key_file *file, struct key_rings *ret, struct error *err);
/*
 * 0: the rings are durable, in one slot at least.  -1: what stood there stands, or else the new rings do, which
 * key_file_read() then finds in one slot alone.
 */
int key_file_write(struct key_file *file, const struct key_rings *rings, struct error *err);
/* Not the same in both slots, after a crash or a failure?  Then key_file_even() with the rings that are there. */
bool key_file_is_even(const struct key_file *file);
int key_file_even(struct key_file *file, const struct key_rings *rings, struct error *err);
