/*
 * key_file.h - the rings of keys on disk: token-keys, two slots (slot_file.h) of KEY_SLOT_LEN bytes
 */
#pragma once

#include "lib/common/error.h"
#include "tokenservice/mint/key_ring.h"
#include "tokenservice/mint/slot_file.h"

enum { KEY_SLOT_LEN = 4096, KEY_FILE_LEN = 2 * KEY_SLOT_LEN };

/* The file NAME of the folder with these rings, 0600, durable; an older one is replaced. */
int key_file_make(int dir, const char *name, const struct key_rings *rings, struct error *err);
/* As the functions of slot_file.h.  ERROR_INPUT: no rings are in it. */
int key_file_read(struct slot_file *file, struct key_rings *ret, struct error *err);
int key_file_write(struct slot_file *file, const struct key_rings *rings, struct error *err);
int key_file_even(struct slot_file *file, const struct key_rings *rings, struct error *err);
