/*
 * head_file.h - the newest head of the audit that was signed, on disk, written through one descriptor
 *
 * audit-head: two slots of HEAD_SLOT_LEN bytes, F("virtid-audit-state-1", made, line, id, hash), zeros, and a SHA-256;
 * of two whole ones the later head counts.  A change goes into the other one: a crash at any moment leaves a whole one.
 */
#pragma once

#include <stdint.h>

#include "lib/common/error.h"
#include "lib/wire/audit_head.h"

enum { HEAD_SLOT_LEN = 512, HEAD_FILE_LEN = 2 * HEAD_SLOT_LEN };

struct head_file {
    int fd;                   /* open for reading and writing; yours to close */
    int64_t made;             /* when the audit's key was, in seconds since 1970 */
    struct audit_head newest; /* its line, id and hash; id 0: none was signed yet */
    unsigned slot;            /* where it stands */
};

/* The file NAME of the folder, 0600, durable: none was signed in the line that begins `now`. */
int head_file_make(int dir, const char *name, int64_t now, struct error *err);
/* Fills the rest of *file by what is in file->fd.  ERROR_INPUT: neither slot is whole. */
int head_file_read(struct head_file *file, struct error *err);
/* `head` is durable, and the newest; on failure the one of before is. */
int head_file_write(struct head_file *file, const struct audit_head *head, struct error *err);
