/*
 * ca_file.h - the CAs on disk: ca-keys, two slots (slot_file.h) of CA_SLOT_LEN bytes, and behind them the links
 *
 * A link is written and synced before the set that counts it: one that is not counted is written over.
 */
#pragma once

#include "lib/common/error.h"
#include "tokenservice/mint/ca_set.h"
#include "tokenservice/mint/slot_file.h"

enum { CA_SLOT_LEN = 32768, CA_LINK_LEN = 8192 /* length(2), the bundle, nothing */ };

/* The file NAME of the folder with this set, which has no link yet, 0600, durable; an older one is replaced. */
int ca_file_make(int dir, const char *name, const struct ca_set *set, struct error *err);
/* As the functions of slot_file.h.  ERROR_INPUT: no CAs are in it. */
int ca_file_read(struct slot_file *file, struct ca_set *ret, struct error *err);
/* `link`, unless NULL, is the last that the set counts, and is written first. */
int ca_file_write(struct slot_file *file, const struct buf *link, const struct ca_set *set, struct error *err);
int ca_file_even(struct slot_file *file, const struct ca_set *set, struct error *err);
/*
 * What whoever holds the bundle `serial` takes next, appended to `into`: the first link behind that, which the CA it
 * trusts has signed; else the newest bundle.  A link that can not be read is passed over.
 */
int ca_file_next(const struct slot_file *file, const struct ca_set *set, uint64_t serial, struct buf *into,
                 struct error *err);
